"""How long one hop through a ring takes between two lcores: `veridnet ring bench`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from veridnet import rings
from veridnet._native import eal
from veridnet._native import ring as native
from veridnet.errors import ConfigError, StateError
from veridnet.runtime import Runtime

#: Round trips that do not count: caches and predictors are cold.
WARM_UP = 1000


def bench(
    rt: Runtime, *, bursts: Sequence[int] = (1, 8, 32), modes: Sequence[str] = ("spsc",),
    rounds: int = 100_000, size: int = 1024, timeout: float = 30.0,
) -> list[dict[str, Any]]:  # fmt: skip
    """Sends bursts from one worker lcore to another and back, `rounds` times each.

    Returns a row for each mode and burst: ns of one way (half a round trip) as ``min``, ``p50``,
    ``p90``, ``p99``, ``max``, ``p50_each`` (an element's share), and ``rounds``.
    """
    if len(rt.worker_lcores) < 2:
        raise ConfigError("a hop needs two worker lcores, and there is one CPU",
                          hint="lcores= names two CPUs")  # fmt: skip
    if not 1 <= rounds <= 10_000_000:
        raise ConfigError(f"rounds={rounds}: must be from 1 to 10000000")
    rows = []
    for mode in modes:
        for burst in bursts:
            there = rings.Ring(size, mode=mode, dtype=np.uint64)
            back = rings.Ring(size, mode=mode, dtype=np.uint64)
            try:
                ticks, wrong = native.hop(
                    there, back, rt.worker_lcores[:2], burst, rounds + WARM_UP, timeout
                )
            finally:
                there.close()
                back.close()
            ticks = ticks[WARM_UP:]
            if wrong or not len(ticks):
                raise StateError(
                    f"{wrong} elements came back out of order" if wrong
                    else f"no {WARM_UP} round trips in {timeout:g} s: the lcores' CPUs are busy"
                )  # fmt: skip
            rows.append({"mode": mode, "burst": burst, **one_way(ticks, burst)})
    return rows


def one_way(ticks: np.ndarray[Any, Any], burst: int) -> dict[str, Any]:
    """Percentiles of half of each round trip, in ns."""
    ns = ticks / 2 * 1e9 / eal.tsc_hz()
    names = {"min": 0, "p50": 50, "p90": 90, "p99": 99, "max": 100}
    found: dict[str, Any] = {
        name: round(float(np.percentile(ns, p)), 1) for name, p in names.items()
    }
    return {**found, "p50_each": round(found["p50"] / burst, 2), "rounds": len(ticks)}
