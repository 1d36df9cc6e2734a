"""The kinds of memory: each in a process of its own, chosen by what there is."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from veridnet.config import RuntimeConfig
from veridnet.eal import HUGE_PAGE, MIB, hugepages_needed, pool_bytes, thp_enabled

NR_HUGEPAGES = Path("/proc/sys/vm/nr_hugepages")
POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
# A small pool, and hugepages for it. Hugepages are the machine's: what runs beside this test with
# memory "auto" and a pool of the default size, which needs more, must not find them enough.
MBUFS = 1023
PAGES = 30

USE = """
import sys
import veridnet as vn
memory = sys.argv[1]
with vn.Runtime(memory=memory, mbufs=int(sys.argv[2])) as rt:
    report = rt.memory_report()
    assert rt.memory == report["kind"], report
    if memory != "auto":
        assert rt.memory == memory
    assert report["name"] and report["why"]
    assert rt.pool.memory == rt.memory
    ring = rt.add_port("ring")
    frames = [bytes([i]) * 1000 for i in range(100)]
    for _ in range(200):
        assert ring.tx(vn.Burst.from_bytes(frames)) == 100
        burst = vn.Burst(128)
        assert ring.rx(burst) == 100
        assert burst.to_bytes(99) == frames[99]
        burst.clear()
    if rt.memory == "thp":
        assert report["heap_bytes"] >= report["huge_bytes"]
        assert report["heap_bytes"] >= rt.pool.size * 2048
        print("huge", report["huge_bytes"] / report["heap_bytes"])
