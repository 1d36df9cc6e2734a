"""Runs the `veridnet` command for tests, and checks what every run must keep."""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netns import Lab, Namespace

#: -P: the current directory must not come before the installed package.
COMMAND = (sys.executable, "-P", "-m", "veridnet")

_serial = itertools.count()


@dataclass
class Run:
    """How one run of the command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def data(self) -> dict[str, Any]:
        """The object that --json printed: all of stdout, and nothing else is there."""
        assert self.stdout.count("\n") == 1 and self.stdout.endswith("\n"), (
            f"stdout is not one line: {self.stdout[:300]!r}; stderr: {self.stderr[-2000:]}"
        )
        data = json.loads(self.stdout)
        assert isinstance(data, dict)
        return data

    @property
    def ports(self) -> dict[str, dict[str, Any]]:
        """The ports of the result by name."""
        return {p["name"]: p for p in self.data["ports"]}

    def ok(self, *, in_use: int | None = 0) -> dict[str, Any]:
        """The result, after checking what holds for every good run (in_use None: unchecked)."""
        assert self.code == 0, f"exit code {self.code}: {self.stderr[-3000:]}"
        data = self.data
        balanced(data)
        assert data["problems"] == []
        assert in_use is None or data["mbufs_in_use"] == in_use, "mbufs were lost"
        assert "Traceback" not in self.stderr
        return data

    def one_line(self, *words: str) -> str:
        """The error line, after checking that it is the only output, and names the words."""
        assert self.code not in (0, None) and self.code > 0, (self.code, self.stderr[-2000:])
        assert self.stdout == ""
        assert self.stderr.count("\n") == 1, f"not one line: {self.stderr[-3000:]}"
        assert "Traceback" not in self.stderr and "EAL options" not in self.stderr
        for word in words:
            assert word in self.stderr, f"{word!r} is not in {self.stderr!r}"
        return self.stderr.strip()


def balanced(data: dict[str, Any]) -> None:
    """rx + generated + copies = tx + drops + held, by the totals and by the ports' own counts."""
    drops = sum(data["drops"].values())
    assert all(n > 0 for n in data["drops"].values())
    assert (
        data["rx_packets"] + data["generated"] + data["copies"]
        == data["tx_packets"] + drops + data["held"]
    ), data
    assert data["balanced"] is True
    assert data["held"] == 0
    for way in ("rx_packets", "tx_packets"):
        assert sum(p[way] for p in data["ports"]) == data[way]
    for p in data["ports"]:
        assert all(n <= data["drops"][reason] for reason, n in p["drops"].items())


def veridnet(
    *args: str, cwd: Path, ns: Namespace | None = None, timeout: float = 60, **options: Any
) -> Run:
    """Runs the command to its end."""
    before = ("ip", "netns", "exec", ns.name) if ns else ()
    options = {"stdin": subprocess.DEVNULL, **options}
    done = subprocess.run(
        [*before, *COMMAND, *args], capture_output=True, text=True, timeout=timeout, cwd=cwd,
        **options,
    )  # fmt: skip
    return Run(done.returncode, done.stdout, done.stderr)


def l2fwd(*args: str, cwd: Path, **options: Any) -> Run:
    """`veridnet l2fwd ... --json`, to its end."""
    return veridnet("l2fwd", *args, "--json", cwd=cwd, **options)


class Live:
    """A `veridnet l2fwd` (or run) that runs while the test does something; `stop`: its Run."""

    def __init__(
        self, lab: Lab, *args: str, ns: Namespace | None = None, command: str = "l2fwd"
    ) -> None:
        at = lab.folder / f"l2fwd{next(_serial)}"
        self.out, self.err = at.with_suffix(".out"), at.with_suffix(".err")
        before = ("ip", "netns", "exec", ns.name) if ns else ()
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = lab.start(
                *before, *COMMAND, command, *args, "--json", "--stats-period", "0.1",
                stdout=out, stderr=err,
            )  # fmt: skip

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def stderr(self) -> str:
        return self.err.read_text()

    def ready(self, seconds: float = 40) -> Live:
        """Waits for its first table; AssertionError if it ends before."""
        end = time.monotonic() + seconds
        while "rx packets" not in self.stderr:
            assert self.running, f"ended with {self.process.returncode}: {self.stderr}"
            assert time.monotonic() < end, f"not forwarding after {seconds} s: {self.stderr}"
            time.sleep(0.02)
        return self

    def wait(self, seconds: float = 40) -> Run:
        """Waits for its end; AssertionError, with what its threads do, if it does not come."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            text = f"still runs after {seconds:g} s: {threads(self.process.pid)}"
            raise AssertionError(f"{text}\n{self.stderr[-1500:]}") from None
        return Run(code, self.out.read_text(), self.stderr)

    def stop(self, number: int = signal.SIGINT, seconds: float = 15) -> Run:
        """Sends a signal, and waits for the end."""
        assert self.running, f"ended with {self.process.returncode}: {self.stderr}"
        self.process.send_signal(number)
        return self.wait(seconds)


def threads(pid: int) -> str:
    """What the kernel says of a process's threads: name, state, where it sleeps, system call."""
    lines = []
    for task in sorted(Path(f"/proc/{pid}/task").iterdir()):
        with contextlib.suppress(OSError, IndexError):
            state = (task / "stat").read_text().rpartition(")")[2].split()[0]
            words = ((task / n).read_text().strip() for n in ("comm", "wchan", "syscall"))
            lines.append(f"{task.name} {state} {' '.join(words)}")
    return "; ".join(lines)
