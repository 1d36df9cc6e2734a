"""What a worker runs, built from the description that `veridnet.arrange` makes."""

cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

import numpy as np

from dpdk cimport eal
from kernels cimport vn
from veridnet._native.actions cimport ActionProgram, aligned
from veridnet._native.bpf cimport Bpf
from veridnet._native.burst cimport drop_code
from veridnet._native.errors cimport check_process, check_ptr
from veridnet._native.matchers cimport Program as Match
from veridnet._native.memory cimport Mempool
from veridnet._native.port cimport NativePort
from veridnet._native.pystage cimport PyStage, python_stage
from veridnet._native.ruletable cimport RuleTable

from veridnet.errors import ConfigError, PoolError

MAX_BURST = vn.VN_MAX_BURST

cdef int _serial = 0


cdef class Bridge:
    """The stations that a learning bridge knows: shared by the workers of a pipeline.

    `socket` is where its table is allocated: a socket id, or -1 for any.
    """

    def __cinit__(self, int stations=8192, double age_s=300.0, int socket=-1):
        global _serial
        check_process()
        if not 0 < age_s <= 1e6:
            raise ConfigError(f"age_s={age_s}: up to 1000000 seconds")
        if not 8 <= stations <= 1 << 22:
            raise ConfigError(f"stations={stations}: must be from 8 to 4194304")
        _serial += 1
        eal.rte_errno = 0
        self.ptr = vn.vn_bridge_create(f"vn_bridge{_serial}".encode(), stations, age_s, socket)
        check_ptr(self.ptr, f"no memory for a bridge of {stations} stations", PoolError)

    def __dealloc__(self):
        if not vn.vn_forked:
            vn.vn_bridge_free(self.ptr)

    def release(self) -> None:
        """Frees the table; the counters stay. Only when nobody runs it."""
        check_process()
        if self.ptr != NULL:
            self.at_end = self.counters()
            vn.vn_bridge_free(self.ptr)
            self.ptr = NULL

    def stations(self, int limit=65536) -> list:
        """(MAC address, port's number, seconds since its last frame) each."""
        cdef uint64_t[::1] mac
        cdef uint8_t[::1] port
        cdef double[::1] age
        cdef unsigned int n
        check_process()
        if self.ptr == NULL:
            return []
        mac, port, age = (np.zeros(limit, t) for t in (np.uint64, np.uint8, np.float64))
        n = vn.vn_bridge_dump(self.ptr, &mac[0], &port[0], &age[0], limit)
        return [(int(mac[i]).to_bytes(6, "little").hex(":"), int(port[i]), float(age[i]))
                for i in range(n)]

    def counters(self) -> dict:
        """``stations`` known now; ``learned``, ``moved``, ``aged``, ``table_full`` so far."""
        cdef vn.vn_bridge *b = self.ptr
        if b == NULL:
            return self.at_end or {}
        return {"stations": vn.vn_bridge_stations(b), "learned": b.learned, "moved": b.moved,
                "aged": b.aged, "table_full": b.full}


cdef class WorkerRing:
    """A ring of mbufs between workers (rte_ring), which the pipeline owns."""

    def __cinit__(self, unsigned int size, bint many_producers, int socket=-1):
        global _serial
        cdef unsigned int flags = eal.RING_F_SC_DEQ
        cdef bytes name
        check_process()
        if size < 2 or size > 1 << 20 or size & (size - 1):
            raise ConfigError(f"ring={size}: a power of two from 2 to {1 << 20}")
        if not many_producers:
            flags |= eal.RING_F_SP_ENQ
        _serial += 1
        self.name = f"vn_pipe{_serial}"
        self.size = size
        name = self.name.encode()
        eal.rte_errno = 0
        self.ptr = eal.rte_ring_create(name, size, socket, flags)
        check_ptr(self.ptr, f"no memory for a ring of {size} packets", PoolError)

    def __dealloc__(self):
        if self.ptr != NULL and not vn.vn_forked:
            eal.rte_ring_free(self.ptr)

    def __len__(self) -> int:
        return eal.rte_ring_count(self.ptr) if self.ptr != NULL else 0


def _ring_of(ring) -> int:
    """The address of a WorkerRing's or a Ring's rte_ring."""
    if isinstance(ring, WorkerRing):
        return <uintptr_t>(<WorkerRing>ring).ptr
    return ring.address()


