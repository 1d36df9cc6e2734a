"""pcap-filter expressions against libpcap's own compiler and interpreter, packet by packet."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from libpcap import PcapError, pcap_filter
from match_expressions import EXPRESSIONS, REFUSED

import veridnet as vn
from veridnet._native.bpf import Bpf
from veridnet.headers import match
from veridnet.headers.fields import FIELDS
from veridnet.pcap import scan

ALL = tuple(field.name for field in FIELDS)
TAGS = (b"\x81\x00", b"\x88\xa8", b"\x91\x00")
TYPES = (0x0800, 0x86DD, 0x0806, 0x8035, 0x8847, 0x8100, 0x0040, 0x8864)


@pytest.fixture(scope="module")
def trace_frames(request) -> list[bytes]:
    """Every different frame of the Ethernet traces."""
    paths = request.getfixturevalue("shared_traces")
    frames_of = request.getfixturevalue("frames_of")
    found = [path for path in paths if scan(path).linktype == 1]
    return list(dict.fromkeys(frame for path in found for frame in frames_of(path) if frame))


def mutated(frames: list[bytes], count: int, seed: int) -> list[bytes]:
    """Frames that are cut, tagged, labelled, fragmented and spoilt."""
    rng = random.Random(seed)
    kinds = sorted(frames, key=lambda f: (f[12:15], f[23:24], len(f)))
    out = []
    for _ in range(count):
        f = bytearray(rng.choice(kinds))
        for _ in range(rng.choice((0, 1, 1, 2, 3))):
            change = rng.randrange(8)
            if change == 0:
                f = f[: rng.randrange(1, min(len(f), 90) + 1)]
            elif len(f) < 15:
                continue
            elif change == 1:
                f[12:12] = rng.choice(TAGS) + rng.choice((1, 7, 10, 4095)).to_bytes(2, "big")
            elif change == 2:
                f[14:14] = rng.choice((b"\0\1\1\x40", b"\0\0\x50\x40", b"\0\0\x51\x40"))
                if rng.random() < 0.8:
                    f[12:14] = b"\x88\x47"
            elif change in (3, 4):
                values = (0, 1, 6, 17, 44, 51, 60, 58, 4, 0x45, 0x46, 0x60, 255, rng.randrange(256))
                f[rng.randrange(12, min(len(f), 60))] = rng.choice(values)
            elif change == 5:
                f[12:14] = rng.choice(TYPES).to_bytes(2, "big")
            elif change == 6 and len(f) > 60 and f[12:14] == b"\x86\xdd":
                f[54:54] = bytes((f[20], 0, 0, rng.choice((0, 1, 9)), 0, 0, 0, 1))
                f[20] = 44
            elif change == 7 and len(f) > 60 and f[12:14] == b"\x08\x00":
                f[20:22] = rng.choice((b"\x20\x00", b"\x00\x05", b"\x40\x00"))
        out.append(bytes(f[:1500]))
    return list(dict.fromkeys(out))


class Packets:
    """Frames in bursts, and their columns without them."""

    def __init__(self, frames: list[bytes]) -> None:
        self.frames = frames
        self.bursts = [
            vn.Burst.from_bytes(frames[i : i + 2048]) for i in range(0, len(frames), 2048)
        ]
        self.tables = [burst.headers.copy(*ALL) for burst in self.bursts]
        self.doubtful = np.zeros(len(frames), bool)

    def match(self, text: str) -> np.ndarray:
        return np.concatenate([burst.headers.match(text) for burst in self.bursts])

    def columns_only(self, tree: match.Node | None, text: str) -> np.ndarray:
        if tree is None:
            return np.zeros(len(self.frames), bool)
        return np.concatenate([table.match(text) for table in self.tables])

    def check(self, text: str) -> None:
        """The same as libpcap says: of every packet with its bytes, of clear ones by columns."""
        expected = np.array(pcap_filter(text, self.frames))
        got = self.match(text)
        wrong = np.flatnonzero(got != expected)
        assert not len(wrong), (text, match.parse(text), expected[wrong[0]],
                                self.frames[wrong[0]][:80].hex())  # fmt: skip
        if any(isinstance(leaf, match.Bpf) for leaf in match.leaves(match.parse(text))):
            with pytest.raises(vn.ConfigError, match="columns only"):
                self.tables[0].match(text)
            return
        got = np.concatenate([table.match(text) for table in self.tables])
        wrong = np.flatnonzero((got != expected) & ~self.unclear())
        assert not len(wrong), (text, self.frames[wrong[0]][:80].hex())

    def unclear(self) -> np.ndarray:
        """Of which packets columns alone may say other things: docs/match.md lists them."""
        return np.concatenate([
            table.match("error or ethertype == 0x8035 or mpls_depth and ip_version == 0 or "
                        "ethertype == arp and arp_sha == 0 and arp_spa == 0 and arp_tha == 0 and "
                        "arp_tpa == 0")
            for table in self.tables
        ])  # fmt: skip

    def clear(self) -> None:
        for burst in self.bursts:
            burst.clear()


def test_every_packet_of_the_traces(runtime, trace_frames) -> None:
    assert len(EXPRESSIONS) >= 250 and len(trace_frames) > 5000
    packets = Packets(trace_frames)
    for text in EXPRESSIONS:
        packets.check(text)
    packets.clear()


def test_malformed_packets(runtime, trace_frames) -> None:
    packets = Packets(mutated(trace_frames, 4000, 1))
    assert 500 < np.count_nonzero(packets.unclear()) < 2000
    for text in EXPRESSIONS:
        packets.check(text)
    packets.clear()


@pytest.mark.parametrize("text", REFUSED)
def test_what_libpcap_refuses(text) -> None:
    with pytest.raises(PcapError):
        pcap_filter(text, [])
    with pytest.raises(vn.ConfigError):
        match.parse(text)


# -- expressions that hypothesis writes ------------------------------------------------------------

HOSTS = ("10.0.0.1", "192.168.1.1", "10.0.0.0", "224.0.0.251", "fe80::1", "2001:db8::1")
NETS = ("10.0.0.0/8", "192.168.0.0/16", "10", "172.16", "224.0.0.0/4", "fe80::/10", "2001::/16",
        "0.0.0.0/0", "::/0", "10.0.0.0 mask 255.0.255.0")  # fmt: skip
PORTS = ("53", "80", "443", "22", "137", "domain", "http")
WORDS = ("ip", "ip6", "arp", "rarp", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "esp", "ah",
         "pim", "vlan", "vlan 7", "vlan 10", "mpls", "mpls 5", "pppoes", "ether broadcast",
         "ether multicast", "ip multicast", "ip6 multicast", "less 60", "greater 100", "stp",
         "ether host 00:14:00:00:02:00", "ether proto 0x8035", "ip proto 17", "ip6 proto 44",
         "proto 6", "proto 60", "ether proto 0x8100")  # fmt: skip
LOADS = ("ip[0]", "ip[1]", "ip[2:2]", "ip[6:2]", "ip[6]", "ip[8]", "ip[9]", "ip[12:4]", "ip[16]",
         "ip[20:2]", "ip6[0]", "ip6[6]", "ip6[7]", "ip6[8:4]", "ip6[40]", "tcp[0:2]", "tcp[13]",
         "tcp[tcpflags]", "tcp[12]", "tcp[20:4]", "udp[0:2]", "udp[4:2]", "udp[8]", "icmp[0]",
         "icmp[4:2]", "icmp6[0]", "arp[6:2]", "arp[14:4]", "arp[0:2]", "ether[0]", "ether[6:4]",
         "ether[12:2]", "ether[60]", "len", "igmp[0]")  # fmt: skip
direction = st.sampled_from(("", "src ", "dst ", "src or dst ", "src and dst "))


@st.composite
def primitive(draw) -> str:
    kind = draw(st.sampled_from(("word", "host", "net", "port", "range", "load", "load")))
    if kind == "word":
        return draw(st.sampled_from(WORDS))
    if kind == "load":
        mask = draw(st.sampled_from(("", "", " & 0xf", " & 0x1fff", " & 0xf0", " & 2", " & 0xff")))
        shift = draw(st.sampled_from(("", "", "", " >> 4", " >> 1"))) if mask else ""
        value = draw(st.sampled_from((0, 1, 2, 5, 6, 17, 53, 64, 80, 255, 500, 0x0A000001, 0x800)))
        compare = draw(st.sampled_from(("=", "!=", "<", "<=", ">", ">=")))
        load = draw(st.sampled_from(LOADS)) + mask
        return f"({load}){shift} {compare} {value}" if shift else f"{load} {compare} {value}"
    way = draw(direction)
    if kind == "host":
        host = draw(st.sampled_from(HOSTS))
        proto = draw(st.sampled_from(("", "", "ip6 " if ":" in host else "ip ")))
        return f"{proto}{way}host {host}"
    if kind == "net":
        return f"{way}net {draw(st.sampled_from(NETS))}"
    proto = draw(st.sampled_from(("", "udp ", "tcp "))) if kind == "range" else ""
    if kind == "range":
        first, last = draw(st.integers(0, 1100)), draw(st.integers(0, 65535))
        return f"{proto}{way}portrange {first}-{last}"
    more = draw(st.sampled_from(("", "", " or 53", " or 80 or 443")))
    return f"{way}port {draw(st.sampled_from(PORTS))}{more}"


expressions = st.recursive(
    primitive(),
    lambda inner: st.one_of(
        inner.map(lambda text: f"not ({text})"),
        st.lists(inner, min_size=2, max_size=3).flatmap(
            lambda parts: st.lists(
                st.sampled_from((" and ", " or ")), min_size=len(parts) - 1,
                max_size=len(parts) - 1,
            ).map(lambda words: "".join(
                w + (f"({p})" if k % 2 else p)
                for k, (w, p) in enumerate(zip(["", *words], parts, strict=True))
            ))
        ),
    ),
    max_leaves=6,
)  # fmt: skip


def test_random_expressions(runtime, trace_frames) -> None:
    rng = random.Random(2)
    packets = Packets([*rng.sample(trace_frames, 200), *mutated(trace_frames, 400, 3)])

    @settings(max_examples=400, deadline=None)
    @given(expressions)
    def check(text: str) -> None:
        try:
            pcap_filter(text, [])
        except PcapError:
            with pytest.raises(vn.ConfigError):
                match.compile(text, packets=True)
            return
        packets.check(text)

    check()
    packets.clear()


# -- the BPF engine --------------------------------------------------------------------------------


def test_frames_that_are_bytes(trace_frames) -> None:
    frames = mutated(trace_frames, 300, 4)
    for text in EXPRESSIONS[::3]:
        program = Bpf(text)
        assert [program.matches(frame) for frame in frames] == pcap_filter(text, frames), text


def test_packets_in_segments(runtime) -> None:
    long = bytes.fromhex("ffffffffffff02000000000108004500") + bytes(9000)
    burst = vn.Burst.from_bytes([long[:8000], long[:8000] + b"\7"])
    assert burst.headers.match("ether[8000] = 7").tolist() == [False, True]
    assert burst.headers.match("ether[7999] = 0 and len > 8000").tolist() == [False, True]
    assert burst.headers.match("ip protochain 7 or ether[8000] = 7").tolist() == [False, True]
    burst.clear()


def test_the_length_on_the_wire() -> None:
    program = Bpf("greater 100 and ether[20] = 0")
    assert program.matches(bytes(30), 100) and not program.matches(bytes(30))
    assert not program.matches(bytes(20), 100)
    with pytest.raises(vn.ConfigError, match="syntax"):
        Bpf("tcp tcp tcp")
    assert not Bpf("ip and arp").matches(bytes(60))
