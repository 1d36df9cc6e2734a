"""Rings between threads, lcores and processes: rte_ring.

The lcores' loops use `Ring.ptr` themselves; what is here serves Python.
"""

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.exc cimport PyErr_CheckSignals
from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memmove, memset

import math
import time
import weakref

import numpy as np

from dpdk cimport eal, sync
from dpdk.mbuf cimport rte_mbuf
from kernels cimport vn
from veridnet._native.burst cimport Burst, account
from veridnet._native.errors cimport check_process, check_ptr, check_rc
from veridnet._native.memory cimport mbuf_returned
from veridnet._native.named cimport Named

from veridnet.errors import (
    BurstError, ClosedError, ConfigError, PoolError, StateError, ViewError,
)

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject *o)

#: Flags by mode: who puts, who gets.
MODES = {
    "mpmc": 0,
    "spsc": sync.RING_F_SP_ENQ | sync.RING_F_SC_DEQ,
    "spmc": sync.RING_F_SP_ENQ,
    "mpsc": sync.RING_F_SC_DEQ,
    "rts": sync.RING_F_MP_RTS_ENQ | sync.RING_F_MC_RTS_DEQ,
    "hts": sync.RING_F_MP_HTS_ENQ | sync.RING_F_MC_HTS_DEQ,
}
HOP_BURST_MAX = vn.VN_HOP_BURST_MAX

cdef uint64_t SLICE_NS = 20_000_000     # a wait looks for Ctrl-C so often
cdef uint64_t STUCK_NS = 200_000_000    # a move takes nanoseconds; a thread may be preempted in it

cdef object _rings = weakref.WeakSet()


def _live() -> list:
    """The live rings. One copy in one step: other threads make and lose rings meanwhile."""
    return [r for ref in _rings.data.copy() if (r := ref()) is not None]


def held() -> int:
    """Packets in the rings of this process; those in shared ones have been handed over."""
    cdef Ring ring
    total = 0
    for r in _live():
        ring = r
        if ring.ptr != NULL and ring.dtype is None and not ring.shared:
            total += sync.rte_ring_count(ring.ptr)
    return total


def close_all() -> list:
    """Closes every live ring; returns what went wrong."""
    problems = []
    for ring in _live():
        try:
            Ring.close(ring)
        except StateError as e:
            problems.append(f"ring {ring.name}: {e}")
    return problems


def seconds_of(timeout) -> float:
    """A timeout as seconds: None is for ever."""
    if timeout is None:
        return math.inf
    value = float(timeout)
    if not value >= 0:
        raise ValueError(f"timeout={timeout!r}: seconds, from 0; None to wait for ever")
    return value


