"""Changes of a table that its readers see all at once."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from veridnet._native.actions import ActionProgram
from veridnet._native.ruletable import Match
from veridnet.errors import StateError
from veridnet.rules.rule import Rule

if TYPE_CHECKING:
    from veridnet.rules.table import FlowTable


NOTHING = nullcontext()


@dataclass(slots=True)
class Entry:
    """A rule in the table, and where it stands."""

    id: int
    rule: Rule
    match: Match
    place: int  # among equal priorities the smaller wins
    owner: ActionProgram | None = None
    added: float = 0.0  # time.monotonic()


class Transaction:
    """Changes that readers see all at once, when the ``with`` block ends without an exception.

    Made by `FlowTable.transaction`. Its methods are the table's; ids are valid at once.
    """

    def __init__(self, table: FlowTable) -> None:
        self.table = table
        self.new: list[int] = []
        self.ended = False
        self.default: tuple[ActionProgram | None, ...] = ()  # another, if it changes
        self.now: dict[int, Entry] = {}  # what is to be there under an id
        self.gone: dict[int, Entry] = {}  # what the table has there, and goes

    def check(self) -> None:
        """StateError when the block has ended: what is changed then would be lost."""
        if self.ended:
            raise StateError("the transaction has ended", hint="open another, or use the table's")

    def entry(self, id: int) -> Entry:
        """The rule that an id means within the transaction."""
        self.check()
        found = self.now.get(id)
        if found is None:
            found = None if id in self.gone else self.table._entries.get(id)
        if found is None:
            raise KeyError(f"there is no rule {id}")
        return found

    def add(self, match: str | Rule = "", actions: Sequence[str] = (), **options: Any) -> int:
        """As `FlowTable.add`."""
        if isinstance(match, Rule):
            if actions or options:
                raise TypeError("a whole Rule has its actions and options itself")
            return self.add_rules([match])[0]
        texts: Any = actions  # Rule makes a tuple of it, and refuses a mere text
        return self.add_rules([Rule(match, texts, **options)])[0]

    def add_rules(self, rules: Iterable[Rule]) -> list[int]:
        """As `FlowTable.add_rules`."""
        self.check()
        table, now = self.table, time.monotonic()
        made = [(rule, table._matches(rule.match), table._compile(rule)) for rule in rules]
        ids = table._native.new_ids(len(made))
        self.new += ids
        for id, (rule, match, owner) in zip(ids, made, strict=True):
            self.now[id] = Entry(id, rule, match, table._places, owner, now)
            table._places += 1
        return ids

    def remove(self, id: int) -> None:
        """As `FlowTable.remove`."""
        self.entry(id)
        if self.now.pop(id, None) is None or id in self.table._entries:
            self.gone[id] = self.table._entries[id]

    def replace(self, id: int, **changes: Any) -> None:
        """As `FlowTable.replace`."""
        old = self.entry(id)
        rule = replace(old.rule, **changes)
        table = self.table
        entry = Entry(id, rule, table._matches(rule.match), old.place, table._compile(rule),
                      time.monotonic())  # fmt: skip
        if id in table._entries:
            self.gone[id] = table._entries[id]
        self.now[id] = entry

    def commit(self) -> None:
        """Makes it so. An exception that comes from outside (Ctrl-C) undoes it, or comes after."""
        table = self.table
        spare = [id for id in self.new if id not in self.now]
        reading = table._reading_bytes
        for entry in self.gone.values():
            reading -= entry.match.needs_packets
        for entry in self.now.values():
            reading += entry.match.needs_packets
        rules = [(e.id, e.rule.priority, e.place, e.match, e.owner) for e in self.now.values()]
        late: BaseException | None = None
        with table._offloads_follow(self) if table._offloads else NOTHING:
            before = table._native.version
            try:
                table._native.commit(rules, list(self.gone), *self.default)
            except BaseException as e:
                if table._native.version == before:
                    raise
                late = e
            while True:  # readers see it: there is no way back
                try:
                    self.new = []  # these are in use
                    for id in self.gone:
                        table._entries.pop(id, None)
                    table._entries.update(self.now)
                    table._reading_bytes = reading
                    break
                except BaseException as e:
                    late = e
        table._changed(self)
        table._native.unused(spare)
        if late is not None:
            raise late

    def roll_back(self) -> None:
        """Forgets it."""
        self.table._native.unused(self.new)
