"""The header kernels against their naive twin, bit for bit, at every SIMD level; the twin against
scapy and against the RSS specification's own vectors."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6

import veridnet as vn
from veridnet._native.headers import parse_frames
from veridnet.headers import FIELDS, set_simd_level, simd_level, simd_levels
from veridnet.headers import reference as twin
from veridnet.headers.fields import ERRORS, GROUPS, NEEDS

sys.path.append(str(Path(__file__).resolve().parent.parent))
import header_stacks as hs

NAMES = tuple(field.name for field in FIELDS)
IN_HEADERS = tuple(name for name in NAMES if name not in NEEDS)
NO_PORT = 65535  # of packets that no port received
STARTS = {twin.ETHERNET: 0, twin.IPV4: 14, twin.IPV6: 14}


@pytest.fixture(params=simd_levels())
def level(request) -> Iterator[str]:
    before = simd_level()
    set_simd_level(request.param)
    yield request.param
    set_simd_level(before)


def same(got: dict[str, Any], want: dict[str, Any], frames: Sequence[bytes]) -> None:
    """Every column of `got` is that of `want`; else says which, in which frame."""
    for name, column in got.items():
        assert column.dtype == want[name].dtype
        if not np.array_equal(column, want[name]):
            i = int(np.flatnonzero(column != want[name])[0])
            pytest.fail(
                f"{name}[{i}]: kernel {column[i]:#x}, twin {want[name][i]:#x}, "
                f"frame {frames[i].hex()}"
            )


def layers(frames: Sequence[bytes], depth: int = 3, in_port: int = NO_PORT) -> list[dict[str, Any]]:
    """The twin's columns of the packets, of those in them, and so on."""
    rows = [twin.parse(frame, in_port=in_port) for frame in frames]
    out = [twin.as_arrays(rows)]
    for _ in range(depth - 1):
        rows = [
            twin.parse_inner(frame, row, in_port=in_port)
            for frame, row in zip(frames, rows, strict=True)
        ]
        out.append(twin.as_arrays(rows))
    return out


def columns(h: Any, names: Sequence[str] = NAMES) -> dict[str, Any]:
    return {name: getattr(h, name) for name in names}


def check_burst(frames: Sequence[bytes], want: Sequence[dict[str, Any]], pool: Any = None) -> None:
    """All columns of a burst, its inner packets and theirs."""
    burst = vn.Burst.from_bytes(list(frames), pool)
    h = burst.headers
    for layer in want:
        same(columns(h), layer, frames)
        h = h.inner
    burst.clear()


def pieces(frames: Sequence[bytes], size: int = 2000) -> Iterator[Sequence[bytes]]:
    for at in range(0, len(frames), size):
        yield frames[at : at + size]


@pytest.fixture(scope="module")
def everything() -> tuple[list[bytes], list[dict[str, Any]]]:
    """All stacks, cut anywhere, and what the twin says of them and of what is in them."""
    frames = [f for f in [*hs.truncated(), *hs.truncated_inside(), *hs.long_frames()] if f]
    return frames, layers(frames)


def part(want: Sequence[dict[str, Any]], at: int, size: int) -> list[dict[str, Any]]:
    return [{name: c[at : at + size] for name, c in layer.items()} for layer in want]


# -- the material is what it should be ------------------------------------------------------------


def test_every_column_and_error_occurs(everything) -> None:
    _, want = everything
    assert set(want[0]["error"].tolist()) == set(range(len(ERRORS)))
    unseen = {name for name in NAMES if not want[0][name].any()}
    assert unseen == {"rx_time"}
    for layer in want[1:]:
        assert {"eth_dst", "ip_src", "ip6_src_lo", "l4_dst"} <= {n for n in NAMES if layer[n].any()}
    assert set(want[0]["tunnel"].tolist()) == set(range(6))
    assert set(want[0]["l4_csum"].tolist()) == set(want[0]["ip_csum"].tolist()) == {0, 1, 2}
    assert set(want[0]["frag"].tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("name", "error"),
    {
        "udp": "none", "vlan5": "many_vlan", "mpls9": "many_mpls", "ip_version": "bad_version",
        "ip_ihl_4": "bad_ihl", "ip_ihl_15": "trunc_ip4", "ip_len_19": "bad_ip_len",
        "ip_len_more": "bad_ip_len", "ext_9": "many_ext", "ah6_short": "trunc_ext",
        "tcp_doff_4": "bad_doff", "tcp_doff_15": "bad_doff", "udp_len_7": "bad_udp_len",
        "udp_len_more": "bad_udp_len", "gre_routing": "bad_tunnel", "gtp_ext9": "bad_tunnel",
        "gre_cut_key": "trunc_tunnel", "frag_tiny": "trunc_l4", "frag_first_udp": "none",
    }.items(),
)  # fmt: skip
def test_named_errors(name: str, error: str) -> None:
    assert ERRORS[twin.parse(hs.stacks()[name])["error"]][0] == error


