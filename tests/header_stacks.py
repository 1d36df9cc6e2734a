"""Packets of every header stack that the parser knows, built by scapy, and malformed ones."""

from __future__ import annotations

from functools import cache
from typing import Any

from scapy.all import (  # type: ignore[attr-defined]
    ARP,
    GRE,
    ICMP,
    IP,
    LLC,
    SCTP,
    SNAP,
    TCP,
    UDP,
    VXLAN,
    Dot1AD,
    Dot1Q,
    Ether,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    IPOption_LSRR,
    IPOption_RR,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    Jumbo,
    PadN,
    Raw,
    SCTPChunkData,
)  # fmt: skip
from scapy.contrib.geneve import GENEVE
from scapy.contrib.gtp import GTP_U_Header, GTPPDUSessionContainer
from scapy.contrib.mpls import MPLS
from scapy.layers.ipsec import AH, ESP

from veridnet.headers.fields import ERRORS
from veridnet.headers.reference import parse

BAD_LENGTH = [i for i, (name, _) in enumerate(ERRORS) if name in ("bad_ip_len", "bad_udp_len")]

E = Ether(dst="02:00:00:00:00:01", src="02:00:00:00:00:02")
A, B = "192.0.2.1", "198.51.100.200"
A6, B6 = "2001:db8::1:2", "2001:db8:ffff::abcd"
I4, I6 = IP(src=A, dst=B, ttl=63, tos=0xB9, id=0x1234), IPv6(src=A6, dst=B6, hlim=62, tc=0x2E, fl=7)
U = UDP(sport=4001, dport=53) / b"payload"
T = TCP(sport=40000, dport=443, seq=0x89ABCDEF, ack=77, flags="SA", window=5555) / b"hello"
INNER_E = Ether(dst="02:00:00:00:01:01", src="02:00:00:00:01:02")
INNER = INNER_E / IP(src="10.1.1.1", dst="10.2.2.2")
IN4 = IP(src="10.3.3.3", dst="10.4.4.4", ttl=9)
IN6 = IPv6(src="fd00::3", dst="fd00::4", hlim=8)


