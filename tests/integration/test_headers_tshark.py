"""Header columns against tshark's dissection: every packet of every trace, field by field.

A field of tshark is a list, one value a header, the outermost first; so are our columns, a layer
each: burst.headers, .inner, .inner.inner ... tshark may know more headers further in (an ICMP error
quotes a packet); those that we have must be its first ones, with its values, and where we have none
it has none. What differs is a row of `DIFFERENCES`, with its reason.
"""

from __future__ import annotations

import ipaddress
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import captures
import pytest
from scapy.utils import RawPcapReader

import veridnet as vn
from veridnet.headers import ERRORS, FIELDS

sys.path.append(str(Path(__file__).resolve().parent.parent))
import header_stacks as hs

DEPTH = 4
ETHERNET, LOOPBACK, COOKED = 1, 0, 113  # link types (www.tcpdump.org/linktypes.html)
RAW_IP = (12, 101, 228, 229)
PREFERENCES = (
    "ip.defragment:FALSE", "ipv6.defragment:FALSE", "tcp.desegment_tcp_streams:FALSE",
    "ip.check_checksum:TRUE", "tcp.check_checksum:TRUE", "udp.check_checksum:TRUE",
    "sctp.checksum:CRC 32c", "ip.tso_support:FALSE",
)  # fmt: skip
Row = dict[str, int]


# -- what is compared with what --------------------------------------------------------------------


def error(row: Row) -> str:
    return ERRORS[row["error"]][0]


def four(row: Row) -> bool:
    return row["ip_version"] == 4


def six(row: Row) -> bool:
    return row["ip_version"] == 6


def arp(row: Row) -> bool:
    return row["ethertype"] == 0x0806 and row["l2_len"] > 0 and error(row) == "none"


def arp_ip4(row: Row) -> bool:
    """Ethernet and IPv4: the only addresses that are parsed."""
    return arp(row) and any(row[name] for name in ("arp_sha", "arp_spa", "arp_tha", "arp_tpa"))


def transport(number: int) -> Callable[[Row], bool]:
    return lambda row: row["ptype"] & 0xF00 == number


tcp, udp, sctp, icmp_any = (transport(number) for number in (0x100, 0x200, 0x400, 0x500))


def icmp(row: Row) -> bool:
    return icmp_any(row) and four(row)


def icmp6(row: Row) -> bool:
    return icmp_any(row) and six(row)


def status(row: Row, name: str) -> list[int]:
    """As tshark numbers it: 0 bad, 1 good; [] for what neither of us has verified."""
    return [[], [1], [0]][row[name]]


class Check(NamedTuple):
    """A field of tshark; which of our rows have it; what it is then."""

    field: str
    here: Callable[[Row], bool]
    value: Callable[[Row], int | list[int]]
    outer_only: bool = False


def column(name: str) -> Callable[[Row], int]:
    return lambda row: row[name]


