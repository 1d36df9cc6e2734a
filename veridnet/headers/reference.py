"""The naive twin of the header kernels: what every column is, written to be read.

One packet at a time, one layer a function, from the RFCs that `veridnet.headers.fields` names. The
kernels (``vn_parse.c``, ``vn_parse_block.h``, ``vn_derive.c``) must say the same of every packet;
the tests compare them bit for bit. It is slow, and nothing but tests and people use it.

The rules:

- A header gives its columns when it is whole; IPv4 and TCP options, and what follows the fixed part
  of an IPv6 header, may make a later check fail.
- Parsing ends at the first header that is malformed. ``error`` names the reason; what lies above it
  is 0. ``l2_len``, ``l3_len``, ``l4_len`` and ``payload_off`` count whole headers only.
- Headers are looked for in a packet's first 2048 bytes: what lies beyond is as if cut off there.
- IP and UDP lengths end the packet: bytes after them (Ethernet's padding) are no header's. A length
  that says more than there is, is an error (but for the UDP length in a first fragment, which
  speaks of the whole datagram).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veridnet.headers.fields import ERRORS, FIELDS

LIMIT = 2048
MAX_VLAN = 4
MAX_MPLS = 8
MAX_EXT = 8  # IPv6 extension headers, and those of GTP-U
ETHERNET, IPV4, IPV6 = 1, 4, 6

VLAN_TYPES = (0x8100, 0x88A8, 0x9100)
MPLS_TYPES = (0x8847, 0x8848)
# Hop-by-hop, routing, fragment, AH, destination, mobility, HIP, shim6 (IANA's registry).
EXTENSIONS = (0, 43, 44, 51, 60, 135, 139, 140)
PTYPE_L2 = {"eth": 1, "arp": 3, "vlan": 6, "qinq": 7, "mpls": 10}
PTYPE_L3 = {"ip4": 0x10, "ip4_options": 0x30, "ip6": 0x40, "ip6_ext": 0xC0}
PTYPE_L4 = {"tcp": 0x100, "udp": 0x200, "frag": 0x300, "sctp": 0x400, "icmp": 0x500, "other": 0x600}
GRE, VXLAN, GENEVE, GTPU, IP_IN_IP = range(1, 6)
PTYPE_TUNNEL = {GRE: 0x2000, VXLAN: 0x3000, GENEVE: 0x5000, GTPU: 0x8000, IP_IN_IP: 0x1000}
INNER = {0x0800: IPV4, 0x86DD: IPV6, 0x6558: ETHERNET}

_ERROR = {name: number for number, (name, _) in enumerate(ERRORS)}
_DTYPE = {field.name: field.dtype for field in FIELDS}

#: The key of Microsoft's RSS specification, which the kernel begins with.
RSS_KEY = bytes.fromhex(
    "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"
)
SYMMETRIC_KEY = bytes.fromhex("6d5a") * 20


class _Stop(Exception):
    """Parsing ends here; with a name of `ERRORS` because of it."""


class _Packet:
    """One packet on its way through the layers: what is left of it, and its columns."""

    def __init__(self, frame: bytes, begin: int, end: int) -> None:
        self.frame = frame
        self.at = begin  # where the next header begins
        self.end = end  # where the packet ends
        self.first_fragment = False
        self.ptype_l2 = self.ptype_l3 = self.ptype_l4 = self.ptype_tunnel = 0
        self.columns = {field.name: 0 for field in FIELDS}

    def whole(self, size: int, error: str) -> bytes:
        """The next `size` bytes, which are a header; they must be there."""
        if self.at + size > min(self.end, len(self.frame), LIMIT):
            raise _Stop(error)
        return self.frame[self.at : self.at + size]

    def put(self, **columns: int) -> None:
        self.columns.update(columns)

    def ends_after(self, size: int) -> None:
        """The packet ends `size` bytes from here, if it did not before."""
        self.end = min(self.end, self.at + size)


def _int(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "big")


# -- Ethernet, tags, labels, ARP ------------------------------------------------------------------


def _ethernet(p: _Packet) -> int:
    """Returns the EtherType of what follows, or 0."""
    h = p.whole(14, "trunc_eth")
    p.put(eth_dst=_int(h, 0, 6), eth_src=_int(h, 6, 6))
    ethertype = _int(h, 12, 2)
    p.at += 14
    p.put(l2_len=14)
    p.ptype_l2 = PTYPE_L2["eth"]
    depth = 0
    while ethertype in VLAN_TYPES:
        if depth == MAX_VLAN:
            raise _Stop("many_vlan")
        h = p.whole(4, "trunc_vlan")
        tag = _int(h, 0, 2)
        if depth == 0:
            p.put(vlan_id=tag & 0xFFF, vlan_pcp=tag >> 13, vlan_dei=tag >> 12 & 1)
        elif depth == 1:
            p.put(vlan2_id=tag & 0xFFF, vlan2_pcp=tag >> 13)
        depth += 1
        p.at += 4
        p.put(vlan_depth=depth, l2_len=14 + 4 * depth)
        p.ptype_l2 = PTYPE_L2["vlan" if depth == 1 else "qinq"]
        ethertype = _int(h, 2, 2)
    if ethertype < 0x600:  # a length: IEEE 802.3, with LLC, which is not parsed
        p.ends_after(ethertype)
        return 0
    p.put(ethertype=ethertype)
    return _mpls(p) if ethertype in MPLS_TYPES else ethertype


def _mpls(p: _Packet) -> int:
    p.ptype_l2 = PTYPE_L2["mpls"]
    for depth in range(1, MAX_MPLS + 1):
        h = p.whole(4, "trunc_mpls")
        label = _int(h, 0, 4)
        if depth == 1:
            p.put(mpls_label=label >> 12, mpls_tc=label >> 9 & 7, mpls_ttl=label & 0xFF)
        p.at += 4
        p.put(mpls_depth=depth, l2_len=p.columns["l2_len"] + 4)
        if label >> 8 & 1:
            # The bottom of the stack. No field says what follows: an IP header says it itself.
            version = _version(p)
            return 0x0800 if version == IPV4 else 0x86DD if version == IPV6 else 0
    raise _Stop("many_mpls")


def _version(p: _Packet) -> int:
    """The first four bits of what follows; 0 if nothing does."""
    return p.frame[p.at] >> 4 if p.at < min(p.end, len(p.frame), LIMIT) else 0


def _arp(p: _Packet) -> None:
    p.ptype_l2 = PTYPE_L2["arp"]
    h = p.whole(8, "trunc_arp")
    hardware, protocol = h[4], h[5]  # the addresses' lengths
    size = 8 + 2 * (hardware + protocol)
    h = p.whole(size, "trunc_arp")
    p.put(arp_op=_int(h, 6, 2))
    if h[:6] == bytes.fromhex("000108000604"):  # Ethernet and IPv4
        p.put(arp_sha=_int(h, 8, 6), arp_spa=_int(h, 14, 4))
        p.put(arp_tha=_int(h, 18, 6), arp_tpa=_int(h, 24, 4))
    p.ends_after(size)
    p.at += size


# -- IP -------------------------------------------------------------------------------------------


def _ipv4(p: _Packet) -> int:
    """Returns the protocol of what follows."""
    h = p.whole(20, "trunc_ip4")
    if h[0] >> 4 != 4:
        raise _Stop("bad_version")
    ihl = h[0] & 15
    if ihl < 5:
        raise _Stop("bad_ihl")
    h = p.whole(ihl * 4, "trunc_ip4")
    total, fragment = _int(h, 2, 2), _int(h, 6, 2)
    flags, offset = fragment >> 13, fragment & 0x1FFF
    p.put(ip_version=4, ip_dscp=h[1] >> 2, ip_ecn=h[1] & 3, ip_len=total, ip_ttl=h[8])
    p.put(ip_proto=h[9], ip_ihl=ihl, ip_id=_int(h, 4, 2), ip_flags=flags, ip_frag_off=offset)
    p.put(ip_checksum=_int(h, 10, 2), ip_src=_int(h, 12, 4), ip_dst=_int(h, 16, 4))
    p.put(l3_len=ihl * 4)
    p.ptype_l3 = PTYPE_L3["ip4" if ihl == 5 else "ip4_options"]
    fits = ihl * 4 <= total <= p.end - p.at
    if fits:
        p.ends_after(total)
    p.at += ihl * 4
    if not fits:
        raise _Stop("bad_ip_len")
    _fragment(p, offset, more=flags & 1 == 1)
    return h[9]


def _fragment(p: _Packet, offset: int, more: bool) -> None:
    """What a fragment's place says; only the first one has the headers above IP."""
    if offset:
        p.put(frag=2 if more else 3)
        p.ptype_l4 = PTYPE_L4["frag"]
        raise _Stop
    if more:
        p.put(frag=1)
        p.first_fragment = True