def test_values_by_hand() -> None:
    """One packet, read by eye, so that twin and kernel are not wrong together."""
    frame = bytes.fromhex(
        "020000000001 020000000002 8100 a064 0800"
        "46 b9 002d 1234 4000 3f 11 0000 c0000201 c63364c8 01010101"
        "0fa1 0035 0015 beef 68656c6c6f2068656c6c6f21 0a".replace(" ", "")
    )
    want = {
        "wire_len": 63, "l2_len": 18, "l3_len": 24, "l4_len": 8, "payload_off": 50,
        "payload_len": 13, "ptype": 0x236, "eth_dst": 0x020000000001, "eth_src": 0x020000000002,
        "ethertype": 0x0800, "vlan_depth": 1, "vlan_id": 100, "vlan_pcp": 5, "ip_version": 4,
        "ip_proto": 17, "ip_ttl": 63, "ip_dscp": 46, "ip_ecn": 1, "ip_len": 45,
        "ip_src": 0xC0000201, "ip_dst": 0xC63364C8, "ip_ihl": 6, "ip_id": 0x1234, "ip_flags": 2,
        "l4_src": 4001, "l4_dst": 53, "udp_len": 21, "udp_checksum": 0xBEEF,
    }  # fmt: skip
    row = twin.parse(frame)
    kernel = parse_frames([frame])
    for name in IN_HEADERS:
        value = want.get(name, NO_PORT if name == "in_port" else 0)
        assert row[name] == value, name
        assert kernel[name][0] == value, name


# -- kernel = twin --------------------------------------------------------------------------------


@pytest.mark.parametrize("start", STARTS)
def test_bytes(everything, start: int) -> None:
    frames = [frame[STARTS[start] :] for frame in everything[0]]
    same(parse_frames(frames, start=start), twin.parse_frames(frames, start=start), frames)


def test_bursts(runtime, level, everything) -> None:
    frames, want = everything
    for k, some in enumerate(pieces(frames)):
        check_burst(some, part(want, 2000 * k, 2000))


IN_VECTOR = "eth vlan mpls arp ip ipv4 ipv6 l4 sctp icmp ipsec".split()
VECTOR = [
    f.name for f in FIELDS if f.group in IN_VECTOR or f.name in ("in_port", "wire_len", "frag")
]


@pytest.mark.parametrize("names", [NAMES, VECTOR, [*VECTOR, "flow_hash"]])
def test_all_at_once(runtime, level, everything, names) -> None:
    """A plan: all its columns in one pass, not one after another as they are read."""
    port = runtime.add_port("ring")
    burst = vn.Burst(1000, headers=vn.Headers(*names))
    fit = [f for f in everything[0] if 14 <= len(f) <= 1514]
    rng = random.Random(4)
    fit += [any_values(rng, rng.choice(PLAIN)) for _ in range(3000)]
    rng.shuffle(fit)
    for frames in pieces(fit[:5000], 1000):
        sent = vn.Burst.from_bytes(list(frames))
        port.tx(sent)
        port.rx(burst)
        assert len(burst) == len(frames)
        want = layers(frames, 2, port.index)
        same(columns(burst.headers, names), want[0], frames)
        same(columns(burst.headers.inner, names), want[1], frames)
        burst.clear()


def test_across_segments(runtime, level) -> None:
    """Headers in mbufs of 64 bytes each."""
    pool = runtime.add_pool(8191, data_room=64)
    frames = [*hs.stacks().values(), *hs.long_frames()[:7]]
    frames += [f[:n] for f in hs.stacks().values() for n in (63, 64, 65, 100, 127, 128, 129)]
    for some in pieces(frames, 300):
        check_burst(some, layers(some), pool)


def test_each_column_alone(everything) -> None:
    frames, want = everything
    for name in IN_HEADERS:
        got = parse_frames(frames, [name])
        assert list(got) == [name]
        same(got, want[0], frames)


