from libc.stdint cimport uint16_t
from kernels cimport vn
from veridnet._native.burst cimport Burst
from veridnet._native.ruletable cimport RuleTable


cdef class ActionRunner:
    cdef readonly RuleTable table
    cdef list ports               # NativePort or None, by index
    cdef object pool
    cdef vn.vn_act_ctx *ctx
    cdef vn.vn_outs outs
    cdef const vn.vn_rule **hit
    cdef uint16_t room
    cdef bint busy
    cdef int grow(self, uint16_t n) except -1
    cdef list take_calls(self, object plan)
    cdef int call(self, Burst burst, list parts) except -1
