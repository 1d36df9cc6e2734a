"""A primary and secondaries: what one puts another gets, and whoever is killed, the rest runs on.

They need hugepages and a hugetlbfs, which are there for this module only.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NR_HUGEPAGES = Path("/proc/sys/vm/nr_hugepages")
#: Others on the machine take hugepages, too.
LOCK = Path("/tmp/wt/hugepages.lock")
PAGES = 80

HEAD = """
import json, sys, time, numpy as np, veridnet as vn
rt = vn.Runtime({how}={name!r}, lcores=({cpu},), mbufs=1023)
def balance():
    b = rt.balance()
    assert b.balanced, b
    return b
def error(kind, call):
    try:
        call()
    except kind as e:
        return str(e) + " | " + e.hint
for line in iter(sys.stdin.readline, ""):
    code = json.loads(line)
    try:
        try:
            out = repr(eval(code, globals()))
        except SyntaxError:
            exec(code, globals())
            out = ""
    except BaseException as e:
        out = "!" + repr(e)
    print(json.dumps(out), flush=True)
rt.close()
"""


class Shell:
    """A process with a Runtime, told line by line what to do."""

    def __init__(self, how: str, name: str, cpu: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-X", "faulthandler", "-c",
             textwrap.dedent(HEAD).format(how=how, name=name, cpu=cpu)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def send(self, code: str) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(textwrap.dedent(code).strip()) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pytest.fail(self.process.stderr.read())  # type: ignore[union-attr]

    def answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            pytest.fail(self.process.stderr.read())  # type: ignore[union-attr]
        out: str = json.loads(line)
        assert not out.startswith("!"), out
        return out

    def do(self, code: str) -> str:
        self.send(code)
        return self.answer()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def end(self) -> None:
        """Ends it in good order."""
        _, errors = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, errors


@pytest.fixture(scope="module")
def hugepages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hugepages and a hugetlbfs for this module."""
    with open(LOCK if LOCK.parent.is_dir() else os.devnull) as lock:
        if LOCK.parent.is_dir():
            fcntl.flock(lock, fcntl.LOCK_EX)
        before = NR_HUGEPAGES.read_text()
        try:
            NR_HUGEPAGES.write_text(str(int(before) + PAGES))
            if int(NR_HUGEPAGES.read_text()) < int(before) + PAGES:
                pytest.skip(f"no {PAGES} hugepages")
            folder = tmp_path_factory.mktemp("huge")
            done = subprocess.run(
                ["mount", "-t", "hugetlbfs", "-o", "pagesize=2M", "nodev", str(folder)],
                capture_output=True, text=True,
            )  # fmt: skip
            if done.returncode:
                pytest.skip(f"no hugetlbfs: {done.stderr}")
            try:
                yield
                left = [p.name for p in folder.iterdir()]
            finally:
                subprocess.run(["umount", str(folder)], check=True)
            assert [f for f in left if not f.startswith("vnkill")] == []
        except PermissionError:
            pytest.skip("hugepages need root")
        finally:
            NR_HUGEPAGES.write_text(before)


@pytest.fixture
def shells(hugepages: None, request: pytest.FixtureRequest) -> Iterator[Any]:
    """``shells(how, cpu=0)`` starts a process of this test's group."""
    kills = "kill" if "kill" in request.node.name else "test"
    name = f"vn{kills}{os.getpid()}"
    made: list[Shell] = []

    def start(how: str, cpu: int = 0, name: str = name) -> Shell:
        made.append(Shell(how, name, cpu))
        made[-1].do("1")
        return made[-1]

    start.name = name  # type: ignore[attr-defined]
    try:
        yield start
    finally:
        for shell in made:
            if shell.process.poll() is None:
                shell.kill()


