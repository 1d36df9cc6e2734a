"""Numbered packets and pipelines over captures, for tests: what came out, in which order."""

from __future__ import annotations

import struct
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import veridnet as vn

PORTS = (53, 80, 443, 22, 9)


def checksum(header: bytes) -> int:
    """RFC 1071, of an even number of bytes."""
    total = sum(struct.unpack(f">{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def frame(flow: int, seq: int, size: int = 60) -> bytes:
    """Packet number `seq` of a flow: UDP, its last 8 bytes say which it is.

    Flows go to PORTS in turn; every seventh is tagged (VLAN 7), every eleventh is no IP.
    """
    tail = struct.pack(">II", flow, seq)
    macs = bytes((2, 0, 0, 0, 1, flow & 0xFF, 2, 0, 0, 0, 2, flow & 0xFF))
    if flow % 11 == 10:
        return (macs + b"\x88\xb5").ljust(size - 8, b".") + tail
    if flow % 7 == 6:
        macs += b"\x81\x00\x00\x07"
    body = max(size - len(macs) - 2 - 28 - 8, 0)
    ip = bytearray(struct.pack(">BBHHHBBHII", 0x45, 0, 36 + body, seq & 0xFFFF, 0, 64, 17, 0,
                               0x0A000000 + flow, 0x0A010001))  # fmt: skip
    ip[10:12] = checksum(bytes(ip)).to_bytes(2, "big")
    udp = struct.pack(">HHHH", 1000 + flow, PORTS[flow % len(PORTS)], 16 + body, 0)
    return macs + b"\x08\x00" + bytes(ip) + udp + b"." * body + tail


def traffic(n: int, flows: int = 23, sizes: Sequence[int] = (60, 64, 200, 1400)) -> list[bytes]:
    """`n` packets of some flows, mixed."""
    return [frame((7 * k + k // 5) % flows, k, sizes[k % len(sizes)]) for k in range(n)]


def number(raw: bytes) -> tuple[int, int]:
    """(flow, seq) of such a packet."""
    flow, seq = struct.unpack(">II", raw[-8:])
    return flow, seq


def in_order(frames: Iterable[bytes], twice: bool = False) -> None:
    """Each flow's packets are in the order in which they were made. `twice`: with copies."""
    last: dict[int, int] = defaultdict(lambda: -1)
    for at, raw in enumerate(frames):
        flow, seq = number(raw)
        assert seq > last[flow] or (twice and seq == last[flow]), (
            f"packet {at}: {seq} of flow {flow} after {last[flow]}")  # fmt: skip
        last[flow] = seq


def until(done: Callable[[], Any], seconds: float = 60.0) -> None:
    """Waits until something is true: TimeoutError, if it never is."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(0.001)


def through(
    rt: vn.Runtime, folder: Path, source: Path, make: Callable[[list[Any]], vn.Pipeline], *,
    outs: int = 2, **options: Any,
) -> tuple[list[Path], vn.Running, list[Any]]:  # fmt: skip
    """A capture through a pipeline to its end: the captures that ports 1.. wrote, and what ran.

    Port 0 has the capture; ``make(ports)`` is the pipeline.
    """
    paths = [folder / f"out{k}.pcap" for k in range(1, outs + 1)]
    ports = [rt.add_port("pcap", rx=source)]
    ports += [rt.add_port("pcap", tx=path) for path in paths]
    running = rt.start(make(ports), **{"idle": "adaptive", **options})
    try:
        until(lambda: running.finished)
    finally:
        running.stop(60)
        totals = rt.balance()
        for port in ports:
            port.close()
    assert totals.balanced, totals
    return paths, running, ports
