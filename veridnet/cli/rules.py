"""veridnet rules: checks, explains, converts, measures and watches flow rules."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from veridnet.cli import common
from veridnet.errors import ConfigError, VeridnetError
from veridnet.texts import printable

if TYPE_CHECKING:
    from veridnet.apps.rules_check import Made, Report

DESCRIPTION = """\
Works on files of flow rules: TOML, testpmd's flow commands, or ClassBench filters (by the file's
name, else by what is in it). The larger priority wins, the earlier rule among equals."""

EXAMPLES = """\
examples:
  veridnet rules check rules.toml
  veridnet rules explain rules.toml ip_src=10.0.0.1 ip_proto=tcp l4_dst=443
  veridnet rules explain rules.toml trace.pcap:7
  veridnet rules convert acl1 --to toml > acl1.toml
  veridnet rules bench acl1 --trace acl1_trace
  veridnet rules watch

veridnet rules COMMAND --help has more.
"""
FORMATS = ("toml", "testpmd", "classbench")

CHECK = """\
Reads a file, every match and every action in it, and says what looks each rule up and what is wrong
with the rules: shadowed (a stronger rule with other actions takes all of its packets), redundant,
unreachable (stronger rules together take them), never matching; with --info also overlaps."""
CHECK_EXAMPLES = """\
engines:
  exact     whole values only: a hash
  ternary   ranges and masks: rte_acl
  program   too many ranges: its tests, packet by packet
  BPF       bytes that no column has: DPDK's BPF JIT
The last line of these says which engines a table of all the rules has (acl, hash, fib).

examples:
  veridnet rules check rules.toml
  veridnet rules check rules.toml --info --strict
  veridnet rules check acl1.xz --json

Exit codes: 0, 1 with --strict if something is wrong with the rules, 2 if the file cannot be read.
"""
EXPLAIN = """\
Says which rules match a packet, which of them wins and why, and which nearly matched. A packet is
hex digits of an Ethernet frame, one of a capture (FILE:NUMBER, from 1), or columns with values;
what is not given is 0, or follows from what is (ip_src: IPv4)."""
EXPLAIN_EXAMPLES = """\
examples:
  veridnet rules explain rules.toml ip_src=10.0.0.1 ip_proto=tcp l4_dst=443
  veridnet rules explain rules.toml trace.pcap:7 trace.pcap:8
  veridnet rules explain rules.toml "$(xxd -p -c0 frame.bin)"

veridnet headers --columns lists the columns.
"""
CONVERT = """\
Writes the rules in another format, to standard output. A rule that the format cannot say is an
error that names it and says why; nothing is written then."""
CONVERT_EXAMPLES = """\
examples:
  veridnet rules convert rules.toml --to testpmd
  veridnet rules convert rules.toml --to testpmd --ports 0,1    ingress rules, once for each port
  veridnet rules convert acl1.toml --to classbench --matches-only
  veridnet rules convert fw1.xz --to toml > fw1.toml
"""
BENCH = """\
Builds a table of the rules and measures how long a packet's classification takes (bursts of 256,
one thread, a Python call each, columns that are there already), on packets made from the rules, or
on a trace. Some packets are compared with a naive scan of all rules."""
BENCH_EXAMPLES = """\
examples:
  veridnet rules bench rules.toml
  veridnet rules bench acl1.xz --trace acl1_trace.xz
  veridnet rules bench rules.toml --trace trace.pcap --engine tuple --seconds 5 --json

Exit codes: 0, 1 if a packet got another rule than by the naive scan.
"""
WATCH = """\
Shows the counters of a running program's rules (veridnet l2fwd --rules), with rates, until Ctrl-C.
The program serves them on a Unix socket, to its own user."""
WATCH_EXAMPLES = """\
examples:
  veridnet rules watch                 the only one there is
  veridnet rules watch rules.toml      the one that runs this file
  veridnet rules watch 4711            a process
  veridnet rules watch --json -n 1     one snapshot
