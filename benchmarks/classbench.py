"""ClassBench filters and header traces as numpy arrays, from ../shared/rules or $VN_RULES.

A filter: ``@src/len dst/len sport_lo : sport_hi dport_lo : dport_hi proto/mask flags/mask``; a header:
source, destination, source port, destination port, protocol, flags, and the filter that it was
drawn from. The flags are ignored, as dpdk-test-acl does.
"""

from __future__ import annotations

import functools
import lzma
import os
from pathlib import Path
from typing import Any

from machine import REPO, BenchError

#: `struct filter` of acl.c: host byte order.
FILTER = [
    ("src", "u4"), ("dst", "u4"), ("src_len", "u1"), ("dst_len", "u1"), ("proto", "u1"),
    ("proto_mask", "u1"), ("sport_lo", "u2"), ("sport_hi", "u2"), ("dport_lo", "u2"),
    ("dport_hi", "u2"), ("place", "u4"),
]  # fmt: skip

#: A header of a trace.
HEADER = [("src", "u4"), ("dst", "u4"), ("sport", "u2"), ("dport", "u2"), ("proto", "u1")]


def path(name: str) -> Path:
    """The file of that name, plain or compressed."""
    for folder in (os.environ.get("VN_RULES"), REPO.parent / "shared" / "rules",
                   "/work/shared/rules"):  # fmt: skip
        for suffix in ("", ".xz"):
            if folder and (found := Path(folder) / (name + suffix)).exists():
                return found
    raise BenchError(f"no ClassBench file {name}: say where they are, as VN_RULES=/path")


def text(name: str) -> str:
    """What the file holds."""
    found = path(name)
    if found.suffix == ".xz":
        return lzma.decompress(found.read_bytes()).decode()
    return found.read_text()


def address(word: str) -> tuple[int, int]:
    """A prefix: its address and its length."""
    quad, _, length = word.partition("/")
    a, b, c, d = map(int, quad.split("."))
    return a << 24 | b << 16 | c << 8 | d, int(length)


@functools.cache
def filters(name: str) -> Any:
    """The filters of acl1_1k, ..., in file order: an array of FILTER."""
    import numpy as np

    rows = []
    for place, line in enumerate(text(name).splitlines()):
        w = line.removeprefix("@").split()
        (src, src_len), (dst, dst_len) = address(w[0]), address(w[1])
        proto, mask = (int(v, 16) for v in w[8].split("/"))
        rows.append((src, dst, src_len, dst_len, proto, mask, int(w[2]), int(w[4]), int(w[5]),
                     int(w[7]), place))  # fmt: skip
    return np.array(rows, dtype=FILTER)


@functools.cache
def headers(name: str) -> Any:
    """The header trace of a filter set: an array of HEADER."""
    import numpy as np

    rows = [tuple(int(v) for v in line.split()[:5]) for line in text(f"{name}_trace").splitlines()]
    return np.array(rows, dtype=HEADER)
