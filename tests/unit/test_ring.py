"""Rings: what comes out is what went in, in order, whoever puts and gets; and nothing dangles."""

from __future__ import annotations

import collections
import gc
import pickle
import signal
import threading
import time

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from threaded import threads

import veridnet as vn

MODES = ("mpmc", "spsc", "spmc", "mpsc", "rts", "hts")
RECORD = np.dtype([("a", "u4"), ("b", "f8"), ("c", "u1", 4)])


def packets(n: int) -> vn.Burst:
    return vn.Burst.from_bytes([bytes([i & 0xFF]) * 60 for i in range(n)])


# -- values -----------------------------------------------------------------------------------


class AgainstDeque(RuleBasedStateMachine):
    """A ring of values and collections.deque do the same."""

    @initialize(mode=st.sampled_from(MODES), size=st.integers(1, 40))
    def make(self, mode: str, size: int) -> None:
        self.ring = vn.Ring(size, mode=mode, dtype=np.uint64, exact=True)
        self.model: collections.deque[int] = collections.deque()
        self.size = size
        self.next = 0

    def fresh(self, n: int) -> list[int]:
        self.next += n
        return list(range(self.next - n, self.next))

    @rule(n=st.integers(0, 50))
    def put(self, n: int) -> None:
        values = self.fresh(n)
        fit = min(n, self.size - len(self.model))
        assert self.ring.put(values) == fit
        self.model.extend(values[:fit])

    @rule(n=st.integers(0, 50))
    def put_bulk(self, n: int) -> None:
        values = self.fresh(n)
        if n > self.size:
            with pytest.raises(ValueError, match="never fit"):
                self.ring.put(values, bulk=True)
            return
        fits = n <= self.size - len(self.model)
        assert self.ring.put(values, bulk=True) == (n if fits else 0)
        if fits:
            self.model.extend(values)

    @rule(n=st.integers(0, 50))
    def get(self, n: int) -> None:
        expected = [self.model.popleft() for _ in range(min(n, len(self.model)))]
        assert self.ring.get(n).tolist() == expected

    @rule(n=st.integers(0, 40))
    def get_bulk(self, n: int) -> None:
        if n > self.size:
            return
        expected = [self.model.popleft() for _ in range(n)] if n <= len(self.model) else []
        out = np.zeros(n, np.uint64)
        assert self.ring.get(out, bulk=True) == len(expected)
        assert out[: len(expected)].tolist() == expected

    @rule(n=st.integers(1, 40), bulk=st.booleans(), keep=st.integers(0, 40), fails=st.booleans())
    def reserve(self, n: int, bulk: bool, keep: int, fails: bool) -> None:
        if self.ring.mode not in ("spsc", "spmc", "hts") or n > self.size:
            return
        room = self.size - len(self.model)
        here = (n if n <= room else 0) if bulk else min(n, room)
        values = self.fresh(here)
        reservation = self.ring.reserve(n, bulk=bulk)
        try:
            with reservation as (a, b):
                assert len(a) + len(b) == here
                a[:], b[:] = values[: len(a)], values[len(a) :]
                if here:
                    reservation.finish(min(keep, here))
                if fails:
                    raise KeyError
        except KeyError:
            return
        self.model.extend(values[: min(keep, here)])

    @rule(n=st.integers(1, 40), bulk=st.booleans(), fails=st.booleans())
    def peek(self, n: int, bulk: bool, fails: bool) -> None:
        if self.ring.mode not in ("spsc", "mpsc", "hts") or n > self.size:
            return
        here = min(n, len(self.model))
        here = 0 if bulk and here < n else here
        try:
            with self.ring.peek(n, bulk=bulk) as (a, b):
                assert [*a.tolist(), *b.tolist()] == list(self.model)[:here]
                if fails:
                    raise KeyError
        except KeyError:
            return
        for _ in range(here):
            self.model.popleft()

    @invariant()
    def state(self) -> None:
        if hasattr(self, "ring"):
            assert len(self.ring) == len(self.model)
            assert self.ring.free == self.size - len(self.model)
            assert self.ring.full == (len(self.model) == self.size)
            assert self.ring.empty == (not self.model)

    def teardown(self) -> None:
        if hasattr(self, "ring"):
            self.ring.close()


def test_as_a_deque(runtime) -> None:
    from hypothesis import settings
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        AgainstDeque, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )


