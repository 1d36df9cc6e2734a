"""Named sets: ``@name`` in a match expression stands for the members of a set."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping

from veridnet.errors import ConfigError

#: Name -> members, each a text as it stands between the braces of a set.
Sets = Mapping[str, Iterable[str]]


def load(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The members in a file: one a line. ``#`` begins a comment.

    ``parse("src host @bad", sets={"bad": sets.load("bad.txt")})``. ConfigError if the file cannot
    be read, or has no member.
    """
    path = os.fspath(path)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ConfigError(f"cannot read the set {path}: it is no regular file")
        with open(path, encoding="utf-8") as file:
            lines = [line.partition("#")[0].strip() for line in file]
    except ConfigError:
        raise
    except (OSError, ValueError) as e:
        why = e.strerror if isinstance(e, OSError) and e.strerror else str(e)
        raise ConfigError(f"cannot read the set {path}: {why}") from None
    members = tuple(line for line in lines if line)
    if not members:
        raise ConfigError(f"the set {path} is empty", hint="one member a line, as 10.0.0.0/8")
    return members


def check(sets: Sets | None) -> dict[str, tuple[str, ...]]:
    """The sets, as the parser takes them."""
    out: dict[str, tuple[str, ...]] = {}
    for name, members in (sets or {}).items():
        if isinstance(members, str):
            raise ConfigError(f"the set @{name} is one text", hint='a list of texts: ["10.0.0.1"]')
        out[name] = tuple(str(member) for member in members)
    return out


def of_set(member: str) -> str:
    """The name of the set that a member would be; "" for any other member."""
    text = member.strip()
    return text[1:] if text.startswith("@") else ""


def loop_of(name: str, sets: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The names on the way from a set back to one of them, ``("a", "b", "a")``; () if none is."""
    way: list[str] = []  # to the set that is looked at
    left = [iter((name,))]
    seen: set[str] = set()
    while left:
        here = next(left[-1], None)
        if here is None:
            left.pop()
            if way:
                way.pop()
        elif here in way:
            return (*way, here)
        elif here in sets and here not in seen:
            seen.add(here)
            way.append(here)
            left.append(iter([n for member in sets[here] if (n := of_set(member))]))
    return ()
