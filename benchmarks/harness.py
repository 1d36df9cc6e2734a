"""Rounds, pairing and statistics; and how our own side is started.

A case has contenders. In each round every contender runs once, in a process started anew, and the
order is reversed from round to round (A B, B A, A B, ...), so that a machine that slows down slows
both. A ratio is taken pair by pair within a round; what is judged is the median of these ratios.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from machine import BenchError, Usage, commit, hugepages, now

#: Seconds that both sides run before their rate counts.
WARMUP = 1
#: Seconds after which a process is ended, whatever it does.
PATIENCE = 60


@dataclass(frozen=True)
class Settings:
    """How long to measure: rounds, and the whole seconds of one measured window."""

    rounds: int = 9
    seconds: int = 2


@dataclass(frozen=True)
class Contender:
    """One side: `run(seconds)` starts a process and returns its rate, or its other figure."""

    run: Callable[[int], float]
    needs_hugepages: bool = False


@dataclass(frozen=True)
class Ratio:
    """`over` / `under`, two contenders of a case; the bar is the least that it should be."""

    over: str
    under: str
    bar: float | None = None


@dataclass(frozen=True)
class Case:
    """What is measured against what; `seconds`, if given, shortens the window."""

    label: str
    contenders: Mapping[str, Contender]
    ratios: Sequence[Ratio]
    seconds: int | None = None


@dataclass(frozen=True)
class Figure:
    """A number without a peer: its samples, and the most that it should be."""

    label: str
    unit: str
    samples: Sequence[float]
    bar: float | None = None


@dataclass(frozen=True)
class Benchmark:
    """A named benchmark: either cases, or a function that measures figures."""

    name: str
    title: str
    cases: Sequence[Case] = ()
    figures: Callable[[Settings], list[Figure]] | None = None
    notes: Sequence[str] = field(default_factory=tuple)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Minimum, quartiles (inclusive), median and maximum."""
    quartiles = [values[0]] * 3
    if len(values) > 1:
        quartiles = statistics.quantiles(values, n=4, method="inclusive")
    names = ("min", "q1", "median", "q3", "max")
    found = (min(values), quartiles[0], statistics.median(values), quartiles[2], max(values))
    return {name: float(f"{value:.5g}") for name, value in zip(names, found, strict=True)}


def run_case(case: Case, settings: Settings, say: Callable[[str], None]) -> dict[str, Any]:
    """Measures a case; the samples and what follows from them, as JSON types."""
    names = list(case.contenders)
    samples: dict[str, list[float]] = {name: [] for name in names}
    seconds = min(case.seconds or settings.seconds, settings.seconds)
    for number in range(settings.rounds):
        for name in names if number % 2 == 0 else reversed(names):
            samples[name].append(run_contender(case.contenders[name], seconds))
        last = ", ".join(f"{name} {values[-1]:.1f}" for name, values in samples.items())
        say(f"{case.label}: round {number + 1} of {settings.rounds}: {last}")
    ratios = []
    for r in case.ratios:
        values = [a / b for a, b in zip(samples[r.over], samples[r.under], strict=True)]
        entry: dict[str, Any] = {"over": r.over, "under": r.under, "bar": r.bar}
        entry |= spread(values)
        if r.bar is not None:
            entry["met"] = entry["median"] >= r.bar
        ratios.append(entry)
    return {
        "label": case.label,
        "seconds": seconds,
        "mpps": {name: spread(values) for name, values in samples.items()},
        "ratios": ratios,
        "samples": {n: [round(v, 3) for v in values] for n, values in samples.items()},
    }


def run_contender(contender: Contender, seconds: int) -> float:
    """One sample. Hugepages are reserved only while it runs: others may not find any."""
    if contender.needs_hugepages:
        with hugepages():
            return contender.run(seconds)
    return contender.run(seconds)


def run_benchmark(b: Benchmark, settings: Settings, say: Callable[[str], None]) -> dict[str, Any]:
    """Measures a benchmark; what cannot be run is an entry "error", not an exception."""
    usage = Usage()
    result: dict[str, Any] = {
        "name": b.name, "title": b.title, "notes": list(b.notes), "started": now(),
        "commit": commit(),
    }  # fmt: skip
    try:
        result["cases"] = [run_case(case, settings, say) for case in b.cases]
        if b.figures is not None:
            result["figures"] = [figure_entry(f) for f in b.figures(settings)]
    except BenchError as e:
        result["error"] = str(e)
        say(f"not run: {e}")
    result["usage"] = usage.result()
    return result


def figure_entry(f: Figure) -> dict[str, Any]:
    """A figure as JSON types."""
    entry: dict[str, Any] = {"label": f.label, "unit": f.unit, "bar": f.bar}
    entry |= spread(f.samples)
    if f.bar is not None:
        entry["met"] = entry["median"] <= f.bar
    entry["samples"] = [float(f"{v:.5g}") for v in f.samples]
    return entry


def bounded(*command: str, patience: int = PATIENCE) -> list[str]:
    """The command under coreutils' timeout: bounded even if this process is killed."""
    return ["timeout", "-k", "5", "-s", "INT", str(patience), *command]


def child(module: str, settings: Mapping[str, object], patience: int = PATIENCE) -> dict[str, Any]:
    """Runs `module`.child(settings) in a new process and returns its dict.

    EAL runs there and only there: a peer started from a process with EAL would inherit its
    affinity.
    """
    here = Path(__file__).with_name("run.py")
    command = bounded(sys.executable, "-P", str(here), "--child", module, json.dumps(settings),
                      patience=patience)  # fmt: skip
    # Elsewhere than in the repository, whose veridnet/ is the source and not what is installed.
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, cwd=os.sep,
    ) as process:  # fmt: skip
        try:
            out, errors = process.communicate()
        except BaseException:
            process.terminate()  # timeout passes it on
            raise
    if process.returncode != 0:
        last = errors.strip().rpartition("\n")[2]
        raise BenchError(f"{module} {dict(settings)}: exit code {process.returncode}: {last}")
    found: dict[str, Any] = json.loads(out.strip().rpartition("\n")[2])
    return found
