from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from kernels cimport vn
from veridnet._native.burst cimport Burst
from veridnet._native.matchers cimport Program


cdef class HeaderStore:
    cdef void *columns[128]       # struct vn_columns
    cdef list arrays              # what the pointers point to
    cdef list views               # per column: {n: its first n rows}
    cdef readonly uint16_t capacity
    cdef bint pinned              # a plan was given: nothing is added to it
    cdef uint64_t want[2]         # the columns that a burst is parsed into, at first use
    cdef uint64_t have[2]         # ... that hold the burst of `generation`
    cdef uint32_t generation
    cdef uint16_t n
    cdef HeaderStore inner        # the packets inside tunnels
    cdef dict matches             # Program -> [bool array, {n: its first n rows}]
    cdef HeaderStore outer        # (borrowed from the owner: cleared with it)
    cdef int start(self, Burst burst) except -1
    cdef int allocate(self, int i) except -1
    cdef int fill(self, Burst burst, uint64_t lo, uint64_t hi) except -1
    cdef void parse_inner(self, Burst burst, uint64_t lo, uint64_t hi) noexcept
    cdef const uint16_t *base(self) noexcept
    cdef int ask(self, Burst burst, uint64_t lo, uint64_t hi) except -1
    cdef object match(self, Burst burst, Program program)
    cdef int run(self, Burst burst, Program program, const uint8_t *where, uint8_t *out) except -1
    cdef int decide(self, Burst burst, Program program, uint8_t *out) except -1
    cdef object column(self, Burst burst, int i)


cdef class ColumnsBase:
    cdef readonly Burst burst
    cdef HeaderStore store
    cdef uint32_t generation
    cdef uint16_t n
    cdef readonly int depth
    cdef int check(self) except -1
