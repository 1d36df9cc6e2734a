from kernels cimport vn


cdef class RuleTable:
    cdef vn.vn_rules *ptr
    cdef list old
    cdef list keep
    cdef vn.vn_rules *check(self) except NULL
