"""Burst: what it holds, how it is filled and emptied."""

from __future__ import annotations

import copy
import gc
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q, Ether

import veridnet as vn


def test_capacity() -> None:
    assert vn.Burst().capacity == 256
    assert vn.Burst(1).capacity == 1
    assert vn.Burst(65535).capacity == 65535
    assert vn.Burst(capacity=32).capacity == 32
    for bad in (0, 65536, 2**32 - 1):
        with pytest.raises(ValueError, match="capacity must be from 1 to 65535"):
            vn.Burst(bad)
    for bad in (-1, 2**32):
        with pytest.raises(OverflowError):
            vn.Burst(bad)
    with pytest.raises(TypeError):
        vn.Burst("32")  # type: ignore[arg-type]


def test_an_empty_burst() -> None:
    burst = vn.Burst(4)
    assert len(burst) == 0
    assert not burst
    assert list(burst) == []
    assert burst.clear() == 0
    assert burst.lengths.shape == (0,)
    burst.swap_macs()
    burst.set_macs(dst="02:00:00:00:00:01")
    assert repr(burst) == "<Burst of 0 packets, capacity 4>"


def test_needs_a_runtime() -> None:
    with pytest.raises(vn.ClosedError, match="no runtime is open"):
        vn.Burst.from_bytes([bytes(60)])


def test_from_bytes_and_back(runtime, make_frames) -> None:
    frames = make_frames(40) + make_frames(3, 1514) + [b"x"]
    burst = vn.Burst.from_bytes(frames)
    assert len(burst) == burst.capacity == 44
    assert [burst.to_bytes(i) for i in range(44)] == frames
    assert [bytes(v) for v in burst] == frames
    assert burst.to_bytes(-1) == b"x"
    assert burst.lengths.dtype == np.uint32
    assert burst.lengths.tolist() == [len(f) for f in frames]
    assert runtime.balance().generated == runtime.balance().held == 44
    assert burst.clear() == 44
    assert runtime.balance().drops == {"freed": 44}


def test_from_bytes_takes_what_has_bytes(runtime) -> None:
    packet = Ether() / IP() / UDP()
    frame = bytes(packet)
    kinds = [frame, bytearray(frame), memoryview(frame), np.frombuffer(frame, np.uint8), packet]
    burst = vn.Burst.from_bytes(iter(kinds), capacity=64)
    assert burst.capacity == 64
    assert [burst.to_bytes(i) for i in range(5)] == [frame] * 5


