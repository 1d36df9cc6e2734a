"""Rules for the tests of actions: a table of (match, actions) pairs, and ports to look into."""

from __future__ import annotations

from typing import Any

import veridnet as vn
from veridnet._native.ruletable import RuleTable
from veridnet._native.runner import ActionRunner
from veridnet.rules import actions
from veridnet.rules.compile import Cache


def table_of(
    rules: list[tuple[str, list[str]]],
    default: list[str] | None = None,
    ports: list[str] | None = None,
    meters: Any = None,
) -> RuleTable:
    """Rules in order of winning; "" matches all."""
    made = [(match, actions.compile(texts, ports, meters)) for match, texts in rules]
    table = RuleTable(None if default is None else actions.compile(default, ports, meters))
    load(table, made)
    return table


def load(table: RuleTable, rules: list[tuple[str, Any]]) -> None:
    """Puts (match, ActionProgram) pairs into an empty table: their ids are their places."""
    matches = Cache()
    ids = table.new_ids(len(rules))
    table.commit(
        [(id, 0, id, matches(match), made) for id, (match, made) in zip(ids, rules, strict=True)],
        [],
    )


def counts(table: RuleTable, rule: int) -> tuple[int, int]:
    """(packets, bytes) of a rule."""
    packets, octets = table.counts([rule])[0].tolist()
    return packets, octets


def runner_of(rules: list[tuple[str, list[str]]], ports: Any = (), **kwargs: Any) -> ActionRunner:
    return ActionRunner(table_of(rules, **kwargs), 130, ports)


def received(port: Any) -> list[bytes]:
    """The frames that wait in a port."""
    burst = vn.Burst(512)
    frames: list[bytes] = []
    while port.rx(burst):
        frames += [burst.to_bytes(i) for i in range(len(burst))]
        burst.clear()
    return frames


def bytes_of(burst: Any) -> list[bytes]:
    return [burst.to_bytes(i) for i in range(len(burst))]
