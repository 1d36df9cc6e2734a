"""Signals, and what happens when standard streams or the disk go away."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from captures import frames
from netns import Lab, wait_until
from running import COMMAND, Live, Run, l2fwd

PORTS = ("-p", "null:size=64", "-p", "null:size=64")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_with_the_summary(lab: Lab, number: int) -> None:
    run = Live(lab, *PORTS).ready().stop(number)
    result = run.ok()
    assert result["ended_by"] == "stopped" and result["rx_packets"] > 0
    assert "no drops" in run.stderr


def test_it_listens_even_where_the_shell_ignores_the_signal(lab: Lab) -> None:
    """A shell's background jobs have SIGINT ignored; the command takes it all the same."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        live = Live(lab, *PORTS)
    finally:
        signal.signal(signal.SIGINT, before)
    live.ready().stop().ok()


def test_two_quick_signals_are_one(lab: Lab) -> None:
    """timeout(1) sends its signal to the process and to the group, so it comes twice."""
    for _ in range(3):
        live = Live(lab, *PORTS).ready()
        live.process.send_signal(signal.SIGINT)
        time.sleep(0.005)
        live.process.send_signal(signal.SIGINT)  # nothing, if it has ended already
        live.wait(15).ok()


def test_a_second_signal_later_ends_it_at_once(lab: Lab) -> None:
    """Stopped for good: whether by its own end or by the second signal, soon, and no trace left."""
    ns = lab.ns("R")
    live = Live(lab, "-p", "tap:iface=vt0", "-p", "tap:iface=vt1", ns=ns).ready()
    live.process.send_signal(signal.SIGSTOP)
    live.process.send_signal(signal.SIGINT)
    live.process.send_signal(signal.SIGCONT)
    time.sleep(1.2)
    with contextlib.suppress(ProcessLookupError):
        live.process.send_signal(signal.SIGINT)
    run = live.wait(15)
    assert run.code in (0, -signal.SIGINT)
    wait_until(lambda: "vt0" not in ns.ip("link"), "the end of its interface", 10)


def test_timeout_1(tmp_path: Path) -> None:
    """Under timeout(1) without -s: SIGTERM, and the summary."""
    for seconds in ("1.5", "6", "30"):  # a busy machine may not have it forwarding so soon
        done = subprocess.run(
            ["timeout", seconds, *COMMAND, "l2fwd", *PORTS, "--json", "--stats-period", "0.1"],
            capture_output=True, text=True, timeout=60, cwd=tmp_path,
        )  # fmt: skip
        if "rx packets" in done.stderr:
            break
    assert done.returncode == 124
    Run(0, done.stdout, done.stderr).ok()


def closed(
    stream: int, *args: str, cwd: Path, **options: object
) -> subprocess.CompletedProcess[str]:
    """Runs the command with one of its standard streams closed from the start."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {stream}>&-', "sh", *COMMAND, "l2fwd", *args],
        capture_output=True, text=True, timeout=60, cwd=cwd, **options,
    )  # fmt: skip


def test_the_reader_of_stdout_has_gone(tmp_path: Path, demo_pcap: Path) -> None:
    """As in `veridnet l2fwd --json | head -c 0`: the packets are all forwarded, no traceback."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*COMMAND, "l2fwd", "-p", f"pcap:rx={demo_pcap}", "-p", "pcap:tx=out.pcap", "--json"],
        stdout=write, stderr=subprocess.PIPE, text=True, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    os.close(write)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    assert len(frames(tmp_path / "out.pcap")) == len(frames(demo_pcap))


def test_the_reader_of_stderr_has_gone(tmp_path: Path, demo_pcap: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*COMMAND, "l2fwd", "-p", f"pcap:rx={demo_pcap}", "-p", "pcap:tx=out.pcap", "--json",
         "--stats-period", "0.001"],
        stdout=subprocess.PIPE, stderr=write, text=True, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    os.close(write)
    assert done.returncode in (0, 1)
    assert len(frames(tmp_path / "out.pcap")) == len(frames(demo_pcap))


@pytest.mark.parametrize("stream", [0, 1, 2])
def test_a_stream_that_is_closed_from_the_start(
    tmp_path: Path, demo_pcap: Path, stream: int
) -> None:
    """The capture must not become standard output or error: nothing is printed into it."""
    done = closed(stream, "-p", f"pcap:rx={demo_pcap}", "-p", "pcap:tx=out.pcap", "--json",
                  "--no-mac-updating", cwd=tmp_path)  # fmt: skip
    assert "Traceback" not in done.stderr
    assert frames(tmp_path / "out.pcap") == frames(demo_pcap)
    if stream == 0:
        Run(done.returncode, done.stdout, done.stderr).ok()


def test_stderr_closed_and_an_error(tmp_path: Path) -> None:
    done = closed(2, "-p", "pcap:rx=nosuch.pcap", "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""


def test_stdout_is_full(tmp_path: Path, demo_pcap: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, "l2fwd", "-p", f"pcap:rx={demo_pcap}", "-p", "null:no_rx=on", "--json"],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, cwd=tmp_path,
        )  # fmt: skip
    assert done.returncode == 1
    assert "No space left" in done.stderr and "Traceback" not in done.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder)],
                          capture_output=True, text=True, timeout=10)  # fmt: skip
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], timeout=10)


def test_the_disk_is_full(tmp_path: Path, demo_pcap: Path, small_disk: Path) -> None:
    """The run goes through; that the capture is incomplete is said, and the exit code is 1."""
    run = l2fwd("-p", f"pcap:rx={demo_pcap}", "-p", f"pcap:tx={small_disk}/out.pcap", cwd=tmp_path)
    assert run.code == 1
    (problem,) = run.data["problems"]
    assert "out.pcap" in problem and "incomplete" in problem
    assert "problem: " in run.stderr and "Traceback" not in run.stderr


def test_output_to_dev_null(tmp_path: Path, demo_pcap: Path) -> None:
    result = l2fwd("-p", f"pcap:rx={demo_pcap}", "-p", "pcap:tx=/dev/null", cwd=tmp_path).ok()
    assert result["tx_packets"] == len(frames(demo_pcap))
    l2fwd("-p", f"pcap:rx={demo_pcap}", "-p", "pcap:tx=/dev/full", cwd=tmp_path).one_line("full")


def test_an_output_is_replaced_whole(tmp_path: Path, demo_pcap: Path) -> None:
    """A longer file of that name leaves no tail behind."""
    out = tmp_path / "out.pcap"
    out.write_bytes(b"x" * 2_000_000)
    l2fwd("-p", f"pcap:rx={demo_pcap}", "-p", "pcap:tx=out.pcap", cwd=tmp_path).ok()
    assert out.stat().st_size == demo_pcap.stat().st_size
