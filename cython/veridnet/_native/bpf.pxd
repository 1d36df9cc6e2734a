from kernels cimport vn


cdef class Bpf:
    cdef vn.vn_bpf *program
    cdef readonly str text
