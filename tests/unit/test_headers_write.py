"""Columns written back: what is read again, and every checksum, by scapy's own computation."""

from __future__ import annotations

import random
from typing import Any

import header_stacks as hs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrRouting
from scapy.layers.l2 import Dot1Q, Ether
from scapy.layers.sctp import SCTP, SCTPChunkData

import veridnet as vn
from veridnet.headers.fields import BY_NAME, WRITABLE

#: Bits that a column really has.
BITS = {"eth_dst": 48, "eth_src": 48, "vlan_id": 12, "vlan_pcp": 3, "ip_dscp": 6, "ip_ecn": 2,
        "ip6_flow_label": 20, "tcp_flags": 12}  # fmt: skip
E = Ether(dst="02:00:00:00:00:01", src="02:00:00:00:00:02")
IP4, IP6 = IP(src="10.0.0.1", dst="10.0.0.2"), IPv6(src="2001:db8::1", dst="2001:db8::2")
PLAIN = [
    E / IP4 / UDP(sport=1000, dport=1053) / b"odd",
    E / IP4 / UDP(sport=1000, dport=1053, chksum=0) / b"none",
    E / IP4 / TCP(sport=2000, dport=443, flags="SA", seq=7) / b"data",
    E / IP6 / UDP(sport=3000, dport=1053) / b"six",
    E / IP6 / TCP(sport=3000, dport=80) / b"six",
    E / IP6 / ICMPv6EchoRequest(id=1, seq=2, data=b"ping"),
    E / Dot1Q(vlan=7, prio=3) / IP4 / TCP(dport=80),
    E / Dot1Q(vlan=7) / Dot1Q(vlan=8) / IP6 / UDP(dport=81) / b"x",
    E / IP4 / ICMP() / b"ping",
    E / IP4 / SCTP(sport=1, dport=2, tag=3) / SCTPChunkData(data=b"sctp"),
]


def width(name: str) -> int:
    return BITS.get(name, int(BY_NAME[name].dtype.removeprefix("uint")))


def rebuilt(raw: bytes) -> bytes:
    """The frame with every checksum that it has computed by scapy."""
    packet = Ether(raw)
    for layer in (IP, TCP, UDP, ICMP, SCTP, ICMPv6EchoRequest):
        if (found := packet.getlayer(layer)) is None:
            continue
        name = "cksum" if layer is ICMPv6EchoRequest else "chksum"
        if layer is UDP and found.chksum == 0:
            continue
        setattr(found, name, None)
    return bytes(packet)


def check(burst: Any) -> None:
    for i in range(len(burst)):
        raw = burst.to_bytes(i)
        assert rebuilt(raw) == raw, (i, Ether(raw).summary())


def test_what_is_written_is_read_and_checksums_are_right(runtime) -> None:
    @given(st.data())
    def check_one(data: Any) -> None:
        write_and_read(data)

    check_one()


def write_and_read(data: Any) -> None:
    burst = vn.Burst.from_bytes([bytes(p) for p in PLAIN])
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(PLAIN), max_size=len(PLAIN))))
    chosen = data.draw(st.sets(st.sampled_from(WRITABLE), min_size=1))
    h = burst.headers
    before = h.copy(*WRITABLE, "vlan_depth", "ip_version", "ip_proto", "l4_len")
    wanted = {}
    for name in sorted(chosen):
        column = getattr(h, name)
        column[:] = data.draw(st.integers(0, 2 ** width(name) - 1))
        wanted[name] = column.copy()
    changed = h.write(*sorted(chosen), mask=mask)
    after = burst.headers
    present = {
        "vlan": before.vlan_depth > 0, "ip": before.ip_version > 0, "ipv4": before.ip_version == 4,
        "ipv6": before.ip_version == 6, "eth": np.ones(len(PLAIN), bool),
        "l4": np.isin(before.ip_proto, (6, 17, 132)), "tcp": before.ip_proto == 6,
    }  # fmt: skip
    differs = np.zeros(len(PLAIN), bool)
    for name in WRITABLE:
        here = mask & present[BY_NAME[name].group] & (name in chosen)
        old = getattr(before, name)
        expected = np.where(here, wanted.get(name, old), old)
        # A port of 4789, 2152 or 6081 makes another packet of the payload, not of this header.
        assert getattr(after, name).tolist() == expected.tolist(), name
        differs |= expected != old
    assert changed == differs.sum()
    check(burst)
    burst.clear()


