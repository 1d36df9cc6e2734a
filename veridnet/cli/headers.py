"""veridnet headers: the header fields of a capture, a line a packet."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from veridnet.cli import common
from veridnet.errors import ConfigError, VeridnetError
from veridnet.headers import match, text
from veridnet.headers.fields import ERRORS, FIELDS, GROUPS
from veridnet.headers.source import Source

if TYPE_CHECKING:
    from veridnet._native.matchers import Program
    from veridnet._native.table import Format

DESCRIPTION = """\
Prints header fields of a capture's packets, a line a packet, as tshark -T fields does, of large
captures at a hundred times its speed: tab-separated, or as a table on a terminal. A field that a
packet does not have is empty. Fields are those of the outermost headers. Any user can run it; no
hugepages are needed."""

EXAMPLES = """\
examples:
  veridnet headers trace.pcap
  veridnet headers trace.pcap --fields ip_src,ip_dst,l4_dst
  veridnet headers trace.pcap --fields frame.number,ip.src,tcp.dstport    tshark's names work too
  veridnet headers trace.pcap --where "udp port 53 and ip_ttl < 64" --count 10
  veridnet headers trace.pcap --fields ip,ipv4,l4 --csv > trace.csv       groups of columns
  veridnet headers trace.pcap --fields all --parquet trace.parquet
  veridnet headers trace.pcap --stats
  veridnet headers --columns                                              what there is
  zcat trace.pcap.gz | veridnet headers - --json
"""

#: Rows of a block: its columns stay in the L2 cache.
ROWS = 4096
DEFAULT = ("wire_len", "eth_src", "eth_dst", "ethertype", "ip_src", "ip_dst", "ip_proto", "l4_src",
           "l4_dst", "error")  # fmt: skip


def add_parser(sub: Any) -> None:
    """Adds the command."""
    p = sub.add_parser(
        "headers",
        help="header fields of a capture, as tshark -T fields prints them",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    p.add_argument(
        "capture", nargs="?", metavar="FILE",
        help="pcap or pcapng of Ethernet frames or IP packets; -: standard input",
    )  # fmt: skip
    p.add_argument(
        "-f", "--fields", metavar="NAMES", action="append",
        help="columns, groups or tshark's fields, with commas between (length, addresses, "
        "protocol, ports, error)",
    )  # fmt: skip
    p.add_argument(
        "-w", "--where", metavar="MATCH",
        help='only packets that match: "tcp port 443 and ip_ttl < 5"',
    )  # fmt: skip
    p.add_argument(
        "-n", "--count", metavar="N", type=common.number(int, "--count 10"),
        help="at most so many packets, of those that match",
    )  # fmt: skip
    form = p.add_argument_group("output (else tab-separated, or a table on a terminal)")
    form.add_argument("--csv", action="store_true", help="commas between, and a line of headings")
    form.add_argument(
        "--json", action="store_true",
        help="one array of objects; numbers as numbers, what is not there null",
    )  # fmt: skip
    form.add_argument(
        "--parquet", metavar="FILE",
        help="write FILE for pandas, DuckDB, Spark; needs pyarrow",
    )  # fmt: skip
    form.add_argument(
        "--stats", action="store_true",
        help="how many packets, of which protocols, with which errors",
    )  # fmt: skip
    form.add_argument("--columns", action="store_true", help="list all columns, and end")
    p.add_argument("-v", "--verbose", action="store_true", help="show where an error arose")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    common.setup_logging(args.verbose)
    forms = [f"--{name}" for name in ("csv", "json", "parquet", "stats", "columns")
             if getattr(args, name) not in (None, False)]  # fmt: skip
    if len(forms) > 1 and forms not in (["--json", "--stats"], ["--json", "--columns"]):
        raise ConfigError(f"{' and '.join(forms)} do not go together")
    if args.columns:
        list_columns(args.json)
        return 0
    if args.capture is None:
        raise ConfigError("no capture", hint="veridnet headers FILE, or - for standard input")
    if args.count is not None and args.count < 0:
        raise ConfigError(f"--count {args.count}: at least 0")
    program = None if args.where is None else match.compile(args.where)
    used = set() if args.where is None else match.columns(match.parse(args.where))
    names = [name.strip() for part in args.fields or () for name in part.split(",")]
    shown = text.choose(names or DEFAULT)
    if args.stats:
        from veridnet.apps.headers_stats import Stats

        stats = Stats()
        source = Source(args.capture, used | set(stats.COLUMNS), ROWS * 16)
        for _ in blocks(source, program, args.count):
            stats.add(source.reader)
        write_all(stats.json() if args.json else stats.table())
    elif args.parquet is not None:
        if is_same(args.parquet, args.capture):
            raise ConfigError(f"--parquet {args.parquet}: it is the capture, which would be lost")
        from veridnet.apps.headers_parquet import write_parquet

        source = Source(args.capture, used | text.needs(shown), ROWS * 16)
        write_parquet(args.parquet, shown, source.reader, blocks(source, program, args.count))
    else:
        source = Source(args.capture, used | text.needs(shown), ROWS)
        write_rows(args, shown, source, program)
    sys.stdout.flush()
    source.finish()
    return 0


def is_same(path: str, capture: str) -> bool:
    """Is `path` the file that is read?"""
    try:
        there = os.fstat(0) if capture == "-" else os.stat(capture)
        return os.path.samestat(os.stat(path), there)
    except (OSError, ValueError):
        return False


def blocks(source: Source, program: Program | None, count: int | None) -> Iterator[None]:
    """The source's blocks of which rows are selected, up to `count` rows altogether."""
    reader, left = source.reader, count
    while left != 0 and reader.read():
        if program is not None or left is not None:
            reader.select(program, left)
            if left is not None:
                left -= reader.selected
        if reader.selected:
            yield


