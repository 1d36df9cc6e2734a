"""Mbuf pools, and the memory under them.

Where no hugepages are free, pools live on an external heap of transparent huge pages (see
cython/kernels/vn_memory.h). A heap's memory stays mapped for the life of the process and is used
again by later pools.
"""

cimport cython
from libc.errno cimport EINVAL, EIO, errno
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

from dpdk cimport eal
from dpdk.mbuf cimport (
    RTE_PKTMBUF_HEADROOM, rte_mempool, rte_mempool_avail_count, rte_mempool_free,
    rte_mempool_in_use_count, rte_mempool_lookup, rte_pktmbuf_data_room_size,
    rte_pktmbuf_pool_create,
)
from kernels cimport vn
from veridnet._native.errors cimport check_process, check_ptr, check_rc
from veridnet._native.named cimport Named

from veridnet.errors import ClosedError, ConfigError, PoolError, StateError

HEADROOM = RTE_PKTMBUF_HEADROOM

cdef dict _closing = {}       # address of a pool that waits for its last mbuf -> Mempool


def hugepages_probe(size_t pages, size_t page_bytes) -> int:
    """0 if that many hugepages can be mapped now (no mount needed), else a negative errno."""
    return vn.vn_hugepages_probe(pages, page_bytes)


@cython.auto_pickle(False)
cdef class Heap:
    """An external heap on transparent huge pages, growing by chunks.

    Its memory is neither shared by file descriptor (vhost and virtio-user need that) nor pinned
    for DMA: a real NIC needs hugepages. DPDK Programmer's Guide, "Support for externally
    allocated memory". With a ``node``, its chunks lie on that NUMA node as far as it has room.
    """

    cdef readonly str name
    cdef readonly int socket
    cdef readonly int node
    cdef list chunks

    def __init__(self, str name, int node=-1):
        check_process()
        self.name = name
        self.node = node
        self.chunks = []
        eal.rte_errno = 0
        check_rc(eal.rte_malloc_heap_create(name.encode()), "cannot make a memory heap", PoolError)
        self.socket = check_rc(eal.rte_malloc_heap_get_socket(name.encode()),
                               "cannot make a memory heap", PoolError)

    def grow(self, size_t size) -> None:
        """Adds at least `size` bytes, rounded up to 2 MiB."""
        cdef size_t length = (size + (2 << 20) - 1) // (2 << 20) * (2 << 20)
        cdef void *va
        cdef bytes name = self.name.encode()
        cdef int rc
        check_process()
        with nogil:
            va = vn.vn_thp_map(length, self.node)
        if va == NULL:
            where = "" if self.node < 0 else f" on NUMA node {self.node}"
            raise PoolError(f"cannot map {length >> 20} MiB{where}", errno)
        eal.rte_errno = 0
        rc = eal.rte_malloc_heap_memory_add(name, va, length, NULL, length >> 21, 2 << 20)
        if rc != 0:
            vn.vn_thp_unmap(va, length)
            check_rc(rc, "cannot add memory to a heap", PoolError)
        self.chunks.append((<size_t>va, length))

    @property
    def free_bytes(self) -> int:
        """The largest block that can still be allocated, in bytes."""
        cdef eal.rte_malloc_socket_stats st
        if eal.rte_malloc_get_socket_stats(self.socket, &st) != 0:
            return 0
        return st.greatest_free_size

    @property
    def total_bytes(self) -> int:
        """All memory of the heap, in bytes."""
        return sum(length for _, length in self.chunks)

    @property
    def huge_bytes(self) -> int:
        """How much of it the kernel has placed on huge pages, in bytes (smaps AnonHugePages)."""
        cdef size_t total = 0
        for va, length in self.chunks:
            total += vn.vn_thp_huge_bytes(<void *><size_t>va, length)
        return total

    def promote(self) -> int:
        """Makes huge pages of what is small (MADV_COLLAPSE), in use or not; returns their bytes.

        PoolError before Linux 6.1. What stays small lies where the kernel found no free piece of
        2 MiB (see `veridnet hugepages`).
        """
        cdef size_t va, length
        cdef int64_t rc, total = 0
        check_process()
        for va, length in self.chunks:
            with nogil:
                rc = vn.vn_thp_promote(<void *>va, length)
            check_rc(min(rc, 0), "cannot promote memory to huge pages", PoolError)
            total += rc
        return total << 21


