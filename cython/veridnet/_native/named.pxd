from libc.stdint cimport uint64_t
from kernels.vn cimport vn_named


cdef class Named:
    cdef vn_named *ptr
    cdef readonly str name
    cdef readonly str about
    cdef readonly uint64_t process
    cdef readonly bint owner
    cdef bint left
    cdef void show(self, void *at) noexcept
    cdef bint closed(self) noexcept
    cdef list others(self)
    cpdef bint leave(self) except -1
