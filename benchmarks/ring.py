"""One hop through a ring between two lcores: ours against the same loop in C over rte_ring."""

from __future__ import annotations

import ctypes
import functools
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from harness import Benchmark, Figure, Settings, child
from machine import BenchError

HERE = Path(__file__).resolve().parent
BURSTS = (1, 8, 32)
ROUNDS = 100_000
SIZE = 1024
#: The two sides by turns, so often in one process.
TURNS = 4


@functools.cache
def library() -> Any:
    """ring.c, compiled and loaded; the libraries of DPDK are those that veridnet has loaded."""
    import veridnet._native.eal  # noqa: F401

    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "libdpdk"], capture_output=True, text=True, check=True
    )
    with tempfile.TemporaryDirectory(prefix="vnbench") as folder:
        out = Path(folder) / "ring.so"
        done = subprocess.run(
            ["cc", "-O3", "-shared", "-fPIC", str(HERE / "ring.c"), "-o", str(out),
             *shlex.split(flags.stdout)],
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise BenchError(f"ring.c: {done.stderr.strip().splitlines()[0]}")
        lib = ctypes.CDLL(str(out))
    lib.ring_hop.argtypes = [ctypes.c_uint] * 5 + [ctypes.c_int, ctypes.c_void_p]
    return lib


def run_child(settings: dict[str, Any]) -> dict[str, Any]:
    """In the child: the median of one way in ns, ours and the peer's, by turns."""
    import numpy as np

    from veridnet import Runtime
    from veridnet.apps import ring_bench

    burst = settings["burst"]
    found: dict[str, Any] = {"ours": [], "peer": []}
    with Runtime(mbufs=512) as rt:
        first, second = rt.worker_lcores[:2]
        socket = rt.reserve(1 << 20)

        def ours() -> float:
            (row,) = ring_bench.bench(rt, bursts=(burst,), rounds=ROUNDS, size=SIZE)
            return float(row["p50"])

        def peer() -> float:
            ticks = np.zeros(ROUNDS + ring_bench.WARM_UP, np.uint32)
            n = library().ring_hop(
                first, second, burst, len(ticks), SIZE, socket, ticks.ctypes.data
            )
            if n <= ring_bench.WARM_UP:
                raise BenchError(f"ring.c: {n} round trips")
            return float(ring_bench.one_way(ticks[ring_bench.WARM_UP : n], burst)["p50"])

        for turn in range(TURNS):
            sides = [("ours", ours), ("peer", peer)]
            for name, side in sides if turn % 2 == 0 else reversed(sides):
                found[name].append(side())
    return found


def figures(settings: Settings) -> list[Figure]:
    """Every turn of every round is a sample; the ratio is that of a round's medians."""
    import statistics

    out = []
    for burst in BURSTS:
        rounds = [child("ring", {"burst": burst}) for _ in range(settings.rounds)]
        for name in ("ours", "peer"):
            bar = 1000.0 if burst == 1 and name == "ours" else None
            what = "veridnet" if name == "ours" else "rte_ring in C"
            out.append(Figure(f"burst {burst}: {what}, median one way", "ns",
                              [v for r in rounds for v in r[name]], bar))  # fmt: skip
        out.append(
            Figure(f"burst {burst}: veridnet / rte_ring in C", "",
                   [statistics.median(r["ours"]) / statistics.median(r["peer"]) for r in rounds],
                   1.2)
        )  # fmt: skip
    return out


BENCHMARKS = [
    Benchmark(
        "ring", "one pinned hop through a ring between two lcores, and the same loop in C",
        figures=figures,
    )
]  # fmt: skip
