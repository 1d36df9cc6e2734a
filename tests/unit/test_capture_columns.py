"""veridnet.headers.read and its reader and formatter, without EAL."""

from __future__ import annotations

import ipaddress
import logging
import random
import socket
import struct
from pathlib import Path

import numpy as np
import pytest

import veridnet as vn
from veridnet._native.headers import parse_frames
from veridnet._native.table import Format, Reader
from veridnet.headers import FIELDS, read, read_blocks, text
from veridnet.headers.fields import NEEDS
from veridnet.headers.source import Source
from veridnet.pcap import scan

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "examples" / "demo.pcap"


def records(path: Path) -> list[tuple[int, bytes]]:
    """(ns, bytes) of a little-endian microsecond capture."""
    data, at, out = path.read_bytes(), 24, []
    while at + 16 <= len(data):
        s, us, size, _ = struct.unpack_from("<IIII", data, at)
        out.append((s * 10**9 + us * 1000, data[at + 16 : at + 16 + size]))
        at += 16 + size
    return out


def capture(path: Path, frames: list[bytes], *, linktype: int = 1, magic: int = 0xA1B2C3D4,
            order: str = "<", lengths: dict[int, int] | None = None, snaplen: int = 65535,
            minor: int = 4) -> Path:  # fmt: skip
    head = struct.pack(f"{order}IHHiIII", magic, 2, minor, 0, 0, snaplen, linktype)
    body = b"".join(
        struct.pack(f"{order}IIII", 1 + i, 7, len(f), (lengths or {}).get(i, len(f))) + f
        for i, f in enumerate(frames)
    )
    path.write_bytes(head + body)
    return path


def test_as_the_parser() -> None:
    """Every column that is parsed, of every frame; times and lengths of the records."""
    found = records(DEMO)
    plain = [f.name for f in FIELDS if f.name not in NEEDS]
    table = read(DEMO)
    want = parse_frames([frame for _, frame in found], plain)
    assert len(table) == len(found)
    for name in plain:
        expected = [ns for ns, _ in found] if name == "rx_time" else want[name]
        assert np.array_equal(getattr(table, name), expected), name


def test_derived_columns_as_a_burst_s(runtime, tmp_path) -> None:
    port = runtime.add_port("pcap", rx=str(DEMO))
    table, at = read(DEMO, "checksum", "hash"), 0
    burst = vn.Burst(256)
    while not port.exhausted:
        n = port.rx(burst)
        for name in ("ip_csum", "l4_csum", "flow_hash", "flow_hash_sym"):
            there = getattr(burst.headers, name)
            assert np.array_equal(there, getattr(table, name)[at : at + n]), name
        at += n
        burst.clear()
    assert at == len(table) and set(table.l4_csum) > {1}


def test_long_records_have_checksums_too(tmp_path, make_frames) -> None:
    """Longer than the 65,535 bytes that one mbuf can have."""
    body = bytes(range(256)) * 255
    payload = struct.pack("!HHHH", 1, 2, 8 + len(body), 0) + body
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0, 9, 17, 0, b"\1" * 4,
                         b"\2" * 4)  # fmt: skip
    frame = bytes(12) + b"\x81\0\0\1" * 4 + b"\x08\0" + header + payload + bytes(400)
    assert len(frame) > 65535
    table = read(capture(tmp_path / "x", [frame], snaplen=262144), "l4_csum", "ip_csum", "l4_dst")
    assert (table.ip_csum[0], table.l4_csum[0], table.l4_dst[0]) == (2, 0, 2)


@pytest.mark.parametrize("rows", [1, 7, 1795, 65536])
def test_blocks(rows: int) -> None:
    whole = read(DEMO, "ip_src", "l4_dst", where="ip_version == 4")
    blocks = list(read_blocks(DEMO, "ip_src", "l4_dst", rows=rows, where="ip_version == 4"))
    assert sum(map(len, blocks)) == len(whole) == 904
    assert all(0 < len(b) <= rows for b in blocks)
    assert np.array_equal(np.concatenate([b.ip_src for b in blocks]), whole.ip_src)
    blocks[0].ip_src[:] = 0  # its own memory
    with pytest.raises(AttributeError):
        _ = whole.ip_version


def test_where_is_match() -> None:
    table = read(DEMO, "all")
    for expression in ("ip_proto == udp", "not l4_dst", "ip6_src in fe80::/10", "l4_csum == 1"):
        assert len(read(DEMO, "l4_src", where=expression)) == table.match(expression).sum()


