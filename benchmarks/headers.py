"""Headers as columns: what the parse costs, and the Python loop that classifies.

`headers-parse` is a C program (parse.c) over our kernels and DPDK's rte_net_get_ptype, in turn.
`headers-loop` is rx, headers, a match of three columns, swap_macs, tx in Python, against testpmd's
macswap. net_null never writes a payload, so that its pool is filled with real UDP headers first.
"""

from __future__ import annotations

import itertools
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from calls import middle_mean
from forwarding import FRAME
from harness import WARMUP, Benchmark, Case, Contender, Figure, Ratio, Settings, bounded, child
from machine import BenchError, cpus
from peer import testpmd

HERE = Path(__file__).resolve().parent
VDEVS = ["net_null0", "net_null1"]
#: Passes between two looks at the clock; a pass is two bursts.
BLOCK = 200
COLD = 1 << 20
EXPRESSION = "ip_proto == 17 and l4_dst == 9 and ip_dst == 192.0.2.2"


def numpy_match(burst: Any) -> Any:
    """Three columns, five numpy operations."""
    h = burst.headers
    return (h.ip_proto == 17) & (h.l4_dst == 9) & (h.ip_dst == 0xC0000202)


def compiled_match(burst: Any) -> Any:
    """The same in one pass."""
    return burst.headers.match(EXPRESSION)


def parse_only(burst: Any) -> Any:
    """The three columns, and nothing done with them."""
    return burst.headers.ip_dst


WORK: dict[str, Callable[[Any], Any]] = {
    "numpy": numpy_match, "match": compiled_match, "parse": parse_only,
}  # fmt: skip


def prefill(rt: Any) -> None:
    """Real headers in every mbuf of the default pool: the frame, from as many source ports."""
    from veridnet import Burst, PoolError

    bursts = []
    try:
        for k in itertools.count():
            port = (k % 40000 + 1024).to_bytes(2, "big")
            bursts.append(Burst.from_bytes([FRAME[:34] + port + FRAME[36:]] * 64))
    except PoolError:
        pass
    for burst in bursts:
        burst.clear()


def loop(a: Any, b: Any, burst: Any, passes: int, work: Callable[[Any], Any]) -> None:
    """What a program does, both ways."""
    for _ in itertools.repeat(None, passes):
        a.rx(burst)
        work(burst)
        burst.swap_macs()
        b.tx(burst)
        b.rx(burst)
        work(burst)
        burst.swap_macs()
        a.tx(burst)


def run_child(settings: dict[str, Any]) -> dict[str, Any]:
    """In the child: one thread, pinned to the CPU on which testpmd forwards."""
    _, worker = cpus()
    os.sched_setaffinity(0, {worker})
    from veridnet import Burst, Headers, Runtime

    n = settings["burst"]
    with Runtime(memory=settings["memory"], mbufs=settings.get("mbufs", 16383)) as rt:
        a, b = rt.add_port("null", size=64), rt.add_port("null", size=64)
        prefill(rt)
        burst = Burst(n, headers=Headers("ip_proto", "ip_dst", "l4_dst"))
        a.rx(burst)
        matched = int(numpy_match(burst).sum())
        burst.swap_macs()
        b.tx(burst)
        if matched != n:
            raise BenchError(f"{matched} of {n} packets match: the frames are not what they were")
        if settings.get("steps"):
            return steps(a, burst)
        work = WORK[settings["work"]]
        rates = []
        for seconds in (WARMUP, settings["seconds"]):
            sent = sum(p.counters()["tx_packets"] for p in (a, b))
            start = time.monotonic()
            while (now := time.monotonic()) - start < seconds:
                loop(a, b, burst, BLOCK, work)
            gone = sum(p.counters()["tx_packets"] for p in (a, b)) - sent
            rates.append(gone / (now - start) / 1e6)
    return {"mpps": rates[-1]}


def steps(port: Any, burst: Any) -> dict[str, float]:
    """ns of each step of one burst, in a program's order."""
    clock = time.perf_counter_ns
    rows = []
    for _ in range(20_000):
        t0 = clock()
        t1 = clock()
        port.rx(burst)
        t2 = clock()
        h = burst.headers
        t3 = clock()
        h.ip_proto  # noqa: B018
        t4 = clock()
        h.l4_dst  # noqa: B018
        t5 = clock()
        (h.ip_proto == 17) & (h.l4_dst == 9) & (h.ip_dst == 0xC0000202)
        t6 = clock()
        h.match(EXPRESSION)
        t7 = clock()
        burst.swap_macs()
        t8 = clock()
        port.tx(burst)
        t9 = clock()
        rows.append((t1 - t0, t2 - t1, t3 - t2, t4 - t3, t5 - t4, t6 - t5, t7 - t6, t8 - t7,
                     t9 - t8))  # fmt: skip
    floor, *found = (middle_mean(list(column)) for column in zip(*rows, strict=True))
    names = (
        "rx", "burst.headers", "first column: the parse of three columns", "another column",
        "numpy match of three columns", "h.match of the same", "swap_macs", "tx",
    )  # fmt: skip
    return {name: ns - floor for name, ns in zip(names, found, strict=True)}