@cython.no_gc_clear     # __dealloc__ needs what it refers to, in a reference cycle too
cdef class Program:
    """Lanes, outputs and stages of one worker.

    Parameters
    ----------
    ports
        NativePorts by number; rules, forwards and verdicts name them so.
    own
        For each port the tx queue that is this worker's.
    lanes
        (NativePort, queue, number, interrupts) each, or (ring, number).
    sinks
        (ring, wait, external) each: the outputs after which handoffs are numbered.
    stages
        A list of tuples: (name, number, argument...).
    reader
        This worker's number as a reader of rule tables.
    copy_pool
        Where copies come from; each packet's own pool if not given.
    policy
        Of packets that a port does not take: "retry" or "drop".
    """

    def __cinit__(self, list ports, list own, list lanes, list sinks, list stages, *,
                  unsigned int reader, Mempool copy_pool=None, str policy="retry", int end=0,
                  bint ordered=True, bint copies=True):
        cdef vn.vn_txq *txqs[128]
        cdef uint16_t queues[128]
        cdef uint16_t mine[128]
        cdef vn.vn_program *p
        cdef NativePort port
        cdef int i, k
        check_process()
        self.kept, self.memory, self.batches, self.tables, self.stages = [], [], [], [], []
        self.caches = []
        self.ports = ports
        self.reader = reader
        if not 0 <= len(ports) <= vn.VN_OUT_PORTS:
            raise ConfigError(f"{len(ports)} ports; a pipeline has at most {vn.VN_OUT_PORTS}")
        if reader >= vn.VN_LCORE_READERS:
            raise ConfigError(f"worker {reader}; at most {vn.VN_LCORE_READERS}")
        p = self.ptr = <vn.vn_program *>aligned(sizeof(vn.vn_program))
        memset(p.in_of, 0xff, sizeof(p.in_of))
        for i in range(len(ports)):
            port = ports[i]
            port.check()
            txqs[i] = port.txqs
            queues[i] = port.n_tx_queues
            mine[i] = own[i]
            p.in_of[port.port_id] = i
        if vn.vn_outs_init(&p.outs, txqs, queues, mine, <uint16_t>len(ports),
                           <uint16_t>len(sinks)) != 0:
            raise MemoryError
        p.outs.policy = vn.VN_TX_RETRY if policy == "retry" else vn.VN_TX_DROP
        p.outs.count = &p.end.count
        if copy_pool is not None:
            p.outs.copy_pool = copy_pool.check()
            self.kept.append(copy_pool)
        p.ordered = ordered
        p.copies = copies
        p.end.number = end
        self.stages.append((end, <uintptr_t>&p.end))
        p.sinks = <vn.vn_sink *>self.alloc(max(1, len(sinks)) * sizeof(vn.vn_sink))
        p.n_sinks = <uint16_t>len(sinks)
        for i, (ring, wait, external) in enumerate(sinks):
            p.sinks[i].ring = <eal.rte_ring *><uintptr_t>_ring_of(ring)
            p.sinks[i].wait = wait
            p.sinks[i].count = &p.end.count
            p.sinks[i].reason = vn.VN_DROP_STOPPED if external else vn.VN_DROP_STAGE_ERROR
            p.outs.outs[i].sink = &p.sinks[i]
            self.kept.append(ring)
        self.external = [bool(external) for _, _, external in sinks]
        # Of those that processes share: what goes through them is handed over.
        self.shared_sinks = [i for i, sink in enumerate(sinks) if getattr(sink[0], "shared", False)]
        self.shared_lanes = [i for i, lane in enumerate(lanes) if getattr(lane[0], "shared", False)]
        p.lanes = <vn.vn_lane *>self.alloc(max(1, len(lanes)) * sizeof(vn.vn_lane))
        p.n_lanes = <uint16_t>len(lanes)
        for i, lane in enumerate(lanes):
            if isinstance(lane[0], NativePort):
                port, k, number, intr = lane
                if not 0 <= k < port.n_rx_queues:
                    raise ConfigError(f"rx queue {k} of {port.n_rx_queues}")
                p.lanes[i].rxq = &port.rxqs[k]
                p.lanes[i].in_ = number
                p.lanes[i].marks = port.marks
                p.lanes[i].intr = intr
            else:
                p.lanes[i].ring = <eal.rte_ring *><uintptr_t>_ring_of(lane[0])
                p.lanes[i].in_ = vn.VN_IN_MIXED if lane[1] is None else lane[1]
            self.kept.append(lane[0])
        self.chain(&p.chain, stages)

    def __dealloc__(self):
        if self.ptr == NULL:
            return
        vn.vn_outs_fini(&self.ptr.outs)
        for address in self.batches:
            vn.vn_batch_fini(<vn.vn_batch *><uintptr_t>address)
        for address in self.memory:
            free(<void *><uintptr_t>address)
        free(self.ptr)

    def __reduce__(self):
        raise TypeError("a program is of its process and cannot be pickled")

    cdef void *alloc(self, size_t size) except NULL:
        cdef void *p = aligned(size)
        self.memory.append(<uintptr_t>p)
        return p

    cdef int chain(self, vn.vn_chain *c, list spec) except -1:
        cdef int i
        c.stages = <vn.vn_stage *>self.alloc(max(1, len(spec)) * sizeof(vn.vn_stage))
        c.n = <uint16_t>len(spec)
        for i, op in enumerate(spec):
            c.stages[i].number = op[1]
            self.fill(&c.stages[i], op)
            self.stages.append((op[1], <uintptr_t>&c.stages[i]))
        return 0

    cdef vn.vn_filter *filter(self, object program) except NULL:
        """A match expression's program, for C."""
        cdef Match match = program
        cdef vn.vn_filter *f = <vn.vn_filter *>self.alloc(sizeof(vn.vn_filter))
        cdef int k
        self.kept.append(match)
        f.steps = match.steps
        f.n_steps = match.n_steps
        f.n_leaves = <uint32_t>len(match.leaves)
        for k in range(len(match.leaves)):
            f.leaves[k] = (<Bpf>match.leaves[k]).program
        vn.vn_filter_need2(f, match.need_all[0], match.need_all[1])
        if match.doubt is not None:
            f.doubt = self.filter(match.doubt)
            f.raw = self.filter(match.raw)
        return f

    cdef vn.vn_rules_arg *rules(self, object table, bint flow_cache) except NULL:
        cdef RuleTable t = table
        cdef vn.vn_rules_arg *a = <vn.vn_rules_arg *>self.alloc(sizeof(vn.vn_rules_arg))
        cdef vn.vn_rules **more
        a.act.table = t.check()
        a.act.reader = self.reader
        if vn.vn_rules_register(a.act.table, self.reader) != 0:
            raise MemoryError
        self.caches.append((t, flow_cache))
        if t not in self.tables:
            more = <vn.vn_rules **>self.alloc((len(self.tables) + 1) * sizeof(void *))
            if self.tables:
                memcpy(more, self.ptr.tables, len(self.tables) * sizeof(void *))
            more[len(self.tables)] = a.act.table
            self.ptr.tables = more
            self.tables.append(t)
            self.ptr.n_tables = <uint16_t>len(self.tables)
        self.ptr.gather = True
        return a

    cdef vn.vn_branch *branch(self, list spec) except NULL:
        cdef vn.vn_branch *r = <vn.vn_branch *>self.alloc(sizeof(vn.vn_branch))
        if vn.vn_batch_init(&r.batch) != 0:
            raise MemoryError
        self.batches.append(<uintptr_t>&r.batch)
        self.chain(&r.chain, spec)
        return r

    cdef int fill(self, vn.vn_stage *s, tuple op) except -1:
        cdef str name = op[0]
        cdef vn.vn_filter_arg *filter_arg
        cdef vn.vn_macs_arg *macs
        cdef vn.vn_rules_arg *rules
        cdef vn.vn_forward_arg *forward
        cdef vn.vn_bridge_arg *bridge
        cdef vn.vn_split_arg *split
        cdef vn.vn_handoff_arg *handoff
        cdef vn.vn_branch *r
        cdef uint64_t columns[2]
        cdef int k
        cdef uint16_t *reason
        if name == "parse":
            s.run = vn.vn_stage_parse
            s.arg = self.alloc(32)
            fieldset(op[2], columns)
            vn.vn_set_store(s.arg, columns[0], columns[1])
        elif name == "filter":
            filter_arg = <vn.vn_filter_arg *>self.alloc(sizeof(vn.vn_filter_arg))
            filter_arg.filter = self.filter(op[2])
            filter_arg.reason = drop_code(op[3])
            s.run = vn.vn_stage_filter
            s.arg = filter_arg
        elif name == "drop":
            reason = <uint16_t *>self.alloc(sizeof(uint16_t))
            reason[0] = drop_code(op[2])
            s.run = vn.vn_stage_drop
            s.arg = reason
        elif name == "macs":
            macs = <vn.vn_macs_arg *>self.alloc(sizeof(vn.vn_macs_arg))
            macs.swap = op[2] == "swap"
            if not macs.swap:
                for k, entry in enumerate(op[2]):
                    if entry is not None:
                        macs.which[k] = entry[0]
                        memcpy(macs.macs[k], <const char *>entry[1], 12)
            s.run = vn.vn_stage_macs
            s.arg = macs
        elif name == "classify" or name == "apply":
            if name == "classify":
                s.run = vn.vn_stage_classify
            else:
                s.run = vn.vn_stage_apply
            s.arg = self.rules(op[2], op[3])
        elif name == "actions":
            self.kept.append(op[2])
            rules = <vn.vn_rules_arg *>self.alloc(sizeof(vn.vn_rules_arg))
            rules.actions = (<ActionProgram?>op[2]).ptr
            s.run = vn.vn_stage_actions
            s.arg = rules
        elif name == "forward":
            forward = <vn.vn_forward_arg *>self.alloc(sizeof(vn.vn_forward_arg))
            memset(forward, 0xff, sizeof(vn.vn_forward_arg))
            for k, port in enumerate(op[2]):
                if port is not None:
                    forward.to[k] = port
            if op[3] is not None:
                forward.other = op[3]
            s.run = vn.vn_stage_forward
            s.arg = forward
        elif name == "bridge":
            self.kept.append(op[2])
            bridge = <vn.vn_bridge_arg *>self.alloc(sizeof(vn.vn_bridge_arg))
            bridge.bridge = (<Bridge?>op[2]).ptr
            self.ptr.bridge = bridge.bridge
            bridge.n = <uint16_t>len(op[3])
            for k, port in enumerate(op[3]):
                bridge.ports[k] = port
            s.run = vn.vn_stage_bridge
            s.arg = bridge
        elif name == "split":
            split = <vn.vn_split_arg *>self.alloc(
                sizeof(vn.vn_split_arg) + max(1, len(op[3])) * sizeof(void *))
            split.by_rule = op[2]
            split.n = <uint16_t>len(op[3])
            for k, (selector, spec) in enumerate(op[3]):
                r = self.branch(spec)
                if op[2]:
                    r.rule = selector
                else:
                    r.filter = self.filter(selector)
                split.branches[k] = r
            s.run = vn.vn_stage_split
            s.arg = split
        elif name == "tee":
            s.run = vn.vn_stage_tee
            s.arg = self.branch(op[2])
        elif name == "handoff":
            handoff = <vn.vn_handoff_arg *>self.alloc(sizeof(vn.vn_handoff_arg))
            handoff.first, handoff.n = op[2], op[3]
            if not 1 <= handoff.n <= self.ptr.n_sinks - handoff.first:
                raise ConfigError("a handoff to rings that are not there")
            s.run = vn.vn_stage_handoff
            s.arg = handoff
        elif name == "python":
            self.kept.append(op[2])
            self.ptr.python = True
            s.run = python_stage
            s.arg = <void *><PyStage?>op[2]
        elif name == "native":
            s.run = vn.vn_stage_native
            s.arg = <void *><uintptr_t>self.native(*op[2:])
        else:
            raise ConfigError(f"there is no stage {name!r}")
        return 0

    def native(self, uintptr_t address, columns, needs, writes, state, bint verdict, bint keep,
               str reason) -> int:
        """The argument of a compiled stage (vn_native): its address.

        columns: numbers, VN_COLUMNS for the ids of rules, which come last. state: numpy arrays.
        """
        cdef vn.vn_native_arg *a = <vn.vn_native_arg *>self.alloc(sizeof(vn.vn_native_arg))
        cdef uint64_t need[2]
        cdef uint64_t written[2]
        cdef uint8_t[::1] memory
        cdef int k
        fieldset(needs, need)
        fieldset(writes, written)
        a.run = <vn.vn_native>address
        vn.vn_native_sets2(a, need[0], need[1], written[0], written[1])
        a.n_columns = <uint16_t>len(columns)
        for k, number in enumerate(columns):
            a.columns[k] = number
        a.state = <void **>self.alloc(max(1, len(state)) * sizeof(void *))
        for k, array in enumerate(state):
            memory = array.reshape(-1).view(np.uint8)
            a.state[k] = &memory[0] if memory.shape[0] else NULL
            self.kept.append(array)
        a.wants_verdict = verdict
        a.wants_keep = keep
        a.reason = drop_code(reason)
        return <uintptr_t>a


cdef int fieldset(columns, uint64_t *out) except -1:
    out[0] = out[1] = 0
    for k in columns:
        out[k >> 6] |= <uint64_t>1 << (k & 63)
    return 0
