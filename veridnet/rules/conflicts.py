"""What is wrong with a set of rules: rules that never win, or that say nothing new.

Every rule is compared with every other by its boxes (`veridnet.rules.boxes`), in numpy: quadratic,
and still about 3 s for 10,000 rules. Columns are taken as independent of each other, so a rule that
no real packet can match (``ip_version == 6 and ip_src == 10.0.0.1``) is not found. What takes BPF
or too many boxes is left out, and reported as unchecked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veridnet.rules.boxes import FULL, Box, boxes, contains
from veridnet.rules.reference import Rules, Sets, numbered
from veridnet.rules.rule import Rule, RuleSet, rule_label, winning_order

#: Kind -> what it means. The first four are warnings, the others are to know.
KINDS = {
    "never": "no packet can match it",
    "shadowed": "one stronger rule, with other actions, matches all of its packets",
    "redundant": "without it nothing changes: one rule with the same actions does what it does",
    "unreachable": "stronger rules together match all of its packets",
    "overlaps": "some of its packets go to stronger rules with other actions",
    "unchecked": "what it matches cannot be said by ranges and masks",
}


@dataclass(frozen=True)
class Conflict:
    """One finding.

    Attributes
    ----------
    kind
        See `KINDS`.
    rule
        The id of the rule that it is about.
    others
        Ids of the rules that make it so, the strongest first (of "overlaps" at most 16).
    count
        How many these are altogether.
    text
        For people.
    """

    kind: str
    rule: int
    others: tuple[int, ...]
    count: int
    text: str

    @property
    def level(self) -> str:
        """ "warning" or "info"."""
        return "info" if self.kind in ("overlaps", "unchecked") else "warning"

    def __str__(self) -> str:
        return self.text


def conflicts(
    rules: Rules, *, sets: Sets | None = None, effort: int = 256, limit: int = 4096
) -> list[Conflict]:
    """What is wrong, in the order of the rules.

    Parameters
    ----------
    rules
        A rule set, rules (ids count from 0), or (id, rule) pairs as ``FlowTable.rules()`` gives.
    sets
        Named sets, where `rules` is no rule set.
    effort
        How many pieces the search for "unreachable" may cut what is left of a rule into. Where more
        are needed, the rule is taken for reachable.
    limit
        A rule of more boxes is unchecked.

    Actions are compared as texts; rules without actions are told apart by their ids, so they are
    never redundant, and overlaps of theirs are not reported.
    """
    ids, found, trees = numbered(rules, sets)
    order = winning_order([rule.priority for rule in found])
    return _Search(ids, found, trees, order, effort, limit, rules).run()


class _Search:
    def __init__(
        self,
        ids: list[int],
        rules: list[Rule],
        trees: list[Any],
        order: NDArray[np.int64],
        effort: int,
        limit: int,
        source: object,
    ) -> None:
        self.ids = [ids[n] for n in order]  # all that follows is in winning order
        self.rules = [rules[n] for n in order]
        self.places = [int(n) for n in order]
        self.source = source
        self.effort = effort
        kinds: dict[tuple[str, ...], int] = {}
        self.actions = np.array([kinds.setdefault(r.actions, len(kinds)) for r in self.rules])
        self.empty = kinds.get((), -1)
        self.boxes: list[Box] = []
        self.own: list[range | None] = []
        owners: list[int] = []
        for position, n in enumerate(order):
            these = boxes(trees[n], limit)
            begin = len(self.boxes)
            if these is not None:
                self.boxes += these
                owners += [position] * len(these)
            self.own.append(None if these is None else range(begin, len(self.boxes)))
        self.owner = np.array(owners, np.int64)
        self.columns = sorted({name for box in self.boxes for name in box})
        self.lo, self.hi = {}, {}
        for name in self.columns:
            full = FULL[name]
            hulls = [_hull(box.get(name, (full, 0, full)), full) for box in self.boxes]
            self.lo[name] = np.array([lo for lo, _ in hulls], np.uint64)
            self.hi[name] = np.array([hi for _, hi in hulls], np.uint64)
        self.masked = np.array([_masked(box) for box in self.boxes], bool)
        self.random = np.random.default_rng(1)

    def run(self) -> list[Conflict]:
        out = []
        for position in range(len(self.rules)):
            out += self.about(position)
        return sorted(out, key=lambda c: c.rule)

    def about(self, position: int) -> list[Conflict]:
        own = self.own[position]
        if own is None:
            return [self.finding("unchecked", position, ())]
        if not own:
            return [self.finding("never", position, ())]
        touching = [self.touching(n) for n in own]
        around = [self.containing(n, near) for n, near in zip(own, touching, strict=True)]
        cover = set(around[0]).intersection(*around[1:])
        stronger = sorted(p for p in cover if p < position)
        if stronger:
            # The strongest one, but one with the same actions if there is one as strong.
            kind = "redundant" if self.same(position, stronger[0]) else "shadowed"
            return [self.finding(kind, position, stronger[:1])]
        near = [self.owner[t] for t in touching]
        if by := self.covered(own, touching, position):
            return [self.finding("unreachable", position, by)]
        if self.actions[position] == self.empty:
            return []
        all_near = np.unique(np.concatenate(near))
        different = all_near[self.actions[all_near] != self.actions[position]]
        for weaker in sorted(p for p in cover if p > position):
            if self.same(position, weaker) and not self.equal(position, weaker):
                if not ((different > position) & (different < weaker)).any():
                    return [self.finding("redundant", position, [weaker])]
                break
        different = different[different < position]
        different = different[self.actions[different] != self.empty]
        return [self.finding("overlaps", position, different.tolist())] if len(different) else []

    def same(self, a: int, b: int) -> bool:
        return bool(self.actions[a] == self.actions[b] != self.empty)

    def equal(self, position: int, other: int) -> bool:
        """Does a rule, which another one contains, contain that one? (It is told of that one.)"""
        mine, theirs = self.own[position], self.own[other]
        return bool(mine and theirs) and all(
            any(contains(self.boxes[m], self.boxes[t]) for m in mine or ()) for t in theirs or ()
        )

    def touching(self, number: int) -> NDArray[np.int64]:
        """The boxes of other rules that share a packet with a box."""
        box = self.boxes[number]
        tests = {name: _hull(test, FULL[name]) for name, test in box.items()}
        narrow = sorted(tests, key=lambda name: (tests[name][1] - tests[name][0]) / FULL[name])
        near: Any = None
        for name in narrow:
            lo, hi = map(np.uint64, tests[name])
            if near is None:
                near = np.flatnonzero((self.lo[name] <= hi) & (self.hi[name] >= lo))
            else:
                near = near[(self.lo[name][near] <= hi) & (self.hi[name][near] >= lo)]
        if near is None:
            near = np.arange(len(self.boxes))
        near = near[self.owner[near] != self.owner[number]]
        if self.masked[number] or self.masked[near].any():
            doubtful = self.masked[near] | self.masked[number]
            keep = [not d or _meet(box, self.boxes[n]) for n, d in zip(near, doubtful, strict=True)]
            near = near[np.array(keep, bool)]
        found: NDArray[np.int64] = near
        return found

    def containing(self, number: int, near: NDArray[np.int64]) -> list[int]:
        """The rules one of whose boxes contains a box."""
        box = self.boxes[number]
        inside = near
        for name in self.columns:
            lo, hi = _hull(box.get(name, (FULL[name], 0, FULL[name])), FULL[name])
            inside = inside[
                (self.lo[name][inside] <= np.uint64(lo)) & (self.hi[name][inside] >= np.uint64(hi))
            ]
            if not len(inside):
                return []
        sure = [n for n in inside if not self.masked[n] or contains(self.boxes[n], box)]
        return sorted({int(self.owner[n]) for n in sure})

    def covered(
        self, own: Sequence[int], touching: Sequence[NDArray[np.int64]], position: int
    ) -> list[int]:
        """The stronger rules that together match all packets of these boxes, or []."""
        by: set[int] = set()
        for number, near in zip(own, touching, strict=True):
            stronger = near[(self.owner[near] < position) & ~self.masked[near]]
            if len(stronger) < 2 and len(own) == 1:
                return []
            for points in (4, 64):
                if not self.all_hit(number, stronger, points):
                    return []
            used = self.subtract(number, stronger)
            if used is None:
                return []
            by |= used
        return sorted(by)

    def all_hit(self, number: int, near: NDArray[np.int64], points: int) -> bool:
        """Is each of some packets of a box in one of the others?"""
        box = self.boxes[number]
        hit = np.ones((points, len(near)), bool)
        for name in self.columns:
            mask, lo, hi = box.get(name, (FULL[name], 0, FULL[name]))
            if mask != FULL[name]:
                return False  # masks are not cut
            values = self.random.integers(lo, hi, points, np.uint64, endpoint=True)
            values[:2] = lo, hi
            at = values[:, None]
            hit &= (self.lo[name][near] <= at) & (self.hi[name][near] >= at)
        return bool(hit.any(1).all())

    def subtract(self, number: int, near: NDArray[np.int64]) -> set[int] | None:
        """Which rules it takes to leave nothing of a box; None if something is left."""
        box = self.boxes[number]
        names = self.columns
        whole = [_hull(box.get(name, (FULL[name], 0, FULL[name])), FULL[name]) for name in names]
        left = [whole]
        sizes = np.zeros(len(near))
        for name, (lo, hi) in zip(names, whole, strict=True):
            common = (np.minimum(self.hi[name][near], np.uint64(hi))
                      - np.maximum(self.lo[name][near], np.uint64(lo)))  # fmt: skip
            sizes += np.log1p(common.astype(float))
        used = set()
        for n in near[np.argsort(-sizes, kind="stable")]:
            cut = [(int(self.lo[name][n]), int(self.hi[name][n])) for name in names]
            rest: list[list[tuple[int, int]]] = []
            for piece in left:
                rest += _minus(piece, cut)
            if rest != left:
                used.add(int(self.owner[n]))
            left = rest
            if not left:
                return used
            if len(left) > self.effort:
                return None
        return None

    def finding(self, kind: str, position: int, others: Sequence[int]) -> Conflict:
        ids = tuple(self.ids[p] for p in others)
        count = len(ids)
        shown = [self.label(p) for p in others[:3]]
        more = f" and {count - 3} more" if count > 3 else ""
        by = "; ".join(shown) + more
        apart = "" if self.actions[position] == self.empty else ", with other actions"
        text = {
            "never": "no packet can match it",
            "shadowed": f"{by} matches all of its packets first{apart}",
            "redundant": f"{by} has the same actions, and matches all of its packets",
            "unreachable": f"these match all of its packets first: {by}",
            "overlaps": f"some of its packets go, with other actions, to {by}",
            "unchecked": "not checked: it takes more than ranges and masks",
        }[kind]
        text = f"{self.label(position)}: {kind}: {text}" if kind != "unchecked" else (
            f"{self.label(position)}: {text}")  # fmt: skip
        return Conflict(kind, self.ids[position], ids[:16] if kind == "overlaps" else ids, count,
                        text)  # fmt: skip

    def label(self, position: int) -> str:
        if isinstance(self.source, RuleSet):
            return self.source.label(self.places[position])
        return rule_label(self.ids[position], self.rules[position].name)


def _hull(test: tuple[int, int, int], full: int) -> tuple[int, int]:
    """The least and the greatest value that pass a test."""
    mask, lo, hi = test
    return (lo, hi) if mask == full else (lo, lo | (full ^ mask))


def _masked(box: Box) -> bool:
    return any(mask != FULL[name] for name, (mask, _, _) in box.items())


def _meet(a: Box, b: Box) -> bool:
    from veridnet.rules.boxes import meet

    return all(meet(a[name], b[name], FULL[name]) for name in a.keys() & b.keys())


def _minus(piece: list[tuple[int, int]], cut: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """What is left of a piece: pieces that do not overlap."""
    for (lo, hi), (first, last) in zip(piece, cut, strict=True):
        if hi < first or last < lo:
            return [piece]
    out = []
    now = list(piece)
    for k, ((lo, hi), (first, last)) in enumerate(zip(piece, cut, strict=True)):
        if lo < first:
            out.append([*now[:k], (lo, first - 1), *now[k + 1 :]])
        if last < hi:
            out.append([*now[:k], (last + 1, hi), *now[k + 1 :]])
        now[k] = (max(lo, first), min(hi, last))
    return out