@cython.auto_pickle(False)
cdef class Ring:
    """A ring; `veridnet.rings.Ring` says what users see."""

    def __init__(self, unsigned int size=0, *, str mode="mpmc", dtype=None, bint exact=False,
                 int socket=-1, str name="", Named named=None):
        cdef unsigned int flags
        check_process()
        if self.ptr != NULL or self.closing:
            raise StateError("a ring is made once")
        self.name = name
        self.dtype = dtype
        self.esize = 8 if dtype is None else dtype.itemsize
        self.named = named
        self.shared = named is not None
        self.attached = named is not None and not named.owner
        if self.attached:
            self.ptr = <eal.rte_ring *>named.ptr.at
            self.mode = mode
        else:
            flags = MODES[mode] | (sync.RING_F_EXACT_SZ if exact else 0)
            eal.rte_errno = 0
            self.ptr = sync.rte_ring_create_elem(name.encode(), self.esize, size, socket, flags)
            check_ptr(self.ptr, f"no memory for a ring of {size} elements", PoolError)
            self.mode = mode
            if named is not None:
                named.show(self.ptr)
        _rings.add(self)

    def __dealloc__(self):
        if self.ptr == NULL or vn.vn_forked:
            return
        if not self.closing:
            # No reference is left, so no thread is in it; a Piece holds one.
            try:
                self.leave(vn.VN_DROP_COLLECTED)
            except Exception:           # it is stuck: its packets are lost
                pass
            self.closing = self.drained = True
        self.maybe_free()

    def __reduce__(self):
        raise TypeError("a Ring cannot be pickled; Ring.attach(name) finds it in another process")

    cdef rte_ring *check(self) except NULL:
        check_process()
        if self.ptr == NULL or self.closing:
            raise ClosedError("the ring is closed")
        if self.attached and self.named.closed():
            raise ClosedError("the ring was closed by the process that made it")
        return self.ptr

    cdef int check_side(self, bint put) except -1:
        """May this end be moved now?"""
        cdef rte_ring *r = self.check()
        if self.left_open[put]:
            raise ViewError("views of a reservation that has ended are alive",
                            hint="delete them; until then this end of the ring stays reserved")
        if self.open_slot[put]:
            raise StateError(f"a reservation to {'put' if put else 'get'} is open on this ring")
        if self.shared and vn.vn_ring_busy(r, put) and self.mode != "hts":
            with nogil:
                free = vn.vn_ring_settle(r, put, STUCK_NS)
            if not free:
                raise StateError(
                    f"the ring is stuck: a process ended in the middle of a "
                    f"{'put' if put else 'get'}", hint="close it and make another")
        return 0

    # -- moving -------------------------------------------------------------------------------

    cdef unsigned int move(self, bint put, char *table, unsigned int n, bint bulk, object timeout,
                           unsigned int *done) except? 0xffffffff:
        """Moves up to n elements; *done counts them also where an exception ends it.

        The caller's table must not change while a wait goes without the GIL.
        """
        cdef double left = seconds_of(timeout)
        cdef unsigned int k, want
        cdef uint64_t ns
        cdef bint waited = False
        done[0] = 0
        if n == 0:
            self.check()
            return 0
        if bulk and n > sync.rte_ring_get_capacity(self.check()):
            raise ValueError(f"{n} elements never fit at once in a ring of "
                             f"{sync.rte_ring_get_capacity(self.ptr)}")
        began = time.monotonic() if left else 0.0
        while True:
            self.check_side(put)
            if put:
                k = vn.vn_ring_put(self.ptr, table + <size_t>done[0] * self.esize, self.esize,
                                   n - done[0], bulk)
            else:
                k = vn.vn_ring_get(self.ptr, table, self.esize, n, bulk)
            done[0] += k
            if done[0] == n or not left or (not put and done[0]):
                return done[0]
            if waited and time.monotonic() - began >= left:
                return done[0]
            ns = <uint64_t>min(<double>SLICE_NS,
                               max(0.0, left - (time.monotonic() - began)) * 1e9)
            want = n if bulk else 1
            waited = True
            self.waiting += 1
            try:
                with nogil:
                    vn.vn_ring_wait(self.ptr, put, want, ns, &self.stop)
                PyErr_CheckSignals()
            finally:
                self.waiting -= 1
                if self.closing:
                    self.maybe_free()

    def put(self, what, n=None, *, bint bulk=False, timeout=0.0) -> int:
        """Puts elements at the end; returns how many. See `veridnet.rings.Ring`."""
        cdef const uint8_t[::1] raw
        cdef unsigned int done = 0
        if self.dtype is None:
            return self.put_burst(what, n, bulk, timeout)
        if n is not None:
            raise TypeError("n= is of rings of packets; put(values[:n])")
        array = self.values_of(what)
        raw = array.view(np.uint8)
        self.check()
        if len(array) == 0:
            return 0
        return self.move(True, <char *>&raw[0], <unsigned int>min(len(array), 0x7fffffff), bulk,
                         timeout, &done)

    def get(self, what=1, n=None, *, bint bulk=False, timeout=0.0):
        """Gets elements from the front. See `veridnet.rings.Ring`."""
        cdef uint8_t[::1] raw
        cdef unsigned int done = 0, want
        if self.dtype is None:
            return self.get_burst(what, n, bulk, timeout)
        if n is not None:
            raise TypeError("n= is of rings of packets; get(n)")
        self.check()
        given = isinstance(what, np.ndarray)
        if given:
            array = what
            if array.dtype != self.dtype or array.ndim != 1 or not array.flags.c_contiguous or (
                    not array.flags.writeable):
                raise TypeError(f"an array to fill is contiguous, writable, of {self.dtype} and "
                                "one dimension")
        else:
            count = what.__index__()
            if count < 0:
                raise ValueError(f"{count} elements")
            if not bulk:
                count = min(count, sync.rte_ring_get_capacity(self.ptr))
            elif count > sync.rte_ring_get_capacity(self.ptr):
                raise ValueError(f"{count} elements are never there at once in a ring of "
                                 f"{sync.rte_ring_get_capacity(self.ptr)}")
            array = np.empty(count, self.dtype)
        want = <unsigned int>min(len(array), 0x7fffffff)
        if want:
            raw = array.view(np.uint8)
            self.move(False, <char *>&raw[0], want, bulk, timeout, &done)
        return done if given else array[:done]

    def values_of(self, what):
        """`what` as a contiguous array of the ring's dtype, of one dimension."""
        if isinstance(what, (np.ndarray, np.generic)):
            array = np.asarray(what)
            if array.dtype != self.dtype:
                if array.dtype.kind not in "iub" or self.dtype.kind not in "iu":
                    raise TypeError(f"the ring's elements are {self.dtype}, not {array.dtype}")
                cast = array.astype(self.dtype)
                if (cast != array).any():
                    raise OverflowError(f"a value does not fit in {self.dtype}")
                array = cast
        else:
            array = np.asarray(what, self.dtype)
        if array.ndim > 1:
            raise TypeError(f"elements have one dimension, not {array.ndim}")
        return np.ascontiguousarray(array.reshape(-1))

    def put_burst(self, Burst burst not None, n, bint bulk, timeout) -> int:
        cdef unsigned int done = 0, want
        cdef uint16_t i
        cdef rte_mbuf *m
        self.check_side(True)
        burst.check_movable("put into a ring")
        want = burst.n if n is None else min(<unsigned int>n.__index__(), burst.n)
        if want == 0:
            return 0
        burst.settle()
        if self.shared:
            for i in range(want):
                m = burst.pkts[i]
                while m != NULL and not m.ol_flags & vn.VN_FOREIGN:
                    m = m.next
                # Another process could not free it: who frees it is a function of this one.
                if m != NULL and vn.vn_unshare(NULL, &burst.pkts[i]) != 0:
                    raise PoolError("no free mbuf for a copy of a shared packet")
        burst.busy = True
        try:
            self.move(True, <char *>burst.pkts, want, bulk, timeout, &done)
        finally:
            burst.busy = False
            if done:
                if self.shared:
                    account.handed_out += done
                memmove(burst.pkts, burst.pkts + done, (burst.n - done) * sizeof(rte_mbuf *))
                burst.moved_out(burst.n - done)
        return done

    def get_burst(self, what, n, bint bulk, timeout) -> int:
        cdef unsigned int done = 0, room
        cdef Burst burst
        if not isinstance(what, Burst):
            raise TypeError("packets are got into a Burst: ring.get(burst)")
        burst = what
        self.check_side(False)
        burst.check_movable("append")
        room = burst.capacity - burst.n
        if n is not None:
            if n.__index__() > room:
                raise BurstError(f"{n} packets do not fit in a burst of {burst.capacity} that "
                                 f"holds {burst.n}")
            room = n.__index__()
        if room == 0:
            if n is None:
                raise BurstError("the burst is full", hint="send or clear it first")
            return 0
        burst.settle()
        burst.busy = True
        try:
            self.move(False, <char *>(burst.pkts + burst.n), room, bulk, timeout, &done)
        finally:
            burst.busy = False
            if done:
                if self.shared:
                    account.handed_in += done
                burst.n += done
                burst.sized = False
                burst.generation += 1
        return done

    def reserve(self, unsigned int n, *, bint bulk=True, timeout=0.0) -> Reservation:
        """Room for n elements, to be written in place. See `veridnet.rings.Ring`."""
        return Reservation(self, n, True, bulk, timeout)

    def peek(self, unsigned int n, *, bint bulk=True, timeout=0.0) -> Reservation:
        """The first n elements, to be read in place. See `veridnet.rings.Ring`."""
        return Reservation(self, n, False, bulk, timeout)

    # -- state --------------------------------------------------------------------------------

    def __len__(self) -> int:
        return sync.rte_ring_count(self.check())

    @property
    def free(self) -> int:
        """How many elements more it takes (rte_ring_free_count)."""
        return sync.rte_ring_free_count(self.check())

    @property
    def capacity(self) -> int:
        """How many elements it takes in all."""
        return sync.rte_ring_get_capacity(self.check())

    @property
    def full(self) -> bool:
        """Is there no room?"""
        return sync.rte_ring_free_count(self.check()) == 0

    @property
    def empty(self) -> bool:
        """Is there nothing in it?"""
        return sync.rte_ring_count(self.check()) == 0

    @property
    def closed(self) -> bool:
        """Has it been closed, here or by the process that made it?"""
        return self.ptr == NULL or self.closing or (self.attached and self.named.closed())

    @property
    def processes(self) -> list:
        """Ids of the other processes that have attached to it."""
        self.check()
        return [] if self.named is None else [p & 0xffffffff for p in self.named.others()]

    # -- life ---------------------------------------------------------------------------------

    cdef int drain(self, int reason) except -1:
        """Frees the packets in it."""
        cdef rte_mbuf *pkts[64]
        cdef unsigned int k
        if self.dtype is not None:
            return 0
        if not vn.vn_ring_settle(self.ptr, False, STUCK_NS):
            raise StateError("the ring is stuck: a process ended in the middle of a get")
        while True:
            k = vn.vn_ring_get(self.ptr, pkts, sizeof(rte_mbuf *), 64, False)
            if k == 0:
                break
            if self.shared:
                account.handed_in += k
            vn.vn_drop(&account, pkts, <uint16_t>k, reason)
        mbuf_returned()
        return 0

    cdef int leave(self, int reason) except -1:
        """Ends this process's part: the last one that uses a closed ring frees its packets.

        So does the owner while others live, if the ring takes several consumers.
        """
        last = self.named is None or self.named.leave()
        self.alone = last and not self.attached
        if last or (not self.attached and self.mode in ("mpmc", "spmc", "rts", "hts")):
            self.drain(reason)
        return 0

    def close(self) -> None:
        """Frees what is in it (packets are counted as drops "closed"). May be called twice.

        StateError while a pipeline runs on it. Threads that wait in it end with ClosedError.
        """
        cdef int end
        check_process()
        if self.ptr == NULL or self.closing:
            return
        if self.users:
            raise StateError("a pipeline runs on the ring; stop that first")
        self.closing = True
        self.stop = 1
        until = time.monotonic() + 2
        while self.waiting and time.monotonic() < until:
            time.sleep(0.001)
        for end in range(2):
            if self.open_slot[end]:
                self.open_slot[end] = False
                vn.vn_ring_zc_finish(self.ptr, end, 0)
        try:
            self.leave(vn.VN_DROP_CLOSED)
        finally:
            self.drained = True
            self.maybe_free()

    def address(self) -> int:
        """Where the rte_ring is, for a pipeline's program."""
        return <size_t>self.check()

    def hold(self) -> None:
        """A pipeline runs on it: it cannot be closed."""
        self.check()
        self.users += 1

    def unhold(self) -> None:
        """It does no more."""
        self.users -= 1

    cdef void maybe_free(self) noexcept:
        """Frees the memory once no thread and no array sees it."""
        if self.ptr == NULL or not self.drained or self.waiting or self.users or (
                self.pieces[0] or self.pieces[1]):
            return
        if self.alone:
            sync.rte_ring_free(self.ptr)
        self.ptr = NULL

    def __repr__(self) -> str:
        what = "packets" if self.dtype is None else str(self.dtype)
        if self.ptr == NULL or self.closing:
            return f"<Ring {self.name} of {what}, closed>"
        return (f"<Ring {self.name} of {what}, {self.mode}, "
                f"{sync.rte_ring_count(self.ptr)} of {sync.rte_ring_get_capacity(self.ptr)}>")


