"""The workers of a pipeline: lcores that run programs, started, swapped and stopped from Python.

What runs without the GIL is vn_worker.c; what the programs are, `veridnet._native.stages`.
"""

cimport cython
from libc.stdint cimport int64_t, uint32_t, uintptr_t
from libc.stdlib cimport free

import time

from dpdk cimport eal
from kernels cimport vn
from veridnet._native.actions cimport aligned
from veridnet._native.errors cimport check_process, check_rc
from veridnet._native.port cimport NativePort
from veridnet._native.pystage cimport python_enter, python_leave
from veridnet._native.ruletable cimport RuleTable
from veridnet._native.stages cimport Program, WorkerRing

from veridnet.errors import ConfigError, DpdkError, StateError

cdef extern from "time.h" nogil:
    cdef struct timespec:
        long tv_sec
        long tv_nsec
    int nanosleep(const timespec *t, timespec *left)

IDLE = {"busy": vn.VN_IDLE_BUSY, "adaptive": vn.VN_IDLE_ADAPTIVE, "sleep": vn.VN_IDLE_SLEEP}
#: One burst in so many is timed.
TIMED = vn.VN_TIMED
TRACE_KINDS = ("rx", "stage", "ended", "out", "ring", "from_ring")


@cython.no_gc_clear     # __dealloc__ needs what it refers to, in a reference cycle too
cdef class Engine:
    """Worker lcores, and what they share.

    Parameters
    ----------
    lcores
        A worker runs on each, in this order.
    burst
        Packets that a receive call asks for.
    count
        Packets to receive in all; negative: no limit.
    idle
        "busy", "adaptive" or "sleep": what a worker does that has nothing to do.
    trace
        Packets that are followed through all stages.
    stats
        Count packets and cycles of each stage.
    """

    cdef readonly list lcores
    cdef readonly list programs   # of the workers, now
    cdef readonly list errors     # (stage's name, exception) of Python stages
    cdef vn.vn_engine *shared
    cdef vn.vn_worker *workers
    cdef int n
    cdef bint is_running
    cdef bint parking             # told to park, and not all have
    cdef list coming              # the programs after that; None: none
    cdef dict past                # copies and drops of programs that were swapped out
    cdef list used                # ports and tables that are marked as in use

    def __cinit__(self, list lcores, *, int burst=32, int64_t count=-1, str idle="busy",
                  uint32_t trace=0, bint stats=True):
        cdef int k
        cdef size_t size
        check_process()
        self.lcores = list(lcores)
        self.programs, self.errors, self.used = [], [], []
        self.past = {"copies": 0, "drops": {}, "handed_in": 0, "handed_out": 0}
        if not 1 <= burst <= vn.VN_MAX_BURST:
            raise ConfigError(f"a burst has from 1 to {vn.VN_MAX_BURST} packets, not {burst}")
        if idle not in IDLE:
            raise ConfigError(f"idle={idle!r}: there are {', '.join(IDLE)}")
        if not lcores:
            raise ConfigError("a pipeline needs a worker lcore")
        if trace > 10000:
            raise ConfigError(f"trace={trace}: at most 10000 packets")
        self.n = len(lcores)
        self.shared = <vn.vn_engine *>aligned(sizeof(vn.vn_engine))
        self.shared.burst = burst
        self.shared.budget = count
        self.shared.limited = count >= 0
        self.shared.bare = not stats
        self.shared.idle = IDLE[idle]
        self.shared.py_enter = python_enter
        self.shared.py_leave = python_leave
        self.workers = <vn.vn_worker *>aligned(self.n * sizeof(vn.vn_worker))
        if trace:
            size = sizeof(vn.vn_trace) + trace * 32 * sizeof(vn.vn_trace_event)
            self.shared.trace = <vn.vn_trace *>aligned(size)
            self.shared.trace.left = trace
            self.shared.trace.room = trace * 32
        for k in range(self.n):
            self.workers[k].engine = self.shared
            self.workers[k].reader = k
            self.workers[k].number = k
            if vn.vn_batch_init(&self.workers[k].batch) != 0:
                raise MemoryError
            if trace:
                self.workers[k].single = <vn.vn_batch *>aligned(sizeof(vn.vn_batch))
                if vn.vn_batch_init(self.workers[k].single) != 0:
                    raise MemoryError

    def __dealloc__(self):
        cdef int k
        if self.workers == NULL:
            return
        if self.is_running and not vn.vn_forked:
            # The owner forgot to stop it: the memory below must outlive the loops.
            self.tell(None)
            for k in range(self.n):
                self.join(self.lcores[k])
            self.release_all()
        for k in range(self.n):
            vn.vn_batch_fini(&self.workers[k].batch)
            if self.workers[k].single != NULL:
                vn.vn_batch_fini(self.workers[k].single)
                free(self.workers[k].single)
        free(self.workers)
        free(self.shared.trace)
        free(self.shared)

    def __reduce__(self):
        raise TypeError("an Engine is of its process and cannot be pickled")

    cdef void join(self, int lcore) noexcept:
        with nogil:
            eal.rte_eal_wait_lcore(lcore)

    # -- programs -----------------------------------------------------------------------------

    def wire(self, list programs, list producers) -> None:
        """Tells lanes whose rings they read: producers[k] is {lane: numbers of workers}."""
        cdef Program program
        cdef vn.vn_lane *lane
        cdef int k, i, j
        if len(programs) != self.n or len(producers) != self.n:
            raise ConfigError(f"{len(programs)} programs for {self.n} workers")
        for k in range(self.n):
            program = programs[k]
            for i in range(program.ptr.n_sinks):
                program.ptr.sinks[i].given_up = (
                    &self.shared.closing if program.external[i] else &self.shared.failed)
            for i, numbers in producers[k].items():
                lane = &program.ptr.lanes[i]
                lane.n_producers = <int>len(numbers)
                lane.producers = <vn.vn_worker **>program.alloc(len(numbers) * sizeof(void *))
                for j, number in enumerate(numbers):
                    lane.producers[j] = &self.workers[<int>number]

    def _caches(self, Program program not None, running) -> None:
        """Gives this worker's readers their flow caches, but of tables that run already."""
        for table, wanted in program.caches:
            if table not in running and vn.vn_rules_cache(
                    (<RuleTable>table).check(), program.reader, wanted) != 0:
                raise MemoryError

    def _hold(self, programs) -> list:
        """Marks what programs use as in use: it can be neither closed nor used by others."""
        cdef NativePort port
        cdef RuleTable table
        held = []
        try:
            for program in programs:
                for port in (<Program>program).ports:
                    if port not in held:
                        port.users += 1
                        held.append(port)
                for table in (<Program>program).tables:
                    if table not in held:
                        table.users += 1
                        held.append(table)
                for other in (<Program>program).kept:
                    if hasattr(other, "hold") and other not in held:
                        other.hold()    # raises where it has been closed
                        held.append(other)
        except BaseException:
            self._release(held)
            raise
        return held

    def _release(self, held) -> None:
        for other in held:
            if isinstance(other, NativePort):
                (<NativePort>other).users -= 1
            elif isinstance(other, RuleTable):
                (<RuleTable>other).users -= 1
            else:
                other.unhold()

    cdef void release_all(self):
        self.is_running = False
        self.parking = False
        held, self.used = self.used, []
        self._release(held)

    # -- life ---------------------------------------------------------------------------------

    def start(self, list programs) -> None:
        """Launches the loop on every worker lcore (rte_eal_remote_launch)."""
        cdef int k, rc
        check_process()
        if self.is_running:
            raise StateError("the pipeline is already running")
        if len(programs) != self.n:
            raise ConfigError(f"{len(programs)} programs for {self.n} workers")
        for program in programs:
            for port in (<Program>program).ports:
                (<NativePort>port).check_started()
            for table in (<Program>program).tables:
                (<RuleTable>table).check()
                if (<RuleTable>table).users:
                    raise StateError("another pipeline runs with this rule table")
        for lcore in self.lcores:
            if eal.rte_eal_get_lcore_state(lcore) != eal.WAIT:
                raise StateError(f"lcore {lcore} is busy")
        for program in programs:
            self._caches(program, [])
        self.used = self._hold(programs)
        self.programs = list(programs)
        self.is_running = True
        self.shared.failed = 0
        self.shared.closing = 0
        self.errors.clear()
        for k in range(self.n):
            self.workers[k].program = (<Program>programs[k]).ptr
            self.workers[k].next = NULL
            self.workers[k].epoch = self.shared.epoch
            self.workers[k].parked = self.shared.epoch
            self.workers[k].done = False
        for k in range(self.n):
            rc = eal.rte_eal_remote_launch(vn.vn_worker_loop, &self.workers[k], self.lcores[k])
            if rc != 0:
                self.tell(None)
                for i in range(k):
                    self.join(self.lcores[i])
                self.release_all()
                check_rc(rc, f"lcore {self.lcores[k]} cannot be started", DpdkError)

    cdef void tell(self, list programs) noexcept:
        """Says that all are to park, and what they run then, and lets them go on by themselves."""
        cdef int k
        # The epoch first: a worker that comes late for the last one reads it after `next`.
        if not self.parking:
            self.parking = True
            self.shared.closing = 1
            self.shared.epoch += 1
        for k in range(self.n):
            self.workers[k].next = NULL if programs is None else (<Program>programs[k]).ptr
        if programs is None:
            # Who stops needs not wait for the others.
            self.shared.go = self.shared.epoch

    cdef bint parked(self) noexcept nogil:
        cdef int k
        for k in range(self.n):
            if self.workers[k].parked != self.shared.epoch:
                return False
        return True

    cdef int wait(self, double timeout, str what) except -1:
        """Until all have parked. StateError names who has not."""
        cdef double until = time.monotonic() + timeout
        cdef timespec pause
        cdef int i
        while True:
            with nogil:
                for i in range(2000):
                    if self.parked():
                        break
                    if i >= 1000:
                        pause.tv_sec = 0
                        pause.tv_nsec = 20000
                        nanosleep(&pause, NULL)
            if self.parked():
                return 0
            if time.monotonic() > until:
                raise StateError(f"{what}: {'; '.join(self.late())}, for {timeout:g} s now",
                                 hint="it goes on as soon as that comes back; call it again")

    def late(self) -> list:
        """For people: the workers that have not parked, and where they are."""
        cdef int k
        out = []
        for k in range(self.n):
            if self.workers[k].parked != self.shared.epoch:
                stage = self.workers[k].at_stage
                at = f"is in the Python stage {self.stage_name(k, stage - 1)!r}" if stage else (
                    "waits for another worker, or for a port")
                out.append(f"worker {k} (lcore {self.lcores[k]}) {at}")
        return out

    cdef str stage_name(self, int k, int number):
        from veridnet._native.pystage import PyStage  # no-cython-lint
        cdef uintptr_t address
        for n, address in (<Program>self.programs[k]).stages:
            if n == number:
                for other in (<Program>self.programs[k]).kept:
                    if isinstance(other, PyStage) and (
                            <uintptr_t><void *>other == <uintptr_t>(<vn.vn_stage *>address).arg):
                        return other.name
        return str(number)

    cdef int check_outside(self) except -1:
        """StateError in a worker: it would wait for itself."""
        if eal.rte_lcore_id() in self.lcores:
            raise StateError("a stage of this pipeline called it, and would wait for itself",
                             hint="return an error by raising, or set a flag for wait(stop=)")
        return 0

    def stop(self, double timeout=10.0) -> None:
        """Stops the loops and waits for them. What rings between workers hold is worked off.

        May be called twice. StateError names a worker that does not come back within `timeout`
        seconds; the others have stopped then.
        """
        cdef int k
        check_process()
        self.check_outside()
        if not self.is_running:
            return
        self.tell(None)
        self.wait(timeout, "the pipeline does not stop")
        for k in range(self.n):
            self.join(self.lcores[k])
        if not self.is_running:         # another thread has stopped it too
            return
        self.release_all()

    def swap(self, list programs, double timeout=10.0) -> None:
        """Goes on with other programs, between two bursts: no packet is lost or overtaken.

        StateError names a worker that does not come back within `timeout` seconds: the old
        programs run on then.
        """
        cdef int k
        check_process()
        self.check_outside()
        if not self.is_running or self.parking:
            raise StateError("the pipeline is not running")
        if self.shared.failed:
            raise StateError("a stage has raised, and the pipeline ends; stop() tells")
        if len(programs) != self.n:
            raise ConfigError(f"{len(programs)} programs for {self.n} workers")
        mine = set(map(id, self.used))
        for program in programs:
            for port in (<Program>program).ports:
                (<NativePort>port).check()
                if id(port) not in mine:
                    (<NativePort>port).check_started()
            for table in (<Program>program).tables:
                (<RuleTable>table).check()
                if (<RuleTable>table).users and id(table) not in mine:
                    raise StateError("another pipeline runs with this rule table")
        for program in programs:
            self._caches(program, self.used)
        coming = self._hold(programs)
        self.tell(programs)
        try:
            self.wait(timeout, "the pipeline cannot be swapped")
        except BaseException:
            for k in range(self.n):
                self.workers[k].next = self.workers[k].program
            self.shared.closing = 0
            self.shared.go = self.shared.epoch
            self.parking = False
            self._release(coming)
            raise
        self.shared.closing = 0
        self.shared.go = self.shared.epoch
        self.parking = False
        before, self.used = self.used, coming
        # Until all have taken their new program, the old one's memory is read.
        with nogil:
            while not self.taken():
                pass
        self.add_past()
        self.programs = list(programs)
        self._release(before)

    cdef bint taken(self) noexcept nogil:
        cdef int k
        for k in range(self.n):
            if (<volatile uint32_t>self.workers[k].epoch) != self.shared.epoch:
                return False
        return True

    # -- what it did --------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Has it been started, and not been stopped?"""
        return self.is_running

    @property
    def finished(self) -> bool:
        """Have all its workers come to an end by themselves (their traces ended, a stage raised)?

        """
        cdef int k
        for k in range(self.n):
            if not self.workers[k].done:
                return not self.is_running
        return True

    @property
    def failed(self) -> bool:
        """Has a stage raised?"""
        return self.shared.failed != 0

    @property
    def budget(self) -> int:
        """Packets that it may still receive; negative: no limit."""
        return self.shared.budget

    def passes(self) -> list:
        """For each worker (passes over its lanes, passes that received something, sleeps)."""
        return [(self.workers[k].passes, self.workers[k].busy_passes, self.workers[k].sleeps)
                for k in range(self.n)]

    def _stages(self):
        for k, program in enumerate(self.programs):
            for number, address in (<Program>program).stages:
                yield k, number, address

    def counters(self) -> dict:
        """What ports do not count: ``copies``, ``drops`` (reason -> packets), ``held``.

        And what came from and went to rings that processes share: ``handed_in``, ``handed_out``.
        """
        cdef Program program
        cdef vn.vn_stage *s
        cdef int r
        cdef uintptr_t address
        drops = dict(self.past["drops"])
        copies = self.past["copies"]
        for _, _, address in self._stages():
            s = <vn.vn_stage *>address
            copies += s.count.copies
            for r in range(vn.VN_DROP_MAX):
                if s.count.drops[r]:
                    name = vn.vn_drop_table[r].name.decode()
                    drops[name] = drops.get(name, 0) + s.count.drops[r]
        rings = {id(ring): ring for program in self.programs
                 for ring in (<Program>program).kept if isinstance(ring, WorkerRing)}
        came, went = self.past["handed_in"], self.past["handed_out"]
        for p in self.programs:
            program = p
            for i in program.shared_lanes:
                came += program.ptr.lanes[<int>i].packets
            for i in program.shared_sinks:
                went += program.ptr.sinks[<int>i].packets
        return {"copies": copies, "drops": drops, "held": sum(map(len, rings.values())),
                "handed_in": came, "handed_out": went}

    cdef int add_past(self) except -1:
        self.past = self.counters()
        return 0

    def stages(self) -> list:
        """A dict for each stage of each worker: worker, stage, bursts, packets, cycles, drops."""
        cdef vn.vn_stage *s
        cdef uintptr_t address
        cdef int r
        out = []
        for k, number, address in self._stages():
            s = <vn.vn_stage *>address
            out.append({
                "worker": k, "stage": number, "bursts": s.stat.bursts, "in": s.stat.in_,
                "out": s.stat.out, "timed": s.stat.timed, "cycles": s.stat.cycles,
                "copies": s.count.copies,
                "drops": {vn.vn_drop_table[r].name.decode(): s.count.drops[r]
                          for r in range(vn.VN_DROP_MAX) if s.count.drops[r]}})
        return out

    def lanes(self) -> list:
        """A dict for each lane of each worker: packets, timed packets, cycles, burst sizes."""
        cdef vn.vn_lane *lane
        cdef int i
        out = []
        for k, program in enumerate(self.programs):
            for i in range((<Program>program).ptr.n_lanes):
                lane = &(<Program>program).ptr.lanes[i]
                out.append({
                    "worker": k, "lane": i, "packets": lane.packets, "timed": lane.timed,
                    "cycles": lane.cycles,
                    "ring": eal.rte_ring_count(lane.ring) if lane.ring != NULL else None,
                    "bursts": [lane.bursts[size] for size in range(1, vn.VN_HISTOGRAM)]})
        return out

    def missed(self) -> tuple:
        """(packets, bytes) that no rule of an apply stage matched."""
        cdef vn.vn_stage *s
        cdef vn.vn_rules_arg *a
        cdef uintptr_t address
        packets = size = 0
        for _, _, address in self._stages():
            s = <vn.vn_stage *>address
            if s.run == vn.vn_stage_apply:
                a = <vn.vn_rules_arg *>s.arg
                packets += a.act.missed.packets
                size += a.act.missed.bytes
        return packets, size

    def trace(self) -> list:
        """What happened to the packets that were followed: a dict an event, in order of time."""
        cdef vn.vn_trace *t = self.shared.trace
        cdef vn.vn_trace_event *e
        cdef uint32_t i
        out = []
        if t == NULL:
            return out
        for i in range(min(t.n, t.room)):
            e = &t.events[i]
            out.append({
                "packet": e.packet, "kind": TRACE_KINDS[e.kind], "tsc": e.tsc,
                "worker": e.worker, "stage": None if e.stage == 0xffff else e.stage,
                "port": None if e.port == 0xffff else e.port, "length": e.len,
                "reason": None if e.reason == 0xffff else (
                    vn.vn_drop_table[e.reason].name.decode()),
                "bytes": (<char *>e.bytes)[:e.captured]})
        return sorted(out, key=lambda event: (event["packet"], event["tsc"]))
