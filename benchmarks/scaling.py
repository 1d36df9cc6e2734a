"""The scaling model against two cores: predicted from one, and measured."""

from __future__ import annotations

import os
import time
from typing import Any

from harness import WARMUP, Benchmark, Figure, Settings, child
from machine import BenchError, cpus


def run_child(settings: dict[str, Any]) -> dict[str, Any]:
    """In the child: the rate of so many workers, each with two net_null ports of its own."""
    import veridnet as vn
    from veridnet import scaling
    from veridnet._native import actions
    from veridnet.apps.l2fwd import L2fwd

    n = settings["workers"]
    chosen = tuple(reversed(cpus()))[:n]
    with vn.Runtime(memory="thp", lcores=chosen) as rt:
        ports = [rt.add_port("null:size=64") for _ in range(2 * n)]
        os.sched_setaffinity(0, set(cpus()))
        app = L2fwd(rt, ports, workers=n)
        app.start()
        time.sleep(WARMUP)
        before, at = sum(p.counters()["tx_packets"] for p in ports), time.perf_counter()
        time.sleep(settings["seconds"])
        sent, end = sum(p.counters()["tx_packets"] for p in ports), time.perf_counter()
        app.stop()
        result = app.result()
    mpps = (sent - before) / (end - at) / 1e6
    if mpps <= 0 or not result.balanced:
        raise BenchError("nothing was sent, or a wrong balance")
    costs = scaling.Costs.from_result(result.to_dict(), actions.tsc_hz())
    return {"mpps": mpps, "predicted": scaling.predict(costs, 2, 4).mpps, "cycles": costs.total}


def figures(settings: Settings) -> list[Figure]:
    """One and two workers in turn."""
    if len(os.sched_getaffinity(0)) < 2:
        raise BenchError("one CPU: nothing to scale to")
    rows = [
        (child("scaling", {"workers": 1, "seconds": settings.seconds}),
         child("scaling", {"workers": 2, "seconds": settings.seconds}))
        for _ in range(settings.rounds)
    ]  # fmt: skip
    return [
        Figure("one worker, two ports", "Mpps", [a["mpps"] for a, _ in rows]),
        Figure("two workers, four ports: predicted from one", "Mpps",
               [a["predicted"] for a, _ in rows]),
        Figure("two workers, four ports: measured", "Mpps", [b["mpps"] for _, b in rows]),
        Figure("measured / predicted", "", [b["mpps"] / a["predicted"] for a, b in rows]),
    ]  # fmt: skip


BENCHMARKS = [
    Benchmark("scaling", "the scaling model, checked against one and two cores", figures=figures,
              notes=["the main thread shares the workers' CPUs, and sleeps"]),
]  # fmt: skip
