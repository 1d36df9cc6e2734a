"""What the commands share: options for ports, one-line errors, numbers for people."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from veridnet.errors import ConfigError, VeridnetError

# veridnet.config loads numpy, which commands without ports do not need: see its uses.
if TYPE_CHECKING:
    from veridnet.config import PortSpec, Profile

#: What people write for options that are called otherwise.
MEANT = {
    "--bridge": "--learn", "--time": "--duration", "--timeout": "--duration",
    "--seconds": "--duration", "--iface": "--port",
}  # fmt: skip


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line, of the command that they belong to."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse, but what is not known is an error here, not in the parser above."""
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(self.not_known(unknown[0]))
        return known, unknown

    def not_known(self, word: str) -> str:
        """What is said of a word that is no option, nor an option's value."""
        if not word.startswith("-"):
            spec = f"pcap:rx={word}" if os.path.isfile(word) else word
            port = "--port" in self._option_string_actions
            return f"unexpected {word!r}" + (f" (did you mean --port {spec}?)" if port else "")
        option = word.partition("=")[0]
        known = self._option_string_actions
        near = [MEANT[option]] if MEANT.get(option) in known else []
        near = near or difflib.get_close_matches(option, known, 1, 0.7)
        return f"unknown option {option}" + (f" (did you mean {near[0]}?)" if near else "")

    def error(self, message: str) -> NoReturn:
        message = message.removeprefix("argument ")
        if m := re.match(r"COMMAND: invalid choice: '(.*)' \(choose from (.*)\)", message):
            commands = re.findall(r"[\w-]+", m[2])
            near = difflib.get_close_matches(m[1], commands, 1)
            guess = f" (did you mean {near[0]}?)" if near else ""
            message = f"there is no command {m[1]!r}{guess}; commands: {', '.join(commands)}"
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


class PortAction(argparse.Action):
    """Collects --port and --vdev in one list, so that their order is the ports' order."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        from veridnet.config import parse_port, parse_vdev

        parse = parse_vdev if option_string == "--vdev" else parse_port
        try:
            spec = parse(str(values))
        except VeridnetError as e:
            parser.error(one_line(e))
        namespace.ports = [*(namespace.ports or []), spec]


def add_port_options(parser: argparse.ArgumentParser) -> None:
    """--port, --vdev and --config."""
    group = parser.add_argument_group("ports")
    group.add_argument(
        "-p", "--port", metavar="SPEC", action=PortAction, dest="ports",
        help="KIND[:key=value,...] or a PCI address; repeat it. Kinds and keys: veridnet ports",
    )  # fmt: skip
    group.add_argument(
        "--vdev", metavar="ARGS", action=PortAction, dest="ports",
        help="a port by DPDK's own device arguments: net_null0,size=64",
    )  # fmt: skip
    group.add_argument(
        "-c", "--config", metavar="FILE",
        help="a TOML profile, as in dpdk-config/; options given here go before it",
    )  # fmt: skip


def add_runtime_options(parser: argparse.ArgumentParser) -> None:
    """--lcores, --memory, --mbufs and -v."""
    group = parser.add_argument_group("runtime")
    group.add_argument(
        "-l", "--lcores", metavar="CPUS", help="CPUs of the worker lcores, one each: 1 or 1,2-3"
    )
    group.add_argument(
        "--memory", choices=("auto", "hugepages", "thp", "4k"),
        help="memory of the packet buffers (auto: the first of these that is there)",
    )  # fmt: skip
    group.add_argument(
        "--mbufs", type=number(int, "--mbufs 65535"), metavar="N",
        help="packet buffers of a pool (16383)",
    )  # fmt: skip
    group.add_argument("-v", "--verbose", action="store_true", help="show DPDK's log, on stderr")


def number(kind: type[int] | type[float], example: str) -> Callable[[str], float]:
    """A type for add_argument whose error shows how the option is written."""

    def parse(text: str) -> float:
        try:
            return kind(text)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(
                f"{text!r} is not {what} (example: {example})"
            ) from None

    return parse


@contextlib.contextmanager
def as_typed(args: argparse.Namespace) -> Iterator[None]:
    """Names an option in a ConfigError as the user wrote it: ``--burst 0``, or the profile."""
    try:
        yield
    except ConfigError as e:
        m = re.match(r"(\w+)([=:]) ?(.*)", str(e), re.DOTALL)
        if m and getattr(args, m[1], None) is not None:
            text = f"--{m[1].replace('_', '-')}{' ' if m[2] == '=' else ': '}{m[3]}"
        elif m and args.config:
            text = f"{args.config}: {e}"
        else:
            raise
        raise ConfigError(text, hint=e.hint) from None


def read_profile(path: str | None, keys: dict[str, type]) -> Profile:
    """The profile of --config, or an empty one."""
    from veridnet.config import Profile, load_profile

    return load_profile(path, keys) if path else Profile()


def chosen_ports(args: argparse.Namespace, profile: Profile) -> list[PortSpec]:
    """The profile's ports, then those of the command line."""
    return [*profile.ports, *(args.ports or [])]


