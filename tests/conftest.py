"""Fixtures of all tests: one runtime a test, subprocesses, captures. Everything ends in time.

EAL starts once per process, so tests that need other settings, fork or crash run their code in a
subprocess (`run_python`, `veridnet_cli`).
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
TRACES = SHARED / "traces"
NO_TRACES = "the shared traces (../shared/traces) are not here"

# The source folder veridnet/ has no compiled modules: it must never shadow the installed package.
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != ROOT]

# For header_stacks, which unit and integration tests share.
sys.path.append(str(ROOT / "tests"))

# A shell's background job ignores SIGINT, and so would every command that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

FAILED = pytest.StashKey[bool]()
LIMIT_S = 180


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Most tests take a second, more on a busy machine; pytest-timeout ends what hangs."""
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(LIMIT_S))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


# -- the runtime ----------------------------------------------------------------------------------


@pytest.fixture
def runtime(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A Runtime on the process's EAL. At the end the accounts must balance, and once it is closed
    no mbuf may be out (a test that closes it itself may keep views, and checks what it wants)."""
    import veridnet

    rt = veridnet.Runtime()
    try:
        yield rt
        closed_by_test = rt.closed
    finally:
        rt.close()
    if request.node.stash.get(FAILED, False):
        return  # its traceback keeps objects alive; one failure is enough
    assert rt.balance().balanced, rt.balance()
    if not closed_by_test:
        assert rt.mbufs_in_use() == 0
        assert rt.problems == []


# -- subprocesses ---------------------------------------------------------------------------------


class Completed(subprocess.CompletedProcess[str]):
    """What a command did; `json` is its output parsed, where there was --json."""

    json: Any = None


def run(command: Sequence[object], timeout: float, **kwargs: Any) -> Completed:
    """subprocess.run that ends the command's whole process group when its time is over."""
    args = [os.fspath(c) if isinstance(c, os.PathLike) else str(c) for c in command]
    given = kwargs.pop("input", None)
    process = subprocess.Popen(
        args, stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **kwargs,
    )  # fmt: skip
    try:
        out, err = process.communicate(given, timeout=timeout)
    except BaseException as e:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        if isinstance(e, subprocess.TimeoutExpired):
            pytest.fail(f"{args} took longer than {timeout} s\n{out[-4000:]}\n{err[-4000:]}")
        raise
    return Completed(args, process.returncode, out, err)


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., Completed]:
    """``run_python(code, *args, timeout=60, check=True, prefix=())`` runs code in a new process.

    `args` are its sys.argv[1:], `prefix` a command that runs it (``ip netns exec NS``); further
    keywords (env, cwd, input) are subprocess.Popen's. With `check`, the exit code must be 0.
    """

    def run_code(
        code: str, *args: object, timeout: float = 60, check: bool = True,
        prefix: Sequence[object] = (), **kwargs: Any,
    ) -> Completed:  # fmt: skip
        kwargs.setdefault("cwd", tmp_path)
        python = kwargs.pop("python", sys.executable)
        command = [*prefix, python, "-P", "-X", "faulthandler", "-c", textwrap.dedent(code), *args]
        result = run(command, timeout, **kwargs)
        if check:
            assert result.returncode == 0, f"{result.returncode}\n{result.stdout}\n{result.stderr}"
        return result

    return run_code


@pytest.fixture
def veridnet_cli(tmp_path: Path) -> Callable[..., Completed]:
    """``veridnet_cli(*args, timeout=60, prefix=())`` runs the command in a folder of its own.

    With "--json" among the arguments, `.json` of the result is what it printed (None for nothing).
    """

    def run_cli(
        *args: object, timeout: float = 60, prefix: Sequence[object] = (), **kwargs: Any
    ) -> Completed:
        kwargs.setdefault("cwd", tmp_path)
        command = [*prefix, sys.executable, "-P", "-m", "veridnet", *args]
        result = run(command, timeout, **kwargs)
        if "--json" in result.args and result.stdout.strip():
            result.json = json.loads(result.stdout)
        return result

    return run_cli


# -- captures -------------------------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`shared_trace`: each file of ../shared/traces."""
    if "shared_trace" in metafunc.fixturenames:
        files = sorted(TRACES.iterdir()) if TRACES.is_dir() else []
        missing = pytest.param(None, marks=pytest.mark.skip(reason=NO_TRACES), id="none")
        params = [pytest.param(f, id=f.name) for f in files] or [missing]
        metafunc.parametrize("shared_trace", params)


@pytest.fixture(scope="session")
def shared_traces() -> list[Path]:
    """The files of ../shared/traces."""
    if not TRACES.is_dir():
        pytest.skip(NO_TRACES)
    return sorted(TRACES.iterdir())


@pytest.fixture(scope="session")
def demo_pcap() -> Path:
    """The project's own trace of real traffic."""
    path = ROOT / "examples" / "demo.pcap"
    if not path.exists():
        pytest.skip("examples/demo.pcap is not here (scripts/record-demo-trace makes it)")
    return path


@pytest.fixture(scope="session")
def frames_of() -> Callable[[object], list[bytes]]:
    """``frames_of(path)``: the frames of a capture as scapy reads it, with no help from us."""
    from scapy.utils import RawPcapReader

    def read(path: object) -> list[bytes]:
        with RawPcapReader(os.fspath(path)) as reader:  # type: ignore[call-overload]
            return [bytes(frame) for frame, _ in reader]

    return read


@pytest.fixture(scope="session")
def write_pcap() -> Callable[..., Path]:
    """``write_pcap(path, frames, linktype=1, lengths={})``: a classic capture, byte by byte.

    `lengths` gives a record's length on the wire where it differs from what is captured.
    """

    def write(
        path: Path,
        frames: Sequence[bytes],
        linktype: int = 1,
        lengths: dict[int, int] | None = None,
    ) -> Path:
        parts = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, linktype)]
        for i, frame in enumerate(frames):
            wire = (lengths or {}).get(i, len(frame))
            parts += [struct.pack("<IIII", 1_000_000 + i, i, len(frame), wire), frame]
        path.write_bytes(b"".join(parts))
        return path

    return write
