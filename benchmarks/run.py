"""The benchmarks' entry: measures, prints tables, writes JSON and the README's results.

python -P benchmarks/run.py [NAME...] [--quick] [--json FILE] [--markdown FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib
import json
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

# With -P the script's own folder is not searched.
sys.path.insert(0, str(Path(__file__).resolve().parent))

import plot
import report
from harness import Benchmark, Settings, run_benchmark
from machine import BenchError, Usage, facts, now

FAMILIES = (
    "forwarding", "python_loop", "headers", "headers_command", "startup", "calls", "acl", "rules",
    "ovs", "ring", "pipeline", "targets", "scaling",
)  # fmt: skip


def benchmarks() -> dict[str, Benchmark]:
    """All benchmarks, by name, in the order in which they run."""
    found = [b for family in FAMILIES for b in importlib.import_module(family).BENCHMARKS]
    return {b.name: b for b in found}


def arguments() -> argparse.Namespace:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="benchmarks/run.py", description=(__doc__ or "").split("\n")[0]
    )
    p.add_argument("names", nargs="*", metavar="NAME", help="which benchmarks (all)")
    p.add_argument("--list", action="store_true", help="list them and end")
    p.add_argument("--rounds", type=int, metavar="N", help="fresh processes of each side (9)")
    p.add_argument("--seconds", type=int, metavar="S", help="measured window of each (2)")
    p.add_argument("--quick", action="store_true", help="3 rounds of 1 s: a look, not a result")
    p.add_argument("--json", type=Path, metavar="FILE",
                   help="write everything there; with NAMEs, replace those in it")  # fmt: skip
    p.add_argument("--markdown", type=Path, metavar="FILE",
                   help="put the tables between the markers of FILE, the plot beside")  # fmt: skip
    p.add_argument("--from", type=Path, metavar="FILE", dest="saved",
                   help="measure nothing: take what --json wrote")  # fmt: skip
    args = p.parse_args()
    unknown = [n for n in args.names if n not in benchmarks()]
    if unknown:
        p.error(f"no benchmark {unknown[0]!r}; there are {', '.join(benchmarks())}")
    for name in ("rounds", "seconds"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            p.error(f"--{name}: at least 1")
    return args


def say(text: str) -> None:
    """Progress, on stderr."""
    print(f"{datetime.datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


def measure(names: list[str], settings: Settings) -> dict[str, Any]:
    """Runs the benchmarks; everything about the run, as JSON types."""
    usage = Usage()
    result: dict[str, Any] = {
        "machine": facts(),
        "started": now(),
        "rounds": settings.rounds,
        "seconds": settings.seconds,
        "benchmarks": [],
    }
    for name, benchmark in benchmarks().items():
        if not names or name in names:
            say(f"{name}: {benchmark.title}")
            result["benchmarks"].append(run_benchmark(benchmark, settings, say))
    result["usage"] = usage.result()
    return result


def merged(path: Path, result: dict[str, Any]) -> dict[str, Any]:
    """An older result with what was measured now in the place of what it had."""
    old: dict[str, Any] = json.loads(path.read_text())
    entries = {b["name"]: b for b in (*old["benchmarks"], *result["benchmarks"])}
    old["benchmarks"] = [entries[name] for name in benchmarks() if name in entries]
    return old


def end_on(*signals: signal.Signals) -> None:
    """Ends by an exception, so that hugepages are given back."""

    def handler(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)

    for number in signals:
        signal.signal(number, handler)


def main() -> int:
    """0 if everything ran, whether or not it met its bar; else 1."""
    if sys.argv[1:2] == ["--child"]:
        module, settings = sys.argv[2:]
        try:
            found = importlib.import_module(module).run_child(json.loads(settings))
        except BenchError as e:
            sys.exit(str(e))
        print(json.dumps(found))
        return 0
    args = arguments()
    if args.list:
        for name, b in benchmarks().items():
            print(f"{name:18} {b.title}")
        return 0
    if args.saved:
        result = json.loads(args.saved.read_text())
    else:
        end_on(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        rounds, seconds = (3, 1) if args.quick else (9, 2)
        result = measure(args.names, Settings(args.rounds or rounds, args.seconds or seconds))
    if args.json and args.names and args.json.exists():
        result = merged(args.json, result)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    if args.markdown:
        report.replace_between_markers(args.markdown, report.markdown(result))
        try:
            plot.growth(result, args.markdown.with_name("rules-growth.svg"))
        except BenchError as e:
            say(f"no plot: {e}")
    print(report.plain(result))
    return 1 if any("error" in b for b in result["benchmarks"]) else 0


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
