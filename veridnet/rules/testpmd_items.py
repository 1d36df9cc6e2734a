"""The items of testpmd's flow patterns, and which columns their fields are.

Made from DPDK's app/test-pmd/cmdline_flow.c (names) and rte_flow.h (default masks).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass

from veridnet.errors import ConfigError
from veridnet.headers.values import mac


@dataclass(frozen=True)
class Field:
    """A field of an item.

    Attributes
    ----------
    bits
        Its size.
    parts
        The columns that it is made of: (column, shift, bits), from the highest bit.
    form
        How values are written: "number", "mac", "ip4" or "ip6".
    default
        Its bits in the item's default mask, which holds where a pattern gives only `spec`.
    """

    bits: int
    parts: tuple[tuple[str, int, int], ...]
    form: str = "number"
    default: int = 0

    @property
    def full(self) -> int:
        return (1 << self.bits) - 1


@dataclass(frozen=True)
class Item:
    """An item: its layer, which must not go down in a pattern; what it says; its fields."""

    layer: int
    guard: str
    fields: Mapping[str, Field]


def _plain(column: str, bits: int, form: str = "number", by_default: bool = False) -> Field:
    return Field(bits, ((column, 0, bits),), form, (1 << bits) - 1 if by_default else 0)


_TOS = Field(8, (("ip_dscp", 2, 6), ("ip_ecn", 0, 2)))
_PORTS = {
    "src": _plain("l4_src", 16, by_default=True),
    "dst": _plain("l4_dst", 16, by_default=True),
}
_PORT = _plain("in_port", 16, by_default=True)


def _vlan(pcp: str, dei: str, vid: str) -> dict[str, Field]:
    tci = ((pcp, 13, 3), (dei, 12, 1), (vid, 0, 12))
    return {
        "tci": Field(16, tci, "number", 0x0FFF),
        "pcp": _plain(pcp, 3),
        "dei": _plain(dei, 1),
        # Its part of the tci's default mask is counted there.
        "vid": _plain(vid, 12),
        "inner_type": _plain("ethertype", 16),
        "has_more_vlan": _plain("vlan_depth", 1),
    }


#: Name -> item. vlan's second one is "vlan 2".
ITEMS = {
    "port_id": Item(0, "", {"id": _PORT}),
    "represented_port": Item(0, "", {"ethdev_port_id": _PORT}),
    "port_representor": Item(0, "", {"port_id": _PORT}),
    "eth": Item(1, "", {
        "dst": _plain("eth_dst", 48, "mac", True),
        "src": _plain("eth_src", 48, "mac", True),
        "type": _plain("ethertype", 16),
        "has_vlan": _plain("vlan_depth", 1),
    }),
    "vlan": Item(2, "vlan_depth > 0", _vlan("vlan_pcp", "vlan_dei", "vlan_id")),
    "vlan 2": Item(3, "vlan_depth > 1", _vlan("vlan2_pcp", "", "vlan2_id")),
    "mpls": Item(4, "mpls_depth > 0", {
        "label": _plain("mpls_label", 20, by_default=True),
        "tc": _plain("mpls_tc", 3),
        "s": _plain("mpls_depth", 1),
    }),
    "arp_eth_ipv4": Item(5, "ethertype == eth_arp", {
        "sha": _plain("arp_sha", 48, "mac", True), "spa": _plain("arp_spa", 32, "ip4", True),
        "tha": _plain("arp_tha", 48, "mac", True), "tpa": _plain("arp_tpa", 32, "ip4", True),
    }),
    "ipv4": Item(5, "ip_version == 4", {
        "version_ihl": Field(8, (("ip_version", 4, 4), ("ip_ihl", 0, 4))),
        "tos": _TOS,
        "packet_id": _plain("ip_id", 16),
        "fragment_offset": Field(16, (("ip_flags", 13, 3), ("ip_frag_off", 0, 13))),
        "ttl": _plain("ip_ttl", 8),
        "proto": _plain("ip_proto", 8),
        "src": _plain("ip_src", 32, "ip4", True),
        "dst": _plain("ip_dst", 32, "ip4", True),
    }),
    "ipv6": Item(5, "ip_version == 6", {
        "tc": _TOS,
        "flow": _plain("ip6_flow_label", 20),
        "proto": _plain("ip6_next", 8),
        "hop": _plain("ip_ttl", 8),
        "src": _plain("ip6_src", 128, "ip6", True),
        "dst": _plain("ip6_dst", 128, "ip6", True),
    }),
    "icmp": Item(6, "ip_proto == icmp", {
        "type": _plain("icmp_type", 8, by_default=True),
        "code": _plain("icmp_code", 8, by_default=True),
        "ident": _plain("icmp_id", 16),
        "seq": _plain("icmp_seq", 16),
    }),
    "icmp6": Item(6, "ip_proto == icmpv6", {
        "type": _plain("icmp_type", 8, by_default=True),
        "code": _plain("icmp_code", 8, by_default=True),
    }),
    "tcp": Item(6, "ip_proto == tcp", {**_PORTS, "flags": _plain("tcp_flags", 8)}),
    "udp": Item(6, "ip_proto == udp", _PORTS),
    "sctp": Item(6, "ip_proto == sctp", {
        **_PORTS, "tag": _plain("sctp_tag", 32), "cksum": _plain("sctp_checksum", 32),
    }),
    "esp": Item(6, "ip_proto == esp", {"spi": _plain("ipsec_spi", 32, by_default=True)}),
    "ah": Item(6, "ip_proto == ah", {"spi": _plain("ipsec_spi", 32, by_default=True)}),
}  # fmt: skip

#: What a VLAN tag is announced by: there is no column for it.
TPIDS = (0x8100, 0x88A8, 0x9100)

#: Item -> its IP protocol.
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "esp": 50, "ah": 51, "icmp6": 58, "sctp": 132}


def number(text: str) -> int:
    """As C's strtoul with base 0 reads it: 0x is hexadecimal, a leading 0 octal."""
    if re.fullmatch(r"0[0-7]+", text):
        return int(text, 8)
    if re.fullmatch(r"\d+|0[xX][0-9a-fA-F]+", text):
        return int(text, 0 if text[:2] in ("0x", "0X") else 10)
    raise ConfigError(f"{text!r} is not a number")


