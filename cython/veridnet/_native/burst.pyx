"""A burst of packets, and who owns them.

A Burst owns its mbufs from the moment they are received (or made) until they are sent or freed.
Views of packet bytes hold a reference of their own, so that they never dangle.
"""

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

import weakref

import numpy as np

from dpdk.mbuf cimport (
    rte_mbuf, rte_mbuf_refcnt_read, rte_mbuf_refcnt_update, rte_mempool, rte_pktmbuf_alloc,
    rte_pktmbuf_free, rte_pktmbuf_free_bulk, rte_pktmbuf_free_seg, rte_pktmbuf_tailroom,
)
from kernels cimport vn
from veridnet._native.errors cimport check_process
from veridnet._native.memory cimport Mempool, mbuf_returned
from veridnet._native cimport memory

from veridnet.addresses import mac_bytes
from veridnet.errors import BurstError, ClosedError, PoolError, StateError, ViewError

# What the program itself made and freed, outside every port's queue.
memset(&account, 0, sizeof(account))

cdef object _bursts = weakref.WeakSet()


def _live() -> list:
    """The live bursts. One copy in one step: other threads make and lose bursts meanwhile."""
    return [b for ref in _bursts.data.copy() if (b := ref()) is not None]


cdef Mempool _default_pool = None
cdef object _columns_type = None


def set_columns_type(kind) -> None:
    """The type of Burst.headers (which knows the names that users see)."""
    global _columns_type
    _columns_type = kind


def set_default_pool(Mempool pool) -> None:
    """The pool of Burst.from_bytes; None for none."""
    global _default_pool
    _default_pool = pool


def account_read() -> dict:
    """Packets that the program made (generated, copies) and ended (drops by reason).

    Also those that came from (handed_in) and went to (handed_out) other processes.
    """
    return account_dict(&account) | {
        "handed_in": account.handed_in, "handed_out": account.handed_out,
    }


def account_reset() -> None:
    """Sets the program's own counters to zero."""
    memset(&account, 0, sizeof(account))


cdef void settle_all():
    """Settles every live burst: before counters are read, or their queues go."""
    cdef Burst burst
    for b in _live():
        burst = b
        if burst.origin != NULL:
            burst.settle()


cdef dict account_dict(const vn.vn_account *counts):
    cdef vn.vn_account a = counts[0]     # at one moment: other threads may count meanwhile
    return {
        "rx_packets": a.rx_packets, "rx_bytes": a.rx_bytes,
        "tx_packets": a.tx_packets, "tx_bytes": a.tx_bytes,
        "generated": a.generated, "copies": a.copies, "retries": a.retries,
        "drops": {
            vn.vn_drop_table[i].name.decode(): a.drops[i]
            for i in range(vn.VN_DROP_MAX) if a.drops[i]
        },
    }


def held() -> int:
    """Packets that all live bursts of this process hold."""
    cdef int64_t total = 0
    cdef Burst burst
    for b in _live():
        burst = b
        total += burst.n        # not len(): a subclass may have its own
    return total


def close_all() -> int:
    """Frees what every live burst holds, counted as drops "closed"; returns how many.

    A burst that another thread is sending stays that thread's.
    """
    cdef int total = 0
    cdef Burst burst
    check_process()
    for b in _live():
        burst = b
        if burst.busy:
            continue
        total += burst.n
        burst.discard(vn.VN_DROP_CLOSED)
    return total


@cython.no_gc_clear     # __dealloc__ needs the burst, in a reference cycle too
cdef class PacketView:
    """The bytes of one mbuf segment, for the buffer protocol. Holds an mbuf reference."""

    cdef rte_mbuf *ptr
    cdef Burst burst
    cdef uint32_t generation
    cdef uint16_t slot
    cdef bint readonly

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        check_process()
        if self.ptr == NULL:
            raise BufferError("a view is made by Burst.view")
        PyBuffer_FillInfo(buffer, self, mtod(self.ptr),
                          self.ptr.data_len, self.readonly, flags)

    def __dealloc__(self):
        if self.ptr == NULL or vn.vn_forked:
            return
        if self.burst.generation == self.generation:
            self.burst.n_views -= 1
            self.burst.slot_views[self.slot] -= 1
        rte_pktmbuf_free_seg(self.ptr)
        memory.live_views -= 1
        mbuf_returned()


