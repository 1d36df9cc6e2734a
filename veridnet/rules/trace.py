"""Packets for a rule set, as columns: made from its rules, or read from a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veridnet.errors import ConfigError
from veridnet.headers.fields import BY_NAME
from veridnet.headers.match import columns
from veridnet.rules.boxes import FULL, boxes
from veridnet.rules.files import place, read_text
from veridnet.rules.rule import RuleSet

Trace = Mapping[str, NDArray[Any]]

#: What a ClassBench trace has; what follows (flags, the filter) is not used.
_CLASSBENCH = ("ip_src", "ip_dst", "l4_src", "l4_dst", "ip_proto")


def reads(rules: RuleSet) -> list[str]:
    """The columns that the rules read, in the table's order."""
    used = set().union(*(columns(rules.tree(n)) for n in range(len(rules))))
    return [name for name in BY_NAME if name in used]


def make(rules: RuleSet, packets: int, seed: int = 1) -> Trace:
    """Packets drawn from the rules, as ClassBench's trace_generator draws them.

    Each is in a random box of a random rule: in half of the columns at a corner, else anywhere in
    it. What a box leaves free is random, too. Columns are independent of each other, so they need
    not be such as a real packet has. Rules without boxes give none.
    """
    rng = np.random.default_rng(seed)
    found = [box for n in range(len(rules)) for box in (boxes(rules.tree(n), 64) or [])[:64]]
    if not found:
        found = [{}]
    chosen = rng.integers(0, len(found), packets)
    out = {}
    for name in reads(rules):
        full = FULL[name]
        tests = [box.get(name, (full, 0, full)) for box in found]
        mask, lo, hi = (np.array([t[k] for t in tests], np.uint64)[chosen] for k in range(3))
        where = rng.random(packets)
        width = hi - lo + np.uint64(1)  # 0: all 64 bits
        any_value = rng.integers(0, 2**64 - 1, packets, np.uint64, endpoint=True)
        inside = lo + np.where(width == 0, any_value, any_value % np.maximum(width, np.uint64(1)))
        value = np.where(where < 0.25, lo, np.where(where < 0.5, hi, inside))
        masked = mask != np.uint64(full)
        value = np.where(masked, lo | (any_value & ~mask & np.uint64(full)), value)
        out[name] = value.astype(BY_NAME[name].dtype)
    return out


def load(path: str | os.PathLike[str], rules: RuleSet) -> Trace:
    """The packets of a ClassBench trace (xz too), or of a capture."""
    try:
        with open(path, "rb") as f:
            head = f.read(6)
    except OSError as e:
        raise ConfigError(f"{path}: {e.strerror}") from None
    if head[:4] in (b"\n\r\r\n", b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1",
                    b"\xa1\xb2\x3c\x4d"):  # fmt: skip
        from veridnet.headers.capture import read

        table = read(path, *reads(rules))
        return {name: getattr(table, name) for name in reads(rules)}
    text, name = read_text(path)
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            row = [int(word) for word in words[:5]]
        except ValueError:
            row = []
        if len(row) < 5 or any(
            not 0 <= v <= FULL[c] for v, c in zip(row, _CLASSBENCH, strict=True)
        ):
            raise ConfigError(f"{place(name, number)}: neither a ClassBench trace nor a capture")
        rows.append(row)
    values = np.array(rows, np.uint64).reshape(-1, 5)
    out = {c: values[:, k].astype(BY_NAME[c].dtype) for k, c in enumerate(_CLASSBENCH)}
    out["ip_version"] = np.full(len(rows), 4, np.uint8)
    return out
