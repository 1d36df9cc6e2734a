"""Rule actions, compiled, and what runs them on a burst (vn_act.h).

What their texts mean is `veridnet.rules.actions`'s.
"""

cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

import numpy as np

from dpdk cimport eal
from kernels cimport vn
from veridnet._native.burst cimport drop_code

from veridnet.errors import ConfigError

cdef extern from "stdlib.h" nogil:
    void *aligned_alloc(size_t alignment, size_t size)

#: Ports that rules can name.
PORTS = vn.VN_ACT_PORTS
MAX_BURST_BYTES = vn.VN_LIMIT_MAX_BURST
COLORS = ("green", "yellow", "red")


cdef void *aligned(size_t size) except NULL:
    """Zeros, on cache lines of their own."""
    cdef size_t whole = (size + 63) & ~<size_t>63
    cdef void *p = aligned_alloc(64, whole)
    if p == NULL:
        raise MemoryError
    memset(p, 0, whole)
    return p


def tsc_hz() -> int:
    """Cycles a second of the clock that meters and limits go by."""
    return eal.rte_get_tsc_hz()


cdef class Meter:
    """A meter that rules share: rte_meter's srTCM (RFC 2697) or trTCM (RFC 2698), colour blind.

    Parameters
    ----------
    kind
        "srtcm": cir, cbs, ebs. "trtcm": cir, pir, cbs, pbs. Rates in bytes a second, bursts in
        bytes.
    now
        TSC cycles at which its buckets are full; by default, now.
    """

    def __cinit__(self, str kind, *, uint64_t cir, uint64_t cbs, uint64_t ebs=0, uint64_t pir=0,
                  uint64_t pbs=0, now=None):
        cdef uint64_t at = eal.rte_rdtsc() if now is None else now
        cdef int rc
        self.ptr = <vn.vn_meter *>aligned(sizeof(vn.vn_meter))
        self.kind = kind
        if kind == "srtcm":
            self.parameters = {"cir": cir, "cbs": cbs, "ebs": ebs}
            rc = vn.vn_meter_srtcm(self.ptr, cir, cbs, ebs, at)
        elif kind == "trtcm":
            self.parameters = {"cir": cir, "pir": pir, "cbs": cbs, "pbs": pbs}
            rc = vn.vn_meter_trtcm(self.ptr, cir, pir, cbs, pbs, at)
        else:
            raise ConfigError(f"a meter is srtcm or trtcm, not {kind!r}")
        if rc != 0:
            raise ConfigError(f"rte_meter refuses {kind} with {self.parameters}")

    def __dealloc__(self):
        free(self.ptr)

    def __reduce__(self):
        raise TypeError("a meter is of its process and cannot be pickled")

    def colors(self, times, lengths):
        """Colours packets of `lengths` bytes at `times` (TSC cycles): a uint8 array, 0 green,
        1 yellow, 2 red. For tests."""
        cdef const uint64_t[::1] t = np.ascontiguousarray(times, np.uint64)
        cdef const uint32_t[::1] n = np.ascontiguousarray(lengths, np.uint32)
        cdef uint8_t[::1] out
        cdef Py_ssize_t i
        if t.shape[0] != n.shape[0]:
            raise ValueError("a time for each length")
        result = np.zeros(t.shape[0], np.uint8)
        out = result
        for i in range(t.shape[0]):
            out[i] = <uint8_t>vn.vn_meter_color(self.ptr, t[i], n[i])
        return result

    def stats(self) -> dict:
        """Colour -> (packets, bytes) so far; bytes are those of IP."""
        return {name: (self.ptr.packets[i], self.ptr.bytes[i]) for i, name in enumerate(COLORS)}


def limit_takes(bint packets, uint64_t rate, uint64_t burst, uint64_t start, times, lengths):
    """What a rate limit that is full at `start` takes of packets at `times`: for tests."""
    cdef const uint64_t[::1] t = np.ascontiguousarray(times, np.uint64)
    cdef const uint32_t[::1] n = np.ascontiguousarray(lengths, np.uint32)
    cdef uint8_t[::1] out
    cdef Py_ssize_t i
    cdef vn.vn_limit *bucket = <vn.vn_limit *>aligned(sizeof(vn.vn_limit))
    result = np.zeros(t.shape[0], np.bool_)
    out = result.view(np.uint8)
    vn.vn_limit_init(bucket, packets, rate, burst, start)
    for i in range(t.shape[0]):
        out[i] = vn.vn_limit_take(bucket, t[i], n[i])
    free(bucket)
    return result


