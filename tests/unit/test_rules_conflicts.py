"""Rules that never win, and rules that say nothing new."""

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veridnet.rules import formats, reference
from veridnet.rules.boxes import boxes
from veridnet.rules.conflicts import KINDS, conflicts
from veridnet.rules.rule import Rule, RuleSet

SHARED = Path(__file__).resolve().parents[3] / "shared" / "rules"
DROP, PASS = ("drop",), ("forward 1",)


def kinds(*rules):
    found = conflicts(RuleSet(tuple(rules)))
    assert all(c.kind in KINDS and c.level in ("warning", "info") for c in found)
    return [(c.rule, c.kind, c.others) for c in found]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([Rule("l4_dst == 80", DROP), Rule("l4_dst == 81", DROP)], []),
        ([Rule("l4_dst in 1..99", DROP), Rule("l4_dst == 80", PASS)], [(1, "shadowed", (0,))]),
        ([Rule("l4_dst in 1..99", DROP), Rule("l4_dst == 80", DROP)], [(1, "redundant", (0,))]),
        ([Rule("l4_dst == 80", PASS), Rule("", DROP, 5)], [(0, "shadowed", (1,))]),
        ([Rule("l4_dst == 80", PASS, 5), Rule("", DROP)], [(1, "overlaps", (0,))]),
        ([Rule("l4_dst == 80", DROP, 5), Rule("", DROP)], [(0, "redundant", (1,))]),
        # Between them, a rule with other actions that needs the first.
        ([Rule("l4_dst == 80", DROP, 5), Rule("l4_dst in 1..99", PASS, 3), Rule("", DROP)],
         [(1, "overlaps", (0,)), (2, "overlaps", (1,))]),
        ([Rule("l4_dst <= 99", DROP), Rule("l4_dst >= 90", DROP), Rule("l4_dst in 80..120", PASS)],
         [(2, "unreachable", (0, 1))]),
        ([Rule("l4_dst <= 99", DROP), Rule("l4_dst >= 101", DROP), Rule("l4_dst in 80..120", PASS)],
         [(2, "overlaps", (0, 1))]),
        ([Rule("l4_dst == 1 and l4_dst == 2", DROP)], [(0, "never", ())]),
        # Without actions, ids tell rules apart.
        ([Rule("l4_dst in 1..99"), Rule("l4_dst == 80")], [(1, "shadowed", (0,))]),
        ([Rule("l4_dst == 80"), Rule("l4_dst in 1..99")], []),
        # Masks.
        ([Rule("tcp_flags & 2", DROP), Rule("tcp_flags & 3 == 3", PASS)], [(1, "shadowed", (0,))]),
        ([Rule("tcp_flags & 2", DROP), Rule("not tcp_flags & 2", PASS)], []),
        ([Rule("tcp_flags & 2", DROP), Rule("tcp_flags == 16", PASS)], []),
        ([Rule("tcp_flags & 2", DROP), Rule("tcp_flags == 18", PASS)], [(1, "shadowed", (0,))]),
        ([Rule("l4_dst in {80, 443}", DROP), Rule("l4_dst in {443, 80}", DROP)],
         [(1, "redundant", (0,))]),
    ],
)  # fmt: skip
def test_kinds(rules, expected):
    assert kinds(*rules) == expected


def test_text_and_ids():
    (found,) = conflicts([(7, Rule("", DROP, 0, "all")), (9, Rule("l4_dst == 1", PASS))])
    assert (found.rule, found.others, found.count) == (9, (7,), 1)
    assert str(found) == (
        "rule 9: shadowed: rule 7 (all) matches all of its packets first, with other actions"
    )


PORTS = st.tuples(st.integers(0, 7), st.integers(0, 7)).map(sorted)
RULES = st.lists(
    st.builds(
        lambda a, b, masked, priority, action: Rule(
            f"l4_src in {a[0]}..{a[1]} and "
            + (f"l4_dst & {b[1]} == {b[0] & b[1]}" if masked else f"l4_dst in {b[0]}..{b[1]}"),
            (action,),
            priority,
        ),
        PORTS,
        PORTS,
        st.integers(0, 3).map(lambda n: n == 0),
        st.integers(0, 2),
        st.sampled_from(["drop", "queue 1"]),
    ),
    max_size=7,
)


@settings(deadline=None, max_examples=300)
@given(RULES)
def test_what_is_said_is_so(rules):
    """Small columns: every packet there can be."""
    grid = np.arange(64)
    packets = {"l4_src": (grid // 8).astype(np.uint16), "l4_dst": (grid % 8).astype(np.uint16)}
    whole = RuleSet(tuple(rules))
    winners = reference.classify(whole, packets)
    matched = [reference.evaluate(whole.tree(n), packets) for n in range(len(rules))]

    def outcome(these):
        ids = reference.classify([(n, rules[n]) for n in these], packets)
        return [rules[n].actions if n >= 0 else None for n in ids]

    found = conflicts(whole)
    assert len({c.rule for c in found}) == len(found)
    for c in found:
        inside = np.flatnonzero(matched[c.rule])
        if c.kind in ("never", "shadowed", "unreachable"):
            assert c.rule not in winners
        if c.kind == "redundant":
            others = [n for n in range(len(rules)) if n != c.rule]
            assert outcome(others) == outcome(range(len(rules)))
        if c.kind in ("shadowed", "redundant"):
            assert matched[c.others[0]][inside].all()
        if c.kind == "overlaps":
            for other in c.others:
                assert matched[other][inside].any()
                assert rules[other].actions != rules[c.rule].actions
    # Masked boxes are not cut into pieces; without them, no rule that never wins is missed.
    # (Of packets with larger ports all rules are ignorant.)
    if not any("&" in rule.match for rule in rules):
        silent = {n for n in range(len(rules)) if n not in winners}
        assert silent <= {c.rule for c in found if c.kind != "overlaps"}


@pytest.mark.parametrize("name", ["acl1_1k", "fw1_1k", "ipc1_1k", "acl1_10k.xz", "fw1_10k.xz"])
def test_classbench(name):
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"no {path}")
    rules = formats.load(path)
    began = time.process_time()
    found = conflicts(rules)
    took = time.process_time() - began
    assert took < 20  # about 3 s of an idle machine
    assert {c.kind for c in found} <= {"shadowed", "unreachable"}
    # What is said to be shadowed is: by a packet in each corner.
    for c in found[:200]:
        (box,) = boxes(rules.tree(c.rule))
        corners = {k: np.array([lo, hi], np.uint64) for k, (_, lo, hi) in box.items()}
        for column in ("ip_version", "ip_src", "ip_dst", "l4_src", "l4_dst", "ip_proto"):
            corners.setdefault(column, np.zeros(2, np.uint64))
        by = [reference.evaluate(rules.tree(n), corners) for n in c.others]
        assert np.logical_or.reduce(by).all()
