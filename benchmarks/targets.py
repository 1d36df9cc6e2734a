"""The table of targets: a hop, an allocation, a switch into Python, a call, line rate.

Each beside its target and a peer in the same run: the same loop in C, or testpmd.
"""

from __future__ import annotations

import itertools
import os
import statistics
import threading
import time
from typing import Any

import pipeline
from harness import Benchmark, Figure, Settings, child, run_contender
from machine import BenchError, cpus
from peer import testpmd

ALLOCATIONS = 4_000_000
POLLS = 20_000


def empty_poll(rt: Any) -> float:
    """ns of a poll from Python that brings nothing."""
    from veridnet import Burst

    port = rt.add_port("ring")
    burst, rx = Burst(32), port.rx
    blocks = []
    for _ in range(40):
        before = time.perf_counter_ns()
        for _ in itertools.repeat(None, POLLS // 40):
            rx(burst)
        blocks.append((time.perf_counter_ns() - before) / (POLLS // 40))
    return statistics.median(blocks)


def stage_ns(rt: Any, ports: Any, stage: Any, burst: int, busy: bool = False) -> float:
    """ns that a stage takes for a burst, as its worker times it; or with a busy main thread."""
    import veridnet as vn
    from veridnet._native import actions

    a, b = ports
    running = rt.start(vn.Pipeline(rx=[a, b]).stage(stage).forward({a: b, b: a}), lcores=1,
                       burst=burst)  # fmt: skip
    end = time.perf_counter() + 1.0
    if busy:
        x = 0
        while time.perf_counter() < end:
            x += sum(range(1000))
    else:
        threading.Event().wait(1.0)
    row = running.stop().by_stage()[0]
    return float(row["timed_cycles"] / row["timed_packets"] * burst / actions.tsc_hz() * 1e9)


def run_child(_: dict[str, Any]) -> dict[str, Any]:
    """In the child: label -> figure."""
    import veridnet as vn
    from veridnet._native import actions

    main, worker = cpus()
    lib = pipeline.library()
    found: dict[str, float] = {}
    with vn.Runtime(memory="thp", lcores=(worker,)) as rt:
        os.sched_setaffinity(0, {main})
        hz = actions.tsc_hz()
        for bulk in (1, 32):
            cycles = lib.alloc_cycles(rt.pool.name.encode(), rt.worker_lcores[0], ALLOCATIONS, bulk)
            if not cycles:
                raise BenchError("mbufs could not be allocated")
            found[f"alloc{bulk}"] = cycles / ALLOCATIONS / hz * 1e9
        found["poll"] = empty_poll(rt)
        ports = [rt.add_port("null:size=64") for _ in range(2)]
        nothing = vn.native_stage(pipeline.address("stage_nothing"), columns=(), name="nothing")
        found["native"] = stage_ns(rt, ports, nothing, 32)
        found["switch1"] = stage_ns(rt, ports, pipeline.python_none, 1)
        found["switch256"] = stage_ns(rt, ports, pipeline.python_none, 256)
        found["busy"] = stage_ns(rt, ports, pipeline.python_none, 256, busy=True)
    return found


def figures(settings: Settings) -> list[Figure]:
    """The table's rows."""
    hops = [child("ring", {"burst": 1}) for _ in range(settings.rounds)]
    calls = [child("targets", {}) for _ in range(settings.rounds)]
    ours, peer = [], []
    for _ in range(settings.rounds):
        ours.append(run_contender(pipeline.contender("macswap"), settings.seconds))
        peer.append(run_contender(
            pipeline.Contender(lambda s: testpmd(pipeline.VDEVS, s), True), settings.seconds
        ))  # fmt: skip

    def each(name: str) -> list[float]:
        return [row[name] for row in calls]

    return [
        Figure("IPC latency: one hop through a Ring, burst 1, one way", "ns",
               [v for r in hops for v in r["ours"]], 1000),
        Figure("  peer: the same loop in C on rte_ring", "ns",
               [v for r in hops for v in r["peer"]]),
        Figure("  ratio", "", [statistics.median(r["ours"]) / statistics.median(r["peer"])
                               for r in hops], 1.2),
        Figure("memory allocation: an mbuf, allocated and freed, single", "ns",
               each("alloc1"), 100),
        Figure("memory allocation: an mbuf, allocated and freed, in bulks of 32", "ns",
               each("alloc32"), 20),
        Figure("context switch: a burst of 1 to a Python stage and back, main asleep", "ns",
               each("switch1"), 1000),
        Figure("context switch: a burst of 256 to a Python stage and back, main asleep", "ns",
               each("switch256"), 5000),
        Figure("  the same with a main thread that computes all the time", "ns", each("busy")),
        Figure("call overhead: a compiled stage that does nothing, a burst of 32", "ns",
               each("native"), 100),
        Figure("call overhead: a poll from Python that brings nothing", "ns", each("poll"), 200),
        Figure("line rate: a packet of 64 bytes, one core (14.88 Mpps: 67.2 ns)", "ns",
               [1000 / v for v in ours], 67.2),
        Figure("  in Mpps", "", ours),
        Figure("  peer: testpmd macswap, Mpps", "", peer),
        Figure("  testpmd / veridnet", "", [p / o for p, o in zip(peer, ours, strict=True)],
               1 / 0.97),
    ]  # fmt: skip


BENCHMARKS = [
    Benchmark("targets", "targets: latency, allocation, switch, call, line rate", figures=figures,
              notes=["ring and its peer run in one process, by turns"]),
]  # fmt: skip
