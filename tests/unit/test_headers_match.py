"""Match expressions against plain Python, over random columns and random expressions."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import veridnet as vn
from veridnet import headers
from veridnet.headers.fields import BY_NAME

COLUMNS = ("ip_proto", "tcp_flags", "l4_dst", "ip_src", "eth_dst", "ip6_src_hi", "ip6_src_lo")
ROWS = 1000
Row = dict[str, int]


def table() -> headers.HeaderTable:
    rng = np.random.default_rng(5)
    columns = {}
    for name in COLUMNS:
        top = 2 ** int(BY_NAME[name].dtype.removeprefix("uint")) - 1
        small = rng.integers(0, 6, ROWS).astype(np.uint64)
        large = rng.integers(0, top, ROWS, np.uint64, endpoint=True)
        values = np.where(rng.random(ROWS) < 0.6, small, large)
        values[rng.random(ROWS) < 0.1] = top
        columns[name] = values
    return vn.Headers.from_arrays(**columns)


TABLE = table()
PLAIN = [dict(zip(COLUMNS, row, strict=True))
         for row in zip(*(getattr(TABLE, n).tolist() for n in COLUMNS), strict=True)]  # fmt: skip


def check(text: str, say: Callable[[Row], bool]) -> None:
    expected = [bool(say(row)) for row in PLAIN]
    was = headers.simd_level()
    try:
        for level in headers.simd_levels():
            headers.set_simd_level(level)
            assert TABLE.match(text).tolist() == expected, (level, text)
    finally:
        headers.set_simd_level(was)


def width(name: str) -> int:
    return int(BY_NAME[name].dtype.removeprefix("uint"))


@st.composite
def test_of(draw) -> tuple[str, Callable[[Row], bool]]:
    name = draw(st.sampled_from(COLUMNS))
    top = 2 ** width(name) - 1
    number = st.one_of(st.integers(0, 6), st.integers(0, top), st.just(top))
    a = draw(number)
    kind = draw(st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "&", "&==", "in", "set", ""]))
    if kind == "":
        return name, lambda r: r[name] != 0
    if kind == "&":
        return f"{name} & {a:#x}", lambda r: r[name] & a != 0
    if kind == "&==":
        b = draw(number)
        return f"{name} & {a} == {b}", lambda r: r[name] & a == b
    if kind == "in":
        lo, hi = sorted((a, draw(number)))
        return f"{name} in {lo}..{hi}", lambda r: lo <= r[name] <= hi
    if kind == "set":
        values = [a, *draw(st.lists(number, max_size=4))]
        return f"{name} not in {{{', '.join(map(str, values))}}}", lambda r: r[name] not in values
    compare = {"==": int.__eq__, "!=": int.__ne__, "<": int.__lt__, "<=": int.__le__,
               ">": int.__gt__, ">=": int.__ge__}[kind]  # fmt: skip
    return f"{name} {kind} {a}", lambda r: compare(r[name], a)


test_of.__test__ = False  # type: ignore[attr-defined]


def join(
    parts: list[tuple[str, Callable[[Row], bool]]], word: str
) -> tuple[str, Callable[[Row], bool]]:
    every = all if word in ("and", "&&") else any
    return (
        "(" + f" {word} ".join(text for text, _ in parts) + ")",
        lambda r: every(say(r) for _, say in parts),
    )


EXPRESSIONS = st.recursive(
    test_of(),
    lambda inner: st.one_of(
        inner.map(lambda e: (f"not {e[0]}", lambda r: not e[1](r))),
        st.builds(
            join,
            st.lists(inner, min_size=2, max_size=4),
            st.sampled_from(["and", "&&", "or", "||"]),
        ),
    ),
    max_leaves=12,
)


@given(EXPRESSIONS)
def test_an_expression_is_what_python_says(expression) -> None:
    check(*expression)


@given(
    st.integers(0, 2**128 - 1), st.integers(0, 2**128 - 1), st.sampled_from(["<", ">=", "==", "in"])
)
def test_ipv6_addresses(a, b, kind) -> None:
    lo, hi = sorted((a >> 58, b >> 58)) if a % 2 else sorted((a, b))
    say = {
        "<": lambda r: value(r) < hi, ">=": lambda r: value(r) >= hi,
        "==": lambda r: value(r) == hi,
        "in": lambda r: lo <= value(r) <= hi,
    }[kind]  # fmt: skip
    first, last = ipaddress.IPv6Address(lo), ipaddress.IPv6Address(hi)
    check(f"ip6_src {kind} {f'{first}..' if kind == 'in' else ''}{last}", say)


def value(row: Row) -> int:
    return row["ip6_src_hi"] << 64 | row["ip6_src_lo"]


@pytest.mark.parametrize(("text", "other"), [
    ("ip_proto == udp", "ip_proto == 17"),
    ("tcp_flags & SYN and not tcp_flags & ack", "tcp_flags & 0x12 == 2"),
    ("ip_src == 10.0.0.0/8", "ip_src in 10.0.0.0..10.255.255.255"),
    ("eth_dst == ff:ff:ff:ff:ff:ff", "eth_dst == 0xffffffffffff"),
    ("ip6_src == 2001:db8::/32", "ip6_src_hi in 0x20010db800000000..0x20010db8ffffffff"),
    ("l4_dst > 65535", "ip_src < 0"), ("! l4_dst", "l4_dst == 0"),
])  # fmt: skip
def test_spellings(text, other) -> None:
    assert TABLE.match(text).tolist() == TABLE.match(other).tolist()


@pytest.mark.parametrize(("text", "column", "words"), [
    ("", 1, "empty"), ("l4_dst ==", 10, "value is expected"), ("l4_dst == 70000", 11, "16 bits"),
    ("(l4_dst", 8, ")"), ("l4_dts == 3", 1, "no column"), ("l4_dst == 3 3", 13, "not expected"),
    ("ip_src == 1.2.3.4/8", 11, "beyond its length"), ("ip_src == 300.1.1.1", 11, "not an IP"),
    ("ip_src == 1.2.3.0/33", 19, "prefix length"), ("l4_dst $ 3", 8, "cannot read"),
    ("l4_dst in {1, 2", 16, "}"), ("l4_dst in 5..3", 11, "empty"), ("not", 4, "column"),
    ("ip_proto == ucp", 13, "not ucp"), ("ip_src == ::1", 11, "no IPv6"),
    ("l4_dst not 3", 12, "in"),
    ("l4_dst == 02:00:00:00:00:01", 11, "no MAC"), ("l4_dst < 1..3", 10, "one value"),
    ("(" * 200 + "l4_dst" + ")" * 200, 102, "nested"), ("l4_dst == 0x", 11, ""),
])  # fmt: skip
def test_errors_point_at_the_text(text, column, words) -> None:
    with pytest.raises(vn.ConfigError) as error:
        TABLE.match(text)
    assert words in str(error.value) and "\n" not in str(error.value)
    assert f"column {column}:" in str(error.value), str(error.value)


def test_the_burst_keeps_the_result(runtime) -> None:
    burst = vn.Burst.from_bytes([bytes(60)] * 3)
    h = burst.headers
    first = h.match("ethertype == 0")
    assert first is h.match("ethertype == 0") and first.tolist() == [True] * 3
    for wrong in (None, 3, b"l4_dst"):
        with pytest.raises(TypeError):
            h.match(wrong)
    burst.clear()


def test_deep_but_not_too_deep(runtime) -> None:
    text = "l4_dst == 1"
    for k in range(20):
        text = (
            f"({text} or l4_dst == {k}) and not (l4_dst == 5 and ({text}))"
            if k < 5
            else f"not ({text})"
        )
    TABLE.match(text)
