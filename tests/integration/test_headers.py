"""`veridnet headers` against tshark -T fields, and how it ends."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import signal
import struct
import subprocess
import time
from pathlib import Path

import pytest
from running import COMMAND, Run, veridnet

from veridnet.headers.text import TSHARK

ROOT = Path(__file__).resolve().parents[2]
TRACES = ROOT.parent / "shared" / "traces"
DEMO = ROOT / "examples" / "demo.pcap"

FIELDS = tuple(TSHARK)


def headers(*args: str, cwd: Path, **options: object) -> Run:
    return veridnet("headers", *args, cwd=cwd, **options)


def traces() -> list[Path]:
    """Those of which libpcap reads all, of link types that are parsed."""
    refused = ("many_interfaces", "too_many", "null_loopback", "sll", "microsecs")
    found = sorted(TRACES.glob("*")) if TRACES.is_dir() else []
    return [DEMO, *(p for p in found if p.suffix in (".pcap", ".cap", ".pcapng")
                    and not p.name.startswith(refused))]  # fmt: skip


def tshark(path: Path) -> list[list[str]]:
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed")
    # What it would make of streams and fragments is not in the headers.
    off = [f"-o{name}:FALSE" for name in (
        "ip.defragment", "ipv6.defragment", "tcp.desegment_tcp_streams",
        "tcp.try_heuristic_first")]  # fmt: skip
    fields = [word for name in FIELDS for word in ("-e", name)]
    done = subprocess.run(
        ["tshark", "-n", "-r", str(path), *off, "-T", "fields", "-E", "occurrence=f", *fields],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    # A bit's value is 0 or 1 in tshark 4.0, False or True in 4.4.
    words = {"False": "0", "True": "1"}
    return [[words.get(w, w) for w in line.split("\t")] for line in done.stdout.splitlines()]


@pytest.mark.parametrize("path", traces(), ids=lambda p: p.name)
def test_as_tshark(tmp_path: Path, path: Path) -> None:
    """Field by field, as far as the packet has nothing inside that tshark would show instead."""
    theirs = tshark(path)
    done = headers(
        str(path), "--fields", ",".join(FIELDS) + ",frag,ptype,error,vlan_depth", cwd=tmp_path
    )
    assert done.code == 0, done.stderr
    ours = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(ours) == len(theirs)
    for row, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        *a, frag, ptype, error, tags = a
        mine = dict(zip(FIELDS, a, strict=True))
        # What tshark shows of a packet that is inside another (a tunnel, a quotation in an ICMP
        # error, an sFlow sample), of a header that is cut, of a datagram that it put together.
        l4 = ("tcp.srcport", "udp.srcport", "sctp.srcport", "icmp.type", "icmpv6.type")
        has_l4 = any(mine[name] for name in l4)
        inside = has_l4 or int(ptype) & 0xF000 or error or frag != "0"
        for name, x, y in zip(FIELDS, a, b, strict=True):
            if x == y or (x == "" and inside and not name.startswith("frame")):
                continue
            if name == "vlan.id" and tags not in ("", "1"):
                continue  # the outer tag of 802.1ad is another protocol of tshark's
            raise AssertionError(f"{path.name}, packet {row + 1}: {name} is {x!r}, tshark: {y!r}")
        for name in ("tcp", "udp"):  # whole, or not at all
            assert bool(mine[f"{name}.srcport"]) == bool(mine[f"{name}.checksum"])


@pytest.mark.skipif(not TRACES.is_dir(), reason="the shared traces are not here")
@pytest.mark.parametrize("name", ["raw_ip.pcap", "linktype_ipv4.pcap"])
def test_raw_ip(tmp_path: Path, name: str) -> None:
    done = headers(str(TRACES / name), "-f", "ip_version,ip_src,ip6_src,eth_src", cwd=tmp_path)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert rows
    assert all(bool(a) == (v == "4") and bool(b) == (v == "6") for v, a, b, _ in rows)
    assert {eth for *_, eth in rows} == {""}


def test_forms_say_the_same(tmp_path: Path) -> None:
    args = (str(DEMO), "-f", "number,eth_src,ip_src,ip6_dst,l4_dst,ethertype,error")
    plain = [line.split("\t") for line in headers(*args, cwd=tmp_path).stdout.splitlines()]
    rows = list(csv.reader(headers(*args, "--csv", cwd=tmp_path).stdout.splitlines()))
    assert rows[0] == args[2].split(",") and rows[1:] == plain
    objects = json.loads(headers(*args, "--json", cwd=tmp_path).stdout)
    assert len(plain) == len(objects) == 1795

    def word(name: str, value: object) -> str:
        return "" if value is None else f"0x{value:04x}" if name == "ethertype" else str(value)

    assert [[word(k, v) for k, v in o.items()] for o in objects] == plain
    numbers = {k for o in objects for k, v in o.items() if isinstance(v, int)}
    assert numbers == {"number", "l4_dst", "ethertype"}


def test_where_and_count(tmp_path: Path) -> None:
    args = (str(DEMO), "-f", "number,ip_proto,l4_dst", "-w", "ip_proto == udp and l4_dst < 10000")
    every = headers(*args, cwd=tmp_path).stdout.splitlines()
    assert every and all(line.split("\t")[1] == "17" for line in every)
    assert headers(*args, "-n", "3", cwd=tmp_path).stdout.splitlines() == every[:3]
    assert headers(*args, "-n", "0", "--json", cwd=tmp_path).stdout == "[\n]\n"
    none = headers(str(DEMO), "-w", "wire_len < 10", cwd=tmp_path)
    assert (none.code, none.stdout) == (0, "")


def test_stats(tmp_path: Path) -> None:
    done = headers(str(DEMO), "--stats", "--json", cwd=tmp_path)
    d = json.loads(done.stdout)
    assert (d["packets"], d["bytes"], d["errors"]) == (1795, 894_118, {})
    assert sum(v["packets"] for v in d["ethertypes"].values()) == 1795
    assert "1,795 packets" in headers(str(DEMO), "--stats", cwd=tmp_path).stdout
    some = headers(str(DEMO), "--stats", "-w", "ip_proto == tcp", cwd=tmp_path).stdout
    assert "TCP" in some and "UDP" not in some


def test_columns(tmp_path: Path) -> None:
    done = headers("--columns", cwd=tmp_path)
    assert done.code == 0 and "ip_src " in done.stdout and "tcp.dstport" in done.stdout
    rows = json.loads(headers("--columns", "--json", cwd=tmp_path).stdout)
    assert {"name", "dtype", "meaning", "spec", "tshark", "group"} == set(rows[0])


def test_parquet(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "x.parquet"
    args = (str(DEMO), "-f", "rx_time,ip_src,ip6_src,l4_dst", "--parquet", str(out))
    done = headers(*args, cwd=tmp_path)
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    table = pq.read_table(out)
    assert table.num_rows == 1795
    assert table.column_names == ["rx_time", "ip_src", "ip6_src_hi", "ip6_src_lo", "l4_dst"]
    assert str(table.schema.field("l4_dst").type) == "uint16"
    assert table["ip_src"].null_count == 1795 - 904
    headers(*args[:3], "--parquet", "no/such/place", cwd=tmp_path).one_line("no/such/place")


def test_parquet_never_overwrites_the_capture(tmp_path: Path) -> None:
    capture = tmp_path / "x.pcap"
    capture.write_bytes(DEMO.read_bytes())
    (tmp_path / "link").symlink_to(capture)
    for name in ("x.pcap", "link"):
        headers("x.pcap", "--parquet", name, cwd=tmp_path).one_line("is the capture")
    headers("x.pcap", "--parquet", "", cwd=tmp_path).one_line("parquet")
    assert capture.read_bytes() == DEMO.read_bytes()


def test_parquet_without_pyarrow(tmp_path: Path) -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        run = headers(str(DEMO), "--parquet", "x.parquet", cwd=tmp_path)
        run.one_line("pyarrow is not installed", "veridnet[arrow]")
    else:
        pytest.skip("pyarrow is installed")


# -- how it ends ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("nowhere.pcap",), 1, ("nowhere.pcap", "No such file")),
        (("empty.pcap",), 1, ("empty.pcap", "is empty")),
        (("text.pcap",), 1, ("text.pcap", "cannot be read as a capture")),
        ((".",), 1, ("directory",)),
        ((), 2, ("no capture",)),
        ((str(DEMO), "-f", "ip_sr"), 2, ("ip_sr", "did you mean", "ip_src")),
        ((str(DEMO), "-f", ""), 2, ("no column",)),
        ((str(DEMO), "-w", "l4_dst = = 3"), 2, ("match, column",)),
        ((str(DEMO), "-n", "x"), 2, ("whole number",)),
        ((str(DEMO), "-n", "-1"), 2, ("at least 0",)),
        ((str(DEMO), "--json", "--csv"), 2, ("do not go together",)),
        ((str(DEMO), "--where"), 2, ("--where",)),
        ((str(DEMO), "--jsn"), 2, ("did you mean --json",)),
        ((str(DEMO), "-f", "number", "--parquet", "x"), 2, ()),
        (("netlink.pcap",), 1, ("link type is NETLINK", "Ethernet")),
        (("broken.pcap",), 1, ("no readable frame",)),
    ],
)  # fmt: skip
def test_errors_are_one_line(
    tmp_path: Path, args: tuple[str, ...], code: int, words: tuple[str, ...]
) -> None:
    (tmp_path / "empty.pcap").touch()
    (tmp_path / "text.pcap").write_text("this is no capture, but text of some length\n")
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 253)
    (tmp_path / "netlink.pcap").write_bytes(head)
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    (tmp_path / "broken.pcap").write_bytes(head + struct.pack("<IIII", 0, 0, 60, 60) + bytes(9))
    run = headers(*args, cwd=tmp_path)
    run.one_line(*words)
    assert run.code == code


def test_damaged_further_on(tmp_path: Path) -> None:
    """What is whole is used, and the rest is said."""
    (tmp_path / "cut.pcap").write_bytes(DEMO.read_bytes()[:20_000])
    run = headers("cut.pcap", "-f", "number", cwd=tmp_path)
    rows = run.stdout.splitlines()
    assert run.code == 0 and 10 < len(rows) < 1795
    assert f"damaged after record {len(rows)} (" in run.stderr and run.stderr.count("\n") == 1


def test_standard_input(tmp_path: Path) -> None:
    whole = headers(str(DEMO), cwd=tmp_path).stdout
    with DEMO.open("rb") as f:
        assert headers("-", cwd=tmp_path, stdin=f).stdout == whole
    with subprocess.Popen(["cat", str(DEMO)], stdout=subprocess.PIPE) as cat:
        assert headers("-", cwd=tmp_path, stdin=cat.stdout).stdout == whole
    headers("-", cwd=tmp_path).one_line("-: is empty")


def test_reader_that_leaves(tmp_path: Path) -> None:
    """`| head -1`."""
    body = DEMO.read_bytes()
    (tmp_path / "long.pcap").write_bytes(body[:24] + body[24:] * 10)
    with subprocess.Popen(
        [*COMMAND, "headers", "long.pcap", "-f", "all"], cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) in (0, 1)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_full_disk(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*COMMAND, "headers", str(DEMO)], cwd=tmp_path, stdout=full,
                              stderr=subprocess.PIPE, text=True, timeout=30)  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "veridnet headers: error: standard output: No space left on device\n"


def test_ctrl_c(tmp_path: Path) -> None:
    """While it waits for a pipe."""
    with subprocess.Popen(
        [*COMMAND, "headers", "-", "-f", "number"], cwd=tmp_path, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None and process.stderr is not None
        process.stdin.write(DEMO.read_bytes()[:10_000])
        process.stdin.flush()
        time.sleep(1.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr.read() == b""
        with contextlib.suppress(OSError):
            process.stdin.close()
