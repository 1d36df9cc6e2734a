"""The compiled loop against testpmd: net_null, net_ring, net_pcap; memory kinds, sizes, bursts.

Ours is the application itself, `veridnet.apps.l2fwd.L2fwd`: it writes both MAC addresses of each
packet and counts packets and bytes per port. testpmd swaps the addresses (macswap).
"""

from __future__ import annotations

import os
import struct
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import WARMUP, Benchmark, Case, Contender, Ratio, child
from machine import BenchError, cpus
from peer import testpmd

SIZES = (128, 256, 512, 1024, 1280, 1518)

#: A UDP frame of 64 bytes: 192.0.2.1:9 to 192.0.2.2:9, checksums right (UDP: none).
FRAME = bytes.fromhex(
    "020000000001 020000000002 0800"
    "4500003200000000 4011f6b7 c0000201c0000202"
    "00090009001e0000"
) + bytes(22)  # fmt: skip


def write_capture(path: Path, frames: int = 64) -> None:
    """A classic pcap of so many equal frames."""
    record = struct.pack("=4I", 0, 0, len(FRAME), len(FRAME)) + FRAME
    path.write_bytes(struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + record * frames)


def ours(ports: Sequence[str], seconds: int, memory: str, burst: int, inject: int = 0) -> float:
    """Mpps that our forwarder sends, all ports summed; `inject` frames go into each port first."""
    found = child("forwarding", {
        "ports": list(ports), "seconds": seconds, "memory": memory, "burst": burst,
        "inject": inject,
    })  # fmt: skip
    return float(found["mpps"])


def run_child(settings: dict[str, Any]) -> dict[str, Any]:
    """In the child: forwards, and measures between the ticks after the warm-up."""
    from veridnet import Burst, Runtime
    from veridnet.apps.l2fwd import L2fwd

    main, worker = cpus()
    marks: list[tuple[float, int]] = []

    def tick(app: L2fwd) -> None:
        marks.append((time.monotonic(), sum(p.counters()["tx_packets"] for p in app.ports)))

    with Runtime(memory=settings["memory"], lcores=(worker,)) as rt:
        # Main where testpmd has its own: never on the forwarding CPU.
        os.sched_setaffinity(0, {main})
        ports = [rt.add_port(spec) for spec in settings["ports"]]
        if settings["inject"]:
            for port in ports:
                port.tx(Burst.from_bytes([FRAME] * settings["inject"]))
        app = L2fwd(rt, ports, burst=settings["burst"])
        result = app.run(duration=WARMUP + settings["seconds"] + 0.2, tick=tick)
    begin, end = marks[WARMUP - 1], marks[WARMUP - 1 + settings["seconds"]]
    if end[1] == begin[1]:
        raise BenchError("nothing was sent")
    if not result.balanced or result.drops:
        raise BenchError(f"drops or a wrong balance: {result.to_dict()}")
    return {"mpps": (end[1] - begin[1]) / (end[0] - begin[0]) / 1e6}


def pair(
    label: str,
    specs: Sequence[str],
    vdevs: Sequence[str],
    *,
    burst: int = 32,
    inject: int = 0,
    start: str = "start",
    seconds: int | None = None,
) -> Case:
    """Ours against testpmd on the same ports, both with hugepages."""
    return Case(
        label,
        {
            "veridnet": Contender(
                lambda s: ours(specs, s, "hugepages", burst, inject), needs_hugepages=True
            ),
            "testpmd": Contender(
                lambda s: testpmd(vdevs, s, burst=burst, start=start), needs_hugepages=True
            ),
        },
        [Ratio("veridnet", "testpmd", 0.97)],
        seconds,
    )


def null_pair(size: int, burst: int = 32, seconds: int | None = None) -> Case:
    """Two net_null ports with frames of that size."""
    return pair(
        f"net_null, {size:,} bytes, burst {burst}",
        [f"null:size={size}"] * 2,
        [f"net_null{i},size={size}" for i in range(2)],
        burst=burst,
        seconds=seconds,
    )


NOHUGE = Case(
    "net_null, 64 bytes, burst 32, no hugepages reserved",
    {
        "veridnet": Contender(lambda s: ours(["null:size=64"] * 2, s, "thp", 32)),
        "testpmd --no-huge": Contender(
            lambda s: testpmd(["net_null0", "net_null1"], s, memory="no-huge")
        ),
        "testpmd with hugepages": Contender(
            lambda s: testpmd(["net_null0", "net_null1"], s), needs_hugepages=True
        ),
    },
    [
        Ratio("veridnet", "testpmd --no-huge", 3.5),
        Ratio("veridnet", "testpmd with hugepages"),
    ],
)


def ring_pair(burst: int) -> Case:
    """Packets that circulate for ever: one burst sent into each of two looped rings first."""
    return pair(
        f"net_ring, 64 bytes, burst {burst}",
        ["ring", "ring"],
        ["net_ring0", "net_ring1"],
        burst=burst,
        inject=burst,  # what "start tx_first" sends into each
        start="start tx_first",
    )


@contextmanager
def capture() -> Iterator[str]:
    """The path of a small capture, for as long as one process needs it."""
    with tempfile.TemporaryDirectory(prefix="vnbench") as folder:
        path = Path(folder) / "udp64.pcap"
        write_capture(path)
        yield str(path)


def pcap_pair(burst: int) -> Case:
    """A capture received again and again from memory, sent to a net_null that receives nothing."""

    def peer(seconds: int) -> float:
        with capture() as path:
            vdevs = [f"net_pcap0,rx_pcap={path},infinite_rx=1", "net_null0,no-rx=1"]
            return testpmd(vdevs, seconds, burst=burst)

    def own(seconds: int) -> float:
        with capture() as path:
            return ours([f"pcap:rx={path},infinite=on", "null:no_rx=on"], seconds, "hugepages",
                        burst)  # fmt: skip

    return Case(
        f"net_pcap (infinite_rx) to net_null, 64 bytes, burst {burst}",
        {"veridnet": Contender(own, True), "testpmd": Contender(peer, True)},
        [Ratio("veridnet", "testpmd", 0.97)],
    )


BENCHMARKS = [
    Benchmark(
        "loop-null", "compiled loop, one core, hugepages", [null_pair(64), null_pair(64, 64)]
    ),
    Benchmark(
        "loop-sizes",
        "compiled loop, one core, hugepages, by frame size",
        [null_pair(size, seconds=1) for size in SIZES],
        notes=["net_null moves no frame bytes, so that the size should not matter"],
    ),
    Benchmark(
        "loop-null-nohuge",
        "compiled loop, one core, no hugepages reserved",
        [NOHUGE],
        notes=["veridnet takes transparent huge pages there, testpmd 4 KiB pages"],
    ),
    Benchmark("loop-ring", "compiled loop, one core, hugepages", [ring_pair(32), ring_pair(64)]),
    Benchmark("loop-pcap", "compiled loop, one core, hugepages", [pcap_pair(32), pcap_pair(64)]),
]
