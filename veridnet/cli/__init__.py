"""The ``veridnet`` command: one file a subcommand."""

from __future__ import annotations

# Nothing heavy here, nor in veridnet/__init__.py: Ctrl-C before `main` runs is a traceback.
import os
import signal
from collections.abc import Sequence
from types import FrameType


def main(argv: Sequence[str] | None = None) -> int:
    """The command's entry point; returns the exit code."""
    before = signal.getsignal(signal.SIGINT)
    try:
        # Importing takes 0.2 s, and C code that imports (numpy's) makes an ImportError of a
        # KeyboardInterrupt. Nothing is open yet that a Ctrl-C would have to close.
        if before is signal.default_int_handler:
            signal.signal(signal.SIGINT, end_at_once)
        from veridnet.cli import commands

        args = commands.parse(argv)
        signal.signal(signal.SIGINT, before)
        return commands.run(args)
    except KeyboardInterrupt:
        return 130


def end_at_once(number: int, frame: FrameType | None) -> None:
    """A signal handler: the exit code that shells give to Ctrl-C, and nothing printed."""
    os._exit(128 + number)
