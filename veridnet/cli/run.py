"""veridnet run: run a pipeline that a Python file describes."""

from __future__ import annotations

import argparse
import traceback
from dataclasses import replace
from typing import Any

from veridnet.apps import l2fwd
from veridnet.apps.forwarding import RunOptions
from veridnet.apps.program import Program, ProgramApp
from veridnet.cli import common
from veridnet.cli import forwarding as shared
from veridnet.errors import ConfigError
from veridnet.runtime import Runtime

DESCRIPTION = """\
Runs a pipeline of your own. FILE.py is Python; its FUNCTION ("pipeline" if none is named) gets the
list of ports, and the Runtime too if it has a second parameter, and returns a veridnet.Pipeline:

  import veridnet as vn

  def pipeline(ports):
      a, b = ports
      return vn.Pipeline(rx=[a, b]).filter("not arp").rewrite("dec_ttl").forward({a: b, b: a})

A run that reads captures ends by itself when they have ended and all is sent. Ctrl-C stops any run.
The summary, with a line for each stage, goes to stderr; --json prints one object to stdout. What
goes wrong in FILE.py is one line, with its place; -v shows the traceback."""

EXAMPLES = """\
examples:
  veridnet run mirror.py -p tap:iface=vtap0 -p tap:iface=vtap1
  veridnet run mirror.py:to_capture -p pcap:rx=in.pcap -p pcap:tx=out.pcap --trace 3
  veridnet run mirror.py -p null -p null --lcores 1,2 --plan
  veridnet run mirror.py -p null -p null --plan=dot | dot -Tsvg > plan.svg
  veridnet run mirror.py -p null -p null --duration 5 --json | jq .stages
"""


def add_parser(sub: Any) -> None:
    """Adds the command."""
    p = sub.add_parser(
        "run",
        help="run a pipeline of your own, from a Python file",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    p.add_argument("program", metavar="FILE.py[:FUNCTION]", help="what makes the pipeline")
    common.add_port_options(p)
    shared.add_traffic_options(p.add_argument_group("forwarding"))
    shared.add_worker_options(p, "without it auto, or one on each of --lcores")
    shared.add_end_options(p)
    common.add_runtime_options(p)
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs the command; with -v, the traceback of an error in the user's file."""
    try:
        return run_program(args)
    except ConfigError as e:
        if args.verbose and e.__cause__ is not None:
            traceback.print_exception(e.__cause__)
        raise


def run_program(args: argparse.Namespace) -> int:
    """Runs the command."""
    common.setup_logging(args.verbose)
    # Of a profile its ports and [runtime]: [l2fwd] is the other command's.
    profile = common.read_profile(args.config, l2fwd.PROFILE_KEYS)
    specs = shared.port_specs(args, common.chosen_ports(args, profile))
    if not specs:
        raise ConfigError(shared.NO_PORTS, hint="--port pcap:rx=in.pcap,tx=out.pcap")
    how = shared.options(args, {"workers": "auto"}, RunOptions)
    settings = shared.config(args, profile.runtime)
    program = Program(args.program)
    stop = common.stop_on_signals()
    with Runtime(settings) as rt:
        ports = rt.add_ports(specs)
        if args.workers is None and settings.lcores is not None:
            how = replace(how, workers=rt.worker_cpus)
        with ProgramApp(rt, ports, program, how) as app:
            if args.plan:
                return shared.print_plan(args, app)
            times = (args.duration, args.until_idle, args.stats_period)
            data = shared.run_app(args, app, stop, times)
            tables = shared.stage_tables(app, stages=True, trace=how.trace > 0)
    code = shared.end(args, rt, app, data, tables)
    if args.verbose:
        for _, error in app.running.errors:
            traceback.print_exception(error)
    return code