cdef class Burst:
    """Up to `capacity` packets, received or sent in one call.

    Parameters
    ----------
    capacity
        The most packets that it can hold (1 to 65535); ``port.rx`` asks for that many. 32 is
        DPDK's habit, 256 amortizes Python's call cost.
    headers
        The columns that `headers` is to have (veridnet.Headers), all parsed in one pass at its
        first use. Without it, those that the program reads, learned from the bursts before.

    A burst owns its packets: ``port.rx`` fills an empty one (and refuses one that holds packets),
    ``port.tx`` empties it, ``clear`` frees them (counted as drops "freed"). A burst that is
    garbage-collected with packets frees them ("collected").

    ``burst[i]`` and `view` give packet bytes without a copy; ``burst[2:5]`` is a list of views,
    not a burst. While such a view lives, its packet
    is neither freed nor sent: ``tx`` raises ViewError before anything is sent.
    """

    def __cinit__(self, unsigned int capacity=256, headers=None):
        if not 1 <= capacity <= 65535:
            raise ValueError(f"capacity must be from 1 to 65535, not {capacity}")
        if headers is not None and not isinstance(getattr(headers, "names", None), tuple):
            raise TypeError(f"headers= is a plan, as veridnet.Headers('ipv4', 'l4'), "
                            f"not {headers!r}")
        self.pkts = <rte_mbuf **>calloc(capacity, sizeof(rte_mbuf *))
        self.slot_views = <uint16_t *>calloc(capacity, sizeof(uint16_t))
        if self.pkts == NULL or self.slot_views == NULL:
            raise MemoryError
        self.capacity = capacity
        self.plan = headers
        # Here and not in __init__, which a subclass may leave out.
        _bursts.add(self)

    def __dealloc__(self):
        if self.pkts != NULL:
            if self.n and not vn.vn_forked:
                self.discard(vn.VN_DROP_COLLECTED)
            free(self.pkts)
        free(self.parted)
        free(self.slot_views)

    def __reduce__(self):
        raise TypeError("a Burst holds mbufs of this process and cannot be pickled")

    # -- inside -------------------------------------------------------------------------------

    cdef rte_mbuf *packet(self, Py_ssize_t i) except NULL:
        self.check_idle()
        if i < 0:
            i += self.n
        if not 0 <= i < self.n:
            raise IndexError(f"packet {i} of a burst of {self.n}")
        return self.pkts[i]

    cdef int check_idle(self) except -1:
        check_process()
        if self.busy:
            raise StateError("another thread is sending this burst")
        return 0

    cdef int check_movable(self, str what) except -1:
        self.check_idle()
        if self.n_views:
            raise ViewError(
                f"cannot {what}: {self.n_views} view(s) of the burst's packets are alive",
                hint="delete the views (and arrays made of them) first, or copy with to_bytes()",
            )
        return 0

    cdef void settle(self) noexcept:
        """Measures the packets, and adds their bytes to the queue that they came from.

        Receiving does not look at the mbufs: the first pass over them, here or in a rewrite,
        does both. It must come before anything that could change or lose the burst.
        """
        if not self.sized:
            self.sizes = vn.vn_sizes_of(self.pkts, self.n)
            self.sized = True
        if self.origin != NULL:
            self.origin.rx_bytes += self.sizes.bytes
            self.origin = NULL

    cdef void forget(self) noexcept:
        """The packets are gone; views that live on no longer belong to this burst."""
        self.n = 0
        self.sized = False
        self.generation += 1
        if self.n_views:
            self.n_views = 0
            memset(self.slot_views, 0, self.capacity * sizeof(uint16_t))

    cdef void discard(self, int reason) noexcept:
        if self.n:
            self.settle()
            vn.vn_drop(&account, self.pkts, self.n, reason)
            self.forget()
            mbuf_returned()
        else:
            self.forget()

    # -- for users ----------------------------------------------------------------------------

    @staticmethod
    def from_bytes(packets, Mempool pool=None, unsigned int capacity=0) -> Burst:
        """A burst of new packets with the given bytes (counted as generated).

        Parameters
        ----------
        packets
            Frames without FCS: bytes, or anything that ``bytes()`` takes (scapy packets too).
            A frame longer than the pool's data room becomes several segments.
        pool
            Where the mbufs come from; the runtime's default pool if not given.
        capacity
            Of the burst; the number of packets if not given.

        Raises PoolError when the pool has too few free mbufs; then nothing is made.
        """
        cdef Burst burst
        cdef rte_mempool *mp
        cdef rte_mbuf *head
        cdef bytes raw
        cdef const char *data
        cdef Py_ssize_t size
        frames = [p if isinstance(p, bytes) else frame_bytes(p) for p in packets]
        for raw in frames:
            if not 1 <= len(raw) <= 65535:
                raise ValueError(f"a frame has from 1 to 65535 bytes, not {len(raw)}")
        if pool is None:
            pool = _default_pool
        if pool is None:
            raise ClosedError("no runtime is open, so there is no default pool",
                              hint="use it inside `with veridnet.Runtime():`")
        mp = pool.check()
        burst = Burst(max(1, capacity, len(frames)))
        for raw in frames:
            data = PyBytes_AS_STRING(raw)
            size = len(raw)
            head = make_packet(mp, data, <uint32_t>size)
            if head == NULL:
                rte_pktmbuf_free_bulk(burst.pkts, burst.n)
                burst.forget()
                raise PoolError(f"pool {pool.name} has no free mbuf",
                                hint="a larger pool: Runtime(mbufs=...)")
            burst.pkts[burst.n] = head
            burst.n += 1
        account.generated += burst.n
        return burst

    def __len__(self) -> int:
        return self.n

    def __bool__(self) -> bool:
        return self.n != 0

    def __getitem__(self, i) -> memoryview | list:
        """The view of packet i, or for a slice a list of views."""
        if isinstance(i, slice):
            return [self.view(k) for k in range(*i.indices(self.n))]
        return self.view(i)

    def __iter__(self):
        return (self.view(i) for i in range(self.n))

    def __repr__(self) -> str:
        head = f"<Burst of {self.n} packets, capacity {self.capacity}>"
        if not self.n or self.busy or vn.vn_forked:
            return head
        return f"{head}\n{repr(self.headers).partition(chr(10))[2]}"

    @property
    def lengths(self):
        """Frame lengths in bytes, without FCS: a new uint32 array of shape (len(burst),)."""
        cdef uint32_t[::1] out
        cdef uint16_t i
        self.check_idle()
        result = np.empty(self.n, np.uint32)
        if self.n:
            out = result
            for i in range(self.n):
                out[i] = self.pkts[i].pkt_len
        return result

    @property
    def headers(self):
        """The headers of the packets as columns (`veridnet.headers.Columns`).

        Valid until the burst's next rx or tx; reading a column after that raises StateError.
        """
        if _columns_type is None:
            import veridnet.headers.columns  # no-cython-lint  its types are told to us
        return _columns_type(self)

    @property
    def views(self) -> int:
        """Live views of the packets that the burst holds now."""
        return self.n_views

    def segments(self, Py_ssize_t i) -> int:
        """How many mbuf segments packet i consists of."""
        return self.packet(i).nb_segs

    def view(self, Py_ssize_t i, *, bint writable=False, unsigned int segment=0) -> memoryview:
        """The bytes of one segment of packet i, without a copy.

        The view (and any array made of it) holds the mbuf: while it lives, ``tx`` and ``clear``
        neither send nor free the packet. A packet of several segments has a view for each.

        ``writable=True`` gives a view that can be written. A packet that others share (a clone,
        external data, a reference elsewhere) is first replaced by a copy of its own, from its
        own pool; PoolError if that is empty.
        """
        cdef rte_mbuf *m = self.packet(i)
        cdef rte_mbuf *seg
        cdef PacketView v
        cdef unsigned int k
        if i < 0:
            i += self.n
        if segment >= m.nb_segs:
            raise IndexError(f"segment {segment} of a packet of {m.nb_segs}")
        if writable and (m.ol_flags & vn.VN_FOREIGN or shared(m, self.slot_views[i])):
            if self.slot_views[i]:
                raise ViewError("the packet is shared and has live views: it cannot be copied",
                                hint="make the writable view first")
            self.settle()
            if vn.vn_unshare(NULL, &self.pkts[i]) != 0:
                raise PoolError("no free mbuf for a copy of a shared packet")
            self.sized = False
            m = self.pkts[i]
            if segment >= m.nb_segs:
                raise IndexError(f"segment {segment} of a packet of {m.nb_segs}")
        seg = m
        for k in range(segment):  # no-cython-lint
            seg = seg.next
        if rte_mbuf_refcnt_read(seg) >= 0xfff0 or self.slot_views[i] == 0xffff:
            # An mbuf's reference count has 16 bits.
            raise ViewError("the packet has too many live views")
        v = PacketView.__new__(PacketView)
        v.burst = self
        v.generation = self.generation
        v.slot = <uint16_t>i
        v.readonly = not writable
        rte_mbuf_refcnt_update(seg, 1)
        v.ptr = seg
        memory.live_views += 1
        self.n_views += 1
        self.slot_views[i] += 1
        return memoryview(v)

    def to_bytes(self, Py_ssize_t i) -> bytes:
        """A copy of packet i, all segments, without FCS."""
        cdef rte_mbuf *seg = self.packet(i)
        cdef bytes out = PyBytes_FromStringAndSize(NULL, seg.pkt_len)
        cdef char *p = PyBytes_AS_STRING(out)
        while seg != NULL:
            memcpy(p, mtod(seg), seg.data_len)
            p += seg.data_len
            seg = seg.next
        return out

    def to_scapy(self, Py_ssize_t i):
        """Packet i as a scapy ``Ether`` packet: a copy. Needs scapy."""
        from scapy.layers import inet, inet6  # no-cython-lint  what Ether finds above it
        from scapy.layers.l2 import Ether
        return Ether(self.to_bytes(i))

    def clear(self) -> int:
        """Frees the packets, counted as drops "freed". Returns how many.

        The bytes under a live view stay until the view is gone.
        """
        cdef int n
        self.check_idle()
        n = self.n
        self.discard(vn.VN_DROP_FREED)
        return n

    # -- selections ---------------------------------------------------------------------------

    cdef void moved_out(self, uint16_t left) noexcept:
        """Packets have left, to other bursts: the rest stand in other places."""
        self.n = left
        self.sized = False
        self.generation += 1

    cdef int take(self, rte_mbuf **pkts, uint16_t n) except -1:
        """Appends packets. The caller has looked that there is room."""
        memcpy(self.pkts + self.n, pkts, n * sizeof(rte_mbuf *))
        self.n += n
        self.sized = False
        self.generation += 1
        return 0

    cdef int check_rows(self, const uint8_t[::1] rows) except -1:
        """A mask is made by Python, which may have changed the burst meanwhile; so may a thread."""
        if rows.shape[0] != self.n:
            raise StateError(
                f"the burst changed meanwhile: the mask has {rows.shape[0]} rows, the burst now "
                f"{self.n} packets")
        return 0

    cdef int check_room(self, Burst other, uint16_t n) except -1:
        """Can `other` take n packets more?"""
        if other is self:
            raise BurstError("a burst cannot move packets into itself")
        other.check_movable("append")
        if n > other.capacity - other.n:
            raise BurstError(
                f"{n} packets do not fit in a burst of {other.capacity} that holds {other.n}",
                hint="send or clear it first, or make it larger")
        other.settle()       # what it holds is another queue's to count
        return 0

    def select(self, mask, Burst into=None) -> Burst:
        """Moves the packets of `mask` to another burst, without copying; the others stay.

        Parameters
        ----------
        mask
            bool array of shape (len(burst),), as comparisons of columns make it.
        into
            Where they are appended, in order; a new burst of the same capacity if not given.

        Returns the burst with the selected packets. Columns of this burst end; those of the
        rest are ``burst.headers`` anew. ViewError while views live.
        """
        cdef const uint8_t[::1] rows = rows_of(mask, self)
        return self.move(rows, into)

    def compress(self, mask, Burst into=None) -> Burst:
        """Keeps the packets of `mask`, in order; the others move to the burst that is returned.

        The complement of `select`.
        """
        cdef const uint8_t[::1] rows = rows_of(np.logical_not(checked_mask(mask, self)), self)
        return self.move(rows, into)

    cdef Burst move(self, const uint8_t[::1] rows, Burst into):
        cdef uint16_t i, count = 0
        if into is None:
            into = Burst(self.capacity, self.plan)
        # From here on no Python runs, and no other thread.
        self.check_movable("move")
        self.check_rows(rows)
        for i in range(self.n):
            count += rows[i]
        self.check_room(into, count)
        if count:
            self.part(rows)
            into.take(self.parted, count)
        return into

    cdef int part(self, const uint8_t[::1] rows) except -1:
        """Takes the packets of `rows` out, into `parted`, for the caller. Returns how many."""
        cdef uint16_t count
        if self.parted == NULL:
            # One more: the kernel writes before it knows whether that counts.
            self.parted = <rte_mbuf **>calloc(self.capacity + 1, sizeof(rte_mbuf *))
            if self.parted == NULL:
                raise MemoryError
        self.settle()
        count = vn.vn_partition(self.pkts, self.n, &rows[0], self.parted)
        if count:
            self.moved_out(self.n - count)
        return count

    def drop(self, mask=None, str reason not None="filtered") -> int:
        """Frees the packets of `mask` (all without one), counted as a drop of that reason.

        Any word is a reason (letters, digits, _); a program may use 48 of its own. Returns how
        many were dropped. ViewError while views live.
        """
        cdef int code = drop_code(reason)
        cdef const uint8_t[::1] rows
        cdef int count
        if mask is not None:
            rows = rows_of(mask, self)
        self.check_movable("drop")
        if mask is None:
            count = self.n
            self.discard(code)
            return count
        self.check_rows(rows)
        if self.n == 0:
            return 0
        count = self.part(rows)
        if count:
            vn.vn_drop(&account, self.parted, <uint16_t>count, code)
            mbuf_returned()
        return count

    def split(self, masks, rest=None) -> dict:
        """Moves the packets to several bursts: {name: mask} -> {name: burst}.

        A packet goes where the first of its masks says; packets of none stay, or go to the name
        `rest` if that is given. The order is kept. ViewError while views live.
        """
        cdef uint16_t i, n = self.n, kept = 0
        cdef uint16_t[::1] labels
        cdef Burst burst
        cdef list bursts
        if n == 0:
            return {name: Burst(self.capacity, self.plan)
                    for name in [*masks, *([] if rest is None else [rest])]}
        self.check_movable("move")
        names = list(masks)
        array = np.zeros(n, np.uint16)
        for i in reversed(range(len(names))):
            array[checked_mask(masks[names[i]], self)] = i + 1
        if rest is not None:
            if rest in masks:
                raise ValueError(f"{rest!r} names a mask, so it cannot name the rest")
            names.append(rest)
            array[array == 0] = len(names)
        bursts = [Burst(self.capacity, self.plan) for _ in names]
        parts = dict(zip(names, bursts, strict=True))
        labels = array
        # From here on no Python runs, and no other thread; what ran before may have done anything.
        self.check_movable("move")
        if self.n != n:
            raise StateError(f"the burst changed meanwhile: it had {n} packets, now {self.n}")
        self.settle()
        for i in range(n):
            if labels[i] == 0:
                self.pkts[kept] = self.pkts[i]
                kept += 1
                continue
            burst = <Burst>bursts[labels[i] - 1]
            burst.pkts[burst.n] = self.pkts[i]
            burst.n += 1
            burst.generation += 1
        if kept != n:
            self.moved_out(kept)
        return parts

    def vlan_push(self, uint16_t vlan_id, *, uint8_t pcp=0, uint16_t tpid=0x8100, mask=None) -> int:
        """Puts an 802.1Q tag in front of the EtherType (`tpid`: 0x88a8 for a service tag).

        Returns how many packets were changed: all of `mask` but runts. A shared packet, or one
        without headroom, is copied first; PoolError if there is no mbuf for that, and then
        nothing has changed.
        """
        if vlan_id > 4095 or pcp > 7 or tpid not in (0x8100, 0x88a8, 0x9100):
            raise ValueError(f"no such tag: id {vlan_id} (0 to 4095), pcp {pcp} (0 to 7), "
                             f"tpid {tpid:#06x} (0x8100, 0x88a8 or 0x9100)")
        return self.retag(mask, True, tpid, vlan_id | <uint16_t>pcp << 13)

    def vlan_pop(self, *, mask=None) -> int:
        """Takes the outermost VLAN tag off. Returns how many packets had one.

        A shared packet is copied first; PoolError if there is no mbuf for that, and then nothing
        has changed.
        """
        return self.retag(mask, False, 0, 0)

    cdef int retag(self, mask, bint push, uint16_t tpid, uint16_t tci) except -1:
        cdef const uint8_t[::1] rows
        cdef const uint8_t *where = NULL
        cdef uint16_t changed
        if mask is not None:
            rows = rows_of(mask, self)
        self.own(None if mask is None else rows, 4 if push else 0, 14 if push else 18)
        if self.n == 0:
            return 0
        if mask is not None:
            where = &rows[0]
        if push:
            changed = vn.vn_vlan_push(self.pkts, self.n, where, tpid, tci)
        else:
            changed = vn.vn_vlan_pop(self.pkts, self.n, where)
        self.sized = False
        self.generation += 1
        return changed

    cdef int own(self, const uint8_t[::1] rows, uint16_t headroom, uint16_t head) except -1:
        """Makes packets writable (vn_own_rows): before their bytes are changed."""
        self.check_movable("write")
        if rows is not None:
            self.check_rows(rows)
        if self.n == 0:
            return 0
        self.settle()
        self.sized = False       # copies are other packets to tx
        if vn.vn_own_rows(self.pkts, self.n, NULL if rows is None else &rows[0], headroom,
                          head) != 0:
            raise PoolError("no free mbuf for a copy of a shared packet")
        return 0

    def swap_macs(self) -> None:
        """Exchanges source and destination MAC address of every packet, in place.

        A shared packet is copied first; a packet under 14 bytes stays as it is. PoolError if there
        is no mbuf for a copy; then no address has changed.
        """
        cdef uint16_t done
        if vn.vn_forked or self.n_views or self.busy:
            self.check_movable("write")
        done = vn.vn_swap_macs(self.pkts, self.n, &self.sizes)
        self.sized = done == self.n and self.sizes.odd == 0
        self.settle()
        if done != self.n:
            # Back again: those are the burst's alone by now.
            vn.vn_swap_macs(self.pkts, done, &self.sizes)
            self.sized = False
            raise PoolError("no free mbuf for a copy of a shared packet")

    def set_macs(self, dst=None, src=None) -> None:
        """Sets the destination and/or source MAC address of every packet, in place.

        Each is 6 bytes or text as "02:00:00:00:00:01". A shared packet is copied first; a packet
        under 14 bytes stays as it is.
        """
        cdef uint8_t macs[12]
        cdef int which = 0
        cdef bytes raw
        if dst is not None:
            raw = mac_bytes(dst)
            memcpy(macs, PyBytes_AS_STRING(raw), 6)
            which |= 1
        if src is not None:
            raw = mac_bytes(src)
            memcpy(macs + 6, PyBytes_AS_STRING(raw), 6)
            which |= 2
        self.check_movable("write")      # after bytes(mac), which may run Python
        if not which:
            return
        done = vn.vn_set_macs(self.pkts, self.n, macs, which, &self.sizes)
        self.sized = done == self.n and self.sizes.odd == 0
        self.settle()
        if done != self.n:
            raise PoolError("no free mbuf for a copy of a shared packet")