@pytest.mark.parametrize("dtype", [np.uint32, np.int64, np.float64, RECORD, "datetime64[ns]"])
def test_any_dtype_of_four_bytes_goes_through(runtime, dtype) -> None:
    dtype = np.dtype(dtype)
    ring = vn.Ring(64, dtype=dtype)
    rng = np.random.default_rng(1)
    for n in (40, 40, 40):  # around the end
        given = np.frombuffer(rng.bytes(n * dtype.itemsize), dtype)
        assert ring.put(given) == n
        assert ring.get(64).tobytes() == given.tobytes()


def test_values_that_do_not_fit_are_refused(runtime) -> None:
    ring = vn.Ring(8, dtype=np.uint32)
    for bad, error in (
        (-1, OverflowError), (np.array([1 << 32]), OverflowError), (np.array([-1]), OverflowError),
        (np.array([1.5]), TypeError), ("x", ValueError), (np.zeros((2, 2), np.uint32), TypeError),
        (np.zeros(2, RECORD), TypeError),
    ):  # fmt: skip
        with pytest.raises(error):
            ring.put(bad)
    assert ring.put(np.arange(3)) == 3  # int64 whose values fit
    for out in (np.zeros(3), np.zeros((1, 3), np.uint32), np.zeros(6, np.uint32)[::2]):
        with pytest.raises(TypeError, match="array to fill"):
            ring.get(out)
    with pytest.raises(ValueError, match="elements"):
        ring.get(-1)
    assert ring.get(1 << 62).tolist() == [0, 1, 2]
    with pytest.raises(TypeError, match="Burst"):
        vn.Ring(8).get(3)
    with pytest.raises(TypeError):
        vn.Ring(8).put([1])


@pytest.mark.parametrize(
    "bad",
    [
        {"size": 0}, {"size": 100}, {"size": 1}, {"size": -8}, {"size": 1 << 31}, {"size": 1 << 62},
        {"size": 8.0}, {"size": "8"}, {"size": True}, {"size": 8, "mode": "mp"},
        {"size": 8, "dtype": np.uint16}, {"size": 8, "dtype": object}, {"size": 8, "dtype": "no"},
        {"size": 8, "dtype": np.dtype("u1,u4")}, {"size": 8, "name": ""},
        {"size": 8, "name": "a b"}, {"size": 8, "name": "x" * 21}, {"size": 8, "name": 3},
        {"size": 8, "dtype": ("u4", 3)},
    ],
)  # fmt: skip
def test_bad_arguments(runtime, bad) -> None:
    with pytest.raises(vn.ConfigError):
        vn.Ring(**bad)


def test_no_memory_is_an_error(runtime) -> None:
    with pytest.raises(vn.PoolError, match="MiB"):
        vn.Ring(1 << 30, dtype=np.dtype("V4096"))


# -- reservations -----------------------------------------------------------------------------


def test_views_end_with_their_reservation(runtime) -> None:
    ring = vn.Ring(8, dtype=np.uint64, mode="spsc")
    with ring.reserve(3) as (a, b):
        a[:] = [1, 2, 3]
        assert len(b) == 0
        with pytest.raises(vn.StateError, match="reservation"):
            ring.put(9)
        with pytest.raises(vn.StateError), ring.reserve(1):
            pass
    assert not a.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        a[0] = 9
    assert ring.get(8).tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "keep",
    [
        lambda a: a[1:], memoryview, lambda a: a.view("u1"), lambda a: np.asarray(memoryview(a)),
        lambda a: [a, a],
    ],
)  # fmt: skip
def test_a_view_that_survives_is_refused(runtime, keep) -> None:
    ring = vn.Ring(8, dtype=np.uint64, mode="hts")
    with pytest.raises(vn.ViewError), ring.reserve(3) as (a, b):
        kept = keep(a)
    assert len(ring) == 0
    with pytest.raises(vn.ViewError):
        ring.put(1)
    assert ring.get(1).tolist() == []  # the other end is free
    del kept, a, b
    gc.collect()
    assert ring.put([1, 2]) == 2
    with pytest.raises(vn.ViewError), ring.peek(2) as (a, b):
        kept = keep(a)
    del kept, a, b
    gc.collect()
    assert ring.get(3).tolist() == [1, 2]


def test_arrays_outlive_the_ring(runtime) -> None:
    """Their memory stays until they are gone."""
    ring = vn.Ring(8, dtype=np.uint64, mode="spsc")
    reservation = ring.reserve(4)
    a, _ = reservation.__enter__()
    a[:] = 7
    ring.close()
    with pytest.raises(vn.ClosedError):
        reservation.__exit__(None, None, None)
    others = [vn.Ring(8, dtype=np.uint64) for _ in range(20)]  # would take its memory
    for other in others:
        other.put([1] * 7)
    assert a.tolist() == [7] * 4