def one_line(error: BaseException) -> str:
    """An error as one line, with what mends it; long quotes and control characters are cut."""
    text = readable(str(error))
    hint = readable(getattr(error, "hint", ""))
    return f"{text} [mend: {hint}]" if hint else text


def readable(text: str, most: int = 1000) -> str:
    """One line for a terminal, of at most `most` characters."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text[: 4 * most].split()))
    return line if len(line) <= most else f"{line[: most - 200]} ... {line[-150:]}"


def open_standard_streams() -> None:
    """Gives a process that was started without stdin, stdout or stderr /dev/null for them.

    Else a capture would be opened as descriptor 2, and every message written into it.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


class Stderr(logging.StreamHandler[Any]):
    """Writes to what sys.stderr is at the time: a live table puts lines above itself."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        """Where to."""
        return sys.stderr

    @stream.setter
    def stream(self, value: Any) -> None:
        pass


def setup_logging(verbose: bool) -> None:
    """veridnet's and DPDK's log lines on stderr: warnings, or everything."""
    handler = Stderr()
    handler.setFormatter(logging.Formatter("veridnet: %(message)s"))
    logger = logging.getLogger("veridnet")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.DEBUG if verbose else logging.WARNING)
    # DPDK's own lines repeat what an error message already says.
    logging.getLogger("veridnet.dpdk").setLevel(logging.DEBUG if verbose else logging.CRITICAL)


class StopFlag:
    """Set by a signal handler. It has no lock, which the interrupted thread might hold.

    (threading.Event has one: set() in a handler that interrupts wait() of the same thread, in the
    few microseconds in which that holds it, waits for ever.)
    """

    __slots__ = ("_stopped",)

    def __init__(self) -> None:
        self._stopped = False

    def set(self) -> None:
        """It is time to stop."""
        self._stopped = True

    def is_set(self) -> bool:
        """Is it?"""
        return self._stopped


def stop_on_signals() -> StopFlag:
    """A flag that Ctrl-C and SIGTERM set; another, a second later, ends the process at once."""
    event = StopFlag()
    first = 0.0

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal first
        # One Ctrl-C may arrive twice (from the terminal, and passed on by a parent).
        if event.is_set() and time.monotonic() - first > 1.0:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        if not event.is_set():
            first = time.monotonic()
        event.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)
    return event


def si(value: float, unit: str = "") -> str:
    """1234567 -> "1.23 M"."""
    for factor, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * factor:  # 999,999 is 1 M, not 1e+03 k
            return f"{value / factor:.3g} {letter}{unit}"
    return f"{value:.3g} {unit}".rstrip()


def stdout_is_terminal() -> bool:
    """Is standard output a terminal?"""
    return sys.stdout is not None and sys.stdout.isatty()