def checked_mask(mask, Burst burst not None):
    """`mask` as a new bool array of shape (len(burst),), every byte 0 or 1.

    New: no thread changes it later. 0 or 1: bytes of other types seen as bool are more.
    """
    if isinstance(mask, str):
        raise TypeError(f"a mask is a bool array, not text: write headers.match({mask!r})")
    array = np.asarray(mask)      # may run Python, which may change the burst
    if array.dtype != np.bool_ or array.ndim != 1 or array.shape[0] != burst.n:
        raise TypeError(
            f"a mask is a bool array of shape ({burst.n},), a row a packet; "
            f"this is {array.dtype} of shape {array.shape}")
    return np.not_equal(array.view(np.uint8), 0)


cdef const uint8_t[::1] rows_of(mask, Burst burst):
    return checked_mask(mask, burst).view(np.uint8)


cdef dict _drop_codes = {}


cdef int drop_code(str reason) except -1:
    """The number of a drop reason; a new word gets one of the program's own."""
    cdef int i
    cdef bytes name
    code = _drop_codes.get(reason)
    if code is not None:
        return code
    if not reason.isascii() or not reason.isidentifier():
        raise ValueError(f"a drop reason is a word of letters, digits and _, not {reason!r}")
    for i in range(vn.VN_DROP_MAX):
        if vn.vn_drop_table[i].name == NULL:
            name = reason.encode()
            _reason_names.append(name)
            vn.vn_drop_table[i].name = name
            vn.vn_drop_table[i].meaning = b"the program's own reason"
        elif vn.vn_drop_table[i].name.decode() != reason:
            continue
        _drop_codes[reason] = i
        return i
    raise ValueError(f"too many drop reasons: a program may use {vn.VN_DROP_MAX - vn.VN_DROP_USER} "
                     "of its own")


