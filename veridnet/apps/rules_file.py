"""The rules that a forwarder runs: their file loaded, watched and reloaded, and their counters."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from veridnet.errors import ConfigError, VeridnetError

if TYPE_CHECKING:
    from veridnet.rules import FlowTable
    from veridnet.rules.monitor import Monitor
    from veridnet.rules.offload import Offloaded

logger = logging.getLogger("veridnet.rules")

#: Seconds between looks at the file.
LOOK_S = 1.0
#: Seconds that a changed file must stay as it is: who writes it may be at it still.
SETTLE_S = 0.2
#: So many failed reloads are told in the summary; all are in the log.
MOST_FAILURES = 100


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
    """

    def __init__(self, rules: Any, ports: Sequence[str]) -> None:
        self.owned = isinstance(rules, str | os.PathLike)
        self.path = os.path.abspath(rules) if self.owned else ""
        self.name = os.fspath(rules) if self.owned else ""
        self.seen = self._stamp()
        try:
            if self.owned:
                self.table = load_table(self.name, ports)
            else:
                self.table = rules
                self.table.bind(ports)
        except OSError as e:
            if isinstance(e, VeridnetError):
                raise
            raise ConfigError(f"rules {self.name}: {e.strerror or e}",
                              hint="name a file that can be read") from None  # fmt: skip
        self.wanted = False
        self.reloads = 0
        self.offloaded: list[tuple[str, Offloaded]] = []
        self._failures: list[str] = []
        self._monitor: Monitor | None = None
        self._next = 0.0
        self._changed = self.seen
        try:
            self.table.require_native()
            self.table.compile()
        except BaseException:
            self.close()
            raise

    @property
    def problems(self) -> list[str]:
        """What was wrong with changed files (the rules before stay), and what the table says."""
        return [*self._failures, *self.table.problems]

    def _stamp(self) -> tuple[int, int, int]:
        """Changes when the file does; zeros while there is none (an editor replaces it)."""
        try:
            st = os.stat(self.path)
        except OSError:
            return (0, 0, 0)
        return (st.st_mtime_ns, st.st_size, st.st_ino)

    def look(self, now: float) -> bool:
        """Reloads if it is wanted, or the file has changed and stays so. Did it?

        Looks once a second; at a file that has changed, again soon.
        """
        if not self.owned:
            return False
        if not self.wanted and now < self._next:
            return False
        self._next = now + LOOK_S
        stamp = self._stamp()
        if not self.wanted:
            if stamp in (self.seen, (0, 0, 0)):
                return False
            if stamp != self._changed:
                self._changed = stamp
                self._next = now + SETTLE_S
                return False
        self.wanted = False
        self.seen = self._changed = stamp
        try:
            counts = self.table.reload(self.path)
        except (VeridnetError, OSError, MemoryError) as e:
            hint = getattr(e, "hint", "")
            why = str(e) or "no memory for them"
            text = f"rules {self.name}: not reloaded, the rules before stay: {why}" + (
                f" ({hint})" if hint else ""
            )
            logger.warning("%s", text)
            if len(self._failures) < MOST_FAILURES:
                self._failures.append(text)
            return False
        self.reloads += 1
        logger.info("rules %s: reloaded: %s", self.name,
                    ", ".join(f"{n} {word}" for word, n in counts.items()))  # fmt: skip
        return True

    # -- who looks at them ----------------------------------------------------------------------

    def serve(self, program: str, missed: Callable[[], tuple[int, int]]) -> str:
        """Lets ``veridnet rules watch`` see the counters, until `close`; "" or why it cannot."""
        from veridnet.rules.monitor import Monitor, table_snapshot

        def snapshot() -> dict[str, Any]:
            return table_snapshot(
                self.table, program=program, file=self.path, reloads=self.reloads,
                missed=dict(zip(("packets", "bytes"), missed(), strict=True)),
            )  # fmt: skip

        try:
            self._monitor = Monitor(snapshot)
        except ConfigError as e:
            return f"veridnet rules watch cannot see this run: {e}"
        return ""

    def offload(self, ports: Sequence[Any]) -> None:
        """Puts into each port that receives what it takes of the rules.

        Only rules that drop: the loops do not read marks.
        """
        for port in ports:
            if port.receives:
                self.offloaded.append((port.name, self.table.offload(port, marks=False)))

    def close(self) -> None:
        """Ends `serve` and `offload`, and frees the table, if it was made here.

        StateError while a forwarder runs with it. May be called twice.
        """
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None
        for _, off in self.offloaded:
            off.release()
        if self.owned:
            self.table.close()

    def report(self, missed: tuple[int, int]) -> dict[str, Any]:
        """The rules' counters, as plain JSON types."""
        return rules_report([self.table], missed) | {
            "file": self.name,
            "reloads": self.reloads,
            "offload": [offload_report(name, off) for name, off in self.offloaded],
        }


def rules_report(tables: Sequence[FlowTable], missed: tuple[int, int]) -> dict[str, Any]:
    """The counters of tables' rules, as plain JSON types."""
    return {
        "file": "",
        "reloads": 0,
        "missed": {"packets": missed[0], "bytes": missed[1]},
        "rules": [
            {"id": int(row["id"]), "name": str(row["name"]), "packets": int(row["packets"]),
             "bytes": int(row["bytes"])}
            for table in tables for row in table.stats()
        ],
        "offload": [],
    }  # fmt: skip


def offload_report(name: str, off: Offloaded) -> dict[str, Any]:
    """What is in a port, and why the rest is not: reason -> how many rules."""
    found = off.status().values()
    reasons: dict[str, int] = {}
    for status in found:
        for reason in status.reasons:
            reasons[reason] = reasons.get(reason, 0) + 1
    dropped = off.counters().values()
    return {
        "port": name,
        "rules": len(found),
        "in_port": sum(s.where == "port" for s in found),
        "in_part": sum(s.where == "part" for s in found),
        "flows": sum(s.flows for s in found),
        "reasons": dict(sorted(reasons.items(), key=lambda kv: -kv[1])),
        "dropped": {"packets": sum(n for n, _ in dropped), "bytes": sum(n for _, n in dropped)},
    }
