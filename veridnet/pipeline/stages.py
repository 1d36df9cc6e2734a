"""The stages: what each is called, and how a worker's program does it.

A stage is a frozen value. `prepare` is called once for a pipeline that is to run, and returns what
makes the stage's entry in each worker's program (`veridnet._native.stages.Program`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from veridnet._native.actions import Meter
from veridnet._native.pystage import PyStage
from veridnet._native.ruletable import RuleTable
from veridnet._native.stages import Bridge as NativeBridge
from veridnet.errors import ConfigError
from veridnet.headers import match
from veridnet.headers.fields import FIELDS
from veridnet.rules import FlowTable, actions

if TYPE_CHECKING:
    from veridnet.pipeline.pipeline import Pipeline
    from veridnet.pipeline.shared import Shared, Worker
    from veridnet.port import Port

#: Makes the entry of a worker's program.
Maker = Callable[["Worker"], tuple[Any, ...]]
NUMBER = {f.name: i for i, f in enumerate(FIELDS)}


@dataclass(frozen=True)
class Stage:
    """One step of a pipeline.

    Attributes
    ----------
    kind
        What it is called in plans and statistics.
    ends
        Does no packet go on after it?
    python
        Does it take the GIL?
    orders
        May packets of one burst take different ways to the same output because of it?
    copies
        May it send copies?
    """

    kind: ClassVar[str] = ""
    ends: ClassVar[bool] = False
    python: ClassVar[bool] = False
    orders: ClassVar[bool] = False
    copies: ClassVar[bool] = False

    @property
    def text(self) -> str:
        """What it does, for people."""
        return ""

    def outputs(self) -> Iterator[Port | str | int]:
        """Ports that it sends to."""
        yield from ()

    def branches(self) -> list[tuple[str, Pipeline]]:
        """Pipelines inside it, and what they are called."""
        return []

    def prepare(self, shared: Shared, number: int) -> Maker:
        """What makes its entry in a worker's program."""
        raise NotImplementedError


@dataclass(frozen=True)
class Parse(Stage):
    """Parses columns before they are asked for: all stages after it share one pass."""

    kind = "parse"
    names: tuple[str, ...]

    @property
    def text(self) -> str:
        return ", ".join(self.names[:6]) + (", ..." if len(self.names) > 6 else "")

    def prepare(self, shared: Shared, number: int) -> Maker:
        columns = [NUMBER[name] for name in self.names]
        return lambda w: ("parse", number, columns)


@dataclass(frozen=True)
class Filter(Stage):
    """Keeps what an expression matches."""

    kind = "filter"
    expression: str
    reason: str = "filtered"
    negated: bool = False

    @property
    def text(self) -> str:
        return f"{'not ' if self.negated else ''}{self.expression}"

    def prepare(self, shared: Shared, number: int) -> Maker:
        text = f"not ({self.expression})" if self.negated else self.expression
        program = match.compile(text, packets=True)
        return lambda w: ("filter", number, program, self.reason)


@dataclass(frozen=True)
class Classify(Stage):
    """Looks up which rule of a table wins, for stages after it."""

    kind = "classify"
    table: FlowTable | RuleTable = field(repr=False)
    flow_cache: bool = True

    @property
    def text(self) -> str:
        return rules_text(self.table)

    def prepare(self, shared: Shared, number: int) -> Maker:
        native = native_of(self.table)
        return lambda w: ("classify", number, native, self.flow_cache)


@dataclass(frozen=True)
class Apply(Stage):
    """Does what the rules of a table say."""

    kind = "apply"
    orders = True
    copies = True
    table: FlowTable | RuleTable = field(repr=False)
    flow_cache: bool = True

    @property
    def text(self) -> str:
        return rules_text(self.table)

    def prepare(self, shared: Shared, number: int) -> Maker:
        if isinstance(self.table, FlowTable):
            self.table.bind(shared.names)
            self.table.require_native()
        native = native_of(self.table)
        return lambda w: ("apply", number, native, self.flow_cache)


