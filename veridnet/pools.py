"""The packet memory of a runtime: which pools there are, and on what they lie."""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
from dataclasses import dataclass
from typing import Any

from veridnet import hugepages, processes
from veridnet._native.memory import Heap, Mempool
from veridnet._native.named import Named
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
from veridnet.errors import ConfigError, EalError, PoolError
from veridnet.hugepages import Machine

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
        self._shared: dict[tuple[int, int | None], list[SharedPool]] = {}

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
        # The heaps outlive a runtime: they may be there, and not be this one's.
        if (heaps := self.eal.heaps.values()) and pools.keys() != {"hugepages"}:
            report["heap_bytes"] = sum(h.total_bytes for h in heaps)
            report["huge_bytes"] = sum(h.huge_bytes for h in heaps)
        nodes: collections.Counter[int] = collections.Counter()
        with contextlib.suppress(PoolError):  # a container that may not ask
            for pool in self.all:
                if not pool.closed:
                    nodes.update(pool.pages())
            report["nodes"] = dict(sorted(nodes.items()))
        return report

    def promote(self) -> tuple[int, int]:
        """As `Runtime.promote_memory`."""
        heaps = self.eal.heaps.values()
        before = sum(h.huge_bytes for h in heaps)
        for heap in heaps:
            heap.promote()
        return before, sum(h.huge_bytes for h in heaps)

    def reserve(self, size: int) -> int:
        """Makes room for `size` bytes; returns the socket id to allocate them on (-1: any)."""
        return self.external(size) if self.memory == "thp" else -1

    def external(self, size: int, node: int = -1) -> int:
        """Makes room on the external heap, of that NUMA node; returns its socket id."""
        if (heap := self.eal.heaps.get(node)) is None:
            heap = Heap("veridnet" if node < 0 else f"veridnet_node{node}", node)
            self.eal.heaps[node] = heap
        if heap.free_bytes < size:
            heap.grow(size)
        return heap.socket

    def add(
        self, mbufs: int, data_room: int = 2048, name: str = "", node: int | None = None
    ) -> Mempool:
        """As `Runtime.add_pool`."""
        if node is not None and node not in (nodes := Machine().nodes or [0]):
            raise ConfigError(
                f"there is no NUMA node {node}", hint=f"nodes: {', '.join(map(str, nodes))}"
            )
        at = -1 if node is None else node
        if not name:
            # Pools of processes that share memory have names of their own.
            whose = f"{os.getpid()}_" if self.eal.group else ""
            name = f"vn_pool{whose}{next(_serial)}"
        try:
            pool = self._make(name, mbufs, data_room, self.memory, at)
        except PoolError as first:
            if not self._may_leave:
                raise
            try:
                pool = self._make(name, mbufs, data_room, "thp" if thp_enabled() else "4k", at)
            except PoolError:
                raise first from None
        self.all.append(pool)
        return pool

    @property
    def _may_leave(self) -> bool:
        """May a pool lie elsewhere, where hugepages do not suffice?"""
        return (
            self.memory == "hugepages"
            and self.config.memory == "auto"
            and not self.hugepages_only
            and self.eal.group is None
        )

    def _make(self, name: str, mbufs: int, data_room: int, memory: str, node: int) -> Mempool:
        size = pool_bytes(mbufs, data_room)
        if memory != "hugepages" and size > (free := memory_available()):
            # Asking the kernel for it would end in its OOM killer, not in an error.
            raise PoolError(
                f"a pool of {mbufs} mbufs needs {size // MIB:,} MiB, {free // MIB:,} are available",
                hint="fewer mbufs (mbufs=8191)",
            )
        try:
            if memory == "thp" or memory != self.memory:
                socket = self.external(size, node)
            else:
                socket = node if memory == "hugepages" else -1
            pool = Mempool(
                name, mbufs, data_room=data_room, socket=socket, cache=512, memory=memory
            )
        except PoolError as e:
            on = ("--node", node) if node >= 0 else ()
            more = hugepages.command("reserve", size // HUGE_PAGE * 2 + 64, *on)
            raise PoolError(
                f"{e.what} ({size // MIB} MiB of {MEMORY_NAMES[memory]})",
                e.errno or 0,
                hint="fewer mbufs (mbufs=8191)"
                + (f", or: {more}" if memory == "hugepages" else ""),
            ) from None
        if socket == -1 and node >= 0:  # EAL's own memory on small pages, where it was touched
            with contextlib.suppress(PoolError):
                pool.move_to(node)
        return pool

    def shared(self, need: int, data_room: int, node: int = -1) -> SharedPool:
        """A shared pool whose buffers are that large, with `need` more mbufs to spare.

        Of a machine with several NUMA nodes, on that one.
        """
        at = node if node in (nodes := Machine().nodes) and len(nodes) > 1 else None
        pools = self._shared.setdefault((data_room, at), [])
        for one in pools:
            if one.reserved + need + 4096 <= max(one.pool.size, 4096):
                one.reserved += need
                return one
        pool = self.add(max(self.config.mbufs, need + 8191), data_room, node=at)
        pools.append(SharedPool(pool, need))
        return pools[-1]

    def make_default(self) -> Mempool:
        """The default pool: a new one, or in a secondary process the primary's."""
        group = self.eal.group
        if group is None or group.primary:
            pool = self.shared(0, 2048).pool
            if group is not None:
                me = processes.identity()
                pool.named = Named.claim("pool", "default", pool.name, 0, me)
                pool.named.show_no_object()
            return pool
        named = Named.find("pool", "default", processes.identity())
        if named is None:
            raise EalError(
                f"the primary named {group.name!r} has no open Runtime",
                hint="attach while it is inside `with veridnet.Runtime(shared=...)`",
            )
        pool = Mempool(named.about, 0, memory=self.memory, named=named)
        self.all.append(pool)
        self._shared[2048, None] = [SharedPool(pool)]
        return pool

    def end_sharing(self) -> None:
        """Before the pools are closed: those that other processes may still use stay."""
        if (group := self.eal.group) is None:
            return
        for pool in self.all:
            if pool.named is not None:
                pool.named.leave()
            pool.kept = group.others

    @property
    def default(self) -> Mempool:
        """Buffers of 2,048 bytes."""
        return self._shared[2048, None][0].pool
