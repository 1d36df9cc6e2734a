"""Runtime: its life, and what a second one may be."""

from __future__ import annotations

import gc
import os

import pytest

import veridnet as vn
from veridnet.config import RuntimeConfig


def test_close_twice(make_frames) -> None:
    rt = vn.Runtime()
    assert not rt.closed
    assert "0 port(s)" in repr(rt)
    rt.close()
    rt.close()
    assert rt.closed
    assert "closed" in repr(rt)
    for use in (
        lambda: rt.add_port("null"), lambda: rt.add_pool(63), lambda: rt.pool,
        lambda: rt.start(vn.Pipeline()), lambda: rt.add_vdev("net_null0"), rt.__enter__,
    ):  # fmt: skip
        with pytest.raises(vn.ClosedError):
            use()
    assert rt.balance().balanced
    assert rt.mbufs_in_use() == 0


def test_close_in_any_order(runtime, make_frames) -> None:
    a, b = (runtime.add_port("ring") for _ in range(2))
    held = vn.Burst.from_bytes(make_frames(4))
    a.tx(vn.Burst.from_bytes(make_frames(5)))
    burst = vn.Burst(3)
    a.rx(burst)
    a.close()
    runtime.close()
    b.close()
    a.close()
    runtime.close()
    assert runtime.balance().drops == {"closed": 4 + 3}
    assert runtime.balance().held == 0
    assert len(held) == len(burst) == 0
    assert runtime.mbufs_in_use() == 0
    assert runtime.problems == []


def test_an_exception_inside_with(make_frames) -> None:
    with pytest.raises(ZeroDivisionError), vn.Runtime() as rt:  # noqa: PT012
        ring = rt.add_port("ring")
        burst = vn.Burst.from_bytes(make_frames(8))
        ring.tx(burst)
        ring.rx(burst)
        _ = 1 // 0
    assert rt.closed
    assert ring.closed
    assert len(burst) == 0
    assert rt.balance().drops == {"closed": 8}
    assert rt.mbufs_in_use() == 0
    # And the next one starts.
    with vn.Runtime():
        pass


def test_one_at_a_time(runtime) -> None:
    for _ in range(2):
        with pytest.raises(vn.EalError, match="another Runtime is open") as e:
            vn.Runtime()
        assert e.value.hint == "close it first"
    runtime.add_port("null")


def test_a_later_runtime_uses_the_same_eal(make_frames) -> None:
    with vn.Runtime() as first:
        first.add_port("ring").tx(vn.Burst.from_bytes(make_frames(3)))
        memory, cpus = first.memory, first.worker_cpus
    for options in ({}, {"memory": memory}, {"memory": "auto"}, {"lcores": cpus}, {"mbufs": 1000}):
        with vn.Runtime(**options) as rt:
            assert (rt.memory, rt.worker_cpus) == (memory, cpus)
            assert rt.balance() == vn.runtime.Totals()
            assert rt.ports == []
            rt.add_port("ring").tx(vn.Burst.from_bytes(make_frames(1)))
            assert rt.balance().tx == 1
    assert first.balance().tx == 3


def test_other_settings_raise(runtime) -> None:
    runtime.close()
    for memory in {"hugepages", "thp", "4k"} - {runtime.memory}:
        with pytest.raises(vn.EalError, match=r"has started with .* and cannot start again"):
            vn.Runtime(memory=memory)
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) > 1:
        with pytest.raises(vn.EalError, match=r"workers on CPUs .* and cannot start again"):
            vn.Runtime(lcores=cpus[:1])
    with vn.Runtime():  # none of these has left anything
        pass


