from libc.stdint cimport uint64_t
from dpdk.eal cimport rte_ring
from veridnet._native.burst cimport Burst
from veridnet._native.named cimport Named


cdef class Ring:
    cdef rte_ring *ptr
    cdef Named named              # None: this process's alone
    cdef readonly str name
    cdef readonly str mode
    cdef readonly object dtype    # of the elements; None: mbufs
    cdef readonly unsigned int esize
    cdef readonly bint shared     # with other processes: what is put and got is handed over
    cdef readonly bint attached   # another process made it
    cdef int users                # pipelines that run on it
    cdef int waiting              # threads in put, get and reservations
    cdef int stop                 # they are to end
    cdef bint closing
    cdef bint drained
    cdef bint alone               # closed, and no other process has its memory
    cdef bint open_slot[2]        # reservations: [True] to put, [False] to get
    cdef bint left_open[2]        # ... whose views outlived them
    cdef int pieces[2]            # their memory that arrays still see
    cdef object __weakref__
    cdef rte_ring *check(self) except NULL
    cdef void maybe_free(self) noexcept
    cdef int leave(self, int reason) except -1
    cdef int drain(self, int reason) except -1
    cdef int check_side(self, bint put) except -1
    cdef unsigned int move(self, bint put, char *table, unsigned int n, bint bulk, object timeout,
                           unsigned int *done) except? 0xffffffff
