from libc.stdint cimport uint32_t, uint64_t
from kernels cimport vn


cdef class Program:
    cdef vn.vn_match_step *steps
    cdef uint32_t n_steps
    cdef uint64_t need[2]         # the columns that it reads
    cdef readonly str text
