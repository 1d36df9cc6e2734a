"""Where rule tables lie: an external heap of transparent huge pages that grows as it is touched."""

from __future__ import annotations

import re
import threading
from pathlib import Path

from veridnet._native import eal
from veridnet._native.memory import Heap
from veridnet.errors import PoolError

GIB = 1 << 30

_heap: Heap | None = None
_lock = threading.Lock()


def available() -> bool:
    """Is there DPDK memory? (EAL has started: a Runtime is or was open.)"""
    return bool(eal.started())


def build_limit(rules: int) -> int:
    """Bytes that building engines for so many rules may take of the heap.

    16 KiB a rule and 256 MiB at least (rte_acl takes 14 KiB a rule for acl1 with 100,000), but
    never more than half of the memory that is available.
    """
    text = Path("/proc/meminfo").read_text()
    found = re.search(r"MemAvailable:\s*(\d+) kB", text)
    half = int(found[1]) * 512 if found else GIB
    return max(min(half, max(GIB // 4, rules * 16384)), 1 << 24)


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
