from libc.stdint cimport uint16_t
from kernels cimport vn
from dpdk.eal cimport rte_ring


cdef class Bridge:
    cdef vn.vn_bridge *ptr
    cdef dict at_end


cdef class WorkerRing:
    cdef rte_ring *ptr
    cdef readonly str name
    cdef readonly unsigned int size


cdef class Program:
    cdef vn.vn_program *ptr
    cdef readonly list kept       # what its stages refer to
    cdef readonly list ports      # NativePorts, by number
    cdef readonly list tables     # RuleTables
    cdef readonly list caches     # (RuleTable, is it to remember flows?)
    cdef readonly list stages     # (number, address of the struct vn_stage)
    cdef list memory              # addresses of what it allocated
    cdef list batches             # ... of branches' batches
    cdef unsigned int reader
    cdef list external            # is each sink the program's ring?
    cdef list shared_sinks        # numbers of those to other processes
    cdef list shared_lanes        # ... and of lanes from them
    cdef void *alloc(self, size_t size) except NULL
    cdef int chain(self, vn.vn_chain *c, list spec) except -1
    cdef int fill(self, vn.vn_stage *s, tuple op) except -1
    cdef vn.vn_branch *branch(self, list spec) except NULL
    cdef vn.vn_filter *filter(self, object program) except NULL
    cdef vn.vn_rules_arg *rules(self, object table, bint flow_cache) except NULL
