"""Rules as engines read them.

A match: text -> tree -> boxes or program -> native `Match`. Actions: texts -> `ActionProgram`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from veridnet._native.actions import ActionProgram, Meter
from veridnet._native.ruletable import Match
from veridnet.headers import match
from veridnet.headers.fields import FIELDS
from veridnet.rules import actions
from veridnet.rules.action_kinds import RateLimit, Sample, UseMeter
from veridnet.rules.boxes import Box, boxes
from veridnet.rules.rule import tree

#: Column -> (its number, its bytes).
COLUMNS = {
    field.name: (number, int(field.dtype.removeprefix("uint")) // 8)
    for number, field in enumerate(FIELDS)
}

Sets = Mapping[str, tuple[str, ...]]


def native_boxes(found: list[Box]) -> Match:
    """Boxes for the engines."""
    return Match(
        [tuple(sorted((*COLUMNS[column], *test) for column, test in box.items())) for box in found]
    )


def compiled(node: Any, text: str) -> Match:
    """The native match of a tree: boxes where these can say it, else a program."""
    found = boxes(node)
    if found is not None:
        return native_boxes(found)
    return Match(program=match.of_tree(text, node))


class Cache:
    """Matches by text: rules that come and go again cost no parsing.

    Parameters
    ----------
    sets
        The named sets that texts may use.
    most
        How many texts are remembered.
    """

    def __init__(self, sets: Sets | None = None, most: int = 65536) -> None:
        self.sets = sets
        self.most = most
        self._found: dict[str, Match] = {}

    def __call__(self, text: str) -> Match:
        """The match of a text; ConfigError says where it is wrong."""
        found = self._found.get(text)
        if found is None:
            found = compiled(tree(text, self.sets), text)
            if len(self._found) >= self.most:
                self._found.clear()
            self._found[text] = found
        return found


def meters_of(texts: Sequence[str]) -> set[str]:
    """The names of the meters that actions use."""
    parsed = actions.parse(texts)
    inner = [a.action if isinstance(a, Sample) else a for a in parsed]
    return {a.name for a in inner if isinstance(a, UseMeter)}


class Programs:
    """Compiled actions by their texts.

    Parameters
    ----------
    meters
        Named meters: name -> parameters.
    default
        Actions of packets that no rule matches.
    ports
        Names of the ports; None: not known yet, and nothing is compiled, only checked.
    native
        Refuse what needs Python.
    kept
        Meters that are there already.

    Rules with the same texts share a program, unless it counts or measures something of its own.
    """

    def __init__(
        self,
        meters: Mapping[str, Mapping[str, Any]],
        default: Sequence[str] = (),
        ports: list[str] | None = None,
        *,
        native: bool = False,
        kept: Mapping[str, Meter] | None = None,
    ) -> None:
        self.ports = ports
        self.native = native
        self.given = {name: dict(parameters) for name, parameters in meters.items()}
        self.texts = tuple(default)
        self.meters = {**actions.make_meters(meters), **(kept or {})}
        self._found: dict[tuple[str, ...], ActionProgram | None] = {(): None}
        self.default = self(self.texts)

    def renewed(
        self, meters: Mapping[str, Mapping[str, Any]], default: Sequence[str]
    ) -> tuple[Programs, set[str]]:
        """Those of other meters and another default, and which meters are others.

        A meter with the parameters that it had goes on with what it has measured.
        """
        new = {name: dict(parameters) for name, parameters in meters.items()}
        if new == self.given and tuple(default) == self.texts:
            return self, set()
        changed = {name for name in {*new, *self.given} if new.get(name) != self.given.get(name)}
        kept = {name: meter for name, meter in self.meters.items() if name not in changed}
        made = Programs(new, default, self.ports, native=self.native, kept=kept)
        return made, changed

    def __call__(self, texts: tuple[str, ...]) -> ActionProgram | None:
        """The program; None: there are no actions, or no ports yet. ConfigError: what is wrong."""
        if texts in self._found:
            return self._found[texts]
        parsed = actions.parse(texts)
        program = None
        if self.ports is not None:
            program = actions.compile(parsed, self.ports, self.meters)
            if self.native:
                actions.check_native([program])
        else:
            for action in parsed:
                if isinstance(action, UseMeter):
                    actions.compile([action], None, self.meters)
        if not any(isinstance(a, Sample | RateLimit) for a in parsed):
            if len(self._found) >= 65536:
                self._found = {(): None}
            self._found[texts] = program
        return program
