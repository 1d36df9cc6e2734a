"""The rules that a forwarder runs: their file loaded, watched and reloaded, and their counters."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from veridnet.errors import ConfigError, VeridnetError

#: Seconds between looks at the file.
LOOK_S = 1.0


def load_table(path: str, ports: Sequence[str]) -> Any:
    """The table of a rule file whose rules name these ports."""
    from veridnet.rules import FlowTable  # here alone: nobody else needs the table's engines

    return FlowTable.load(path, ports=list(ports))


class RulesFile:
    """The rules of a forwarder, and the file that they come from.

    Parameters
    ----------
    rules
        A file's path; or a FlowTable, which stays its maker's.
    ports
        Names of the forwarder's ports, in order.

    Attributes
    ----------
    wanted
        Set by whoever wants a reload (a signal handler): done at the next look.
    reloads
        How often the rules were replaced.
    problems
        What was wrong with a changed file. The rules before it stay.
    """

    def __init__(self, rules: Any, ports: Sequence[str]) -> None:
        self.owned = isinstance(rules, str | os.PathLike)
        self.path = os.fspath(rules) if self.owned else ""
        self.seen = self._stamp()
        try:
            if self.owned:
                self.table = load_table(self.path, ports)
            else:
                self.table = rules
                self.table.bind(ports)
        except OSError as e:
            if isinstance(e, VeridnetError):
                raise
            raise ConfigError(f"rules {self.path}: {e.strerror or e}",
                              hint="name a file that can be read") from None  # fmt: skip
        self.table.require_native()
        self.table.compile()
        self.wanted = False
        self.reloads = 0
        self.problems: list[str] = []
        self._next = 0.0

    def _stamp(self) -> tuple[int, int, int]:
        """Changes when the file does; zeros while there is none (an editor replaces it)."""
        try:
            st = os.stat(self.path)
        except OSError:
            return (0, 0, 0)
        return (st.st_mtime_ns, st.st_size, st.st_ino)

    def look(self, now: float) -> bool:
        """Reloads if the file has changed or it is wanted; looks once a second. Did it?"""
        if not self.owned:
            return False
        if not self.wanted and now < self._next:
            return False
        self._next = now + LOOK_S
        stamp = self._stamp()
        if not self.wanted and stamp in (self.seen, (0, 0, 0)):
            return False
        self.wanted = False
        self.seen = stamp
        try:
            self.table.reload(self.path)
        except (VeridnetError, OSError) as e:
            hint = getattr(e, "hint", "")
            self.problems.append(
                f"rules {self.path}: not reloaded, the rules before stay: {e}"
                + (f" ({hint})" if hint else "")
            )
            return False
        self.reloads += 1
        return True

    def close(self) -> None:
        """Frees the table, if it was made here."""
        if self.owned:
            self.table.close()

    def report(self, missed: tuple[int, int]) -> dict[str, Any]:
        """The rules' counters, as plain JSON types."""
        return {
            "file": self.path,
            "reloads": self.reloads,
            "missed": {"packets": missed[0], "bytes": missed[1]},
            "rules": [
                {"id": int(row["id"]), "name": str(row["name"]), "packets": int(row["packets"]),
                 "bytes": int(row["bytes"])}
                for row in self.table.stats()
            ],
        }  # fmt: skip