"""


def add_parser(sub: Any) -> None:
    """Adds the command."""
    p = sub.add_parser(
        "rules", help="check, explain, convert, measure and watch flow rules",
        description=DESCRIPTION, epilog=EXAMPLES,
    )  # fmt: skip
    inner = p.add_subparsers(title="commands", dest="action", metavar="COMMAND")
    p.set_defaults(run=lambda args: no_command(p))

    def add(name: str, help: str, description: str, epilog: str, run: Any) -> Any:
        q = inner.add_parser(name, help=help, description=description, epilog=epilog)
        q.set_defaults(run=run, command=f"rules {name}")
        return q

    def add_file(q: Any) -> None:
        q.add_argument("file", metavar="FILE", help="the rules; xz and gzip are unpacked")
        q.add_argument(
            "--format", choices=FORMATS, help="its format (else by its name and content)"
        )

    q = add("check", "what is wrong with rules, and what they need", CHECK, CHECK_EXAMPLES, check)
    add_file(q)
    q.add_argument("--info", action="store_true", help="also overlaps with other actions")
    q.add_argument("--all", action="store_true", help="list every rule, however many there are")
    q.add_argument("--strict", action="store_true", help="exit code 1 if something is wrong")
    common_options(q)
    q = add("explain", "why a packet gets its rule", EXPLAIN, EXPLAIN_EXAMPLES, explain)
    add_file(q)
    q.add_argument("packets", nargs="+", metavar="PACKET",
                   help="hex digits, FILE:NUMBER of a capture, or COLUMN=VALUE ...")  # fmt: skip
    common_options(q)
    q = add("convert", "rules in another format", CONVERT, CONVERT_EXAMPLES, convert)
    add_file(q)
    q.add_argument("--to", choices=FORMATS, required=True, help="the format to write")
    q.add_argument("--ports", metavar="N,N", help="testpmd: rules for all ports, for each of these")
    q.add_argument("--matches-only", action="store_true",
                   help="classbench: leave out actions, names and timeouts")  # fmt: skip
    q.add_argument("-v", "--verbose", action="store_true", help="show where an error arose")
    q = add("bench", "how fast a table classifies", BENCH, BENCH_EXAMPLES, bench)
    add_file(q)
    q.add_argument("--trace", metavar="FILE", help="a ClassBench trace or a capture")
    q.add_argument("--engine", default="auto", choices=("auto", "acl", "hash", "fib", "tuple"),
                   help="what looks rules up (auto)")  # fmt: skip
    q.add_argument("--packets", type=common.number(int, "--packets 100000"), default=65536,
                   metavar="N", help="of a trace that is made from the rules (65536)")  # fmt: skip
    q.add_argument("--seconds", type=common.number(float, "--seconds 2.5"), default=1.0,
                   metavar="S", help="how long to measure (1)")  # fmt: skip
    q.add_argument("--verify", type=common.number(int, "--verify 1000"), default=200, metavar="N",
                   help="packets to compare with a naive scan (200)")  # fmt: skip
    common_options(q)
    q = add("watch", "live counters of a running program", WATCH, WATCH_EXAMPLES, watch)
    q.add_argument("which", nargs="?", metavar="WHICH", help="a rule file, a process, or a socket")
    q.add_argument("-i", "--interval", type=common.number(float, "--interval 0.5"), default=1.0,
                   metavar="S", help="seconds between snapshots (1)")  # fmt: skip
    q.add_argument("-n", "--count", type=common.number(int, "--count 10"), metavar="N",
                   help="end after so many")  # fmt: skip
    common_options(q)


def common_options(q: Any) -> None:
    """--json and -v."""
    q.add_argument("--json", action="store_true", help="print as JSON, an object a line")
    q.add_argument("-v", "--verbose", action="store_true", help="show where an error arose")


def no_command(p: argparse.ArgumentParser) -> int:
    """What ``veridnet rules`` alone does."""
    p.print_help(sys.stderr)
    return 2


def check(args: argparse.Namespace) -> int:
    """Runs ``rules check``."""
    from veridnet.apps.rules_check import check as run_check

    common.setup_logging(args.verbose)
    report = run_check(args.file, args.format)
    if args.json:
        print(json.dumps(report.json()))
    else:
        print("\n".join(check_text(report, args.all, args.info)))
    return 1 if args.strict and report.warnings else 0


def check_text(report: Report, everything: bool, info: bool) -> list[str]:
    """A report, for people."""
    out = [f"{report.path}: {len(report.lines):,} rules, {report.format}"]
    if everything or len(report.lines) <= 50:
        head = ("id", "line", "priority", "boxes", "engine", "name", "match", "actions")
        rows = [
            (str(x.id), str(x.line or ""), str(x.rule.priority), str(x.boxes or 0), x.engine,
             x.rule.name, shortened(x.rule.match or "every packet"), ", ".join(x.rule.actions))
            for x in report.lines
        ]  # fmt: skip
        out += table(head, rows, numbers=4) if rows else []
    counts: dict[str, int] = {}
    for x in report.lines:
        counts[x.engine] = counts.get(x.engine, 0) + 1
    total = sum(x.boxes or 0 for x in report.lines)
    needs = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    out.append(f"engines: {needs or 'none'}; {total:,} boxes altogether")
    out.append(table_text(report.table))
    shown = [c for c in report.conflicts if info or c.level == "warning"]
    limit = len(shown) if everything else 50
    out += [f"{c.level}: {c.text}" for c in shown[:limit]]
    if len(shown) > limit:
        out.append(f"... and {len(shown) - limit:,} more (--all)")
    hidden = len(report.conflicts) - len(shown)
    problems = len(report.warnings)
    verdict = f"{problems:,} warning{'s' if problems != 1 else ''}" if problems else "no warnings"
    return [*out, verdict + (f"; {hidden:,} to know of (--info)" if hidden else "")]


def table_text(made: Made) -> str:
    """What a table makes of rules, on one line."""
    if made.problem:
        return f"table: cannot be built here: {made.problem}"
    counts: dict[str, int] = {}
    for name in made.engines:
        counts[name] = counts.get(name, 0) + 1
    parts = [name if n == 1 else f"{n} x {name}" for name, n in counts.items()]
    if made.programs:
        parts.append(f"programs of {made.programs:,}")
    if made.bpf:
        parts.append(f"BPF of {made.bpf:,}")
    return f"table: {', '.join(parts) or 'no engine'}"


def shortened(text: str, width: int = 70) -> str:
    """A text on one line, that may end in dots."""
    text = printable(" ".join(text.split()))
    return text if len(text) <= width else f"{text[: width - 3]}..."


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: int) -> list[str]:
    """Aligned columns; the first `numbers` of them to the right."""
    rows = [tuple(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for row in (head, *rows):
        cells = [
            cell.rjust(width) if k < numbers else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def explain(args: argparse.Namespace) -> int:
    """Runs ``rules explain``."""
    from veridnet.apps.rules_packets import packets
    from veridnet.rules import formats
    from veridnet.rules.explain import explain as explain_one

    common.setup_logging(args.verbose)
    rules = formats.load(args.file, args.format)
    first = True
    for name, packet in packets(args.packets):
        found = explain_one(rules, packet)
        if args.json:
            print(json.dumps({
                "packet": name, "columns": dict(found.row), "winner": found.winner,
                "matched": list(found.matched), "why": found.why, "actions": list(found.actions),
                "near": [{"rule": n, "fails": list(failed)} for n, failed in found.near],
            }))  # fmt: skip
        else:
            print(f"{'' if first else chr(10)}{found}")
        first = False
    return 0


def convert(args: argparse.Namespace) -> int:
    """Runs ``rules convert``."""
    from veridnet.rules import formats

    common.setup_logging(args.verbose)
    options: dict[str, Any] = {}
    if args.ports is not None:
        if args.to != "testpmd":
            raise ConfigError("--ports is for --to testpmd")
        try:
            options["ports"] = [int(port) for port in args.ports.split(",")]
        except ValueError:
            raise ConfigError(f"--ports {args.ports}: numbers with commas, as 0,1") from None
    if args.matches_only:
        if args.to != "classbench":
            raise ConfigError("--matches-only is for --to classbench")
        options["matches_only"] = True
    text = formats.convert(args.file, args.to, args.format, **options)
    # In pieces: a long one that a full disk cuts short is no error to Python (3.11, 3.13).
    for at in range(0, len(text), 4096):
        sys.stdout.write(text[at : at + 4096])
    return 0


def bench(args: argparse.Namespace) -> int:
    """Runs ``rules bench``."""
    from veridnet.apps.rules_bench import bench as run_bench

    common.setup_logging(args.verbose)
    for name in ("packets", "verify"):
        if getattr(args, name) < (1 if name == "packets" else 0):
            raise ConfigError(f"--{name} {getattr(args, name)}: too few")
    if not 0 < args.seconds < 3600:
        raise ConfigError(f"--seconds {args.seconds:g}: over 0, under 3600")
    found = run_bench(args.file, args.format, engine=args.engine, packets=args.packets,
                      trace_file=args.trace, seconds=args.seconds, verify=args.verify)  # fmt: skip
    if args.json:
        print(json.dumps(found, default=str))
    else:
        print(f"{found['file']}: {found['rules']:,} rules, built in {found['build_seconds']:.3g} s")
        print(f"{found['packets']:,} packets ({found['trace']}), {found['matched']:,} matched")
        print(f"{found['ns_per_packet']:.3g} ns/packet, {common.si(found['packets_per_second'])}"
              f"packets/s (mean {found['mean_ns_per_packet']:.3g} ns)")  # fmt: skip
        print(f"{found['verified']:,} compared with a naive scan: {found['wrong']:,} differ")
    return 1 if found["wrong"] else 0


def watch(args: argparse.Namespace) -> int:
    """Runs ``rules watch``."""
    from veridnet.apps.rules_watch import ask, find, with_rates

    common.setup_logging(args.verbose)
    if not 0.05 <= args.interval <= 3600:
        raise ConfigError(f"--interval {args.interval:g}: from 0.05 to 3600 seconds")
    path = find(args.which)
    stop = common.stop_on_signals()
    before, shown = None, 0
    live = None if args.json or not common.stdout_is_terminal() else start_live()
    try:
        while not stop.is_set():
            try:
                now = ask(path)
            except VeridnetError:
                if shown and not os.path.exists(path):
                    break  # the program has ended
                raise
            found = with_rates(now, before)
            if args.json:
                print(json.dumps(found), flush=True)
            elif live:
                live.update(watch_table(found), refresh=True)
            else:
                print("\n".join(watch_lines(found)), flush=True)
            before, shown = now, shown + 1
            if args.count is not None and shown >= args.count:
                break
            until = time.monotonic() + args.interval
            while not stop.is_set() and time.monotonic() < until:
                time.sleep(min(0.1, max(until - time.monotonic(), 0)))
    finally:
        if live:
            live.stop()
    return 0


def start_live() -> Any:
    """A live table of rich's, on the terminal."""
    from rich.console import Console
    from rich.live import Live

    live = Live(console=Console(highlight=False), auto_refresh=False)
    live.start()
    return live