def _packets() -> dict[str, Any]:
    sctp = SCTP(sport=2905, dport=2906, tag=0xCAFEBABE) / SCTPChunkData(data=b"sctp data")
    vxlan = I4 / UDP(sport=5000, dport=4789) / VXLAN(vni=0xABCDE, flags=8)
    geneve = I4 / UDP(sport=5001, dport=6081)
    gtp = I4 / UDP(sport=2152, dport=2152)
    frag4, frag6 = I4.copy(), IPv6ExtHdrFragment
    frag4.proto = 17
    many = E
    for vid in range(5):
        many = many / Dot1Q(vlan=vid + 1, prio=vid)
    v6_many = I6
    for _ in range(9):
        v6_many = v6_many / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)])
    return {
        "udp": E / I4 / U,
        "tcp": E / I4 / T,
        "tcp_options": E / I4 / TCP(options=[("MSS", 1460), ("Timestamp", (1, 2))], flags="S"),
        "tcp_all_flags": E / I4 / TCP(flags=0x1FF, reserved=7, urgptr=9) / b"x",
        "udp_padded": E / I4 / UDP(sport=1, dport=2) / b"abc" / Raw(b""),
        "udp6": E / I6 / U,
        "tcp6": E / I6 / T,
        "udp_without_checksum": E / I4 / UDP(chksum=0) / b"abcd",
        "udp6_without_checksum": E / I6 / UDP(chksum=0) / b"abcd",
        "udp_short_length": E / I4 / UDP(len=10, dport=9) / b"abcdefgh",
        "vlan_udp": E / Dot1Q(vlan=100, prio=5, id=1) / I4 / U,
        "qinq_tcp": E / Dot1AD(vlan=200, prio=3) / Dot1Q(vlan=300, prio=6) / I4 / T,
        "vlan4_tcp6": E / Dot1Q(vlan=1) / Dot1Q(vlan=2) / Dot1Q(vlan=3) / Dot1Q(vlan=4) / I6 / T,
        "vlan5": many / I4 / U,
        "vlan_arp": E / Dot1Q(vlan=7) / ARP(hwsrc="02:00:00:00:00:02", psrc=A, pdst=B),
        "mpls_udp": E / MPLS(label=0xABCDE, cos=5, s=1, ttl=33) / I4 / U,
        "mpls3_tcp6": E / MPLS(label=16, s=0) / MPLS(label=17, s=0) / MPLS(label=18, s=1) / I6 / T,
        "mpls9": Ether(dst=E.dst, src=E.src, type=0x8847) / (bytes(MPLS(label=20, s=0)) * 9)
        / (b"x" * 20),
        "vlan_mpls": E / Dot1Q(vlan=9) / MPLS(label=99, s=1) / I4 / T,
        "mpls_ethernet": E / MPLS(label=99, s=1) / (b"\0" * 4) / INNER / U,
        "arp": E / ARP(op=2, hwsrc="02:00:00:00:00:02", psrc=A, hwdst="02:00:00:00:00:01", pdst=B),
        "arp_padded": E / ARP(op=1, psrc=A, pdst=B) / Raw(b"\0" * 18),
        "arp_other": E / ARP(hwtype=6, hwlen=8, plen=4, hwsrc=b"\1" * 8, hwdst=b"\2" * 8, psrc=A),
        "llc": Ether(dst=E.dst, src=E.src, type=10) / LLC() / (b"x" * 7) / Raw(b"\0" * 36),
        "snap": Ether(dst=E.dst, src=E.src, type=60) / LLC() / SNAP(code=0x800) / I4 / U,
        "lldp": Ether(dst=E.dst, src=E.src, type=0x88CC) / (b"\0" * 46),
        "loopback": Ether(dst=E.dst, src=E.src, type=0x5FF) / (b"\0" * 46),
        "ip_options": E / IP(src=A, dst=B, options=[IPOption_RR(routers=[A, B])]) / T,
        "ip_lsrr": E / IP(src=A, dst=B, options=[IPOption_LSRR(routers=[A], pointer=4)]) / T,
        "ip_lsrr_done": E / IP(src=B, dst=A, options=[IPOption_LSRR(routers=[A], pointer=8)]) / U,
        "frag_first_udp": E / IP(src=A, dst=B, flags="MF") / UDP(len=3000) / (b"z" * 24),
        "frag_first_tcp": E / IP(src=A, dst=B, flags="MF") / T,
        "frag_middle": E / IP(src=A, dst=B, flags="MF", frag=4, proto=17) / (b"z" * 24),
        "frag_last": E / IP(src=A, dst=B, frag=7, proto=6) / (b"z" * 24),
        "frag_tiny": E / IP(src=A, dst=B, flags="MF", proto=6) / (b"z" * 8),
        "icmp_echo": E / I4 / ICMP(type=8, id=7, seq=9) / b"ping!",
        "icmp_reply": E / I4 / ICMP(type=0, id=7, seq=9) / b"ping",
        "icmp_unreachable": E / I4 / ICMP(type=3, code=1) / IN4 / UDP(),
        "icmp_timestamp": E / I4 / ICMP(type=13, id=3, seq=4),
        "icmp6_echo": E / I6 / ICMPv6EchoRequest(id=5, seq=6, data=b"abc"),
        "icmp6_reply": E / I6 / ICMPv6EchoReply(id=5, seq=6, data=b"abcd"),
        "icmp6_ns": E / I6 / ICMPv6ND_NS(tgt=B6),
        "icmp_in_ip6": E / IPv6(src=A6, dst=B6, nh=1) / ICMP(),
        "icmp6_in_ip4": E / IP(src=A, dst=B, proto=58) / (b"\x80\0" + b"x" * 8),
        "sctp": E / I4 / sctp,
        "sctp6": E / I6 / sctp,
        "igmp": E / IP(src=A, dst=B, proto=2) / (b"\x16\0\0\0\xe0\0\0\1"),
        "esp": E / I4 / ESP(spi=0xDEADBEEF, seq=3, data=b"encrypted"),
        "ah_tcp": E / I4 / AH(spi=0x1000, seq=4, icv=b"i" * 12, payloadlen=4, nh=6)
        / bytes(I4 / T)[20:],
        "ah6_udp": E / I6 / AH(spi=0x1001, seq=5, icv=b"i" * 12, payloadlen=4, nh=17)
        / bytes(I6 / U)[40:],
        "ah6_short": E / IPv6(src=A6, dst=B6, nh=51) / bytes([17, 0, 0, 0, 0, 0, 0, 1]) / U,
        "ext_hop": E / I6 / IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)]) / T,
        "ext_many": E / I6 / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt()
        / IPv6ExtHdrRouting(addresses=[A6], segleft=0) / IPv6ExtHdrDestOpt() / U,
        "ext_routed": E / I6 / IPv6ExtHdrRouting(addresses=[A6], segleft=1) / T,
        "ext_9": E / v6_many / U,
        "ext_none": E / IPv6(src=A6, dst=B6, nh=59) / b"",
        "frag6_first": E / I6 / frag6(m=1, id=0xABCD0123) / UDP(len=2000) / (b"z" * 24),
        "frag6_middle": E / I6 / frag6(m=1, offset=8, nh=17, id=1) / (b"z" * 24),
        "frag6_last": E / I6 / frag6(m=0, offset=9, nh=60, id=1) / (b"z" * 24),
        "frag6_atomic": E / I6 / frag6(m=0, offset=0, id=1) / U,
        "jumbo": E / IPv6(src=A6, dst=B6, plen=0)
        / IPv6ExtHdrHopByHop(options=[Jumbo(jumboplen=70000)]) / T,
        "plen_0": E / IPv6(src=A6, dst=B6, plen=0, nh=17) / U,
        "gre_ip4": E / I4 / GRE() / IN4 / U,
        "gre_ip6_key": E / I4 / GRE(key_present=1, key=0x11223344, seqnum_present=1) / IN6 / T,
        "gre_all": E / I6 / GRE(chksum_present=1, key_present=1, key=5, seqnum_present=1) / IN4 / U,
        "gre_ethernet": E / I4 / GRE(proto=0x6558, key_present=1, key=0x12345600) / INNER / T,
        "gre_routing": E / I4 / GRE(routing_present=1) / IN4 / U,
        "gre_version2": E / I4 / GRE(version=2) / IN4 / U,
        "ip_in_ip": E / I4 / IN4 / T,
        "ip6_in_ip": E / I4 / IN6 / U,
        "ip_in_ip6": E / I6 / IN4 / ICMP(type=8, id=1),
        "ip6_in_ip6": E / I6 / IN6 / T,
        "ip_in_ip_in_ip": E / I4 / IN4 / IP(src="10.9.9.9", dst="10.8.8.8") / U,
        "vxlan": E / vxlan / INNER / T,
        "vxlan6": E / I6 / UDP(dport=4789) / VXLAN(vni=7, flags=8) / INNER / U,
        "vxlan_no_flag": E / I4 / UDP(dport=4789) / VXLAN(vni=7, flags=0) / INNER / U,
        "vxlan_vlan": E / vxlan / INNER_E / Dot1Q(vlan=12) / IN6 / T,
        "vxlan_arp": E / vxlan / INNER_E / ARP(),
        "vxlan_vxlan": E / vxlan / INNER / UDP(dport=4789) / VXLAN(vni=3, flags=8) / INNER / T,
        "vxlan_ip6_in_ip6": E / vxlan / INNER_E / IN6 / IN6 / T,
        "geneve": E / geneve / GENEVE(vni=0x5678, proto=0x6558) / INNER / U,
        "geneve_ip6": E / geneve / GENEVE(vni=0x5679, proto=0x86DD) / IN6 / T,
        "geneve_other": E / geneve / GENEVE(vni=1, proto=0x1234) / b"abcdefgh",
        "geneve_version": E / geneve / (b"\x40" + bytes(7)) / INNER / U,
        "geneve_options": E / geneve / (bytes.fromhex("02006558000abc00") + b"\1\2\3\1" + b"opti")
        / INNER / U,
        "gtp_ip4": E / gtp / GTP_U_Header(teid=0xA1B2C3D4, gtp_type=255) / IN4 / U,
        "gtp_seq_ip6": E / gtp / GTP_U_Header(teid=9, gtp_type=255, S=1, seq=4) / IN6 / T,
        "gtp_pdu_session": E / gtp / GTP_U_Header(teid=9, gtp_type=255)
        / GTPPDUSessionContainer(type=1, QFI=9) / IN4 / U,
        "gtp_echo": E / gtp / (bytes.fromhex("320100040000000000010000")),
        "gtp_prime": E / gtp / (bytes.fromhex("20ff000400000000") + b"abcd"),
        "gtp_bad_ext": E / gtp / (bytes.fromhex("34ff000c00000001 00000085 00000000") + bytes(IN4)),
        "gtp_ext9": E / gtp / (bytes.fromhex("34ff002800000001 00000085")
                               + bytes.fromhex("01000085") * 9 + bytes.fromhex("01000000")
                               + bytes(IN4)),
    }  # fmt: skip


