"""Sending: policies on a full port, and every reason for which a packet is dropped."""

from __future__ import annotations

import threading
import time

import pytest

import veridnet as vn
from veridnet._native import eal
from veridnet._native.port import NativePort

RING = 1023  # what a ring port holds


def equation(runtime) -> None:
    """rx + generated + copies == tx + drops + held, and says what is missing."""
    totals = runtime.balance()
    assert totals.balanced, totals


# -- a full port ----------------------------------------------------------------------------------


def test_keep(runtime, ring, fill_ring, make_frames) -> None:
    assert fill_ring(ring) == RING
    ring.rx(three := vn.Burst(3))
    burst = vn.Burst.from_bytes(frames := make_frames(5))
    assert ring.tx(burst, policy="keep") == 3
    assert [burst.to_bytes(i) for i in range(2)] == frames[3:]
    assert burst.lengths.tolist() == [60, 60]
    assert ring.tx(burst, policy="keep") == 0
    assert len(burst) == 2
    assert ring.stats["drops"] == {}
    three.clear()
    ring.rx(three)
    assert ring.tx(burst, policy="keep") == 2
    equation(runtime)
    # In order, and whole: the last 5 of the ring.
    everything = vn.Burst(2048)
    assert ring.rx(everything) == RING - 1
    assert [everything.to_bytes(i) for i in range(-5, 0)] == frames


def test_drop(runtime, fill_ring, make_frames) -> None:
    ring = runtime.add_port("ring", retry_us=1_000_000)
    fill_ring(ring)
    ring.rx(three := vn.Burst(3))
    burst = vn.Burst.from_bytes(make_frames(5))
    began = time.perf_counter()
    assert ring.tx(burst, policy="drop") == 3
    assert ring.stats["tx_bytes"] == RING * 60 + 3 * 60
    assert time.perf_counter() - began < 1
    assert len(burst) == 0
    assert ring.stats["drops"] == {"tx_full": 2}
    assert ring.stats["retries"] == 0
    three.clear()
    equation(runtime)


@pytest.mark.parametrize("retry_us", [0, 1_000, 200_000])
def test_retry_is_bounded_in_time(runtime, fill_ring, retry_us: int) -> None:
    ring = runtime.add_port("ring", retry_us=retry_us)
    fill_ring(ring)
    # A busy machine may take two seconds longer; the time for each packet would be four.
    burst = vn.Burst.from_bytes([bytes(60)] * 20)
    began = time.perf_counter()
    assert ring.tx(burst) == 0
    took = time.perf_counter() - began
    assert retry_us / 1e6 <= took < retry_us / 1e6 + 2
    assert len(burst) == 0
    assert ring.stats["drops"] == {"tx_full": 20}
    assert (ring.stats["retries"] > 1) is (retry_us > 0)
    # A port that took nothing is not waited for again, until it takes something.
    for _ in range(20):
        assert ring.tx(vn.Burst.from_bytes([bytes(60)])) == 0
    assert time.perf_counter() - began - took < 2
    ring.rx(two := vn.Burst(2))
    assert ring.tx(vn.Burst.from_bytes([bytes(60)])) == 1
    two.clear()
    equation(runtime)


def test_the_port_s_own_policy(runtime, fill_ring) -> None:
    ring = runtime.add_port("ring", policy="drop")
    fill_ring(ring)
    assert ring.tx(vn.Burst.from_bytes([bytes(60)])) == 0
    assert ring.stats["retries"] == 0
    ring.set_tx(policy="keep")
    assert ring.tx(burst := vn.Burst.from_bytes([bytes(60)])) == 0
    assert len(burst) == 1
    with pytest.raises(vn.ConfigError, match="must be one of retry, drop"):
        runtime.add_port("ring", policy="keep")


def test_waiting_lets_another_thread_make_room(runtime, fill_ring, make_frames) -> None:
    """tx waits without the GIL: else the thread that empties the ring could not run."""
    ring = runtime.add_port("ring", retry_us=1_000_000)
    fill_ring(ring)
    drained = []

    def drain() -> None:
        burst = vn.Burst(64)
        while ring.rx(burst):
            drained.append(len(burst))
            burst.clear()

    burst = vn.Burst.from_bytes(make_frames(30))
    timer = threading.Timer(0.1, drain)
    began = time.perf_counter()
    timer.start()
    assert ring.tx(burst) == 30
    assert time.perf_counter() - began > 0.05
    timer.join(10)
    assert ring.stats["retries"] > 0
    assert ring.stats["drops"] == {}
    assert sum(drained) >= RING
    equation(runtime)


# -- drops by reason ------------------------------------------------------------------------------


def test_runt(runtime, ring, make_frames) -> None:
    frames = [b"", *make_frames(2)][1:]
    burst = vn.Burst.from_bytes([frames[0][:13], frames[0], frames[1][:1], frames[1][:14]])
    assert ring.tx(burst) == 2
    assert ring.stats["drops"] == {"runt": 2}
    assert ring.stats["tx_bytes"] == 60 + 14
    equation(runtime)


def test_too_long(runtime, ring, make_frames) -> None:
    ring.set_tx(max_frame=100)
    sizes = [60, 100, 101, 3000, 60]
    burst = vn.Burst.from_bytes([make_frames(1, s)[0] for s in sizes])
    assert ring.tx(burst) == 3
    assert ring.stats["drops"] == {"too_long": 2}
    assert ring.stats["tx_bytes"] == 220
    equation(runtime)


