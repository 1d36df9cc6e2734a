"""Which rule wins: as a naive scan says, on every engine, in base and delta, after any updates."""

from __future__ import annotations

import lzma
import os
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import veridnet as vn
from veridnet.headers.fields import BY_NAME
from veridnet.rules import reference

RULES = SHARED / "rules"
ENGINES = ("acl", "hash", "fib", "tuple", "auto")

Columns = dict[str, NDArray[Any]]

# -- ClassBench -----------------------------------------------------------------------------------


def text_of(name: str) -> str:
    for path in (RULES / name, RULES / f"{name}.xz"):
        if path.exists():
            return (lzma.open(path, "rt") if path.suffix else path.open()).read()
    pytest.skip(f"the shared rules (../shared/rules/{name}) are not here")


def scan(text: str, packets: Columns, order: Sequence[int] | None = None) -> NDArray[np.int32]:
    """First line of `order` that matches wins: read and evaluated with nothing of veridnet."""
    line = re.compile(
        r"@([\d.]+)/(\d+)\s+([\d.]+)/(\d+)\s+(\d+) : (\d+)\s+(\d+) : (\d+)\s+(0x\w+)/(0x\w+)"
    )
    lines = text.splitlines()
    out = np.full(len(packets["ip_src"]), -1, np.int32)
    free = np.arange(len(out))
    for n in range(len(lines)) if order is None else order:
        found = line.match(lines[n])
        assert found is not None, lines[n]
        src, src_len, dst, dst_len, s0, s1, d0, d1, proto, mask = found.groups()
        left = free
        for column, address, length in (("ip_src", src, src_len), ("ip_dst", dst, dst_len)):
            a, b, c, d = map(int, address.split("."))
            shift = np.uint32(32 - int(length))
            if int(length):
                want = np.uint32((a << 24 | b << 16 | c << 8 | d) >> int(shift))
                left = left[packets[column][left] >> shift == want]
        for column, lo, hi in (("l4_src", s0, s1), ("l4_dst", d0, d1)):
            value = packets[column][left]
            left = left[(value >= int(lo)) & (value <= int(hi))]
        left = left[packets["ip_proto"][left] & int(mask, 16) == int(proto, 16) & int(mask, 16)]
        if len(left):
            out[left] = n
            free = free[out[free] < 0]
    return out


def load(name: str, part: int = 1) -> tuple[str, Path, Columns, Any]:
    """The rules' text, their file, every part-th packet of the trace, and these as a table."""
    text, trace = text_of(name), text_of(f"{name}_trace")
    rows = np.array([line.split()[:5] for line in trace.splitlines()[::part]]).astype(np.uint32)
    names = ("ip_src", "ip_dst", "l4_src", "l4_dst", "ip_proto")
    packets = {n: rows[:, k].astype(BY_NAME[n].dtype) for k, n in enumerate(names)}
    path = next(p for p in (RULES / name, RULES / f"{name}.xz") if p.exists())
    return text, path, packets, vn.Headers.from_arrays(**packets)


SETS = [("acl1_1k", "acl", 1), ("fw1_1k", "acl", 1), ("ipc1_1k", "acl", 1), ("acl1_1k", "tuple", 1),
        ("fw1_1k", "tuple", 1), ("ipc1_1k", "auto", 1), ("fw1_1k", "hash", 4),
        ("acl1_10k", "acl", 8), ("ipc1_10k", "tuple", 8), ("fw1_10k", "tuple", 8)]  # fmt: skip
#: The rest, with all packets: minutes.
ALL = [(f"{kind}_{size}", engine, 1) for size in ("10k", "100k") for kind in ("acl1", "fw1", "ipc1")
       for engine in ("acl", "tuple")]  # fmt: skip
thorough = pytest.mark.skipif("VERIDNET_THOROUGH" not in os.environ,
                              reason="takes minutes: VERIDNET_THOROUGH=1")  # fmt: skip


