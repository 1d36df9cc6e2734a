"""`veridnet headers` against tshark -T fields: the same fields of the same capture, whole commands.

The capture is the demo trace, repeated. Both write to /dev/null. A whole command includes its
start; what a packet costs beyond that follows from a capture of a few packets and one of many.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from harness import Benchmark, Case, Contender, Figure, Ratio, Settings, bounded
from machine import REPO, BenchError

TRACE = REPO / "examples" / "demo.pcap"
FILE_HEADER, PACKETS = 24, 1795
FIELDS = ("ip.src", "ip.dst", "tcp.dstport")
#: Repetitions of the trace.
SHORT, LONG = 112, 560


@contextlib.contextmanager
def repeated(times: int) -> Iterator[Path]:
    """The trace so many times over, in a file that the page cache holds."""
    body = TRACE.read_bytes()
    with tempfile.TemporaryDirectory(prefix="vnbench") as folder:
        path = Path(folder) / "trace.pcap"
        with path.open("wb") as f:
            f.write(body[:FILE_HEADER])
            for _ in range(times):
                f.write(body[FILE_HEADER:])
        yield path


def tshark(path: Path) -> list[str]:
    """tshark's command, without name resolution."""
    if shutil.which("tshark") is None:
        raise BenchError("tshark is not installed (apt-get install tshark)")
    fields = [word for name in FIELDS for word in ("-e", name)]
    return ["tshark", "-n", "-r", str(path), "-T", "fields", *fields]


def veridnet(path: Path) -> list[str]:
    """Ours."""
    command = Path(sys.executable).with_name("veridnet")
    if not command.exists():
        raise BenchError(f"there is no veridnet command beside {sys.executable}")
    return [str(command), "headers", str(path), "--fields", ",".join(FIELDS)]


def seconds(command: Sequence[str]) -> float:
    """How long a command takes."""
    begin = time.perf_counter()
    done = subprocess.run(
        bounded(*command, patience=180), cwd=os.sep, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    end = time.perf_counter()
    if done.returncode != 0:
        raise BenchError(f"{command[0]}: exit code {done.returncode}: {done.stderr[-300:]}")
    return end - begin


def rate(side: Callable[[Path], list[str]], times: int) -> Callable[[int], float]:
    """Million packets a second of a whole command."""

    def run(_: int) -> float:
        with repeated(times) as path:
            return PACKETS * times / seconds(side(path)) / 1e6

    return run


def figures(settings: Settings) -> list[Figure]:
    """What a packet costs, and what the start does."""
    packet: dict[str, list[float]] = {"veridnet headers": [], "tshark -T fields": []}
    start: dict[str, list[float]] = {name: [] for name in packet}
    with repeated(1) as few, repeated(SHORT) as some, repeated(LONG) as many:
        for _ in range(min(settings.rounds, 5)):
            # The difference of two times must be larger than what the machine adds to them.
            for name, side, path, times in (
                ("veridnet headers", veridnet, many, LONG),
                ("tshark -T fields", tshark, some, SHORT),
            ):
                short, long = seconds(side(few)), seconds(side(path))
                packet[name].append((long - short) / (PACKETS * (times - 1)) * 1e9)
                start[name].append(short * 1e3)
    return [
        *(Figure(f"{name}: a packet, the start taken off", "ns", v) for name, v in packet.items()),
        *(Figure(f"{name}: a capture of 1,795 packets", "ms", v) for name, v in start.items()),
    ]


def case(times: int, bar: float | None) -> Case:
    """Both commands on one capture."""
    return Case(
        f"{', '.join(FIELDS)} of {PACKETS * times:,} packets, whole commands",
        {
            "veridnet headers": Contender(rate(veridnet, times)),
            "tshark -T fields": Contender(rate(tshark, times)),
        },
        [Ratio("veridnet headers", "tshark -T fields", bar)],
    )


BENCHMARKS = [
    Benchmark(
        "headers-command",
        "the header fields of a capture, against tshark",
        [case(SHORT, None), case(LONG, 100)],
        figures=figures,
        notes=["of 201,040 packets most of our time is the start of Python"],
    ),
]