def _ipv6(p: _Packet) -> int:
    h = p.whole(40, "trunc_ip6")
    if h[0] >> 4 != 6:
        raise _Stop("bad_version")
    traffic_class, length, follows = _int(h, 0, 2) >> 4 & 0xFF, _int(h, 4, 2), h[6]
    p.put(ip_version=6, ip_dscp=traffic_class >> 2, ip_ecn=traffic_class & 3, ip_ttl=h[7])
    p.put(ip_len=min(length + 40, 0xFFFF), ip_proto=follows, ip6_next=follows)
    p.put(ip6_flow_label=_int(h, 0, 4) & 0xFFFFF)
    p.put(ip6_src_hi=_int(h, 8, 8), ip6_src_lo=_int(h, 16, 8))
    p.put(ip6_dst_hi=_int(h, 24, 8), ip6_dst_lo=_int(h, 32, 8))
    p.put(l3_len=40)
    p.ptype_l3 = PTYPE_L3["ip6"]
    p.at += 40
    # A jumbogram (RFC 2675) has the length 0 and its real one in a hop-by-hop option: it ends with
    # the frame.
    if length or follows != 0:
        if length > p.end - p.at:
            raise _Stop("bad_ip_len")
        p.ends_after(length)
    for count in range(1, MAX_EXT + 2):
        if follows not in EXTENSIONS:
            return follows
        if count > MAX_EXT:
            raise _Stop("many_ext")
        follows = _extension(p, follows, count)
    raise AssertionError


