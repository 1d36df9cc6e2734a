"""The table of header fields: the only source of their names.

From it follow the kernel's columns (``vn_fields.h``, made by running this file when veridnet is
built), the reference parser's (`veridnet.headers.reference`), what users see, and the docs page. A
new field is one row here, one line in the kernel, and one in the reference.

All columns are in host byte order. A packet that lacks a header has 0 in its columns.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Field:
    """One column.

    Attributes
    ----------
    name
        Of the column, and in match expressions.
    group
        What is parsed together; see `GROUPS`.
    dtype
        numpy's name of the type.
    meaning
        In words, with units.
    spec
        Where it is defined.
    tshark
        The fields of tshark that say the same (tests/integration/test_headers_tshark.py compares
        them), with ", " between; "" where there is none.
    writable
        Can it be written back to the packets?
    """

    name: str
    group: str
    dtype: str
    meaning: str
    spec: str = ""
    tshark: str = ""
    writable: bool = False


#: Group -> what it holds, in the order of the kernel's bits.
GROUPS = {
    "frame": "the frame itself: length, port, layer offsets, packet type, error",
    "eth": "Ethernet addresses and type",
    "vlan": "VLAN tags",
    "mpls": "MPLS label stack",
    "arp": "ARP",
    "ip": "what IPv4 and IPv6 share",
    "ipv4": "the rest of the IPv4 header",
    "ipv6": "the rest of the IPv6 header",
    "l4": "ports of TCP, UDP and SCTP",
    "tcp": "the rest of the TCP header",
    "udp": "the rest of the UDP header",
    "sctp": "the rest of the SCTP common header",
    "icmp": "ICMP and ICMPv6",
    "ipsec": "ESP and AH",
    "tunnel": "GRE, VXLAN, GENEVE, GTP-U, IP in IP",
    "checksum": "checksums, verified over the packet's bytes",
    "hash": "hashes of the flow that a packet belongs to",
}


def _rows() -> tuple[Field, ...]:
    f = Field
    return (
        f("wire_len", "frame", "uint32", "bytes of the frame, without FCS", "", "frame.len"),
        f("in_port", "frame", "uint16",
          "which port received it, by the order in which ports were added; 65535: none"),
        f("rx_time", "frame", "uint64",
          "when it was received, ns since 1970; 0: the port does not say", "rte_mbuf_dyn.h"),
        f("l2_len", "frame", "uint16", "bytes before the network header: Ethernet, tags, MPLS"),
        f("l3_len", "frame", "uint16", "bytes of the network header, IPv6 extension headers in it"),
        f("l4_len", "frame", "uint16", "bytes of the transport header", "", "tcp.hdr_len"),
        f("payload_off", "frame", "uint16",
          "where the bytes after all parsed headers begin, counted from the frame's first"),
        f("payload_len", "frame", "uint16", "how many these are, without Ethernet padding", "",
          "tcp.len"),
        f("ptype", "frame", "uint32", "packet type, RTE_PTYPE_* of rte_mbuf_ptype.h"),
        f("frag", "frame", "uint8", "fragment: 0 none, 1 first, 2 middle, 3 last", "RFC 791"),
        f("error", "frame", "uint8", "why parsing stopped early: the number of an error, 0 none"),
        f("eth_dst", "eth", "uint64", "destination address, its 48 bits", "IEEE 802.3", "eth.dst"),
        f("eth_src", "eth", "uint64", "source address, its 48 bits", "IEEE 802.3", "eth.src"),
        f("ethertype", "eth", "uint16", "type after all VLAN tags; 0 for a frame with a length",
          "IEEE 802.3", "eth.type, vlan.etype"),
        f("vlan_depth", "vlan", "uint8", "how many tags", "IEEE 802.1Q"),
        f("vlan_id", "vlan", "uint16", "of the outermost tag", "IEEE 802.1Q", "vlan.id"),
        f("vlan_pcp", "vlan", "uint8", "priority of the outermost tag", "IEEE 802.1Q",
          "vlan.priority"),
        f("vlan_dei", "vlan", "uint8", "drop eligible, outermost tag", "IEEE 802.1Q", "vlan.dei"),
        f("vlan2_id", "vlan", "uint16", "of the second tag (QinQ)", "IEEE 802.1ad", "vlan.id"),
        f("vlan2_pcp", "vlan", "uint8", "priority of the second tag", "IEEE 802.1ad",
          "vlan.priority"),
        f("mpls_depth", "mpls", "uint8", "how many labels", "RFC 3032"),
        f("mpls_label", "mpls", "uint32", "the topmost label", "RFC 3032", "mpls.label"),
        f("mpls_tc", "mpls", "uint8", "its traffic class", "RFC 5462", "mpls.exp"),
        f("mpls_ttl", "mpls", "uint8", "its TTL", "RFC 3032", "mpls.ttl"),
        f("arp_op", "arp", "uint16", "1 request, 2 reply", "RFC 826", "arp.opcode"),
        f("arp_sha", "arp", "uint64", "sender's MAC address", "RFC 826", "arp.src.hw_mac"),
        f("arp_spa", "arp", "uint32", "sender's IPv4 address", "RFC 826", "arp.src.proto_ipv4"),
        f("arp_tha", "arp", "uint64", "target's MAC address", "RFC 826", "arp.dst.hw_mac"),
        f("arp_tpa", "arp", "uint32", "target's IPv4 address", "RFC 826", "arp.dst.proto_ipv4"),
        f("ip_version", "ip", "uint8", "4, 6, or 0: neither", "RFC 791, RFC 8200", "ip.version"),
        f("ip_proto", "ip", "uint8", "protocol above IP, after IPv6 extension headers",
          "RFC 791, RFC 8200", "ip.proto"),
        f("ip_ttl", "ip", "uint8", "TTL or hop limit", "RFC 791, RFC 8200", "ip.ttl, ipv6.hlim"),
        f("ip_dscp", "ip", "uint8", "differentiated services code point", "RFC 2474",
          "ip.dsfield.dscp, ipv6.tclass.dscp"),
        f("ip_ecn", "ip", "uint8", "explicit congestion notification", "RFC 3168",
          "ip.dsfield.ecn, ipv6.tclass.ecn"),
        f("ip_len", "ip", "uint16", "IPv4 total length, or IPv6 payload length + 40; 65535 if "
          "that is more",
          "RFC 791, RFC 8200", "ip.len, ipv6.plen"),
        f("ip_src", "ipv4", "uint32", "source address", "RFC 791", "ip.src"),
        f("ip_dst", "ipv4", "uint32", "destination address", "RFC 791", "ip.dst"),
        f("ip_ihl", "ipv4", "uint8", "header length in 32-bit words", "RFC 791", "ip.hdr_len"),
        f("ip_id", "ipv4", "uint16", "identification", "RFC 791", "ip.id"),
        f("ip_flags", "ipv4", "uint8", "3 bits: 1 more fragments, 2 don't fragment, 4 reserved",
          "RFC 791", "ip.flags"),
        f("ip_frag_off", "ipv4", "uint16", "fragment offset in 8-byte units", "RFC 791",
          "ip.frag_offset"),
        f("ip_checksum", "ipv4", "uint16", "header checksum, as it stands", "RFC 791",
          "ip.checksum"),
        f("ip6_src_hi", "ipv6", "uint64", "upper half of the source address", "RFC 8200",
          "ipv6.src"),
        f("ip6_src_lo", "ipv6", "uint64", "lower half of the source address", "RFC 8200",
          "ipv6.src"),
        f("ip6_dst_hi", "ipv6", "uint64", "upper half of the destination address", "RFC 8200",
          "ipv6.dst"),
        f("ip6_dst_lo", "ipv6", "uint64", "lower half of the destination address", "RFC 8200",
          "ipv6.dst"),
        f("ip6_flow_label", "ipv6", "uint32", "flow label", "RFC 6437", "ipv6.flow"),
        f("ip6_next", "ipv6", "uint8", "next header of the fixed header", "RFC 8200", "ipv6.nxt"),
        f("ip6_ext", "ipv6", "uint8", "how many extension headers", "RFC 8200"),
        f("ip6_frag_off", "ipv6", "uint16", "fragment offset in 8-byte units", "RFC 8200",
          "ipv6.fraghdr.offset"),
        f("ip6_frag_id", "ipv6", "uint32", "fragment identification", "RFC 8200",
          "ipv6.fraghdr.ident"),
        f("l4_src", "l4", "uint16", "source port", "RFC 9293, RFC 768, RFC 9260",
          "tcp.srcport, udp.srcport, sctp.srcport"),
        f("l4_dst", "l4", "uint16", "destination port", "RFC 9293, RFC 768, RFC 9260",
          "tcp.dstport, udp.dstport, sctp.dstport"),
        f("tcp_seq", "tcp", "uint32", "sequence number", "RFC 9293", "tcp.seq_raw"),
        f("tcp_ack", "tcp", "uint32", "acknowledgement number", "RFC 9293", "tcp.ack_raw"),
        f("tcp_flags", "tcp", "uint16", "FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, "
          "CWR 128, and the reserved bits above", "RFC 9293", "tcp.flags"),
        f("tcp_window", "tcp", "uint16", "window, not scaled", "RFC 9293",
          "tcp.window_size_value"),
        f("tcp_checksum", "tcp", "uint16", "checksum, as it stands", "RFC 9293", "tcp.checksum"),
        f("tcp_urgent", "tcp", "uint16", "urgent pointer", "RFC 9293", "tcp.urgent_pointer"),
        f("udp_len", "udp", "uint16", "length, header included", "RFC 768", "udp.length"),
        f("udp_checksum", "udp", "uint16", "checksum, as it stands", "RFC 768", "udp.checksum"),
        f("sctp_tag", "sctp", "uint32", "verification tag", "RFC 9260",
          "sctp.verification_tag"),
        f("sctp_checksum", "sctp", "uint32", "CRC32c, as it stands", "RFC 9260",
          "sctp.checksum"),
        f("icmp_type", "icmp", "uint8", "type, of ICMP or ICMPv6 (see ip_version)",
          "RFC 792, RFC 4443", "icmp.type, icmpv6.type"),
        f("icmp_code", "icmp", "uint8", "code", "RFC 792, RFC 4443", "icmp.code, icmpv6.code"),
        f("icmp_id", "icmp", "uint16", "identifier of an echo; 0 for other types",
          "RFC 792, RFC 4443", "icmp.ident, icmpv6.echo.identifier"),
        f("icmp_seq", "icmp", "uint16", "sequence number of an echo; 0 for other types",
          "RFC 792, RFC 4443", "icmp.seq, icmpv6.echo.sequence_number"),
        f("ipsec_spi", "ipsec", "uint32", "security parameters index of ESP or AH",
          "RFC 4303, RFC 4302", "esp.spi, ah.spi"),
        f("ipsec_seq", "ipsec", "uint32", "sequence number of ESP or AH", "RFC 4303, RFC 4302",
          "esp.sequence, ah.sequence"),
        f("tunnel", "tunnel", "uint8", "0 none, 1 GRE, 2 VXLAN, 3 GENEVE, 4 GTP-U, 5 IP in IP",
          "RFC 2784, RFC 7348, RFC 8926, TS 29.281"),
        f("tunnel_id", "tunnel", "uint32", "VNI, TEID, or GRE key", "",
          "vxlan.vni, geneve.vni, gtp.teid, gre.key"),
        f("inner_off", "tunnel", "uint16", "where the inner packet begins; 0: there is none"),
        f("inner_len", "tunnel", "uint16", "how many bytes it has"),
        f("inner_kind", "tunnel", "uint8", "it begins with: 1 Ethernet, 4 IPv4, 6 IPv6"),
        f("ip_csum", "checksum", "uint8",
          "IPv4 header checksum: 0 there is none, 1 right, 2 wrong", "RFC 1071",
          "ip.checksum.status"),
        f("l4_csum", "checksum", "uint8", "TCP, UDP, SCTP, ICMP checksum: 1 right, 2 wrong, 0 "
          "there is none or not all of the datagram is here", "RFC 1071, RFC 9260",
          "tcp.checksum.status, udp.checksum.status, sctp.checksum.status, icmp.checksum.status, "
          "icmpv6.checksum.status"),
        f("flow_hash", "hash", "uint32", "Toeplitz hash of addresses and TCP, UDP or SCTP ports, "
          "as a NIC with the same key computes it for RSS; 0: not IP", "rte_thash.h"),
        f("flow_hash_sym", "hash", "uint32", "the same for both directions of a flow",
          "rte_thash.h"),
    )  # fmt: skip


#: What can be written back to the packets, in the order in which the kernel writes it.
WRITABLE = (
    "eth_dst", "eth_src", "vlan_id", "vlan_pcp",
    "ip_ttl", "ip_dscp", "ip_ecn", "ip_id", "ip_src", "ip_dst",
    "ip6_src_hi", "ip6_src_lo", "ip6_dst_hi", "ip6_dst_lo", "ip6_flow_label",
    "l4_src", "l4_dst", "tcp_seq", "tcp_ack", "tcp_flags", "tcp_window",
)  # fmt: skip

FIELDS = tuple(replace(row, writable=row.name in WRITABLE) for row in _rows())

#: Columns that are computed from other columns -> these. All others stand in the headers.
NEEDS = {
    "ip_csum": ("ip_version", "ip_ihl", "l2_len"),
    "l4_csum": ("ip_version", "ip_proto", "l2_len", "l3_len", "l4_len", "payload_off",
                "payload_len", "frag", "error"),
    "flow_hash": ("ip_version", "ip_proto", "ip_src", "ip_dst", "ip6_src_hi", "ip6_src_lo",
                  "ip6_dst_hi", "ip6_dst_lo", "l4_src", "l4_dst", "frag"),
}  # fmt: skip
NEEDS["flow_hash_sym"] = NEEDS["flow_hash"]

#: Name of a column -> its row.
BY_NAME = {field.name: field for field in FIELDS}

#: Value of the ``error`` column -> (name, meaning).
ERRORS = (
    ("none", "all headers were parsed"),
    ("trunc_eth", "ends in the Ethernet header"),
    ("trunc_vlan", "ends in a VLAN tag"),
    ("many_vlan", "more than 4 VLAN tags"),
    ("trunc_mpls", "ends in the MPLS label stack"),
    ("many_mpls", "more than 8 MPLS labels"),
    ("trunc_arp", "ends in the ARP packet"),
    ("trunc_ip4", "ends in the IPv4 header"),
    ("bad_version", "the version in the IP header is not what the layer below said"),
    ("bad_ihl", "IPv4 header length under 5 words"),
    ("bad_ip_len", "IP length shorter than the header, or longer than the packet"),
    ("trunc_ip6", "ends in the IPv6 header"),
    ("trunc_ext", "ends in an IPv6 extension header"),
    ("many_ext", "more than 8 IPv6 extension headers"),
    ("trunc_l4", "ends in the transport header"),
    ("bad_doff", "TCP data offset under 5 words, or beyond the packet"),
    ("bad_udp_len", "UDP length under 8, or beyond the packet"),
    ("trunc_tunnel", "ends in the tunnel header"),
    ("bad_tunnel", "a tunnel header of an unknown version, or whose extensions are wrong"),
)


def c_header() -> str:
    """The table as C, for the kernels."""
    out = ["/* Made from veridnet/headers/fields.py; do not edit. */", "#ifndef VN_FIELDS_H",
           "#define VN_FIELDS_H", "", "#include <stdint.h>", "",
           "/* A set of columns, a bit each. */",
           "__extension__ typedef unsigned __int128 vn_fieldset;",
           "#define VN_F(name) ((vn_fieldset)1 << VN_I_##name)", ""]  # fmt: skip
    out += ["enum vn_field {", *(f"\tVN_I_{f.name}," for f in FIELDS), "\tVN_COLUMNS,", "};", ""]
    for group in GROUPS:
        names = [f"VN_F({f.name})" for f in FIELDS if f.group == group]
        out.append(f"#define VN_G_{group.upper()} ({' | '.join(names)})")
    out += ["", "enum vn_parse_error {"]
    out += [f"\tVN_E_{name.upper()}," for name, _ in ERRORS]
    out += ["\tVN_E_MAX,", "};", "", "/* One array a column, in the order of enum vn_field. */",
            "struct vn_columns {"]  # fmt: skip
    out += [f"\t{f.dtype}_t *{f.name};" for f in FIELDS]
    out += ["};", "", "static const uint8_t vn_field_size[] = {"]
    out += [f"\t{int(f.dtype.removeprefix('uint')) // 8}, /* {f.name} */" for f in FIELDS]
    out += ["};", "", f"#define VN_WRITABLE {', '.join('VN_I_' + name for name in WRITABLE)}"]
    bits = {name: " | ".join(f"VN_F({n})" for n in needs) for name, needs in NEEDS.items()}
    out += ["", "/* What is computed from other columns, and from which. */",
            f"#define VN_DERIVED ({' | '.join(f'VN_F({name})' for name in NEEDS)})",
            "#define VN_DERIVED_NEEDS "
            + ", ".join(f"{{VN_I_{name}, {needs}}}" for name, needs in bits.items())]  # fmt: skip
    out += ["", "/* X(name) for each column, in that order. */", "#define VN_EACH(X) \\"]
    out += [f"\tX({f.name}) \\" for f in FIELDS]
    out += ["", "#endif", ""]
    return "\n".join(out)


if __name__ == "__main__":
    sys.stdout.write(c_header())
