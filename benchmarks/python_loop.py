"""The Python loop: three calls a burst (rx, swap_macs, tx), ownership checks included.

Against testpmd's macswap with its usual burst of 32; and what the loop leaves on the heap.
"""

from __future__ import annotations

import gc
import itertools
import os
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from harness import WARMUP, Benchmark, Case, Contender, Figure, Ratio, Settings, child
from machine import cpus
from peer import testpmd

BURST = 256
#: Passes between two looks at the clock; a pass is two bursts.
BLOCK = 500
MEMORY_BURSTS = 1_000_000

VDEVS = ["net_null0", "net_null1"]


def hoisted(a: Any, b: Any, burst: Any, passes: int) -> None:
    """The loop with its bound methods looked up once."""
    a_rx, a_tx, b_rx, b_tx, swap = a.rx, a.tx, b.rx, b.tx, burst.swap_macs
    for _ in itertools.repeat(None, passes):
        a_rx(burst)
        swap()
        b_tx(burst)
        b_rx(burst)
        swap()
        a_tx(burst)


def plain(a: Any, b: Any, burst: Any, passes: int) -> None:
    """The loop as one writes it."""
    for _ in range(passes):
        a.rx(burst)
        burst.swap_macs()
        b.tx(burst)
        b.rx(burst)
        burst.swap_macs()
        a.tx(burst)


LOOPS: dict[str, Callable[[Any, Any, Any, int], None]] = {"hoisted": hoisted, "plain": plain}


def run_child(settings: dict[str, Any]) -> dict[str, Any]:
    """In the child: one thread, pinned to the CPU on which testpmd forwards."""
    # Before EAL starts, whose main lcore floats over the CPUs that the process may use.
    _, worker = cpus()
    os.sched_setaffinity(0, {worker})
    from veridnet import Burst, Runtime

    loop = LOOPS[settings["loop"]]
    with Runtime(memory=settings["memory"]) as rt:
        a, b = rt.add_port("null", size=64), rt.add_port("null", size=64)
        burst = Burst(BURST)
        if "bursts" in settings:
            return heap(loop, a, b, burst, settings["bursts"])
        rates = []
        for seconds in (WARMUP, settings["seconds"]):
            sent, start = tx_packets(a, b), time.monotonic()
            while (now := time.monotonic()) - start < seconds:
                loop(a, b, burst, BLOCK)
            rates.append((tx_packets(a, b) - sent) / (now - start) / 1e6)
    return {"mpps": rates[-1]}


def tx_packets(*ports: Any) -> int:
    """Packets that the ports have sent."""
    return sum(p.counters()["tx_packets"] for p in ports)


def resident() -> int:
    """Resident memory of this process, in bytes."""
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def heap(loop: Callable[..., None], a: Any, b: Any, burst: Any, bursts: int) -> dict[str, Any]:
    """What so many bursts leave on Python's heap, their peak above it, and the RSS' growth."""
    tracemalloc.start()
    loop(a, b, burst, BLOCK)
    gc.collect()
    rss = resident()
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    loop(a, b, burst, bursts // 2)
    after, peak = tracemalloc.get_traced_memory()
    return {"left": after - before, "peak": peak - before, "rss": resident() - rss}


def ours(seconds: int, memory: str, loop: str = "hoisted") -> float:
    """Mpps of the Python loop, both directions summed."""
    settings = {"memory": memory, "loop": loop, "seconds": seconds}
    return float(child("python_loop", settings)["mpps"])


def memory_figures(settings: Settings) -> list[Figure]:
    """No heap growth, and no array allocated per burst."""
    found = [
        child("python_loop", {"memory": "thp", "loop": "plain", "bursts": MEMORY_BURSTS})
        for _ in range(min(settings.rounds, 3))
    ]
    n = MEMORY_BURSTS
    return [
        Figure(
            f"Python heap growth per burst, over {n:,} bursts (tracemalloc)",
            "bytes",
            [f["left"] / n for f in found],
            bar=0.01,
        ),
        Figure(
            "Python heap, highest point within those above their start",
            "bytes",
            [f["peak"] for f in found],
            bar=2048,
        ),
        Figure(
            "resident memory growth per burst",
            "bytes",
            [f["rss"] / n for f in found],
            bar=0.5,
        ),
    ]


BENCHMARKS = [
    Benchmark(
        "python-null",
        "Python loop, burst 256, one core",
        [
            Case(
                "net_null, 64 bytes, hugepages",
                {
                    "veridnet": Contender(lambda s: ours(s, "hugepages"), True),
                    "veridnet, plain spelling": Contender(
                        lambda s: ours(s, "hugepages", "plain"), True
                    ),
                    "testpmd": Contender(lambda s: testpmd(VDEVS, s), True),
                },
                [
                    Ratio("veridnet", "testpmd", 0.80),
                    Ratio("veridnet, plain spelling", "testpmd", 0.80),
                ],
            ),
            Case(
                "net_null, 64 bytes, no hugepages reserved",
                {
                    "veridnet": Contender(lambda s: ours(s, "thp")),
                    "testpmd --no-huge": Contender(lambda s: testpmd(VDEVS, s, memory="no-huge")),
                    "testpmd with hugepages": Contender(lambda s: testpmd(VDEVS, s), True),
                },
                [
                    Ratio("veridnet", "testpmd --no-huge", 3.0),
                    Ratio("veridnet", "testpmd with hugepages"),
                ],
            ),
        ],
        notes=["the plain spelling looks a.rx, burst.swap_macs, b.tx up in each pass"],
    ),
    Benchmark("memory", "what the Python loop allocates", figures=memory_figures),
]