def checks() -> list[Check]:
    c = Check
    return [
        c("frame.cap_len", lambda r: True, column("wire_len"), True),
        c("eth.dst", lambda r: r["l2_len"] > 0, column("eth_dst")),
        c("eth.src", lambda r: r["l2_len"] > 0, column("eth_src")),
        c("vlan.id", lambda r: True, lambda r: [r["vlan_id"], r["vlan2_id"]][: r["vlan_depth"]]),
        c("vlan.priority", lambda r: True,
          lambda r: [r["vlan_pcp"], r["vlan2_pcp"]][: r["vlan_depth"]]),
        c("vlan.dei", lambda r: r["vlan_depth"] > 0, column("vlan_dei")),
        c("ethertype", lambda r: r["ethertype"] > 0, column("ethertype"), True),
        c("mpls.label", lambda r: r["mpls_depth"] > 0, column("mpls_label"), True),
        c("mpls.exp", lambda r: r["mpls_depth"] > 0, column("mpls_tc"), True),
        c("mpls.ttl", lambda r: r["mpls_depth"] > 0, column("mpls_ttl"), True),
        c("arp.opcode", arp, column("arp_op")),
        c("arp.src.hw_mac", arp_ip4, column("arp_sha")),
        c("arp.src.proto_ipv4", arp_ip4, column("arp_spa")),
        c("arp.dst.hw_mac", arp_ip4, column("arp_tha")),
        c("arp.dst.proto_ipv4", arp_ip4, column("arp_tpa")),
        c("ip.ttl", four, column("ip_ttl")),
        c("ipv6.hlim", six, column("ip_ttl")),
        c("ip.dsfield.dscp", four, column("ip_dscp")),
        c("ip.dsfield.ecn", four, column("ip_ecn")),
        c("ipv6.tclass.dscp", six, column("ip_dscp")),
        c("ipv6.tclass.ecn", six, column("ip_ecn")),
        c("ip.len", four, column("ip_len")),
        c("ipv6.plen", six, lambda r: r["ip_len"] - 40),
        c("ip.src", four, column("ip_src")),
        c("ip.dst", four, column("ip_dst")),
        c("ip.hdr_len", four, lambda r: 4 * r["ip_ihl"]),
        c("ip.id", four, column("ip_id")),
        c("ip.flags", four, lambda r: r["ip_flags"]),
        c("ip.frag_offset", four, lambda r: r["ip_frag_off"]),
        c("ip.proto", four, column("ip_proto")),
        c("ip.checksum", four, column("ip_checksum")),
        c("ip.checksum.status", four, lambda r: status(r, "ip_csum")),
        c("ipv6.src", six, lambda r: r["ip6_src_hi"] << 64 | r["ip6_src_lo"]),
        c("ipv6.dst", six, lambda r: r["ip6_dst_hi"] << 64 | r["ip6_dst_lo"]),
        c("ipv6.flow", six, column("ip6_flow_label")),
        c("ipv6.nxt", six, column("ip6_next")),
        c("ipv6.fraghdr.ident", lambda r: r["ip6_frag_id"] > 0, column("ip6_frag_id")),
        c("ipv6.fraghdr.offset", lambda r: r["ip6_frag_id"] > 0, column("ip6_frag_off")),
        c("tcp.srcport", tcp, column("l4_src")),
        c("tcp.dstport", tcp, column("l4_dst")),
        c("udp.srcport", udp, column("l4_src")),
        c("udp.dstport", udp, column("l4_dst")),
        c("sctp.srcport", sctp, column("l4_src")),
        c("sctp.dstport", sctp, column("l4_dst")),
        c("tcp.seq_raw", tcp, column("tcp_seq")),
        c("tcp.ack_raw", tcp, column("tcp_ack")),
        c("tcp.flags", tcp, column("tcp_flags")),
        c("tcp.window_size_value", tcp, column("tcp_window")),
        c("tcp.checksum", tcp, column("tcp_checksum")),
        c("tcp.urgent_pointer", tcp, column("tcp_urgent")),
        c("tcp.hdr_len", tcp, column("l4_len")),
        c("tcp.len", tcp, column("payload_len")),
        c("tcp.checksum.status", tcp, lambda r: status(r, "l4_csum")),
        c("udp.length", udp, column("udp_len")),
        c("udp.checksum", udp, column("udp_checksum")),
        c("udp.checksum.status", udp, lambda r: status(r, "l4_csum")),
        c("sctp.verification_tag", sctp, column("sctp_tag")),
        c("sctp.checksum", sctp, column("sctp_checksum")),
        c("sctp.checksum.status", sctp, lambda r: status(r, "l4_csum")),
        c("icmp.type", icmp, column("icmp_type")),
        c("icmp.code", icmp, column("icmp_code")),
        c("icmp.ident", lambda r: icmp(r) and r["icmp_type"] in (0, 8), column("icmp_id")),
        c("icmp.seq", lambda r: icmp(r) and r["icmp_type"] in (0, 8), column("icmp_seq")),
        c("icmp.checksum.status", icmp, lambda r: status(r, "l4_csum")),
        c("icmpv6.type", icmp6, column("icmp_type")),
        c("icmpv6.code", icmp6, column("icmp_code")),
        c("icmpv6.echo.identifier", lambda r: icmp6(r) and r["icmp_type"] in (128, 129),
          column("icmp_id")),
        c("icmpv6.echo.sequence_number", lambda r: icmp6(r) and r["icmp_type"] in (128, 129),
          column("icmp_seq")),
        c("icmpv6.checksum.status", icmp6, lambda r: status(r, "l4_csum")),
        c("esp.spi", lambda r: r["ip_proto"] == 50 and r["l4_len"] > 0, column("ipsec_spi")),
        c("esp.sequence", lambda r: r["ip_proto"] == 50 and r["l4_len"] > 0, column("ipsec_seq")),
        c("ah.spi", lambda r: r["ip_proto"] != 50 and r["ipsec_spi"] > 0, column("ipsec_spi")),
        c("ah.sequence", lambda r: r["ip_proto"] != 50 and r["ipsec_spi"] > 0,
          column("ipsec_seq")),
        c("gre.key", lambda r: r["tunnel"] == 1 and r["tunnel_id"] > 0, column("tunnel_id")),
        c("vxlan.vni", lambda r: r["tunnel"] == 2, column("tunnel_id")),
        c("geneve.vni", lambda r: r["tunnel"] == 3, column("tunnel_id")),
        c("gtp.teid", lambda r: r["tunnel"] == 4, column("tunnel_id")),
    ]  # fmt: skip


