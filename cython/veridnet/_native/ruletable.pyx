"""A STAND-IN for the flow-rule table, for the tests of actions: the founder's replaces it.

Rules are a list in order of winning; a rule's id is its index.
"""

cimport cython
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from kernels cimport vn
from veridnet._native.actions cimport ActionProgram
from veridnet._native.errors cimport check_process
from veridnet._native.matchers cimport Program

cdef extern from "stdlib.h" nogil:
    void *aligned_alloc(size_t alignment, size_t size)

cdef int ROOM = 65536


@cython.no_gc_clear     # __dealloc__ needs what it refers to, in a reference cycle too
cdef class RuleTable:
    """Rules: `load` gives it (Program or None, ActionProgram or None) in order of winning."""

    def __cinit__(self):
        self.ptr = <vn.vn_rules *>aligned_alloc(64, (sizeof(vn.vn_rules) + 63) & ~<size_t>63)
        if self.ptr == NULL:
            raise MemoryError
        memset(self.ptr, 0, sizeof(vn.vn_rules))
        self.old = []
        self.keep = []

    def __dealloc__(self):
        if self.ptr != NULL:
            for address in self.old:
                free(<void *><size_t>address)
        # (Counters are left: a stand-in.)
        free(self.ptr)

    cdef vn.vn_rules *check(self) except NULL:
        check_process()
        return self.ptr

    def load(self, rules, ActionProgram none=None) -> None:
        """Replaces all rules, and the actions of packets that match none."""
        cdef vn.vn_rule *array = <vn.vn_rule *>calloc(ROOM, sizeof(vn.vn_rule))
        cdef Program program
        cdef ActionProgram actions
        cdef int i, k
        cdef uint64_t need[2]
        if array == NULL:
            raise MemoryError
        need[0] = need[1] = 0
        self.old.append(<size_t>array)
        self.keep.append(list(rules))
        for i, (program, actions) in enumerate(rules):
            array[i].id = i
            array[i].order = ROOM - i
            array[i].flags = vn.vn_act_code(NULL if actions is None else actions.ptr)
            array[i].actions = NULL if actions is None else actions.ptr
            if program is not None:
                array[i].steps = program.steps
                array[i].n_steps = program.n_steps
                for k in range(2):
                    need[k] |= program.need[k]
        self.keep.append(none)
        self.ptr.n_rules = 0
        self.ptr.need[0] |= need[0]
        self.ptr.need[1] |= need[1]
        self.ptr.rules = array
        self.ptr.none = NULL if none is None else none.ptr
        self.ptr.n_rules = <uint32_t>len(rules)

    def counts(self, int rule) -> tuple:
        """(packets, bytes) of a rule."""
        cdef vn.vn_rule_counts c = vn.vn_rules_counts(self.ptr, rule)
        return c.packets, c.bytes

    def readers(self) -> dict:
        """Reader -> (online, how often quiescent), of those that were ever quiescent."""
        return {r: (self.ptr.readers[r].online, self.ptr.readers[r].quiescent)
                for r in range(vn.VN_READERS) if self.ptr.readers[r].quiescent}
