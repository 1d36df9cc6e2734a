"""What l2fwd and run share: options, ports, the run itself with its live table and its end."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeVar

from veridnet.apps.forwarding import App, RunOptions
from veridnet.cli import common
from veridnet.cli.l2fwd_view import LiveTable, print_summary
from veridnet.config import PortSpec, RuntimeConfig
from veridnet.errors import ConfigError
from veridnet.ports import KINDS
from veridnet.runtime import Runtime

NO_PORTS = "no ports are given"
PLANS = ("text", "mermaid", "dot")

Options = TypeVar("Options", bound=RunOptions)


def add_traffic_options(group: Any) -> None:
    """--burst, --tx-full, --queues and --promiscuous."""
    group.add_argument(
        "--burst", type=common.number(int, "--burst 32"), metavar="N",
        help="packets per burst, 1 to 512 (32)",
    )  # fmt: skip
    group.add_argument(
        "--tx-full", choices=("retry", "drop"),
        help="packets that a port does not take: retry (for at most its retry_us, 10,000), or drop",
    )  # fmt: skip
    group.add_argument(
        "--queues", type=common.number(int, "--queues 2"), metavar="N",
        help="rx and tx queues of every port (1), or as many as its kind can have",
    )  # fmt: skip
    group.add_argument(
        "--promiscuous", action=argparse.BooleanOptionalAction, default=None,
        help="receive frames for every MAC address (on)",
    )  # fmt: skip


def add_worker_options(parser: argparse.ArgumentParser, workers: str) -> None:
    """--workers, --idle, --rebalance, --plan, --stages and --trace."""
    group = parser.add_argument_group("workers and what they do")
    group.add_argument(
        "--workers", type=worker_number, metavar="N",
        help=f"worker lcores, or auto: one for each receive queue, as long as there are CPUs; "
        f"{workers}",
    )  # fmt: skip
    group.add_argument(
        "--idle", choices=("busy", "adaptive", "sleep"),
        help="without packets: poll (busy), sleep longer and longer (adaptive: up to 0.2 ms), or "
        "wait for interrupts where the ports have them (sleep)",
    )  # fmt: skip
    group.add_argument(
        "--rebalance", type=positive, metavar="S",
        help="every S seconds, look whether receive queues should move to other workers",
    )  # fmt: skip
    group.add_argument(
        "--plan", choices=PLANS, nargs="?", const="text",
        help="print what would run where, and why, and end; --plan=mermaid, --plan=dot: drawn",
    )  # fmt: skip
    group.add_argument(
        "--trace", type=common.number(int, "--trace 10"), metavar="N",
        help="follow N packets through all stages, and print their ways at the end",
    )  # fmt: skip


def add_end_options(parser: argparse.ArgumentParser) -> None:
    """--duration, --count, --until-idle, --stats-period and --json."""
    group = parser.add_argument_group("end and output")
    group.add_argument("--duration", type=positive, metavar="S", help="stop after S seconds")
    group.add_argument(
        "--count", type=common.number(int, "--count 1000"), metavar="N",
        help="stop after N received packets",
    )  # fmt: skip
    group.add_argument(
        "--until-idle", type=positive, metavar="S", nargs="?", const=1.0,
        help="stop when nothing was received for S seconds (1)",
    )  # fmt: skip
    group.add_argument(
        "--stats-period", type=positive, metavar="S",
        help="seconds between updates of the live table (1 on a terminal, else no table)",
    )  # fmt: skip
    group.add_argument("--json", action="store_true", help="print the result as JSON on stdout")


def positive(text: str | float) -> float:
    """A number of seconds above 0."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds above 0 (example: 2.5)"
        )
    return value


def worker_number(text: str) -> int | str:
    """--workers: a number, or auto."""
    if text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of workers nor auto")
    return int(text)


def options(
    args: argparse.Namespace, table: dict[str, Any], kind: type[Options], **parsed: Any
) -> Options:
    """A command's options: those of the command line, over a profile's, with some replaced."""
    chosen: dict[str, Any] = {}
    for name in (f.name for f in fields(kind)):
        value = getattr(args, name, None)
        if value is None:
            value = table.get(name)
        if value is not None:
            chosen[name] = value
    with common.as_typed(args):
        for name, parse in parsed.items():
            if name in chosen:
                chosen[name] = parse(chosen[name])
        return kind(**chosen)


