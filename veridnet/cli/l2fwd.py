"""veridnet l2fwd: forward packets between ports."""

from __future__ import annotations

import argparse
import contextlib
import signal
from dataclasses import replace
from types import FrameType
from typing import Any

from veridnet.apps import l2fwd as app
from veridnet.apps.rules_file import RulesFile
from veridnet.cli import common
from veridnet.cli import forwarding as shared
from veridnet.errors import ConfigError
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
  veridnet l2fwd -p tap:iface=vtap0 -p tap:iface=vtap1 --idle adaptive --stages
  veridnet l2fwd -p pcap:rx=in.pcap -p pcap:tx=out.pcap --rules rules.toml --trace 3
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
    shared.add_traffic_options(f)
    shared.add_worker_options(p, "without it one, or one on each of --lcores")
    p.add_argument(
        "--stages", action="store_true",
        help="show in the summary what each stage did: packets, cycles per packet, drops",
    )  # fmt: skip
    shared.add_end_options(p)
    common.add_runtime_options(p)
    p.set_defaults(run=run)


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
    specs = shared.port_specs(args, common.chosen_ports(args, profile))
    if not specs:
        raise ConfigError(
            shared.NO_PORTS,
            hint="--port pcap:rx=in.pcap,tx=out.pcap, or --config dpdk-config/pcap.toml",
        )
    table = profile.l2fwd
    how = shared.options(args, table, app.L2fwdOptions, portmap=app.parse_portmap)
    settings = shared.config(args, profile.runtime)
    times = tuple(
        shared.seconds(args, table, name) for name in ("duration", "until_idle", "stats_period")
    )
    # All that can be known to be wrong is, before a file is touched.
    with common.as_typed(args):
        how.check([str(s.options.get("name") or i) for i, s in enumerate(specs)])
    stop = common.stop_on_signals()
    reload = Reload() if how.rules is not None else None
    with Runtime(settings) as rt, contextlib.ExitStack() as stack:
        ports = rt.add_ports(specs)
        if args.workers is None and settings.lcores is not None:
            how = replace(how, workers=rt.worker_cpus)
        forwarder = stack.enter_context(app.L2fwd(rt, ports, how))
        if args.plan:
            return shared.print_plan(args, forwarder)
        if forwarder.rules is not None and reload is not None:
            forwarder.serve()
            reload.of(forwarder.rules)
        data = shared.run_app(args, forwarder, stop, times)
        tables = shared.stage_tables(forwarder, stages=args.stages, trace=how.trace > 0)
    return shared.end(args, rt, forwarder, data, tables)