@dataclass(frozen=True)
class Macs(Stage):
    """Writes MAC addresses: exchanged, or for each input some."""

    kind = "macs"
    swap: bool = False
    dst: bytes | None = None
    src: bytes | None = None
    by_input: tuple[tuple[Any, bytes], ...] = ()

    @property
    def text(self) -> str:
        if self.swap:
            return "source and destination exchanged"
        if self.by_input:
            return "by input"
        return ", ".join(
            f"{name}={value.hex(':')}"
            for name, value in (("dst", self.dst), ("src", self.src))
            if value is not None
        )

    def prepare(self, shared: Shared, number: int) -> Maker:
        if self.swap:
            return lambda w: ("macs", number, "swap")
        entries: list[tuple[int, bytes] | None]
        if self.by_input:
            entries = [None] * shared.n_inputs
            for port, raw in self.by_input:
                entries[shared.number(port)] = (3, raw)
        else:
            which = (self.dst is not None) + 2 * (self.src is not None)
            raw = (self.dst or bytes(6)) + (self.src or bytes(6))
            entries = [(which, raw)] * 128
        return lambda w: ("macs", number, entries)


@dataclass(frozen=True)
class Actions(Stage):
    """Runs actions of the rules' language on all packets."""

    orders = True
    texts: tuple[str, ...]
    name: str = "rewrite"
    meters: Mapping[str, Meter] = field(default_factory=dict, hash=False)
    to: Any = None  # the port that {} in a text stands for: its name may be another one's number

    @property
    def kind(self) -> str:  # type: ignore[override]
        return self.name

    @property
    def copies(self) -> bool:  # type: ignore[override]
        return self.name in ("mirror", "sample")

    @property
    def ends(self) -> bool:  # type: ignore[override]
        return self.texts[-1].split(" ")[0] in ("drop", "forward")

    @property
    def text(self) -> str:
        if self.meters:
            meter = next(iter(self.meters.values()))
            return ", ".join(f"{k}={v}" for k, v in meter.parameters.items())
        return "; ".join(self.filled(name_of(self.to)))

    def filled(self, port: str) -> list[str]:
        """The texts, a port in its place."""
        return [t.replace("{}", port) for t in self.texts] if self.to is not None else [*self.texts]

    def outputs(self) -> Iterator[Port | str | int]:
        if self.to is not None:
            yield self.to
            return
        for action in actions.parse(self.texts):
            inner = getattr(action, "action", action)
            if hasattr(inner, "ports"):
                yield from inner.ports
            elif hasattr(inner, "port") and isinstance(inner.port, str):
                yield inner.port

    def prepare(self, shared: Shared, number: int) -> Maker:
        if self.to is not None:
            texts, names = self.filled(str(shared.number(self.to))), None
        else:
            texts, names = [*self.texts], shared.names
        program = actions.compile(texts, names, dict(self.meters))
        if program.needs_python:
            raise ConfigError("python: is an action of table.apply",
                              hint="make it a stage: .stage(function)")  # fmt: skip
        return lambda w: ("actions", number, program)


@dataclass(frozen=True)
class Drop(Stage):
    """Ends all packets."""

    kind = "drop"
    ends = True
    reason: str = "filtered"

    @property
    def text(self) -> str:
        return self.reason

    def prepare(self, shared: Shared, number: int) -> Maker:
        return lambda w: ("drop", number, self.reason)


@dataclass(frozen=True)
class ToPort(Stage):
    """Sends everything by the port that belongs to its input, or by one port."""

    kind = "forward"
    ends = True
    pairs: tuple[tuple[Any, Any], ...] = ()
    all: Any = None

    @property
    def text(self) -> str:
        if self.all is not None:
            return f"to {name_of(self.all)}"
        return ", ".join(f"{name_of(a)} -> {name_of(b)}" for a, b in self.pairs)

    def outputs(self) -> Iterator[Port | str | int]:
        if self.all is not None:
            yield self.all
        for _, to in self.pairs:
            yield to

    def prepare(self, shared: Shared, number: int) -> Maker:
        if self.all is not None:
            other = shared.number(self.all)
            to: list[int | None] = [other] * 128
        else:
            other = None
            to = [None] * 128
            for a, b in self.pairs:
                to[shared.number(a)] = shared.number(b)
        return lambda w: ("forward", number, to, other)