cdef list _reason_names = []      # the table points into these


cdef inline char *mtod(const rte_mbuf *m) noexcept nogil:
    return <char *>m.buf_addr + m.data_off


cdef bint shared(rte_mbuf *m, uint16_t own_views) noexcept nogil:
    """Does anybody but the burst and its own views hold a segment of m?"""
    cdef uint32_t refs = 0, segs = 0
    while m != NULL:
        refs += rte_mbuf_refcnt_read(m)
        segs += 1
        m = m.next
    return refs > segs + own_views


cdef rte_mbuf *make_packet(rte_mempool *mp, const char *data, uint32_t size) noexcept nogil:
    """A packet of `size` bytes, in as many segments as it needs; NULL if the pool is empty."""
    cdef rte_mbuf *head = rte_pktmbuf_alloc(mp)
    cdef rte_mbuf *seg = head
    cdef uint16_t part
    if head == NULL:
        return NULL
    head.pkt_len = size
    while True:
        part = <uint16_t>min(size, <uint32_t>rte_pktmbuf_tailroom(seg))
        memcpy(mtod(seg), data, part)
        seg.data_len = part
        data += part
        size -= part
        if size == 0:
            return head
        seg.next = rte_pktmbuf_alloc(mp)
        if seg.next == NULL:
            rte_pktmbuf_free(head)
            return NULL
        seg = seg.next
        head.nb_segs += 1


cdef bytes frame_bytes(packet):
    if isinstance(packet, int):
        # bytes(60) would be 60 zeros, and a frame given alone is a sequence of numbers.
        raise TypeError("a packet is bytes or has bytes, and is no number; packets is a list")
    return bytes(packet)
