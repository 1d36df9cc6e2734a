"""Boxes as patterns of rte_flow.

A box may need several flows: rte_flow says each stack of headers apart (untagged, one VLAN tag,
two; IPv4, IPv6; TCP, UDP, SCTP), where columns see through. Each flow comes with two regions (see
`veridnet.rules.regions`):

``reach``
    all packets that it may take, and that are then believed to be the rule's; never more than the
    box holds.
``sure``
    packets that it certainly takes.

They differ by what ports treat differently: fragments, IPv6 extension headers, damaged packets.
Only the packets without any of these are *plain*. A marked packet is believed to be its rule's only
if it is plain and has as many VLAN tags as the flow says (`Offloaded.ids`), so that marks may be
wrong for the others; a dropped packet is gone, so ``reach`` of a flow that drops holds these too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, TypeAlias

from veridnet._native import flow as native
from veridnet.headers.fields import FIELDS
from veridnet.rules.regions import BITS, Region, Values, meet, overlap, prefix_bits, values, within

Box: TypeAlias = Mapping[str, tuple[int, int, int]]
Items: TypeAlias = tuple[tuple[str, tuple[tuple[str, tuple[int, int, int | None]], ...]], ...]

#: `Pattern.depth` of a flow that takes packets whatever tags they have.
ANY_DEPTH = 255
#: A box may take so many flows.
MAX_FLOWS = 64

#: How the reason begins where only a range is in the way.
RANGE = "a range of"

PLAIN = {"error": Values(0, 0), "frag": Values(0, 0), "ip6_ext": Values(0, 0)}
_ESSENTIAL = ("error", "frag", "ip6_ext", "vlan_depth", "ethertype", "ip_version", "ip_proto")
NONE = {"error": Values(1, 0)}
IP4, IP6, ARP = 0x0800, 0x86DD, 0x0806
MPLS = (0x8847, 0x8848)
UNKNOWN_TAG = 0x9100
PROTO = {"tcp": 6, "udp": 17, "sctp": 132, "esp": 50}
ICMP = {4: 1, 6: 58}
_GROUP = {field.name: field.group for field in FIELDS}

#: Column -> (item, field), of the headers that a flow has.
_ETH = {"eth_dst": ("eth", "dst"), "eth_src": ("eth", "src")}
_ARP = {
    "arp_op": ("arp_eth_ipv4", "op"),
    "arp_sha": ("arp_eth_ipv4", "sha"),
    "arp_spa": ("arp_eth_ipv4", "spa"),
    "arp_tha": ("arp_eth_ipv4", "tha"),
    "arp_tpa": ("arp_eth_ipv4", "tpa"),
}
_MPLS = {
    "mpls_label": ("mpls", "label"),
    "mpls_tc": ("mpls", "tc"),
    "mpls_ttl": ("mpls", "ttl"),
}
_IP = {
    4: {"ip_proto": "proto", "ip_ttl": "ttl", "ip_dscp": "dscp", "ip_ecn": "ecn",
        "ip_len": "length", "ip_src": "src", "ip_dst": "dst", "ip_ihl": "ihl",
        "ip_id": "packet_id", "ip_flags": "flags", "ip_frag_off": "frag_off"},
    6: {"ip_proto": "proto", "ip6_next": "proto", "ip_ttl": "hop", "ip_dscp": "dscp",
        "ip_ecn": "ecn", "ip6_src_hi": "src_hi", "ip6_src_lo": "src_lo",
        "ip6_dst_hi": "dst_hi", "ip6_dst_lo": "dst_lo", "ip6_flow_label": "flow"},
}  # fmt: skip
_L4 = {
    "tcp": {"l4_src": "src", "l4_dst": "dst", "tcp_seq": "seq", "tcp_ack": "ack",
            "tcp_flags": "flags", "tcp_window": "window"},
    "udp": {"l4_src": "src", "l4_dst": "dst", "udp_len": "length"},
    "sctp": {"l4_src": "src", "l4_dst": "dst", "sctp_tag": "tag"},
    "icmp": {"icmp_type": "type", "icmp_code": "code"},
    "icmp6": {"icmp_type": "type", "icmp_code": "code"},
    "esp": {"ipsec_spi": "spi", "ipsec_seq": "seq"},
}  # fmt: skip
_FIELD_BITS = native.items()


class Untranslatable(Exception):
    """What rte_flow cannot say; the text is the reason."""


@dataclass(frozen=True)
class Pattern:
    """One flow's pattern; see the module."""

    items: Items
    depth: int
    reach: Region
    sure: Region
    ranges: bool

    @property
    def native(self) -> list[tuple[str, dict[str, tuple[int, int, int | None]]]]:
        """As `veridnet._native.flow` takes it."""
        return [(name, dict(fields)) for name, fields in self.items]