assert rt.balance().balanced and rt.mbufs_in_use() == 0
print(rt.memory)
"""


def free_hugepages() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("HugePages_Free:"):
            return int(line.split()[1])
    return 0


@pytest.fixture
def hugepages() -> Iterator[None]:
    """As many free hugepages as the test needs, reserved for it where there are fewer.

    One test run after the other reserves some and gives them back. The lock is on a file of sysfs,
    which is the same in chroots and other process namespaces too.
    """
    with contextlib.ExitStack() as stack:
        if POOL.exists():
            lock = stack.enter_context(POOL.open())
            fcntl.flock(lock, fcntl.LOCK_EX)
        if (free := free_hugepages()) < PAGES:
            if os.geteuid() != 0 or not os.access(NR_HUGEPAGES, os.W_OK):
                pytest.skip("no free hugepages, and no right to reserve some")
            before = int(NR_HUGEPAGES.read_text())
            stack.callback(NR_HUGEPAGES.write_text, str(before))
            NR_HUGEPAGES.write_text(str(before + PAGES - free))
            if free_hugepages() < PAGES:
                pytest.skip("the kernel has no room for hugepages")
        yield


def test_the_hugepages_of_these_tests_are_too_few_for_others() -> None:
    assert hugepages_needed(MBUFS) <= PAGES < hugepages_needed(RuntimeConfig().mbufs)


@pytest.fixture
def few_hugepages() -> Iterator[None]:
    """Free hugepages for the default pool and few more. Other processes may take some."""
    if os.geteuid() != 0 or not os.access(NR_HUGEPAGES, os.W_OK):
        pytest.skip("no right to reserve hugepages")
    pages = -(-(pool_bytes(16383, 2048) + 32 * MIB) // HUGE_PAGE) + 16
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(POOL.open())
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = int(NR_HUGEPAGES.read_text())
        if before:
            pytest.skip("there are hugepages already")
        stack.callback(NR_HUGEPAGES.write_text, str(before))
        end = time.monotonic() + 5
        while NR_HUGEPAGES.write_text(str(pages)) and free_hugepages() < pages:
            if time.monotonic() > end:  # those of a process that has just ended come back late
                pytest.skip("the kernel has no room for hugepages")
            time.sleep(0.2)
        yield


def worked(done: subprocess.CompletedProcess[str]) -> None:
    """Skips where another process took the hugepages between the fixture and the run."""
    if done.returncode == 3:
        pytest.skip("the hugepages were gone again")
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


def test_few_hugepages(run_python, few_hugepages) -> None:
    """What does not fit is on transparent huge pages; the report says which, and packets pass."""
    done = run_python(
        """
        import sys
        import veridnet as vn
        with vn.Runtime() as rt:
            if rt.memory != "hugepages":
                sys.exit(3)
            null = rt.add_port("null", size=9000)
            ring = rt.add_port("ring")
            burst = vn.Burst(64)
            assert null.rx(burst) == 64 and ring.tx(burst) == 64 and ring.rx(burst) == 64
            burst.clear()
            big = rt.add_pool(32767)
            vn.Burst.from_bytes([bytes(3000)] * 50, big).clear()
            assert big.memory != "hugepages"
            report = rt.memory_report()
            assert report["kind"] == "hugepages" and report["heap_bytes"] >= 32767 * 2048, report
            assert sum(report["pools"].values()) == len(rt.pools) == 3, report
            assert set(report["pools"]) - {"hugepages"}, report
            assert report["name"].startswith("hugepages (2 MiB) and, for "), report
            try:
                rt.add_port("memif", role="client", socket="m.sock", zero_copy=True)
            except vn.PortError as e:
                assert "needs hugepages, and some pools are on" in str(e), e
            else:
                raise AssertionError("zero_copy with a pool that cannot be shared?")
            pipe = vn.Pipeline(rx=[null, ring]).bridge(stations=1 << 18)  # no room for its table
            rt.start(pipe).stop()
        assert rt.balance().balanced and rt.mbufs_in_use() == 0 and not rt.problems
        """,
        check=False,
    )
    worked(done)


@pytest.mark.parametrize("how", ["strict", "a port that may share its buffers"])
def test_few_hugepages_and_nothing_else_will_do(run_python, few_hugepages, how: str) -> None:
    done = run_python(
        """
        import sys
        import veridnet as vn
        try:
            rt = vn.Runtime(memory="hugepages" if sys.argv[1] == "strict" else "auto")
        except vn.EalError:
            sys.exit(3)
        with rt:
            if rt.memory != "hugepages":
                sys.exit(3)
            if sys.argv[1] != "strict":
                rt.add_port("vdev", device="net_null7")
            try:
                rt.add_pool(32767)
            except vn.PoolError as e:
                assert "of hugepages" in str(e) and "hugepages reserve" in e.hint, e
            else:
                raise AssertionError(rt.memory_report())
        """,
        how,
        check=False,
    )
    worked(done)


def test_af_xdp_with_few_hugepages(run_python, few_hugepages) -> None:
    """Its own pool, of which its umem is made, does not fit: frames pass all the same."""
    name = f"vn{os.getpid() % 100000}x"
    made = subprocess.run(["ip", "link", "add", f"{name}0", "type", "veth", "peer", "name",
                           f"{name}1"], capture_output=True)  # fmt: skip
    if made.returncode:
        pytest.skip("no veth pair can be made here")
    try:
        for end in "01":
            subprocess.run(["ip", "link", "set", name + end, "up"], check=True)
        done = run_python(
            r"""
            import socket, sys, time
            import veridnet as vn
            with vn.Runtime() as rt:
                if rt.memory != "hugepages":
                    sys.exit(3)
                while rt.add_pool(16383).memory == "hugepages":
                    pass
                port = rt.add_port("af_xdp", iface=sys.argv[1] + "0")
                assert port.pool.memory != "hugepages"
                raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5))
                raw.bind((sys.argv[1] + "1", 0x88B5))
                raw.settimeout(5)
                frames = {b"\2" * 12 + b"\x88\xb5" + b"%06d" % i * 200 for i in range(300)}
                burst, got, end = vn.Burst(64), set(), time.monotonic() + 10
                for frame in frames:
                    raw.send(frame)
                while not frames <= got and time.monotonic() < end:
                    port.rx(burst)
                    got |= {burst.to_bytes(i) for i in range(len(burst))}
                    burst.clear()
                assert frames <= got, len(frames & got)
                back = set()
                for frame in frames:
                    assert port.tx(vn.Burst.from_bytes([frame], port.pool)) == 1
                    back.add(raw.recv(2000))
                assert back == frames
            assert rt.balance().balanced and not rt.problems
            """,
            name,
            check=False,
        )
        worked(done)
    finally:
        subprocess.run(["ip", "link", "del", f"{name}0"], check=False)


def test_4k(run_python) -> None:
    assert run_python(USE, "4k", MBUFS).stdout == "4k\n"


@pytest.mark.skipif(not thp_enabled(), reason="transparent huge pages are disabled here")
def test_thp(run_python) -> None:
    lines = run_python(USE, "thp", MBUFS).stdout.splitlines()
    assert lines[-1] == "thp"
    share = float(lines[0].split()[1])
    assert 0 <= share <= 1


def test_hugepages(run_python, hugepages) -> None:
    assert run_python(USE, "hugepages", MBUFS).stdout == "hugepages\n"


def test_auto_takes_what_there_is(run_python) -> None:
    kind = run_python(USE, "auto", MBUFS).stdout.splitlines()[-1]
    assert kind in ("hugepages", "thp", "4k")


def test_auto_takes_hugepages_first(run_python, hugepages) -> None:
    assert run_python(USE, "auto", MBUFS).stdout == "hugepages\n"


def test_hugepages_that_are_not_there(run_python) -> None:
    """Refused before EAL starts, so that the process can still have another kind."""
    done = run_python(
        """
        import veridnet as vn
        try:
            vn.Runtime(memory="hugepages", mbufs=2**26)
        except vn.EalError as e:
            assert "hugepages of 2 MiB are not free" in str(e), e
            assert "hugepages reserve" in e.hint
        else:
            raise AssertionError("150 GB of hugepages?")
        with vn.Runtime(memory="4k", mbufs=1000) as rt:
            print(rt.memory)
        """
    )
    assert done.stdout == "4k\n"


@pytest.mark.skipif(
    "asan" in os.environ.get("LD_PRELOAD", ""), reason="AddressSanitizer needs the address space"
)
def test_a_start_that_failed_cannot_be_repeated(run_python) -> None:
    run_python(
        """
        import resource
        import veridnet as vn
        unlimited = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, unlimited[1]))
        for says in ("EAL did not start (Cannot allocate memory)", "cannot be started again"):
            try:
                vn.Runtime(memory="4k")
            except vn.EalError as e:
                assert says in str(e), e
                hint = e.hint
            else:
                raise AssertionError("it started")
            resource.setrlimit(resource.RLIMIT_AS, unlimited)
        assert hint == "start a new process"
        """
    )


WHERE = """
import os, sys
import veridnet as vn
from veridnet.hugepages import Machine
memory = sys.argv[1]
nodes = Machine().nodes or [0]
with vn.Runtime(memory=memory, mbufs=1023) as rt:
    try:
        on = rt.pool.pages()
    except vn.PoolError as e:
        print("not told:", e)
        sys.exit(3)
    # All of it, and on nodes that there are. (What no page stands behind is of node -1.)
    assert sum(on.values()) >= 1023 * 2176, on
    assert set(on) - {-1} <= set(nodes) and max(on.values()) == on[max(on, key=on.get)], on
    assert rt.pool.page_size == (2 << 20 if memory == "hugepages" else os.sysconf("SC_PAGE_SIZE"))
    assert rt.memory_report()["nodes"] == on
    pool = rt.add_pool(511, node=nodes[0])
    there = pool.pages()
    assert there[nodes[0]] >= 511 * 2176 and len(there) == 1, there
    burst = vn.Burst.from_bytes([bytes([i]) * 60 for i in range(32)], pool)
    try:
        assert pool.move_to(nodes[0]) == there
    except vn.StateError as e:
        assert memory == "hugepages" and "add_pool" in e.hint, e
    else:
        assert memory != "hugepages"
        for node in (-1, max(nodes) + 1, 5000):
            try:
                pool.move_to(node)
            except vn.ConfigError as e:
                assert f"no NUMA node {node}" in str(e), e
            else:
                raise AssertionError(node)
    assert [bytes(v) for v in burst] == [bytes([i]) * 60 for i in range(32)]
    burst.clear()
    for node in (-1, max(nodes) + 1):
        try:
            rt.add_pool(511, node=node)
        except vn.ConfigError as e:
            assert f"no NUMA node {node}" in str(e) and "nodes: 0" in e.hint, e
        else:
            raise AssertionError(node)
    pool.close()
    try:
        pool.pages()
    except vn.ClosedError:
        pass
    else:
        raise AssertionError("a closed pool has no pages")
