"""Values that one thread publishes and others read without waiting: rte_rcu_qsbr.

A reader is online while it stands on a version, and offline between its reads. A native loop uses
vn_sync.h with `Rcu.ptr`.
"""

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

import threading
import time
import weakref

import numpy as np

from kernels cimport vn
from veridnet._native.errors cimport check_process
from veridnet._native.named cimport Named
from veridnet._native.ring import seconds_of

from veridnet import processes
from veridnet.errors import ClosedError, ConfigError, PoolError, StateError

cdef uint64_t SLICE_NS = 20_000_000     # a wait looks for Ctrl-C so often
cdef object _rcus = weakref.WeakSet()


def close_all() -> list:
    """Closes every live one; returns what went wrong."""
    problems = []
    for ref in _rcus.data.copy():
        if (rcu := ref()) is not None:
            try:
                Rcu.close(rcu)
            except StateError as e:
                problems.append(f"rcu {rcu.name}: {e}")
    return problems


@cython.auto_pickle(False)
@cython.no_gc_clear     # __dealloc__ of what holds it needs it, in a reference cycle too
cdef class Rcu:
    """A published array; `veridnet.rings.Rcu` says what users see."""

    def __init__(self, dtype=None, *, unsigned int readers=64, str name="", Named named=None,
                 process=0):
        check_process()
        if self.ptr != NULL or self.closing:
            raise StateError("an Rcu is made once")
        self.dtype = dtype
        self.name = name
        self.named = named
        self.process = process
        self.attached = named is not None and not named.owner
        if self.attached:
            self.ptr = <vn.vn_rcu *>named.ptr.at
        else:
            if not 1 <= readers <= vn.VN_RCU_READERS_MAX:
                raise ConfigError(f"readers={readers}: must be from 1 to {vn.VN_RCU_READERS_MAX}")
            self.ptr = vn.vn_rcu_create(readers, named is not None)
            if self.ptr == NULL:
                raise PoolError(f"no memory for an Rcu of {readers} readers")
        _rcus.add(self)

    def __dealloc__(self):
        # Readers and arrays hold it: none of this process is left.
        if self.ptr == NULL or vn.vn_forked:
            return
        if not self.closing:
            self.leave()
        if self.alone:
            vn.vn_rcu_free(self.ptr)

    def __reduce__(self):
        raise TypeError("an Rcu cannot be pickled; Rcu.attach(name) finds it in another process")

    cdef vn.vn_rcu *check(self) except NULL:
        check_process()
        if self.ptr == NULL or self.closing:
            raise ClosedError("the Rcu is closed")
        if self.attached and self.named.closed():
            raise ClosedError("the Rcu was closed by the process that made it")
        return self.ptr

    # -- writer -------------------------------------------------------------------------------

    def show(self, array) -> int:
        """Publishes a contiguous array of the right dtype; returns the token to wait for."""
        cdef vn.vn_rcu *c = self.check()
        cdef vn.vn_rcu_version *v
        cdef const uint8_t[::1] raw
        cdef int i
        if self.attached:
            raise StateError("only the process that made an Rcu publishes")
        if array.ndim > vn.VN_RCU_DIMS:
            raise ConfigError(f"an array of {array.ndim} dimensions; at most {vn.VN_RCU_DIMS}")
        vn.vn_rcu_reclaim(c)
        v = vn.vn_rcu_make(c, array.nbytes)
        if v == NULL:
            raise PoolError(f"no memory for {array.nbytes} bytes")
        v.ndim = array.ndim
        for i in range(array.ndim):
            v.shape[i] = array.shape[i]
        if array.nbytes:
            raw = array.reshape(-1).view(np.uint8)
            memcpy(v.data, &raw[0], array.nbytes)
        token = vn.vn_rcu_show(c, v)
        if v.number == 1 and self.named is not None:
            self.named.show(c)          # not before there is something to read
        return token

    def wait(self, uint64_t token, timeout) -> bool:
        """Waits until no reader stands on what `token` replaced."""
        cdef vn.vn_rcu *c = self.check()
        cdef bint passed
        cdef uint64_t ns
        left = seconds_of(timeout)
        began = time.monotonic()
        while True:
            ns = <uint64_t>min(<double>SLICE_NS, max(0, left - (time.monotonic() - began)) * 1e9)
            self.users += 1
            try:
                with nogil:
                    passed = vn.vn_rcu_wait(c, token, ns)
                PyErr_CheckSignals()
            finally:
                self.users -= 1
            if passed:
                vn.vn_rcu_reclaim(c)
                return True
            if time.monotonic() - began >= left:
                return False

    def behind(self, uint64_t token) -> list:
        """The readers that may still stand on what `token` replaced; see `readers`."""
        cdef vn.vn_rcu *c = self.check()
        return [r for r in self.readers() if vn.vn_rcu_behind(c, r["reader"], token)]

    def readers(self) -> list:
        """The registered readers: a dict each.

        ``reader`` its number, ``process`` and ``thread`` their ids, ``name`` of the thread,
        ``reading`` whether it is inside a read now, ``alive`` whether the thread is.
        """
        cdef vn.vn_rcu *c = self.check()
        cdef uint32_t i
        found = []
        for i in range(c.readers):
            one = c.slots[i].process
            if one:
                tid = c.slots[i].tid
                found.append({
                    "reader": i, "process": one & 0xffffffff, "thread": tid,
                    "name": (<bytes>c.slots[i].name).decode(errors="replace"),
                    "reading": bool(vn.vn_rcu_is_online(c, i)),
                    "alive": processes.thread_alive(one, tid),
                })
        return found

    def forget(self, int reader) -> None:
        """Takes a reader out whose thread or process has ended. StateError if it lives."""
        cdef vn.vn_rcu *c = self.check()
        if not 0 <= reader < <int>c.readers or not c.slots[reader].process:
            raise ConfigError(f"there is no reader {reader}")
        if processes.thread_alive(c.slots[reader].process, c.slots[reader].tid):
            raise StateError(f"reader {reader} lives: what it reads must stay",
                             hint="let it leave its read")
        vn.vn_rcu_unregister(c, reader)

    @property
    def waiting(self) -> int:
        """Replaced versions that readers, or arrays that they kept, still hold in memory."""
        vn.vn_rcu_reclaim(self.check())
        cdef vn.vn_rcu_version *v = self.ptr.old
        n = 0
        while v != NULL:
            n += 1
            v = v.next
        return n

    # -- reader -------------------------------------------------------------------------------

    cdef object array(self, vn.vn_rcu_version *v):
        """The version as a read-only array, which keeps it. The caller is online."""
        cdef Version version = Version.__new__(Version)
        cdef uint32_t i
        version.rcu = self
        version.ptr = v
        vn.vn_rcu_pin(v)
        shape = tuple([v.shape[i] for i in range(v.ndim)])
        if v.nbytes == 0:
            array = np.empty(shape, self.dtype)
            array.flags.writeable = False
            return array
        return np.frombuffer(version, np.uint8).view(self.dtype).reshape(shape)

    @property
    def closed(self) -> bool:
        """Has it been closed, here or by the process that made it?"""
        return self.closing or self.ptr == NULL or (self.attached and self.named.closed())

    def close(self) -> None:
        """Ends its use; arrays that were read stay as they are. May be called twice."""
        check_process()
        if self.users:
            raise StateError("a pipeline reads it, or a thread publishes")
        if not self.closing:
            self.leave()

    cdef int leave(self) except -1:
        self.closing = True
        self.alone = self.named is None or (self.named.leave() and self.named.owner)
        return 0

    def __repr__(self) -> str:
        if self.closed:
            return f"<Rcu {self.name} of {self.dtype}, closed>"
        return f"<Rcu {self.name} of {self.dtype}, version {self.ptr.now.number}>"


