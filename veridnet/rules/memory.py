"""How much memory building rule tables may take."""

from __future__ import annotations

import re
from pathlib import Path

from veridnet._native import eal

GIB = 1 << 30


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
