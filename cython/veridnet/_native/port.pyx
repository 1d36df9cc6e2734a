"""Ethernet devices: configured, started, and their queues.

The data path is `NativePort.rx` and `NativePort.tx`; everything else is control path.
"""

from libc.stdint cimport uint16_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

import numpy as np

from dpdk cimport eal
from dpdk cimport ethdev as eth
from dpdk.mbuf cimport rte_mbuf, rte_pktmbuf_free_bulk
from kernels cimport vn
from veridnet._native.burst cimport Burst, settle_all
from veridnet._native.errors cimport check_process, check_rc
from veridnet._native.memory cimport Mempool

from veridnet.addresses import mac_bytes
from veridnet.errors import BurstError, ClosedError, ConfigError, PortError, StateError

cdef extern from "stdlib.h" nogil:
    void *aligned_alloc(size_t alignment, size_t size)

cdef enum:
    MADE
    STARTED
    STOPPED
    CLOSING
    CLOSED

POLICIES = {"retry": vn.VN_TX_RETRY, "drop": vn.VN_TX_DROP, "keep": vn.VN_TX_KEEP}


cdef vn.vn_tx_policy policy_of(object name) except *:
    try:
        return POLICIES[name]
    except (KeyError, TypeError):
        raise ConfigError(
            f"unknown tx policy {name!r}; there are {', '.join(POLICIES)}") from None


