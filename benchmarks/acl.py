"""rte_acl by its C API: acl.c as a shared library in this process, and what its builds cost.

`acl-build` says how long rte_acl builds and how much memory that takes: the heap of the build (the
pool that it logs), the peak of the process' resident memory, and the result.
"""

from __future__ import annotations

import ctypes
import functools
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import classbench
from harness import Benchmark, Figure, Settings, child
from machine import BenchError

HERE = Path(__file__).resolve().parent
MIB = 1 << 20
#: Bytes of the heap from which the contexts are taken, where it is not hugepages.
ROOM = 1536 * MIB
SETS = (
    "acl1_1k", "fw1_1k", "ipc1_1k", "acl1_10k", "fw1_10k", "ipc1_10k", "acl1_100k", "fw1_100k",
)  # fmt: skip


class Built(ctypes.Structure):
    """`struct built` of acl.c."""

    _fields_ = [
        ("seconds", ctypes.c_double), ("heap", ctypes.c_uint64), ("runtime", ctypes.c_uint64),
        ("tries", ctypes.c_uint32), ("attempts", ctypes.c_uint32), ("node_limit", ctypes.c_uint32),
        ("nodes", ctypes.c_uint32), ("rules", ctypes.c_uint32 * 8), ("rc", ctypes.c_int32),
    ]  # fmt: skip


@functools.cache
def library() -> Any:
    """acl.c, compiled and loaded; the libraries of DPDK are those that veridnet has loaded."""
    import veridnet._native.eal  # noqa: F401

    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "libdpdk"], capture_output=True, text=True, check=True
    )
    with tempfile.TemporaryDirectory(prefix="vnbench") as folder:
        out = Path(folder) / "acl.so"
        done = subprocess.run(
            ["cc", "-O3", "-shared", "-fPIC", str(HERE / "acl.c"), "-o", str(out),
             *shlex.split(flags.stdout)],
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise BenchError(f"acl.c: {done.stderr.strip().splitlines()[0]}")
        lib = ctypes.CDLL(str(out))
    lib.acl_build.restype = ctypes.c_void_p
    lib.acl_build.argtypes = [
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int, ctypes.c_void_p,
    ]  # fmt: skip
    lib.acl_free.argtypes = [ctypes.c_void_p]
    lib.acl_free.restype = None
    lib.acl_algorithm.argtypes = [ctypes.c_void_p]
    lib.acl_algorithm.restype = ctypes.c_char_p
    lib.acl_keys.argtypes = [ctypes.c_void_p] * 6 + [ctypes.c_uint32]
    lib.acl_keys.restype = None
    lib.acl_classify.restype = ctypes.c_double
    lib.acl_classify.argtypes = [
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32,
        ctypes.c_uint32, ctypes.c_void_p,
    ]  # fmt: skip
    return lib


def keys(trace: Any) -> Any:
    """The keys of a header trace, 16 bytes each."""
    import numpy as np

    columns = [np.ascontiguousarray(trace[f]) for f in ("src", "dst", "sport", "dport", "proto")]
    out = np.zeros((len(trace), 16), dtype="u1")
    library().acl_keys(out.ctypes.data, *(c.ctypes.data for c in columns), len(trace))
    return out


def status(field: str) -> int:
    """A size of /proc/self/status (VmRSS, VmHWM), in bytes."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    return int(found[1]) * 1024 if found else 0


@dataclass
class Build:
    """What building a context (or several) cost; bytes and seconds."""

    seconds: float
    heap: int
    peak: int
    runtime: int
    tries: list[int]
    attempts: int
    kept: int = 0


class Acl:
    """Filters in rte_acl contexts: one, or one for each of several parts of the filters."""

    def __init__(self, parts: Iterable[Any], *, socket: int = -1, max_size: int = 0) -> None:
        self.contexts: list[int] = []
        self.build = Build(0, 0, 0, 0, [], 0)
        lib, b = library(), self.build
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again
        before = status("VmRSS")
        for part in parts:
            made = Built()
            context = lib.acl_build(
                part.ctypes.data, len(part), max_size, socket, ctypes.addressof(made)
            )
            b.seconds += made.seconds
            b.heap = max(b.heap, made.heap)
            b.runtime += made.runtime
            b.tries.append(made.tries)
            b.attempts += made.attempts
            b.peak = status("VmHWM") - before
            if not context:
                self.close()
                raise BenchError(
                    f"rte_acl_build of {len(part)} filters: error {made.rc} after "
                    f"{made.seconds:.1f} s, {made.heap // MIB} MiB of heap"
                )
            self.contexts.append(context)
        b.kept = status("VmRSS") - before
        self.algorithm = ""
        for c in self.contexts:
            self.algorithm = lib.acl_algorithm(c).decode()

    def close(self) -> None:
        """Frees the contexts."""
        for c in self.contexts:
            library().acl_free(c)
        self.contexts = []

    def classify(self, data: Any, winners: Any, burst: int = 256, passes: int = 1) -> float:
        """ns a lookup; the winners of `data` (see `keys`), as places in the file or -1."""
        array = (ctypes.c_void_p * len(self.contexts))(*self.contexts)
        return float(
            library().acl_classify(
                array, len(self.contexts), data.ctypes.data, len(data), burst, passes,
                winners.ctypes.data,
            )
        )  # fmt: skip


def run_child(settings: dict[str, Any]) -> dict[str, Any]:
    """In the child: builds, and classifies the trace; what it cost, and what a lookup costs."""
    import os

    import numpy as np
    from machine import cpus

    from veridnet import Runtime

    name = settings["set"]
    rules, trace = classbench.filters(name), classbench.headers(name)
    trace = trace[: settings.get("headers") or len(trace)]
    os.sched_setaffinity(0, {cpus()[1]})
    with Runtime(memory=settings.get("memory", "thp"), mbufs=512) as rt:
        socket = rt.reserve(ROOM)
        data, winners = keys(trace), np.empty(len(trace), dtype="i4")
        library()
        acl = Acl([rules], socket=socket, max_size=settings.get("max_size", 0))
        passes = max(1, 300_000 // len(data))
        found: dict[str, Any] = dict(vars(acl.build))
        for burst in (256, 32):
            found[f"ns{burst}"] = min(acl.classify(data, winners, burst, passes) for _ in range(5))
        found["algorithm"] = acl.algorithm
        acl.close()
    return found


def build_figures(settings: Settings) -> list[Figure]:
    """One process a set and round; the builds of 100,000 rules once."""
    figures = []
    for name in SETS:
        n = 1 if name.endswith("100k") else min(settings.rounds, 3)
        found = [child("acl", {"set": name}, patience=150) for _ in range(n)]
        tries = "+".join(str(t) for t in found[0]["tries"])
        what = f"{name} ({tries} tries, {found[0]['algorithm']})"
        figures += [
            Figure(f"{what}: CPU time of the build", "s", [f["seconds"] for f in found]),
            Figure(f"{name}: heap of the build", "MiB", [f["heap"] / MIB for f in found]),
            Figure(f"{name}: resident memory, peak", "MiB", [f["peak"] / MIB for f in found]),
            Figure(f"{name}: result", "MiB", [f["runtime"] / MIB for f in found]),
            Figure(f"{name}: lookup, burst 256", "ns", [f["ns256"] for f in found]),
            Figure(f"{name}: lookup, burst 32", "ns", [f["ns32"] for f in found]),
        ]
    return figures


BENCHMARKS = [
    Benchmark(
        "acl-build", "the peer alone: what raw rte_acl needs to build and to look up",
        figures=build_figures,
    )
]  # fmt: skip
