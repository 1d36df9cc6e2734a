"""How much memory building rule tables may take."""

from __future__ import annotations

from veridnet.eal import memory_available

MIB = 1 << 20


def build_limit(rules: int) -> int:
    """Bytes that building engines for so many rules may take of the heap.

    16 KiB a rule and 256 MiB at least (rte_acl takes 14 KiB a rule for acl1 with 100,000), but
    never more than half of the memory that is available.
    """
    return max(min(memory_available() // 2, max(256 * MIB, rules * 16384)), 16 * MIB)