HEAD = ("id", "priority", "packets", "bytes", "packets/s", "bit/s", "name", "match", "actions")


def watch_rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """A line a rule, and one for what no rule matched."""

    def row(of: dict[str, Any], number: str, priority: str, *rest: str) -> tuple[str, ...]:
        rates = common.si(of["packets_per_second"]), common.si(of["bits_per_second"])
        return (number, priority, f"{of['packets']:,}", f"{of['bytes']:,}", *rates, *rest)

    rows = [
        row(rule, str(rule["id"]), str(rule.get("priority", 0)), rule.get("name", ""),
            shortened(rule.get("match", "") or "every packet", 50),
            ", ".join(rule.get("actions", ())))
        for rule in found["rules"]
    ]  # fmt: skip
    if "missed" in found:
        rows.append(row(found["missed"], "", "", "", "no rule", ""))
    return rows


def watch_lines(found: dict[str, Any]) -> list[str]:
    """A snapshot as lines."""
    title = f"{found.get('program', 'pid')} {found['pid']}, {found['seconds']:.1f} s"
    return [title, *table(HEAD, watch_rows(found), numbers=6)]


def watch_table(found: dict[str, Any]) -> Any:
    """A snapshot as a table of rich's."""
    from rich.markup import escape
    from rich.table import Table

    out = Table(box=None, pad_edge=False, title=watch_lines({**found, "rules": []})[0])
    for k, name in enumerate(HEAD):
        out.add_column(name, justify="right" if k < 6 else "left", no_wrap=k < 7)
    for row in watch_rows(found):
        out.add_row(*(escape(printable(cell)) for cell in row))
    return out
