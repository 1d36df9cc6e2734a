"""DPDK's mempools and mbufs as they are: rte_mempool.h, rte_mbuf.h, rte_mbuf_core.h."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "rte_mempool.h" nogil:
    ctypedef struct rte_mempool "struct rte_mempool":
        char name[64]
        uint32_t size
        uint32_t cache_size
        uint32_t elt_size
        int socket_id
    unsigned int rte_mempool_in_use_count(const rte_mempool *mp)
    unsigned int rte_mempool_avail_count(const rte_mempool *mp)
    void rte_mempool_free(rte_mempool *mp)
    rte_mempool *rte_mempool_lookup(const char *name)

cdef extern from "rte_mbuf.h" nogil:
    enum:
        RTE_PKTMBUF_HEADROOM
        RTE_MBUF_DEFAULT_DATAROOM
    ctypedef struct rte_mbuf "struct rte_mbuf":
        void *buf_addr
        uint16_t data_off
        uint16_t refcnt
        uint16_t nb_segs
        uint16_t port
        uint64_t ol_flags
        uint32_t pkt_len
        uint16_t data_len
        rte_mempool *pool
        rte_mbuf *next
    rte_mempool *rte_pktmbuf_pool_create(const char *name, unsigned int n,
                                         unsigned int cache_size, uint16_t priv_size,
                                         uint16_t data_room_size, int socket_id)
    rte_mbuf *rte_pktmbuf_alloc(rte_mempool *mp)
    int rte_pktmbuf_alloc_bulk(rte_mempool *pool, rte_mbuf **mbufs, unsigned int count)
    void rte_pktmbuf_free(rte_mbuf *m)
    void rte_pktmbuf_free_bulk(rte_mbuf **mbufs, unsigned int count)
    void rte_pktmbuf_free_seg(rte_mbuf *m)
    rte_mbuf *rte_pktmbuf_copy(const rte_mbuf *m, rte_mempool *mp, uint32_t off, uint32_t length)
    uint16_t rte_pktmbuf_tailroom(const rte_mbuf *m)
    uint16_t rte_pktmbuf_data_room_size(rte_mempool *mp)
    const void *rte_pktmbuf_read(const rte_mbuf *m, uint32_t off, uint32_t len, void *buf)
    char *rte_pktmbuf_append(rte_mbuf *m, uint16_t len)
    uint16_t rte_mbuf_refcnt_read(const rte_mbuf *m)
    uint16_t rte_mbuf_refcnt_update(rte_mbuf *m, int value)
