"""What `veridnet rules check` finds in a rule file."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from veridnet.errors import ConfigError, VeridnetError
from veridnet.headers.match import And, Not, Or, Test
from veridnet.rules.boxes import FULL, Box, boxes
from veridnet.rules.conflicts import Conflict, conflicts
from veridnet.rules.files import read_text
from veridnet.rules.formats import FORMATS, guess
from veridnet.rules.rule import Rule, RuleSet

#: What looks a rule up -> what that means.
ENGINES = {
    "exact": "whole values only: a hash",
    "ternary": "ranges and masks: rte_acl",
    "program": "too many ranges: its tests, packet by packet",
    "BPF": "bytes that no column has: DPDK's BPF JIT",
}


@dataclass(frozen=True)
class Line:
    """One rule of a file: its boxes (None: it has none) and what looks it up."""

    id: int
    line: int | None
    rule: Rule
    boxes: int | None
    engine: str


@dataclass(frozen=True)
class Made:
    """What a `FlowTable` makes of the rules.

    Attributes
    ----------
    engines
        That of each group of boxes: "acl", "hash", "fib"; () if no rule has boxes.
    programs, bpf
        Rules that run as programs beside them, without and with the packet's bytes.
    problem
        Why no table could be made, and `engines` is not known; "" if one was.
    """

    engines: tuple[str, ...]
    programs: int
    bpf: int
    problem: str = ""


@dataclass(frozen=True)
class Report:
    """What was found."""

    path: str
    format: str
    rules: RuleSet
    lines: tuple[Line, ...]
    conflicts: tuple[Conflict, ...]
    table: Made

    @property
    def warnings(self) -> list[Conflict]:
        return [c for c in self.conflicts if c.level == "warning"]

    def json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "file": self.path,
            "format": self.format,
            "rules": [
                {"id": x.id, "line": x.line, "name": x.rule.name, "priority": x.rule.priority,
                 "match": x.rule.match, "actions": list(x.rule.actions), "boxes": x.boxes,
                 "engine": x.engine}
                for x in self.lines
            ],
            "default": list(self.rules.default),
            "table": {"engines": list(self.table.engines), "programs": self.table.programs,
                      "bpf": self.table.bpf, "problem": self.table.problem},
            "conflicts": [
                {"kind": c.kind, "level": c.level, "rule": c.rule, "others": list(c.others),
                 "count": c.count, "text": c.text}
                for c in self.conflicts
            ],
        }  # fmt: skip


def check(path: str | os.PathLike[str], format: str | None = None) -> Report:
    """Reads a file, every match and every action in it, and compares its rules.

    ConfigError says what is wrong, and in which line.
    """
    text, name = read_text(path)
    kind = format or guess(name, text)
    if kind not in FORMATS:
        raise ConfigError(
            f"there is no rule format {kind!r}", hint=f"formats: {', '.join(FORMATS)}"
        )
    rules: RuleSet = FORMATS[kind].read(path)
    lines = []
    for n, rule in enumerate(rules.rules):
        try:
            tree = rules.tree(n)
        except ConfigError as e:
            raise ConfigError(f"{name}: {e}", hint=e.hint) from None
        found = boxes(tree)
        lines.append(
            Line(n, rules.lines[n] if rules.lines else None, rule,
                 None if found is None else len(found), engine(tree, found))
        )  # fmt: skip
    check_actions(rules, name)
    return Report(
        os.fspath(path), kind, rules, tuple(lines), tuple(conflicts(rules)), made(rules, lines)
    )


def made(rules: RuleSet, lines: Sequence[Line]) -> Made:
    """Builds a table of the rules, as a forwarder does, and asks it for its engines."""
    from veridnet.eal import eal_runs
    from veridnet.rules.table import FlowTable
    from veridnet.runtime import Runtime

    counts = Counter(line.engine for line in lines)
    engines, problem = "", ""
    try:
        # rte_acl and the others take DPDK's memory; here its log would only be in the way.
        with (
            contextlib.nullcontext() if eal_runs() else Runtime(mbufs=1023, log_level="error"),
            FlowTable.of(rules, merge="manual") as table,
        ):
            table.compile()
            engines = table.info()["engines"]
    except (VeridnetError, MemoryError) as e:
        problem = str(e)
    return Made(tuple(filter(None, engines.split(","))), counts["program"], counts["BPF"], problem)


def engine(tree: Any, found: list[Box] | None) -> str:
    """What looks a rule up: a key of `ENGINES`."""
    if found is None:
        return "BPF" if _reads_bytes(tree) else "program"
    exact = all(m == FULL[c] and lo == hi for box in found for c, (m, lo, hi) in box.items())
    return "exact" if exact else "ternary"


def _reads_bytes(node: Any) -> bool:
    if isinstance(node, Not):
        return _reads_bytes(node.of)
    if isinstance(node, And | Or):
        return any(map(_reads_bytes, node.of))
    return not isinstance(node, Test)


def check_actions(rules: RuleSet, name: str) -> None:
    """ConfigError where an action, a meter or the default is wrong. Ports are not known here."""
    from veridnet.rules.compile import Programs

    prefix = f"{name}: " if name else ""
    try:
        programs = Programs(rules.meters, rules.default)
    except ConfigError as e:
        raise ConfigError(f"{prefix}{e}", hint=e.hint) from None
    for number, rule in enumerate(rules.rules):
        try:
            programs(rule.actions)
        except ConfigError as e:
            raise ConfigError(f"{prefix}{rules.label(number)}: {e}", hint=e.hint) from None
