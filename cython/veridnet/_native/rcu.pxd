from libc.stdint cimport uint64_t
from kernels.vn cimport vn_rcu, vn_rcu_version
from veridnet._native.named cimport Named


cdef class Rcu:
    cdef vn_rcu *ptr
    cdef Named named
    cdef readonly str name
    cdef readonly object dtype
    cdef readonly bint attached
    cdef bint closing
    cdef bint alone               # closed, and no other process has its memory
    cdef int users                # pipelines whose stages read it
    cdef uint64_t process
    cdef object __weakref__
    cdef vn_rcu *check(self) except NULL
    cdef int leave(self) except -1
    cdef object array(self, vn_rcu_version *v)