def write_rows(
    args: argparse.Namespace, shown: Sequence[text.Shown], source: Source, program: Program | None
) -> None:
    """Text, to standard output."""
    skip, end = 0, b""
    if args.json:
        form: Format = text.json_objects(shown)
        head, skip, end = b"[\n", 2, b"\n]\n"  # skip: the first object has no comma before it
    elif args.csv:
        form = text.separated(shown, b",")
        head = ",".join(s.heading for s in shown).encode() + b"\n"
    elif common.stdout_is_terminal():
        form = text.aligned(shown)
        head = "  ".join(s.heading.rjust(s.width) for s in shown).encode() + b"\n"
    else:
        form, head = text.separated(shown, b"\t"), b""
    write_all(head)
    for _ in blocks(source, program, args.count):
        rows = source.reader.text(form)
        write_all(memoryview(rows)[skip:] if skip else rows)
        skip = 0
    write_all(b"]\n" if skip else end)


def write_all(data: bytes | memoryview | str) -> None:
    """To standard output. A reader that has gone is BrokenPipeError; what else fails is said."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data.encode() if isinstance(data, str) else data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as e:
        raise VeridnetError(f"standard output: {e.strerror}") from None


def list_columns(as_json: bool) -> None:
    """All columns, by the field table."""
    theirs: dict[str, list[str]] = {}
    for field, name in text.TSHARK.items():
        theirs.setdefault(name, []).append(field)
    rows = [
        (f.name, f.group, f.dtype, f.meaning, f.spec, " ".join(theirs.get(f.name, ())))
        for f in FIELDS
    ]
    for name, (high, _) in text.PAIRS.items():
        at = next(i for i, row in enumerate(rows) if row[0] == high)
        meaning = f"{'source' if name == 'ip6_src' else 'destination'} address, all of it"
        rows.insert(at, (name, "ipv6", "", meaning, "RFC 8200", " ".join(theirs.get(name, ()))))
    rows.insert(0, ("number", "", "", "the packet's number in the capture, from 1", "",
                    " ".join(theirs["number"])))  # fmt: skip
    keys = ("name", "group", "dtype", "meaning", "spec", "tshark")
    if as_json:
        write_all(json.dumps([dict(zip(keys, row, strict=True)) for row in rows]) + "\n")
        return
    widths = [max(map(len, column)) for column in zip(keys, *rows, strict=True)]
    widths[3] = 60  # longer meanings stand out, and do not widen the rest
    lines = [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in (keys, *rows)
    ]
    lines += ["", "errors:"] + [f"  {name.ljust(14)}{meaning}" for name, meaning in ERRORS]
    lines += ["", "groups:"] + [f"  {name.ljust(10)}{meaning}" for name, meaning in GROUPS.items()]
    write_all("\n".join(lines) + "\n")