@cython.no_gc_clear     # __dealloc__ needs what it refers to, in a reference cycle too
cdef class ActionProgram:
    """The actions of a rule, compiled: immutable, but for buckets and counters of its own.

    Parameters
    ----------
    ops
        (name, argument...) each; `veridnet.rules.actions.compile` makes and checks them.
    texts
        What they were made from.
    counts
        Did the user ask for its counters?
    """

    def __cinit__(self, list ops, tuple texts=(), bint counts=False):
        cdef size_t size = sizeof(vn.vn_actions) + max(1, len(ops)) * sizeof(vn.vn_act)
        cdef int k
        self.memory = []
        self.meters = []
        self.calls = {}
        self.texts = texts
        self.counts = counts
        if len(ops) > 0xffff:
            raise ConfigError(f"{len(ops)} actions; a rule has at most 65535")
        self.ptr = <vn.vn_actions *>calloc(1, size)
        if self.ptr == NULL:
            raise MemoryError
        self.ptr.owner = <void *>self
        ports = set()
        for k, op in enumerate(ops):
            self.fill(&self.ptr.acts[k], op, k)
            if op[0] == "forward":
                ports.update(op[1])
            elif op[0] == "mirror":
                ports.add(op[1])
        self.ports = frozenset(ports)
        self.ptr.n = <uint16_t>len(ops)
        self.ptr.code = vn.VN_CODE_RUN
        if not ops:
            self.ptr.code = vn.VN_CODE_KEEP
        elif len(ops) == 1 and self.ptr.acts[0].op == vn.VN_ACT_DROP:
            self.ptr.code = vn.VN_CODE_DROP + self.ptr.acts[0].arg
        elif len(ops) == 1 and self.ptr.acts[0].op == vn.VN_ACT_FORWARD and (
                self.ptr.acts[0].arg == 1):
            self.ptr.code = vn.VN_CODE_PORT + self.ptr.acts[0].ports[0]

    def __dealloc__(self):
        for address in self.memory:
            free(<void *><size_t>address)
        free(self.ptr)

    def __reduce__(self):
        raise TypeError("compiled actions cannot be pickled; their texts can")

    def __repr__(self) -> str:
        return f"<ActionProgram {', '.join(self.texts) or 'of nothing'}>"

    cdef void *keep(self, size_t size) except NULL:
        cdef void *p = aligned(size)
        self.memory.append(<size_t>p)
        return p

    cdef int fill(self, vn.vn_act *a, tuple op, int at) except -1:
        cdef str name = op[0]
        cdef vn.vn_set *s
        cdef Meter meter
        cdef bytes address
        cdef int k, f
        cdef uint64_t value
        if name == "drop":
            a.op = vn.VN_ACT_DROP
            a.arg = drop_code(op[1])
        elif name == "forward" or name == "mirror":
            ports = list(op[1]) if name == "forward" else [op[1]]
            if not ports or not all(0 <= p < vn.VN_ACT_PORTS for p in ports):
                raise ConfigError(f"{name} to ports {ports}: they are from 0 to "
                                  f"{vn.VN_ACT_PORTS - 1}")
            if name == "mirror":
                a.op = vn.VN_ACT_MIRROR
                a.arg = ports[0]
            else:
                a.op = vn.VN_ACT_FORWARD
                a.arg = <uint16_t>len(ports)
                a.ports = <uint8_t *>self.keep(len(ports))
                for k, p in enumerate(ports):
                    a.ports[k] = p
        elif name == "queue":
            a.op = vn.VN_ACT_QUEUE
            a.arg = op[1]
        elif name == "set":
            a.op = vn.VN_ACT_SET
            s = a.set = <vn.vn_set *>self.keep(sizeof(vn.vn_set))
            vn.vn_set_init(s)
            for f, value in op[1]:
                if not 0 <= f < vn.VN_COLUMNS:
                    raise ConfigError(f"there is no column {f}")
                vn.vn_set_add(s, f, value)
        elif name == "nat":
            _, source, version, address, port = op
            a.op = vn.VN_ACT_NAT
            a.nat = <vn.vn_nat *>self.keep(sizeof(vn.vn_nat))
            if len(address) != {4: 4, 6: 16}[version]:
                raise ConfigError(f"an IPv{version} address does not have {len(address)} bytes")
            vn.vn_nat_init(a.nat, source, version, <const uint8_t *><const char *>address,
                           port is not None, port or 0)
        elif name == "push":
            a.op = vn.VN_ACT_PUSH
            a.arg = op[1]
        elif name == "pop":
            a.op = vn.VN_ACT_POP
        elif name == "ttl":
            a.op = vn.VN_ACT_TTL
        elif name == "mark":
            a.op = vn.VN_ACT_MARK
            a.value = op[1]
        elif name == "meter":
            meter = op[1]
            self.meters.append(meter)
            a.op = vn.VN_ACT_METER
            a.meter = meter.ptr
        elif name == "limit":
            a.op = vn.VN_ACT_LIMIT
            a.limit = <vn.vn_limit *>self.keep(sizeof(vn.vn_limit))
            vn.vn_limit_init(a.limit, op[1], op[2], op[3], eal.rte_rdtsc())
        elif name == "sample":
            a.op = vn.VN_ACT_SAMPLE
            a.sample = <vn.vn_sample *>self.keep(sizeof(vn.vn_sample))
            a.sample.n = op[1]
            if a.sample.n == 0:
                raise ConfigError("sample 1/0")
        elif name == "call":
            a.op = vn.VN_ACT_CALL
            self.calls[at] = op[1]
        else:
            raise ConfigError(f"there is no action {name!r}")
        return 0

    @property
    def needs_python(self) -> bool:
        """Does it call a Python function, which no lcore loop can do?"""
        return bool(self.calls)
