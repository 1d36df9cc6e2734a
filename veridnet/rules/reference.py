"""The naive twin of the rule engines: every rule, on every packet, in order.

Slow, and plain to see through: what the tests compare engines with, and what `explain` runs on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veridnet._native.bpf import Bpf
from veridnet.errors import ConfigError
from veridnet.headers.match import And, Not, Or, Test
from veridnet.rules.rule import Rule, RuleSet, tree, winning_order

#: Column name -> its values: a header table, a burst's headers, or a mapping.
Table = Any


Sets = Mapping[str, tuple[str, ...]]
Rules = RuleSet | Iterable[Rule] | Iterable[tuple[int, Rule]]


def numbered(rules: Rules, sets: Sets | None = None) -> tuple[list[int], list[Rule], list[Any]]:
    """Ids, rules and their matches' trees, in order of their adding (or of their winning)."""
    if isinstance(rules, RuleSet):
        sets = rules.sets
        pairs: list[Any] = list(enumerate(rules.rules))
    else:
        pairs = list(rules)
        if pairs and isinstance(pairs[0], Rule):
            pairs = list(enumerate(pairs))
    trees = []
    for number, rule in pairs:
        try:
            trees.append(tree(rule.match, sets))
        except ConfigError as e:
            label = rules.label(number) if isinstance(rules, RuleSet) else f"rule {number}"
            raise ConfigError(f"{label}: {e}", hint=e.hint) from None
    return [n for n, _ in pairs], [rule for _, rule in pairs], trees


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
        The frames, for what columns cannot say (BPF). Malformed packets are decided by what was
        parsed of them, as in the table.
    sets
        Named sets, where `rules` is no rule set.
    """
    ids, found, trees = numbered(rules, sets)
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
    leaf = Bpf(node.text)
    return np.fromiter((leaf.matches(frame) for frame in packets), np.bool_, len(packets))