def test_wrong_checksums_stay_wrong(runtime) -> None:
    wrong = [E / IP(src="10.0.0.1", chksum=1) / UDP(dport=5, chksum=0x1234) / b"x",
             E / IP4 / TCP(chksum=0xBEEF)]  # fmt: skip
    burst = vn.Burst.from_bytes(wrong)
    h = burst.headers
    assert h.l4_csum.tolist() == [2, 2] and h.ip_csum.tolist() == [2, 1]
    h.ip_ttl -= 1
    h.ip_dst = "192.0.2.9"
    assert h.write() == 2
    h = burst.headers
    assert h.l4_csum.tolist() == [2, 2] and h.ip_csum.tolist() == [2, 1]
    burst.clear()


def test_a_udp_checksum_never_becomes_zero(runtime) -> None:
    """Each source port once: one of them makes the sum 0, which is sent as 0xffff (RFC 768)."""
    burst = vn.Burst.from_bytes([bytes(PLAIN[0])] * 1024)
    found = False
    for base in range(0, 65536, 1024):
        h = burst.headers
        h.l4_src = np.arange(base, base + 1024)
        h.write()
        h = burst.headers
        assert h.udp_checksum.all() and (h.l4_csum == 1).all()
        found |= bool((h.udp_checksum == 0xFFFF).any())
    assert found
    burst.clear()


def test_fragments(runtime) -> None:
    """The first one has the checksum of the whole datagram, which follows; the others have none."""
    whole = IP4 / UDP(sport=1, dport=2) / bytes(range(200))
    data = bytes(whole)[20:]
    ip = {"src": "10.0.0.1", "dst": "10.0.0.2", "id": 9, "proto": 17}
    parts = [E / IP(**ip, flags="MF") / data[:104], E / IP(**ip, frag=13) / data[104:]]
    burst = vn.Burst.from_bytes(parts)
    h = burst.headers
    assert h.frag.tolist() == [1, 3]
    h.ip_src = "172.16.5.5"
    assert h.write() == 2
    both = [Ether(burst.to_bytes(i)) for i in range(2)]
    joined = IP(src="172.16.5.5", dst="10.0.0.2") / UDP(bytes(both[0][IP].payload)
                                                      + bytes(both[1][IP].payload))  # fmt: skip
    was = joined[UDP].chksum
    del joined[UDP].chksum
    assert IP(bytes(joined))[UDP].chksum == was
    burst.clear()


def test_a_routed_destination_is_not_in_the_checksum(runtime) -> None:
    packet = E / IP6 / IPv6ExtHdrRouting(addresses=["2001:db8::9"], segleft=1) / UDP(dport=7) / b"x"
    burst = vn.Burst.from_bytes([packet])
    before = Ether(burst.to_bytes(0))[UDP].chksum
    burst.headers.ip6_dst_lo = 5
    assert burst.headers.write() == 1
    assert Ether(burst.to_bytes(0))[UDP].chksum == before
    h = burst.headers
    h.ip6_src_lo = 5
    h.write()
    check(burst)
    burst.clear()


def test_headers_in_several_segments(runtime) -> None:
    pool = runtime.add_pool(255, data_room=64)
    frames = [bytes(E / IP4 / TCP(dport=80, options=[("NOP", None)] * 20) / bytes(100))] * 3
    burst = vn.Burst.from_bytes(frames, pool=pool)
    assert burst.segments(0) > 1
    h = burst.headers
    h.ip_src, h.l4_src, h.tcp_window, h.eth_src = "1.2.3.4", 99, 4096, "02:11:11:11:11:11"
    assert h.write() == 3
    h = burst.headers
    assert h.tcp_window.tolist() == [4096] * 3 and h.l4_csum.tolist() == [1] * 3
    check(burst)
    burst.clear()
    pool.close()


def test_shared_packets_are_copied(ring) -> None:
    """A view that outlives its burst holds the mbuf: the packet's next owner writes to a copy."""
    burst = vn.Burst.from_bytes([bytes(PLAIN[0])])
    ring.tx(burst)
    ring.rx(burst)
    copied = vn.Burst(4)
    view = burst.view(0)
    before = bytes(view)
    h = burst.headers
    h.ip_ttl = 9
    with pytest.raises(vn.ViewError):
        h.write()
    del view
    assert h.write() == 1 and burst.to_bytes(0) != before
    check(burst)
    burst.clear(), copied.clear()