def region(box: Box, in_port: int | None = None) -> tuple[dict[str, Values] | None, bool]:
    """The packets of a box that this port receives; is that exact? None: there are none."""
    out = {}
    exact = True
    for column, (mask, lo, hi) in box.items():
        found, well = values(BITS[column], mask, lo, hi)
        exact &= well
        if found is None:
            return None, True
        if column == "in_port" and in_port is not None:
            if not (found.lo <= in_port <= found.hi and in_port & found.mask == found.value):
                return None, True
            continue
        out[column] = found
    return out, exact


def _has_no_zero(v: Values | None) -> bool:
    return v is not None and (v.lo > 0 or v.value != 0)


def _fixed(v: Values | None) -> int | None:
    return v.lo if v is not None and v.lo == v.hi else None


def normal(packets: Region) -> list[dict[str, Values]]:
    """The same packets as regions that say which headers these must have.

    Columns are 0 where there is no such header: what is not 0 says that there is one.
    """
    at = {_GROUP[column] for column, v in packets.items() if _has_no_zero(v)}
    versions: list[int | None] = [None]
    protos: list[int | None] = [None]
    if at & {"ip", "l4", "tcp", "udp", "sctp", "icmp", "ipsec"}:
        versions = [4, 6]
    if "ipv4" in at:
        versions = [4]
    if "ipv6" in at:
        versions = [6] if "ipv4" not in at else []
    if "l4" in at:
        protos = [6, 17, 132]
    for group, number in (("tcp", 6), ("udp", 17), ("sctp", 132)):
        if group in at:
            protos = [number] if number in protos or protos == [None] else []
    if "icmp" in at:
        protos = [1, 58] if protos == [None] else []
    out = []
    for version, proto in product(versions, protos):
        if "icmp" in at and version is not None and proto != ICMP[version]:
            continue
        more = {}
        if version is not None:
            more["ip_version"] = Values(version, version)
        if proto is not None:
            more["ip_proto"] = Values(proto, proto)
        if _fixed(packets.get("ethertype")) in (IP4, IP6, ARP):
            more["mpls_depth"] = Values(0, 0)
        both = overlap(packets, more)
        if both is not None:
            out.append(both)
    return out


def prefixes(v: Values, bits: int) -> list[Values]:
    """The same numbers as ranges that are prefixes; a ternary as it is."""
    if v.mask:
        return [v]
    out = []
    lo = v.lo
    while lo <= v.hi:
        size = lo & -lo if lo else 1 << bits
        while lo + size - 1 > v.hi:
            size >>= 1
        out.append(Values(lo, lo + size - 1))
        lo += size
    return out


def without_ranges(packets: Region, limit: int = MAX_FLOWS) -> list[dict[str, Values]] | None:
    """The same packets as regions of prefixes and ternaries; None: more than `limit`."""
    pieces = [prefixes(v, BITS[column]) for column, v in packets.items()]
    total = 1
    for piece in pieces:
        total *= len(piece)
        if total > limit:
            return None
    return [dict(zip(packets, chosen, strict=True)) for chosen in product(*pieces)]


