"""MAC addresses rewritten in place, against scapy."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.l2 import Ether

import veridnet as vn

MAC = "0a:1b:2c:3d:4e:5f"


def frames_of(burst: vn.Burst) -> list[bytes]:
    return [burst.to_bytes(i) for i in range(len(burst))]


def test_swap(runtime, make_frames) -> None:
    frames = make_frames(10)
    burst = vn.Burst.from_bytes(frames)
    burst.swap_macs()
    for i, frame in enumerate(frames):
        before, after = Ether(frame), burst.to_scapy(i)
        assert (after.dst, after.src) == (before.src, before.dst)
        assert bytes(after)[12:] == frame[12:]
    burst.swap_macs()
    assert frames_of(burst) == frames


@given(st.lists(st.binary(min_size=1, max_size=80), max_size=40))
@settings(max_examples=60)
def test_swap_of_anything(frames: list[bytes]) -> None:
    with vn.Runtime():
        burst = vn.Burst.from_bytes(frames)
        burst.swap_macs()
        swapped = [f if len(f) < 14 else f[6:12] + f[:6] + f[12:] for f in frames]
        assert frames_of(burst) == swapped
        assert burst.lengths.tolist() == [len(f) for f in frames]


@pytest.mark.parametrize(
    "mac", [MAC, MAC.upper(), MAC.replace(":", "-"), bytes.fromhex(MAC.replace(":", "")),
            bytearray.fromhex(MAC.replace(":", ""))],
)  # fmt: skip
def test_set_takes_text_and_bytes(runtime, make_frames, mac: object) -> None:
    frame = make_frames(1)[0]
    burst = vn.Burst.from_bytes([frame, frame[:13]])
    burst.set_macs(dst=mac)
    assert burst.to_scapy(0).dst == MAC
    assert burst.to_bytes(0)[6:] == frame[6:]
    burst.set_macs(src=mac)
    assert burst.to_scapy(0).src == MAC
    burst.set_macs(dst="ff:ff:ff:ff:ff:ff", src="02:00:00:00:00:01")
    assert burst.to_bytes(0) == b"\xff" * 6 + b"\x02\0\0\0\0\1" + frame[12:]
    assert burst.to_bytes(1) == frame[:13]
    burst.set_macs()
    assert burst.to_bytes(0) == b"\xff" * 6 + b"\x02\0\0\0\0\1" + frame[12:]


@pytest.mark.parametrize(
    "mac", ["", "x", "02:00:00:00:00", "02:00:00:00:00:01:02", "02:00:00:00:00:100", b"12345", []]
)
def test_set_refuses(runtime, make_frames, mac: object) -> None:
    burst = vn.Burst.from_bytes(make_frames(1))
    with pytest.raises(vn.ConfigError, match="not a MAC address"):
        burst.set_macs(dst="ff:ff:ff:ff:ff:ff", src=mac)
    assert frames_of(burst) == make_frames(1)


def test_a_header_in_two_segments(runtime, make_frames) -> None:
    """The second segment's bytes are the header's last: it is copied, then written."""
    pool = runtime.add_pool(255, data_room=64)
    frame = make_frames(1, 200)[0]
    burst = vn.Burst.from_bytes([frame], pool)
    assert burst.segments(0) == 4
    burst.swap_macs()
    assert burst.to_bytes(0) == frame[6:12] + frame[:6] + frame[12:]
    burst.clear()
    assert pool.in_use == 0


def test_bytes_are_counted_once(ring, make_frames) -> None:
    """Rewriting measures the packets, and so do tx and the counters: the sums stay the same."""
    frames = make_frames(5) + make_frames(2, 3000) + [b"runt"]
    total = sum(map(len, frames))
    ring.tx(vn.Burst.from_bytes(frames))
    burst = vn.Burst(16)
    ring.rx(burst)
    assert ring.stats["rx_bytes"] == total - 4
    burst.swap_macs()
    burst.set_macs(dst=MAC)
    assert ring.stats["rx_bytes"] == total - 4
    ring.tx(burst)
    assert ring.stats["rx_bytes"] == total - 4
    assert ring.stats["tx_bytes"] == 2 * (total - 4)
    assert ring.stats["drops"] == {"runt": 1}


@pytest.mark.parametrize("mac", ["02:00:00-00:00:01", "+2:0:0:0:0:1", "0x2:0:0:0:0:1", 6, True])
def test_addresses_that_are_none(runtime, mac) -> None:
    """bytes(6) is six zeros, and int() reads more than an address has."""
    burst = vn.Burst.from_bytes([bytes(60)])
    with pytest.raises(vn.ConfigError, match="not a MAC address"):
        burst.set_macs(dst=mac)
    with pytest.raises(vn.ConfigError, match="not a MAC address"):
        vn.mac(mac)
    burst.clear()
