"""Pipelines: empty against testpmd, a numba stage against C, a Python stage, what statistics cost.

All on one forwarding core. Ours run through `Runtime.start`, with the main thread asleep; the rate
is that of packets sent between two looks after a warm-up.
"""

from __future__ import annotations

import ctypes
import functools
import os
import shlex
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import classbench
from forwarding import write_capture
from harness import WARMUP, Benchmark, Case, Contender, Figure, Ratio, Settings, child
from machine import BenchError, cpus
from peer import testpmd

HERE = Path(__file__).resolve().parent
VDEVS = ["net_null0", "net_null1"]


@functools.cache
def library() -> Any:
    """stages.c, compiled and loaded; the libraries of DPDK are those that veridnet has loaded."""
    import veridnet._native.eal  # noqa: F401

    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "libdpdk"], capture_output=True, text=True, check=True
    )
    with tempfile.TemporaryDirectory(prefix="vnbench") as folder:
        out = Path(folder) / "stages.so"
        done = subprocess.run(
            ["cc", "-O3", "-shared", "-fPIC", str(HERE / "stages.c"), "-o", str(out),
             *shlex.split(flags.stdout)],
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise BenchError(f"stages.c: {done.stderr.strip().splitlines()[0]}")
        lib = ctypes.CDLL(str(out))
    lib.alloc_cycles.argtypes = [ctypes.c_char_p] + [ctypes.c_uint] * 3
    lib.alloc_cycles.restype = ctypes.c_uint64
    return lib


def address(name: str) -> int:
    """Of a function in stages.c."""
    return int(ctypes.cast(getattr(library(), name), ctypes.c_void_p).value or 0)


def c_stage() -> Any:
    """The filter in C, as a stage."""
    import numpy as np

    import veridnet as vn

    return vn.native_stage(
        address("stage_filter"), columns=("l4_dst", "ip_ttl", "ip_proto"), keep=True,
        name="filter_in_c", counts=np.zeros(256, np.uint64),
    )  # fmt: skip


def numba_stage() -> Any:
    """The same by numba."""
    import numpy as np

    import veridnet as vn

    def filter_by_numba(l4_dst: Any, ip_ttl: Any, ip_proto: Any, keep: Any, counts: Any) -> None:
        for i in range(len(keep)):
            keep[i] = l4_dst[i] != 23 and ip_ttl[i] > 1
            counts[ip_proto[i]] += keep[i]

    return vn.native_stage(counts=np.zeros(256, np.uint64))(filter_by_numba)


def python_mask(h: Any) -> Any:
    """A trivial stage that looks at a column."""
    return h.l4_dst != 23


def python_none(h: Any) -> None:
    """The most trivial one."""


def pipes(kind: str, a: Any, b: Any, table: Any) -> Any:
    """The pipeline that is measured."""
    import veridnet as vn

    start = vn.Pipeline(rx=[p for p in (a, b) if p.receives], ports=[a, b])
    to = {a: b, b: a}
    match kind:
        case "forward":
            return start.forward(to)
        case "macswap":
            return start.rewrite(swap_macs=True).forward(to)
        case "rewrite":
            return start.rewrite("dec_ttl").forward(to)
        case "classify":
            return start.classify(table).forward(to)
        case "chain":
            return start.classify(table).rewrite("dec_ttl").forward(to)
        case "numba":
            return start.stage(numba_stage()).forward(to)
        case "c":
            return start.stage(c_stage()).forward(to)
        case "python":
            return start.stage(python_none).forward(to)
        case "mask":
            return start.stage(python_mask).forward(to)
    raise BenchError(f"no pipeline {kind}")


def run_child(settings: dict[str, Any]) -> dict[str, Any]:
    """In the child: Mpps sent, ns a packet."""
    import veridnet as vn

    main, worker = cpus()
    table = None
    with vn.Runtime(memory=settings["memory"], lcores=(worker,)) as rt:
        os.sched_setaffinity(0, {main})
        with tempfile.TemporaryDirectory(prefix="vnbench") as folder:
            if settings["traffic"] == "null":
                a, b = (rt.add_port("null:size=64") for _ in range(2))
            else:
                path = Path(folder) / "in.pcap"
                if settings["traffic"] == "udp":
                    write_capture(path)
                else:
                    trace = classbench.headers(settings["traffic"])
                    classbench.write_pcap(path, trace[:4096])
                    if settings["kind"] in ("classify", "chain"):
                        import rules

                        with rules.rule_file(settings["traffic"]) as file:
                            table = rules.load(file)
                a = rt.add_port(f"pcap:rx={path},infinite=on")
                b = rt.add_port("null:no_rx=on")
            pipe = pipes(settings["kind"], a, b, table)
            running = rt.start(pipe, lcores=1, burst=settings["burst"],
                               stats=settings.get("stats", True))  # fmt: skip

            def sent() -> int:
                return int(a.counters()["tx_packets"] + b.counters()["tx_packets"])

            time.sleep(WARMUP)
            before, at = sent(), time.perf_counter()
            time.sleep(settings["seconds"])
            done, end = sent() - before, time.perf_counter()
            stats = running.stop()
        if not rt.balance().balanced:
            raise BenchError(f"a wrong balance: {rt.balance()}")
    if done <= 0:
        raise BenchError("nothing was sent")
    first = stats.by_stage()[0]
    return {"mpps": done / (end - at) / 1e6, "ns": (end - at) / done * 1e9,
            "stage_cycles": float(first["cycles_per_packet"])}  # fmt: skip


def ours(kind: str, seconds: int, **given: Any) -> dict[str, float]:
    """A run in a process of its own."""
    settings = {"memory": "hugepages", "burst": 32, "traffic": "null", **given}
    return child("pipeline", {"kind": kind, "seconds": seconds, **settings})


def contender(kind: str, **given: Any) -> Contender:
    """Mpps of a pipeline, with hugepages."""
    return Contender(lambda s: ours(kind, s, **given)["mpps"], True)


CASES = [
    Case(
        "an empty pipeline (macswap), net_null, 64 bytes, burst 32",
        {"veridnet": contender("macswap"), "testpmd": Contender(lambda s: testpmd(VDEVS, s), True)},
        [Ratio("veridnet", "testpmd", 0.97)],
    ),
    Case(
        "a Python stage, net_null, 64 bytes, burst 256",
        {
            "veridnet": contender("python", burst=256),
            "veridnet, a mask of a column": contender("mask", burst=256),
            "testpmd": Contender(lambda s: testpmd(VDEVS, s), True),
        },
        [Ratio("veridnet", "testpmd", 0.5), Ratio("veridnet, a mask of a column", "testpmd")],
    ),
    Case(
        "a numba stage over three columns, UDP, burst 32",
        {"veridnet": contender("numba", traffic="udp"), "C": contender("c", traffic="udp")},
        [Ratio("veridnet", "C", 0.909)],
    ),
    Case(
        "statistics of each stage, net_null, 64 bytes, burst 32",
        {"veridnet": contender("macswap"), "without": contender("macswap", stats=False)},
        [Ratio("veridnet", "without", 0.98)],
    ),
]


def chain_figures(settings: Settings) -> list[Figure]:
    """rx -> classify (1,000 rules) -> rewrite -> tx against its parts, each measured alone."""
    out = []
    rows: dict[str, list[float]] = {k: [] for k in ("forward", "classify", "rewrite", "chain")}
    for _ in range(settings.rounds):
        for kind, values in rows.items():
            found = ours(kind, settings.seconds, traffic="acl1_1k", memory="thp")
            values.append(found["ns"])
    for kind, values in rows.items():
        out.append(Figure(f"acl1_1k: rx -> {kind} -> tx", "ns", values))
    ratios = [
        chain / (base + (look - base) + (write - base))
        for base, look, write, chain in zip(*rows.values(), strict=True)
    ]
    out.append(Figure("the chain, of rx/tx + classify + rewrite alone", "ratio", ratios, 1.2))
    return out


BENCHMARKS = [
    Benchmark("pipeline", "pipelines, one core", CASES,
              notes=["the main thread sleeps; a Python stage takes the GIL for each burst"]),
    Benchmark("pipeline-chain", "a chain against its parts", figures=chain_figures),
]  # fmt: skip