@dataclass(frozen=True)
class Bridge(Stage):
    """A learning bridge over all ports."""

    kind = "bridge"
    ends = True
    orders = True
    stations: int = 8192
    age: float = 300.0

    @property
    def text(self) -> str:
        return f"learns {self.stations} stations, {self.age:g} s"

    def prepare(self, shared: Shared, number: int) -> Maker:
        bridge: NativeBridge = shared.bridge(self.stations, self.age)
        reached = list(range(len(shared.ports)))
        return lambda w: ("bridge", number, bridge, reached)


@dataclass(frozen=True)
class Split(Stage):
    """Packets go through the first branch that takes them; what it leaves goes on."""

    kind = "split"
    orders = True
    cases: tuple[tuple[Any, Pipeline], ...]
    by_rule: bool = False

    @property
    def text(self) -> str:
        return f"{len(self.cases)} branches, by {'rule' if self.by_rule else 'match'}"

    def branches(self) -> list[tuple[str, Pipeline]]:
        return [(case_name(case), pipe) for case, pipe in self.cases]

    def prepare(self, shared: Shared, number: int) -> Maker:
        made = []
        for (case, _), chain in zip(self.cases, shared.branches(number), strict=True):
            selector = (
                (-1 if case is None else int(case))
                if self.by_rule
                else match.compile(case, packets=True)
            )
            made.append((selector, chain))
        return lambda w: (
            "split", number, self.by_rule, [(s, [make(w) for make in chain]) for s, chain in made]
        )  # fmt: skip


@dataclass(frozen=True)
class Tee(Stage):
    """Copies of all packets go through a branch, too."""

    kind = "tee"
    orders = True
    copies = True
    branch: Pipeline

    def branches(self) -> list[tuple[str, Pipeline]]:
        return [("copies", self.branch)]

    def prepare(self, shared: Shared, number: int) -> Maker:
        (chain,) = shared.branches(number)
        return lambda w: ("tee", number, [make(w) for make in chain])


@dataclass(frozen=True)
class Python(Stage):
    """A Python function over the columns of each burst."""

    python = True
    orders = True
    function: Callable[..., Any]
    name: str
    takes: str = "headers"
    reason: str = "filtered"
    headers: Any = None

    @property
    def kind(self) -> str:  # type: ignore[override]
        return self.name

    @property
    def text(self) -> str:
        return "Python, takes the GIL"

    def prepare(self, shared: Shared, number: int) -> Maker:
        def make(w: Worker) -> tuple[Any, ...]:
            stage = PyStage(
                self.function, self.name, wants=self.takes, reason=self.reason,
                errors=shared.errors, headers=self.headers,
            )  # fmt: skip
            return ("python", number, stage)

        return make


@dataclass(frozen=True)
class Handoff(Stage):
    """What comes after it is done by other workers, which it reaches by rings."""

    kind = "handoff"
    ends = True
    workers: int = 1
    size: int = 1024
    full: str = "wait"

    @property
    def text(self) -> str:
        to = "a worker" if self.workers == 1 else f"{self.workers} workers, flow by flow"
        return f"to {to}, rings of {self.size}, full: {self.full}"

    def prepare(self, shared: Shared, number: int) -> Maker:
        return lambda w: ("handoff", number, w.handoff_first, w.handoff_n)


@dataclass(frozen=True)
class ToRing(Stage):
    """Puts everything into a ring of the program's."""

    kind = "to_ring"
    ends = True
    ring: Any
    full: str = "drop"

    @property
    def text(self) -> str:
        return f"{name_of(self.ring)}, full: {self.full}"

    def prepare(self, shared: Shared, number: int) -> Maker:
        at = shared.sink(self.ring, self.full == "wait")
        return lambda w: ("handoff", number, at, 1)


def name_of(thing: Any) -> str:
    """A port's or ring's name."""
    return str(getattr(thing, "name", thing))


def case_name(case: Any) -> str:
    """What a branch is called."""
    if case is None:
        return "no rule"
    return case if isinstance(case, str) else f"rule {int(case)}"


def native_of(table: FlowTable | RuleTable) -> RuleTable:
    """The native table."""
    return table if isinstance(table, RuleTable) else table.native


def rules_text(table: FlowTable | RuleTable) -> str:
    """How many rules there are."""
    n = table.info()["rules"] if isinstance(table, RuleTable) else len(table)
    return f"{n} rule{'s' if n != 1 else ''}"