def value(field: Field, text: str) -> int:
    """A field's value, from its text."""
    try:
        if field.form == "mac":
            found = mac(text)
        elif field.form == "ip4" and "." in text:
            found = int(ipaddress.IPv4Address(text))
        elif field.form == "ip6":
            found = int(ipaddress.IPv6Address(text))
        else:
            found = number(text)
    except ConfigError:
        raise
    except ValueError:
        what = {"mac": "a MAC address", "ip4": "an IPv4 address", "ip6": "an IPv6 address"}
        raise ConfigError(f"{text!r} is not {what.get(field.form, 'a number')}") from None
    if found > field.full:
        raise ConfigError(f"{text} has more than {field.bits} bits")
    return found


def text(field: Field, number: int) -> str:
    """A field's value, as it is written."""
    if field.form == "mac":
        return number.to_bytes(6, "big").hex(":")
    if field.form == "ip4":
        return str(ipaddress.IPv4Address(number))
    if field.form == "ip6":
        return str(ipaddress.IPv6Address(number))
    return str(number)


def address_or_number(column: str, number: int) -> str:
    """A column's value, in the match language."""
    if column in ("eth_dst", "eth_src", "arp_sha", "arp_tha"):
        return number.to_bytes(6, "big").hex(":")
    if column in ("ip_src", "ip_dst", "arp_spa", "arp_tpa"):
        return str(ipaddress.IPv4Address(number))
    if column in ("ip6_src", "ip6_dst"):
        return str(ipaddress.IPv6Address(number))
    return str(number)


def comparison(column: str, bits: int, mask: int, lo: int, hi: int) -> str:
    """(column & mask) in lo..hi, in the match language; `bits` is the field's size."""
    full = (1 << bits) - 1
    rest = full ^ mask
    if mask == full and lo == hi:
        return f"{column} == {address_or_number(column, lo)}"
    if mask == full:
        return f"{column} in {address_or_number(column, lo)}..{address_or_number(column, hi)}"
    if column in ("ip_src", "ip_dst", "ip6_src", "ip6_dst") and lo == hi and not rest & (rest + 1):
        return f"{column} in {address_or_number(column, lo)}/{mask.bit_count()}"
    if column in ("ip6_src", "ip6_dst"):
        if lo != hi:
            raise ConfigError(f"a range of {column} with a mask")
        ones = (1 << 64) - 1
        halves = ((f"{column}_hi", mask >> 64, lo >> 64), (f"{column}_lo", mask & ones, lo & ones))
        return " and ".join(comparison(n, 64, m, v, v) for n, m, v in halves if m)
    if lo == hi:
        return f"{column} & {mask:#x} == {lo:#x}"
    return f"{column} & {mask:#x} in {lo:#x}..{hi:#x}"
