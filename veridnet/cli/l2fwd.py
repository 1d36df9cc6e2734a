"""veridnet l2fwd: forward packets between ports."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from types import FrameType
from typing import Any

from veridnet.apps import l2fwd as app
from veridnet.apps.rules_file import RulesFile
from veridnet.cli import common
from veridnet.cli.l2fwd_view import LiveTable, print_summary
from veridnet.config import PortSpec, RuntimeConfig
from veridnet.errors import ConfigError
from veridnet.ports import KINDS
from veridnet.runtime import Runtime

DESCRIPTION = """\
Forwards packets between ports. By default as DPDK's l2fwd does: ports in pairs (0<->1, 2<->3), the
destination MAC address becomes 02:00:00:00:00:<port> and the source the output port's own. With
--learn it is a learning bridge over any number of ports, and changes nothing.

A run that reads captures ends by itself when they have ended and all is sent. Ctrl-C stops any run,
with the summary. The summary, the live table and warnings go to stderr; --json prints one object to
stdout."""

EXAMPLES = """\
examples:
  veridnet l2fwd -p pcap:rx=in.pcap,tx=a.pcap -p pcap:tx=b.pcap
  veridnet l2fwd --learn -p tap:iface=vtap0 -p af_packet:iface=eth1,offloads=off
  veridnet l2fwd -p null:size=64 -p null:size=64 --duration 5 --lcores 1
  veridnet l2fwd -p memif:role=server,socket=/run/vn.sock -p tap:iface=vtap0
  veridnet l2fwd -p 0000:03:00.0 -p 0000:03:00.1 --queues 2 --lcores 2,3
  veridnet l2fwd --rules rules.toml -p tap:iface=vtap0 -p tap:iface=vtap1
  veridnet l2fwd --config dpdk-config/pcap.toml --json | jq .drops
"""


def add_parser(sub: Any) -> None:
    """Adds the command."""
    p = sub.add_parser(
        "l2fwd",
        help="forward packets between ports (DPDK's l2fwd, or a learning bridge)",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    common.add_port_options(p)
    f = p.add_argument_group("forwarding")
    f.add_argument("--learn", action="store_true", default=None, help="be a learning bridge")
    f.add_argument("--portmap", metavar="PAIRS", help="other pairs: (0,2)(1,3), by order or name")
    f.add_argument(
        "--no-mac-updating", dest="mac_updating", action="store_false", default=None,
        help="leave the MAC addresses as they are",
    )  # fmt: skip
    f.add_argument(
        "--burst", type=common.number(int, "--burst 32"), metavar="N",
        help="packets per burst, 1 to 512 (32)",
    )  # fmt: skip
    f.add_argument(
        "--tx-full", choices=("retry", "drop"),
        help="packets that a port does not take: retry (for at most its retry_us, 10,000), or drop",
    )  # fmt: skip
    f.add_argument(
        "--rules", metavar="FILE",
        help="flow rules that are asked first; reloaded on SIGHUP and when the file changes",
    )  # fmt: skip
    f.add_argument(
        "--offload", action="store_true", default=None,
        help="put rules that drop into the ports, as far as these take them (rte_flow)",
    )  # fmt: skip
    f.add_argument(
        "--no-flow-cache", dest="flow_cache", action="store_false", default=None,
        help="look rules up for each packet, not once for each flow",
    )  # fmt: skip
    f.add_argument(
        "--age", type=common.number(float, "--age 300"), metavar="S",
        help="bridge: forget a silent station after S seconds (300)",
    )  # fmt: skip
    f.add_argument(
        "--stations", type=common.number(int, "--stations 8192"), metavar="N",
        help="bridge: stations it can know (8192)",
    )  # fmt: skip
    f.add_argument(
        "--queues", type=common.number(int, "--queues 2"), metavar="N",
        help="rx and tx queues of every port (1), or as many as its kind can have",
    )  # fmt: skip
    f.add_argument(
        "--promiscuous", action=argparse.BooleanOptionalAction, default=None,
        help="receive frames for every MAC address (on)",
    )  # fmt: skip
    e = p.add_argument_group("end and output")
    e.add_argument("--duration", type=positive, metavar="S", help="stop after S seconds")
    e.add_argument(
        "--count", type=common.number(int, "--count 1000"), metavar="N",
        help="stop after N received packets",
    )  # fmt: skip
    e.add_argument(
        "--until-idle", type=positive, metavar="S", nargs="?", const=1.0,
        help="stop when nothing was received for S seconds (1)",
    )  # fmt: skip
    e.add_argument(
        "--stats-period", type=positive, metavar="S",
        help="seconds between updates of the live table (1 on a terminal, else no table)",
    )  # fmt: skip
    e.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    common.add_runtime_options(p)
    p.set_defaults(run=run)


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


def options(args: argparse.Namespace, table: dict[str, Any]) -> app.L2fwdOptions:
    """The profile's [l2fwd] with the command line over it."""
    chosen: dict[str, Any] = {}
    for name in (f.name for f in fields(app.L2fwdOptions)):
        value = getattr(args, name, None)
        if value is None:
            value = table.get(name)
        if value is not None:
            chosen[name] = value
    with common.as_typed(args):
        if "portmap" in chosen:
            chosen["portmap"] = app.parse_portmap(chosen["portmap"])
        return app.L2fwdOptions(**chosen)


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


