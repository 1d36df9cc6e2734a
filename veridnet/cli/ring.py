"""veridnet ring bench: how long a hop between two lcores takes."""

from __future__ import annotations

import argparse
import json
from typing import Any

from rich.console import Console
from rich.table import Table

from veridnet.cli import common
from veridnet.errors import ConfigError

DESCRIPTION = """\
Sends bursts of 8-byte elements through a ring (rte_ring) to another lcore and back, stamps each
round trip with the time-stamp counter, and prints half of it: one way, in nanoseconds. Both lcores
poll, so both CPUs are busy meanwhile. Needs no port, no root and no hugepages."""

EXAMPLES = """\
examples:
  veridnet ring bench
  veridnet ring bench --burst 1,32 --mode spsc,mpmc,rts,hts
  veridnet ring bench --lcores 2,3 --json
"""


def add_parser(sub: Any) -> None:
    """Adds the command."""
    p = sub.add_parser("ring", help="how fast lcores hand over to each other")
    what = p.add_subparsers(title="commands", dest="what", metavar="COMMAND", required=True)
    b = what.add_parser(
        "bench", help="one hop between two lcores", description=DESCRIPTION, epilog=EXAMPLES
    )
    b.add_argument("--burst", default="1,8,32", metavar="N,...", help="elements a hop (1,8,32)")
    b.add_argument(
        "--mode", default="spsc", metavar="MODE,...",
        help="who may use a ring at once: spsc, mpmc, spmc, mpsc, rts, hts (spsc)",
    )  # fmt: skip
    b.add_argument(
        "--rounds", type=common.number(int, "--rounds 100000"), default=100_000, metavar="N",
        help="round trips of each (100000)",
    )  # fmt: skip
    b.add_argument(
        "--size", type=common.number(int, "--size 1024"), default=1024, metavar="N",
        help="slots of a ring, a power of 2 (1024)",
    )  # fmt: skip
    b.add_argument("--json", action="store_true", help="print as JSON")
    common.add_runtime_options(b)
    b.set_defaults(run=run, config=None)


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    from veridnet.apps import ring_bench
    from veridnet.runtime import Runtime

    common.setup_logging(args.verbose)
    try:
        bursts = [int(n) for n in args.burst.split(",")]
    except ValueError:
        raise ConfigError(f"--burst {args.burst}: numbers, as 1,8,32") from None
    given = {"lcores": args.lcores, "memory": args.memory, "mbufs": args.mbufs}
    options = {"mbufs": 512, **{k: v for k, v in given.items() if v is not None}}
    with common.as_typed(args), Runtime(**options) as rt:
        rows = ring_bench.bench(
            rt, bursts=bursts, modes=args.mode.split(","), rounds=args.rounds, size=args.size
        )
        cpus, memory = rt.worker_cpus[:2], rt.memory
    if args.json:
        print(json.dumps({"cpus": cpus, "memory": memory, "unit": "ns", "hops": rows}))
        return 0
    console = Console(width=None if common.stdout_is_terminal() else 140, highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("mode", "burst", "min", "median", "90 %", "99 %", "max", "median/element"):
        table.add_column(name, justify="left" if name == "mode" else "right")
    for row in rows:
        table.add_row(
            row["mode"], str(row["burst"]),
            *(f"{row[k]:,.0f}" for k in ("min", "p50", "p90", "p99", "max")),
            f"{row['p50_each']:,.1f}",
        )  # fmt: skip
    console.print(table)
    console.print(
        f"\nns one way (half a round trip) between CPUs {cpus[0]} and {cpus[1]}; {memory} memory"
    )
    return 0