@cython.no_gc_clear     # __dealloc__ needs the ring, in a reference cycle too
cdef class Piece:
    """A contiguous part of a ring's memory; arrays hold it."""

    cdef Ring ring
    cdef void *at
    cdef Py_ssize_t size
    cdef bint put

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        check_process()
        PyBuffer_FillInfo(buffer, self, self.at, self.size, not self.put, flags)

    def __dealloc__(self):
        cdef Ring ring = self.ring
        if ring is None or vn.vn_forked:
            return
        ring.pieces[self.put] -= 1
        if ring.pieces[self.put] == 0 and ring.left_open[self.put]:
            ring.left_open[self.put] = False
            if ring.ptr != NULL:
                vn.vn_ring_zc_finish(ring.ptr, self.put, 0)
        if ring.closing:
            ring.maybe_free()


@cython.auto_pickle(False)
cdef class Reservation:
    """Elements of a ring in place: a context manager. See `Ring.reserve` and `Ring.peek`."""

    cdef Ring ring
    cdef unsigned int n
    cdef unsigned int got
    cdef unsigned int keep
    cdef bint put
    cdef bint bulk
    cdef bint open
    cdef object timeout
    cdef list arrays

    def __init__(self, Ring ring not None, unsigned int n, bint put, bint bulk, timeout):
        cdef rte_ring *r = ring.check()
        if ring.dtype is None:
            raise TypeError("packets are put and got by bursts; a reservation is of values")
        if ring.mode not in ("spsc", "hts", "spmc" if put else "mpsc"):
            raise StateError(f"a ring of mode {ring.mode} has no reservations to "
                             f"{'put' if put else 'get'}", hint='mode="spsc" or mode="hts"')
        if bulk and n > sync.rte_ring_get_capacity(r):
            raise ValueError(f"{n} elements never fit at once in a ring of "
                             f"{sync.rte_ring_get_capacity(r)}")
        seconds_of(timeout)
        self.ring, self.n, self.put, self.bulk, self.timeout = ring, n, put, bulk, timeout

    def __enter__(self) -> tuple:
        cdef Ring ring = self.ring
        cdef sync.rte_ring_zc_data at
        cdef uint64_t ns
        if self.open:
            raise StateError("the reservation is open already")
        left = seconds_of(self.timeout)
        began = time.monotonic()
        while True:
            ring.check_side(self.put)
            self.got = 0
            if self.n:
                self.got = vn.vn_ring_zc_start(ring.ptr, self.put, ring.esize, self.n, self.bulk,
                                               &at)
            spent = time.monotonic() - began
            if self.got or not self.n or spent >= left:
                break
            ns = <uint64_t>min(<double>SLICE_NS, (left - spent) * 1e9)
            ring.waiting += 1
            try:
                with nogil:
                    vn.vn_ring_wait(ring.ptr, self.put, self.n if self.bulk else 1, ns, &ring.stop)
                PyErr_CheckSignals()
            finally:
                ring.waiting -= 1
                if ring.closing:
                    ring.maybe_free()
        self.keep = self.got
        if self.got == 0:
            self.arrays = [np.empty(0, ring.dtype), np.empty(0, ring.dtype)]
            return tuple(self.arrays)
        self.open = True
        ring.open_slot[self.put] = True
        self.arrays = [self.array(at.ptr1, at.n1), self.array(at.ptr2, self.got - at.n1)]
        return tuple(self.arrays)

    cdef object array(self, void *at, unsigned int n):
        cdef Piece piece
        if n == 0:
            return np.empty(0, self.ring.dtype)
        piece = Piece.__new__(Piece)
        piece.ring, piece.at, piece.put = self.ring, at, self.put
        piece.size = <Py_ssize_t>n * self.ring.esize
        self.ring.pieces[self.put] += 1
        return np.frombuffer(piece, np.uint8).view(self.ring.dtype)

    def finish(self, unsigned int n) -> None:
        """Only the first n elements are put (got) at the end of the with block."""
        if not self.open or n > self.got:
            raise StateError(f"{n} elements of a reservation of {self.got if self.open else 0}")
        self.keep = n

    def __exit__(self, kind, error, traceback):
        cdef Ring ring = self.ring
        cdef bint survives = False
        arrays, self.arrays = self.arrays, []
        if not self.open:
            return
        self.open = False
        if not ring.open_slot[self.put]:      # the ring was closed meanwhile
            for array in arrays:
                array.flags.writeable = False
            if kind is None:
                raise ClosedError("the ring was closed before the reservation ended")
            return
        ring.open_slot[self.put] = False
        while arrays:
            array = arrays.pop()
            array.flags.writeable = False
            if len(array):
                survives = survives or others_see(array)
        if survives:
            ring.left_open[self.put] = True
            if kind is None:
                raise ViewError(
                    "arrays or views made of the reserved ones are alive: nothing was "
                    f"{'put' if self.put else 'got'}",
                    hint="delete them inside the with block; until then that end stays reserved")
            return
        vn.vn_ring_zc_finish(ring.ptr, self.put, self.keep if kind is None else 0)


