"""The end of a trace: ``while not port.exhausted`` ends, and never too soon."""

from __future__ import annotations

import gc
import time

import pytest

import veridnet as vn


@pytest.mark.parametrize("size", [1, 3, 10, 11, 256])
@pytest.mark.parametrize("records", [0, 1, 10])
def test_the_loop_ends(runtime, tmp_path, write_pcap, make_frames, records, size) -> None:
    frames = make_frames(records)
    port = runtime.add_port("pcap", rx=write_pcap(tmp_path / "x.pcap", frames))
    burst, got, polls = vn.Burst(size), [], 0
    while not port.exhausted:
        polls += 1
        port.rx(burst)
        got += [burst.to_bytes(i) for i in range(len(burst))]
        burst.clear()
    assert got == frames
    assert polls == -(-records // size)  # known at once: no poll brings nothing
    assert port.rx(burst) == 0
    assert port.exhausted


def test_not_before_the_last_frame_is_received(runtime, tmp_path, write_pcap, make_frames) -> None:
    port = runtime.add_port("pcap", rx=write_pcap(tmp_path / "x.pcap", make_frames(4)))
    burst = vn.Burst(3)
    assert not port.exhausted
    port.rx(burst)
    assert not port.exhausted
    burst.clear()
    port.rx(burst)
    assert port.exhausted
    assert len(burst) == 1  # what was received is still there


def test_live_ports_never_are(runtime, tmp_path) -> None:
    ports = [
        runtime.add_port("ring"),
        runtime.add_port("null", no_rx=True),
        runtime.add_port("memif", socket=tmp_path / "m.sock", role="server"),
    ]
    burst = vn.Burst(4)
    for port in ports:
        for _ in range(500):
            assert port.rx(burst) == 0
        assert not port.exhausted
        assert not port.finite


def test_a_port_that_only_sends(runtime, tmp_path) -> None:
    port = runtime.add_port("pcap", tx=tmp_path / "out.pcap")
    assert port.exhausted
    assert not port.receives
    assert list(port.bursts()) == []
    assert port.rx(vn.Burst(4)) == 0


def test_bursts(runtime, tmp_path, write_pcap, make_frames) -> None:
    frames = make_frames(10)
    port = runtime.add_port("pcap", rx=write_pcap(tmp_path / "x.pcap", frames))
    sizes = []
    for burst in port.bursts(4):
        assert burst.capacity == 4
        sizes.append(len(burst))
        burst.clear()
    assert sizes == [4, 4, 2]


def test_bursts_that_are_not_emptied(runtime, tmp_path, write_pcap, make_frames) -> None:
    port = runtime.add_port("pcap", rx=write_pcap(tmp_path / "x.pcap", make_frames(10)))
    polls = port.bursts(4)
    assert len(next(polls)) == 4
    with pytest.raises(vn.BurstError):
        next(polls)
    del polls
    gc.collect()
    assert runtime.balance().drops == {"collected": 4}


def test_live_bursts_yield_for_every_poll(ring) -> None:
    polls = ring.bursts()
    assert [len(next(polls)) for _ in range(3)] == [0, 0, 0]
    ring.tx(vn.Burst.from_bytes([bytes(60)]))
    burst = next(polls)
    assert len(burst) == 1
    burst.clear()
    polls.close()


@pytest.mark.parametrize("leave", [0, 1, 40])
def test_a_pool_that_runs_dry(
    runtime, tmp_path, write_pcap, make_frames, empty_pool, leave: int
) -> None:
    """net_pcap reads a record before it has an mbuf for it, and loses it: that is counted, and the
    loop still ends."""
    frames = make_frames(100)
    port = runtime.add_port("pcap", rx=write_pcap(tmp_path / "x.pcap", frames))
    hold = empty_pool(port.pool, leave)
    got, kept = [], []
    end = time.monotonic() + 20
    while not port.exhausted:
        assert time.monotonic() < end
        burst = vn.Burst(32)
        port.rx(burst)
        got += [burst.to_bytes(i) for i in range(len(burst))]
        kept.append(burst)  # as a burst that tx(policy="keep") has left with us
        assert runtime.balance().balanced
    stats = port.stats
    assert stats["rx_packets"] == len(got) == leave
    assert stats["pmd_lost"] == 100 - leave
    assert got == frames[:leave]
    kept.clear()
    hold.clear()
    assert runtime.balance().balanced


def test_a_pool_that_recovers(runtime, tmp_path, write_pcap, make_frames, empty_pool) -> None:
    """Which records were lost does not matter to those that are cut: each is the right one."""
    frames = make_frames(60)
    cut = dict.fromkeys(range(0, 60, 2), 100)
    path = write_pcap(tmp_path / "x.pcap", frames, lengths=cut)
    port = runtime.add_port("pcap", rx=path)
    hold = empty_pool(port.pool, 10)
    burst, got = vn.Burst(8), []
    kept: list[vn.Burst] | None = []
    polls = 0
    while not port.exhausted:
        polls += 1
        assert polls < 1000
        port.rx(burst)
        got += [burst.to_bytes(i) for i in range(len(burst))]
        if kept is not None:
            kept.append(burst)
            burst = vn.Burst(8)
            if polls == 6:
                kept = None
                hold.clear()
        burst.clear()
    assert set(got) <= {f for i, f in enumerate(frames) if i not in cut}
    assert got == sorted(got, key=frames.index)
    stats = port.stats
    assert stats["rx_packets"] + stats["pmd_lost"] == 60
    assert stats["pmd_lost"] > 0
    assert stats["rx_packets"] == len(got) + stats["drops"]["capture_cut"]


def test_a_trace_that_shrinks_while_it_is_read(runtime, tmp_path, write_pcap, make_frames) -> None:
    path = write_pcap(tmp_path / "x.pcap", make_frames(5000, 1000))
    port = runtime.add_port("pcap", rx=path)
    burst = vn.Burst(16)
    port.rx(burst)
    with path.open("r+b") as f:
        f.truncate(100_000)
    end = time.monotonic() + 20
    while not port.exhausted:
        assert time.monotonic() < end
        burst.clear()
        port.rx(burst)
    burst.clear()
    assert port.stats["rx_packets"] < 5000
