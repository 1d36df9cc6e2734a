"""The programs of examples/: they run, each has --help, and their errors are one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from netns import Lab

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(p.stem for p in EXAMPLES.glob("*.py"))


def run(
    name: str, *args: str, cwd: Path, before: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*before, sys.executable, "-P", str(EXAMPLES / f"{name}.py"), *args],
        capture_output=True, text=True, timeout=30, cwd=cwd, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_help(name: str, tmp_path: Path) -> None:
    done = run(name, "--help", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("usage: "), done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [n for n in NAMES if n != "bridge"])
@pytest.mark.parametrize("source", ["nosuch.pcap", "text.pcap"])
def test_errors_are_one_line(name: str, source: str, tmp_path: Path) -> None:
    (tmp_path / "text.pcap").write_text("this is text, and long enough to be a header\n")
    out = ("out.pcap",) if name in ("forward", "to_ethernet") else ()
    done = run(name, source, *out, cwd=tmp_path)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"{name}.py: error: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "out.pcap").exists()


def test_they_run(tmp_path: Path) -> None:
    assert "1795 packets" in run("forward", cwd=tmp_path).stdout
    assert "sent: 2 made ones and 32 received ones" in run("views", cwd=tmp_path).stdout
    done = run("to_ethernet", "out.pcap", "again.pcap", cwd=tmp_path)
    assert done.stdout == "1795 frames -> again.pcap\n", done.stderr


def test_ethertypes(tmp_path: Path) -> None:
    """Compared with what the file's own bytes say."""
    done = run("ethertypes", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    counted = {w[1]: int(w[0].replace(",", "")) for w in map(str.split, done.stdout.splitlines())}
    scapy = pytest.importorskip("scapy.utils")
    expected: dict[str, int] = {}
    for packet, _ in scapy.RawPcapReader(str(EXAMPLES / "demo.pcap")):
        key = f"0x{packet[12:14].hex()}"
        expected[key] = expected.get(key, 0) + 1
    assert counted == expected


def test_bridge(lab: Lab) -> None:
    before = ("ip", "netns", "exec", lab.ns("R").name)
    done = run("bridge", "0.3", cwd=lab.folder, before=before)
    assert done.returncode == 0 and "packets sent" in done.stdout, done.stderr
    done = run("bridge", "soon", cwd=lab.folder, before=before)
    assert done.returncode == 2 and "Traceback" not in done.stderr
