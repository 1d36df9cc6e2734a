"""The naive twin of the rule engines: every rule, on every packet, in order.

Slow, and plain to see through: what the tests compare engines with, and what `explain` runs on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from veridnet.errors import ConfigError
from veridnet.headers.match import And, Not, Or, Test
from veridnet.rules.rule import Rule, RuleSet, tree, winning_order

#: Column name -> its values: a header table, a burst's headers, or a mapping.
Table = Any


Sets = Mapping[str, tuple[str, ...]]
Rules = RuleSet | Iterable[Rule] | Iterable[tuple[int, Rule]]


class Meaning(NamedTuple):
    """What a match means: a tree of columns, and what decides where these do not say enough."""

    tree: Any
    doubt: Any = None  # rows that only the packets' bytes decide; None: none
    raw: Any = None  # what decides these


def meaning(text: str, sets: Sets | None = None) -> Meaning:
    """A match's meaning, of all packets for ""."""
    found = tree(text, sets)
    if text.strip():
        try:
            from veridnet.headers.match.program import meaning as whole
        except ImportError:  # a match language without pcap-filter
            return Meaning(found)
        return Meaning(*whole(text, sets))
    return Meaning(found)


def numbered(rules: Rules, sets: Sets | None = None) -> tuple[list[int], list[Rule], list[Meaning]]:
    """Ids, rules and meanings, in order of their adding (or of their winning)."""
    if isinstance(rules, RuleSet):
        sets = rules.sets
        pairs: list[Any] = list(enumerate(rules.rules))
    else:
        pairs = list(rules)
        if pairs and isinstance(pairs[0], Rule):
            pairs = list(enumerate(pairs))
    meanings = []
    for number, rule in pairs:
        try:
            meanings.append(meaning(rule.match, sets))
        except ConfigError as e:
            label = rules.label(number) if isinstance(rules, RuleSet) else f"rule {number}"
            raise ConfigError(f"{label}: {e}", hint=e.hint) from None
    return [n for n, _ in pairs], [rule for _, rule in pairs], meanings


def classify(
    rules: Rules, table: Table, packets: Sequence[bytes] | None = None, *, sets: Sets | None = None
) -> NDArray[np.int32]:
    """The id of the rule that wins each packet; -1: none. int32 of shape (packets,).

    Parameters
    ----------
    rules
        A rule set, rules (ids count from 0), or (id, rule) pairs as ``FlowTable.rules()`` gives.
    table
        Columns: a header table, a burst's headers, or a mapping.
    packets
        The frames, which decide what columns cannot say (BPF; pcap-filter on malformed packets).
    sets
        Named sets, where `rules` is no rule set.
    """
    ids, found, meanings = numbered(rules, sets)
    rows = size(table)
    out = np.full(rows, -1, np.int32)
    free = np.ones(rows, bool)
    for n in winning_order([rule.priority for rule in found]):
        hits = free & hit(meanings[n], table, packets)
        out[hits] = ids[n]
        free &= ~hits
        if not free.any():
            break
    return out


def hit(what: Meaning, table: Table, packets: Sequence[bytes] | None = None) -> NDArray[np.bool_]:
    """Which packets a match matches."""
    matched = evaluate(what.tree, table, packets)
    if what.doubt is None or packets is None:
        return matched
    doubtful = evaluate(what.doubt, table, packets)
    if not doubtful.any():
        return matched
    return np.where(doubtful, evaluate(what.raw, table, packets), matched)


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