cdef bint others_see(array):
    """Does anything besides the caller and one name see the array, or its memory?

    An array made of it holds its base, another view of it the array itself.
    """
    base = array.base
    # The base: the array, and the name here. The array: the caller's name, and one of the user's
    # (what `as` bound); the argument is borrowed.
    return Py_REFCNT(<PyObject *>base) > 2 or Py_REFCNT(<PyObject *>array) > 2


def hop(Ring to not None, Ring back not None, lcores, unsigned int burst, unsigned int rounds,
        double timeout=30.0):
    """Round trips of a burst between two lcores: ticks of each (uint32 array), elements wrong.

    lcores: (that sends and stamps, that sends back); both idle worker lcores. Returns fewer than
    `rounds` where the time is over first.
    """
    cdef vn.vn_hop h
    cdef uint32_t[::1] ticks
    cdef int ping = lcores[0], pong = lcores[1], rc
    if ping == pong:
        raise ConfigError("a hop needs two lcores")
    for ring in (to, back):
        if (<Ring>ring).dtype != np.uint64:
            raise TypeError("a hop's rings are of uint64")
    if not 1 <= burst <= vn.VN_HOP_BURST_MAX:
        raise ConfigError(f"burst={burst}: must be from 1 to {vn.VN_HOP_BURST_MAX}")
    if not 1 <= rounds <= 1 << 24:
        raise ConfigError(f"rounds={rounds}: must be from 1 to {1 << 24}")
    memset(&h, 0, sizeof(h))
    h.to, h.back, h.burst, h.rounds = to.check(), back.check(), burst, rounds
    if burst > min(to.capacity, back.capacity):
        raise ConfigError(f"burst={burst}: the rings are smaller")
    found = np.zeros(rounds, np.uint32)
    ticks = found
    h.ticks = &ticks[0]
    for lcore in lcores:
        if eal.rte_eal_get_lcore_state(lcore) != eal.WAIT:
            raise StateError(f"lcore {lcore} is busy")
    to.users += 1
    back.users += 1
    try:
        check_rc(eal.rte_eal_remote_launch(vn.vn_hop_pong, &h, pong), "lcore cannot be started")
        rc = eal.rte_eal_remote_launch(vn.vn_hop_ping, &h, ping)
        try:
            check_rc(rc, "lcore cannot be started")
            end = time.monotonic() + timeout
            while not h.stop and time.monotonic() < end:
                time.sleep(0.002)       # answers Ctrl-C
        finally:
            h.stop = 1
            with nogil:
                eal.rte_eal_wait_lcore(ping)
                eal.rte_eal_wait_lcore(pong)
    finally:
        to.users -= 1
        back.users -= 1
    return found[:h.done], h.wrong