@pytest.mark.parametrize("size", [1, 13, 14, 2047, 2048, 2049, 4096, 9018, 65534, 65535])
def test_segments(runtime, size: int) -> None:
    frame = bytes(range(256)) * 256
    burst = vn.Burst.from_bytes([frame[:size], frame[:60]])
    room = runtime.pool.data_room
    assert burst.segments(0) == -(-size // room)
    assert burst.segments(1) == 1
    assert burst.to_bytes(0) == frame[:size]
    parts = [bytes(burst.view(0, segment=s)) for s in range(burst.segments(0))]
    assert b"".join(parts) == frame[:size]
    assert [len(p) for p in parts[:-1]] == [room] * (len(parts) - 1)
    assert burst.lengths.tolist() == [size, 60]


@given(st.lists(st.binary(min_size=1, max_size=5000), max_size=20))
@settings(max_examples=50)
def test_round_trip(frames: list[bytes]) -> None:
    with vn.Runtime() as rt:
        burst = vn.Burst.from_bytes(frames)
        assert [burst.to_bytes(i) for i in range(len(burst))] == frames
        del burst
        assert rt.mbufs_in_use() == 0
        assert rt.balance().balanced


@pytest.mark.parametrize("size", [0, 65536])
def test_a_frame_s_size_is_bounded(runtime, size: int) -> None:
    with pytest.raises(ValueError, match="from 1 to 65535 bytes"):
        vn.Burst.from_bytes([bytes(60), bytes(60), bytes(size)])
    # The accounts know nothing of a burst that did not come to be.
    assert runtime.mbufs_in_use() == 0
    assert runtime.balance().balanced
    assert runtime.balance().generated == 0


def test_numbers_are_no_packets(runtime) -> None:
    for wrong in (bytes(60), [60], [None], 5):
        with pytest.raises(TypeError):
            vn.Burst.from_bytes(wrong)  # type: ignore[arg-type]
    assert runtime.balance().generated == 0


def test_from_bytes_makes_all_or_nothing(runtime, empty_pool) -> None:
    hold = empty_pool(runtime.pool, leave=10)
    before = runtime.balance()
    for frames in ([bytes(60)] * 11, [bytes(2048 * 11)], [bytes(60)] * 9 + [bytes(4096)]):
        with pytest.raises(vn.PoolError, match="no free mbuf"):
            vn.Burst.from_bytes(frames)
        assert runtime.pool.available == 10
        assert runtime.balance() == before
    assert len(vn.Burst.from_bytes([bytes(60)] * 10)) == 10
    hold.clear()


def test_from_a_pool_of_one_s_own(runtime) -> None:
    pool = runtime.add_pool(63, data_room=100, name="small")
    burst = vn.Burst.from_bytes([bytes(250)], pool)
    assert burst.segments(0) == 3
    assert pool.in_use == 3
    assert runtime.pool.in_use == 0
    burst.clear()
    assert pool.in_use == 0


def test_index_errors(runtime) -> None:
    burst = vn.Burst.from_bytes([bytes(60)] * 3)
    for i in (3, -4, 2**40):
        for call in (burst.to_bytes, burst.view, burst.segments, burst.__getitem__):
            with pytest.raises(IndexError, match="of a burst of 3"):
                call(i)
    with pytest.raises(IndexError, match="segment 1 of a packet of 1"):
        burst.view(0, segment=1)
    with pytest.raises(TypeError):
        burst["0"]  # type: ignore[index]
    assert burst.views == 0


def test_to_scapy(runtime) -> None:
    packet = Ether(dst="02:00:00:00:00:01") / Dot1Q(vlan=42) / IP(dst="10.0.0.1") / UDP(dport=53)
    burst = vn.Burst.from_bytes([packet])
    back = burst.to_scapy(0)
    assert back == Ether(bytes(packet))
    assert back[Dot1Q].vlan == 42
    burst.clear()
    assert back[UDP].dport == 53  # a copy


def test_rx_into_a_burst_that_holds_packets(ring, make_frames) -> None:
    ring.tx(vn.Burst.from_bytes(make_frames(3)))
    burst = vn.Burst.from_bytes(make_frames(1))
    with pytest.raises(vn.BurstError, match="still holds 1 packets") as e:
        ring.rx(burst)
    assert "clear" in e.value.hint
    assert len(burst) == 1
    burst.clear()
    assert ring.rx(burst) == 1  # its capacity
    burst.clear()
    burst = vn.Burst(32)
    assert ring.rx(burst) == 2
    assert [burst.to_bytes(i) for i in range(2)] == make_frames(3)[1:]


def test_rx_fills_up_to_the_capacity(ring, make_frames) -> None:
    ring.tx(vn.Burst.from_bytes(make_frames(100)))
    burst, got = vn.Burst(32), []
    while ring.rx(burst):
        got.append(len(burst))
        burst.clear()
    assert got == [32, 32, 32, 4]


def test_no_pickle_no_copy(runtime) -> None:
    burst = vn.Burst.from_bytes([bytes(60)])
    for refuse in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            refuse(burst)
    with pytest.raises(TypeError):
        pickle.dumps(burst[0])
    with pytest.raises(TypeError):
        pickle.dumps(runtime.pool)


def test_a_collected_burst_frees_its_packets(runtime) -> None:
    vn.Burst.from_bytes([bytes(60)] * 5)
    gc.collect()
    assert runtime.mbufs_in_use() == 0
    assert runtime.balance().drops == {"collected": 5}


def test_a_subclass_may_have_its_own_init(run_python) -> None:
    """The burst is known to the runtime all the same: it is counted, and emptied at the end."""
    run_python(
        """
        import veridnet as vn

        class Numbered(vn.Burst):
            def __init__(self, capacity):
                self.number = 7

        with vn.Runtime() as rt:
            ring = rt.add_port("ring")
            ring.tx(vn.Burst.from_bytes([bytes(60)] * 5))
            burst = Numbered(8)
            assert ring.rx(burst) == 5
            assert rt.balance().held == 5
            assert rt.balance().balanced
            assert ring.stats["rx_bytes"] == 300
        assert len(burst) == 0
        assert rt.mbufs_in_use() == 0
        """
    )


def test_bursts_of_no_runtime_stay_usable(make_frames) -> None:
    with vn.Runtime() as rt:
        burst = vn.Burst.from_bytes(make_frames(3))
        port = rt.add_port("ring")
    assert len(burst) == 0
    assert rt.balance().drops == {"closed": 3}
    with pytest.raises(IndexError):
        burst.to_bytes(0)
    with pytest.raises(vn.ClosedError):
        port.rx(burst)
    with vn.Runtime() as rt:
        port = rt.add_port("ring")
        port.tx(vn.Burst.from_bytes(make_frames(2)))
        assert port.rx(burst) == 2
    assert rt.mbufs_in_use() == 0
