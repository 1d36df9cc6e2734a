"""Rules in a port: the part of a table that the port itself can look up (rte_flow).

All rules stay in software. What a port finds saves software the lookup:

- a rule that only drops becomes a flow that counts and drops;
- any other becomes a flow that marks its packets; software reads from the mark which rule it was
  and runs that rule's actions (`Offloaded.ids`).

A packet without a mark is looked up in software. So a flow may take fewer packets than its rule,
but never one that another rule wins: it is installed only if every winning rule that meets it is in
the port too, before it, for all packets that both could take. What each flow takes, and surely
takes, is said by `veridnet.rules.flows`.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from veridnet._native import flow as native
from veridnet.errors import FlowError
from veridnet.rules import flows
from veridnet.rules.flows import ANY_DEPTH, Box, Pattern
from veridnet.rules.regions import Region, covered, overlap

#: How many marks there are (0 is none). A mark is used again only after all others were.
MARKS = 1 << 16
#: So many rules, the strongest, are tried: each is compared with all that win over it.
MOST = 1024


@dataclass(frozen=True)
class Entry:
    """A rule as offloading sees it.

    Attributes
    ----------
    id
        The rule's id.
    priority
        The larger wins.
    place
        Among equal priorities, the smaller wins.
    boxes
        The packets that it matches: the union. None: columns cannot say it.
    actions
        Texts of the actions.
    idle_timeout
        Seconds; 0: none.
    """

    id: int
    priority: int
    place: int
    boxes: tuple[Box, ...] | None
    actions: tuple[str, ...] = ()
    idle_timeout: float = 0.0

    @property
    def rank(self) -> tuple[int, int]:
        """The smaller wins."""
        return -self.priority, self.place

    @property
    def drops(self) -> bool:
        """Is dropping (and counting) all that it does, so that the port can do it?"""
        words = {str(action) for action in self.actions}
        return "drop" in words and words <= {"drop", "count"} and not self.idle_timeout


class Table(Protocol):
    """What offloading asks of a table."""

    def entries(self) -> Iterable[Entry]:
        """Its rules."""
        ...


class FlowApi(Protocol):
    """How ports are asked; `RteFlow` is the real one."""

    def validate(self, port: Any, pattern: Any, actions: Any, *, priority: int) -> None:
        """FlowError: the port would not take it."""

    def create(self, port: Any, pattern: Any, actions: Any, *, priority: int) -> Any:
        """Installs a flow, a smaller priority wins; FlowError: the port does not take it."""

    def query(self, flow: Any) -> tuple[int | None, int | None]:
        """(packets, bytes) so far; None: not counted."""

    def destroy(self, flow: Any) -> None:
        """Takes it out."""


class RteFlow:
    """rte_flow, on ports of veridnet."""

    def validate(self, port: Any, pattern: Any, actions: Any, *, priority: int) -> None:
        """rte_flow_validate."""
        native.validate(port, pattern, actions, priority=priority)

    def create(self, port: Any, pattern: Any, actions: Any, *, priority: int) -> native.Flow:
        """rte_flow_create."""
        return native.create(port, pattern, actions, priority=priority)

    def query(self, flow: native.Flow) -> tuple[int | None, int | None]:
        """rte_flow_query."""
        return flow.query()

    def destroy(self, flow: native.Flow) -> None:
        """rte_flow_destroy."""
        flow.destroy()


@dataclass(frozen=True)
class Status:
    """Where a rule is looked up.

    Attributes
    ----------
    where
        "port": all that rte_flow can say of it (software still looks up packets that are not
        plain); "part": some of its flows are in the port; "software": none.
    flows
        How many flows it has in the port.
    drops
        Does the port itself drop its packets?
    reasons
        Why what is not in the port is not.
    """

    where: str
    flows: int
    drops: bool
    reasons: tuple[str, ...]


@dataclass(eq=False)
class _Flow:
    rule: int
    pattern: Pattern
    drops: bool
    level: int
    mark: int
    handle: Any = None
    seen: tuple[int, int] = (0, 0)


@dataclass(eq=False)
class _Rule:
    entry: Entry
    regions: list[dict[str, Any]] | None  # None: any packet, it may be
    exact: bool
    flows: list[_Flow] = field(default_factory=list)
    reasons: dict[str, None] = field(default_factory=dict)
    complete: bool = False


class Offloaded:
    """The rules of a table in a port, until `release`.

    Attributes
    ----------
    marks
        int32, an element a mark: the rule's id; -1: the packet is to be looked up. Never moves.
    depths
        uint8, an element a mark: how many VLAN tags its packets have; 255: any number.
    """

    def __init__(
        self, entries: Iterable[Entry], port: Any, api: FlowApi, *, trust_port: bool, queues: int,
        marks: bool = True,
    ) -> None:  # fmt: skip
        self.port = port
        self.api = api
        self.trusted = trust_port
        self.marking = marks
        self.released = False
        self.marks: NDArray[np.int32] = np.full(MARKS, -1, np.int32)
        self.depths: NDArray[np.uint8] = np.zeros(MARKS, np.uint8)
        self._free_marks = deque(range(1, MARKS))
        self._in_port = getattr(port, "index", None)
        self._fate = (
            ("queue", {"index": 0}) if queues <= 1 else ("rss", {"queues": list(range(queues))})
        )
        self._rules: dict[int, _Rule] = {}
        self._totals: dict[int, tuple[int, int]] = {}
        self._refused: dict[tuple[Any, ...], str] = {}
        self._full = ""
        self._none = ""  # what a port without rte_flow says
        self._pending: dict[int, Entry] | None = {entry.id: entry for entry in entries}
        try:
            self.finish()
        except BaseException:
            self.release()
            raise

    # -- for packets --------------------------------------------------------------------------

    def ids(
        self, marks: ArrayLike, error: ArrayLike, frag: ArrayLike, ip6_ext: ArrayLike,
        vlan_depth: ArrayLike,
    ) -> NDArray[np.int32]:  # fmt: skip
        """The rules that the port found, int32 of shape (packets,); -1: look it up.

        `marks`: of each packet, 0: none (mbuf->hash.fdir.hi where RTE_MBUF_F_RX_FDIR_ID is set);
        the others are columns. A mark is believed only of a plain packet.
        """
        marks = np.asarray(marks)
        out = np.where(marks < MARKS, self.marks[np.minimum(marks, MARKS - 1)], -1)
        depth = self.depths[np.minimum(marks, MARKS - 1)]
        plain = (np.asarray(error) == 0) & (np.asarray(frag) == 0) & (np.asarray(ip6_ext) == 0)
        plain &= (depth == ANY_DEPTH) | (depth == np.asarray(vlan_depth))
        return np.where(plain, out, -1).astype(np.int32)

    # -- updates ------------------------------------------------------------------------------

    def sync(
        self, changes: Mapping[int, Entry | None], publish: Callable[[], object] | None = None
    ) -> None:
        """Follows the table: rules added or replaced (id -> entry) and removed (id -> None).

        `publish` makes the change visible in software. Before it, all flows are taken out that the
        change makes wrong; after it, new ones are installed: at each moment a packet meets the
        table as it was or as it will be. See `prepare` and `finish`.

        Raises FlowError, before anything is published, if the port does not let a flow go.
        """
        self.prepare(changes)
        if publish is not None:
            publish()
        self.finish()

    def prepare(self, changes: Mapping[int, Entry | None]) -> None:
        """Takes out all flows that are not right both before and after the changes."""
        before = self._entries() if self._pending is None else self._pending
        after = {**before}
        for number, entry in changes.items():
            if entry is None:
                after.pop(number, None)
            else:
                after[number] = entry
        touched: list[_Rule] = []
        for number, entry in changes.items():
            old = self._rules.get(number)
            if old is not None:
                touched.append(old)
            if entry is not None:
                touched.append(self._rule(entry))
        kept: dict[int, list[_Flow]] = {}
        gone: list[_Flow] = []
        for rule in sorted(self._rules.values(), key=lambda r: r.entry.rank):
            new = after.get(rule.entry.id)
            same = new is not None and (new.boxes, new.drops) == (
                rule.entry.boxes, rule.entry.drops)  # fmt: skip
            for flow in rule.flows:
                if same and self._still_right(flow, rule, after, touched, kept):
                    kept.setdefault(rule.entry.id, []).append(flow)
                else:
                    gone.append(flow)
                    touched.append(rule)
        # The last in line first: no flow is ever without those that must stand before it.
        for flow in reversed(gone):
            self._remove(flow)
        self._pending = after

    def _still_right(
        self, flow: _Flow, rule: _Rule, after: Mapping[int, Entry], touched: list[_Rule],
        kept: Mapping[int, list[_Flow]],
    ) -> bool:  # fmt: skip
        """Would a flow be right among those kept, before the changes and after them?"""
        new = after[rule.entry.id]
        for other in touched:
            if other.entry.id == rule.entry.id:
                continue
            later = after.get(other.entry.id)
            mine_wins = other.entry.rank > rule.entry.rank and (
                later is None or later.rank > new.rank
            )
            if mine_wins and other.entry.rank > new.rank:
                continue
            if not self._stands_behind(flow.pattern.reach, flow.level, other,
                                       kept.get(other.entry.id, ())):  # fmt: skip
                return False
        if new.rank != rule.entry.rank:
            # It has passed others, which have not changed themselves.
            low, high = sorted((new.rank, rule.entry.rank))
            for other in self._rules.values():
                if low <= other.entry.rank <= high and other is not rule and not (
                    self._stands_behind(flow.pattern.reach, flow.level, other,
                                        kept.get(other.entry.id, ()))
                ):  # fmt: skip
                    return False
        return True

    def finish(self) -> None:
        """Installs what the port takes of the table as it is now."""
        after = self._pending if self._pending is not None else self._entries()
        self._pending = None
        rules: dict[int, _Rule] = {}
        for entry in sorted(after.values(), key=lambda e: e.rank):
            old = self._rules.get(entry.id)
            if old is not None and old.entry.boxes == entry.boxes:
                old.entry = entry
                rules[entry.id] = old
            else:
                rules[entry.id] = self._rule(entry)
        self._rules = rules
        self._totals = {number: n for number, n in self._totals.items() if number in rules}
        above: list[_Rule] = []
        for rule in rules.values():
            if len(above) >= MOST and not rule.flows:
                rule.complete = False
                rule.reasons = {f"only the strongest {MOST:,} rules are tried": None}
                continue
            if not self._none:
                self._install(rule, above)
            if self._none:
                rule.complete, rule.reasons = False, {self._none: None}
            above.append(rule)

    def cancel(self) -> None:
        """The changes of `prepare` do not come: what it took out is installed again."""
        self._pending = None
        self.finish()

    def forget(self, number: int) -> None:
        """A rule has gone: its counters go too, as its id may come again."""
        self._totals.pop(number, None)

    def _entries(self) -> dict[int, Entry]:
        return {number: rule.entry for number, rule in self._rules.items()}

    def _rule(self, entry: Entry) -> _Rule:
        if entry.boxes is None:
            return _Rule(entry, None, False)
        regions: list[dict[str, Any]] = []
        exact = True
        for box in entry.boxes:
            packets, well = flows.region(box, self._in_port)
            exact &= well
            if packets is not None:
                regions += flows.normal(packets)
        return _Rule(entry, regions, exact)

    # -- which flows --------------------------------------------------------------------------

    @staticmethod
    def _stands_behind(
        reach: Region, level: int | None, other: _Rule, before: Iterable[_Flow]
    ) -> bool:
        """Do all packets that a flow and a winning rule could both take go to that rule's flows?

        `level`: of the flow; only flows of smaller levels are before it.
        """
        if other.regions is None:
            return False
        sure = None
        for packets in other.regions:
            both = overlap(packets, reach)
            if both is None:
                continue
            if sure is None:
                sure = [f.pattern.sure for f in before if level is None or f.level < level]
            if not sure or not covered(both, sure):
                return False
        return True

    def _install(self, rule: _Rule, above: list[_Rule]) -> None:
        """Completes a rule's flows, as far as the port takes them."""
        rule.reasons = {}
        rule.complete = False
        if rule.regions is None:
            rule.reasons["columns cannot say what it matches"] = None
            return
        if not rule.exact:
            rule.reasons["a range of masked bits"] = None
            return
        if not rule.regions:
            rule.complete = True  # no packet of this port matches
            return
        covers = [self._cover(rule, packets, above) for packets in rule.regions]
        rule.complete = all(covers)

    def _cover(self, rule: _Rule, packets: Region, above: list[_Rule]) -> bool:
        """Flows for one region: those that drop where they may, else those that mark."""
        kinds = ((True,) if rule.entry.drops else ()) + ((False,) if self.marking else ())
        if not kinds:
            rule.reasons["only rules that drop are put there: marks are not read"] = None
        return any(self._cover_as(rule, packets, drops, above) for drops in kinds)

    def _cover_as(self, rule: _Rule, packets: Region, drops: bool, above: list[_Rule]) -> bool:
        patterns, reasons = flows.translate(packets, drops, self.trusted, ranges=True)
        results = [(self._try(rule, pattern, drops, above), pattern) for pattern in patterns]
        if any(how == "refused" and pattern.ranges for how, pattern in results) or any(
            why.startswith(flows.RANGE) for why in reasons
        ):
            return self._cover_prefixes(rule, packets, drops, above)
        rule.reasons.update(dict.fromkeys(reasons))
        if not results and not reasons:
            rule.reasons["rte_flow has no stack of headers for it"] = None
        return bool(results) and not reasons and all(how == "in" for how, _ in results)

    def _cover_prefixes(
        self, rule: _Rule, packets: Region, drops: bool, above: list[_Rule]
    ) -> bool:
        """Flows for one region without ranges, which few ports take."""
        pieces = flows.without_ranges(packets)
        if pieces is None:
            rule.reasons[f"without ranges it takes more than {flows.MAX_FLOWS} flows"] = None
            return False
        well = True
        for piece in pieces:
            patterns, reasons = flows.translate(piece, drops, self.trusted, ranges=False)
            rule.reasons.update(dict.fromkeys(reasons))
            well = well and not reasons
            for pattern in patterns:
                well = self._try(rule, pattern, drops, above) == "in" and well
        return well

    def _try(self, rule: _Rule, pattern: Pattern, drops: bool, above: list[_Rule]) -> str:
        """Puts a pattern into the port: "in", "blocked" by a rule that wins, or "refused"."""
        if any(f.pattern == pattern and f.drops == drops for f in rule.flows):
            return "in"
        if covered(pattern.reach, [f.pattern.sure for f in rule.flows]):
            return "in"
        level = 0
        for other in above:
            if not self._stands_behind(pattern.reach, None, other, other.flows):
                rule.reasons[f"rule {other.entry.id}, which wins, is not all in the port"] = None
                return "blocked"
            for f in other.flows:
                if f.level >= level and overlap(f.pattern.reach, pattern.reach) is not None:
                    level = f.level + 1
        if self._full:
            rule.reasons[self._full] = None
            return "refused"
        if self._create(rule, _Flow(rule.entry.id, pattern, drops, level, 0)):
            return "in"
        return "refused"

    def _create(self, rule: _Rule, flow: _Flow) -> bool:
        key = (flow.pattern.items, flow.drops, flow.level)
        why = self._refused.get(key)
        if why is None:
            if not flow.drops:
                if not self._free_marks:
                    rule.reasons[f"all {MARKS - 1} marks are in use"] = None
                    return False
                flow.mark = self._free_marks.popleft()
            why = self._ask(flow)
            if why:
                if flow.mark:
                    self._free_marks.appendleft(flow.mark)
                if len(self._refused) >= MARKS:
                    self._refused.clear()
                if not self._full:
                    self._refused[key] = why
        if why:
            rule.reasons[why] = None
            return False
        rule.flows.append(flow)
        if flow.mark:
            self.depths[flow.mark] = flow.pattern.depth
            self.marks[flow.mark] = flow.rule
        return True

    def _ask(self, flow: _Flow) -> str:
        """Installs a flow; "" or why it is not. Asks first; but what create says decides."""
        pattern = flow.pattern.native
        actions: list[tuple[str, Any]] = (
            [("count", None), ("drop", None)]
            if flow.drops
            else [("mark", {"id": flow.mark}), self._fate]
        )
        try:
            self.api.validate(self.port, pattern, actions, priority=flow.level)
            flow.handle = self.api.create(self.port, pattern, actions, priority=flow.level)
        except FlowError as error:
            if error.errno in (errno.ENOSPC, errno.ENOMEM):
                self._full = str(error)
            if error.errno == errno.ENOSYS:
                self._full = self._none = str(error)
            return str(error)
        if flow.drops:
            try:
                hits, octets = self.api.query(flow.handle)
            except FlowError as error:
                hits = octets = None
                why = str(error)
            else:
                why = "the port does not count packets and bytes of what it drops"
            if hits is None or octets is None:
                self.api.destroy(flow.handle)
                return why
        return ""

    def _remove(self, flow: _Flow) -> None:
        if flow.drops:
            self._count(flow)
        self.api.destroy(flow.handle)
        self._rules[flow.rule].flows.remove(flow)
        if flow.mark:
            self.marks[flow.mark] = -1  # packets on their way are looked up
            self._free_marks.append(flow.mark)
        self._full = ""

    # -- counters, end ------------------------------------------------------------------------

    def _count(self, flow: _Flow) -> None:
        hits, octets = self.api.query(flow.handle)
        now = (hits or 0, octets or 0)
        packets, size = self._totals.get(flow.rule, (0, 0))
        self._totals[flow.rule] = (packets + now[0] - flow.seen[0], size + now[1] - flow.seen[1])
        flow.seen = now

    def counters(self) -> dict[int, tuple[int, int]]:
        """Rule -> (packets, bytes) that the port dropped for it: software never saw these.

        They are to be added to software's counters. Of flows that were taken out since, too.
        """
        for rule in self._rules.values():
            for flow in rule.flows:
                if flow.drops:
                    self._count(flow)
        return dict(self._totals)

    def status(self) -> dict[int, Status]:
        """Rule -> where it is looked up, and why."""
        return {
            number: Status(
                "software" if not rule.flows else "port" if rule.complete else "part",
                len(rule.flows),
                any(f.drops for f in rule.flows),
                tuple(rule.reasons),
            )
            for number, rule in self._rules.items()
        }

    def flows(self) -> list[tuple[int, int, str]]:
        """(rule, rte_flow's priority, pattern) of each flow in the port."""
        return [(f.rule, f.level, flows.text(f.pattern.items))
                for rule in self._rules.values() for f in rule.flows]  # fmt: skip

    def release(self) -> None:
        """Takes all flows out. May be called twice; `counters` stays readable."""
        self.released = True
        for rule in reversed(list(self._rules.values())):
            for flow in list(rule.flows):
                self._remove(flow)

    def __enter__(self) -> Offloaded:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


def offload(
    table: Table, port: Any, api: FlowApi | None = None, *, trust_port: bool = False,
    marks: bool = True,
) -> Offloaded:  # fmt: skip
    """Puts into a port what it takes of a table's rules; the result for each packet is the same.

    Parameters
    ----------
    table
        Whose ``entries()`` are offloaded.
    port
        A port of veridnet, started, or what `api` takes for one.
    trust_port
        Believe that the port treats fragments, packets with IPv6 extension headers and damaged
        packets as veridnet does. Then it may drop more by itself.
    marks
        Put rules there that mark, too. False where nobody reads marks (`Offloaded.ids`).
    """
    return Offloaded(
        table.entries(), port, api or RteFlow(), trust_port=trust_port,
        queues=getattr(port, "n_rx_queues", 1), marks=marks,
    )  # fmt: skip