@pytest.mark.parametrize(("name", "engine", "part"), [
    *SETS, *(pytest.param(*p, marks=[thorough, pytest.mark.timeout(1800)]) for p in ALL),
])  # fmt: skip
def test_classbench(runtime: Any, name: str, engine: str, part: int) -> None:
    text, path, packets, headers = load(name, part)
    want = scan(text, packets)
    with vn.FlowTable.load(path, "classbench", engine=engine, merge="manual") as table:
        total = len(table)
        assert table.info()["base_boxes"] == 0
        assert (table.classify(headers) == want).all(), "in the delta"
        table.compile()
        info = table.info()
        assert (info["base_rules"], info["delta_boxes"]) == (total, 0)
        assert (table.classify(headers) == want).all(), "in the base"

        # Remove what wins most, and some more: the base is right no more.
        ids, times = np.unique(want[want >= 0], return_counts=True)
        gone = {int(i) for i in ids[np.argsort(times)[-10:]]} | set(range(0, total, 50))
        rules = dict(table.rules())
        table.remove_rules(gone)
        left = [k for k in range(total) if k not in gone]
        after = scan(text, packets, left)
        assert (table.classify(headers) == after).all(), "some removed"
        if engine == "acl":
            assert table.info()["fallbacks"]

        # Put them back, last among equals: base and delta.
        new = table.add_rules(rules[k] for k in sorted(gone))
        name_of = dict(zip(sorted(gone), new, strict=True))
        order = [*left, *sorted(gone)]
        mixed = scan(text, packets, order)
        mapped = np.array([name_of.get(k, k) for k in range(total)] + [-1])
        assert (table.classify(headers) == mapped[mixed]).all(), "base and delta"
        table.native.merge(engine, level="middle")
        info = table.info()
        assert (info["middle_rules"], info["delta_boxes"]) == (len(gone), 0)
        assert (table.classify(headers) == mapped[mixed]).all(), "base and middle"

        # Change places: a rule as another one, under its own id and place.
        ours = [k for k in left if k % 7 == 0][:40]
        with table.transaction() as t:
            for a, b in zip(ours[::2], ours[1::2], strict=False):
                t.replace(a, match=rules[b].match)
                t.replace(b, match=rules[a].match)
        assert table.info()["middle_dead"] == 0
        lines = text.splitlines()
        for a, b in zip(ours[::2], ours[1::2], strict=False):
            lines[a], lines[b] = lines[b], lines[a]
        swapped = mapped[scan("\n".join(lines), packets, order)]
        assert (table.classify(headers) == swapped).all(), "replaced"
        table.native.merge(engine)
        assert table.info()["middle_old"] == len(gone)
        assert (table.classify(headers) == swapped).all(), "in the base and in the middle"
        again = table.add_rules(replace(rules[k], priority=9) for k in sorted(gone))
        table.native.merge(engine, level="middle")
        weaker = table.classify(headers)
        assert set(weaker[np.isin(want, list(gone))].tolist()) <= set(again)
        table.remove_rules(again)
        assert table.info()["middle_dead"] == len(gone)
        assert (table.classify(headers) == swapped).all(), "removed from the middle"
        if total <= 1000:
            table.compile()
            assert (table.classify(headers) == swapped).all(), "merged again"
            some = reference.classify(table.rules(), full(packets, 500))
            assert (some == swapped[:500]).all(), "the reference"


def full(packets: Columns, rows: int) -> Columns:
    return {**{n: c[:rows] for n, c in packets.items()}, "ip_version": np.full(rows, 4, np.uint8)}


# -- engines of one kind of rules -----------------------------------------------------------------


def check(table: Any, columns: Columns, what: str = "") -> NDArray[np.int32]:
    """Does it classify as the naive scan of its own rules?"""
    ids = table.classify(vn.Headers.from_arrays(**columns))
    want = reference.classify(table.rules(), columns)
    wrong = np.flatnonzero(ids != want)
    row = {n: hex(int(c[wrong[0]])) for n, c in columns.items()} if len(wrong) else {}
    assert not len(wrong), (what, row, ids[wrong[0]], want[wrong[0]], table.info())
    return ids  # type: ignore[no-any-return]