def _malformed() -> dict[str, bytes]:
    udp, tcp = bytes(E / I4 / U), bytes(E / I4 / T)
    udp6 = bytes(E / I6 / U)

    def change(frame: bytes, at: int, *values: int) -> bytes:
        return frame[:at] + bytes(values) + frame[at + len(values) :]

    gre = IP(src=A, dst=B, proto=47)
    pptp = "3081880b 00040011 00000001 00000002 61626364"
    return {
        "ip_version": change(udp, 14, 0x65),
        "ip6_version": change(udp6, 14, 0x45),
        "ip_ihl_4": change(udp, 14, 0x44),
        "ip_ihl_15": change(udp, 14, 0x4F),
        "ip_len_19": change(udp, 16, 0, 19),
        "ip_len_0": change(udp, 16, 0, 0),
        "ip_len_more": change(udp, 16, 0, len(udp) - 13),
        "ip_len_huge": change(udp, 16, 0xFF, 0xFF),
        "ip_len_cuts_udp": change(udp, 16, 0, 27),
        "ip_len_cuts_tcp": change(tcp, 16, 0, 39),
        "ip6_len_more": change(udp6, 18, 0, len(udp6) - 53),
        "ip6_len_huge": change(udp6, 18, 0xFF, 0xFF),
        "tcp_doff_4": change(tcp, 46, 0x40),
        "tcp_doff_15": change(tcp, 46, 0xF0),
        "udp_len_7": change(udp, 38, 0, 7),
        "udp_len_more": change(udp, 38, 0, 16),
        "udp_bad_sum": change(udp, 40, 1, 2),
        "tcp_bad_sum": change(tcp, 50, 1, 2),
        "ip_bad_sum": change(udp, 24, 1, 2),
        "udp_trailer": udp + b"\0" * 19,
        "tcp_trailer": tcp + b"\x55" * 9,
        "udp6_trailer": udp6 + b"\x77" * 3,
        "empty_ip": bytes(E / IP(src=A, dst=B, proto=17)),
        "gre_pptp": bytes(E / gre / bytes.fromhex(pptp)),
        "gre_cut_key": bytes(E / gre / bytes.fromhex("20000800 0102")),
    }  # fmt: skip


