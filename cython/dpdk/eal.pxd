"""DPDK's EAL as it is: rte_eal.h, rte_lcore.h, rte_launch.h, rte_dev.h, rte_errno.h,
rte_log.h, rte_malloc.h, rte_version.h, rte_cycles.h."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

cdef extern from "rte_eal.h" nogil:
    int rte_eal_init(int argc, char **argv)
    int rte_eal_cleanup()
    int rte_eal_has_hugepages()
    int rte_eal_iova_mode()

cdef extern from "rte_errno.h" nogil:
    int rte_errno
    const char *rte_strerror(int errnum)

cdef extern from "rte_lcore.h" nogil:
    unsigned int rte_lcore_id()
    unsigned int rte_lcore_count()
    unsigned int rte_get_main_lcore()
    unsigned int rte_socket_id()

cdef extern from "rte_launch.h" nogil:
    ctypedef int (*lcore_function_t)(void *) noexcept nogil
    enum rte_lcore_state_t:
        WAIT
        RUNNING
    int rte_eal_remote_launch(lcore_function_t f, void *arg, unsigned int worker_id)
    rte_lcore_state_t rte_eal_get_lcore_state(unsigned int worker_id)
    int rte_eal_wait_lcore(unsigned int worker_id)

cdef extern from "rte_dev.h" nogil:
    int rte_eal_hotplug_add(const char *busname, const char *devname, const char *drvargs)
    int rte_eal_hotplug_remove(const char *busname, const char *devname)

cdef extern from "rte_devargs.h" nogil:
    struct rte_devargs:
        void *data
    int rte_devargs_parse(rte_devargs *da, const char *dev)

cdef extern from "rte_bus_vdev.h" nogil:
    int rte_vdev_init(const char *name, const char *args)

cdef extern from "rte_log.h" nogil:
    void rte_log_set_global_level(uint32_t level)
    int rte_log_set_level_pattern(const char *pattern, uint32_t level)

cdef extern from "rte_version.h" nogil:
    const char *rte_version()

cdef extern from "rte_cycles.h" nogil:
    uint64_t rte_get_tsc_hz()
    uint64_t rte_rdtsc()

cdef extern from "rte_malloc.h" nogil:
    ctypedef struct rte_malloc_socket_stats "struct rte_malloc_socket_stats":
        size_t heap_totalsz_bytes
        size_t heap_freesz_bytes
        size_t greatest_free_size
        size_t heap_allocsz_bytes
    int rte_malloc_get_socket_stats(int socket, rte_malloc_socket_stats *stats)
    int rte_malloc_heap_create(const char *heap_name)
    int rte_malloc_heap_memory_add(const char *heap_name, void *va_addr, size_t len,
                                   uint64_t *iova_addrs, unsigned int n_pages, size_t page_sz)
    int rte_malloc_heap_get_socket(const char *name)

cdef extern from "rte_ring.h" nogil:
    struct rte_ring:
        pass
    enum:
        RING_F_SP_ENQ
        RING_F_SC_DEQ
    rte_ring *rte_ring_create(const char *name, unsigned int count, int socket_id,
                              unsigned int flags)
    unsigned int rte_ring_count(const rte_ring *r)
    rte_ring *rte_ring_lookup(const char *name)
    void rte_ring_free(rte_ring *r)
