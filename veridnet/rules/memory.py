"""Where rule tables lie: an external heap of transparent huge pages that grows as it is touched."""

from __future__ import annotations

import threading

from veridnet._native import eal
from veridnet._native.memory import Heap
from veridnet.errors import PoolError

GIB = 1 << 30

_heap: Heap | None = None
_lock = threading.Lock()


def available() -> bool:
    """Is there DPDK memory? (EAL has started: a Runtime is or was open.)"""
    return bool(eal.started())


def socket() -> int:
    """The socket id to allocate tables on. PoolError: not even address space is free."""
    global _heap
    with _lock:
        if _heap is None:
            heap = Heap("veridnet_rules")
            size = 16 * GIB
            while True:
                try:
                    heap.grow(size, populate=False)
                    break
                except PoolError:  # ulimit -v, or overcommitting is forbidden
                    size //= 2
                    if size < 64 << 20:
                        raise
            _heap = heap
        return int(_heap.socket)
