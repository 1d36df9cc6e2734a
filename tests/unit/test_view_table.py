"""The command's tables fit the terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from veridnet.cli.common import si
from veridnet.cli.l2fwd_view import port_table


def drawn(width: int, size: int, *, rates: bool, name: str = "0") -> list[str]:
    """The lines of a table of two ports whose counters are about `size`."""
    out = Console(width=width, file=io.StringIO(), color_system=None)
    port: dict[str, Any] = {"kind": "af_packet", "drops": {"tx_full": size}}
    port |= {f"{way}_{what}": size for way in ("rx", "tx") for what in ("packets", "bytes")}
    ports = [{**port, "name": "0"}, {**port, "name": name}]
    out.print(port_table(out, ports, [(size / 7, size / 9, size * 8.0)] * 2 if rates else ()))
    return out.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize("rates", [False, True])
@pytest.mark.parametrize("size", [0, 12_345, 123_456_789, 987_654_321_012])
def test_eighty_columns_are_enough(rates: bool, size: int) -> None:
    lines = drawn(80, size, rates=rates)
    assert len(lines) == 3, "a row was wrapped"
    assert all(len(line) <= 80 for line in lines)
    assert "…" not in "".join(lines), "a cell was cut"
    heads = ["rx packets", "tx packets", "dropped", *(["rx pps", "tx bit/s"] if rates else [])]
    assert all(head in lines[0] for head in heads)


def test_what_is_left_away_first() -> None:
    wide = drawn(140, 123_456_789, rates=True)
    assert "rx bytes" in wide[0] and wide[1].count("123,456,789") == 5
    narrow = drawn(80, 12_345, rates=False)
    assert "rx bytes" in narrow[0] and narrow[1].count("12,345") == 5
    assert "12.3 k" not in narrow[1]
    live = drawn(80, 123_456_789, rates=True)
    assert "bytes" not in live[0]


def test_a_long_name_is_cut_and_nothing_else() -> None:
    lines = drawn(80, 987_654_321_012, rates=True, name="a-port-with-a-very-long-name" * 3)
    assert len(lines) == 3 and "…" in lines[2]
    assert lines[1].split()[1:] == lines[2].split()[1:]


def test_si() -> None:
    cases = {0: "0", 999: "999", 999.4: "999", 999.6: "1 k", 1234: "1.23 k", 999_499: "999 k",
             999_500: "1 M", 7.9e12: "7.9 T"}  # fmt: skip
    assert {v: si(v) for v in cases} == cases
