"""Rules that are over: idle and hard timeouts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from veridnet.rules.rule import Rule

if TYPE_CHECKING:
    from veridnet.rules.table import FlowTable


@dataclass(frozen=True)
class Expired:
    """A rule that its timeout has removed."""

    id: int
    rule: Rule
    reason: str  # "idle" or "hard"
    packets: int
    bytes: int


def overdue(table: FlowTable, now: float) -> list[Expired]:
    """The rules whose timeouts have passed at `now`; the caller has the table's lock."""
    out: list[Expired] = []
    ids = list(table._timed)
    if not ids:
        return out
    counts = table._native.counts(ids)
    for id, (packets, octets) in zip(ids, counts.tolist(), strict=True):
        entry = table._entries[id]
        before, since = table._timed[id]
        if packets != before:
            since = now if before >= 0 else entry.added
            table._timed[id] = (packets, since)
        rule = entry.rule
        if rule.hard_timeout and now - entry.added >= rule.hard_timeout:
            out.append(Expired(id, rule, "hard", packets, octets))
        elif rule.idle_timeout and now - since >= rule.idle_timeout:
            out.append(Expired(id, rule, "idle", packets, octets))
    return out