def test_modes_without_reservations(runtime) -> None:
    for mode in ("mpmc", "rts", "mpsc"):
        with pytest.raises(vn.StateError, match="mode"):
            vn.Ring(8, dtype=np.uint64, mode=mode).reserve(1)
    with pytest.raises(vn.StateError, match="mode"):
        vn.Ring(8, dtype=np.uint64, mode="spmc").peek(1)
    with pytest.raises(TypeError):
        vn.Ring(8, mode="spsc").reserve(1)
    ring = vn.Ring(8, dtype=np.uint64, mode="spsc")
    with pytest.raises(ValueError, match="never fit"):
        ring.reserve(8)
    with pytest.raises(vn.StateError):
        ring.reserve(2).finish(1)


# -- packets ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_packets_move_and_are_counted(runtime, mode) -> None:
    ring = vn.Ring(64, mode=mode)
    burst = packets(100)
    assert ring.put(burst) == 63
    assert len(burst) == 37 and burst.to_bytes(0)[0] == 63
    assert runtime.balance().held == 100 and runtime.balance().balanced
    assert ring.put(burst, bulk=True) == 0 and len(burst) == 37
    got = vn.Burst(50)
    assert ring.get(got, 20) == 20
    assert ring.get(got) == 30
    assert [got.to_bytes(i)[0] for i in range(50)] == list(range(50))
    with pytest.raises(vn.BurstError, match="full"):
        ring.get(got)
    with pytest.raises(vn.BurstError, match="fit"):
        ring.get(got, 1)
    got.clear()
    assert ring.get(got, 20, bulk=True) == 0
    assert ring.get(got, 13, bulk=True) == 13
    assert ring.put(burst, 5) == 5 and len(burst) == 32
    ring.close()
    assert runtime.balance().drops == {"freed": 50, "closed": 5}
    assert runtime.balance().balanced


def test_received_bytes_are_counted_before_packets_leave(runtime, ring) -> None:
    ring.tx(packets(10))
    burst = vn.Burst(32)
    ring.rx(burst)
    queue = vn.Ring(64)
    queue.put(burst)
    assert ring.stats["rx_bytes"] == 600


def test_packets_with_views_stay(runtime) -> None:
    ring = vn.Ring(8)
    burst = packets(3)
    view = burst[0]
    with pytest.raises(vn.ViewError):
        ring.put(burst)
    del view
    assert ring.put(burst) == 3
    view = burst.views
    assert view == 0 and ring.get(burst) == 3


def test_a_collected_ring_frees_its_packets(runtime) -> None:
    vn.Ring(8).put(packets(3))
    gc.collect()
    assert runtime.balance().drops == {"collected": 3}


def test_runtime_s_close_closes_rings(run_python) -> None:
    run_python(
        """
        import numpy as np, veridnet as vn
        for turn in range(3):
            with vn.Runtime() as rt:
                ring, numbers = vn.Ring(64, name="a"), vn.Ring(64, dtype=np.uint64)
                ring.put(vn.Burst.from_bytes([bytes(60)] * 5))
                assert vn.Ring.attach("a") is ring
            assert rt.balance().drops == {"closed": 5} and rt.balance().balanced
            assert rt.mbufs_in_use() == 0 and rt.problems == []
            for use in (lambda: ring.put(vn.Burst(1)), lambda: len(ring), lambda: numbers.get(1),
                        lambda: numbers.reserve(1), lambda: vn.Ring(8), lambda: ring.free):
                try:
                    use()
                except vn.ClosedError:
                    continue
                raise SystemExit("used after close")
            ring.close()
            repr(ring)
        """
    )


# -- waiting, threads ---------------------------------------------------------------------------


