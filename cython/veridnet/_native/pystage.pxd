from libc.stdint cimport int16_t, int32_t, uint8_t, uint16_t
from kernels cimport vn
from veridnet._native.burst cimport Burst


cdef class PyStage:
    cdef readonly object function
    cdef readonly str name
    cdef readonly list errors     # the pipeline's: what a stage has raised
    cdef Burst burst
    cdef object rules             # int32 array: ids of the rules that won
    cdef dict rule_views
    cdef uint16_t reason
    cdef int wants
    cdef bint lent                # the burst has the batch's packets
    cdef int16_t verdict[512]
    cdef uint8_t keep[512]
    cdef int call(self, vn.vn_stage *s, vn.vn_worker *w, vn.vn_batch *b) except -1
    cdef int answer(self, object result, vn.vn_stage *s, vn.vn_worker *w,
                    vn.vn_batch *b) except -1
    cdef int take_back(self, vn.vn_batch *b) except -1


cdef void python_stage(vn.vn_stage *s, vn.vn_worker *w, vn.vn_batch *b) noexcept nogil
cdef void python_enter(vn.vn_worker *w) noexcept nogil
cdef void python_leave(vn.vn_worker *w) noexcept nogil
