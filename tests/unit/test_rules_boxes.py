"""Trees as boxes: the union of the boxes is what the tree says, for every packet."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veridnet.headers.match import And, Not, Or, Test, parse
from veridnet.rules.boxes import FULL, boxes, contains, meet, prefixes

COLUMNS = ("ip_ttl", "l4_dst", "ip_src", "ip6_src_hi")


def tree_values(node, columns):
    """A tree, evaluated by numpy."""
    if isinstance(node, Test):
        masked = columns[node.column] & columns[node.column].dtype.type(node.mask)
        return (masked >= node.lo) & (masked <= node.hi)
    if isinstance(node, Not):
        return ~tree_values(node.of, columns)
    parts = [tree_values(part, columns) for part in node.of]
    return np.logical_and.reduce(parts) if isinstance(node, And) else np.logical_or.reduce(parts)


def box_values(found, columns):
    """Boxes, evaluated by numpy."""
    size = len(next(iter(columns.values())))
    out = np.zeros(size, bool)
    for box in found:
        inside = np.ones(size, bool)
        for column, (mask, lo, hi) in box.items():
            masked = columns[column] & columns[column].dtype.type(mask)
            inside &= (masked >= lo) & (masked <= hi)
        out |= inside
    return out


def columns_for(node, seed):
    """Values at and about what the tree speaks of, and random ones."""
    rng = np.random.default_rng(seed)
    edges = {name: {0, 1, FULL[name]} for name in COLUMNS}

    def walk(node):
        if isinstance(node, Test):
            for value in (node.lo, node.hi, node.mask):
                edges[node.column] |= {(value + d) & FULL[node.column] for d in (-1, 0, 1)}
        else:
            for part in (node.of,) if isinstance(node, Not) else node.of:
                walk(part)

    walk(node)
    dtypes = {"ip_ttl": np.uint8, "l4_dst": np.uint16, "ip_src": np.uint32, "ip6_src_hi": np.uint64}
    out = {}
    for name in COLUMNS:
        dtype = dtypes[name]
        pool = np.array(sorted(edges[name]), dtype)
        random = rng.integers(0, FULL[name], 300, dtype, endpoint=True)
        out[name] = np.where(rng.random(600) < 0.7, rng.choice(pool, 600), rng.choice(random, 600))
    return out


@st.composite
def leaves(draw):
    column = draw(st.sampled_from(COLUMNS))
    full = FULL[column]
    bits = full.bit_length()
    number = st.one_of(st.integers(0, full), st.integers(0, min(full, 20)))
    kind = draw(st.sampled_from(["full", "prefix", "any", "low"]))
    mask = {
        "full": full,
        "prefix": full ^ ((1 << draw(st.integers(0, bits))) - 1),
        "any": draw(number),
        "low": (1 << draw(st.integers(0, 5))) - 1,
    }[kind]
    lo = draw(number)
    hi = lo if draw(st.booleans()) else draw(number)
    return Test(column, mask, min(lo, hi), max(lo, hi))


TREES = st.recursive(
    leaves(),
    lambda inner: st.one_of(
        inner.map(Not),
        st.lists(inner, min_size=1, max_size=4).map(lambda p: And(tuple(p))),
        st.lists(inner, min_size=1, max_size=4).map(lambda p: Or(tuple(p))),
    ),
    max_leaves=10,
)


@settings(deadline=None, max_examples=400)
@given(TREES, st.integers(0, 2**32))
def test_boxes_say_what_the_tree_says(node, seed):
    found = boxes(node, 4096)
    if found is None:
        return
    for box in found:
        for column, (mask, lo, hi) in box.items():
            full = FULL[column]
            ranges = mask == full and 0 <= lo <= hi <= full and (lo, hi) != (0, full)
            ternary = 0 < mask < full and lo == hi and not lo & ~mask
            assert ranges or ternary
    columns = columns_for(node, seed)
    assert np.array_equal(box_values(found, columns), tree_values(node, columns))


@settings(deadline=None)
@given(st.integers(0, 255), st.integers(0, 255))
def test_prefixes_cover_the_range_once(a, b):
    lo, hi = min(a, b), max(a, b)
    found = list(prefixes(lo, hi, 8))
    assert len(found) <= 14
    values = np.arange(256)
    hits = sum((values & mask) == value for value, mask in found)
    assert np.array_equal(hits, (values >= lo) & (values <= hi))


@settings(deadline=None)
@given(leaves(), leaves())
def test_what_two_tests_share(a, b):
    one, two = boxes(a), boxes(b)
    if not one or not two or one == [{}] or two == [{}] or a.column != b.column:
        return
    column, full = a.column, FULL[a.column]
    columns = columns_for(And((a, b)), 1)
    shared = [{column: t} for x in one for y in two for t in meet(x[column], y[column], full)]
    expected = tree_values(And((a, b)), columns)
    assert np.array_equal(box_values(shared, columns), expected)
    if contains(two[0], one[0]):
        inside = box_values(one[:1], columns)
        assert not (inside & ~box_values(two[:1], columns)).any()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("l4_dst == 80", [{"l4_dst": (0xFFFF, 80, 80)}]),
        ("l4_dst in {80, 81, 82}", [{"l4_dst": (0xFFFF, 80, 82)}]),
        ("l4_dst < 0", []),
        ("l4_dst >= 0", [{}]),
        ("l4_dst == 80 and l4_dst == 81", []),
        ("l4_dst == 80 or not l4_dst == 80", [{}]),
        ("ip_src in 10.0.0.0/8", [{"ip_src": (2**32 - 1, 10 << 24, (11 << 24) - 1)}]),
        ("tcp_flags & 18 == 2", [{"tcp_flags": (18, 2, 2)}]),
        ("tcp_flags & 2", [{"tcp_flags": (2, 2, 2)}]),
        ("not tcp_flags & 2", [{"tcp_flags": (2, 0, 0)}]),
        ("ip_ttl & 0x80", [{"ip_ttl": (0xFF, 128, 255)}]),
        ("l4_dst & 0xff == 80 and l4_dst < 512",
         [{"l4_dst": (0xFEFF, 80, 80)}]),
        ("l4_dst != 80", [{"l4_dst": (0xFFFF, 0, 79)}, {"l4_dst": (0xFFFF, 81, 65535)}]),
        ("ip_proto == 6 and l4_dst == 80 or ip_proto == 17 and l4_dst == 80 or ip_proto == 6",
         [{"ip_proto": (255, 6, 6)}, {"ip_proto": (255, 17, 17), "l4_dst": (0xFFFF, 80, 80)}]),
    ],
)  # fmt: skip
def test_what_is_written(text, expected):
    found = boxes(parse(text))
    assert found is not None
    assert {frozenset(b.items()) for b in found} == {frozenset(b.items()) for b in expected}


def braced(members):
    return "{" + ", ".join(members) + "}"


def ip4(count):
    return braced(f"10.{n >> 8 & 255}.{n & 255}.{n * 7 & 254}" for n in range(count))


def ip6(count):
    return braced(f"2001:db8:{n:x}::{n * 5 + 1:x}" for n in range(count))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (f"ip_src in {ip4(10_000)} and l4_dst == 80", 10_000),
        (f"ip_src not in {ip4(10_000)} and l4_dst == 80", 10_001),
        (f"ip6_src in {ip6(10_000)}", 10_000),
        (f"ip6_src not in {ip6(10_000)}", None),
    ],
    ids=["in", "not in", "ip6 in", "ip6 not in"],
)
def test_large_sets_take_well_under_a_second(text, count):
    node = parse(text)
    began = time.process_time()
    found = boxes(node)
    took = time.process_time() - began
    assert found is not None
    assert count in (None, len(found))
    assert took < 20.0  # (0.1 to 0.6 s on a quiet machine: not 10,000 times 10,000 steps)


def test_more_than_the_limit_is_none():
    both = f"ip_src in {ip4(1000)} and ip_dst in {ip4(1000)}"
    began = time.process_time()
    assert boxes(parse(both)) is None
    assert time.process_time() - began < 2
    assert boxes(parse("l4_dst in {1, 3, 5}"), limit=3) is not None
    assert boxes(parse("l4_dst in {1, 3, 5}"), limit=2) is None


def test_what_only_a_program_says_is_none():
    assert boxes(And((Test("ip_ttl", 255, 1, 1), object()))) is None