@pytest.mark.parametrize(
    ("magic", "order"),
    [(0xA1B2C3D4, "<"), (0xA1B2C3D4, ">"), (0xA1B23C4D, "<"), (0xA1B23C4D, ">")],
)
def test_times_and_cut_records(tmp_path, make_frames, magic: int, order: str) -> None:
    """Both byte orders and both units: the plain reader and libpcap's say the same."""
    path = capture(tmp_path / "x", make_frames(3), magic=magic, order=order, lengths={1: 900})
    table = read(path, "frame", "eth")
    unit = 1000 if magic == 0xA1B2C3D4 else 1
    assert table.rx_time.tolist() == [s * 10**9 + 7 * unit for s in (1, 2, 3)]
    assert table.wire_len.tolist() == [60, 900, 60]
    assert table.in_port.tolist() == [65535] * 3, "no port received them"


def test_every_shared_trace(shared_trace, caplog) -> None:
    found = scan(shared_trace)
    if found.linktype not in (1, 12, 228, 229):
        with pytest.raises(vn.CaptureError, match="link type"):
            read(shared_trace)
        return
    if found.damaged and not found.records:
        with pytest.raises(vn.CaptureError, match="no readable frame"):
            read(shared_trace)
        return
    with caplog.at_level(logging.WARNING, "veridnet"):
        assert len(read(shared_trace, "all")) == found.records
    assert found.damaged == ("damaged after record" in caplog.text)


@pytest.mark.parametrize("cut", [1, 15, 16, 17, 60, 75, 76])
def test_damaged(tmp_path, make_frames, caplog, cut: int) -> None:
    """Cut anywhere in the last record: as libpcap, which `scan` is."""
    path = capture(tmp_path / "x", make_frames(4))
    path.write_bytes(path.read_bytes()[:-cut])
    with caplog.at_level(logging.WARNING, "veridnet"):
        assert len(read(path, "wire_len")) == scan(str(path)).records == 3
    assert ("damaged" in caplog.text) == (cut != 76)


@pytest.mark.parametrize("size", [0, 1, 1000, 65535, 65536, 200_000, 262_144])
@pytest.mark.parametrize("snaplen", [0, 96, 65535, 262_144])
def test_odd_sizes_as_libpcap(tmp_path, make_frames, size: int, snaplen: int) -> None:
    """Records that are empty, long, or longer than the file says; plain ones around them."""
    small = make_frames(3)
    frames = [*small, bytes(size), *small, bytes(size), *small]
    path = capture(tmp_path / "x", frames, snaplen=snaplen)
    assert len(read(path, "all")) == scan(str(path)).records
    assert read(path, "wire_len").wire_len.tolist()[:3] == [60] * 3


def test_random_bytes(tmp_path) -> None:
    """Nothing that a capture holds is worse than an error."""
    rng = random.Random(4)
    good = DEMO.read_bytes()[:30_000]
    for k in range(150):
        bad = bytearray(good)
        for _ in range(rng.choice((1, 5, 50))):
            bad[rng.randrange(0 if k % 3 else 24, len(bad))] = rng.randrange(256)
        (tmp_path / "x").write_bytes(bad)
        try:
            want = scan(str(tmp_path / "x"))
            table = read(tmp_path / "x", "all")
        except vn.CaptureError:
            continue
        assert len(table) == want.records


@pytest.mark.parametrize("linktype", [101, 228, 229])
def test_raw_ip(tmp_path, linktype: int) -> None:
    ip4 = bytes.fromhex("4500001c0000000040110000010203040506070800010002000800 00")
    ip6 = bytes.fromhex("60000000000811ff" + "20" * 16 + "30" * 16 + "0003000400080000")
    frames = {101: [ip4, ip6, b"", b"\x99"], 228: [ip4], 229: [ip6]}[linktype]
    table = read(capture(tmp_path / "x", frames, linktype=linktype), "all")
    assert table.l2_len.tolist() == [0] * len(frames)
    assert table.l4_dst.tolist() == {101: [2, 4, 0, 0], 228: [2], 229: [4]}[linktype]
    assert table.ip_version.tolist() == {101: [4, 6, 0, 0], 228: [4], 229: [6]}[linktype]


