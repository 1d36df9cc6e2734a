from libc.stdint cimport uint32_t, uint64_t
from kernels cimport vn


cdef class Program:
    cdef vn.vn_match_step *steps
    cdef uint32_t n_steps
    cdef uint64_t need[2]         # the columns that it reads
    cdef uint64_t need_all[2]     # ... and those that say which rows are doubtful
    cdef readonly str text
    cdef readonly tuple leaves    # Bpf: columns VN_COLUMNS.. are what they say
    cdef readonly Program doubt   # the rows that only packets' bytes decide; None: no row
    cdef readonly Program raw     # ... which then does
