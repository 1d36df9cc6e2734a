"""A forked child may use nothing native, and frees nothing; spawn works."""

from __future__ import annotations

import subprocess
import sys

REFUSED = """
    import os, pickle, sys, traceback
    import numpy as np
    import veridnet as vn
    from veridnet._native import burst as native_burst, eal

    rt = vn.Runtime()
    ring = rt.add_port("ring")
    live = rt.add_port("null")
    trace = rt.add_port("pcap", tx="out.pcap")
    pool = rt.add_pool(63)
    burst = vn.Burst.from_bytes([bytes(range(60))] * 8)
    shown = burst.view(0)
    empty = vn.Burst(4)
    pipe = vn.Pipeline(rx=[live]).forward(live)
    forwarder = rt.prepare(pipe)
    before = (rt.mbufs_in_use(), rt.balance())

    def child():
        uses = {
            "rx": lambda: live.rx(empty), "tx": lambda: ring.tx(empty), "stats": lambda: live.stats,
            "mac": lambda: live.mac, "mtu": lambda: live.mtu, "info": live.info,
            "link": live.link, "xstats": live.xstats, "pmd": live.pmd_stats,
            "exhausted": lambda: live.exhausted, "stop": live.stop, "start": live.start,
            "promiscuous": lambda: live.promiscuous, "drain": ring.drain,
            "bursts": lambda: next(live.bursts()), "port close": live.close,
            "view": lambda: burst[1], "to_bytes": lambda: burst.to_bytes(0),
            "lengths": lambda: burst.lengths, "clear": burst.clear, "swap": burst.swap_macs,
            "set": lambda: burst.set_macs(dst=b"123456"), "segments": lambda: burst.segments(0),
            "from_bytes": lambda: vn.Burst.from_bytes([bytes(60)]),
            "from_bytes of a pool": lambda: vn.Burst.from_bytes([bytes(60)], pool),
            "available": lambda: pool.available, "pool close": pool.close,
            "add_pool": lambda: rt.add_pool(63), "add_port": lambda: rt.add_port("null"),
            "forwarder": lambda: rt.prepare(pipe), "run": lambda: rt.run(pipe),
            "forwarder start": forwarder.start,
            "balance": rt.balance, "close_all": native_burst.close_all,
            "hotplug": lambda: eal.hotplug_add("vdev", "net_null99", ""),
        }
        for name, use in uses.items():
            try:
                use()
            except vn.ForkedError as e:
                assert "spawn" in e.hint, name
            else:
                raise AssertionError(f"{name} was not refused")
        # What needs no DPDK still says something.
        assert len(burst) == 8 and repr(burst) and repr(live) and repr(pool) and repr(rt)
        assert bytes(shown) == bytes(range(60))
        # A runtime of one's own is refused, too, and closing the parent's closes nothing.
        for options in ({}, {"memory": "4k"}):
            try:
                vn.Runtime(**options)
            except vn.StateError:
                pass
            else:
                raise AssertionError("Runtime() was not refused")
        rt.close()
        try:
            vn.Runtime()
        except vn.StateError:
            pass
"""

PARENT = """
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child()
            END_OF_CHILD
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status
    # The parent has lost nothing, and goes on.
    assert (rt.mbufs_in_use(), rt.balance()) == before
    assert bytes(shown) == bytes(range(60))
    del shown
    assert ring.tx(burst) == 8
    assert live.rx(empty) == 4
    assert ring.tx(empty) == 4
    everything = vn.Burst(32)
    assert ring.rx(everything) == 12
    assert everything.to_bytes(0) == bytes(range(60))
    everything.clear()
    assert rt.pool.in_use == 0
    rt.close()
    assert rt.balance().balanced and rt.mbufs_in_use() == 0 and not rt.problems, rt.problems
    print("well")
"""


def test_everything_is_refused_in_a_child(run_python) -> None:
    code = REFUSED + PARENT.replace("END_OF_CHILD", "pass")
    assert run_python(code).stdout == "well\n"


def test_a_child_frees_nothing(run_python) -> None:
    """Objects that a child loses: bursts, views, pools, ports, all in shared memory."""
    end = "g = globals(); [g.pop(n) for n in 'burst shown empty pool rt ring live trace'.split()]; "
    end += "g.pop('forwarder'); import gc; gc.collect()"
    code = REFUSED + PARENT.replace("END_OF_CHILD", end)
    assert run_python(code).stdout == "well\n"


def test_a_child_that_ends_by_itself(run_python) -> None:
    """Not by os._exit: its atexit handlers and destructors run, and end nothing of the parent's."""
    code = """
        import os, sys, warnings
        import veridnet as vn
        warnings.simplefilter("ignore")  # Python 3.12 on: fork with threads running
        with vn.Runtime() as rt:
            ring = rt.add_port("ring")
            ring.tx(vn.Burst.from_bytes([bytes(60)] * 5))
            burst = vn.Burst.from_bytes([bytes(60)] * 3)
            pid = os.fork()
            if pid == 0:
                sys.exit(7)
            _, status = os.waitpid(pid, 0)
            assert os.waitstatus_to_exitcode(status) == 7
            got = vn.Burst(8)
            assert ring.rx(got) == 5
            assert rt.pool.in_use == 8
            assert ring.tx(burst) == 3
        assert rt.balance().balanced and rt.mbufs_in_use() == 0
        print("well")
        """
    done = run_python(code)
    assert (done.stdout, done.stderr) == ("well\n", "")


def test_multiprocessing_spawn(tmp_path) -> None:
    """Each process its own runtime, at the same time."""
    script = tmp_path / "spawned.py"
    script.write_text(
        """
import multiprocessing
import veridnet as vn

def work(n):
    with vn.Runtime() as rt:
        ring = rt.add_port("ring")
        ring.tx(vn.Burst.from_bytes([bytes(60)] * n))
        burst = vn.Burst(32)
        got = ring.rx(burst)
        burst.clear()
    assert rt.mbufs_in_use() == 0
    return got

def fail(_):
    raise vn.PortError("it cannot be", 16, hint="mend it")

if __name__ == "__main__":
    with vn.Runtime() as rt:
        rt.add_port("null")
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            assert pool.map(work, [3, 4]) == [3, 4]
            try:
                pool.map(fail, [0])
            except vn.PortError as e:
                assert (e.errno, e.hint) == (16, "mend it"), (e.errno, e.hint)
    print("well")
"""
    )
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=50
    )
    assert (done.stdout, done.returncode) == ("well\n", 0), done.stderr


def test_a_child_forked_before_eal_starts(run_python) -> None:
    """A process that forks workers first, and each of them has a runtime of its own."""
    code = """
        import os, sys
        import veridnet as vn
        pids = []
        for n in range(3):
            if (pid := os.fork()) == 0:
                with vn.Runtime() as rt:
                    ring = rt.add_port("ring")
                    sent = ring.tx(vn.Burst.from_bytes([bytes(60)] * (n + 1)))
                sys.exit(sent)
            pids.append(pid)
        codes = [os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]) for p in pids]
        assert codes == [1, 2, 3], codes
        with vn.Runtime() as rt:
            rt.add_port("null")
        print("well")
        """
    done = run_python(code)
    assert (done.stdout, done.stderr) == ("well\n", "")