@pytest.mark.parametrize("stack", ["garbage", "truncated", "all"])
def test_anything_may_be_written_to_anything(runtime, stack) -> None:
    """No header, half a header, wrong lengths: what is not there stays, nothing else moves."""
    rng = random.Random(7)
    frames = {
        "garbage": [rng.randbytes(rng.randrange(1, 120)) for _ in range(500)],
        "truncated": random.Random(1).sample([f for f in hs.truncated() if f], 800),
        "all": [*hs.stacks().values(), *hs.long_frames()],
    }[stack]
    burst = vn.Burst.from_bytes(frames)
    h = burst.headers
    for name in WRITABLE:
        getattr(h, name)[:] = rng.randrange(2 ** width(name))
    sizes = burst.lengths.tolist()
    h.write()
    assert burst.lengths.tolist() == sizes
    again = burst.headers
    for name in WRITABLE:
        _ = getattr(again, name)
    assert burst.headers.write() == 0, "what stands in the packets already is no change"
    burst.clear()


def test_what_cannot_be_written(runtime) -> None:
    burst = vn.Burst.from_bytes([bytes(PLAIN[0])])
    h = burst.headers
    with pytest.raises(ValueError, match="not a column that can be written"):
        h.write("ip_proto")
    with pytest.raises(ValueError, match="not a column that can be written"):
        h.write("nosuch")
    with pytest.raises(ValueError, match="nothing to write"):
        h.write("ip_ttl")
    with pytest.raises(vn.StateError, match="inside tunnels"):
        h.inner.write()
    _ = h.ip_ttl
    with pytest.raises(TypeError, match="bool array"):
        h.write("ip_ttl", mask=[1])
    for name, value in (("ip_src", "::1"), ("ip_ttl", "10"), ("eth_dst", "x"), ("ip_ttl", 256)):
        with pytest.raises((vn.ConfigError, OverflowError)):
            setattr(h, name, value)
    assert h.write() == 0
    burst.clear()


def test_vlan_push_and_pop(runtime) -> None:
    burst = vn.Burst.from_bytes([bytes(p) for p in PLAIN])
    frames = [burst.to_bytes(i) for i in range(len(burst))]
    mask = np.arange(len(PLAIN)) % 2 == 0
    assert burst.vlan_push(99, pcp=5, mask=mask) == mask.sum()
    assert burst.vlan_push(100, tpid=0x88A8) == len(PLAIN)
    for i, frame in enumerate(frames):
        tags = b"\x88\xa8\x00\x64" + (b"\x81\x00\xa0\x63" if mask[i] else b"")
        assert burst.to_bytes(i) == frame[:12] + tags + frame[12:]
    assert (burst.headers.vlan_id == 100).all() and burst.headers.vlan2_id[0] == 99
    assert burst.vlan_pop() == len(PLAIN)
    assert burst.vlan_pop(mask=mask) == mask.sum()
    assert [burst.to_bytes(i) for i in range(len(burst))] == frames
    for wrong in ({"vlan_id": 4096}, {"vlan_id": 1, "pcp": 8}, {"vlan_id": 1, "tpid": 0x800}):
        with pytest.raises(ValueError, match="no such tag"):
            burst.vlan_push(**wrong)
    burst.clear()


def test_tags_beyond_the_headroom(runtime) -> None:
    burst = vn.Burst.from_bytes([bytes(PLAIN[0])])
    for k in range(100):
        assert burst.vlan_push(k) == 1
    assert burst.headers.vlan_id[0] == 99 and len(burst.to_bytes(0)) == len(bytes(PLAIN[0])) + 400
    for _ in range(100):
        assert burst.vlan_pop() == 1
    assert burst.to_bytes(0) == bytes(PLAIN[0]) and burst.vlan_pop() == 0
    burst.clear()


def test_no_mbuf_for_a_copy_changes_nothing(runtime, empty_pool) -> None:
    """All copies are made before the first tag is pushed."""
    pool = runtime.add_pool(255)
    burst = vn.Burst.from_bytes([bytes(PLAIN[0]), bytes(PLAIN[2])], pool=pool)
    for k in range(32):  # the second packet has used up its headroom of 128 bytes
        burst.vlan_push(k, mask=np.array([False, True]))
    before = [burst.to_bytes(i) for i in range(2)]
    taken = empty_pool(pool)
    with pytest.raises(vn.PoolError):
        burst.vlan_push(7)
    assert [burst.to_bytes(i) for i in range(2)] == before
    for other in taken:
        other.clear()
    assert burst.vlan_push(7) == 2
    burst.clear()