def test_bad_options() -> None:
    for options in (
        {"memroy": "thp"}, {"memory": "huge"}, {"mbufs": 1}, {"mbufs": None}, {"lcores": "x"},
        {"log_level": "loud"}, {"log_level": []}, {"lcores": 5000},
    ):  # fmt: skip
        with pytest.raises(vn.ConfigError) as e:
            vn.Runtime(**options)
        assert "\n" not in str(e.value)
    with pytest.raises(vn.ConfigError, match="not both"):
        vn.Runtime(RuntimeConfig(), mbufs=1000)
    with vn.Runtime(RuntimeConfig(mbufs=1000)) as rt:
        assert rt.config.mbufs == 1000


def test_too_much_memory(runtime) -> None:
    with pytest.raises(vn.PoolError) as e:
        runtime.add_pool(2**26, data_room=65407)
    assert isinstance(e.value, MemoryError)
    assert e.value.hint
    assert "\n" not in str(e.value)
    runtime.add_port("null")


def test_pools(runtime) -> None:
    pool = runtime.add_pool(127, data_room=64, name="mine")
    assert (pool.name, pool.size, pool.data_room) == ("mine", 127, 64)
    assert pool.memory == runtime.memory
    assert (pool.in_use, pool.available) == (0, 127)
    assert "0 in use" in repr(pool)
    with pytest.raises(vn.PoolError):
        runtime.add_pool(127, name="mine")
    with pytest.raises(ValueError, match="data_room"):
        runtime.add_pool(127, data_room=63)
    with pytest.raises(ValueError, match="size"):
        runtime.add_pool(0)
    pool.close()
    pool.close()
    assert pool.closed
    assert "closed" in repr(pool)
    with pytest.raises(vn.ClosedError, match="mempool is closed"):
        vn.Burst.from_bytes([bytes(60)], pool)
    runtime.add_pool(127, name="mine")


def test_a_pool_closed_before_its_packets(runtime, ring, make_frames) -> None:
    pool = runtime.add_pool(127, name="early")
    burst = vn.Burst.from_bytes(make_frames(3), pool)
    pool.close()
    assert pool.in_use == 3
    assert ring.tx(burst) == 3
    assert ring.rx(burst) == 3
    assert [burst.to_bytes(i) for i in range(3)] == make_frames(3)
    burst.clear()
    assert pool.in_use == 0
    runtime.add_pool(127, name="early")  # the name is free again: so is the memory


def test_counters_start_at_zero_each_time(make_frames) -> None:
    leftover = []
    with vn.Runtime() as rt:
        leftover.append(vn.Burst.from_bytes(make_frames(9)))
        assert rt.balance().generated == 9
    with vn.Runtime() as rt:
        assert rt.balance().generated == rt.balance().held == 0
        leftover.clear()
        gc.collect()
        assert rt.balance().balanced


def test_many_runtimes() -> None:
    """Names, ids, file descriptors and memory are given back."""
    with vn.Runtime() as rt:
        rt.add_port("ring")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(30):
        with vn.Runtime() as rt:
            for kind in ("null", "ring", "ring"):
                rt.add_port(kind)
    assert len(os.listdir("/proc/self/fd")) == before
    report = rt.memory_report()
    if rt.memory == "thp":
        assert report["heap_bytes"] < 4 << 30


def test_not_closed_at_all(run_python) -> None:
    """The end of the process is an end like any other."""
    done = run_python(
        """
        import veridnet as vn
        rt = vn.Runtime()
        ring = rt.add_port("ring")
        tx = rt.add_port("pcap", tx="out.pcap")
        burst = vn.Burst.from_bytes([bytes(60)] * 5)
        view = burst[0]
        ring.tx(vn.Burst.from_bytes([bytes(60)] * 5))
        tx.tx(vn.Burst.from_bytes([bytes(60)] * 5))
        print("end")
        """
    )
    assert done.stdout == "end\n"
    assert done.stderr == ""


def test_an_error_inside_a_process_s_only_with(run_python) -> None:
    done = run_python(
        """
        import sys
        import veridnet as vn
        with vn.Runtime() as rt:
            burst = vn.Burst.from_bytes([bytes(60)] * 5)
            view = burst[0]
            sys.exit(3)
        """,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")