def translate(
    packets: Region, drops: bool, trusted: bool, ranges: bool
) -> tuple[list[Pattern], list[str]]:
    """Flows for a region, and why what they leave out stays in software.

    Parameters
    ----------
    drops
        Will the flows drop? (Else they mark.)
    trusted
        Is the port believed to treat packets that are not plain as veridnet does?
    ranges
        May fields have ranges (``last``)? Else what needs them is left out: see `without_ranges`.
    """
    patterns: list[Pattern] = []
    reasons: dict[str, None] = {}
    for piece in normal(packets):
        for stack in _stacks(piece):
            try:
                made = _Flow(piece, stack, drops and not trusted, drops, ranges).pattern()
            except Untranslatable as why:
                reasons[str(why)] = None
                continue
            if made is not None:
                patterns.append(made)
    return patterns, list(reasons)


@dataclass(frozen=True)
class _Stack:
    depth: int  # VLAN tags
    net: int | None  # 4, 6, ARP, one of MPLS; None: whatever it is
    l4: str | None


def _stacks(packets: Region) -> Iterator[_Stack]:
    """The stacks of headers of a region's flows, from what it asks."""
    groups = {_GROUP[column] for column in packets}
    nets: list[int | None] = [None]
    l4s: list[str | None] = [None]
    if groups & {"l4", "tcp", "udp", "sctp", "icmp", "ipsec"}:
        l4s = [name for name, known in _L4.items()
               if any(column in known for column in packets if _GROUP[column] in
                      ("l4", "tcp", "udp", "sctp", "icmp", "ipsec"))]  # fmt: skip
        if not l4s:
            column = next(c for c in packets if _GROUP[c] in
                          ("l4", "tcp", "udp", "sctp", "icmp", "ipsec"))  # fmt: skip
            l4s = [{"l4": "tcp", "ipsec": "esp"}.get(_GROUP[column], _GROUP[column])]
    ip = bool(groups & {"ip", "ipv4", "ipv6"}) or l4s != [None]
    if ip:
        nets = [4, 6]
    elif "arp" in groups:
        nets = [ARP]
    elif "mpls" in groups and any(_has_no_zero(packets.get(column)) for column in
                                  ("mpls_depth", "mpls_label", "mpls_tc", "mpls_ttl")):  # fmt: skip
        nets = list(MPLS)
    elif _fixed(packets.get("ethertype")) in (IP4, IP6):
        nets = [4 if _fixed(packets["ethertype"]) == IP4 else 6]
    tags = groups & {"vlan"} or nets != [None] or "ethertype" in packets
    for depth, net, l4 in product((0, 1, 2) if tags else (ANY_DEPTH,), nets, l4s):
        if (l4 == "icmp" and net == 6) or (l4 == "icmp6" and net == 4):
            continue
        yield _Stack(depth, net, l4)


@cache
def _facts(stack: _Stack) -> Mapping[str, Values]:
    """What a stack of headers says of its packets' columns."""
    zero = Values(0, 0)
    depth, net, l4 = stack.depth, stack.net, stack.l4
    known: dict[str, Values] = {}
    if depth != ANY_DEPTH:
        known["vlan_depth"] = Values(depth, depth)
        for column, group in _GROUP.items():
            if group == "vlan" and (depth == 0 or (depth == 1 and column.startswith("vlan2"))):
                known[column] = Values(depth, depth) if column == "vlan_depth" else zero
    if net is not None:
        ethertype = {4: IP4, 6: IP6}.get(net, net)
        known["ethertype"] = Values(ethertype, ethertype)
        there = {4: ("ipv4",), 6: ("ipv6",), ARP: ("arp",)}.get(net, ("mpls", "ip", "ipv4", "ipv6"))
        absent = {"mpls", "arp", "ipv4", "ipv6"}.difference(there)
        if net == ARP:
            absent |= {"ip", "l4", "tcp", "udp", "sctp", "icmp", "ipsec", "tunnel"}
        for column, group in _GROUP.items():
            if group in absent:
                known[column] = zero
        if net in (4, 6):
            known["ip_version"] = Values(net, net)
        elif net in MPLS:
            known["mpls_depth"] = Values(1, 255)
    if l4 is not None:
        number = PROTO.get(l4) or (1 if l4 == "icmp" else 58)
        known["ip_proto"] = Values(number, number)
        own = {"tcp": "tcp", "udp": "udp", "sctp": "sctp", "esp": "ipsec"}.get(l4, "icmp")
        for column, group in _GROUP.items():
            if group in ("tcp", "udp", "sctp", "icmp", "ipsec") and group != own:
                known[column] = zero
            if group == "l4" and l4 not in ("tcp", "udp", "sctp"):
                known[column] = zero
    return known