def test_timeouts(runtime) -> None:
    ring = vn.Ring(8, dtype=np.uint64)
    began = time.monotonic()
    assert len(ring.get(3, timeout=0.1)) == 0
    assert ring.put(range(9), timeout=0.1) == 7
    assert ring.put([1, 2], bulk=True, timeout=0.1) == 0
    assert 0.3 <= time.monotonic() - began < 3
    for bad in (-1, float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            ring.get(1, timeout=bad)
    packet_ring, burst = vn.Ring(8), packets(10)
    assert packet_ring.put(burst, timeout=0.05) == 7 and len(burst) == 3
    assert packet_ring.get(vn.Burst(9), 7, bulk=True, timeout=1) == 7


@pytest.mark.parametrize("mode", ["spsc", "mpmc", "hts", "rts"])
def test_two_threads_keep_order(runtime, mode) -> None:
    ring = vn.Ring(32, dtype=np.uint64, mode=mode)
    total, got = 20000, []

    def produce() -> None:
        at = 0
        while at < total:
            at += ring.put(range(at, min(total, at + 50)), timeout=10)

    with threads(produce) as errors:
        while len(got) < total:
            part = ring.get(40, timeout=10)
            assert len(part)
            got += part.tolist()
    assert errors == [] and got == list(range(total))


def test_many_threads_lose_nothing(runtime) -> None:
    ring = vn.Ring(64)
    each, sums = 600, collections.Counter()
    lock = threading.Lock()

    def produce() -> None:
        for _ in range(each // 20):
            burst = packets(20)
            while burst:
                ring.put(burst, timeout=1)

    def consume() -> None:
        burst, seen = vn.Burst(16), collections.Counter()
        while ring.get(burst, timeout=0.5):
            seen.update(burst.to_bytes(i)[0] for i in range(len(burst)))
            burst.clear()
        with lock:
            sums.update(seen)

    with threads(produce, produce, consume, consume) as errors:
        pass
    assert errors == []
    assert sums == dict.fromkeys(range(20), 2 * each // 20)


def test_a_burst_in_a_waiting_put_is_busy(runtime) -> None:
    ring, burst = vn.Ring(8), packets(20)
    with threads(lambda: ring.put(burst, timeout=0.5)) as errors:
        time.sleep(0.1)
        with pytest.raises(vn.StateError, match="another thread"):
            burst.clear()
    assert errors == [] and len(burst) == 13


def test_close_wakes_who_waits(runtime) -> None:
    ring = vn.Ring(8, dtype=np.uint64)
    with threads(lambda: ring.get(1, timeout=None), lambda: ring.get(1, timeout=None)) as errors:
        time.sleep(0.1)
        ring.close()
    assert [type(e) for e in errors] == [vn.ClosedError] * 2


def test_ctrl_c_ends_a_wait(runtime) -> None:
    ring = vn.Ring(8, dtype=np.uint64)
    timer = threading.Timer(0.2, lambda: signal.raise_signal(signal.SIGINT))
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        ring.get(1, timeout=60)
    timer.join()
    assert time.monotonic() - began < 5


def test_not_copied(runtime) -> None:
    with pytest.raises(TypeError, match="attach"):
        pickle.dumps(vn.Ring(8))
    ring = vn.Ring(8)
    with pytest.raises(vn.StateError):
        ring.__init__(8)
    with pytest.raises(vn.ConfigError, match="no ring"):
        vn.Ring.attach("nobody")
    named = vn.Ring(8, name="mine", dtype=np.uint64)
    with pytest.raises(vn.ConfigError, match="already"):
        vn.Ring(8, name="mine")
    with pytest.raises(vn.ConfigError, match="not of"):
        vn.Ring.attach("mine", dtype=np.uint32)
    named.close()
    vn.Ring(8, name="mine").close()
    vn.Ring.__new__(vn.Ring).close()
    with pytest.raises(vn.ClosedError):
        len(vn.Ring.__new__(vn.Ring))


# -- between lcores ---------------------------------------------------------------------------


def test_hop(runtime) -> None:
    from veridnet.apps import ring_bench

    if len(runtime.worker_lcores) < 2:
        pytest.skip("one CPU")
    rows = ring_bench.bench(runtime, rounds=2000, bursts=(1, 32), modes=("spsc", "mpmc"))
    assert [(r["mode"], r["burst"]) for r in rows] == [
        ("spsc", 1), ("spsc", 32), ("mpmc", 1), ("mpmc", 32),
    ]  # fmt: skip
    assert all(0 < r["min"] <= r["p50"] <= r["p99"] <= r["max"] for r in rows)
    with pytest.raises(vn.ConfigError):
        ring_bench.bench(runtime, bursts=(257,), rounds=10)


def test_cli(veridnet_cli) -> None:
    done = veridnet_cli("ring", "bench", "--rounds", "500", "--burst", "1,4", "--json")
    if "two worker lcores" in done.stderr:
        pytest.skip("one CPU")
    assert done.returncode == 0, done.stderr
    assert [h["burst"] for h in done.json["hops"]] == [1, 4]
    assert "median" in veridnet_cli("ring", "bench", "--rounds", "500").stdout
    for args in (["--burst", "x"], ["--burst", "0"], ["--mode", "no"], ["--size", "9"]):
        bad = veridnet_cli("ring", "bench", *args)
        assert bad.returncode == 2 and bad.stderr.count("\n") == 1, bad.stderr
