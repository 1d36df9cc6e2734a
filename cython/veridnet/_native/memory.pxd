from dpdk.mbuf cimport rte_mempool
from veridnet._native.named cimport Named


cdef class Mempool:
    cdef rte_mempool *ptr
    cdef readonly str name
    cdef readonly str memory
    cdef readonly int socket
    cdef readonly unsigned int size
    cdef readonly unsigned int data_room
    cdef bint closing
    cdef int users                # ports and running forwarders that allocate from it
    cdef public bint kept         # other processes may still use it: never freed
    cdef readonly bint attached   # it is another process's
    cdef public Named named       # by which they find it, or this process has found it
    cdef public bint residue      # its driver keeps mbufs for ever: freed with them
    cdef rte_mempool *check(self) except NULL
    cdef void maybe_free(self) noexcept
    cdef void release(self) noexcept


cdef void mbuf_returned() noexcept
cdef int live_views               # PacketViews of the process