def test_errors(tmp_path) -> None:
    for path in (tmp_path / "none", tmp_path, b"x\0y"):
        with pytest.raises(vn.CaptureError):
            read(path)
    with pytest.raises(vn.ConfigError, match="no header group or column 'ip_sr'"):
        read(DEMO, "ip_sr")
    with pytest.raises(vn.ConfigError, match="match, column"):
        read(DEMO, where="ip_src ==")
    with pytest.raises(vn.ConfigError, match="rows=0"):
        read_blocks(DEMO, rows=0)
    assert len(read(capture(tmp_path / "e", []), "ip_src")) == 0


def test_native_arguments() -> None:
    def opened() -> int:
        import os

        return os.open(DEMO, os.O_RDONLY)

    for columns, derived, rows in (([500], [], 1), ([-1], [], 1), ([1], [2], 1), ([1], [], 0)):
        with pytest.raises(ValueError, match=r"column|row"):
            Reader(opened(), columns, derived, rows)
    with pytest.raises(vn.CaptureError):
        Reader(10_000, [1], [], 1)
    reader = Reader(opened(), [1], [], 4)
    reader.read()
    with pytest.raises(ValueError, match="not parsed"):
        reader.column(3)
    with pytest.raises(ValueError, match="not parsed"):
        reader.text(Format([("number", 3, 3, 0, 0, -1, b"", b"", b"")], [], []))


def addresses() -> list[int]:
    rng = random.Random(7)
    groups = [[rng.choice((0, 0, 0, 1, 0xFFFF, 0xABC)) for _ in range(8)] for _ in range(3000)]
    some = [sum(g << 16 * i for i, g in enumerate(group)) for group in groups]
    words = ("::", "::1", "::1.2.3.4", "::ffff:1.2.3.4", "1::", "1:0:0:2::3", "::2:0:0:0", "::1:2")
    return [*some, *(int(ipaddress.ip_address(word)) for word in words)]


def test_ipv6_text_is_inet_ntop_s(tmp_path) -> None:
    wanted = addresses()
    frames = [bytes.fromhex("60000000000000ff") + a.to_bytes(16, "big") * 2 for a in wanted]
    shown = text.choose(["ip6_src"])
    source = Source(capture(tmp_path / "x", frames, linktype=229), text.needs(shown), len(frames))
    source.reader.read()
    lines = source.reader.text(text.separated(shown, b"\t")).decode().splitlines()
    assert lines == [socket.inet_ntop(socket.AF_INET6, a.to_bytes(16, "big")) for a in wanted]


def test_numbers_and_mac_text(tmp_path) -> None:
    rng = random.Random(1)
    macs = [rng.getrandbits(rng.choice((1, 20, 48))) for _ in range(500)]
    frames = [a.to_bytes(6, "big") + bytes(6) + b"\x88\xb5" for a in macs]
    path = capture(tmp_path / "x", frames, magic=0xA1B23C4D)
    shown = text.choose(["eth_dst", "number", "rx_time", "frame.time_epoch", "wire_len"])
    source = Source(path, text.needs(shown), 64)
    lines = []
    while source.reader.read():
        lines += source.reader.text(text.separated(shown, b" ")).decode().splitlines()
    assert lines == [
        f"{vn.headers.mac_text(a)} {i + 1} {(i + 1) * 10**9 + 7} {i + 1}.000000007 14"
        for i, a in enumerate(macs)
    ]


def test_every_column_has_its_rows() -> None:
    """All that is shown compiles, and what a packet has is shown though it be 0."""
    shown = text.choose(["all", *text.TSHARK])
    text.separated(shown, b"\t")
    assert {name for s in shown for name in (s.column, s.low)} >= {f.name for f in FIELDS}
    assert not any("," in name or " " in name for name in text.TSHARK)
    for name in (
        "ip.ttl",
        "ip.len",
        "tcp.dstport",
        "udp.dstport",
        "icmpv6.type",
        "ip.dsfield.dscp",
    ):
        assert name in text.TSHARK
    assert text.TSHARK["vlan.id"] == "vlan_id" and text.TSHARK["vlan.priority"] == "vlan_pcp"


def test_nothing_heavy_is_loaded(run_python) -> None:
    """The command starts without numpy and rich."""
    done = run_python(
        f"""
        import sys
        from veridnet.cli import main
        assert main(["headers", {str(DEMO)!r}, "-n", "1", "-w", "ip_proto == tcp"]) == 0
        assert not {{"numpy", "rich", "veridnet.config"}} & set(sys.modules), sys.modules
        """
    )
    assert done.stdout.count("\t") == 9
