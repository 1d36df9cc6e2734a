from libc.stdint cimport uint8_t, uint16_t, uint32_t
from dpdk.mbuf cimport rte_mbuf
from kernels.vn cimport vn_account, vn_sizes
from veridnet._native.memory cimport Mempool


cdef class Burst:
    cdef rte_mbuf **pkts
    cdef rte_mbuf **parted        # packets on their way out; NULL before the first selection
    cdef uint16_t n
    cdef readonly uint16_t capacity
    cdef bint sized               # `sizes` describes pkts[0:n]
    cdef bint busy                # a call without the GIL is at work on it
    cdef vn_sizes sizes
    cdef vn_account *origin       # the rx queue that does not know the bytes of this burst yet
    cdef uint32_t generation      # counts the bursts that were held; views belong to one
    cdef uint32_t n_views         # live views of this generation
    cdef uint16_t *slot_views     # ... by packet
    cdef readonly object plan     # the headers to parse (veridnet.headers.Headers); None: as asked
    cdef object header_store      # their columns; None before the first use
    cdef object __weakref__
    cdef rte_mbuf *packet(self, Py_ssize_t i) except NULL
    cdef int check_idle(self) except -1
    cdef int check_movable(self, str what) except -1
    cdef void settle(self) noexcept
    cdef void forget(self) noexcept
    cdef void discard(self, int reason) noexcept
    cdef void moved_out(self, uint16_t left) noexcept
    cdef int take(self, rte_mbuf **pkts, uint16_t n) except -1
    cdef int check_rows(self, const uint8_t[::1] rows) except -1
    cdef int check_room(self, Burst other, uint16_t n) except -1
    cdef Burst move(self, const uint8_t[::1] rows, Burst into)
    cdef int part(self, const uint8_t[::1] rows) except -1
    cdef int own(self, const uint8_t[::1] rows, uint16_t headroom, uint16_t head) except -1
    cdef int retag(self, mask, bint push, uint16_t tpid, uint16_t tci) except -1


cdef vn_account account
cdef void settle_all()
cdef int drop_code(str reason) except -1