def check_queues(specs: Sequence[PortSpec], queues: int | None) -> None:
    """ConfigError unless some port can have so many queues; kinds with fewer have all theirs."""
    if queues is None:
        return
    limit = max((KINDS[s.kind].max_queues for s in specs if "queues" not in s.options), default=64)
    if not 1 <= queues <= limit:
        raise ConfigError(f"--queues {queues}: must be from 1 to {limit}, the limit of these ports")


def with_defaults(spec: PortSpec, args: argparse.Namespace) -> PortSpec:
    """--queues and --promiscuous for every port that does not say otherwise itself."""
    defaults: dict[str, object] = {}
    if args.queues is not None:
        defaults["queues"] = min(args.queues, KINDS[spec.kind].max_queues)
    if args.promiscuous is not None:
        defaults["promiscuous"] = args.promiscuous
    return PortSpec(spec.kind, {**defaults, **spec.options})


class Reload:
    """SIGHUP, which else ends a run, reloads the rules. One that comes early is kept for them."""

    def __init__(self) -> None:
        self.early = False
        self.rules: RulesFile | None = None
        signal.signal(signal.SIGHUP, self.handler)

    def handler(self, number: int, frame: FrameType | None) -> None:
        """The signal's."""
        if self.rules is not None:
            self.rules.wanted = True
        self.early = True

    def of(self, rules: RulesFile) -> None:
        """There they are."""
        self.rules = rules
        rules.wanted = rules.wanted or self.early


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    common.setup_logging(args.verbose)
    profile = common.read_profile(args.config, app.PROFILE_KEYS)
    chosen = common.chosen_ports(args, profile)
    check_queues(chosen, args.queues)
    specs = [with_defaults(s, args) for s in chosen]
    if not specs:
        raise ConfigError(
            "no ports are given",
            hint="--port pcap:rx=in.pcap,tx=out.pcap, or --config dpdk-config/pcap.toml",
        )
    how = options(args, profile.l2fwd)
    settings = config(args, profile.runtime)
    duration, until_idle, period = (
        seconds(args, profile.l2fwd, name) for name in ("duration", "until_idle", "stats_period")
    )
    # All that can be known to be wrong is, before a file is touched.
    with common.as_typed(args):
        how.check([str(s.options.get("name") or i) for i, s in enumerate(specs)])
    stop = common.stop_on_signals()
    reload = Reload() if how.rules is not None else None
    with Runtime(settings) as rt, contextlib.ExitStack() as stack:
        ports = rt.add_ports(specs)
        if args.lcores is not None or "lcores" in profile.runtime:
            how = replace(how, workers=len(rt.worker_cpus))
        forwarder = stack.enter_context(app.L2fwd(rt, ports, how))
        if forwarder.rules is not None and reload is not None:
            forwarder.serve()
            reload.of(forwarder.rules)
        for warning in forwarder.warnings:
            print(f"veridnet: {warning}", file=sys.stderr)
        if not args.json or args.verbose:
            names = ", ".join(
                f"{p.name} {p.kind} {p.details.get('iface') or ''}".strip() for p in ports
            )
            print(f"veridnet: forwarding: {names}; Ctrl-C ends", file=sys.stderr)
        with LiveTable(forwarder, period) as live:
            result = forwarder.run(
                duration=duration,
                until_idle=until_idle,
                stop=stop,
                tick=live.update if live.wanted else None,
                stats_period=live.period,
            )
    # Closing tells more: whether the captures were written whole.
    data = result.to_dict()
    data["problems"] = [*rt.problems, *(forwarder.rules.problems if forwarder.rules else ())]
    data["mbufs_in_use"] = rt.mbufs_in_use()
    data["mbufs_residue"] = rt.residue
    print_summary(data)
    if args.json:
        print(json.dumps(data))
    return 1 if data["problems"] or not data["balanced"] else 0