CHECKS = checks()
#: What tshark is asked for beside the fields above.
EXTENSIONS = {
    "ipv6.hopopts.nxt": 0, "ipv6.routing.nxt": 43, "ipv6.fraghdr.nxt": 44, "ipv6.dstopts.nxt": 60,
    "ah.next_header": 51, "mip6.proto": 135, "hip.proto": 139,
}  # fmt: skip
OTHERS = (
    *EXTENSIONS,
    "frame.protocols", "eth.type", "vlan.etype", "ieee8021ad.id", "ieee8021ad.priority",
    "ieee8021ad.dei", "gre.flags_and_version", "gre.key.payload_length", "gre.key.call_id",
)  # fmt: skip


# -- differences, each with its reason -------------------------------------------------------------


class Found(NamedTuple):
    """A difference: our values and tshark's, of one field of one packet."""

    field: str
    ours: list[int]
    theirs: list[int]
    row: Row  # the outermost
    layers: list[Row]
    protocols: str
    others: dict[str, list[str]]


def inside(*carriers: str) -> Callable[[Found], bool]:
    """Is a header of this kind inside of what is not parsed, and do we have none?"""

    def is_inside(f: Found) -> bool:
        order = f.protocols.split(":")
        kind = f.field.split(".")[0]
        last = max((at for at, name in enumerate(order) if name == kind), default=0)
        before = order[:last]
        return not f.ours and any(carrier in before for carrier in carriers)

    return is_inside


def after_an_error(f: Found) -> bool:
    return not f.ours and any(row["error"] for row in f.layers)


def pptp(f: Found) -> bool:
    halves = [*map(number, f.others["gre.key.payload_length"] + f.others["gre.key.call_id"])]
    return f.field == "gre.key" and len(halves) == 2 and f.ours == [halves[0] << 16 | halves[1]]


def partial(f: Found) -> bool:
    """Is the checksum that stands there the pseudo-header's only, which the NIC would complete?"""
    r = f.row
    if f.field not in ("tcp.checksum.status", "udp.checksum.status") or f.ours != [0]:
        return False
    if r["ip_version"] == 4:
        addresses = r["ip_src"] << 32 | r["ip_dst"]
    else:
        addresses = (r["ip6_src_hi"] << 192 | r["ip6_src_lo"] << 128 | r["ip6_dst_hi"] << 64
                     | r["ip6_dst_lo"])  # fmt: skip
    length = r["ip_len"] - (r["l3_len"] if r["ip_version"] == 4 else 40)
    total = r["ip_proto"] + length
    while addresses:
        total += addresses & 0xFFFF
        addresses >>= 16
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return r["tcp_checksum" if f.field.startswith("tcp") else "udp_checksum"] == total


#: tshark 4.2 and later take such a checksum for right.
PARTIAL = "A checksum of the pseudo-header only, which the sender's NIC completes, is wrong here."

