"""All subcommands, and how they end."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from veridnet._version import __version__
from veridnet.cli.common import Parser, one_line, open_standard_streams
from veridnet.errors import CaptureError, ConfigError, VeridnetError

#: Modules of veridnet.cli, a command each. Only the one that runs is loaded.
COMMANDS = (
    "l2fwd",
    "run",
    "headers",
    "rules",
    "topology",
    "hugepages",
    "ring",
    "scale",
    "doctor",
    "ports",
)

EXAMPLES = """\
examples:
  veridnet l2fwd --port pcap:rx=in.pcap,tx=a.pcap --port pcap:tx=b.pcap
                                            forward a capture into another
  veridnet l2fwd --learn --port tap:iface=vtap0 --port tap:iface=vtap1
                                            bridge two interfaces of the Linux stack
  veridnet run mirror.py --port tap:iface=vtap0 --port tap:iface=vtap1
                                            a pipeline of your own, from a Python file
  veridnet headers in.pcap --fields ip_src,ip_dst,l4_dst
                                            header fields of a capture, as tshark -T fields
  veridnet rules check rules.toml           what is wrong with flow rules
  veridnet ring bench                       how long a hop from one lcore to another takes
  veridnet doctor                           what works on this machine, and what mends the rest
  veridnet ports                            what ports there can be, and their keys
  veridnet topology                         CPUs, caches and NUMA nodes, and where workers go
  veridnet hugepages reserve 256            reserve hugepages of 2 MiB for packets
"""


def load(name: str) -> ModuleType:
    """A command's module."""
    return importlib.import_module(f"veridnet.cli.{name}")


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line, and loads the command that it names (``run`` of the result)."""
    open_standard_streams()
    parser = Parser(
        prog="veridnet",
        description="Packet processing on DPDK whose program is Python.",
        epilog=EXAMPLES,
    )
    parser.add_argument("--version", action="version", version=f"veridnet {__version__}")
    sub = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    words = sys.argv[1:] if argv is None else list(argv)
    for name in words[:1] if words and words[0] in COMMANDS else COMMANDS:
        load(name).add_parser(sub)
    args = parser.parse_args(words)
    if args.command is None:
        parser.print_help(sys.stderr)
        parser.exit(2)
    return args


def run(args: argparse.Namespace) -> int:
    """Runs a command; returns the exit code."""
    try:
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except VeridnetError as e:
        print(f"veridnet {args.command}: error: {one_line(e)}", file=sys.stderr)
        # What was asked for cannot be, or what was tried did not work.
        return 2 if isinstance(e, ConfigError) and not isinstance(e, CaptureError) else 1
    except BrokenPipeError:
        # The reader of our output has gone: nothing is left to say, and nowhere to say it.
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as e:
        # A mistake of ours: one line all the same, and the rest for who asks.
        if getattr(args, "verbose", False):
            raise
        kind = "" if isinstance(e, OSError) else f"{type(e).__name__}: "
        print(f"veridnet {args.command}: error: {kind}{one_line(e)} (-v shows where)",
              file=sys.stderr)  # fmt: skip
        return 1
    finally:
        give_up_unwritable_streams()


def give_up_unwritable_streams() -> None:
    """What cannot be written would fail once more, as exit code 120, when the interpreter ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