cdef class Mempool:
    """A pool of packet buffers (rte_pktmbuf_pool_create).

    Parameters
    ----------
    name
        Unique in the process, at most 25 characters.
    size
        How many mbufs. 2**n - 1 uses the memory best.
    data_room
        Bytes for a frame in one mbuf, headroom (128 bytes) not included.
    socket
        Where the memory lies: a NUMA node, a heap's socket, or -1 for any.
    cache
        Mbufs that each lcore keeps for itself.

    ``residue`` set: a driver keeps some of its mbufs for ever (net_af_xdp leaves its fill ring), so
    the closed pool is freed with them in use, once its ports are gone and no view lives.

    A pool with mbufs in use (held by a live view of packet bytes) outlives `close`: it is freed
    when the last of them comes back.

    ``named`` found: another process's pool of that name (rte_mempool_lookup).
    """

    def __cinit__(self, str name, unsigned int size, unsigned int data_room=2048, int socket=-1,
                  unsigned int cache=256, str memory="", Named named=None):
        check_process()
        self.name = name
        self.memory = memory
        self.named = named
        if named is not None and not named.owner:
            self.attached = True
            eal.rte_errno = 0
            self.ptr = rte_mempool_lookup(name.encode())
            check_ptr(self.ptr, f"there is no pool {name}", PoolError)
            self.size = self.ptr.size
            self.data_room = rte_pktmbuf_data_room_size(self.ptr) - RTE_PKTMBUF_HEADROOM
            self.socket = self.ptr.socket_id
            return
        if not 1 <= size <= 2**27:
            raise ConfigError(f"size must be from 1 to 2**27, not {size}")
        if not 64 <= data_room <= 65535 - RTE_PKTMBUF_HEADROOM:
            raise ConfigError(f"data_room must be from 64 to 65407 bytes, not {data_room}")
        cache = min(cache, 512, size * 2 // 3)
        eal.rte_errno = 0
        self.ptr = rte_pktmbuf_pool_create(name.encode(), size, cache, 0,
                                           data_room + RTE_PKTMBUF_HEADROOM, socket)
        check_ptr(self.ptr, f"no memory for a pool of {size} mbufs of {data_room} bytes",
                  PoolError)
        self.size = size
        self.data_room = data_room
        self.socket = socket

    cdef rte_mempool *check(self) except NULL:
        check_process()
        if self.ptr == NULL or self.closing:
            raise ClosedError("the mempool is closed")
        if self.attached and self.named.closed():
            raise ClosedError("the primary has closed its runtime, and the mempool")
        return self.ptr

    @property
    def in_use(self) -> int:
        """Mbufs out of the pool: held by ports, bursts and views. 0 once it is freed."""
        return 0 if self.ptr == NULL else rte_mempool_in_use_count(self.ptr)

    @property
    def available(self) -> int:
        """Mbufs in the pool, the lcores' caches included."""
        return rte_mempool_avail_count(self.check())

    @property
    def page_size(self) -> int:
        """Bytes of the pages that it was laid on: hugepages', else the machine's (4,096)."""
        return vn.vn_pool_page(self.check())

    def pages(self) -> dict[int, int]:
        """How many bytes of its buffers lie on which NUMA node (move_pages(2)).

        Those that no page stands behind yet are of node -1. PoolError where the kernel does not
        say (a container without CAP_SYS_NICE).
        """
        cdef uint64_t[1024] on      # VN_NODES
        cdef uint64_t absent = 0
        cdef rte_mempool *pool = self.check()
        cdef int rc
        memset(on, 0, sizeof(on))
        eal.rte_errno = 0
        with nogil:
            rc = vn.vn_pool_nodes(pool, on, &absent)
        check_rc(rc, f"cannot tell where the pages of {self.name} lie", PoolError)
        found = {node: on[node] for node in range(vn.VN_NODES) if on[node]}
        return {**found, -1: absent} if absent else found

    def move_to(self, int node) -> dict[int, int]:
        """Moves its buffers to a NUMA node, while it is used; returns `pages` as it is then.

        What lies beside it on the same huge page moves along. Pages that a device reads (an
        af_xdp port's) stay where they are, and so do those for which the node has no room.
        StateError for a pool on hugepages: devices know where these lie.
        """
        cdef rte_mempool *pool = self.check()
        cdef int rc
        if self.memory == "hugepages":
            raise StateError(
                f"{self.name} is on hugepages, whose place devices know: it cannot be moved",
                hint="make the pool on the node: add_pool(..., node=1)",
            )
        eal.rte_errno = 0
        with nogil:
            rc = vn.vn_pool_move(pool, node)
        if rc == -EINVAL:
            raise ConfigError(f"there is no NUMA node {node}", hint="veridnet topology")
        if rc != -EIO:  # some stay: the result says how many
            check_rc(rc, f"cannot move {self.name} to node {node}", PoolError)
        return self.pages()

    @property
    def closed(self) -> bool:
        """Has close() been called?"""
        return self.ptr == NULL or self.closing

    def close(self) -> None:
        """Frees the pool, at once or when its last mbuf comes back. May be called twice."""
        check_process()
        if self.ptr != NULL and not self.closing:
            self.closing = True
            _closing[<size_t>self.ptr] = self
        self.maybe_free()

    cdef void maybe_free(self) noexcept:
        if self.attached and self.closing and self.users == 0:
            _closing.pop(<size_t>self.ptr, None)
            self.ptr = NULL
        if self.ptr != NULL and self.closing and self.users == 0 and not self.kept and (
                rte_mempool_in_use_count(self.ptr) == 0 or (self.residue and live_views == 0)):
            _closing.pop(<size_t>self.ptr, None)
            rte_mempool_free(self.ptr)
            self.ptr = NULL

    cdef void release(self) noexcept:
        """A port or forwarder that allocates from it has gone."""
        self.users -= 1
        self.maybe_free()

    def __dealloc__(self):
        # Nothing holds it any more: neither a port, nor (by _closing) a packet that is out.
        if self.ptr != NULL and not (vn.vn_forked or self.kept or self.attached) and (
                rte_mempool_in_use_count(self.ptr) == 0):
            rte_mempool_free(self.ptr)

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self.in_use} in use"
        return f"<Mempool {self.name}: {self.size} mbufs of {self.data_room} bytes, {state}>"


cdef void mbuf_returned() noexcept:
    """An mbuf came back late: pools that wait for their last one may be freed now."""
    cdef Mempool pool
    if _closing:
        for found in list(_closing.values()):
            pool = <Mempool>found
            pool.maybe_free()