DIFFERENCES: tuple[tuple[str, Callable[[Found], bool]], ...] = (
    (PARTIAL, partial),
    ("After an error the columns of later headers are 0; tshark shows what it can.",
     after_an_error),
    ("The packet that an ICMP error quotes is no header of this one.", inside("icmp", "icmpv6")),
    ("LLC and SNAP, PPP, LISP and sFlow are not parsed; what they carry is not either.",
     inside("llc", "ppp", "lisp-data", "sflow")),
    ("tshark shows the key of PPTP's GRE (version 1) as its two halves.", pptp),
    ("UDP over IPv6 with no checksum is wrong (RFC 8200); tshark calls it not present.",
     lambda f: f.field == "udp.checksum.status" and f.ours == [0] and f.row["udp_checksum"] == 0),
    ("On a source route tshark shows the last destination, and verifies checksums with it; the "
     "column is the header's, and such a checksum is not verified.",
     lambda f: (f.protocols.startswith("eth:ethertype:ip:") and f.row["ip_ihl"] > 5
     and (f.field == "ip.dst" or (f.field.endswith(".status") and not f.ours)))
     or ("ipv6.routing" in f.protocols and f.field.endswith(".status") and not f.ours)),
    ("tshark does not say how many bytes of TCP a fragment has.",
     lambda f: f.field == "tcp.len" and f.row["frag"] == 1 and not f.theirs),
    ("icmp_id and icmp_seq are an echo's.",
     lambda f: f.field in ("icmp.ident", "icmp.seq") and 13 <= f.row["icmp_type"] <= 18),
    ("ICMP over IPv6, and ICMPv6 over IPv4, are not parsed.",
     lambda f: f.field.startswith("icmp") and not f.ours and f.row["icmp_type"] == 0
     and f.row["ip_proto"] == (1 if six(f.row) else 58)),
    ("AH over IPv4 is the last header that is parsed (over IPv6 it is an extension header).",
     lambda f: four(f.row) and f.row["ip_proto"] == 51 and inside("ah")(f)),
    ("VXLAN without its I flag, and GENEVE of another version, are no tunnels.",
     lambda f: f.row["tunnel"] == 0 and f.row["l4_dst"] in (4789, 6081) and not f.ours),
    ("An IPv4 length under that of the header: tshark shows nothing after it.",
     lambda f: error(f.row) == "bad_ip_len" and f.row["ip_len"] < 20 and not f.theirs),
    ("ip_len is 65535 where the length and the 40 bytes of the header are more.",
     lambda f: f.field == "ipv6.plen" and f.theirs[0] > 65495 and f.row["ip_len"] == 65535),
    ("A TCP header whose own length is wrong counts as 20 bytes, all of whose columns are there; "
     "tshark shows the length as it stands, and little after one under 20.",
     lambda f: error(f.row) == "bad_doff" and f.field.startswith("tcp.")
     and (not f.theirs or f.field in ("tcp.hdr_len", "tcp.len"))),
    ("After a UDP length under 8 tshark shows no checksum.",
     lambda f: error(f.row) == "bad_udp_len" and f.field == "udp.checksum" and not f.theirs),
    ("Of ARP, addresses are parsed for Ethernet and IPv4 only.",
     lambda f: f.field.startswith("arp.") and not f.ours),
)  # fmt: skip


def reason(found: Found) -> str:
    return next((why for why, is_that in DIFFERENCES if is_that(found)), "")


# -- both sides ------------------------------------------------------------------------------------


def number(text: str) -> int:
    if text in ("True", "False"):
        return text == "True"
    if re.fullmatch("[0-9a-f]{2}(:[0-9a-f]{2}){5}", text):
        return int(text.replace(":", ""), 16)
    if ":" in text or text.count(".") == 3:
        return int(ipaddress.ip_address(text))
    return int(text, 0)


