"""Captures for tests, read and written by scapy: a reading that veridnet has no part in."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import pytest
from scapy.utils import RawPcapNgReader, RawPcapReader, RawPcapWriter

ROOT = Path(__file__).resolve().parent.parent.parent
TRACES = ROOT.parent / "shared" / "traces"
ETHERNET = 1
# Ethernet too, but of several interfaces that libpcap does not read as one.
SEVERAL_INTERFACES = ("too_many_interfaces.pcapng", "many_interfaces-1.pcapng")


def frames(path: Path | str) -> list[bytes]:
    """The frames of a capture, by scapy."""
    with RawPcapReader(str(path)) as reader:
        return [data for data, _ in reader]


@cache
def link_type(path: Path) -> int:
    """A capture's link type, by scapy; -1 if its interfaces differ in it."""
    with RawPcapReader(str(path)) as reader:
        if not isinstance(reader, RawPcapNgReader):
            return int(reader.linktype)
        for _ in reader:
            pass
        types = {interface[0] for interface in reader.interfaces}
        return int(types.pop()) if len(types) == 1 else -1


def write(path: Path, data: Iterable[bytes]) -> Path:
    """Writes frames as an Ethernet capture."""
    with RawPcapWriter(str(path), linktype=ETHERNET) as writer:
        writer.write_header(None)
        for frame in data:
            writer.write_packet(frame)
    return path


def frame(dst: str, src: str, text: str = "", size: int = 60) -> bytes:
    """A frame of the local experimental EtherType with a text in it, zeros after it."""
    head = bytes.fromhex((dst + src).replace(":", "")) + b"\x88\xb5" + text.encode()
    return head.ljust(size, b"\0")


def texts(data: Iterable[bytes]) -> list[str]:
    """The texts of those `frame`s that are among the given frames."""
    return [f[14:].rstrip(b"\0").decode() for f in data if len(f) >= 14 and f[12:14] == b"\x88\xb5"]


def tshark(path: Path, *fields: str) -> list[list[str]]:
    """Fields of each packet, as tshark dissects it; skips where tshark is missing."""
    if shutil.which("tshark") is None:
        pytest.skip("needs tshark")
    done = subprocess.run(
        ["tshark", "-n", "-r", str(path), "-T", "fields", *(f"-e{f}" for f in fields)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return [line.split("\t") for line in done.stdout.splitlines()]


def cut_short(path: Path, out: Path, snaplen: int) -> Path:
    """A copy whose records hold at most `snaplen` bytes of each frame."""
    with RawPcapReader(str(path)) as reader, out.open("wb") as f:
        f.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, snaplen, ETHERNET))
        for data, meta in reader:
            kept = data[:snaplen]
            f.write(struct.pack("<IIII", meta.sec, meta.usec, len(kept), meta.wirelen) + kept)
    return out


def whole(path: Path) -> Path:
    """Writes all packets of the demo and of the shared Ethernet traces as one capture.

    What asks for no more than packets of every kind needs one process for it, not one a trace.
    """
    paths = [ROOT / "examples" / "demo.pcap"]
    if TRACES.is_dir():
        paths += [p for p in sorted(TRACES.glob("*.*cap*")) if is_ethernet(p)]
    return write(path, (data for p in paths for data in frames(p)))


def is_ethernet(path: Path) -> bool:
    """Can it be forwarded as one stream of Ethernet frames?"""
    return path.name not in SEVERAL_INTERFACES and link_type(path) == ETHERNET


def ethernet_traces() -> Sequence[object]:
    """The shared Ethernet traces, as pytest parameters; one that skips if there are none."""
    if not TRACES.is_dir():
        return [pytest.param(None, marks=pytest.mark.skip(reason="no ../shared/traces"))]
    return [pytest.param(p, id=p.name) for p in sorted(TRACES.glob("*.*cap*")) if is_ethernet(p)]


def other_traces() -> Sequence[object]:
    """The shared traces that cannot be forwarded as one stream of Ethernet frames."""
    if not TRACES.is_dir():
        return [pytest.param(None, marks=pytest.mark.skip(reason="no ../shared/traces"))]
    return [
        pytest.param(p, id=p.name) for p in sorted(TRACES.glob("*.*cap*")) if not is_ethernet(p)
    ]
