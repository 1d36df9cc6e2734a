"""The forwarder's lcore loops: built from Python, run without the GIL."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

import numpy as np

from dpdk cimport eal
from kernels cimport vn
from veridnet._native.errors cimport check_process, check_ptr, check_rc
from veridnet._native.memory cimport Mempool
from veridnet._native.port cimport NativePort
from veridnet._native.ruletable cimport RuleTable

from veridnet.errors import ConfigError, DpdkError, PoolError, StateError

cdef extern from "stdlib.h" nogil:
    void *aligned_alloc(size_t alignment, size_t size)

MAX_PORTS = vn.VN_MAX_PORTS
MAX_BURST = vn.VN_MAX_BURST

cdef int _serial = 0


@cython.no_gc_clear     # __dealloc__ needs what it refers to, in a reference cycle too
cdef class Forwarder:
    """Forwards between ports on worker lcores until stopped, or until its traces have ended.

    Parameters
    ----------
    ports
        The ports, by index.
    lcores
        Worker lcores; the receive queues are dealt out to them.
    destinations
        For static forwarding: for each port the index of the port that gets its packets, or -1
        for a port that is not received from. None for a learning bridge.
    macs
        For static forwarding: for each port 12 bytes (destination, source) that are written over
        the addresses of its packets, or None.
    receive
        For each port: is it received from?
    copy_pool
        Where copies (floods, shared packets to be written) come from.
    rules
        A rule table that is asked first: packets that no action of it ends go as without it. Rules
        name ports by their index here. Worker k is the table's reader k.
    socket
        Where a bridge's table is allocated: a socket id, or -1 for any.
    """

    cdef list ports
    cdef list lcores
    cdef Mempool copy_pool
    cdef vn.vn_forward shared
    cdef vn.vn_worker *workers
    cdef int n_workers
    cdef bint is_running
    cdef dict bridge_at_end
    cdef readonly RuleTable rules
    cdef readonly bint bridging

    def __cinit__(self, list ports, list lcores, *, list destinations=None, list macs=None,
                  list receive, Mempool copy_pool not None, int burst=32, int64_t count=-1,
                  str policy="retry", int stations=8192, double age_s=300.0, RuleTable rules=None,
                  bint flow_cache=True, int socket=-1):
        global _serial
        cdef NativePort port, out
        cdef vn.vn_worker *w
        cdef vn.vn_lane *lane
        cdef int i, q, k, n = len(ports), nw = len(lcores)
        cdef vn.vn_txq *txqs[128]
        cdef uint16_t queues[128]
        cdef uint16_t own[128]
        check_process()
        if not 1 <= n <= vn.VN_MAX_PORTS:
            raise ConfigError(f"from 1 to {vn.VN_MAX_PORTS} ports, not {n}")
        if not 1 <= burst <= vn.VN_MAX_BURST:
            raise ConfigError(f"a burst has from 1 to {vn.VN_MAX_BURST} packets, not {burst}")
        if policy not in ("retry", "drop"):
            raise ConfigError(f"a forwarder's tx policy is retry or drop, not {policy!r}")
        if nw < 1:
            raise ConfigError("a forwarder needs a worker lcore")
        for port in ports:
            port.check()
        if len(set(ports)) != n:
            raise ConfigError("a port is named twice")
        if len(receive) != n:
            raise ConfigError(f"receive: {len(receive)} values for {n} ports")
        if destinations is not None:
            if len(destinations) != n or macs is None or len(macs) != n:
                raise ConfigError(f"destinations and macs: one of each for each of the {n} ports")
            for i in range(n):
                if not -1 <= <object>destinations[i] < n:
                    raise ConfigError(f"destination {destinations[i]} of {n} ports")
                if destinations[i] < 0 and receive[i]:
                    raise ConfigError(f"port {i} is received from and has no destination")
                if macs[i] is not None and (not isinstance(macs[i], bytes) or len(macs[i]) != 12):
                    raise ConfigError(f"macs of port {i}: 12 bytes or None")
        if not 0 < age_s <= 1e6:
            raise ConfigError(f"age_s={age_s}: up to 1000000 seconds")
        if not 8 <= stations <= 1 << 22:
            raise ConfigError(f"stations={stations}: must be from 8 to 4194304")
        self.ports = list(ports)
        self.lcores = list(lcores)
        self.copy_pool = copy_pool
        self.bridging = destinations is None
        memset(&self.shared, 0, sizeof(self.shared))
        self.shared.budget = count
        self.shared.burst = burst
        self.shared.flow_cache = flow_cache
        self.shared.policy = vn.VN_TX_RETRY if policy == "retry" else vn.VN_TX_DROP
        self.shared.copy_pool = copy_pool.check()
        self.rules = rules
        if rules is not None:
            self.shared.rules = rules.check()
            if nw > vn.VN_LCORE_READERS:
                raise ConfigError(f"{nw} workers with rules; at most {vn.VN_LCORE_READERS}")
        self.n_workers = nw
        self.workers = <vn.vn_worker *>aligned_alloc(64, nw * sizeof(vn.vn_worker))
        if self.workers == NULL:
            raise MemoryError
        memset(self.workers, 0, nw * sizeof(vn.vn_worker))
        if self.bridging:
            _serial += 1
            eal.rte_errno = 0
            self.shared.bridge = vn.vn_bridge_create(f"vn_bridge{_serial}".encode(), stations,
                                                     age_s, socket)
            check_ptr(self.shared.bridge, f"no memory for a bridge of {stations} stations",
                      PoolError)
        # Queue q of port i goes to worker (i + q) mod n: queues of one port to different
        # workers, and ports of one queue too.
        lanes = [[] for _ in range(nw)]
        for i in range(n):
            port = ports[i]
            if receive[i]:
                for q in range(port.n_rx_queues):
                    lanes[(i + q) % nw].append((i, q))
        senders = [set() for _ in range(n)]      # workers that send on each port
        for k in range(nw):
            for i, _ in lanes[k]:
                # A rule may send anything anywhere.
                for j in (range(n) if self.bridging or rules is not None else [destinations[i]]):
                    senders[j].add(k)
        queue_of = {}
        for i in range(n):
            port = ports[i]
            order = sorted(senders[i])
            # With rules, several workers may be told to send on any queue of a port.
            if len(order) > port.n_tx_queues or (rules is not None and len(order) > 1):
                port.set_tx(shared=True)
            for at, k in enumerate(order):
                queue_of[i, k] = at % port.n_tx_queues
        for k in range(nw):
            w = &self.workers[k]
            w.shared = &self.shared
            w.n_ports = n
            w.n_lanes = len(lanes[k])
            w.lanes = <vn.vn_lane *>calloc(max(1, w.n_lanes), sizeof(vn.vn_lane))
            w.txqs = <vn.vn_txq **>calloc(n, sizeof(vn.vn_txq *))
            w.tx_ports = <uint8_t *>calloc(n, 1)
            if w.lanes == NULL or w.txqs == NULL or w.tx_ports == NULL:
                raise MemoryError
            for at, (i, q) in enumerate(lanes[k]):
                port = ports[i]
                lane = &w.lanes[at]
                lane.rxq = &port.rxqs[q]
                lane.port = i
                lane.marks = port.marks
                if not self.bridging:
                    out = ports[destinations[i]]
                    lane.txq = &out.txqs[queue_of[destinations[i], k]]
                    lane.out_port = destinations[i]
                    if macs[i] is not None:
                        lane.mac_updating = True
                        memcpy(lane.macs, <const char *>macs[i], 12)
            if self.bridging:
                for i in range(n):
                    if (i, k) in queue_of:
                        port = ports[i]
                        w.txqs[i] = &port.txqs[queue_of[i, k]]
                        w.tx_ports[w.n_tx_ports] = i
                        w.n_tx_ports += 1
            if rules is not None:
                for i in range(n):
                    port = ports[i]
                    txqs[i] = port.txqs
                    queues[i] = port.n_tx_queues
                    own[i] = queue_of.get((i, k), 0)
                if vn.vn_worker_rules(w, k, txqs, queues, own) != 0:
                    raise MemoryError

    def __dealloc__(self):
        cdef int k
        if self.is_running and not vn.vn_forked:
            # The owner forgot to stop it: the memory below must outlive the loops.
            self.halt()
            self.ended()
        if self.workers != NULL:
            for k in range(self.n_workers):
                vn.vn_worker_free_rules(&self.workers[k])
                free(self.workers[k].lanes)
                free(self.workers[k].txqs)
                free(self.workers[k].tx_ports)
            free(self.workers)
        if not vn.vn_forked:
            vn.vn_bridge_free(self.shared.bridge)

    cdef void halt(self) noexcept:
        cdef int k, lcore
        self.shared.stop = 1
        for k in range(self.n_workers):
            lcore = self.lcores[k]
            with nogil:
                eal.rte_eal_wait_lcore(lcore)

    def start(self) -> None:
        """Launches the loop on every worker lcore (rte_eal_remote_launch)."""
        cdef int k, rc
        cdef NativePort port
        check_process()
        if self.is_running:
            raise StateError("the forwarder is already running")
        if self.bridging and self.shared.bridge == NULL:
            raise StateError("the forwarder was released")
        if self.rules is not None:
            self.rules.check()
            if self.rules.users:
                raise StateError("another forwarder runs with this rule table")
        for port in self.ports:
            port.check_started()
        for lcore in self.lcores:
            if eal.rte_eal_get_lcore_state(lcore) != eal.WAIT:
                raise StateError(f"lcore {lcore} is busy")
        self.shared.stop = 0
        self.is_running = True
        for k in range(self.n_workers):
            rc = eal.rte_eal_remote_launch(vn.vn_forward_loop, &self.workers[k], self.lcores[k])
            if rc != 0:
                self.halt()
                self.is_running = False
                check_rc(rc, f"lcore {self.lcores[k]} cannot be started", DpdkError)
        for port in self.ports:
            port.users += 1
        self.copy_pool.users += 1
        if self.rules is not None:
            self.rules.users += 1

    def stop(self) -> None:
        """Stops the loops and waits for them: at most one burst each. May be called twice."""
        check_process()
        if not self.is_running:
            return
        self.halt()
        if not self.is_running:         # another thread has stopped it too
            return
        self.ended()

    cdef void ended(self):
        """What the loops used is others' again."""
        cdef NativePort port
        self.is_running = False
        for port in self.ports:
            port.users -= 1
        self.copy_pool.release()
        if self.rules is not None:
            self.rules.users -= 1

    def release(self) -> None:
        """Frees the bridge's table; the counters stay. Only after stop()."""
        check_process()
        if not self.is_running and self.shared.bridge != NULL:
            self.bridge_at_end = self.bridge_counters()
            vn.vn_bridge_free(self.shared.bridge)
            self.shared.bridge = NULL

    @property
    def running(self) -> bool:
        """Has it been started, and not been stopped?"""
        return self.is_running

    @property
    def finished(self) -> bool:
        """Have all its loops come to an end by themselves (their traces ended)?"""
        return all(eal.rte_eal_get_lcore_state(lcore) == eal.WAIT for lcore in self.lcores)

    @property
    def budget(self) -> int:
        """Packets that it may still receive; negative: no limit."""
        return self.shared.budget

    def passes(self) -> list:
        """For each worker (passes over its queues, passes that received something)."""
        return [(self.workers[k].passes, self.workers[k].busy_passes)
                for k in range(self.n_workers)]

    def counters(self) -> dict:
        """``copies`` made for floods, and ``drops`` (reason -> packets) that are no port's."""
        cdef int k, r
        drops = {}
        copies = 0
        for k in range(self.n_workers):
            copies += self.workers[k].count.copies
            for r in range(vn.VN_DROP_MAX):
                if self.workers[k].count.drops[r]:
                    name = vn.vn_drop_table[r].name.decode()
                    drops[name] = drops.get(name, 0) + self.workers[k].count.drops[r]
        return {"copies": copies, "drops": drops}

    def missed(self) -> tuple:
        """(packets, bytes) that no rule matched."""
        cdef int k
        packets = size = 0
        for k in range(self.n_workers):
            if self.workers[k].act != NULL:
                packets += self.workers[k].act.missed.packets
                size += self.workers[k].act.missed.bytes
        return packets, size

    def stations(self, int limit=65536) -> list:
        """The bridge's table: (MAC address, port index, seconds since its last frame) each."""
        cdef uint64_t[::1] mac
        cdef uint8_t[::1] port
        cdef double[::1] age
        cdef unsigned int n
        check_process()
        if self.shared.bridge == NULL:
            return []
        mac, port, age = (np.zeros(limit, t) for t in (np.uint64, np.uint8, np.float64))
        n = vn.vn_bridge_dump(self.shared.bridge, &mac[0], &port[0], &age[0], limit)
        return [(int(mac[i]).to_bytes(6, "little").hex(":"), int(port[i]), float(age[i]))
                for i in range(n)]

    def bridge_counters(self) -> dict:
        """``stations`` known now; ``learned``, ``moved``, ``aged``, ``table_full`` so far."""
        cdef vn.vn_bridge *b = self.shared.bridge
        if b == NULL:
            return self.bridge_at_end or {}
        return {"stations": vn.vn_bridge_stations(b), "learned": b.learned, "moved": b.moved,
                "aged": b.aged, "table_full": b.full}