def _extension(p: _Packet, this: int, count: int) -> int:
    h = p.whole(8, "trunc_ext")
    if this == 44:
        size = 8
    elif this == 51:
        size = (h[1] + 2) * 4
        if size < 12:
            raise _Stop("trunc_ext")
    else:
        size = (h[1] + 1) * 8
    h = p.whole(size, "trunc_ext")
    p.at += size
    p.put(ip6_ext=count, ip_proto=h[0], l3_len=p.columns["l3_len"] + size)
    p.ptype_l3 = PTYPE_L3["ip6_ext"]
    if this == 51:
        p.put(ipsec_spi=_int(h, 4, 4), ipsec_seq=_int(h, 8, 4))
    if this == 44:
        fragment = _int(h, 2, 2)
        p.put(ip6_frag_off=fragment >> 3, ip6_frag_id=_int(h, 4, 4))
        _fragment(p, fragment >> 3, more=fragment & 1 == 1)
    return h[0]


# -- above IP -------------------------------------------------------------------------------------


def _transport(p: _Packet, proto: int, version: int) -> None:
    if proto == 6:
        _tcp(p)
    elif proto == 17:
        _udp(p)
    elif proto == (1 if version == IPV4 else 58):
        _icmp(p, version)
    elif proto == 132:
        _sctp(p)
    elif proto in (50, 51):
        _ipsec(p, proto)
    elif proto == 47:
        _gre(p)
    elif proto in (4, 41):
        _tunnel(p, IP_IN_IP, 0, 0, IPV4 if proto == 4 else IPV6)
    elif proto != 59 and not p.first_fragment:  # 59: nothing follows
        p.ptype_l4 = PTYPE_L4["other"]


def _tcp(p: _Packet) -> None:
    h = p.whole(20, "trunc_l4")
    p.ptype_l4 = PTYPE_L4["tcp"]
    p.put(l4_src=_int(h, 0, 2), l4_dst=_int(h, 2, 2), tcp_seq=_int(h, 4, 4))
    p.put(tcp_ack=_int(h, 8, 4), tcp_flags=_int(h, 12, 2) & 0xFFF, tcp_window=_int(h, 14, 2))
    p.put(tcp_checksum=_int(h, 16, 2), tcp_urgent=_int(h, 18, 2))
    size = (h[12] >> 4) * 4
    if size < 20 or size > p.end - p.at:
        p.put(l4_len=20)
        p.at += 20
        raise _Stop("bad_doff")
    p.put(l4_len=size)
    p.at += size


