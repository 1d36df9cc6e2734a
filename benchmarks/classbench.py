"""ClassBench filters and header traces as numpy arrays, from ../shared/rules or $VN_RULES.

A filter: ``@src/len dst/len sport_lo : sport_hi dport_lo : dport_hi proto/mask flags/mask``.
A header: source, destination, source port, destination port, protocol, flags, and the filter that
it was drawn from. The flags are ignored, as dpdk-test-acl does.
"""

from __future__ import annotations

import functools
import lzma
import os
import struct
from collections.abc import Iterator
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


def parse(text: str) -> Any:
    """The filters of a file's text, in its order: an array of FILTER."""
    import numpy as np

    rows = []
    for place, line in enumerate(text.splitlines()):
        w = line.removeprefix("@").split()
        (src, src_len), (dst, dst_len) = address(w[0]), address(w[1])
        proto, mask = (int(v, 16) for v in w[8].split("/"))
        rows.append((src, dst, src_len, dst_len, proto, mask, int(w[2]), int(w[4]), int(w[5]),
                     int(w[7]), place))  # fmt: skip
    return np.array(rows, dtype=FILTER)


@functools.cache
def filters(name: str) -> Any:
    """The filters of acl1_1k, ..., in file order: an array of FILTER."""
    return parse(text(name))


@functools.cache
def headers(name: str) -> Any:
    """The header trace of a filter set: an array of HEADER."""
    import numpy as np

    rows = [tuple(int(v) for v in line.split()[:5]) for line in text(f"{name}_trace").splitlines()]
    return np.array(rows, dtype=HEADER)


def frames(trace: Any) -> Iterator[bytes]:
    """A frame of 60 bytes (64 with its FCS) for each header: TCP, UDP, ICMP or nothing above IP."""
    ethernet = bytes.fromhex("020000000001 020000000002 0800")
    for src, dst, sport, dport, proto in trace.tolist():
        if proto == 6:
            above = struct.pack(">HHIIBBHHH", sport, dport, 1, 1, 5 << 4, 0x10, 8192, 0, 0)
        elif proto == 17:
            above = struct.pack(">HHHH", sport, dport, 26, 0) + bytes(18)
        else:
            above = b"\x08" + bytes(25)
        above = above.ljust(26, b"\0")
        ip = struct.pack(">BBHHHBBHII", 0x45, 0, 46, 0, 0, 64, proto, 0, src, dst)
        total = sum(struct.unpack(">10H", ip))
        total = (total & 0xFFFF) + (total >> 16)
        total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
        yield ethernet + ip[:10] + struct.pack(">H", total) + ip[12:] + above


def write_pcap(path: Path, trace: Any) -> int:
    """The trace as a capture; how many packets."""
    n = 0
    with path.open("wb") as f:
        f.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for n, frame in enumerate(frames(trace), 1):  # noqa: B007
            f.write(struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame)
    return n
