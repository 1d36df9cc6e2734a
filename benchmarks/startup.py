"""From starting the command to the first packet.

`veridnet l2fwd` forwards the demo trace from one capture into another; the first packet is there
when the output capture is longer than its file header. libpcap writes through a buffer, so that
the true moment is a little earlier.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import Benchmark, Figure, Settings, bounded
from machine import REPO, BenchError, hugepages

TRACE = REPO / "examples" / "demo.pcap"
FILE_HEADER = 24


def start(memory: str) -> tuple[float, float]:
    """Seconds until the first packet is in the output, and until the command has ended."""
    command = Path(sys.executable).with_name("veridnet")
    if not command.exists():
        raise BenchError(f"there is no veridnet command beside {sys.executable}")
    with tempfile.TemporaryDirectory(prefix="vnbench") as folder:
        out = Path(folder) / "out.pcap"
        arguments = ["l2fwd", "-p", f"pcap:rx={TRACE}", "-p", f"pcap:tx={out}",
                     "--memory", memory]  # fmt: skip
        first = None
        begin = time.monotonic()
        with subprocess.Popen(
            bounded(str(command), *arguments), cwd=os.sep, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            try:
                while process.poll() is None:
                    if first is None and size(out) > FILE_HEADER:
                        first = time.monotonic() - begin
                    time.sleep(0.0005)
            except BaseException:
                process.terminate()
                raise
            end = time.monotonic() - begin
            assert process.stderr is not None
            errors = process.stderr.read()
        if process.returncode != 0:
            raise BenchError(f"veridnet l2fwd: exit code {process.returncode}: {errors[-300:]}")
        if size(out) <= FILE_HEADER:
            raise BenchError("veridnet l2fwd wrote no packet")
        return (end if first is None else first), end


def size(path: Path) -> int:
    """Bytes of a file; 0 if there is none yet."""
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


def figures(settings: Settings) -> list[Figure]:
    """With hugepages reserved, and without."""
    start("thp")  # the first start after a build reads the files from disk
    huge, none = [], []
    for _ in range(settings.rounds):
        with hugepages():
            huge.append(start("hugepages"))
        none.append(start("thp"))
    return [
        Figure("first packet, hugepages", "s", [s[0] for s in huge], bar=1.0),
        Figure("first packet, none reserved", "s", [s[0] for s in none], bar=1.0),
        Figure("whole run of the demo trace, hugepages", "s", [s[1] for s in huge]),
        Figure("whole run of the demo trace, none reserved", "s", [s[1] for s in none]),
    ]


BENCHMARKS = [
    Benchmark("startup", "from `veridnet l2fwd` to the first packet", figures=figures),
]
