"""The packet memory of a runtime: which pools there are, and on what they lie."""

from __future__ import annotations

import collections
import itertools
from dataclasses import dataclass
from typing import Any

from veridnet import hugepages
from veridnet._native.memory import Heap, Mempool
from veridnet.config import RuntimeConfig
from veridnet.eal import (
    HUGE_PAGE,
    MEMORY_NAMES,
    MIB,
    Eal,
    memory_available,
    pool_bytes,
    thp_enabled,
)
from veridnet.errors import PoolError

_serial = itertools.count()


@dataclass
class SharedPool:
    """A pool that several ports share, and how many mbufs their queues can hold of it."""

    pool: Mempool
    reserved: int = 0

    def give_back(self, need: int) -> None:
        """A port has gone."""
        self.reserved -= need


class Pools:
    """Makes pools, and shares them among ports.

    Attributes
    ----------
    all
        The pools that were made.
    hugepages_only
        A port's device, or its peer, reads the buffers themselves: no pool may lie elsewhere.
    """

    def __init__(self, eal: Eal, config: RuntimeConfig) -> None:
        self.eal = eal
        self.config = config
        self.all: list[Mempool] = []
        self.hugepages_only = False
        self._shared: dict[int, list[SharedPool]] = {}

    @property
    def memory(self) -> str:
        """Which memory they have: "hugepages", "thp" or "4k"."""
        return self.eal.memory

    def report(self) -> dict[str, Any]:
        """As `Runtime.memory_report`."""
        name, why = MEMORY_NAMES[self.memory], self.eal.why
        pools = dict(collections.Counter(p.memory for p in self.all))
        for other in pools.keys() - {self.memory}:
            name += f" and, for {pools[other]} of {len(self.all)} pools, {MEMORY_NAMES[other]}"
            why += ", and too few for every pool"
        report: dict[str, Any] = {"kind": self.memory, "name": name, "why": why, "pools": pools}
        # The heap outlives a runtime: it may be there, and not be this one's.
        if self.eal.heap is not None and pools.keys() != {"hugepages"}:
            report["heap_bytes"] = self.eal.heap.total_bytes
            report["huge_bytes"] = self.eal.heap.huge_bytes
        return report

    def reserve(self, size: int) -> int:
        """Makes room for `size` bytes; returns the socket id to allocate them on (-1: any)."""
        return self.external(size) if self.memory == "thp" else -1

    def external(self, size: int) -> int:
        """Makes room on the external heap; returns its socket id."""
        if self.eal.heap is None:
            self.eal.heap = Heap("veridnet")
        if self.eal.heap.free_bytes < size:
            self.eal.heap.grow(size)
        return self.eal.heap.socket

    def add(self, mbufs: int, data_room: int = 2048, name: str = "") -> Mempool:
        """A new pool of `mbufs` buffers for frames of up to `data_room` bytes each.

        It is closed with the runtime. PoolError where there is no memory for it. With memory
        "auto", a pool for which the free hugepages do not suffice is made on transparent huge
        pages, as if there were none, unless a port needs hugepages (a NIC, memif's zero_copy).
        """
        name = name or f"vn_pool{next(_serial)}"
        try:
            pool = self._make(name, mbufs, data_room, self.memory)
        except PoolError as first:
            if not self._may_leave:
                raise
            try:
                pool = self._make(name, mbufs, data_room, "thp" if thp_enabled() else "4k")
            except PoolError:
                raise first from None
        self.all.append(pool)
        return pool

    @property
    def _may_leave(self) -> bool:
        """May a pool lie elsewhere, where hugepages do not suffice?"""
        return (
            self.memory == "hugepages" and self.config.memory == "auto" and not self.hugepages_only
        )

    def _make(self, name: str, mbufs: int, data_room: int, memory: str) -> Mempool:
        size = pool_bytes(mbufs, data_room)
        if memory != "hugepages" and size > (free := memory_available()):
            # Asking the kernel for it would end in its OOM killer, not in an error.
            raise PoolError(
                f"a pool of {mbufs} mbufs needs {size // MIB:,} MiB, {free // MIB:,} are available",
                hint="fewer mbufs (mbufs=8191)",
            )
        try:
            external = memory == "thp" or memory != self.memory
            return Mempool(
                name,
                mbufs,
                data_room=data_room,
                socket=self.external(size) if external else -1,
                cache=512,
                memory=memory,
            )
        except PoolError as e:
            more = hugepages.command("reserve", size // HUGE_PAGE * 2 + 64)
            raise PoolError(
                f"{e.what} ({size // MIB} MiB of {MEMORY_NAMES[memory]})",
                e.errno or 0,
                hint="fewer mbufs (mbufs=8191)"
                + (f", or: {more}" if memory == "hugepages" else ""),
            ) from None

    def shared(self, need: int, data_room: int) -> SharedPool:
        """A shared pool whose buffers are that large, with `need` more mbufs to spare."""
        pools = self._shared.setdefault(data_room, [])
        for one in pools:
            if one.reserved + need + 4096 <= max(one.pool.size, 4096):
                one.reserved += need
                return one
        pool = self.add(max(self.config.mbufs, need + 8191), data_room)
        pools.append(SharedPool(pool, need))
        return pools[-1]

    @property
    def default(self) -> Mempool:
        """Buffers of 2,048 bytes."""
        return self._shared[2048][0].pool
