"""Rules' matches as engines read them: text -> tree -> boxes or program -> native `Match`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from veridnet._native.ruletable import Match
from veridnet.headers import match
from veridnet.headers.fields import FIELDS
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
        [
            tuple(sorted((*COLUMNS[column], *test) for column, test in box.items()))
            for box in found
        ]
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