def tshark(path: Path) -> list[dict[str, list[str]]]:
    """For each packet: {field: its values, the outermost first}."""
    if shutil.which("tshark") is None:
        pytest.skip("needs tshark")
    names = [c.field for c in CHECKS if c.field != "ethertype"] + list(OTHERS)
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "occurrence=a"]
    for preference in PREFERENCES:
        command += ["-o", preference]
    done = subprocess.run(
        command + [f"-e{name}" for name in names],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return [
        {n: v.split(",") if v else [] for n, v in zip(names, line.split("\t"), strict=True)}
        for line in done.stdout.splitlines()
    ]


def ours(frames: Sequence[bytes]) -> list[list[Row]]:
    """For each packet: its layers' columns, the outermost first; only those that it has."""
    out: list[list[Row]] = []
    for at in range(0, len(frames), 4096):
        burst = vn.Burst.from_bytes(frames[at : at + 4096])
        layers, h = [], burst.headers
        for _ in range(DEPTH):
            table = {f.name: getattr(h, f.name).tolist() for f in FIELDS}
            layers.append(
                [dict(zip(table, v, strict=True)) for v in zip(*table.values(), strict=True)]
            )
            h = h.inner
        burst.clear()
        out += [
            [row for depth, row in enumerate(packet) if depth == 0 or row["wire_len"]]
            for packet in zip(*layers, strict=True)
        ]
    return out


def values(check: Check, layers: list[Row]) -> list[int]:
    out: list[int] = []
    for row in layers[:1] if check.outer_only else layers:
        if check.here(row):
            value = check.value(row)
            out += value if isinstance(value, list) else [value]
    return out


def outer_tags(packet: dict[str, list[str]]) -> None:
    """tshark has 802.1ad's tags (0x88a8) apart, and says the type after a tag in two places."""
    for name in ("id", "priority", "dei"):
        packet[f"vlan.{name}"] = packet[f"ieee8021ad.{name}"] + packet[f"vlan.{name}"]
    types = packet["eth.type"][:1] + packet["vlan.etype"]
    while types and int(types[0], 0) in (0x8100, 0x88A8, 0x9100):
        del types[0]
    packet["ethertype"] = types[:1]


def extension_headers(row: Row, packet: dict[str, list[str]]) -> None:
    """How many, and what is above the last: each header says the next one's number."""
    if not six(row) or row["error"] or packet["frame.protocols"][0].split(":").count("ipv6") > 1:
        return
    follow = [int(v) for name in EXTENSIONS for v in packet[name]]
    themselves = [number for name, number in EXTENSIONS.items() for _ in packet[name]]
    if row["frag"] < 2:  # (nothing above is parsed, but tshark says what it would be)
        assert row["ip6_ext"] == len(follow)
        assert row["ip_proto"] == row["ip6_next"] + sum(follow) - sum(themselves)


def compare(frames: Sequence[bytes], path: Path) -> list[tuple[int, Found]]:
    """What differs, with the packet's number, from 1 as tshark counts."""
    theirs = tshark(path)
    assert len(theirs) == len(frames)
    out = []
    for i, (layers, packet) in enumerate(zip(ours(frames), theirs, strict=True), 1):
        outer_tags(packet)
        extension_headers(layers[0], packet)
        for check in CHECKS:
            mine = values(check, layers)
            its = [number(v) for v in packet[check.field] if v]
            if check.field.endswith(".status"):
                its = [v for v in its if v in (0, 1)]
            if its[: len(mine)] == mine and (mine or not its):
                continue
            row = layers[0]
            protocols = packet["frame.protocols"][0]
            out.append((i, Found(check.field, mine, its, row, layers, protocols, packet)))
    return out


def explain(frames: Sequence[bytes], path: Path) -> None:
    unexplained = [
        f"packet {i}: {f.field}: columns {[*map(hex, f.ours)]}, tshark {[*map(hex, f.theirs)]} "
        f"({error(f.row)}, {f.protocols})"
        for i, f in compare(frames, path)
        if not reason(f)
    ]
    assert not unexplained, f"{len(unexplained)}\n" + "\n".join(unexplained[:40])


def as_ethernet(path: Path) -> list[bytes]:
    """The packets of a capture of another link type that hold IP, behind Ethernet headers."""
    out = []
    with RawPcapReader(str(path)) as reader:
        for data, meta in reader:
            kind = getattr(meta, "linktype", getattr(reader, "linktype", ETHERNET))
            if kind == ETHERNET:
                out.append(data)
                continue
            ethertype, data = b"", data[{LOOPBACK: 4, COOKED: 16}.get(kind, 0) :]
            if kind in (LOOPBACK, *RAW_IP, COOKED) and data:
                ethertype = {4: b"\x08\x00", 6: b"\x86\xdd"}.get(data[0] >> 4, b"")
            if ethertype:
                out.append(bytes.fromhex("020000000001020000000002") + ethertype + data)
    return out


# -- the tests -------------------------------------------------------------------------------------


@pytest.mark.parametrize("trace", captures.ethernet_traces())
def test_traces(runtime: Any, trace: Path) -> None:
    explain(captures.frames(trace), trace)


@pytest.mark.parametrize("trace", captures.other_traces())
def test_other_link_types(runtime: Any, tmp_path: Path, trace: Path) -> None:
    frames = as_ethernet(trace)
    if not frames:
        pytest.skip("no packet of it is IP")
    explain(frames, captures.write(tmp_path / "ethernet.pcap", frames))


def test_the_demo_trace(runtime: Any, demo_pcap: Path) -> None:
    explain(captures.frames(demo_pcap), demo_pcap)


def test_built_packets(runtime: Any, tmp_path: Path) -> None:
    """Tunnels, and what no trace has."""
    frames = list(hs.stacks().values())
    explain(frames, captures.write(tmp_path / "built.pcap", frames))


def test_no_field_of_the_table_is_left_out() -> None:
    named = {name for field in FIELDS for name in field.tshark.split(", ") if name}
    assert {check.field for check in CHECKS} | {"frame.len", "ip.version", *OTHERS} >= named


def test_every_difference_occurs(runtime: Any, tmp_path: Path, demo_pcap: Path) -> None:
    """The table above holds nothing that was mended since."""
    if not captures.TRACES.is_dir():
        pytest.skip("no ../shared/traces")
    frames = list(hs.stacks().values())
    paths = [captures.write(tmp_path / "built.pcap", frames), demo_pcap]
    paths += [captures.TRACES / name for name in ("GrePackets.cap", "many-protocols.pcap")]
    seen = {reason(f) for path in paths for _, f in compare(captures.frames(path), path)}
    # Whether tshark makes that difference is its version's.
    assert seen - {PARTIAL} == {why for why, _ in DIFFERENCES} - {PARTIAL}