class _Flow:
    """One flow in the making: what is known of the packets that it takes, what it must ask."""

    def __init__(
        self, packets: Region, stack: _Stack, all_kinds: bool, drops: bool, ranges: bool
    ) -> None:
        self.packets = packets
        self.stack = stack
        self.all_kinds = all_kinds  # packets that are not plain count too
        self.drops = drops
        self.ranges = ranges
        self.fields: dict[tuple[str, int, str], tuple[int, int, int | None]] = {}
        self.known: dict[str, Values] = {}

    def pattern(self) -> Pattern | None:
        """None: no packet of the region has this stack."""
        self.known = self._known()
        both = overlap(self.packets, self.known)
        if both is None:
            return None
        places = self._places()
        proto = both.get("ip_proto")
        reach = dict(both)
        for column, v in self.packets.items():
            fact = self.known.get(column)
            if fact is not None and within(fact, v):
                continue  # the stack says so, or software sees to it
            if column not in places:
                raise Untranslatable(self._why(column))
            self._ask(column, places[column], v)
        if self.stack.net == 6 and proto is not None and self.all_kinds and self.stack.l4 is None:
            # ipv6's next header is what ip_proto says only if no extension headers are between.
            reach["ip6_ext"] = Values(0, 0)
            if _fixed(proto) in (None, 0, 43, 44, 50, 51, 60, 135, 139, 140):
                raise Untranslatable("ip_proto through IPv6 extension headers")
        plain = overlap(reach, PLAIN)
        if plain is None:
            return None  # the rule asks for fragments and the like: nothing is sure of these
        # What follows from the others (no UDP header in a TCP packet) is left out.
        sure = {column: v for column, v in plain.items()
                if column in self.packets or column in _ESSENTIAL}  # fmt: skip
        if not self.all_kinds:
            reach = plain
        elif self.stack.depth != ANY_DEPTH and self.stack.net is None:
            # A tag of a type that the port does not know (0x9100) is none to it.
            kinds = self.packets.get("ethertype")
            if kinds is None or meet(kinds, Values(UNKNOWN_TAG, UNKNOWN_TAG)):
                raise Untranslatable("a port that drops may overlook a VLAN tag of type 0x9100")
        if self.stack.net == ARP and not any(
            _has_no_zero(self.packets.get(column)) for column in _ARP if column != "arp_op"
        ):
            sure = dict(NONE)  # arp_op is also that of ARP for other than Ethernet and IPv4
        return Pattern(self._items(), self.stack.depth, reach, sure, self._has_ranges())

    def _known(self) -> dict[str, Values]:
        """What is so for all packets that this flow takes and that are believed."""
        zero = Values(0, 0)
        net, l4 = self.stack.net, self.stack.l4
        known = dict(_facts(self.stack))
        if not self.all_kinds:
            known.update(PLAIN)
        elif l4 is not None and any(
            _has_no_zero(v) for column, v in self.packets.items() if column in _L4[l4]
        ):
            known["frag"] = Values(0, 1)  # later fragments have no such header: columns say 0
        if "frag" in known:
            known["ip_frag_off"] = known["ip6_frag_off"] = zero
        if not self.all_kinds:
            known["ip6_frag_id"] = zero
            if net == 4:
                known["ip_flags"] = Values(0, 6, 1, 0)  # no more fragments
        return known

    def _places(self) -> dict[str, tuple[str, int, str]]:
        """Column -> (item, which of that name, field)."""
        depth, net, l4 = self.stack.depth, self.stack.net, self.stack.l4
        places = {column: (item, 0, field) for column, (item, field) in _ETH.items()}
        if depth in (1, 2):
            places |= {"vlan_id": ("vlan", 0, "vid"), "vlan_pcp": ("vlan", 0, "pcp"),
                       "vlan_dei": ("vlan", 0, "dei")}  # fmt: skip
        if depth == 2:
            places |= {"vlan2_id": ("vlan", 1, "vid"), "vlan2_pcp": ("vlan", 1, "pcp")}
        if depth in (0, 1, 2):
            last = ("eth", 0, "type") if depth == 0 else ("vlan", depth - 1, "inner_type")
            places["ethertype"] = last
        if net == ARP:
            places |= {column: (item, 0, field) for column, (item, field) in _ARP.items()}
        if net in MPLS:
            places |= {column: (item, 0, field) for column, (item, field) in _MPLS.items()}
        if net in (4, 6):
            item = f"ipv{net}"
            places |= {column: (item, 0, field) for column, field in _IP[net].items()}
        if l4 is not None:
            places |= {column: (l4, 0, field) for column, field in _L4[l4].items()}
        return places

    def _why(self, column: str) -> str:
        if column in PLAIN and self.drops:
            return f"a port that drops cannot be asked for {column}"
        return f"rte_flow cannot be asked for {column}"

    def _ask(self, column: str, place: tuple[str, int, str], v: Values) -> None:
        item, _, field = place
        bits = _FIELD_BITS[item][field]
        top = (1 << bits) - 1
        if column == "ethertype" and v.lo < 0x600:
            raise Untranslatable("frames with a length instead of an EtherType")
        narrow = meet(v, Values(0, top))
        if narrow is None:
            raise Untranslatable(f"{column} is never so large")
        if place in self.fields:  # ip_proto and ip6_next are one field
            if self.fields[place] != _exact(narrow, bits):
                raise Untranslatable(f"{column} and another column of the same field")
            return
        asked = _exact(narrow, bits)
        if asked is None and not (narrow.mask or not self.ranges or bits not in (8, 16, 32)):
            asked = (narrow.lo, top, narrow.hi)
        if asked is None:
            raise Untranslatable(f"{RANGE} {column}")
        self.fields[place] = asked

    def _items(self) -> Items:
        depth, net, l4 = self.stack.depth, self.stack.net, self.stack.l4
        stack = [("eth", 0)] + [("vlan", k) for k in range(depth if depth != ANY_DEPTH else 0)]
        if depth == 0:
            self.fields["eth", 0, "has_vlan"] = (0, 1, None)
        elif depth != ANY_DEPTH:
            self.fields["vlan", depth - 1, "has_more_vlan"] = (0, 1, None)
        if net in MPLS:  # the item alone stands for either type
            last = ("eth", 0, "type") if depth == 0 else ("vlan", depth - 1, "inner_type")
            self.fields[last] = (net, 0xFFFF, None)
        if net is not None:
            names = {4: "ipv4", 6: "ipv6", ARP: "arp_eth_ipv4"}
            stack.append((names.get(net, "mpls"), 0))
        if l4 is not None:
            stack.append((l4, 0))
        return tuple(
            (name, tuple((field, asked) for (item, k, field), asked in self.fields.items()
                         if (item, k) == (name, number) and asked[1]))
            for name, number in stack
        )  # fmt: skip

    def _has_ranges(self) -> bool:
        return any(last is not None for _, _, last in self.fields.values())


def _exact(v: Values, bits: int) -> tuple[int, int, int | None] | None:
    """(spec, mask, None) where the numbers are a prefix or a ternary."""
    top = (1 << bits) - 1
    if v.mask:
        # What shrink() does to bounds, no more.
        free = top & ~v.mask
        if v.lo == v.value and v.hi == v.value | free:
            return v.value, v.mask & top, None
        return (v.lo, top, None) if v.lo == v.hi else None
    mask = top & ~((1 << (v.lo ^ v.hi).bit_length()) - 1)
    if v.lo & ~mask == 0 and v.hi | mask == top:
        return v.lo, mask, None
    return None


def text(items: Iterable[Any]) -> str:
    """A pattern as testpmd writes it, near enough for people."""
    out = []
    for name, fields in items:
        words = [name]
        for field, (spec, mask, last) in dict(fields).items():
            words += [field, f"{spec:#x}" if last is None else f"{spec}..{last}"]
            if last is None and prefix_bits(mask, mask.bit_length()) != mask.bit_length():
                words[-1] += f"/{mask:#x}"
        out.append(" ".join(words))
    return " / ".join(out)
