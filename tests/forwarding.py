"""Pipelines as the forwarder has them, for tests: rules first, then pairs or a bridge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import veridnet as vn


def forwarder(
    rt: vn.Runtime,
    ports: Sequence[Any],
    workers: int = 1,
    *,
    destinations: Sequence[int] | None = None,
    macs: Sequence[bytes | None] | None = None,
    rules: Any = None,
    flow_cache: bool = True,
    stations: int = 8192,
    age_s: float = 300.0,
    **options: Any,
) -> vn.Running:
    """A prepared pipeline; its ``start`` launches it."""
    pipe = vn.Pipeline(rx=[p for p in ports if p.receives], ports=ports)
    if rules is not None:
        pipe = pipe.apply(rules, flow_cache=flow_cache)
    if destinations is None:
        pipe = pipe.bridge(stations=stations, age=age_s)
    else:
        written = {p: raw for p, raw in zip(ports, macs or (), strict=False) if raw is not None}
        if written:
            pipe = pipe.set_macs(written)
        pipe = pipe.forward(
            {p: ports[d] for p, d in zip(ports, destinations, strict=True) if d >= 0}
        )
    return rt.prepare(pipe, lcores=workers, **options)
