"""What single calls cost, and the steps of the Python loop.

One process a round, pinned to one CPU. Where a call can be repeated, a loop of many is timed, less
the loop's own cost. The three steps of the Python loop only work in turn, so the clock is read
between them, and its own cost is taken off.
"""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

from forwarding import FRAME
from harness import Benchmark, Figure, Settings, child
from machine import cpus

REPEAT = 20_000
BURSTS = (1, 32, 256)


def middle_mean(values: list[int]) -> float:
    """The mean of the middle half: not moved by interrupts, and finer than the clock's step."""
    values = sorted(values)
    quarter = len(values) // 4
    return statistics.fmean(values[quarter:-quarter])


def repeated(call: Callable[[], object]) -> float:
    """ns of one call, from blocks of calls; the empty loop is not taken off."""
    blocks = []
    for _ in range(40):
        before = time.perf_counter_ns()
        for _ in itertools.repeat(None, REPEAT // 40):
            call()
        blocks.append(time.perf_counter_ns() - before)
    return statistics.median(blocks) / (REPEAT // 40)


def empty() -> float:
    """ns of one pass of that loop without a call."""
    blocks = []
    for _ in range(40):
        before = time.perf_counter_ns()
        for _ in itertools.repeat(None, REPEAT // 40):
            pass
        blocks.append(time.perf_counter_ns() - before)
    return statistics.median(blocks) / (REPEAT // 40)


def steps(port: Any, burst: Any) -> dict[str, float]:
    """ns of rx, swap_macs and tx of a whole burst, in the order in which a program calls them."""
    clock = time.perf_counter_ns
    rx, swap, tx = port.rx, burst.swap_macs, port.tx
    rows = []
    for _ in range(REPEAT):
        a = clock()
        b = clock()
        rx(burst)
        c = clock()
        swap()
        d = clock()
        tx(burst)
        e = clock()
        rows.append((b - a, c - b, d - c, e - d))
    floor, *found = (middle_mean(list(column)) for column in zip(*rows, strict=True))
    return {name: ns - floor for name, ns in zip(("rx", "swap_macs", "tx"), found, strict=True)}


def run_child(_: dict[str, Any]) -> dict[str, Any]:
    """In the child: label -> ns."""
    os.sched_setaffinity(0, {cpus()[1]})
    from veridnet import Burst, Runtime

    found: dict[str, float] = {}
    with Runtime(memory="thp") as rt:
        null, ring = rt.add_port("null", size=64), rt.add_port("ring")
        for n in BURSTS:
            burst = Burst(n)
            for step, ns in steps(null, burst).items():
                found[f"{step}, burst of {n} (net_null)"] = ns
        floor = empty()
        burst = Burst(32)
        ring_rx = ring.rx

        def poll() -> None:
            ring_rx(burst)

        def plain() -> None:
            pass

        # A Python function around a call that takes an argument costs itself.
        around = repeated(plain)
        found["len(burst): a method call that does nothing"] = repeated(burst.__len__) - floor
        found["rx, nothing waits (net_ring)"] = repeated(poll) - around
        null.rx(burst)
        found["burst.view(0), made and dropped"] = repeated(lambda: burst.view(0)) - around
        found["burst.lengths, 32 packets (an array)"] = repeated(lambda: burst.lengths) - around
        burst.clear()
        frames = [FRAME] * 32
        found["Burst.from_bytes and dropping it, 32 frames"] = (
            repeated(lambda: Burst.from_bytes(frames)) - around
        )
    return found


def figures(settings: Settings) -> list[Figure]:
    """One process a round."""
    found = [child("calls", {}) for _ in range(min(settings.rounds, 5))]
    return [Figure(label, "ns", [f[label] for f in found]) for label in found[0]]


BENCHMARKS = [Benchmark("calls", "what single calls cost (no bars)", figures=figures)]