def nested(rng: random.Random, bits: int, count: int) -> Iterator[tuple[int, int]]:
    """Prefixes (value, length) that lie in each other."""
    lengths = [1, 2, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32]
    lengths += [33, 47, 48, 63, 64, 65, 71, 72, 96, 127, 128] if bits == 128 else []
    roots = [rng.getrandbits(bits) for _ in range(3)]
    for _ in range(count):
        length = rng.choice(lengths)
        value = rng.choice(roots) ^ (rng.getrandbits(3) << (bits - rng.choice(lengths)))
        value &= (1 << bits) - 1
        yield value >> (bits - length) << (bits - length), length


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("column", ["ip_src", "ip6_dst"])
def test_nested_prefixes_of_any_priorities(runtime: Any, column: str, seed: int) -> None:
    rng = random.Random(seed)
    six = column == "ip6_dst"
    bits = 128 if six else 32
    rules, values = [], [0, (1 << bits) - 1]
    for value, length in nested(rng, bits, (10, 60, 300)[seed % 3]):
        if six:
            hi, lo = value >> 64, value & (1 << 64) - 1
            mask = (1 << 128) - (1 << (128 - length))
            tests = [f"ip6_dst_hi & {mask >> 64} == {hi}"]
            if length > 64:
                tests.append(f"ip6_dst_lo & {mask & (1 << 64) - 1} == {lo}")
            match = " and ".join(["ip_version == 6", *tests])
        else:
            mask = (1 << 32) - (1 << (32 - length))
            match = f"ip_version == 4 and ip_src & {mask} == {value}"
        rules.append(vn.Rule(match, priority=(rng.randrange(4), length, 200 - length)[seed // 2]))
        size = 1 << (bits - length)
        values += [value, value + size - 1, value + size, value - 1, value + rng.randrange(size)]
    numbers = [v & (1 << bits) - 1 for v in values]
    version = np.array([rng.choice((4, 6, 6, 0)) if six else rng.choice((4, 4, 6))
                        for _ in numbers], np.uint8)  # fmt: skip
    columns: Columns = {"ip_version": version}
    if six:
        columns["ip6_dst_hi"] = np.array([n >> 64 for n in numbers], np.uint64)
        columns["ip6_dst_lo"] = np.array([n & (1 << 64) - 1 for n in numbers], np.uint64)
    else:
        columns["ip_src"] = np.array(numbers, np.uint32)
    with vn.FlowTable(rules, engine="fib", merge="manual") as table:
        table.compile()
        assert table.info()["engines"] == "fib"
        check(table, columns, "base")
        # What the table left out because it was hidden is hidden no more.
        for id in rng.sample(range(len(rules)), len(rules) // 3):
            table.remove(id)
        check(table, columns, "removed")
        table.add(rules[0].match, priority=3)
        table.replace(next(iter(dict(table.rules()))), priority=0)
        check(table, columns, "replaced")
        table.compile()
        check(table, columns, "merged")


@pytest.mark.parametrize("size", [1, 70, 3000])
def test_exact_values(runtime: Any, size: int) -> None:
    rng = random.Random(size)
    rules = []
    for _ in range(size):
        values = [rng.randrange(1 << b) % 9 if rng.random() < 0.3 else rng.randrange(1 << b)
                  for b in (32, 32, 16, 48)]  # fmt: skip
        rules.append(vn.Rule(
            f"ip_version == 4 and ip_src == {values[0]} and ip_dst == {values[1]} "
            f"and l4_dst == {values[2]} and eth_src == {values[3]}",
            priority=rng.randrange(3)))  # fmt: skip
    rules += rng.sample(rules, len(rules) // 3)  # the same once more
    cells = [list(map(int, re.findall(r"== (\d+)", r.match))) for r in rules]
    cells += [[c[0], c[1], c[2], c[3] ^ 1 << 47, c[4]] for c in cells[:50]]
    cells += [[6, *c[1:]] for c in cells[:50]]
    table_columns = ("ip_version", "ip_src", "ip_dst", "l4_dst", "eth_src")
    columns = {n: np.array([c[k] for c in cells]).astype(BY_NAME[n].dtype)
               for k, n in enumerate(table_columns)}  # fmt: skip
    for engine in ("hash", "auto"):
        with vn.FlowTable(rules, engine=engine, merge="manual") as table:
            table.compile()
            if engine == "hash" or size > 64:
                assert table.info()["engines"] == "hash"
            check(table, columns, "base")
            for id in rng.sample(range(len(rules)), len(rules) // 4):
                table.remove(id)
            check(table, columns, "removed")


# -- any rules ------------------------------------------------------------------------------------

COLUMNS = ("ip_version", "vlan_depth", "vlan_id", "ip_proto", "tcp_flags", "l4_src", "l4_dst",
           "ip_src", "ip_dst", "eth_dst", "ip6_src_hi", "ip6_src_lo", "ip_ttl")  # fmt: skip
WIDTH = {"vlan_id": 12, "eth_dst": 48}
BITS = {n: WIDTH.get(n, 8 * np.dtype(BY_NAME[n].dtype).itemsize) for n in COLUMNS}
#: Few values, so that rules meet.
POOL = {n: sorted({v & (1 << b) - 1 for v in (0, 1, 4, 6, 7, 1 << b - 1, (1 << b) - 1,
                                              0x12345678, 0x5A5A5A5A5A5A5A5A)})
        for n, b in BITS.items()}  # fmt: skip


@st.composite
def a_test(draw: Any) -> str:
    name = draw(st.sampled_from(COLUMNS))
    bits = BITS[name]
    a, b = draw(st.sampled_from(POOL[name])), draw(st.sampled_from(POOL[name]))
    kind = draw(
        st.sampled_from(["is", "is", "range", "prefix", "mask", "not", "less", "maskrange"])
    )
    full = (1 << bits) - 1
    if kind == "range":
        return f"{name} in {min(a, b)}..{max(a, b)}"
    if kind == "prefix":
        keep = full ^ (1 << draw(st.integers(0, bits))) - 1
        return f"{name} & {keep} == {a & keep}"
    if kind == "mask":
        mask = draw(st.sampled_from([5, 0xF0F0F0F0F0F0F0F0 & full, full ^ 2, b or 1]))
        return f"{name} & {mask} == {a & mask}"
    if kind == "maskrange":
        return f"{name} & {full ^ 3} <= {a}"
    return f"{name} {'==' if kind == 'is' else '<' if kind == 'less' else '!='} {a}"


def joined(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    some = st.lists(parts, min_size=1, max_size=3)
    return st.one_of(
        some.map(lambda p: "(" + " and ".join(p) + ")"),
        some.map(lambda p: "(" + " or ".join(p) + ")"),
        parts.map(lambda p: f"not ({p})"),
    )


shapes = st.sampled_from(
    [
        "",
        "",
        "ip_version == 4 and ",
        "ip_version == 6 and ",
        "ip_version == 4 and vlan_depth == 1 and ",
        "vlan_depth == 2 and ",
    ]
)
matches = st.one_of(
    st.tuples(shapes, st.lists(a_test(), min_size=1, max_size=4).map(" and ".join)).map("".join),
    st.tuples(shapes, joined(a_test())).map("".join),
    joined(joined(a_test())),
    st.sampled_from(["", "ip_ttl == 1 and ip_ttl == 2", "ip_ttl >= 0"]),
)
a_rule = st.builds(vn.Rule, matches, priority=st.sampled_from([0, 0, 1, 2, 16777215]))


def packets_of(seed: int, rows: int = 600) -> Columns:
    rng = np.random.default_rng(seed)
    return {n: rng.choice(np.array(POOL[n], np.uint64), rows).astype(BY_NAME[n].dtype)
            for n in COLUMNS}  # fmt: skip


PACKETS = packets_of(1)


@settings(max_examples=40)
@given(st.lists(a_rule, min_size=1, max_size=10), st.sampled_from(ENGINES), st.data())
def test_any_rules(runtime_of_module: Any, rules: list[Any], engine: str, data: Any) -> None:
    with vn.FlowTable(rules, engine=engine, merge="manual") as table:
        check(table, PACKETS, "delta")
        table.compile()
        check(table, PACKETS, "base")
        for id in data.draw(st.sets(st.integers(0, len(rules) - 1))):
            table.remove(id)
        check(table, PACKETS, "removed")


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), a_rule, st.integers(0)),
        st.tuples(st.just("remove"), a_rule, st.integers(0)),
        st.tuples(st.just("replace"), a_rule, st.integers(0)),
        st.tuples(st.just("transaction"), st.lists(a_rule, max_size=4), st.integers(0)),
        st.tuples(st.just("fails"), a_rule, st.integers(0)),
        st.tuples(st.just("compile"), a_rule, st.integers(0)),
    ),
    min_size=2, max_size=14,
)  # fmt: skip


@settings(max_examples=25)
@given(st.lists(a_rule, max_size=5), steps, st.sampled_from(ENGINES))
def test_any_updates(
    runtime_of_module: Any, rules: list[Any], changes: list[Any], engine: str
) -> None:
    """After each step: the rules are those of a plain dict, and win as the naive scan says."""
    with vn.FlowTable(rules, engine=engine, merge="manual") as table:
        model = dict(enumerate(rules))  # in order of places
        for kind, rule, number in changes:
            id = sorted(model)[number % len(model)] if model else None
            if kind == "add":
                model[table.add(rule)] = rule
            elif kind == "remove" and id is not None:
                table.remove(id)
                del model[id]
            elif kind == "replace" and id is not None:
                table.replace(id, match=rule.match, priority=rule.priority)
                model[id] = rule
            elif kind == "transaction":
                with table.transaction() as t:
                    new = t.add_rules(rule)
                    if id is not None:
                        t.remove(id)
                        del model[id]
                    model.update(zip(new, rule, strict=True))
                    if new and number % 2:
                        t.replace(new[0], match="")
                        model[new[0]] = vn.Rule("", priority=rule[0].priority)
            elif kind == "fails":
                with pytest.raises(ZeroDivisionError), table.transaction() as t:  # noqa: PT012
                    t.add(rule)
                    if id is not None:
                        t.remove(id)
                    raise ZeroDivisionError
            elif kind == "compile":
                table.compile()
            ids = table.classify(vn.Headers.from_arrays(**PACKETS))
            want = reference.classify(list(model.items()), PACKETS)
            assert (ids == want).all(), (kind, rule, table.info())
            assert dict(table.rules()) == model


@pytest.fixture(scope="module")
def runtime_of_module() -> Iterator[Any]:
    """One Runtime for all examples of a property."""
    with vn.Runtime() as rt:
        yield rt


@pytest.mark.parametrize("seed", range(6))
def test_merges_of_both_levels_in_any_order(runtime_of_module: Any, seed: int) -> None:
    """Adds, removals and merges of rules of any age: the winner is the naive scan's all along."""
    rng = np.random.default_rng(seed)
    columns: Columns = {
        "ip_dst": rng.integers(0, 32, 2000).astype(np.uint32),
        "l4_dst": rng.integers(0, 16, 2000).astype(np.uint16),
    }
    with vn.FlowTable(engine="auto", merge="manual") as table:
        ids: list[int] = []
        for _ in range(60):
            step = rng.integers(0, 10)
            if step < 5:
                texts = [
                    f"ip_dst in {a}..{a + w} and l4_dst >= {p}" if w < 8 else f"l4_dst == {p}"
                    for a, w, p in zip(*rng.integers(0, (32, 12, 16), (9, 3)).T, strict=True)
                ]
                ids += [table.add(text, priority=int(rng.integers(0, 4))) for text in texts]
            elif step < 7 and ids:
                some = rng.choice(ids, min(len(ids), 6), replace=False).tolist()
                table.remove_rules(some)
                ids = [i for i in ids if i not in some]
            else:
                born = max(table.info()["version"] - int(rng.integers(0, 3)), 0)
                level = ("base", "middle")[step % 2]
                table.native.merge("auto", level=level, born=born, least=int(rng.integers(0, 9)))
            check(table, columns, f"step {step}")
        table.compile()
        check(table, columns, "at the end")
        info = table.info()
        assert info["middle_boxes"] in (0, info["young_boxes"])
