"""`Pipeline`: what happens to packets, said in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from veridnet._native.actions import Meter
from veridnet._native.ruletable import RuleTable
from veridnet.addresses import mac_bytes
from veridnet.errors import ConfigError
from veridnet.headers import match
from veridnet.headers.columns import Headers, expand
from veridnet.pipeline import stages as s
from veridnet.pipeline.native import NativeStage
from veridnet.rules import FlowTable, Rule, actions

if TYPE_CHECKING:
    from veridnet.pipeline.plan import Plan
    from veridnet.port import Port

FULL = ("drop", "wait")


@dataclass(frozen=True)
class Numbered:
    """A stage at its place: `number` in the whole pipeline, `path` of the branches around it."""

    number: int
    path: tuple[str, ...]
    stage: s.Stage
    branches: tuple[tuple[str, tuple[Numbered, ...]], ...]

    def walk(self) -> Iterator[Numbered]:
        """It, and all inside it."""
        yield self
        for _, chain in self.branches:
            for node in chain:
                yield from node.walk()


class Pipeline:
    """Stages in the order in which packets pass them. Each method returns a new Pipeline.

    Parameters
    ----------
    rx
        Where packets come from: ports, and rings (`veridnet.Ring` of mbufs). None for a branch.
    ports
        All ports in the order in which rules and actions number them, where that is not the order
        of `rx` and then of the others that stages send to.

    Nothing runs before ``rt.run(pipe)`` or ``rt.start(pipe)``. What reaches the end without having
    been sent is dropped (`no_output`). The order within a flow is kept, whatever way its packets
    take: those of a burst leave a port in the order in which they came.

    >>> pipe = (vn.Pipeline(rx=[a, b])
    ...         .filter("not arp")
    ...         .rewrite("dec_ttl")
    ...         .forward({a: b, b: a}))                                   # doctest: +SKIP
    """

    __slots__ = ("ports", "rx", "stages")

    def __init__(
        self, rx: Sequence[Any] = (), *, ports: Sequence[Port] = (), _stages: Any = ()
    ) -> None:
        if isinstance(rx, (str, bytes)) or not isinstance(rx, Sequence):
            rx = [rx]
        if not isinstance(ports, Sequence) or not all(hasattr(p, "n_rx_queues") for p in ports):
            raise ConfigError(f"ports={ports!r}: ports", hint="ports=[rt.port(0), rt.port(1)]")
        self.rx: tuple[Any, ...] = tuple(rx)
        self.ports: tuple[Port, ...] = tuple(ports)
        self.stages: tuple[s.Stage, ...] = tuple(_stages)
        for i, source in enumerate(self.rx):
            if not (hasattr(source, "n_rx_queues") or is_ring(source)):
                raise ConfigError(f"rx: {source!r} is neither a port nor a ring of mbufs",
                                  hint="rx=[rt.port(0)]")  # fmt: skip
            if any(source is other for other in self.rx[:i]):
                raise ConfigError(f"rx: {s.name_of(source)} is named twice")

    def _then(self, stage: s.Stage) -> Self:
        if self.stages and self.stages[-1].ends and not isinstance(self.stages[-1], s.Handoff):
            raise ConfigError(
                f"nothing comes after {self.stages[-1].kind}: no packet goes on",
                hint="put the stage before it; split() and tee() make branches",
            )
        return type(self)(self.rx, ports=self.ports, _stages=(*self.stages, stage))

    # -- looking ------------------------------------------------------------------------------

    def parse(self, *names: str) -> Self:
        """Parses columns (groups or names) at once; stages parse what they need anyway."""
        if not names:
            raise ConfigError("parse: no columns", hint='parse("ipv4", "l4")')
        return self._then(s.Parse(expand(names)))

    def filter(self, expression: str, *, reason: str = "filtered") -> Self:
        """Keeps the packets that a match expression matches, drops the others under `reason`."""
        check_match(expression)
        return self._then(s.Filter(expression, check_reason(reason)))

    def drop(self, expression: str | None = None, *, reason: str = "filtered") -> Self:
        """Drops the packets that an expression matches; all without one."""
        check_reason(reason)
        if expression is None:
            return self._then(s.Drop(reason))
        check_match(expression)
        return self._then(s.Filter(expression, reason, negated=True))

    def classify(self, table: FlowTable, *, flow_cache: bool = True) -> Self:
        """Looks up which rule wins for each packet, and does nothing: for `split` and `stage`."""
        return self._then(s.Classify(check_table(table), flow_cache))

    def apply(self, table: FlowTable, *, flow_cache: bool = True) -> Self:
        """Does what the rules of a table say. What no action of theirs ends goes on.

        The rules may change while the pipeline runs. They name ports by this pipeline's order, or
        by name.
        """
        return self._then(s.Apply(check_table(table), flow_cache))

    # -- changing -----------------------------------------------------------------------------

    def rewrite(
        self,
        *texts: str,
        swap_macs: bool = False,
        eth_dst: Any = None,
        eth_src: Any = None,
        **columns: Any,
    ) -> Self:
        """Changes packets.

        Parameters
        ----------
        texts
            Actions as rules have them: "dec_ttl", "set ip_dscp=46", "nat src=192.0.2.1",
            "push_vlan 100", "pop_vlan", "mark 7".
        swap_macs
            Source and destination MAC address are exchanged.
        eth_dst, eth_src
            MAC addresses, 6 bytes or text.
        columns
            ``column=value``, as ``set``.

        Checksums follow (RFC 1624). A shared packet is copied first.
        """
        pipe = self
        if swap_macs:
            pipe = pipe._then(s.Macs(swap=True))
        if eth_dst is not None or eth_src is not None:
            pipe = pipe._then(
                s.Macs(
                    dst=None if eth_dst is None else mac_bytes(eth_dst),
                    src=None if eth_src is None else mac_bytes(eth_src),
                )
            )
        every = (*texts, *(f"set {name}={value}" for name, value in columns.items()))
        if every:
            parsed = actions.parse(every)
            for action in parsed:
                if type(action).__name__ in ("Forward", "Mirror", "Drop", "Python", "Sample"):
                    raise ConfigError(f"rewrite: {action} changes no packet",
                                      hint=".forward, .mirror, .drop, .sample, .stage")  # fmt: skip
            pipe = pipe._then(s.Actions(tuple(every)))
        if pipe is self:
            raise ConfigError("rewrite: nothing to write", hint='rewrite("dec_ttl")')
        return pipe

    def set_macs(self, by_input: Mapping[Any, bytes]) -> Self:
        """Writes MAC addresses by the input: {port: 12 bytes, destination and source}."""
        if not isinstance(by_input, Mapping) or not by_input:
            raise ConfigError(f"set_macs: {by_input!r}", hint="set_macs({port: 12 bytes})")
        for port, raw in by_input.items():
            check_port(port)
            if not isinstance(raw, bytes) or len(raw) != 12:
                raise ConfigError(f"set_macs: {s.name_of(port)}: 12 bytes, not {raw!r}")
        return self._then(s.Macs(by_input=tuple(by_input.items())))

    def meter(self, meter: Meter | None = None, **parameters: int) -> Self:
        """Drops what a meter colours red (`meter`).

        Either a Meter, which stages and rules may share, or its parameters: ``cir``, ``cbs``,
        ``ebs`` (RFC 2697) or ``cir``, ``pir``, ``cbs``, ``pbs`` (RFC 2698), in bytes a second and
        bytes.
        """
        if meter is None:
            kind = "trtcm" if "pir" in parameters else "srtcm"
            try:
                meter = Meter(kind, **parameters)
            except (TypeError, OverflowError, ValueError) as e:
                if isinstance(e, ConfigError):
                    raise
                hint = "meter(cir=125000, cbs=10000, ebs=0)"
                raise ConfigError(f"meter: {e}", hint=hint) from None
        elif parameters or not isinstance(meter, Meter):
            raise ConfigError("meter: a Meter, or its parameters",
                              hint="meter(cir=125000, cbs=10000, ebs=0)")  # fmt: skip
        return self._then(s.Actions(("meter m",), "meter", {"m": meter}))

    def limit(self, rate: str) -> Self:
        """Drops what is above a rate (`rate`): "10mbit", "5kpps", "1gbit burst=64k"."""
        actions.parse([f"rate_limit {rate}"])
        return self._then(s.Actions((f"rate_limit {rate}",), "limit"))

    # -- copies and branches ------------------------------------------------------------------

    def mirror(self, to: Port | str | int) -> Self:
        """Sends a copy of each packet, as it is now, by another port."""
        return self._then(s.Actions(("mirror {}",), "mirror", to=check_port(to)))

    def sample(self, n: int, to: Port | str | int) -> Self:
        """Sends a copy of every n-th packet by another port."""
        check_whole("sample: n", n, 1, (1 << 32) - 1)
        return self._then(s.Actions((f"sample 1/{n} mirror {{}}",), "sample", to=check_port(to)))

    def tee(self, branch: Pipeline) -> Self:
        """Copies of all packets go through a branch, too; the packets go on."""
        return self._then(s.Tee(check_branch(branch)))

    def split(
        self,
        cases: Mapping[Any, Pipeline] | None = None,
        /,
        *,
        column: str | None = None,
        rule: Mapping[Any, Pipeline] | None = None,
        rest: Pipeline | None = None,
    ) -> Self:
        """Packets go through the first branch that takes them. What a branch leaves goes on.

        Parameters
        ----------
        cases
            {match expression: branch}; with `column`, {value: branch}.
        rule
            {Rule or its id, or None for no rule: branch}, by what `classify` has found.
        rest
            A branch for all others; without one, they go on.

        >>> pipe.split({"tcp": vn.Pipeline().forward(a), "udp": vn.Pipeline().forward(b)})
        ... # doctest: +SKIP
        """
        if (cases is None) == (rule is None):
            raise ConfigError("split: cases, or rule=", hint='split({"tcp": branch})')
        made: list[tuple[Any, Pipeline]] = []
        for given in (cases, rule):
            if given is not None and not isinstance(given, Mapping):
                raise ConfigError(f"split: {given!r} says no branches",
                                  hint='split({"tcp": branch})')  # fmt: skip
        if column is not None and not isinstance(column, str):
            raise ConfigError(f"split: column={column!r} is no column's name")
        if rule is not None:
            if not any(isinstance(x, (s.Classify, s.Apply)) for x in self.stages):
                raise ConfigError("split: no stage before it looks rules up",
                                  hint=".classify(table).split(rule={...})")  # fmt: skip
            for key, branch in rule.items():
                id = key if key is None else rule_id(key)
                made.append((id, check_branch(branch)))
            if rest is not None:
                raise ConfigError("split: rest= is for matches", hint="None: branch takes no rule")
            return self._then(s.Split(tuple(made), by_rule=True))
        for key, branch in (cases or {}).items():
            text = f"{column} == {key}" if column is not None else key
            check_match(text)
            made.append((text, check_branch(branch)))
        if rest is not None:
            made.append(("wire_len >= 0", check_branch(rest)))
        if not made:
            raise ConfigError("split: no branches")
        return self._then(s.Split(tuple(made)))

    # -- the program's own --------------------------------------------------------------------

    def stage(
        self,
        function: Callable[..., Any] | NativeStage,
        *,
        name: str | None = None,
        takes: str = "headers",
        headers: Headers | None = None,
        reason: str = "filtered",
    ) -> Self:
        """A function of your own over the columns of each burst.

        Parameters
        ----------
        function
            Gets ``burst.headers`` and returns None (all go on), a bool array of shape (packets,)
            (what goes on; the others are dropped under `reason`), an integer array (a port's
            number, `veridnet.PASS` or `veridnet.DROP` for each packet), or a dict of columns to
            write. Or a `native_stage`, which runs without the GIL.
        takes
            "headers"; "headers+rules": a second argument has the ids of the rules that won, -1 for
            none (int32, shape (packets,)); "burst": the Burst itself, from which the function may
            also take packets.
        headers
            The columns to parse; by default, those that the function reads.

        It runs on the lcore, with the GIL. An exception stops the pipeline: the packets that it
        had are dropped (`stage_error`), and `Running.stop`, `Running.wait` and ``rt.run`` raise
        it. Columns and arrays are valid within the call; views of packets must not outlive it.
        """
        check_reason(reason)
        if isinstance(function, NativeStage):
            return self._then(function.bound(reason))
        if not callable(function):
            raise ConfigError(f"a stage is a function, not {function!r}")
        if takes not in ("headers", "headers+rules", "burst"):
            raise ConfigError(f"takes={takes!r}: headers, headers+rules or burst")
        if name is not None and not isinstance(name, str):
            raise ConfigError(f"stage: name={name!r}: text")
        if headers is not None and not isinstance(headers, Headers):
            raise ConfigError(f"stage: headers={headers!r}: veridnet.Headers",
                              hint='headers=vn.Headers("ipv4", "l4")')  # fmt: skip
        name = name or str(getattr(function, "__name__", type(function).__name__))
        return self._then(s.Python(function, name, takes, reason, headers))

    def handoff(self, workers: int = 1, *, ring: int = 1024, full: str = "wait") -> Self:
        """What comes after it is done on other lcores, reached by rings.

        Parameters
        ----------
        workers
            How many share that work: packets of one flow go to the same one.
        ring
            Packets that a ring holds, a power of two.
        full
            "wait": a worker waits for room (back-pressure); "drop": `ring_full`.

        Where there are fewer CPUs than workers, it is done on the same lcore; the plan says so.
        """
        check_whole("handoff: workers", workers, 1, 64)
        check_whole("handoff: ring", ring, 2, 1 << 20)
        if ring & (ring - 1):
            raise ConfigError(f"handoff: ring={ring}: a power of two from 2 to {1 << 20}")
        if full not in FULL:
            raise ConfigError(f"handoff: full={full!r}: wait or drop")
        if not self.rx:
            raise ConfigError("handoff: a branch runs where its pipeline does")
        return self._then(s.Handoff(workers, ring, full))

    # -- ends ---------------------------------------------------------------------------------

    def forward(self, to: Mapping[Any, Any] | Port | str | int) -> Self:
        """Sends everything: {input: output}, or all by one port. `tx` is the same."""
        if isinstance(to, Mapping):
            if not to:
                raise ConfigError("forward: no ports", hint="forward({a: b, b: a})")
            for a, b in to.items():
                if not is_ring(a):
                    check_port(a)
                check_port(b)
            return self._then(s.ToPort(pairs=tuple(to.items())))
        return self._then(s.ToPort(all=check_port(to)))

    tx = forward

    def bridge(self, *, stations: int = 8192, age: float = 300.0) -> Self:
        """A learning bridge (IEEE 802.1D, without spanning tree) over all ports."""
        if not self.rx:
            raise ConfigError("bridge: a branch has no ports of its own")
        check_whole("bridge: stations", stations, 8, 1 << 22)
        if isinstance(age, bool) or not isinstance(age, (int, float)) or not 0 < age <= 1e6:
            raise ConfigError(f"bridge: age={age!r}: up to 1000000 seconds")
        return self._then(s.Bridge(stations, age))

    def to_ring(self, ring: Any, *, full: str = "drop") -> Self:
        """Puts everything into a ring of mbufs (`veridnet.Ring`)."""
        if not is_ring(ring):
            raise ConfigError(f"to_ring: {ring!r} is no ring of mbufs", hint="vn.Ring(1024)")
        if full not in FULL:
            raise ConfigError(f"to_ring: full={full!r}: wait or drop")
        return self._then(s.ToRing(ring, full))

    # -- what it is ---------------------------------------------------------------------------

    def numbered(self) -> tuple[Numbered, ...]:
        """Its stages with their numbers, branches inside."""
        return _number(self, 0, ())[0]

    def flat(self) -> list[Numbered]:
        """All stages, those of branches after the one that they belong to."""
        return [inner for node in self.numbered() for inner in node.walk()]

    def all_ports(self) -> list[Port]:
        """Its ports in the order of their numbers. Ports that are named must be the runtime's."""
        found: list[Any] = list(self.ports)
        named: list[Any] = [x for x in self.rx if hasattr(x, "n_rx_queues")]
        for node in self.flat():
            named += node.stage.outputs()
        objects = [x for x in named if hasattr(x, "n_rx_queues")]
        runtime = (objects or found)[0].runtime if objects or found else None
        for x in named:
            port = x
            if not hasattr(x, "n_rx_queues"):
                if str(x).isdecimal() and not any(p.name == str(x) for p in found):
                    continue  # its number here
                port = runtime.port(x) if runtime is not None else x
            if not any(port is other for other in found):
                found.append(port)
        return found

    def plan(self, **options: Any) -> Plan:
        """What will run where, and why: see `Runtime.start` for the options. Nothing is started."""
        from veridnet.pipeline.arrange import arrange

        ports = self.all_ports()
        if not ports:
            raise ConfigError("a pipeline without ports has no plan", hint="Pipeline(rx=[port])")
        return arrange(ports[0].runtime, self, **options)

    def __repr__(self) -> str:
        rx = ", ".join(map(s.name_of, self.rx)) or "a branch"
        return " -> ".join([rx, *(x.kind for x in self.stages)])