def ours(seconds: int, work: str, burst: int) -> float:
    """Mpps of the classifying loop, both directions summed, with hugepages."""
    settings = {"memory": "hugepages", "work": work, "burst": burst, "seconds": seconds}
    return float(child("headers", settings)["mpps"])


def step_figures(settings: Settings) -> list[Figure]:
    """One process a round."""
    found = {
        n: [
            child("headers", {"memory": "thp", "steps": True, "burst": n})
            for _ in range(min(settings.rounds, 5))
        ]
        for n in (256, 1024)
    }
    return [
        Figure(f"{name}, burst of {n}", "ns", [f[name] for f in samples])
        for n, samples in found.items()
        for name in samples[0]
    ]


def build(folder: Path) -> Path:
    """parse.c, against the kernels that are installed."""
    import veridnet

    lib = Path(veridnet.__path__[0]) / "_native"
    kernels = HERE.parent / "cython" / "kernels"
    table = subprocess.run(
        [sys.executable, "-P", str(HERE.parent / "veridnet" / "headers" / "fields.py")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (folder / "vn_fields.h").write_text(table.stdout)
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "libdpdk"], capture_output=True, text=True, check=True
    )
    program = folder / "parse"
    command = [
        "cc", "-O3", "-DNDEBUG", f"-I{folder}", f"-I{kernels}", str(HERE / "parse.c"),
        "-o", str(program), f"-L{lib}", f"-Wl,-rpath,{lib}", "-lvnkernels",
        *shlex.split(flags.stdout),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"parse.c: {done.stderr.strip().splitlines()[0]}")
    return program


def parse_figures(settings: Settings) -> list[Figure]:
    """ns a packet of each level and of the peer; and the ratios, round by round."""
    with tempfile.TemporaryDirectory(prefix="vnbench") as folder:
        program = build(Path(folder))
        _, worker = cpus()
        done = subprocess.run(
            bounded("taskset", "-c", str(worker), str(program), str(settings.rounds), str(COLD),
                    patience=300),
            capture_output=True, text=True,
        )  # fmt: skip
    if done.returncode:
        raise BenchError(f"parse: exit code {done.returncode}: {done.stderr.strip()}")
    found: dict[str, list[float]] = json.loads(done.stdout)
    levels = [name.split()[0] for name in found if name.endswith(" cached")][2:]
    bars = {"cached": 3.0, "cold": 20.0}
    figures = []
    for place in ("cached", "cold"):
        peer = found[f"scalar {place}"]
        alone = found[f"memory {place}"]
        figures.append(Figure(f"one word of each mbuf and header, {place}", "ns", alone))
        figures.append(Figure(f"rte_net_get_ptype and five fields, {place}", "ns", peer))
        below: list[float] | None = None
        for level in levels:
            mine = found[f"{level} {place}"]
            best = level == levels[-1]
            figures.append(
                Figure(f"five-tuple, {level}, {place}", "ns", mine, bars[place] if best else None)
            )
            over_peer = [a / b for a, b in zip(mine, peer, strict=True)]
            figures.append(
                Figure(f"  of the peer's time, {level}", "ratio", over_peer, 0.5 if best else None)
            )
            if below:
                over = [a / b for a, b in zip(mine, below, strict=True)]
                figures.append(Figure("  of the level below", "ratio", over, 1.0))
            below = mine
    return figures


BENCHMARKS = [
    Benchmark(
        "headers-loop",
        "Python loop that classifies: rx, headers, match, swap_macs, tx; one core, hugepages",
        [
            Case(
                "net_null, 64 bytes of UDP",
                {
                    "veridnet, numpy, burst 256": Contender(lambda s: ours(s, "numpy", 256), True),
                    "veridnet, numpy, burst 1024": Contender(
                        lambda s: ours(s, "numpy", 1024), True
                    ),
                    "veridnet, h.match, burst 256": Contender(
                        lambda s: ours(s, "match", 256), True
                    ),
                    "veridnet, no match, burst 256": Contender(
                        lambda s: ours(s, "parse", 256), True
                    ),
                    "testpmd": Contender(lambda s: testpmd(VDEVS, s), True),
                },
                [
                    Ratio("veridnet, numpy, burst 256", "testpmd", 0.33),
                    Ratio("veridnet, numpy, burst 1024", "testpmd", 0.47),
                    Ratio("veridnet, h.match, burst 256", "testpmd", 0.6),
                    Ratio("veridnet, no match, burst 256", "testpmd"),
                ],
            )
        ],
    ),
    Benchmark(
        "headers-parse",
        "the parse alone, ns a packet, five-tuple columns",
        figures=parse_figures,
        notes=[
            f"cached: 256 packets again and again; cold: {COLD:,} packets, shuffled, 2.4 GB",
            "IMIX frames (7:4:1 of 64, 594 and 1,518 bytes); only headers are touched",
        ],
    ),
    Benchmark("headers-steps", "what each step of that loop costs", figures=step_figures),
]
