"""The naive twin of the rule engines: every rule, on every packet, in order.

Slow, and plain to see through: what the tests compare engines with, and what `explain` runs on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veridnet.errors import ConfigError
from veridnet.headers.match import And, Not, Or, Test
from veridnet.rules.rule import Rule, RuleSet, tree, winning_order

#: Column name -> its values: a header table, a burst's headers, or a mapping.
Table = Any


def numbered(
    rules: RuleSet | Iterable[tuple[int, Rule]],
) -> tuple[list[int], list[Rule], list[Any]]:
    """Ids, rules and trees, in order of their adding. A flow table's ``rules()`` will do, too."""
    if isinstance(rules, RuleSet):
        ids = list(range(len(rules)))
        return ids, list(rules.rules), [rules.tree(n) for n in ids]
    pairs = list(rules)
    return [n for n, _ in pairs], [r for _, r in pairs], [tree(r.match) for _, r in pairs]


def classify(
    rules: RuleSet | Iterable[tuple[int, Rule]],
    table: Table,
    packets: Sequence[bytes] | None = None,
) -> NDArray[np.int32]:
    """The id of the rule that wins each packet; -1: none. int32 of shape (packets,).

    `packets` are the frames, which only rules need that columns cannot say (BPF).
    """
    ids, found, trees = numbered(rules)
    rows = size(table)
    out = np.full(rows, -1, np.int32)
    free = np.ones(rows, bool)
    for n in winning_order([rule.priority for rule in found]):
        hits = free & evaluate(trees[n], table, packets)
        out[hits] = ids[n]
        free &= ~hits
        if not free.any():
            break
    return out


def size(table: Table) -> int:
    """How many packets a table has."""
    if isinstance(table, Mapping):
        return len(next(iter(table.values())))
    return len(table)


def column(table: Table, name: str) -> NDArray[Any]:
    """A column of a table."""
    values: NDArray[Any] = (
        np.asarray(table[name]) if isinstance(table, Mapping) else getattr(table, name)
    )
    return values


def evaluate(node: Any, table: Table, packets: Sequence[bytes] | None = None) -> NDArray[np.bool_]:
    """Which packets a tree matches: bool of shape (packets,)."""
    if isinstance(node, Test):
        masked = column(table, node.column).astype(np.uint64) & np.uint64(node.mask)
        result: NDArray[np.bool_] = (masked >= np.uint64(node.lo)) & (masked <= np.uint64(node.hi))
        return result
    if isinstance(node, Not):
        return ~evaluate(node.of, table, packets)
    if isinstance(node, And):
        result = np.ones(size(table), bool)
        for part in node.of:
            result &= evaluate(part, table, packets)
        return result
    if isinstance(node, Or):
        result = np.zeros(size(table), bool)
        for part in node.of:
            result |= evaluate(part, table, packets)
        return result
    if packets is None:
        raise ConfigError(f"{node.text!r} needs the packets' bytes; here are only columns")
    passes = bpf(node.text)
    return np.fromiter((passes(frame) for frame in packets), np.bool_, len(packets))


def bpf(text: str) -> Callable[[bytes], bool]:
    """A pcap-filter expression, as libpcap compiles and interprets it over Ethernet frames."""
    import ctypes
    import ctypes.util

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.c_void_p))

    class Header(ctypes.Structure):
        _fields_ = (("seconds", ctypes.c_long), ("microseconds", ctypes.c_long),
                    ("caplen", ctypes.c_uint32), ("len", ctypes.c_uint32))  # fmt: skip

    lib = ctypes.CDLL(ctypes.util.find_library("pcap") or "libpcap.so.0.8")
    lib.pcap_open_dead.restype = ctypes.c_void_p
    lib.pcap_geterr.restype = ctypes.c_char_p
    handle = ctypes.c_void_p(lib.pcap_open_dead(1, 65535))
    program = Program()
    if lib.pcap_compile(handle, ctypes.byref(program), text.encode(), 1, 0xFFFFFFFF):
        why = lib.pcap_geterr(handle).decode()
        lib.pcap_close(handle)
        raise ConfigError(f"{text!r}: {why}")
    lib.pcap_close(handle)

    def passes(frame: bytes) -> bool:
        header = Header(0, 0, len(frame), len(frame))
        found = lib.pcap_offline_filter(ctypes.byref(program), ctypes.byref(header), frame)
        return bool(found)

    return passes