def test_each_column_of_a_burst_alone(runtime, level) -> None:
    frames = [*hs.stacks().values(), *random.Random(1).sample(hs.truncated_inside(), 200)]
    frames = [f for f in frames if len(f) >= 14]  # a port sends no shorter ones
    source = vn.Burst.from_bytes(frames)
    port = runtime.add_port("ring")
    want = layers(frames, in_port=port.index)
    for name in NAMES:
        burst = vn.Burst(len(frames), headers=vn.Headers(name))
        port.tx(source)
        port.rx(burst)
        assert len(burst) == len(frames)
        h = burst.headers
        for layer in want:
            same(columns(h, [name]), layer, frames)
            h = h.inner
        source = burst
    source.clear()


def test_subsets_of_columns(runtime, level) -> None:
    rng = random.Random(level)
    frames = [*hs.stacks().values(), *rng.sample(hs.truncated_inside(), 200)]
    want = layers(frames)
    source = vn.Burst.from_bytes(frames)
    asked = [[f.name for f in FIELDS if f.group == group] for group in GROUPS]
    asked += [rng.sample(NAMES, rng.randint(2, 12)) for _ in range(60)]
    for names in asked:
        h = source.headers._apart()
        depth = rng.randrange(3)
        if depth:
            h = source.headers
            for _ in range(depth):
                h = h.inner
            h = h._apart()
        same(columns(h, names), want[depth], frames)
    source.clear()


PLAIN = [hs.stacks()[name] for name in ("udp", "tcp", "udp_trailer", "tcp_all_flags")]


def test_every_place_in_a_block(runtime, level) -> None:
    """Every stack in every place among packets that the vector loop knows; every tail's length."""
    plain = [layers([frame])[0] for frame in PLAIN]
    fast = [name for name in NAMES if name not in NEEDS][:60]
    for frame in hs.stacks().values():
        odd = layers([frame])[0]
        size = random.Random(len(frame)).randint(32, 47)
        for place in range(size):
            kinds = [(i * 7 + place) % len(PLAIN) for i in range(size)]
            frames = [PLAIN[k] for k in kinds]
            frames[place] = frame
            burst = vn.Burst.from_bytes(frames)
            h = burst.headers
            for name in fast if place == 0 else ("ip_src", "l4_dst", "ip_proto", "eth_src"):
                want = [int(plain[k][name][0]) for k in kinds]
                want[place] = int(odd[name][0])
                assert getattr(h, name).tolist() == want, (name, place, frame.hex())
            burst.clear()


def any_values(rng: random.Random, frame: bytes) -> bytes:
    """The same headers with any values in them, but for those that say what follows."""
    out = bytearray(rng.randbytes(len(frame)))
    for at in (12, 13, 14, 16, 17, 21, 23):  # types, lengths, fragment offset
        out[at] = frame[at]
    out[20] &= 0xC0  # neither a fragment
    return bytes(out)


def test_vector_columns_alone(runtime, level) -> None:
    """The columns that the vector loop makes, asked for without those that it cannot."""
    rng = random.Random(3)
    frames = [any_values(rng, rng.choice(PLAIN)) for _ in range(500)] + list(hs.stacks().values())
    rng.shuffle(frames)
    want = layers(frames, 1)[0]
    for n in (*range(1, 70), len(frames)):
        burst = vn.Burst.from_bytes(frames[:n])
        same(columns(burst.headers, VECTOR), {k: c[:n] for k, c in want.items()}, frames)
        burst.clear()


def test_nothing_is_left_of_the_burst_before(runtime, level) -> None:
    port = runtime.add_port("ring")
    rng = random.Random(5)
    burst = vn.Burst(64, headers=vn.Headers("all"))
    stacks = list(hs.stacks().values())
    for _ in range(30):
        frames = [rng.choice(stacks) for _ in range(rng.randint(1, 64))]
        sent = vn.Burst.from_bytes(frames)
        port.tx(sent)
        port.rx(burst)
        assert len(burst) == len(frames)
        want = layers(frames, 2, port.index)
        same(columns(burst.headers), want[0], frames)
        same(columns(burst.headers.inner), want[1], frames)
        burst.clear()


# -- any bytes ------------------------------------------------------------------------------------

FIXTURES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def mutated(draw) -> bytes:
    """A stack with a few bytes changed, cut or added."""
    frame = bytearray(draw(st.sampled_from(list(hs.stacks().values()))))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(frame) - 1))
        interesting = st.sampled_from([0, 1, 4, 5, 6, 17, 41, 43, 44, 47, 50, 51, 58, 60, 132, 255])
        frame[at] = draw(interesting | st.integers(0, 255))
    cut = draw(st.integers(0, len(frame) - 1) | st.just(0))
    frame = frame[: len(frame) - cut] if draw(st.booleans()) else frame
    return bytes(frame + draw(st.binary(max_size=24)))


