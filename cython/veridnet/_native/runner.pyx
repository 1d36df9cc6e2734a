"""Rules applied to bursts: the native half of ``table.apply`` (vn_act.h)."""

cimport cython
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

import numpy as np

from dpdk.mbuf cimport rte_mbuf
from kernels cimport vn
from veridnet._native.actions cimport ActionProgram, aligned
from veridnet._native.burst cimport Burst, account
from veridnet._native.errors cimport check_process
from veridnet._native.headers cimport ColumnsBase
from veridnet._native.memory cimport Mempool, mbuf_returned
from veridnet._native.port cimport NativePort
from veridnet._native.ruletable cimport RuleTable

from veridnet.errors import BurstError, ConfigError, StateError

cdef extern from * nogil:
    """
    #define vn_mark_of(m) ((m)->hash.fdir.hi)
    #define VN_MARKED RTE_MBUF_F_RX_FDIR_ID
    """
    uint32_t vn_mark_of(const rte_mbuf *m)
    uint64_t VN_MARKED


@cython.no_gc_clear     # __dealloc__ needs what it refers to, in a reference cycle too
cdef class ActionRunner:
    """Classifies bursts and does what the rules say: the native half of ``table.apply``.

    Parameters
    ----------
    table
        The rules.
    reader
        Which reader of the table it is; nobody else is while it runs.
    ports
        Where `forward` and `mirror` send: NativePorts by index; None where there is none.
    copy_pool
        Where copies come from; each packet's own pool if not given.
    policy
        Of packets that a port does not take: "retry" or "drop".

    One thread at a time may use it.
    """

    def __cinit__(self, RuleTable table not None, unsigned int reader, ports=(), *,
                  Mempool copy_pool=None, str policy="retry"):
        cdef vn.vn_txq *txqs[128]
        cdef uint16_t queues[128]
        cdef uint16_t own[128]
        cdef NativePort port
        cdef int i
        check_process()
        ports = list(ports)
        if len(ports) > vn.VN_ACT_PORTS:
            raise ConfigError(f"{len(ports)} ports; rules can name {vn.VN_ACT_PORTS}")
        if policy not in ("retry", "drop"):
            raise ConfigError(f"the tx policy of rules is retry or drop, not {policy!r}")
        if reader >= vn.VN_READERS:
            raise ConfigError(f"reader {reader}: a table has {vn.VN_READERS}")
        self.table = table
        self.ports = ports
        self.pool = copy_pool
        self.ctx = <vn.vn_act_ctx *>aligned(sizeof(vn.vn_act_ctx))
        memset(own, 0, sizeof(own))
        for i in range(len(ports)):
            port = ports[i]
            txqs[i] = NULL
            queues[i] = 0
            if port is not None:
                port.check_started()
                txqs[i] = port.txqs
                queues[i] = port.n_tx_queues
        self.ctx.table = table.check()
        self.ctx.reader = reader
        self.ctx.to = &self.outs
        self.ctx.whole = True
        self.outs.policy = vn.VN_TX_RETRY if policy == "retry" else vn.VN_TX_DROP
        self.outs.count = &account
        if copy_pool is not None:
            self.outs.copy_pool = copy_pool.check()
        if (vn.vn_rules_register(self.ctx.table, reader) != 0
                or vn.vn_outs_init(&self.outs, txqs, queues, own, <uint16_t>len(ports), 0) != 0):
            raise MemoryError

    def __dealloc__(self):
        vn.vn_outs_fini(&self.outs)
        if self.ctx != NULL:
            free(self.ctx.calls)
        free(self.ctx)
        free(self.hit)

    def __reduce__(self):
        raise TypeError("an ActionRunner is of its process and cannot be pickled")

    cdef int grow(self, uint16_t n) except -1:
        if n <= self.room:
            return 0
        free(self.hit)
        free(self.ctx.calls)
        self.room = 0
        self.ctx.room_calls = 0
        self.hit = <const vn.vn_rule **>calloc(n, sizeof(vn.vn_rule *))
        self.ctx.calls = <vn.vn_call *>calloc(n, sizeof(vn.vn_call))
        if self.hit == NULL or self.ctx.calls == NULL:
            raise MemoryError
        self.room = n
        self.ctx.room_calls = n
        return 0

    @property
    def missed(self) -> tuple:
        """(packets, bytes) that no rule matched."""
        return self.ctx.missed.packets, self.ctx.missed.bytes

    def run(self, Burst burst not None) -> Burst:
        """Applies the rules to the packets of a burst; returns it with what no action has ended.

        What is left keeps its order; packets that Python functions had and left come after the
        others. ViewError, before anything is done, while views live. If a function raises, the
        packets that it and later ones had are dropped ("collected").
        """
        cdef vn.vn_rules *t = self.table.check()
        cdef unsigned int r = self.ctx.reader
        cdef ColumnsBase h
        cdef uint64_t need[2]
        cdef NativePort port
        cdef uint16_t n, left
        if self.busy:
            raise StateError("rules are being applied with this runner already: "
                             "by another thread, or by the one whose function this is")
        burst.check_movable("apply rules")
        for port in self.ports:
            if port is not None:
                port.check_started()
        if burst.n == 0:
            return burst
        self.busy = True
        try:
            self.grow(burst.capacity)
            h = ColumnsBase(burst)
            vn.vn_rules_online(t, r)
            try:
                vn.vn_rules_needs2(t, r, need)
                h.store.fill(burst, need[0], need[1])
                # From here on no Python runs, until the packets are where they belong.
                burst.check_movable("apply rules")
                burst.settle()
                n = burst.n
                self.ctx.n_calls = 0
                burst.busy = True
                for port in self.ports:
                    if port is not None:
                        port.tx_waiting += 1
                with nogil:
                    vn.vn_rules_classify(t, r, <vn.vn_columns *>h.store.columns, burst.pkts, n,
                                         self.hit)
                    left = vn.vn_act_burst(self.ctx, burst.pkts, n, self.hit,
                                           <const vn.vn_actions *>vn.vn_rules_none(t, r))
                for port in self.ports:
                    if port is not None:
                        port.tx_waiting -= 1
                burst.busy = False
                burst.moved_out(left)
                mbuf_returned()
                parts = self.take_calls(burst.plan) if self.ctx.n_calls else None
                vn.vn_rules_quiescent(t, r)
            finally:
                vn.vn_rules_offline(t, r)
            if parts is not None:
                self.call(burst, parts)
        finally:
            self.busy = False
        return burst

    cdef list take_calls(self, object plan):
        """The packets that were set aside, in a burst for each action that did so."""
        cdef Burst part
        cdef vn.vn_call *c
        cdef uint32_t k
        groups = {}
        sizes = {}
        for k in range(self.ctx.n_calls):
            c = &self.ctx.calls[k]
            key = (<size_t>c.actions, c.at, c.queue)
            sizes[key] = sizes.get(key, 0) + 1
        for k in range(self.ctx.n_calls):
            c = &self.ctx.calls[k]
            key = (<size_t>c.actions, c.at, c.queue)
            if key not in groups:
                # The program's reference keeps it, whatever becomes of the rule.
                groups[key] = (<ActionProgram>c.actions.owner, c.at, c.queue,
                               Burst(sizes[key], plan))
            part = groups[key][3]
            part.take(&c.m, 1)
        self.ctx.n_calls = 0
        return list(groups.values())

    cdef int call(self, Burst burst, list parts) except -1:
        """Calls Python functions with their packets, and runs what comes after the call."""
        cdef ActionProgram program
        cdef Burst part
        cdef uint16_t at, queue
        while parts:
            program, at, queue, part = parts.pop(0)
            program.calls[at](part)
            if part.n and at + 1 < program.ptr.n:
                part.check_movable("apply rules")
                part.settle()
                self.ctx.n_calls = 0
                left = vn.vn_act_resume(self.ctx, part.pkts, part.n, program.ptr, at + 1, queue)
                part.moved_out(left)
                mbuf_returned()
                if self.ctx.n_calls:
                    parts[0:0] = self.take_calls(burst.plan)
            if part.n:
                part.check_movable("move")
                burst.check_room(part, 0)
                if part.n > burst.capacity - burst.n:
                    raise BurstError(
                        f"a rule's function left {part.n} packets, and there is room for "
                        f"{burst.capacity - burst.n}")
                part.settle()
                burst.settle()
                burst.take(part.pkts, part.n)
                part.forget()
        return 0


def marks(Burst burst not None):
    """What `mark` wrote: an int64 array of shape (len(burst),), -1 for a packet without a mark."""
    cdef int64_t[::1] out
    cdef uint16_t i
    burst.check_idle()
    result = np.full(burst.n, -1, np.int64)
    if burst.n:
        out = result
        for i in range(burst.n):
            if burst.pkts[i].ol_flags & VN_MARKED:
                out[i] = vn_mark_of(burst.pkts[i])
    return result