def _udp(p: _Packet) -> None:
    h = p.whole(8, "trunc_l4")
    p.ptype_l4 = PTYPE_L4["udp"]
    port, length = _int(h, 2, 2), _int(h, 4, 2)
    p.put(l4_src=_int(h, 0, 2), l4_dst=port, udp_len=length, udp_checksum=_int(h, 6, 2), l4_len=8)
    fits = length >= 8 and (length <= p.end - p.at or p.first_fragment)
    if fits:
        p.ends_after(length)
    p.at += 8
    if not fits:
        raise _Stop("bad_udp_len")
    tunnels = {2152: _gtpu, 4789: _vxlan, 6081: _geneve}
    if port in tunnels:
        tunnels[port](p)


def _icmp(p: _Packet, version: int) -> None:
    # All ICMP messages have 8 bytes; of ICMPv6's, echoes have.
    size = 4
    if version == IPV4 or p.whole(4, "trunc_l4")[0] in (128, 129):
        size = 8
    h = p.whole(size, "trunc_l4")
    p.ptype_l4 = PTYPE_L4["icmp"]
    p.put(icmp_type=h[0], icmp_code=h[1], l4_len=size)
    if h[0] in ((0, 8) if version == IPV4 else (128, 129)):
        p.put(icmp_id=_int(h, 4, 2), icmp_seq=_int(h, 6, 2))
    p.at += size


def _sctp(p: _Packet) -> None:
    h = p.whole(12, "trunc_l4")
    p.ptype_l4 = PTYPE_L4["sctp"]
    p.put(l4_src=_int(h, 0, 2), l4_dst=_int(h, 2, 2), sctp_tag=_int(h, 4, 4))
    p.put(sctp_checksum=_int(h, 8, 4), l4_len=12)
    p.at += 12


def _ipsec(p: _Packet, proto: int) -> None:
    """ESP, whose payload is encrypted, and AH over IPv4."""
    size = 8
    if proto == 51:
        size = (p.whole(12, "trunc_l4")[1] + 2) * 4
        if size < 12:
            raise _Stop("trunc_l4")
    h = p.whole(size, "trunc_l4")
    at = 4 if proto == 51 else 0
    p.put(ipsec_spi=_int(h, at, 4), ipsec_seq=_int(h, at + 4, 4), l4_len=size)
    p.at += size


# -- tunnels --------------------------------------------------------------------------------------


def _tunnel(p: _Packet, kind: int, number: int, size: int, inner: int) -> None:
    """A tunnel header of `size` bytes, and what it says about the packet in it."""
    p.at += size
    p.ptype_tunnel = PTYPE_TUNNEL[kind]
    p.put(tunnel=kind, tunnel_id=number)
    if inner and p.at < p.end:
        p.put(inner_kind=inner, inner_off=p.at, inner_len=min(p.end - p.at, 0xFFFF))


def _gre(p: _Packet) -> None:
    """RFC 2784 and 2890; version 1 is PPTP's (RFC 2637)."""
    h = p.whole(4, "trunc_tunnel")
    flags = _int(h, 0, 2)
    checksum, routing, key, sequence = (flags >> bit & 1 for bit in (15, 14, 13, 12))
    version = flags & 7
    if version > 1 or routing:  # RFC 1701's routing is no more
        raise _Stop("bad_tunnel")
    acknowledgement = flags >> 7 & 1 if version == 1 else 0
    size = 4 + 4 * (checksum + key + sequence + acknowledgement)
    h = p.whole(size, "trunc_tunnel")
    number = _int(h, 4 + 4 * checksum, 4) if key else 0
    p.put(l4_len=size)
    _tunnel(p, GRE, number, size, INNER.get(_int(h, 2, 2), 0) if version == 0 else 0)


def _vxlan(p: _Packet) -> None:
    """RFC 7348. Without the I flag it is none."""
    h = p.whole(8, "trunc_tunnel")
    if h[0] & 8:
        _tunnel(p, VXLAN, _int(h, 4, 3), 8, ETHERNET)


