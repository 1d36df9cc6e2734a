"""Sets of values against counting them out."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from veridnet.rules import flows, regions
from veridnet.rules.regions import Values

BYTE = range(256)
numbers = st.integers(0, 255)


def members(v: Values | None) -> set[int]:
    return set() if v is None else {x for x in BYTE if v.lo <= x <= v.hi and x & v.mask == v.value}


@st.composite
def some(draw: st.DrawFn) -> Values:
    mask = draw(st.one_of(st.just(0), numbers))
    found = regions.shrink(
        Values(*sorted((draw(numbers), draw(numbers))), mask, draw(numbers) & mask)
    )
    return found or Values(0, 255)


@given(numbers, numbers, numbers)
def test_values_of_a_box(mask: int, lo: int, hi: int) -> None:
    right = {x for x in BYTE if lo <= x & mask <= hi}
    found, exact = regions.values(8, mask, lo, hi)
    assert members(found) >= right
    if exact:
        assert members(found) == right
    if found is not None and right:
        assert exact is False or (found.lo == min(right) and found.hi == max(right))


@given(some(), some())
def test_meet_within_without(a: Values, b: Values) -> None:
    assert members(regions.meet(a, b)) == members(a) & members(b)
    if regions.within(a, b):
        assert members(a) <= members(b)
    if not a.mask | b.mask:
        assert regions.within(a, b) == (members(a) <= members(b))
    pieces = [members(piece) for piece in regions._without(a, b)]
    assert sum(map(len, pieces)) == len(members(a) - members(b))
    assert set().union(*pieces) == members(a) - members(b)


@settings(max_examples=100)
@given(some(), some(), some(), some(), st.lists(st.tuples(some(), some()), max_size=4))
def test_regions(
    a: Values, b: Values, c: Values, d: Values, by: list[tuple[Values, Values]]
) -> None:
    one, two = {"ip_ttl": a, "ip_proto": b}, {"ip_ttl": c, "ip_proto": d}

    def pairs(region: dict[str, Values] | None) -> set[tuple[int, int]]:
        if region is None:
            return set()
        return {(x, y) for x in members(region["ip_ttl"]) for y in members(region["ip_proto"])}

    assert pairs(regions.overlap(one, two)) == pairs(one) & pairs(two)
    left = [pairs(piece) for piece in regions.minus(one, two)]
    assert set().union(*left) == pairs(one) - pairs(two)
    assert sum(map(len, left)) == len(pairs(one) - pairs(two))
    others = [{"ip_ttl": x, "ip_proto": y} for x, y in by]
    if regions.covered(one, others):
        assert pairs(one) <= set().union(*map(pairs, others))


@given(numbers, numbers)
def test_prefixes(x: int, y: int) -> None:
    v = Values(*sorted((x, y)))
    parts = flows.prefixes(v, 8)
    assert sum(len(members(part)) for part in parts) == len(members(v))
    assert set().union(*map(members, parts)) == members(v)
    for part in parts:
        assert flows._exact(part, 8) is not None


@given(some())
def test_exact(v: Values) -> None:
    asked = flows._exact(v, 8)
    if asked is not None:
        spec, mask, last = asked
        assert last is None
        assert {x for x in BYTE if x & mask == spec & mask} == members(v)
    elif v.mask == 0:
        assert len(flows.prefixes(v, 8)) > 1
