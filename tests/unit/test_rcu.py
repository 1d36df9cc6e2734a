"""Published arrays: a reader sees one version whole, and a writer never frees it under one."""

from __future__ import annotations

import gc
import pickle
import signal
import threading
import time

import numpy as np
import pytest
from threaded import running, threads

import veridnet as vn


def test_reads_see_the_version_that_they_began_with(runtime) -> None:
    rcu = vn.Rcu(np.arange(6).reshape(2, 3))
    with rcu.read() as a:
        assert a.tolist() == [[0, 1, 2], [3, 4, 5]] and not a.flags.writeable
        rcu.publish(np.array([9]), wait=False)
        assert a.tolist() == [[0, 1, 2], [3, 4, 5]]
        with rcu.read() as b:
            assert b.tolist() == [9]
    assert rcu.value.tolist() == [9]


def test_an_array_that_is_kept_is_a_snapshot(runtime) -> None:
    rcu = vn.Rcu(np.full(1000, 1))
    with rcu.read() as a:
        pass
    part = a[10:20]
    del a
    for i in range(2, 50):
        rcu.publish(np.full(1000, i))
    assert rcu.waiting == 1 and part.tolist() == [1] * 10
    del part
    assert rcu.waiting == 0


@pytest.mark.parametrize("value", [3, [], np.zeros((0, 4)), np.zeros(5, "u1,f8"),
                                   np.zeros((1,) * 8), np.asfortranarray(np.eye(3))])  # fmt: skip
def test_shapes(runtime, value) -> None:
    rcu = vn.Rcu(value)
    assert rcu.value.shape == np.shape(value) and (rcu.value == value).all()


def test_bad_arguments(runtime) -> None:
    with pytest.raises(vn.ConfigError):
        vn.Rcu([object()])
    with pytest.raises(vn.ConfigError, match="dimensions"):
        vn.Rcu(np.zeros((1,) * 9))
    for readers in (0, 2000):
        with pytest.raises(vn.ConfigError, match="readers"):
            vn.Rcu([1], readers=readers)
    rcu = vn.Rcu(np.zeros(3, np.int32))
    for bad in (np.zeros(3), np.zeros(3, "u1,u4")):
        with pytest.raises(TypeError):
            rcu.publish(bad)
    with pytest.raises(ValueError, match="timeout"):
        rcu.publish(np.zeros(3, np.int32), timeout=-1)
    rcu.publish(np.zeros(3, np.int64))  # of the same kind
    with pytest.raises(TypeError):
        pickle.dumps(rcu)
    with pytest.raises(vn.ConfigError, match="no reader"):
        rcu.forget(3)
    rcu.close()
    rcu.close()
    for use in (rcu.read, rcu.readers, lambda: rcu.value, lambda: rcu.publish([1])):
        with pytest.raises(vn.ClosedError):
            use()


def test_threads_see_versions_whole_and_in_order(runtime) -> None:
    rcu = vn.Rcu(np.zeros(512, np.int64))
    last: dict[int, int] = {}

    def read() -> None:
        with rcu.read() as a:
            first = int(a[0])
            assert (a == first).all()
            assert first >= last.get(threading.get_ident(), 0)
            last[threading.get_ident()] = first

    with running(read, read) as errors:
        for i in range(1, 400):
            rcu.publish(np.full(512, i))
    assert errors == [] and len(last) == 2
    assert rcu.waiting == 0


def test_a_reader_that_stays_is_named(runtime) -> None:
    rcu = vn.Rcu([1])
    inside, leave = threading.Event(), threading.Event()

    def slow() -> None:
        threading.current_thread().name = "sleepy"
        with rcu.read():
            inside.set()
            leave.wait(20)

    with threads(slow) as errors:
        inside.wait()
        began = time.monotonic()
        with pytest.raises(vn.StateError, match=r"reader \d+, thread 'sleepy'") as e:
            rcu.publish([2], timeout=0.2)
        assert 0.2 <= time.monotonic() - began < 5 and "0.2 s" in str(e.value)
        assert rcu.value.tolist() == [2]
        (reader,) = [r for r in rcu.readers() if r["reading"]]
        assert reader["alive"] and reader["name"] == "sleepy"
        with pytest.raises(vn.StateError, match="lives"):
            rcu.forget(reader["reader"])
        leave.set()
        rcu.publish([3])
    assert errors == [] and rcu.waiting == 0


def test_a_thread_s_end_frees_its_place(runtime) -> None:
    rcu = vn.Rcu([1], readers=2)
    for _ in range(20):
        with threads(lambda: rcu.value) as errors:
            pass
        assert errors == []
    gc.collect()
    assert rcu.readers() == []
    stop = threading.Event()

    def stay() -> None:
        assert len(rcu.value)
        stop.wait(20)

    with threads(stay, stay) as errors:
        while len(rcu.readers()) < 2:
            time.sleep(0.01)
        with pytest.raises(vn.StateError, match="all 2 places"):
            rcu.read()
        stop.set()
    assert errors == []


def test_misuse(runtime) -> None:
    rcu = vn.Rcu([1])
    reader = rcu.read()
    with threads(reader.__enter__) as errors:
        pass
    assert [type(e) for e in errors] == [vn.StateError]
    with reader, pytest.raises(vn.StateError, match="own read"):
        rcu.publish([2])
    reader.__exit__(None, None, None)  # once too often
    rcu.publish([3])
    with pytest.raises(TypeError):
        pickle.dumps(reader)


def test_ctrl_c_ends_publish(runtime) -> None:
    rcu = vn.Rcu([1])
    inside, leave = threading.Event(), threading.Event()

    def slow() -> None:
        with rcu.read():
            inside.set()
            leave.wait(20)

    with threads(slow):
        inside.wait()
        timer = threading.Timer(0.2, lambda: signal.raise_signal(signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            rcu.publish([2], timeout=None)
        timer.join()
        leave.set()


def test_values_outlive_the_runtime(run_python) -> None:
    run_python(
        """
        import gc, veridnet as vn
        with vn.Runtime() as rt:
            rcu = vn.Rcu([1, 2, 3])
            kept = rcu.value
        assert rcu.closed and rt.problems == []
        del rcu
        gc.collect()
        assert kept.tolist() == [1, 2, 3]
        """
    )


def test_forked_child_is_refused(run_python) -> None:
    """Rings and stacks, too; and the child frees nothing of the parent's."""
    run_python(
        """
        import os, numpy as np, veridnet as vn
        with vn.Runtime() as rt:
            ring, numbers = vn.Ring(8), vn.Ring(8, dtype=np.uint64, mode="spsc")
            stack, rcu, burst = vn.Stack(8), vn.Rcu([1]), vn.Burst.from_bytes([bytes(60)] * 3)
            value = rcu.value
            ring.put(burst, 2)
            def child():
                for use in (lambda: ring.put(burst), lambda: ring.get(burst), lambda: len(ring),
                            ring.close, lambda: numbers.put(1), lambda: numbers.reserve(1),
                            lambda: stack.push(1), stack.close, lambda: rcu.value, rcu.readers,
                            lambda: rcu.publish([2]), rcu.close, lambda: vn.Ring(8),
                            lambda: vn.Stack(8), lambda: vn.Rcu([1])):
                    try:
                        use()
                    except vn.ForkedError:
                        continue
                    return 1
                return 0
            pid = os.fork()
            if pid == 0:
                code = 2
                try:
                    code = child()
                    del ring, numbers, stack, rcu, burst, value
                finally:
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            assert len(ring) == 2 and len(burst) == 1 and value.tolist() == [1]
            ring.get(vn.Burst(4))
        assert rt.balance().balanced
        """
    )