def config(args: argparse.Namespace, table: dict[str, Any]) -> RuntimeConfig:
    """The profile's [runtime] with the command line over it."""
    chosen = dict(table)
    for name in ("lcores", "memory", "mbufs"):
        if getattr(args, name) is not None:
            chosen[name] = getattr(args, name)
    if args.verbose:
        chosen["log_level"] = "debug"
    with common.as_typed(args):
        return RuntimeConfig(**chosen)


def seconds(args: argparse.Namespace, table: dict[str, Any], name: str) -> float | None:
    """An option that is a time, from the command line or the profile's [l2fwd]."""
    value: float | None = getattr(args, name)
    if value is not None or name not in table:
        return value
    try:
        return positive(table[name])
    except argparse.ArgumentTypeError as e:
        raise ConfigError(f"{args.config}: [l2fwd] {name}: {e}") from None


def port_specs(args: argparse.Namespace, chosen: Sequence[PortSpec]) -> list[PortSpec]:
    """The ports with --queues and --promiscuous; checked as far as that is possible now."""
    if args.queues is not None:
        limit = max(
            (KINDS[s.kind].max_queues for s in chosen if "queues" not in s.options), default=64
        )
        if not 1 <= args.queues <= limit:
            raise ConfigError(
                f"--queues {args.queues}: must be from 1 to {limit}, the limit of these ports"
            )
    specs = [with_defaults(s, args) for s in chosen]
    return [unwritten(s) for s in specs] if args.plan else specs


def with_defaults(spec: PortSpec, args: argparse.Namespace) -> PortSpec:
    """--queues and --promiscuous for every port that does not say otherwise itself."""
    defaults: dict[str, object] = {}
    if args.queues is not None:
        defaults["queues"] = min(args.queues, KINDS[spec.kind].max_queues)
    if args.promiscuous is not None:
        defaults["promiscuous"] = args.promiscuous
    return PortSpec(spec.kind, {**defaults, **spec.options})


def unwritten(spec: PortSpec) -> PortSpec:
    """A port for a plan only: no capture is written, as making the port would empty it."""
    if spec.kind != "pcap" or not spec.options.get("tx"):
        return spec
    return PortSpec(spec.kind, {**spec.options, "tx": os.devnull})


def print_plan(args: argparse.Namespace, app: App) -> int:
    """--plan, on stdout."""
    plan = app.running.plan
    if args.json:
        print(json.dumps(plan.to_dict()))
    else:
        draw = {"mermaid": plan.to_mermaid, "dot": plan.to_graphviz, "text": plan.__str__}
        print(draw[args.plan]().rstrip("\n"))
    return 0


def run_app(
    args: argparse.Namespace, app: App, stop: common.StopFlag, times: Sequence[float | None]
) -> dict[str, Any]:
    """Forwards, with the live table, until something ends it; the result."""
    for warning in app.warnings:
        print(f"veridnet: {warning}", file=sys.stderr)
    if not args.json or args.verbose:
        names = ", ".join(
            f"{p.name} {p.kind} {p.details.get('iface') or ''}".strip() for p in app.ports
        )
        print(f"veridnet: forwarding: {names}; Ctrl-C ends", file=sys.stderr)
    duration, until_idle, period = times
    with LiveTable(app, period) as live:
        result = app.run(
            duration=duration,
            until_idle=until_idle,
            stop=stop,
            tick=live.update if live.wanted else None,
            stats_period=live.period,
        )
    return result.to_dict()


def end(args: argparse.Namespace, rt: Runtime, app: App, data: dict[str, Any], tables: str) -> int:
    """The summary of a run whose runtime is closed, --json, and the exit code.

    Closing tells more: whether the captures were written whole.
    """
    data["problems"] = app.problems()
    data["mbufs_in_use"] = rt.mbufs_in_use()
    data["mbufs_residue"] = rt.residue
    print_summary(data, tables)
    if args.json:
        print(json.dumps(data))
    return 1 if data["problems"] or not data["balanced"] else 0


def stage_tables(app: App, *, stages: bool, trace: bool) -> str:
    """What --stages and --trace print."""
    parts = [str(app.running.stats())] if stages else []
    parts += [str(app.running.trace())] if trace else []
    return "\n\n".join(parts)