@cache
def stacks() -> dict[str, bytes]:
    """Name -> frame: every protocol, every tunnel, every error."""
    built = {name: bytes(packet) for name, packet in _packets().items()}
    return built | _malformed()


def truncated() -> list[bytes]:
    """Every stack, ended after every number of its bytes."""
    return [frame[:n] for frame in stacks().values() for n in range(len(frame) + 1)]


def truncated_inside() -> list[bytes]:
    """Every stack, cut anywhere above IP, with lengths in IP and UDP that agree with the cut."""
    out = []
    for frame in stacks().values():
        c = parse(frame)
        l3 = c["l2_len"]
        if not c["ip_version"] or c["error"] in BAD_LENGTH:
            continue
        for end in range(l3 + c["l3_len"], c["payload_off"] + c["payload_len"]):
            cut = bytearray(frame[:end])
            if c["ip_version"] == 4:
                cut[l3 + 2 : l3 + 4] = (end - l3).to_bytes(2, "big")
            else:
                cut[l3 + 4 : l3 + 6] = (end - l3 - 40).to_bytes(2, "big")
            l4 = l3 + c["l3_len"]
            if c["udp_len"] and end >= l4 + 8:
                cut[l4 + 4 : l4 + 6] = (end - l4).to_bytes(2, "big")
            out.append(bytes(cut))
        if c["ip_version"] == 6:  # inside extension headers
            for end in range(l3 + 40, l3 + c["l3_len"]):
                cut = bytearray(frame[:end])
                cut[l3 + 4 : l3 + 6] = (end - l3 - 40).to_bytes(2, "big")
                out.append(bytes(cut))
    return out


def long_frames() -> list[bytes]:
    """Headers around the limit of 2048 bytes, and frames of jumbo length."""
    option = bytes([60, 254]) + bytes(2038)  # a destination option header of 2040 bytes
    frames = []
    for cut in range(-3, 3):
        pad = 2048 - 14 - 40 + 8 * cut
        ext = bytes([17, pad // 8 - 1]) + bytes(pad - 2)
        body = (
            ext + bytes(UDP(sport=1, dport=4789)) + bytes(VXLAN(vni=3, flags=8)) + bytes(INNER / U)
        )
        frames.append(bytes(E / IPv6(src=A6, dst=B6, nh=60, plen=len(body)) / body))
    frames.append(bytes(E / IPv6(src=A6, dst=B6, nh=60, plen=2048) / option / bytes(8)))
    frames.append(bytes(E / I4 / UDP(dport=4789) / VXLAN(vni=1, flags=8) / INNER / (b"x" * 8000)))
    frames.append(bytes(E / I4 / T / (b"y" * 8999)))
    frames.append(bytes(E / I6 / U / (b"z" * 3000)))
    return frames
