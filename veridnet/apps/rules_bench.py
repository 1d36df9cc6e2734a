"""How fast a rule file's table classifies: `veridnet rules bench`."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

import numpy as np

from veridnet.errors import ConfigError
from veridnet.headers.columns import HeaderTable
from veridnet.rules import formats, reference, trace
from veridnet.rules.rule import RuleSet

#: Packets of a burst.
BURST = 256


def bench(
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    engine: str = "auto",
    packets: int = 65536,
    trace_file: str | None = None,
    seconds: float = 1.0,
    verify: int = 200,
) -> dict[str, Any]:
    """Builds a table and classifies a trace, again and again, for some seconds.

    Parameters
    ----------
    packets
        Of the trace that is made from the rules, if there is no `trace_file`.
    trace_file
        A ClassBench trace or a capture.
    verify
        So many packets are compared with the naive linear scan.
    """
    from veridnet.rules.table import FlowTable

    rules = formats.load(path, format)
    columns = trace.load(trace_file, rules) if trace_file else trace.make(rules, packets)
    if not columns:
        raise ConfigError(f"{path}: its rules read no column, so there is nothing to measure")
    size = len(next(iter(columns.values())))
    if not size:
        raise ConfigError(f"{trace_file or path}: no packets")
    # rte_acl and the others take DPDK's memory, which a Runtime has; tuple needs none.
    with contextlib.ExitStack() as stack:
        if engine != "tuple":
            from veridnet.runtime import Runtime

            stack.enter_context(Runtime())
        began = time.perf_counter()
        table = stack.enter_context(FlowTable.of(rules, engine=engine))
        table.compile()
        build = time.perf_counter() - began
        bursts = [
            HeaderTable({n: np.ascontiguousarray(v[at : at + BURST]) for n, v in columns.items()},
                        min(BURST, size - at))
            for at in range(0, size, BURST)
        ]  # fmt: skip
        ids = np.concatenate([table.classify(burst) for burst in bursts])
        wrong = differences(rules, columns, ids, min(verify, size))
        done, spent = 0, 0.0
        best = float("inf")
        while spent < seconds:
            began = time.perf_counter()
            for burst in bursts:
                table.classify(burst)
            took = time.perf_counter() - began
            best, spent, done = min(best, took), spent + took, done + size
        return {
            "file": os.fspath(path),
            "rules": len(rules),
            "engine": engine,
            "trace": trace_file or "made from the rules",
            "packets": size,
            "burst": BURST,
            "matched": int(np.count_nonzero(ids >= 0)),
            "build_seconds": build,
            "ns_per_packet": best / size * 1e9,
            "mean_ns_per_packet": spent / done * 1e9,
            "packets_per_second": size / best,
            "verified": min(verify, size),
            "wrong": wrong,
            "info": table.info(),
        }


def differences(rules: RuleSet, columns: trace.Trace, ids: Any, count: int) -> int:
    """How many of the first packets the naive scan gives another rule?"""
    if not count:
        return 0
    some = {name: values[:count] for name, values in columns.items()}
    for name in trace.reads(rules):
        some.setdefault(name, np.zeros(count, np.uint64))
    return int(np.count_nonzero(reference.classify(rules, some) != ids[:count]))