def _geneve(p: _Packet) -> None:
    """RFC 8926. Another version is none."""
    h = p.whole(8, "trunc_tunnel")
    if h[0] >> 6 == 0:
        size = 8 + 4 * (h[0] & 63)
        h = p.whole(size, "trunc_tunnel")
        _tunnel(p, GENEVE, _int(h, 4, 3), size, INNER.get(_int(h, 2, 2), 0))


def _gtpu(p: _Packet) -> None:
    """3GPP TS 29.281. What is not GTP version 1 with protocol type 1 is none."""
    h = p.whole(8, "trunc_tunnel")
    if h[0] >> 4 != 3:
        return
    size = 8
    if h[0] & 7:  # extension headers, sequence number, N-PDU number: room for all three
        h = p.whole(12, "trunc_tunnel")
        size = 12
        follows = h[11] if h[0] & 4 else 0
        count = 0
        while follows:
            units = p.whole(size + 1, "trunc_tunnel")[size]
            if units == 0 or count == MAX_EXT:
                raise _Stop("bad_tunnel")
            h = p.whole(size + 4 * units, "trunc_tunnel")
            follows = h[-1]
            size += 4 * units
            count += 1
    inner = 0
    if h[1] == 255:  # a user's packet, which says its version itself
        p.at += size
        version = _version(p)
        p.at -= size
        inner = version if version in (IPV4, IPV6) else 0
    _tunnel(p, GTPU, _int(h, 4, 4), size, inner)


# -- one packet -----------------------------------------------------------------------------------


def parse(
    frame: bytes,
    *,
    start: int = ETHERNET,
    begin: int = 0,
    end: int | None = None,
    in_port: int = 65535,
    rx_time: int = 0,
    key: bytes = RSS_KEY,
) -> dict[str, int]:
    """All columns of the packet at ``frame[begin:end]``, which begins as `start` says.

    `key` is flow_hash's, of 40 bytes.
    """
    end = len(frame) if end is None else end
    p = _Packet(frame, begin, end)
    p.put(wire_len=end - begin, in_port=in_port, rx_time=rx_time)
    try:
        ethertype = _ethernet(p) if start == ETHERNET else 0x0800 if start == IPV4 else 0x86DD
        if ethertype == 0x0806:
            _arp(p)
        elif ethertype == 0x0800:
            _transport(p, _ipv4(p), IPV4)
        elif ethertype == 0x86DD:
            _transport(p, _ipv6(p), IPV6)
    except _Stop as stop:
        if stop.args:
            p.put(error=_ERROR[stop.args[0]])
    p.put(payload_off=p.at, payload_len=min(max(p.end - p.at, 0), 0xFFFF))
    p.put(ptype=p.ptype_l2 | p.ptype_l3 | p.ptype_l4 | p.ptype_tunnel)
    c = p.columns
    p.put(ip_csum=ip_csum(frame, c, begin), l4_csum=l4_csum(frame, c, begin))
    p.put(flow_hash=flow_hash(c, key), flow_hash_sym=flow_hash(c, SYMMETRIC_KEY))
    return c


def parse_inner(frame: bytes, outer: dict[str, int], **kwargs: Any) -> dict[str, int]:
    """The columns of the packet in `outer`'s tunnel; all 0 if there is none."""
    if outer["inner_kind"] == 0:
        return dict.fromkeys(_DTYPE, 0)
    begin = outer["inner_off"]
    end = begin + outer["inner_len"]
    return parse(frame, start=outer["inner_kind"], begin=begin, end=end, **kwargs)


def as_arrays(rows: Sequence[dict[str, int]]) -> dict[str, NDArray[Any]]:
    """Rows as columns, of the table's dtypes. A value that does not fit is an OverflowError."""
    return {name: np.array([r[name] for r in rows], dtype) for name, dtype in _DTYPE.items()}


def parse_frames(frames: Sequence[bytes], **kwargs: Any) -> dict[str, NDArray[Any]]:
    """{column: array of len(frames)}; keywords are those of `parse`."""
    return as_arrays([parse(frame, **kwargs) for frame in frames])


# -- computed columns -----------------------------------------------------------------------------