def test_what_one_puts_the_other_gets(shells) -> None:
    a = shells("shared")
    a.do("""
        ring = vn.Ring(64, name="packets")
        back = vn.Ring(64, name="back")
        values = vn.Ring(64, name="values", dtype="u4,f8", mode="spsc")
        stack, rcu = vn.Stack(8, name="s"), vn.Rcu([1, 2], name="r")
        ring.put(vn.Burst.from_bytes([bytes([i]) * 60 for i in range(50)]))
        values.put([(1, 2.5), (3, 4.5)])
        stack.push([5, 6])
    """)
    b = shells("attach", 1)
    b.do("""
        ring, back = vn.Ring.attach("packets"), vn.Ring.attach("back")
        values = vn.Ring.attach("values")
        burst = vn.Burst(64)
    """)
    assert b.do("ring.get(burst), [burst.to_bytes(i)[0] for i in range(50)] == [*range(50)]") == (
        "(50, True)"
    )
    assert b.do("values.get(9).tolist()") == "[(1, 2.5), (3, 4.5)]"
    assert b.do("values.dtype == np.dtype('u4,f8')") == "True"
    assert b.do("vn.Stack.attach('s').pop(2).tolist(), vn.Rcu.attach('r').value.tolist()") == (
        "([6, 5], [1, 2])"
    )
    assert "not of" in b.do("error(vn.ConfigError, lambda: vn.Ring.attach('values', dtype='u4'))")
    assert b.do("back.put(burst), len(burst)") == "(50, 0)"
    b.do("back.put(vn.Burst.from_bytes([bytes(60)] * 3))")
    assert b.do("(balance().handed_in, balance().handed_out, balance().held)") == "(50, 53, 0)"
    assert a.do("got = vn.Burst(64)") == "" and a.do("back.get(got)") == "53"
    assert a.do("(balance().handed_in, balance().handed_out, balance().held)") == "(53, 50, 53)"
    assert a.do("rt.mbufs_in_use()") == "53"
    a.do("got.clear()")
    assert a.do("ring.processes") == f"[{b.process.pid}]"
    # A secondary publishes nothing, and makes no port; its lcores are its own.
    assert "only the process" in b.do(
        "error(vn.StateError, lambda: vn.Rcu.attach('r').publish([3]))"
    )
    assert "no ports" in b.do("error(vn.ConfigError, lambda: rt.add_port('null'))")
    assert a.do("rt.worker_lcores") == "[1]" and b.do("rt.worker_lcores") == "[3]"
    b.do("kept = vn.Rcu.attach('r').value")
    a.do("rcu.publish([7, 8, 9])")
    assert b.do("kept.tolist(), vn.Rcu.attach('r').value.tolist()") == "([1, 2], [7, 8, 9])"
    b.end()
    a.do("rt.close()")
    assert a.do("rt.mbufs_in_use(), rt.problems, balance().held") == "(0, [], 0)"
    a.end()


def test_a_secondary_makes_rings_and_pools_too(shells) -> None:
    a, b = shells("shared"), shells("attach", 1)
    b.do("ring, pool = vn.Ring(8, name='theirs'), rt.add_pool(127)")
    b.do("ring.put(vn.Burst.from_bytes([bytes(60)] * 3, pool))")
    a.do("r, burst = vn.Ring.attach('theirs', timeout=5), vn.Burst(8)")
    assert a.do("r.get(burst), balance().handed_in, rt.mbufs_in_use()") == "(3, 3, 0)"
    assert b.do("pool.in_use") == "3"
    a.do("burst.clear()")
    assert b.do("pool.in_use") == "0"
    assert "already" in a.do("error(vn.ConfigError, lambda: vn.Ring(8, name='theirs'))")
    b.do("ring.close()")
    assert "closed by the process" in a.do("error(vn.ClosedError, lambda: len(r))")
    a.do("r.close()")
    a.do("again = vn.Ring(16, name='theirs', dtype='u8')")
    assert b.do("vn.Ring.attach('theirs').capacity") == "15"
    b.end()
    a.end()


def test_the_primary_closes_first(shells) -> None:
    a, b = shells("shared"), shells("attach", 1)
    a.do("ring = vn.Ring(64, name='packets'); ring.put(vn.Burst.from_bytes([bytes(60)] * 9))")
    b.do("ring, burst = vn.Ring.attach('packets'), vn.Burst(4)")
    b.do("ring.get(burst)")
    a.do("rt.close()")
    assert a.do("balance().drops, rt.mbufs_in_use()") == "({'closed': 5}, 4)"
    assert b.do("burst.to_bytes(3) == bytes(60), len(burst)") == "(True, 4)"
    assert "closed by the process" in b.do("error(vn.ClosedError, lambda: ring.get(vn.Burst(4)))")
    assert "primary" in b.do("error(vn.ClosedError, lambda: vn.Burst.from_bytes([bytes(60)]))")
    b.do("burst.clear()")
    assert a.do("rt.mbufs_in_use()") == "0"
    b.end()
    a.end()


