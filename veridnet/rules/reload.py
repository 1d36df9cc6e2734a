"""A table becomes what its file says now."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from veridnet.errors import ConfigError
from veridnet.rules.compile import Cache, meters_of
from veridnet.rules.rule import Rule, RuleSet
from veridnet.rules.transaction import Entry

if TYPE_CHECKING:
    from veridnet.rules.table import FlowTable


def make_it(table: FlowTable, given: RuleSet) -> dict[str, int]:
    """Makes a table what a file says: see `FlowTable.reload`. The caller has its lock.

    On an error its sets, meters, default, matches and programs are the caller's to put back.
    """
    new_sets = dict(given.sets) != table._sets
    if new_sets:
        table._matches = Cache(given.sets)
    programs, meters = table._programs.renewed(given.meters, given.default)
    new_programs = programs is not table._programs
    table._sets, table._meters = dict(given.sets), dict(given.meters)
    table._default, table._programs = given.default, programs

    def refreshed(e: Entry) -> Entry:
        if new_sets and "@" in e.rule.match:
            e = replace(e, match=table._matches(e.rule.match))
        if meters and not meters.isdisjoint(meters_of(e.rule.actions)):
            e = replace(e, owner=programs(e.rule.actions))
        return e

    there: dict[Rule, list[Entry]] = {}
    for entry in sorted(table._entries.values(), key=lambda e: e.place):
        there.setdefault(entry.rule, []).append(entry)
    kept = added = removed = 0
    last: dict[int, int] = {}  # priority -> place of the rule before
    with table.transaction() as change:
        if new_programs:
            change.default = (programs.default,)
        for number, rule in enumerate(given.rules):
            old = there.get(rule)
            try:
                if old:
                    entry = now = old.pop(0)
                    if entry.place < last.get(rule.priority, -1):
                        # The order among equals is to be the file's.
                        now = replace(entry, place=table._places)
                        table._places += 1
                    if (now := refreshed(now)) is not entry:
                        change.gone[entry.id], change.now[entry.id] = entry, now
                    kept += 1
                    last[rule.priority] = now.place
                else:
                    last[rule.priority] = table._places
                    change.add(rule)
                    added += 1
            except ConfigError as e:
                raise ConfigError(f"{given.label(number)}: {e}", hint=e.hint) from None
        for entries in there.values():
            for entry in entries:
                change.remove(entry.id)
                removed += 1
    return {"kept": kept, "added": added, "removed": removed}
