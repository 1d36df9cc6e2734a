from libc.stdint cimport int32_t, uint32_t, uint64_t
from kernels cimport vn
from veridnet._native.actions cimport ActionProgram


cdef class Match:
    cdef vn.vn_test *tests
    cdef vn.vn_box *boxes
    cdef readonly uint32_t n_boxes
    cdef object program           # what else keeps it alive
    cdef const vn.vn_match_step *steps
    cdef uint32_t n_steps
    cdef const vn.vn_bpf **leaves
    cdef uint32_t n_leaves
    cdef uint64_t need[2]


cdef class RuleTable:
    cdef vn.vn_rules *ptr
    cdef vn.vn_rule **by_id       # the rule that has an id now; NULL: none
    cdef uint32_t room            # of by_id
    cdef uint32_t n_ids           # that were ever given out
    cdef object freed             # ids to give out again, the oldest first
    cdef list readers             # ids of readers that no call uses
    cdef int in_use               # readers that a call uses
    cdef int users                # forwarders that read it
    cdef bint merging[2]
    cdef dict before              # id -> (packets, bytes) of the rule that had it before
    cdef list before_default      # those that a reader may still see
    cdef object default           # what keeps the default actions alive
    cdef vn.vn_rules *check(self) except NULL
    cdef int make_room(self, uint32_t n) except -1
    cdef void collect(self)
    cdef int take_reader(self) except -1
    cdef int prepare_default(self, ActionProgram default) except -1