@cython.no_gc_clear     # __dealloc__ needs what it refers to, in a reference cycle too
cdef class Version:
    """A version's bytes; arrays hold it."""

    cdef Rcu rcu
    cdef vn.vn_rcu_version *ptr

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        check_process()
        PyBuffer_FillInfo(buffer, self, self.ptr.data, self.ptr.nbytes, True, flags)

    def __dealloc__(self):
        if self.ptr != NULL and not vn.vn_forked:
            vn.vn_rcu_unpin(self.ptr)


@cython.auto_pickle(False)
@cython.no_gc_clear
cdef class Reader:
    """A thread's place among the readers: a context manager, entered again and again.

    Registered when it is made, until it is collected: at the thread's end.
    """

    cdef Rcu rcu
    cdef int slot
    cdef readonly int depth       # reads inside each other
    cdef readonly object thread

    def __cinit__(self, Rcu rcu not None):
        self.slot = -1
        tid, name = processes.thread()
        text = name.encode()[:vn.VN_RCU_NAME - 1]
        self.thread = tid
        self.slot = vn.vn_rcu_register(rcu.check(), rcu.process, tid, text)
        if self.slot < 0:
            raise StateError(f"all {rcu.ptr.readers} places of readers are taken",
                             hint="Rcu(readers=...), or rcu.forget(reader) those that are not "
                                  "alive in rcu.readers()")
        self.rcu = rcu

    def __dealloc__(self):
        if self.rcu is not None and self.slot >= 0 and not vn.vn_forked:
            vn.vn_rcu_unregister(self.rcu.ptr, self.slot)

    def __reduce__(self):
        raise TypeError("a reader is of its thread and cannot be pickled")

    def __enter__(self):
        cdef vn.vn_rcu *c = self.rcu.check()
        if threading.get_native_id() != self.thread:
            raise StateError("a read is entered by another thread than asked for it",
                             hint="`with rcu.read() as a:` in each thread")
        if self.depth == 0:
            vn.vn_rcu_online(c, self.slot)
        self.depth += 1
        try:
            return self.rcu.array(vn.vn_rcu_read(c))
        except BaseException:
            self.leave()
            raise

    cdef void leave(self) noexcept:
        self.depth -= 1
        if self.depth == 0:
            vn.vn_rcu_offline(self.rcu.ptr, self.slot)

    def __exit__(self, kind, error, traceback):
        check_process()
        if self.depth:
            self.leave()
