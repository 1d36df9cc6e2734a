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