def _number(pipe: Pipeline, at: int, path: tuple[str, ...]) -> tuple[tuple[Numbered, ...], int]:
    chain = []
    for stage in pipe.stages:
        number, at = at, at + 1
        branches = []
        for name, branch in stage.branches():
            inner, at = _number(branch, at, (*path, f"{stage.kind} {name}"))
            branches.append((name, inner))
        chain.append(Numbered(number, path, stage, tuple(branches)))
    return tuple(chain), at


def check_branch(branch: Any) -> Pipeline:
    """A pipeline without inputs."""
    if not isinstance(branch, Pipeline):
        raise ConfigError(f"a branch is a Pipeline, not {branch!r}",
                          hint="vn.Pipeline().forward(port)")  # fmt: skip
    if branch.rx:
        raise ConfigError("a branch gets its packets from the pipeline around it, not by rx=")
    if not branch.stages:
        raise ConfigError("a branch without stages does nothing")
    return branch


def is_ring(thing: Any) -> bool:
    """Is it a ring of mbufs?"""
    return hasattr(thing, "address") and getattr(thing, "dtype", None) is None


def check_port(port: Any) -> Any:
    """A port, or its name or number."""
    if hasattr(port, "n_rx_queues") or (
        isinstance(port, (str, int)) and not isinstance(port, bool) and str(port).strip()
    ):
        return port
    raise ConfigError(f"{port!r} is no port", hint="a Port, its name, or its number")