def test_one_vlan_tag_more(runtime, ring) -> None:
    ring.set_tx(max_frame=100, vlan_extra=True)
    tagged = bytes(12) + b"\x81\0\0\x2a" + bytes(88)
    burst = vn.Burst.from_bytes([tagged, tagged + b"x", bytes(104), bytes(100)])
    assert ring.tx(burst) == 2
    assert ring.stats["drops"] == {"too_long": 2}
    assert ring.stats["tx_bytes"] == 204


def test_rx_only(runtime, tmp_path, write_pcap, make_frames) -> None:
    port = runtime.add_port("pcap", rx=write_pcap(tmp_path / "x.pcap", make_frames(3)))
    burst = vn.Burst(8)
    assert port.rx(burst) == 3
    assert port.tx(burst, policy="keep") == 0
    assert len(burst) == 0
    assert port.stats["drops"] == {"rx_only": 3}
    equation(runtime)


def test_direct_ports_get_one_segment(runtime, ring, make_frames) -> None:
    """For drivers that read one segment of pool memory: others are copied into one, or dropped."""
    pool = runtime.add_pool(255, data_room=64)
    frames = [make_frames(1, s)[0] for s in (60, 300, 2048, 2049)]
    ring.set_tx(direct=True)
    burst = vn.Burst.from_bytes(frames, pool)
    assert [burst.segments(i) for i in range(4)] == [1, 5, 32, 33]
    assert ring.tx(burst) == 3
    assert ring.stats["drops"] == {"too_long": 1}
    got = vn.Burst(8)
    assert ring.rx(got) == 3
    assert [got.to_bytes(i) for i in range(3)] == frames[:3]
    assert [got.segments(i) for i in range(3)] == [1, 1, 1]
    equation(runtime)
    assert runtime.balance().copies == 0  # linearized packets are the same packets


def test_no_mbuf_for_a_linear_copy(runtime, ring, make_frames, empty_pool) -> None:
    pool = runtime.add_pool(255, data_room=64)
    ring.set_tx(direct=True)
    burst = vn.Burst.from_bytes(make_frames(1, 60) + make_frames(1, 300), pool)
    hold = empty_pool(ring.pool)
    assert ring.tx(burst) == 1
    assert ring.stats["drops"] == {"no_mbuf": 1}
    hold.clear()
    equation(runtime)


def test_too_many_segments(make_frames) -> None:
    """A port without a pool for copies; Runtime makes none such, so by hand."""
    with vn.Runtime() as rt:
        eal.hotplug_add("vdev", "net_ring_bare", "")
        try:
            port = NativePort("net_ring_bare")
            port.configure(rt.pool, None)
            port.set_tx(direct=True)
            port.start()
            burst = vn.Burst.from_bytes(make_frames(1) + make_frames(1, 3000))
            assert port.tx(burst) == 1
            assert port.counters()["drops"] == {"too_many_segments": 1}
            assert port.drain() == 1
            port.close()
        finally:
            eal.hotplug_remove("vdev", "net_ring_bare")
    assert rt.mbufs_in_use() == 0


def test_every_drop_of_one_burst_is_named(runtime, ring, make_frames) -> None:
    ring.set_tx(max_frame=1514)
    sizes = [13, 60, 1515, 1514, 5000, 1, 9000]
    burst = vn.Burst.from_bytes([bytes([i] * s) for i, s in enumerate(sizes)])
    assert ring.tx(burst) == 2
    assert ring.stats["drops"] == {"runt": 2, "too_long": 3}
    got = vn.Burst(8)
    ring.rx(got)
    assert [got.to_bytes(i)[0] for i in range(2)] == [1, 3]
    equation(runtime)


def test_a_full_port_and_bad_frames_at_once(runtime, ring, fill_ring) -> None:
    """Screened frames and a partial send in one call: nothing is lost or counted twice."""
    fill_ring(ring)
    ring.set_tx(max_frame=1514)
    ring.rx(two := vn.Burst(2))
    frames = [bytes([i + 1] * s) for i, s in enumerate([60, 5, 61, 2000, 62, 63])]
    burst = vn.Burst.from_bytes(frames)
    assert ring.tx(burst, policy="keep") == 2
    assert [burst.to_bytes(i) for i in range(len(burst))] == frames[4:]
    assert ring.stats["drops"] == {"runt": 1, "too_long": 1}
    assert ring.tx(burst) == 0
    assert ring.stats["drops"] == {"runt": 1, "too_long": 1, "tx_full": 2}
    two.clear()
    equation(runtime)


@pytest.mark.parametrize("policy", ["retry", "drop", "keep"])
def test_the_accounts_balance_at_random(runtime, policy: str) -> None:
    """Random sizes into a ring that is too small, emptied now and then."""
    import random

    rng = random.Random(policy)
    ring = runtime.add_port("ring", retry_us=0)
    ring.set_tx(max_frame=4000)
    got = vn.Burst(200)
    burst = vn.Burst.from_bytes([bytes(60)])
    for i in range(150):
        if not burst:
            sizes = rng.choices(
                [1, 14, 60, 1500, 2048, 2049, 4000, 4001, 6000], k=rng.randint(1, 64)
            )
            burst = vn.Burst.from_bytes([bytes(s) for s in sizes])
        if i % 3:
            burst.swap_macs()
        ring.tx(burst, policy=policy)
        equation(runtime)
        if i % 7 == 0 or (policy == "keep" and burst):
            ring.rx(got)
            equation(runtime)
            got.clear()
    while ring.rx(got):
        got.clear()
    # What came out of the ring is what went in, in bytes too: partial sends count the right ones.
    assert ring.stats["rx_packets"] == ring.stats["tx_packets"]
    assert ring.stats["rx_bytes"] == ring.stats["tx_bytes"]
    totals = runtime.balance()
    assert {"runt", "too_long", "freed"} <= set(totals.drops)
