"""`veridnet scale`: what more cores and ports would do."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from veridnet.errors import ConfigError

EXAMPLES = """\
examples:
  veridnet l2fwd --port null --port null --duration 5 --json >one.json
  veridnet scale one.json --workers 1,2,4,8 --ports 2
                                        the rate of more workers, from that of one
  veridnet scale one.json --workers 4 --ports 4 --line 10G --flows 64
                                        bounded by links of 10 Gbit/s, with few flows
  veridnet scale one.json --load 0.5,0.8,0.95
                                        loss and waiting of one worker's queue at these loads
"""


def add_parser(sub: Any) -> None:
    """Adds the command."""
    p = sub.add_parser(
        "scale",
        help="what more cores would do, by measured cycles",
        description="Predicts rates of more workers and ports from a measured run, and\n"
        "simulates a worker's receive queue. The model: docs/scaling.md.",
        epilog=EXAMPLES,
    )
    p.add_argument("result", metavar="RESULT.json", help="what l2fwd or run printed with --json")
    p.add_argument("--workers", metavar="N[,N...]", default="1,2,4,8,16", help="numbers of workers")
    p.add_argument("--ports", type=int, default=2, metavar="N", help="ports (2)")
    p.add_argument("--queues", type=int, metavar="N", help="receive queues in all (one a worker)")
    p.add_argument("--line", metavar="RATE", help="of each port: 10G, 25G, 1G")
    p.add_argument("--size", type=int, default=64, metavar="BYTES", help="frames, with FCS (64)")
    p.add_argument("--flows", type=int, metavar="N", help="equal flows (many)")
    p.add_argument("--distribute", action="store_true", help="one worker deals flows out")
    p.add_argument("--load", metavar="L[,L...]", help="simulate a queue at these loads (0 to 4)")
    p.add_argument("--json", action="store_true", help="print JSON")
    p.set_defaults(run=run)


def numbers(text: str, what: str, kind: type) -> list[float]:
    """Comma-separated numbers above 0."""
    try:
        found = [kind(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or any(x <= 0 for x in found):
        raise ConfigError(f"{what} {text}: numbers above 0, as 1,2,4")
    return found


def bits(text: str) -> float:
    """A link's rate."""
    scale = {"k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
    try:
        value = float(text[:-1]) * scale[text[-1:].lower()] if text[-1:].isalpha() else float(text)
    except (KeyError, ValueError):
        value = 0.0
    if not value > 0:
        raise ConfigError(f"--line {text}: bits a second, as 10G")
    return value


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    from veridnet import scaling
    from veridnet._native import actions
    from veridnet.texts import table

    try:
        text = sys.stdin.read() if args.result == "-" else Path(args.result).read_text()
        result = json.loads(text)
    except (OSError, ValueError, RecursionError) as e:
        raise ConfigError(f"{args.result}: this is no JSON of a run: {e}",
                          hint="veridnet l2fwd ... --json >result.json") from None  # fmt: skip
    hz = result.get("tsc_hz") if isinstance(result, dict) else None
    costs = scaling.Costs.from_result(result, hz or actions.tsc_hz())
    line = bits(args.line) if args.line else None
    workers = [int(n) for n in numbers(args.workers, "--workers", int)]
    found = scaling.table(
        costs, workers, args.ports, queues=args.queues, line=line, size=args.size,
        flows=args.flows, distribute=args.distribute,
    )  # fmt: skip
    loads = [
        scaling.simulate(costs, x) for x in numbers(args.load, "--load", float)
    ] if args.load else []  # fmt: skip
    if args.json:
        print(json.dumps({
            "costs": {"total": costs.total, "hz": costs.hz, "stages": costs.stages},
            "predictions": [p.to_dict() for p in found], "queues": [q.to_dict() for q in loads],
        }))  # fmt: skip
        return 0
    print(f"{costs.total:.1f} cycles a packet at {costs.hz / 1e9:.2f} GHz, of which: "
          + (", ".join(f"{name} {c:.1f}" for name, c in costs.stages) or "no stage"))  # fmt: skip
    rows = [[str(p.workers), str(p.ports), f"{p.mpps:.2f}", p.bound, f"{p.utilization:.0%}"]
            for p in found]  # fmt: skip
    print(table(["workers", "ports", "Mpps", "bound by", "utilization"], rows))
    if loads:
        print()
        print(table(["load", "loss", "mean us", "99 % us", "burst"],
                    [[f"{q.load:g}", f"{q.loss:.2%}", f"{q.mean_us:.2f}", f"{q.p99_us:.2f}",
                      f"{q.burst:.1f}"] for q in loads]))  # fmt: skip
    return 0
