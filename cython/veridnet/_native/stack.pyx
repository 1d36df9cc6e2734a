"""Stacks of numbers between threads, lcores and processes: rte_stack."""

cimport cython
from libc.stdint cimport uint64_t

import weakref

import numpy as np

from dpdk cimport eal, sync
from kernels cimport vn
from veridnet._native.errors cimport check_process, check_ptr
from veridnet._native.named cimport Named

from veridnet.errors import ClosedError, PoolError, StateError

cdef object _stacks = weakref.WeakSet()


def close_all() -> None:
    """Closes every live stack."""
    for ref in _stacks.data.copy():
        if (stack := ref()) is not None:
            Stack.close(stack)


@cython.auto_pickle(False)
cdef class Stack:
    """A stack; `veridnet.rings.Stack` says what users see."""

    cdef sync.rte_stack *ptr
    cdef Named named
    cdef readonly str name
    cdef readonly bint lock_free
    cdef readonly bint attached
    cdef object __weakref__

    def __init__(self, unsigned int size=0, *, bint lock_free=True, int socket=-1, str name="",
                 Named named=None):
        check_process()
        if self.ptr != NULL:
            raise StateError("a stack is made once")
        self.name = name
        self.named = named
        self.lock_free = lock_free
        self.attached = named is not None and not named.owner
        if self.attached:
            self.ptr = <sync.rte_stack *>named.ptr.at
        else:
            eal.rte_errno = 0
            self.ptr = sync.rte_stack_create(name.encode(), size, socket,
                                             sync.RTE_STACK_F_LF if lock_free else 0)
            check_ptr(self.ptr, f"no memory for a stack of {size} elements", PoolError)
            if named is not None:
                named.show(self.ptr)
        _stacks.add(self)

    def __dealloc__(self):
        if self.ptr != NULL and not vn.vn_forked:
            self.close()

    def __reduce__(self):
        raise TypeError("a Stack cannot be pickled; Stack.attach(name) finds it in another process")

    cdef sync.rte_stack *check(self) except NULL:
        check_process()
        if self.ptr == NULL:
            raise ClosedError("the stack is closed")
        if self.attached and self.named.closed():
            raise ClosedError("the stack was closed by the process that made it")
        return self.ptr

    def push(self, values) -> int:
        """Puts numbers on top, the last of them topmost: all, or none if they do not fit.

        `values`: a number or a sequence, each from 0 to 2**64 - 1. Returns how many were pushed.
        """
        cdef const uint64_t[::1] table
        if isinstance(values, np.ndarray) and values.dtype != np.uint64:
            if values.dtype.kind not in "iub":
                raise TypeError(f"a stack's elements are uint64, not {values.dtype}")
            if values.dtype.kind == "i" and (values < 0).any():
                raise OverflowError("a value does not fit in uint64")
        array = np.ascontiguousarray(np.asarray(values, np.uint64).reshape(-1))
        table = array
        self.check()
        if len(array) == 0 or len(array) > self.ptr.capacity:
            return 0
        return sync.rte_stack_push(self.ptr, <void **>&table[0], <unsigned int>len(array))

    def pop(self, n=1):
        """Takes n numbers from the top, topmost first: all n, or none if there are fewer.

        Returns a uint64 array of n elements, or of none.
        """
        cdef uint64_t[::1] table
        cdef unsigned int got
        self.check()
        count = n.__index__()
        if count < 0:
            raise ValueError(f"{count} elements")
        if count > self.ptr.capacity:
            return np.empty(0, np.uint64)
        array = np.empty(count, np.uint64)
        if count == 0:
            return array
        table = array
        got = sync.rte_stack_pop(self.ptr, <void **>&table[0], <unsigned int>count)
        return array[:got]

    def __len__(self) -> int:
        return sync.rte_stack_count(self.check())

    @property
    def free(self) -> int:
        """How many elements more it takes (rte_stack_free_count)."""
        return sync.rte_stack_free_count(self.check())

    @property
    def capacity(self) -> int:
        """How many elements it takes in all."""
        return self.check().capacity

    @property
    def closed(self) -> bool:
        """Has it been closed, here or by the process that made it?"""
        return self.ptr == NULL or (self.attached and self.named.closed())

    def close(self) -> None:
        """Frees it, or ends this process's use of it. May be called twice."""
        check_process()
        if self.ptr == NULL:
            return
        if self.named is None or (self.named.leave() and self.named.owner):
            sync.rte_stack_free(self.ptr)
        self.ptr = NULL

    def __repr__(self) -> str:
        if self.ptr == NULL:
            return f"<Stack {self.name}, closed>"
        kind = "lock-free" if self.lock_free else "with a lock"
        return (f"<Stack {self.name}, {kind}, "
                f"{sync.rte_stack_count(self.ptr)} of {self.ptr.capacity}>")