def ones_sum(data: bytes) -> int:
    """RFC 1071: the ones' complement sum of 16-bit words; an odd byte has a zero after it."""
    total = 0
    for at in range(0, len(data), 2):
        total += _int(data[at : at + 2].ljust(2, b"\0"), 0, 2)
        total = (total & 0xFFFF) + (total >> 16)
    return total


def crc32c(data: bytes) -> int:
    """RFC 9260, appendix A: CRC32c, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _verdict(right: bool) -> int:
    return 1 if right else 2


def ip_csum(frame: bytes, c: dict[str, int], begin: int) -> int:
    if c["ip_version"] != 4:
        return 0
    at = begin + c["l2_len"]
    return _verdict(ones_sum(frame[at : at + c["ip_ihl"] * 4]) == 0xFFFF)


def l4_csum(frame: bytes, c: dict[str, int], begin: int) -> int:
    """Over the transport header and all that its datagram has, by IP's or UDP's length."""
    l3 = begin + c["l2_len"]
    l4, end = l3 + c["l3_len"], c["payload_off"] + c["payload_len"]
    proto, version = c["ip_proto"], c["ip_version"]
    malformed = c["error"] not in (0, _ERROR["trunc_tunnel"], _ERROR["bad_tunnel"])
    if c["l4_len"] == 0 or c["frag"] or malformed or end - l4 > 0xFFFF:
        return 0
    data = frame[l4:end]
    if proto == 132:
        stored = int.from_bytes(data[8:12], "little")
        return _verdict(crc32c(data[:8] + bytes(4) + data[12:]) == stored)
    if proto == 1 and version == 4:
        return _verdict(ones_sum(data) == 0xFFFF)
    if proto not in (6, 17) and (proto, version) != (58, 6):
        return 0
    if proto == 17 and data[6:8] == bytes(2):
        return 0 if version == 4 else 2  # RFC 8200, 8.1: IPv6 has no UDP without a checksum
    if _rerouted(frame, c, l3, l4):
        return 0
    pseudo = frame[l3 + 12 : l3 + 20] if version == 4 else frame[l3 + 8 : l3 + 40]
    pseudo += (end - l4).to_bytes(4, "big") + proto.to_bytes(4, "big")
    return _verdict(ones_sum(pseudo + data) == 0xFFFF)


def _rerouted(frame: bytes, c: dict[str, int], l3: int, l4: int) -> bool:
    """Does a routing header have places to go to yet? The sum is over the last one's address."""
    if c["ip_version"] == 4:
        options = frame[l3 + 20 : l4]
        while len(options) > 2 and options[0] != 0:
            if options[0] == 1:
                options = options[1:]
                continue
            size, pointer = options[1], options[2]
            if options[0] in (131, 137):  # loose and strict source route (RFC 791)
                return pointer <= size
            options = options[max(size, 2) :]
        return False
    at, this = l3 + 40, c["ip6_next"]
    while at < l4:
        if this == 43:
            return frame[at + 3] != 0
        units = frame[at + 1]
        at_next = at + (8 if this == 44 else (units + 2) * 4 if this == 51 else (units + 1) * 8)
        this, at = frame[at], at_next
    return False


def toeplitz(data: bytes, key: bytes) -> int:
    """For each bit of the data that is 1: the 32 bits of the key that begin where it stands."""
    out = 0
    bits = int.from_bytes(key, "big")
    for at in range(len(data) * 8):
        if data[at // 8] >> (7 - at % 8) & 1:
            out ^= bits >> (len(key) * 8 - 32 - at) & 0xFFFFFFFF
    return out


def flow_hash(c: dict[str, int], key: bytes) -> int:
    """Addresses, then ports of TCP, UDP and SCTP; a fragment has none, not even the first one."""
    if c["ip_version"] == 4:
        data = c["ip_src"].to_bytes(4, "big") + c["ip_dst"].to_bytes(4, "big")
    elif c["ip_version"] == 6:
        halves = ("ip6_src_hi", "ip6_src_lo", "ip6_dst_hi", "ip6_dst_lo")
        data = b"".join(c[name].to_bytes(8, "big") for name in halves)
    else:
        return 0
    if c["ip_proto"] in (6, 17, 132) and not c["frag"]:
        data += c["l4_src"].to_bytes(2, "big") + c["l4_dst"].to_bytes(2, "big")
    return toeplitz(data, key)
