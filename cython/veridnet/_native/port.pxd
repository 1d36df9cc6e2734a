from libc.stdint cimport uint16_t
from kernels.vn cimport vn_rxq, vn_txq, vn_tx_policy
from veridnet._native.memory cimport Mempool


cdef class NativePort:
    cdef uint16_t port_id
    cdef int state
    cdef int was                     # the state before closing began
    cdef int users                   # forwarders that run on this port
    cdef int tx_waiting              # threads that wait in tx without the GIL
    cdef readonly str device
    cdef readonly Mempool pool
    cdef Mempool copy_pool
    cdef object cut_records          # keeps the array that the rx queue points to
    cdef vn_rxq *rxqs
    cdef vn_txq *txqs
    cdef readonly uint16_t n_rx_queues
    cdef readonly uint16_t n_tx_queues
    cdef vn_tx_policy default_policy
    cdef dict stats_at_close
    cdef bint marks                  # the driver does not say which port packets came from: rx does
    cdef bint guarded                # bursts never meet interrupt callbacks: vn_guard.h
    cdef int drain_queues(self, int limit)
    cdef int check(self) except -1
    cdef int check_started(self) except -1
    cdef int start_device(self)
    cdef int stop_device(self)