cdef class NativePort:
    """One DPDK Ethernet device that EAL has already made."""

    def __cinit__(self, str device, *args, **kwargs):
        check_process()
        self.state = CLOSED
        eal.rte_errno = 0
        check_rc(eth.rte_eth_dev_get_port_by_name(device.encode(), &self.port_id),
                 f"device {device} made no Ethernet port", PortError)
        self.device = device
        self.state = MADE
        self.default_policy = vn.VN_TX_RETRY

    def __dealloc__(self):
        # Closing is the owner's task (rt.close()): a device may still be polled by an lcore.
        free(self.rxqs)
        free(self.txqs)

    cdef int check(self) except -1:
        check_process()
        if self.state >= CLOSING:
            raise ClosedError("the port is closed")
        return 0

    cdef int check_started(self) except -1:
        self.check()
        if self.state != STARTED:
            raise StateError("the port is not started")
        if self.users:
            raise StateError("the port is run by a pipeline; stop that first")
        if self.tx_waiting:
            raise StateError("another thread is sending on this port")
        return 0

    cdef int start_device(self):
        return (vn.vn_guard_start if self.guarded else eth.rte_eth_dev_start)(self.port_id)

    cdef int stop_device(self):
        return (vn.vn_guard_stop if self.guarded else eth.rte_eth_dev_stop)(self.port_id)

    # -- control path -------------------------------------------------------------------------

    def info(self) -> dict:
        """What the driver says of the device (rte_eth_dev_info_get)."""
        cdef eth.rte_eth_dev_info i
        self.check()
        check_rc(eth.rte_eth_dev_info_get(self.port_id, &i), "no device info", PortError)
        return {
            "driver": i.driver_name.decode() if i.driver_name != NULL else "",
            "min_mtu": i.min_mtu, "max_mtu": i.max_mtu, "max_rx_pktlen": i.max_rx_pktlen,
            "max_rx_queues": i.max_rx_queues, "max_tx_queues": i.max_tx_queues,
            "rx_offload_capa": i.rx_offload_capa, "tx_offload_capa": i.tx_offload_capa,
            "rss": i.flow_type_rss_offloads,
            "scatter": bool(i.rx_offload_capa & eth.RTE_ETH_RX_OFFLOAD_SCATTER),
            "multi_segs": bool(i.tx_offload_capa & eth.RTE_ETH_TX_OFFLOAD_MULTI_SEGS),
            "tx_seg_max": i.tx_desc_lim.nb_seg_max,
            "numa_node": eth.rte_eth_dev_socket_id(self.port_id),
            "if_index": i.if_index,      # of a kernel interface, 0 for none
        }

    def configure(self, Mempool pool not None, Mempool copy_pool, *, int rx_queues=1,
                  int tx_queues=1, int rx_desc=1024, int tx_desc=1024, bint scatter=False,
                  bint interrupts=False) -> None:
        """Sets queues up (rte_eth_dev_configure, rx_queue_setup, tx_queue_setup).

        `pool` feeds the receive queues; `copy_pool` the copies of packets that the device
        cannot send as they are (None: such packets are dropped by name). `interrupts`: a packet
        can wake a sleeping lcore.
        """
        cdef eth.rte_eth_conf conf
        cdef eth.rte_eth_dev_info i
        cdef uint16_t rxd = rx_desc, txd = tx_desc
        cdef int socket, q
        self.check()
        if self.state != MADE:
            raise StateError("the port is already configured")
        check_rc(eth.rte_eth_dev_info_get(self.port_id, &i), "no device info", PortError)
        memset(&conf, 0, sizeof(conf))
        if rx_queues > 1 and i.flow_type_rss_offloads:
            conf.rxmode.mq_mode = eth.RTE_ETH_MQ_RX_RSS
            conf.rx_adv_conf.rss_conf.rss_hf = i.flow_type_rss_offloads & (
                <uint64_t>eth.RTE_ETH_RSS_IP | eth.RTE_ETH_RSS_TCP | eth.RTE_ETH_RSS_UDP)
        if scatter:
            conf.rxmode.offloads |= i.rx_offload_capa & eth.RTE_ETH_RX_OFFLOAD_SCATTER
        conf.txmode.offloads |= i.tx_offload_capa & eth.RTE_ETH_TX_OFFLOAD_MULTI_SEGS
        conf.intr_conf.rxq = interrupts
        check_rc(eth.rte_eth_dev_configure(self.port_id, rx_queues, tx_queues, &conf),
                 f"{self.device}: cannot be configured with {rx_queues} rx and {tx_queues} "
                 f"tx queues", PortError)
        check_rc(eth.rte_eth_dev_adjust_nb_rx_tx_desc(self.port_id, &rxd, &txd),
                 f"{self.device}: cannot use {rx_desc} rx and {tx_desc} tx descriptors", PortError)
        socket = eth.rte_eth_dev_socket_id(self.port_id)
        for q in range(rx_queues):
            check_rc(eth.rte_eth_rx_queue_setup(self.port_id, q, rxd, socket, NULL,
                                                pool.check()),
                     f"{self.device}: rx queue {q} cannot be set up", PortError)
        for q in range(tx_queues):
            check_rc(eth.rte_eth_tx_queue_setup(self.port_id, q, txd, socket, NULL),
                     f"{self.device}: tx queue {q} cannot be set up", PortError)
        self.rxqs = <vn.vn_rxq *>aligned_alloc(64, rx_queues * sizeof(vn.vn_rxq))
        self.txqs = <vn.vn_txq *>aligned_alloc(64, tx_queues * sizeof(vn.vn_txq))
        if self.rxqs == NULL or self.txqs == NULL:
            raise MemoryError
        memset(self.rxqs, 0, rx_queues * sizeof(vn.vn_rxq))
        memset(self.txqs, 0, tx_queues * sizeof(vn.vn_txq))
        for q in range(rx_queues):
            self.rxqs[q].port_id = self.port_id
            self.rxqs[q].queue_id = q
        for q in range(tx_queues):
            self.txqs[q].port_id = self.port_id
            self.txqs[q].queue_id = q
            self.txqs[q].max_len = 0xffffffff
            self.txqs[q].max_segs = i.tx_desc_lim.nb_seg_max if (
                0 < i.tx_desc_lim.nb_seg_max < 0xffff) else 0xffff
            self.txqs[q].copy_pool = copy_pool.check() if copy_pool is not None else NULL
            self.txqs[q].retry_cycles = eal.rte_get_tsc_hz() // 100
        self.n_rx_queues = rx_queues
        self.n_tx_queues = tx_queues
        self.pool = pool
        pool.users += 1
        self.copy_pool = copy_pool
        if copy_pool is not None:
            copy_pool.users += 1

    def set_tx(self, *, max_frame=None, bint rx_only=False, bint direct=False,
               bint vlan_extra=False, policy=None, retry_s=None, shared=None) -> None:
        """How packets leave: frame limit in bytes without FCS, policy, retry bound.

        `rx_only`: nothing does. `direct`: only packets of one segment of pool memory do, others
        are copied first. `vlan_extra`: a frame tagged 0x8100 may be 4 bytes longer. `shared`:
        several lcores send on one queue.
        """
        cdef int q
        self.check()
        if policy is not None:
            self.default_policy = policy_of(policy)
        for q in range(self.n_tx_queues):
            if max_frame is not None:
                self.txqs[q].max_len = max_frame
            if rx_only:
                self.txqs[q].flags |= vn.VN_TXF_RX_ONLY
            if direct:
                self.txqs[q].flags |= vn.VN_TXF_DIRECT
            if vlan_extra:
                self.txqs[q].flags |= vn.VN_TXF_VLAN4
            if shared is not None:
                self.txqs[q].flags = (self.txqs[q].flags & ~vn.VN_TXF_SHARED) | (
                    vn.VN_TXF_SHARED if shared else 0)
            if retry_s is not None:
                self.txqs[q].retry_cycles = <uint64_t>(retry_s * eal.rte_get_tsc_hz())

    def set_trace(self, uint64_t records, cut=None) -> None:
        """Receive queue 0 reads a trace of so many records; those in `cut` are dropped."""
        cdef const uint64_t[::1] numbers
        self.check()
        if self.rxqs == NULL:
            raise StateError("the port is not configured")
        self.rxqs[0].finite = 1
        self.rxqs[0].records = records
        self.rxqs[0].exhausted = records == 0
        if cut is not None and len(cut):
            self.cut_records = np.ascontiguousarray(cut, np.uint64)
            numbers = self.cut_records
            self.rxqs[0].cut = &numbers[0]
            self.rxqs[0].n_cut = len(numbers)

    def start(self) -> None:
        """Starts the device (rte_eth_dev_start)."""
        self.check()
        if self.state != STARTED:
            eal.rte_errno = 0
            check_rc(self.start_device(), f"{self.device}: cannot be started",
                     PortError)
            self.state = STARTED
            vn.vn_time_look()

    def describe_headers(self, uint16_t number, unsigned int time_unit, bint marks) -> None:
        """What header columns say of packets from here: the port's number; ns per unit of time.

        `marks`: the driver does not set mbuf->port, so that rx has to.
        """
        self.check()
        self.marks = marks
        vn.vn_port_number[self.port_id] = number
        vn.vn_time_unit[self.port_id] = time_unit

    def stop(self) -> None:
        """Stops the device; start() starts it again."""
        self.check()
        if self.users:
            raise StateError("the port is run by a pipeline; stop that first")
        if self.state == STARTED:
            check_rc(self.stop_device(), f"{self.device}: cannot be stopped",
                     PortError)
            self.state = STOPPED

    def guard(self) -> None:
        """From now on, bursts never meet the driver's interrupt callbacks (net_memif's)."""
        cdef int q
        self.check()
        if self.state == STARTED:
            raise StateError("the port is already started")
        for q in range(self.n_rx_queues):
            self.rxqs[q].guarded = 1
        for q in range(self.n_tx_queues):
            self.txqs[q].flags |= vn.VN_TXF_GUARDED
        self.guarded = True

    @property
    def disconnected(self) -> bool:
        """Has a guarded port no connection of those that starting it makes?

        It has one while the peer is yet to answer. (A memif server's are made by its peers.)
        """
        self.check()
        return self.guarded and self.state == STARTED and not vn.vn_guard_channel(self.port_id)

    def restart(self) -> None:
        """Stops and starts a guarded port; a forwarder that runs on it goes on.

        Until it is started again it receives nothing and takes nothing: after a PortError, until
        the next restart().
        """
        self.check()
        if not self.guarded or self.state != STARTED:
            raise StateError("the port is not started, or cannot be restarted in motion")
        check_rc(self.stop_device(), f"{self.device}: cannot be stopped", PortError)
        eal.rte_errno = 0
        check_rc(self.start_device(), f"{self.device}: cannot be started", PortError)

    def drain(self, int limit=1 << 20) -> int:
        """Receives and frees what waits in the device, uncounted; returns how many packets."""
        self.check_started()
        return self.drain_queues(limit)

    cdef int drain_queues(self, int limit):
        cdef rte_mbuf *pkts[64]
        cdef int total = 0, q
        cdef uint16_t n
        for q in range(self.n_rx_queues):
            while total < limit:
                n = vn.vn_rx_burst(&self.rxqs[q], pkts, min(64, limit - total))
                if n == 0:
                    break
                rte_pktmbuf_free_bulk(pkts, n)
                total += n
        return total

    def begin_close(self) -> bool:
        """From now on every other call is refused. False: another thread closes it, or has."""
        check_process()
        if self.state >= CLOSING:
            return False
        if self.users:
            raise StateError("the port is run by a pipeline; stop that first")
        self.was = self.state
        self.state = CLOSING
        return True

    def resume(self) -> None:
        """Takes begin_close back."""
        if self.state == CLOSING:
            self.state = self.was

    def close(self, bint drain=False) -> int:
        """Stops and closes the device; its counters stay readable. May be called twice.

        `drain`: what waits in it is received and freed first, uncounted; returns how many.
        """
        cdef int total = 0
        check_process()
        if self.state == CLOSED:
            return 0
        if self.state != CLOSING:
            self.was = self.state
        if self.users:
            raise StateError("the port is run by a pipeline; stop that first")
        if self.tx_waiting:
            raise StateError("another thread is sending on this port")
        stats = self.counters()
        if self.state == CLOSED:        # by another thread, meanwhile
            return 0
        # No Python from here on: no other thread runs.
        self.stats_at_close = stats
        self.state = CLOSED
        if drain and self.was == STOPPED and self.start_device() == 0:
            self.was = STARTED
        if drain and self.was == STARTED:
            total = self.drain_queues(1 << 20)
        if self.was == STARTED:
            self.stop_device()
        # A device that was never configured has nothing to close; hotplug_remove ends it.
        if self.rxqs != NULL:
            eth.rte_eth_dev_close(self.port_id)
        if self.pool is not None:
            self.pool.release()
        if self.copy_pool is not None:
            self.copy_pool.release()
            self.copy_pool = None
        return total

    @property
    def port_number(self) -> int:
        """DPDK's number of it."""
        return self.port_id

    @property
    def sending(self) -> bool:
        """Does another thread wait in tx, for at most the port's retry bound?"""
        return self.tx_waiting != 0

    @property
    def closed(self) -> bool:
        """Has the port been closed?"""
        return self.state == CLOSED

    @property
    def mac(self) -> str:
        """The port's MAC address, as "02:00:00:00:00:01"."""
        cdef eth.rte_ether_addr a
        self.check()
        check_rc(eth.rte_eth_macaddr_get(self.port_id, &a), "no MAC address", PortError)
        return bytes(a.addr_bytes[:6]).hex(":")

    @mac.setter
    def mac(self, value) -> None:
        cdef eth.rte_ether_addr a
        cdef bytes raw = mac_bytes(value)
        self.check()
        memcpy(a.addr_bytes, <const char *>raw, 6)
        check_rc(eth.rte_eth_dev_default_mac_addr_set(self.port_id, &a),
                 f"{self.device}: cannot set the MAC address", PortError)

    @property
    def mtu(self) -> int:
        """The port's MTU in bytes (frame without 14 bytes of header)."""
        cdef uint16_t value = 0
        self.check()
        check_rc(eth.rte_eth_dev_get_mtu(self.port_id, &value), "no MTU", PortError)
        return value

    @mtu.setter
    def mtu(self, int value) -> None:
        self.check()
        if not 0 <= value <= 65535:
            raise ConfigError(f"an MTU is from 68 to 65535 bytes, not {value}")
        check_rc(eth.rte_eth_dev_set_mtu(self.port_id, value),
                 f"{self.device}: its driver refuses an MTU of {value}", PortError)

    @property
    def promiscuous(self) -> bool:
        """Does the port receive frames for every MAC address?"""
        self.check()
        return eth.rte_eth_promiscuous_get(self.port_id) == 1

    @promiscuous.setter
    def promiscuous(self, bint on) -> None:
        self.check()
        if on:
            check_rc(eth.rte_eth_promiscuous_enable(self.port_id),
                     f"{self.device}: cannot be made promiscuous", PortError)
        else:
            check_rc(eth.rte_eth_promiscuous_disable(self.port_id),
                     f"{self.device}: cannot leave promiscuous mode", PortError)

    def link(self) -> dict:
        """``up`` (bool), ``speed_mbps`` (0: unknown) and ``full_duplex`` of the link, now."""
        cdef eth.rte_eth_link l
        self.check()
        memset(&l, 0, sizeof(l))
        check_rc(eth.rte_eth_link_get_nowait(self.port_id, &l), "no link state", PortError)
        speed = l.link_speed if l.link_speed != 0xffffffff else 0
        return {"up": bool(l.link_status), "speed_mbps": speed,
                "full_duplex": bool(l.link_duplex)}

    def counters(self) -> dict:
        """What veridnet counted at this port's burst calls, over all its queues.

        ``rx_packets``, ``rx_bytes``, ``tx_packets``, ``tx_bytes`` (frames without FCS),
        ``retries`` (tx bursts tried again), ``drops`` (reason -> packets that were to leave
        here, or came from here) and ``pmd_lost`` (records of a trace that the driver read and
        lost).
        """
        cdef int q, r
        cdef dict drops = {}
        cdef vn.vn_account *a
        check_process()
        if self.stats_at_close is not None:
            return self.stats_at_close
        settle_all()
        total = dict.fromkeys(("rx_packets", "rx_bytes", "tx_packets", "tx_bytes", "retries"), 0)
        lost = 0
        for q in range(self.n_rx_queues + self.n_tx_queues):
            if q < self.n_rx_queues:
                a = &self.rxqs[q].count
                lost += self.rxqs[q].lost
            else:
                a = &self.txqs[q - self.n_rx_queues].count
            total["rx_packets"] += a.rx_packets
            total["rx_bytes"] += a.rx_bytes
            total["tx_packets"] += a.tx_packets
            total["tx_bytes"] += a.tx_bytes
            total["retries"] += a.retries
            for r in range(vn.VN_DROP_MAX):
                if a.drops[r]:
                    name = vn.vn_drop_table[r].name.decode()
                    drops[name] = drops.get(name, 0) + a.drops[r]
        total["drops"] = drops
        total["pmd_lost"] = lost
        return total

    def pmd_stats(self) -> dict:
        """The driver's own counters (rte_eth_stats_get); what they mean differs by driver."""
        cdef eth.rte_eth_stats s
        self.check()
        memset(&s, 0, sizeof(s))
        check_rc(eth.rte_eth_stats_get(self.port_id, &s), "no driver statistics", PortError)
        return {"ipackets": s.ipackets, "opackets": s.opackets, "ibytes": s.ibytes,
                "obytes": s.obytes, "imissed": s.imissed, "ierrors": s.ierrors,
                "oerrors": s.oerrors, "rx_nombuf": s.rx_nombuf}

    def xstats(self) -> dict:
        """The driver's extended statistics, name -> value (rte_eth_xstats_get)."""
        return dict(self.xstats_array().tolist())

    def xstats_array(self):
        """`xstats` as a structured array of fields ``name`` (U63) and ``value`` (uint64)."""
        cdef eth.rte_eth_xstat_name *names
        cdef eth.rte_eth_xstat *values
        cdef int n, i
        self.check()
        n = check_rc(eth.rte_eth_xstats_get_names(self.port_id, NULL, 0), "no xstats", PortError)
        out = np.zeros(n, dtype=[("name", "U63"), ("value", np.uint64)])
        names = <eth.rte_eth_xstat_name *>calloc(n + 1, sizeof(eth.rte_eth_xstat_name))
        values = <eth.rte_eth_xstat *>calloc(n + 1, sizeof(eth.rte_eth_xstat))
        try:
            if names == NULL or values == NULL:
                raise MemoryError
            if (eth.rte_eth_xstats_get_names(self.port_id, names, n) != n
                    or eth.rte_eth_xstats_get(self.port_id, values, n) != n):
                raise PortError("no xstats")
            for i in range(n):
                out[i] = (names[values[i].id].name.decode(), values[i].value)
        finally:
            free(names)
            free(values)
        return out

    # -- data path ----------------------------------------------------------------------------

    @property
    def exhausted(self) -> bool:
        """Has the trace that this port reads ended, with nothing more to receive?

        False for a live port, always: receiving nothing is not the end.
        """
        cdef int q
        check_process()
        if self.state == CLOSED:
            return True
        for q in range(self.n_rx_queues):
            if not self.rxqs[q].exhausted:
                return False
        return self.n_rx_queues > 0

    def rx(self, Burst burst not None, unsigned int queue=0) -> int:
        """Receives up to ``burst.capacity`` packets into an empty burst; returns how many.

        0 means that nothing waits now. Raises BurstError if the burst still holds packets.
        (rte_eth_rx_burst)
        """
        cdef vn.vn_rxq *q
        cdef uint16_t n, i
        if vn.vn_forked or self.state != STARTED or self.users:
            self.check_started()
        if queue >= self.n_rx_queues:
            raise IndexError(f"rx queue {queue} of {self.n_rx_queues}")
        if burst.n or burst.busy:
            raise BurstError(
                f"the burst still holds {burst.n} packets",
                hint="send them, or free them with burst.clear()",
            )
        q = &self.rxqs[queue]
        n = vn.vn_rx(q, burst.pkts, burst.capacity)
        if n:
            if self.marks:
                for i in range(n):
                    burst.pkts[i].port = self.port_id
            burst.n = n
            burst.generation += 1
            burst.origin = &q.count
        return n

    def tx(self, Burst burst not None, unsigned int queue=0, policy=None) -> int:
        """Sends the burst; returns how many packets the port took. (rte_eth_tx_burst)

        What the port does not take is treated by `policy`: "retry" (the default: tried again
        for at most the port's retry bound, then dropped as "tx_full"), "drop" (at once) or
        "keep" (left in the burst, in order). Frames that the port would cut or garble are
        dropped by name before.

        Raises ViewError, before anything is sent, while views of the packets live.
        """
        cdef vn.vn_txq *q
        cdef vn.vn_tx_policy how = self.default_policy
        cdef uint16_t left
        cdef uint64_t before
        if policy is not None:
            how = policy_of(policy)      # may run Python: before the checks
        if vn.vn_forked or self.state != STARTED or self.users or self.tx_waiting:
            self.check_started()
        if queue >= self.n_tx_queues:
            raise IndexError(f"tx queue {queue} of {self.n_tx_queues}")
        if burst.n_views or burst.busy:
            burst.check_movable("send")
        if burst.n == 0:
            return 0
        q = &self.txqs[queue]
        before = q.count.tx_packets
        if not burst.sized or burst.origin != NULL:
            burst.settle()
        left = vn.vn_tx_sized(q, burst.pkts, burst.n, burst.sizes,
                              vn.VN_TX_KEEP if how == vn.VN_TX_RETRY else how)
        if left and how == vn.VN_TX_RETRY:
            # Waiting without the GIL lets the thread run that is to make room.
            burst.busy = True
            self.tx_waiting += 1
            with nogil:
                left = vn.vn_tx(q, burst.pkts, left, how)
            self.tx_waiting -= 1
            burst.busy = False
        if left:
            burst.generation += left != burst.n     # other packets in other places
            burst.n = left
            burst.sized = False
        else:
            burst.forget()
        return <int>(q.count.tx_packets - before)
