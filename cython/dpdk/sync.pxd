"""DPDK's rings and stacks as they are: rte_ring.h, rte_ring_peek_zc.h, rte_stack.h."""

from libc.stdint cimport uint32_t
from dpdk.eal cimport rte_ring

cdef extern from "rte_ring.h" nogil:
    enum:
        RTE_RING_SZ_MASK
        RING_F_SP_ENQ
        RING_F_SC_DEQ
        RING_F_EXACT_SZ
        RING_F_MP_RTS_ENQ
        RING_F_MC_RTS_DEQ
        RING_F_MP_HTS_ENQ
        RING_F_MC_HTS_DEQ
    ssize_t rte_ring_get_memsize_elem(unsigned int esize, unsigned int count)
    rte_ring *rte_ring_create_elem(const char *name, unsigned int esize, unsigned int count,
                                   int socket_id, unsigned int flags)
    unsigned int rte_ring_count(const rte_ring *r)
    unsigned int rte_ring_free_count(const rte_ring *r)
    unsigned int rte_ring_get_capacity(const rte_ring *r)
    void rte_ring_free(rte_ring *r)

cdef extern from "rte_ring_peek_zc.h" nogil:
    ctypedef struct rte_ring_zc_data "struct rte_ring_zc_data":
        void *ptr1
        void *ptr2
        unsigned int n1

cdef extern from "rte_stack.h" nogil:
    enum:
        RTE_STACK_F_LF
    ctypedef struct rte_stack "struct rte_stack":
        uint32_t capacity
    rte_stack *rte_stack_create(const char *name, unsigned int count, int socket_id,
                                uint32_t flags)
    void rte_stack_free(rte_stack *s)
    unsigned int rte_stack_push(rte_stack *s, void * const *obj_table, unsigned int n)
    unsigned int rte_stack_pop(rte_stack *s, void **obj_table, unsigned int n)
    unsigned int rte_stack_count(rte_stack *s)
    unsigned int rte_stack_free_count(rte_stack *s)