@given(st.lists(st.binary(max_size=200) | mutated(), min_size=1, max_size=20))
def test_any_bytes(frames: list[bytes]) -> None:
    for start in STARTS:
        same(parse_frames(frames, start=start), twin.parse_frames(frames, start=start), frames)


@FIXTURES
@given(
    st.lists(st.binary(min_size=1, max_size=200) | mutated().filter(len), min_size=1, max_size=40)
)
def test_any_burst(runtime, level, frames: list[bytes]) -> None:
    check_burst(frames, layers(frames))


@given(
    st.lists(mutated(), min_size=1, max_size=20), st.sets(st.sampled_from(IN_HEADERS), min_size=1)
)
def test_any_columns(frames: list[bytes], names: set[str]) -> None:
    same(parse_frames(frames, sorted(names)), twin.parse_frames(frames), frames)


# -- checksums, by scapy --------------------------------------------------------------------------


def verdicts(frames: Sequence[bytes]) -> list[tuple[int, int]]:
    burst = vn.Burst.from_bytes(list(frames))
    h = burst.headers
    out = list(zip(h.ip_csum.tolist(), h.l4_csum.tolist(), strict=True))
    same(columns(h, ["ip_csum", "l4_csum"]), layers(frames, 1)[0], frames)
    burst.clear()
    return out


def test_right_and_wrong_checksums(runtime) -> None:
    """What scapy makes is right; any bit changed is wrong."""
    stacks = hs.stacks()
    names = ["udp", "tcp", "tcp_options", "udp6", "tcp6", "vlan_udp", "mpls3_tcp6", "icmp_echo",
             "icmp6_echo", "icmp6_ns", "sctp", "sctp6", "ext_many", "ext_hop", "vxlan",
             "ip_options", "frag6_atomic", "udp_trailer", "tcp_trailer", "gtp_ip4"]  # fmt: skip
    for name in names:
        frame = stacks[name]
        c = twin.parse(frame)
        four = c["ip_version"] == 4
        assert verdicts([frame]) == [(1 if four else 0, 1)], name
        l3, l4 = c["l2_len"], c["l2_len"] + c["l3_len"]
        wrong = []
        for at in [*range(l4, c["payload_off"] + c["payload_len"])]:
            changed = bytearray(frame)
            changed[at] ^= 0x10
            row = twin.parse(bytes(changed))
            if row["error"] == 0 and not (row["ip_proto"] == 17 and row["udp_checksum"] == 0):
                wrong.append(bytes(changed))
        assert len(wrong) > 4
        assert {v for _, v in verdicts(wrong)} == {2}, name
        if four:
            wrong = [frame[: l3 + 8] + bytes([frame[l3 + 8] ^ 1]) + frame[l3 + 9 :]]
            assert [v for v, _ in verdicts(wrong)] == [2]


@pytest.mark.parametrize("ip", [IP(src="10.0.0.1", dst="10.0.0.2"), IPv6(src="fd::1", dst="fd::2")])
def test_odd_lengths(runtime, ip) -> None:
    pool = runtime.add_pool(8191, data_room=64)
    kinds = (UDP(sport=1, dport=2), TCP(sport=3, dport=4), hs.SCTP(sport=5, dport=6))
    frames = [
        bytes(hs.E / ip / l4 / bytes(range(100, 100 + size))) for size in range(130) for l4 in kinds
    ]
    assert {v for _, v in verdicts(frames)} == {1}
    burst = vn.Burst.from_bytes(frames, pool)  # segments of 64 bytes, and an odd place to split
    assert set(burst.headers.l4_csum.tolist()) == {1}
    burst.clear()
    odd = runtime.add_pool(4095, data_room=67)
    for some in pieces(frames, 100):
        burst = vn.Burst.from_bytes(list(some), odd)
        assert set(burst.headers.l4_csum.tolist()) == {1}
        burst.clear()


def test_udp_zero(runtime) -> None:
    """0 means none over IPv4, is wrong over IPv6; a sum that is 0 is sent as 0xffff."""
    stacks = hs.stacks()
    assert verdicts([stacks["udp_without_checksum"], stacks["udp6_without_checksum"]]) == [
        (1, 0),
        (0, 2),
    ]
    for ip in (IP(src="10.0.0.1", dst="10.0.0.2"), IPv6(src="fd::1", dst="fd::2")):
        packet = hs.E / ip / UDP(sport=1, dport=2) / b"\0\0"
        value = UDP(bytes(packet[UDP])).chksum
        packet = hs.E / ip / UDP(sport=1, dport=2) / value.to_bytes(2, "big")
        frame = bytes(packet)
        assert twin.parse(frame)["udp_checksum"] == 0xFFFF
        assert verdicts([frame])[0][1] == 1