def test_errors(shells, run_python) -> None:
    def start(**options: object) -> str:
        done = run_python(
            f"import veridnet as vn\ntry:\n    vn.Runtime(mbufs=1023, **{options!r})\n"
            "except vn.VeridnetError as e:\n    print(type(e).__name__, e, e.hint)\n"
        )
        return done.stdout

    assert f"EalError no primary named {shells.name!r} runs" in start(attach=shells.name)
    a = shells("shared")
    assert f"already runs (process {a.process.pid})" in start(shared=shells.name)
    b = shells("attach", 1)
    a.kill()
    assert b.do("rt.group.primary_alive") == "False"
    assert f"process {b.process.pid} still uses" in start(shared=shells.name)
    assert "no primary" in start(attach=shells.name)
    b.end()
    locks = Path("/var/run/dpdk") / shells.name / "veridnet.locks"
    c = shells("shared")
    text = locks.read_text()
    with locks.open("r+") as f:  # another process's descriptor: c keeps its locks
        f.write(text.replace("DPDK ", "DPDX "))
    assert "processes that share memory need the same DPDK" in start(attach=shells.name)
    c.end()
    assert "ConfigError" in start(shared="a/b") and "ConfigError" in start(attach="")
    assert "not both" in start(shared="x", attach="y")
    assert "hugepages only" in start(shared="x", memory="thp")


def test_killed_primary_leaves_secondaries_at_work(shells) -> None:
    a, b, c = shells("shared"), shells("attach", 1), shells("attach")
    a.do("ring = vn.Ring(64, name='packets'); ring.put(vn.Burst.from_bytes([bytes(60)] * 5))")
    a.do("rcu = vn.Rcu([1, 2], name='r')")
    for shell in (b, c):
        shell.do("ring, burst = vn.Ring.attach('packets'), vn.Burst(64)")
        shell.do("rcu = vn.Rcu.attach('r')")
    a.kill()
    assert b.do("ring.get(burst), ring.put(burst), balance().balanced") == "(5, 5, True)"
    assert c.do("ring.get(burst), balance().handed_in") == "(5, 5)"
    assert c.do("rcu.value.tolist(), burst.clear()") == "([1, 2], 5)"
    assert b.do("ring.put(vn.Burst.from_bytes([bytes(60)] * 2))") == "2"
    b.end()
    c.end()


def test_killed_reader_is_named_and_forgotten(shells) -> None:
    a, b = shells("shared"), shells("attach", 1)
    a.do("rcu = vn.Rcu(np.zeros(4), name='r')")
    b.do("rcu = vn.Rcu.attach('r'); read = rcu.read(); inside = read.__enter__()")
    late = a.do("error(vn.StateError, lambda: rcu.publish(np.ones(4), timeout=0.3))")
    assert f"of process {b.process.pid}" in late and "ended" not in late
    b.kill()
    late = a.do("error(vn.StateError, lambda: rcu.publish(np.ones(4), timeout=0.3))")
    assert f"of process {b.process.pid}, which has ended" in late and "forget" in late
    (reader,) = eval(a.do("[r['reader'] for r in rcu.readers() if not r['alive']]"))
    a.do(f"rcu.forget({reader}); rcu.publish(np.ones(4), timeout=1)")
    a.end()


@pytest.mark.parametrize("put", [True, False])
def test_killed_in_the_middle_of_its_work(shells, put) -> None:
    """Again and again: the other never hangs, and its account holds."""
    a = shells("shared")
    a.do("ring = vn.Ring(64, name='p', mode='rts'); burst = vn.Burst(32); seen = 0")
    for _ in range(4):
        b = shells("attach", 1)
        b.do("ring, burst = vn.Ring.attach('p'), vn.Burst(32)")
        b.send(
            """
            while True:
                if not burst: burst = vn.Burst.from_bytes([bytes(60)] * 32)
                ring.put(burst)
            """ if put else
            """
            while True:
                ring.get(burst); burst.clear()
            """
        )  # fmt: skip
        began = time.monotonic()
        other = (
            "seen += ring.get(burst, timeout=0.05); burst.clear()" if put
            else "burst = burst or vn.Burst.from_bytes([bytes(60)] * 32)\nseen += ring.put(burst)"
        )  # fmt: skip
        while time.monotonic() - began < 0.4:
            a.do(other)
        b.kill()
        for _ in range(3):
            a.do(other)
        assert a.do("balance().balanced") == "True"
    assert int(a.do("seen")) > 100
    a.end()


def test_killed_with_a_reservation_open(shells) -> None:
    """HTS: the end that it held stays full, and waits end."""
    a, b = shells("shared"), shells("attach", 1)
    a.do("ring = vn.Ring(64, name='v', mode='hts', dtype='u8'); ring.put([1, 2])")
    b.do("ring = vn.Ring.attach('v'); res = ring.reserve(4); got = res.__enter__()")
    assert a.do("ring.put([3], timeout=0.2), ring.get(9).tolist()") == "(0, [1, 2])"
    b.kill()
    assert a.do("ring.put([3], timeout=0.2)") == "0"
    a.do("ring.close()")
    a.end()