def check_whole(what: str, n: Any, low: int, high: int) -> None:
    """ConfigError unless it is a whole number from `low` to `high`."""
    if isinstance(n, bool) or not isinstance(n, int) or not low <= n <= high:
        raise ConfigError(f"{what}={n!r}: from {low} to {high}")


def check_match(text: Any) -> None:
    """ConfigError unless it is a match expression."""
    if not isinstance(text, str):
        raise ConfigError(f"a match expression is text, not {text!r}")
    match.compile(text, packets=True)


def check_table(table: Any) -> FlowTable:
    """ConfigError unless it is a table. (Or a native one, whose actions know their ports.)"""
    if not isinstance(table, (FlowTable, RuleTable)):
        raise ConfigError(f"rules are a FlowTable, not {table!r}", hint="vn.FlowTable()")
    return table  # type: ignore[return-value]


def check_reason(reason: Any) -> str:
    """ConfigError unless it is a word."""
    if not isinstance(reason, str) or not reason.isascii() or not reason.isidentifier():
        raise ConfigError(f"a drop reason is a word of letters, digits and _, not {reason!r}")
    return reason


def rule_id(key: Any) -> int:
    """A rule's id."""
    id = getattr(key, "id", key)
    if isinstance(key, Rule) and id is key:
        raise ConfigError("split: a rule is named by its id", hint="the id that table.add returned")
    try:
        id = int(id)
    except (TypeError, ValueError):
        raise ConfigError(f"split: {key!r} is no rule's id") from None
    check_whole("split: a rule's id", id, 0, (1 << 31) - 1)
    return int(id)