def test_sums_that_cannot_be_verified(runtime) -> None:
    """Fragments, malformed ones, and packets on a source route to elsewhere."""
    stacks = hs.stacks()
    names = ["frag_first_udp", "frag_first_tcp", "frag_last", "frag6_first", "tcp_doff_15",
             "udp_len_more", "ext_routed", "ip_lsrr", "esp", "igmp", "arp"]  # fmt: skip
    assert {v for _, v in verdicts([stacks[name] for name in names])} == {0}
    assert verdicts([stacks["ip_lsrr_done"]]) == [(1, 1)]


# -- hashes ---------------------------------------------------------------------------------------

# The verification suite of Microsoft's RSS specification, as DPDK's test_thash.c has it:
# destination, source, their ports, hash of addresses, hash of addresses and ports.
RSS_VECTORS = [
    ("161.142.100.80", "66.9.149.187", 1766, 2794, 0x323E8FC2, 0x51CCC178),
    ("65.69.140.83", "199.92.111.2", 4739, 14230, 0xD718262A, 0xC626B0EA),
    ("12.22.207.184", "24.19.198.95", 38024, 12898, 0xD2D0A5DE, 0x5C2B394A),
    ("209.142.163.6", "38.27.205.30", 2217, 48228, 0x82989176, 0xAFC7327F),
    ("202.188.127.2", "153.39.163.191", 1303, 44251, 0x5D1809C5, 0x10E828A2),
    ("3ffe:2501:200:3::1", "3ffe:2501:200:1fff::7", 1766, 2794, 0x2CC18CD5, 0x40207D3D),
    ("ff02::1", "3ffe:501:8::260:97ff:fe40:efab", 4739, 14230, 0x0F0C461C, 0xDDE51BBF),
    ("fe80::200:f8ff:fe21:67cf", "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 38024, 44251, 0x4B61E985,
     0x02D1FEEF),
]  # fmt: skip


def hashes(frames: Sequence[bytes]) -> tuple[list[int], list[int]]:
    burst = vn.Burst.from_bytes(list(frames))
    out = burst.headers.flow_hash.tolist(), burst.headers.flow_hash_sym.tolist()
    same(columns(burst.headers, ["flow_hash", "flow_hash_sym"]), layers(frames, 1)[0], frames)
    burst.clear()
    return out


@pytest.mark.parametrize("l4", [TCP, UDP, hs.SCTP])
def test_rss_vectors(runtime, level, l4) -> None:
    whole, addresses = [], []
    for dst, src, dport, sport, _, _ in RSS_VECTORS:
        ip = IPv6(src=src, dst=dst) if ":" in dst else IP(src=src, dst=dst)
        whole.append(bytes(hs.E / ip / l4(sport=sport, dport=dport)))
        addresses.append(bytes(hs.E / ip / b"nothing that is known"))
    assert hashes(whole)[0] == [v[5] for v in RSS_VECTORS]
    assert hashes(addresses)[0] == [v[4] for v in RSS_VECTORS]


@FIXTURES
@given(st.data())
def test_both_directions_are_one_flow(runtime, data) -> None:
    address = st.ip_addresses(v=data.draw(st.sampled_from([4, 6]))).map(str)
    a, b = data.draw(address), data.draw(address)
    port = st.integers(0, 65535)
    p, q = data.draw(port), data.draw(port)
    ip = IPv6 if ":" in a else IP
    l4 = data.draw(st.sampled_from([TCP, UDP, hs.SCTP]))
    there = bytes(hs.E / ip(src=a, dst=b) / l4(sport=p, dport=q))
    back = bytes(hs.E / ip(src=b, dst=a) / l4(sport=q, dport=p))
    _, symmetric = hashes([there, back])
    assert symmetric[0] == symmetric[1]


def test_fragments_of_a_flow_hash_alike(runtime) -> None:
    """A first fragment has ports, the others have none: addresses only, for all of them."""
    frames = [
        bytes(hs.E / IP(src="10.0.0.1", dst="10.0.0.2", flags="MF") / UDP(len=64) / bytes(16)),
        bytes(hs.E / IP(src="10.0.0.1", dst="10.0.0.2", frag=3, proto=17) / bytes(16)),
    ]
    plain, symmetric = hashes(frames)
    assert len(set(plain)) == len(set(symmetric)) == 1