"""


@pytest.mark.parametrize("memory", ["4k", "thp", "hugepages"])
def test_where_pools_lie(run_python, request, memory: str) -> None:
    if memory == "hugepages":
        request.getfixturevalue("hugepages")
    if memory == "thp" and not thp_enabled():
        pytest.skip("transparent huge pages are disabled here")
    done = run_python(WHERE, memory, check=False)
    if done.returncode == 3:
        pytest.skip(done.stdout)
    assert done.returncode == 0, done.stderr


def test_pools_come_and_go(run_python) -> None:
    """What a closed pool had, the next one gets: in every kind of memory."""
    run_python(
        """
        import veridnet as vn
        with vn.Runtime() as rt:
            for i in range(60):
                pool = rt.add_pool(16383, data_room=2048)
                vn.Burst.from_bytes([bytes(3000)] * 50, pool).clear()
                pool.close()
            report = rt.memory_report()
            assert report.get("heap_bytes", 0) < 200 << 20, report
        """
    )


def test_from_start_to_first_packet(run_python) -> None:
    """Under a second on a quiet machine; the bound here allows for a busy one."""
    took = float(
        run_python(
            """
            import time
            began = time.perf_counter()
            import veridnet as vn
            with vn.Runtime() as rt:
                port = rt.add_port("null")
                burst = vn.Burst(32)
                port.rx(burst)
                print(time.perf_counter() - began)
            """
        ).stdout
    )
    assert took < 10
    assert time.perf_counter() > 0
