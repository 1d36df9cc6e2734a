from kernels cimport vn


cdef class Meter:
    cdef vn.vn_meter *ptr
    cdef readonly str kind
    cdef readonly dict parameters


cdef class ActionProgram:
    cdef vn.vn_actions *ptr
    cdef list memory              # addresses of what its actions point to
    cdef list meters              # kept alive
    cdef dict calls               # index of the action -> function
    cdef readonly tuple texts     # of the actions that it was made from
    cdef readonly frozenset ports     # port indices that it sends to
    cdef readonly bint counts     # does it say "count"?
    cdef void *keep(self, size_t size) except NULL
    cdef int fill(self, vn.vn_act *a, tuple op, int at) except -1


cdef void *aligned(size_t size) except NULL
