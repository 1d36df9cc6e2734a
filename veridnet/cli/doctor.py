"""veridnet doctor: what works on this machine."""

from __future__ import annotations

import argparse
import json
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from veridnet import doctor
from veridnet.cli import common

DESCRIPTION = """\
Looks at everything that veridnet stands on: DPDK and its drivers, CPUs, hugepages and transparent
huge pages, capabilities, kernel features, NICs; then starts EAL and sends packets through a ring.
Each line is ok, fallback (works in another way, or without this), or no, with the command that
mends it. The exit code is 0 if packets can be forwarded at all."""

EXAMPLES = """\
examples:
  veridnet doctor
  sudo veridnet doctor                  what works with all rights
  veridnet doctor --json | jq '.checks[] | select(.status != "ok")'
"""

STYLES = {"ok": "green", "fallback": "yellow", "no": "bold red"}


def add_parser(sub: Any) -> None:
    """Adds the command."""
    p = sub.add_parser(
        "doctor",
        help="what works on this machine, and what mends the rest",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    p.add_argument("--no-run", action="store_true", help="only look; start nothing")
    p.add_argument("--json", action="store_true", help="print the report as JSON")
    p.add_argument("-v", "--verbose", action="store_true", help="show DPDK's log, on stderr")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    common.setup_logging(args.verbose)
    checks = doctor.examine(run=not args.no_run)
    report = doctor.summary(checks)
    if args.json:
        print(json.dumps(report))
    else:
        console = Console(width=None if common.stdout_is_terminal() else 140, highlight=False)
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for name in ("", "what", "found", "mend"):
            table.add_column(name, overflow="fold")
        for c in checks:
            table.add_row(
                f"[{STYLES[c.status]}]{c.status}[/]", c.name, escape(c.found), escape(c.mend)
            )
        console.print(table)
    return 0 if report["works"] else 1
