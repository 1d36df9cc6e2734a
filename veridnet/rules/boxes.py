"""Match trees as boxes: what table engines can look up.

A box is a conjunction with at most one test a column; a tree is the union of its boxes. Each test
is exactly one of

- a range: the mask is all ones, ``lo <= value <= hi``;
- a ternary: ``value & mask == lo`` and ``lo == hi``. What a range can say (a prefix) is a range.

How it is done: negations are pushed down to the tests; what concerns one column is computed as a
set of intervals (so that a set of 10,000 addresses, or its contrary, takes milliseconds); the rest
is multiplied out. A range and a ternary of one column become ternaries by the range's prefixes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from veridnet.headers.fields import BY_NAME
from veridnet.headers.match import And, Not, Or, Test

#: Column -> (mask, lo, hi). The empty box is every packet.
Box = dict[str, tuple[int, int, int]]

#: Column -> its mask of all ones.
FULL = {name: (1 << int(field.dtype.removeprefix("uint"))) - 1 for name, field in BY_NAME.items()}

_Interval = tuple[int, int]


def boxes(node: Any, limit: int = 65536) -> list[Box] | None:
    """A tree's boxes, none contained in another where that is cheap to see.

    ``[]`` is a tree that no packet matches, ``[{}]`` one that all match. None: what only a program
    can say (`Bpf`), or what takes more than `limit` boxes.
    """
    try:
        found = _listed(_Expansion(limit).expand(node, False))
    except _CannotError:
        return None
    return found if len(found) <= limit else None


class _CannotError(Exception):
    """It cannot be said in boxes, or not in few enough."""


class _Spans:
    """A set of values of one column: intervals in order, with gaps between them."""

    __slots__ = ("column", "spans")

    def __init__(self, column: str, spans: list[_Interval]) -> None:
        self.column = column
        self.spans = spans

    def contrary(self) -> _Spans:
        out, at, top = [], 0, FULL[self.column]
        for lo, hi in self.spans:
            if at < lo:
                out.append((at, lo - 1))
            at = hi + 1
        if at <= top:
            out.append((at, top))
        return _Spans(self.column, out)


_Part = _Spans | list[Box]


def _union(spans: Iterable[_Interval]) -> list[_Interval]:
    out: list[_Interval] = []
    for lo, hi in sorted(spans):
        if out and lo <= out[-1][1] + 1:
            if hi > out[-1][1]:
                out[-1] = (out[-1][0], hi)
        else:
            out.append((lo, hi))
    return out


def _common(a: list[_Interval], b: list[_Interval]) -> list[_Interval]:
    out, i, j = [], 0, 0
    while i < len(a) and j < len(b):
        lo, hi = max(a[i][0], b[j][0]), min(a[i][1], b[j][1])
        if lo <= hi:
            out.append((lo, hi))
        if a[i][1] < b[j][1]:
            i += 1
        else:
            j += 1
    return out


def prefixes(lo: int, hi: int, bits: int) -> Iterator[tuple[int, int]]:
    """A range as (value, mask) of prefixes, at most ``2 * bits - 2``."""
    full = (1 << bits) - 1
    while lo <= hi:
        size = lo & -lo or 1 << bits
        while size > hi - lo + 1:
            size >>= 1
        yield lo, full ^ (size - 1)
        lo += size


def _is_prefix(mask: int, full: int) -> bool:
    rest = full ^ mask
    return rest & (rest + 1) == 0


def _ternary(mask: int, value: int, full: int) -> tuple[int, int, int]:
    """A ternary as a box has it: a range where one can say it."""
    if _is_prefix(mask, full):
        return full, value, value | (full ^ mask)
    return mask, value, value


def _spread(number: int, mask: int) -> int:
    """The bits of a number, put where the mask has ones (x86's PDEP)."""
    out = 0
    while mask:
        low = mask & -mask
        if number & 1:
            out |= low
        number >>= 1
        mask ^= low
    return out


def _rank(limit: int, mask: int) -> int:
    """How many of the values that a mask leaves are less than `limit`?"""
    lo, hi = 0, 1 << mask.bit_count()
    while lo < hi:
        middle = (lo + hi) // 2
        if _spread(middle, mask) < limit:
            lo = middle + 1
        else:
            hi = middle
    return lo


def _test(test: Test, negated: bool) -> _Part:
    """One test, or its contrary."""
    full = FULL[test.column]
    mask = test.mask & full
    rest = full ^ mask
    lo, hi = test.lo, min(test.hi, mask)
    if rest & (rest + 1) == 0:  # a prefix, so a range
        lo, hi = (lo + rest) & ~rest, hi & mask | rest
        spans = _Spans(test.column, [(lo, hi)] if lo <= hi else [])
        return spans.contrary() if negated else spans
    if lo == hi and not negated:
        return [] if lo & rest else [{test.column: _ternary(mask, lo, full)}]
    # The values that the mask leaves, in order: 0, 1, ... A range of them is prefixes.
    first, after = _rank(lo, mask), _rank(hi + 1, mask)
    width = mask.bit_count()
    ranges = [(0, first - 1), (after, (1 << width) - 1)] if negated else [(first, after - 1)]
    if negated and first >= after:
        ranges = [(0, (1 << width) - 1)]
    out: list[Box] = []
    for begin, end in ranges:
        for value, part in prefixes(begin, end, width):
            there = _spread(part, mask)
            out.append({test.column: _ternary(there, _spread(value, mask), full)} if there else {})
    return out


def meet(a: tuple[int, int, int], b: tuple[int, int, int], full: int) -> list[tuple[int, int, int]]:
    """What two tests of one column have in common: none, one, or several tests."""
    if a[0] == full and b[0] == full:
        lo, hi = max(a[1], b[1]), min(a[2], b[2])
        return [(full, lo, hi)] if lo <= hi else []
    out = []
    bits = full.bit_length()
    for v, m in prefixes(a[1], a[2], bits) if a[0] == full else ((a[1], a[0]),):
        for w, n in prefixes(b[1], b[2], bits) if b[0] == full else ((b[1], b[0]),):
            if not (v ^ w) & m & n:
                out.append(_ternary(m | n, v | w, full))
    return out


def _listed(part: _Part) -> list[Box]:
    if isinstance(part, list):
        return part
    full = FULL[part.column]
    return [{} if (lo, hi) == (0, full) else {part.column: (full, lo, hi)} for lo, hi in part.spans]


def _columns(found: list[Box]) -> set[str]:
    return set().union(*found)


def _flat(node: Any, negated: bool, conjunction: bool) -> Iterator[tuple[Any, bool]]:
    """The parts of a conjunction (or a disjunction), with nested ones of the same kind opened."""
    while isinstance(node, Not):
        node, negated = node.of, not negated
    if isinstance(node, And | Or) and (isinstance(node, And) != negated) == conjunction:
        for part in node.of:
            yield from _flat(part, negated, conjunction)
    else:
        yield node, negated


class _Expansion:
    """Multiplies a tree out, within bounds."""

    #: So many parts of a conjunction, each the contrary of something, are the contrary of a union.
    MANY = 16

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.left = 4 * limit + 10_000  # pairs of boxes that may be joined: what it may cost

    def spend(self, work: int) -> None:
        self.left -= work
        if self.left < 0:
            raise _CannotError

    def expand(self, node: Any, negated: bool) -> _Part:
        while isinstance(node, Not):
            node, negated = node.of, not negated
        if isinstance(node, Test):
            return _test(node, negated)
        if not isinstance(node, And | Or):
            raise _CannotError
        if isinstance(node, And) != negated:
            return self.all_of(list(_flat(node, negated, True)))
        return self.any_of(list(_flat(node, negated, False)))

    def any_of(self, parts: Sequence[tuple[Any, bool]]) -> _Part:
        spans: dict[str, list[_Interval]] = {}
        out: list[Box] = []
        for part in parts:
            found = self.expand(*part)
            if isinstance(found, _Spans):
                spans.setdefault(found.column, []).extend(found.spans)
            else:
                out += found
        sets = [_Spans(column, _union(found)) for column, found in spans.items()]
        if len(sets) == 1 and not out:
            return sets[0]
        for one in sets:
            out += _listed(one)
        return self.bounded(out)

    def all_of(self, parts: Sequence[tuple[Any, bool]]) -> _Part:
        spans: dict[str, list[_Interval]] = {}
        excluded: dict[str, list[_Interval]] = {}
        factors: list[list[Box]] = []
        contraries = []  # conjunctions that must not hold
        for node, negated in parts:
            if negated and isinstance(node, And):
                contraries.append(node)
                continue
            found = self.expand(node, False)
            if not isinstance(found, _Spans):
                factors.append(_listed(self.expand(node, True)) if negated else found)
            elif negated:
                excluded.setdefault(found.column, []).extend(found.spans)
            else:
                before = spans.get(found.column)
                spans[found.column] = (
                    found.spans if before is None else _common(before, found.spans)
                )
        for column, out_of in excluded.items():
            inside = _Spans(column, _union(out_of)).contrary().spans
            spans[column] = _common(spans[column], inside) if column in spans else inside
        union = self.union_of(contraries) if len(contraries) > self.MANY else None
        if union is not None:
            factors.append(self.contrary(union))
        else:
            factors += [_listed(self.expand(node, True)) for node in contraries]
        sets = [_Spans(column, found) for column, found in spans.items()]
        if len(sets) == 1 and not factors:
            return sets[0]
        out: list[Box] = [{}]
        for factor in sorted([*map(_listed, sets), *factors], key=len):
            out = factor if out == [{}] else self.bounded(self.product(out, factor))
        return out

    def bounded(self, found: list[Box]) -> list[Box]:
        if len(found) > 1:
            found = simplify(found)
        if len(found) > self.limit:
            raise _CannotError
        return found

    def product(self, left: list[Box], right: list[Box]) -> list[Box]:
        pairs = len(left) * len(right)
        if pairs > self.limit and not _columns(left) & _columns(right):
            raise _CannotError  # nothing can contradict
        self.spend(pairs)
        out = []
        for a in left:
            for b in right:
                shared = a.keys() & b.keys()
                merged = [{**a, **b}]
                for column in shared:
                    tests = meet(a[column], b[column], FULL[column])
                    if len(tests) == 1:
                        for box in merged:
                            box[column] = tests[0]
                    else:
                        self.spend(len(tests) * len(merged))
                        merged = [{**box, column: test} for box in merged for test in tests]
                    if not merged:
                        break
                out += merged
        return out

    def union_of(self, nodes: Sequence[Any]) -> list[Box] | None:
        """The boxes of a union, if all are of ranges."""
        out: list[Box] = []
        for node in nodes:
            out += _listed(self.expand(node, False))
        ranges = all(test[0] == FULL[column] for box in out for column, test in box.items())
        return self.bounded(out) if ranges else None

    def contrary(self, found: list[Box]) -> list[Box]:
        """What none of these boxes (of ranges) has: cut along one column, then along the next."""
        if {} in found:
            return []
        if not found:
            return [{}]
        if len(found) == 1 and len(found[0]) == 1:
            ((name, (_, lo, hi)),) = found[0].items()
            return _listed(_Spans(name, [(lo, hi)]).contrary())
        distinct: dict[str, set[tuple[int, int, int]]] = {}
        for box in found:
            for name, test in box.items():
                distinct.setdefault(name, set()).add(test)
        column = max(distinct, key=lambda name: len(distinct[name]))
        full = FULL[column]
        everywhere, starts, ends = [], {}, {}  # type: ignore[var-annotated]
        for number, box in enumerate(found):
            if column in box:
                starts.setdefault(box[column][1], []).append(number)
                ends.setdefault(box[column][2] + 1, []).append(number)
            else:
                everywhere.append(number)
        cuts = sorted({0, *starts, *ends} - {full + 1})
        active: set[int] = set()
        slices: dict[frozenset[int], list[_Interval]] = {}
        for lo, after in zip(cuts, [*cuts[1:], full + 1], strict=True):
            active.difference_update(ends.get(lo, ()))
            active.update(starts.get(lo, ()))
            self.spend(1 + len(active))
            slices.setdefault(frozenset(active), []).append((lo, after - 1))
        out: list[Box] = []
        for numbers, spans in slices.items():
            self.spend(len(everywhere))
            inside = [found[number] for number in (*numbers, *everywhere)]
            rest = [{name: t for name, t in box.items() if name != column} for box in inside]
            joined = _union(spans)
            if joined == [(0, full)]:
                out += self.contrary(rest)
                continue
            for box in self.contrary(rest):
                out += [{**box, column: (full, lo, hi)} for lo, hi in joined]
            if len(out) > 4 * self.limit:
                raise _CannotError
        return out


def simplify(found: list[Box]) -> list[Box]:
    """The same union in fewer boxes: duplicates gone, neighbours joined, contained ones gone."""
    if {} in found:
        return [{}]
    if len(found) < 2:
        return found
    names = {column for box in found for column in box}
    for column in sorted(names):
        if len(found) > 1:
            found = _joined(found, column)
    if {} in found:
        return [{}]
    return _uncontained(found) if 1 < len(found) <= 128 else found


def _joined(found: list[Box], column: str) -> list[Box]:
    """Boxes that differ in one column's range only, as one."""
    full = FULL[column]
    groups: dict[Any, tuple[Box, list[_Interval]]] = {}
    for box in found:
        test = box.get(column)
        if test is None or test[0] != full:
            groups.setdefault(frozenset(box.items()), (box, []))
            continue
        rest = {name: t for name, t in box.items() if name != column}
        key = (column, frozenset(rest.items()))
        groups.setdefault(key, (rest, []))[1].append((test[1], test[2]))
    if len(groups) == len(found):
        return found
    out: list[Box] = []
    for box, spans in groups.values():
        if not spans:
            out.append(box)
        for lo, hi in _union(spans):
            out.append(box if (lo, hi) == (0, full) else {**box, column: (full, lo, hi)})
    return out


def contains(outer: Box, inner: Box) -> bool:
    """Is each packet of `inner` one of `outer`?"""
    return all(
        column in inner and _implies(inner[column], test, FULL[column])
        for column, test in outer.items()
    )


def _implies(a: tuple[int, int, int], b: tuple[int, int, int], full: int) -> bool:
    """Does a value that passes `a` pass `b`?"""
    if a[0] == full and b[0] == full:
        return b[1] <= a[1] and a[2] <= b[2]
    if b[0] == full:  # from the least to the greatest value of a ternary
        return b[1] <= a[1] and a[1] | (full ^ a[0]) <= b[2]
    if a[0] != full:
        return not b[0] & ~a[0] and a[1] & b[0] == b[1]
    fixed = full ^ ((1 << (a[1] ^ a[2]).bit_length()) - 1)  # the bits that a range's values share
    return not b[0] & ~fixed and a[1] & b[0] == b[1]


def _uncontained(found: list[Box]) -> list[Box]:
    out: list[Box] = []
    for box in sorted(found, key=len):  # what has fewer tests may contain what has more
        if not any(contains(other, box) for other in out):
            out = [other for other in out if not contains(box, other)]
            out.append(box)
    return out
