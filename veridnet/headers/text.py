"""Header columns as text, as tshark writes fields: which rows have a value, and how it looks."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from veridnet._native.table import Format
from veridnet.errors import ConfigError
from veridnet.headers import match
from veridnet.headers.fields import BY_NAME, ERRORS, FIELDS, GROUPS
from veridnet.headers.source import INDEX

#: Match expressions: rows whose packet has what a column tells of. Columns hold 0 for all others.
TCP, UDP = "ptype & 0xf00 == 0x100", "ptype & 0xf00 == 0x200"
SCTP, ICMP = "ptype & 0xf00 == 0x400", "ptype & 0xf00 == 0x500"
_ECHO = (
    f"l4_len and {ICMP} and "
    "(ip_version == 4 and icmp_type in {0, 8} or ip_version == 6 and icmp_type in {128, 129})"
)
_FRAGMENT6 = "ip_version == 6 and (frag or ip6_frag_id)"

#: By group, then by column where that says more. "": every row.
SHOWN_GROUP = {
    "frame": "",
    "eth": "l2_len",
    "vlan": "vlan_depth",
    "mpls": "mpls_depth",
    "arp": "ethertype == arp and (arp_op or arp_sha or arp_spa or arp_tha or arp_tpa)",
    "ip": "ip_version",
    "ipv4": "ip_version == 4",
    "ipv6": "ip_version == 6",
    "l4": "ptype & 0xf00 in {0x100, 0x200, 0x400}",
    "tcp": TCP,
    "udp": UDP,
    "sctp": SCTP,
    "icmp": ICMP,
    "ipsec": "ipsec_spi or ipsec_seq",
    "tunnel": "tunnel",
    "hash": "ip_version",
}
SHOWN = {
    "in_port": "in_port < 65535",
    "error": "error",
    "ethertype": "ethertype",
    "vlan2_id": "vlan_depth > 1",
    "vlan2_pcp": "vlan_depth > 1",
    "ip6_frag_off": _FRAGMENT6,
    "ip6_frag_id": _FRAGMENT6,
    "icmp_id": _ECHO,
    "icmp_seq": _ECHO,
    "inner_off": "inner_off",
    "inner_len": "inner_off",
    "inner_kind": "inner_off",
    "ip_csum": "ip_csum",
    "l4_csum": "l4_csum",
}

KIND = {
    "eth_dst": "mac", "eth_src": "mac", "arp_sha": "mac", "arp_tha": "mac",
    "ip_src": "ip4", "ip_dst": "ip4", "arp_spa": "ip4", "arp_tpa": "ip4",
    "ethertype": "hex", "error": "name",
}  # fmt: skip

#: Addresses that two columns hold.
PAIRS = {"ip6_src": ("ip6_src_hi", "ip6_src_lo"), "ip6_dst": ("ip6_dst_hi", "ip6_dst_lo")}

#: Fields that tshark prints in another form, or for other packets, than the column that says the
#: same: eth.type is the tag's for a frame with VLAN tags.
_OTHERWISE = {
    "eth.type", "vlan.etype", "ip.hdr_len", "ipv6.plen", "tcp.len",
    "esp.spi", "ah.spi", "esp.sequence", "ah.sequence",
    "vxlan.vni", "geneve.vni", "gtp.teid", "gre.key",
}  # fmt: skip


def _tshark() -> dict[str, str]:
    """The field table's first column for each of tshark's fields (vlan.id: the outer tag's)."""
    out: dict[str, str] = {}
    for field in FIELDS:
        for name in field.tshark.split(", "):
            if name and name not in _OTHERWISE and not name.endswith(".status"):
                out.setdefault(name, field.name)
    return out


#: tshark's names -> columns: all that are understood.
TSHARK = _tshark() | {
    "frame.number": "number", "frame.time_epoch": "rx_time", "ipv6.version": "ip_version",
    "ipv6.src": "ip6_src", "ipv6.dst": "ip6_dst",
}  # fmt: skip
#: What tshark writes in hexadecimal: how many digits.
HEX = {
    "ip.id": 4, "ip.flags": 2, "ip.checksum": 4, "ipv6.flow": 6, "ipv6.fraghdr.ident": 8,
    "tcp.flags": 4, "tcp.checksum": 4, "udp.checksum": 4, "sctp.verification_tag": 8,
    "sctp.checksum": 8, "icmpv6.echo.identifier": 4,
}  # fmt: skip
#: Whose fields a prefix of tshark's names means.
_OF = {
    "ip": "ip_version == 4", "ipv6": "ip_version == 6", "tcp": TCP, "udp": UDP, "sctp": SCTP,
    "icmp": f"ip_version == 4 and {ICMP}", "icmpv6": f"ip_version == 6 and {ICMP}",
    "vlan": "vlan_depth",
}  # fmt: skip

_WIDTH = {"mac": 17, "ip4": 15, "ip6": 39, "time": 20, "row": 8}
_DIGITS = {"uint8": 3, "uint16": 5, "uint32": 10, "uint64": 20}


@dataclass(frozen=True)
class Shown:
    """One column of the text.

    Attributes
    ----------
    heading
        As the user named it.
    column
        Of the field table; "" for the packet's number.
    low
        The column with the lower half of an IPv6 address, or "".
    kind, digits
        How it is written: see `veridnet._native.table.KINDS`.
    where
        Rows that have it, a match expression; "": all.
    """

    heading: str
    column: str
    low: str = ""
    kind: str = "number"
    digits: int = 0
    where: str = ""

    @property
    def width(self) -> int:
        """Characters of the longest value, or of the heading."""
        if self.kind == "name":
            most = max(len(name) for name, _ in ERRORS)
        elif self.kind == "hex":
            most = 2 + self.digits
        else:
            most = _WIDTH.get(self.kind) or _DIGITS[BY_NAME[self.column].dtype]
        return max(most, len(self.heading))


def of_column(name: str, heading: str = "") -> Shown:
    """One of our columns, as we write it."""
    heading = heading or name
    if name == "number":
        return Shown(heading, "", kind="row")
    if name in PAIRS:
        high, low = PAIRS[name]
        return Shown(heading, high, low, "ip6", where="ip_version == 6")
    where = SHOWN.get(name, SHOWN_GROUP.get(BY_NAME[name].group, ""))
    kind = KIND.get(name, "number")
    return Shown(heading, name, kind=kind, digits=4 if kind == "hex" else 0, where=where)


def of_tshark(name: str) -> Shown:
    """One of tshark's fields, as tshark writes it."""
    ours = of_column(TSHARK[name], name)
    kind, digits = ours.kind, ours.digits
    if name in HEX:
        kind, digits = "hex", HEX[name]
    elif name == "frame.time_epoch":
        kind = "time"
    # ip.version is tshark's for IPv6 too.
    more = "" if name == "ip.version" else _OF.get(name.partition(".")[0], "")
    where = " and ".join(f"({test})" for test in dict.fromkeys((ours.where, more)) if test)
    return Shown(name, ours.column, ours.low, kind, digits, where)


def choose(names: Iterable[str]) -> list[Shown]:
    """What the user asks for, in that order: columns, groups, tshark's fields, "number"."""
    found: list[Shown] = []
    for name in names:
        if name in GROUPS or name == "all":
            halves = {half: pair for pair, both in PAIRS.items() for half in both}
            members = [f.name for f in FIELDS if name in ("all", f.group)]
            found += map(of_column, dict.fromkeys(halves.get(m, m) for m in members))
        elif name in BY_NAME or name in PAIRS or name == "number":
            found.append(of_column(name))
        elif name in TSHARK:
            found.append(of_tshark(name))
        else:
            known = [*BY_NAME, *PAIRS, *GROUPS, *TSHARK, "number", "all"]
            from veridnet.headers import hints

            near = difflib.get_close_matches(name, known, 3)
            if name.lower() in hints.NAMES_OF:
                near = [hints.NAMES_OF[name.lower()]]
            elif name.lower() in hints.FIELDS_OF_TWO:
                near = [",".join(hints.FIELDS_OF_TWO[name.lower()])]
            raise ConfigError(
                f"there is no column, group or tshark field {name!r}",
                hint=f"did you mean {' or '.join(near)}?" if near else "veridnet headers --columns",
            )
    if not found:
        raise ConfigError("no columns", hint="as --fields ip_src,ip_dst,l4_dst")
    return found


def needs(shown: Sequence[Shown]) -> set[str]:
    """The columns that must be parsed for these."""
    out = {name for s in shown for name in (s.column, s.low) if name}
    for s in shown:
        if s.where:
            out |= match.columns(match.parse(s.where))
    return out


#: Around a value: before, after, and what stands where there is none.
Around = tuple[bytes, bytes, bytes]


def make_format(shown: Sequence[Shown], around: Callable[[int, Shown], Around],
                width: Callable[[Shown], int] = lambda s: 0) -> Format:  # fmt: skip
    """The native form of a choice: around(k, shown) says what stands around the k-th value."""
    tests = list(dict.fromkeys(s.where for s in shown if s.where))
    cells = [
        (
            s.kind,
            INDEX.get(s.column, 0),
            INDEX.get(s.low, 0) if s.low else INDEX.get(s.column, 0),
            s.digits,
            width(s),
            tests.index(s.where) if s.where else -1,
            *around(k, s),
        )
        for k, s in enumerate(shown)
    ]
    return Format(cells, [match.compile(test) for test in tests],
                  [name.encode() for name, _ in ERRORS])  # fmt: skip


def separated(shown: Sequence[Shown], separator: bytes) -> Format:
    """Values with a separator between, nothing where there is none, a line each."""
    last = len(shown) - 1

    def around(k: int, s: Shown) -> Around:
        after = b"\n" if k == last else separator
        return b"", after, after

    return make_format(shown, around)


def aligned(shown: Sequence[Shown]) -> Format:
    """Values in columns for reading."""
    last = len(shown) - 1

    def around(k: int, s: Shown) -> Around:
        after = b"\n" if k == last else b"  "
        return b"", after, b" " * (s.width if k != last else 0) + after

    return make_format(shown, around, lambda s: s.width)


def json_objects(shown: Sequence[Shown]) -> Format:
    """An object a row, each after a comma and a newline; null where there is none.

    Numbers are numbers, those that are written in hexadecimal too; the rest is text.
    """
    last = len(shown) - 1

    def around(k: int, s: Shown) -> Around:
        key = (b",\n{" if k == 0 else b",") + b'"%s":' % s.heading.encode()
        end = b"}" if k == last else b""
        quote = b'"' if s.kind in ("mac", "ip4", "ip6", "name") else b""
        return key + quote, quote + end, key + b"null" + end

    plain = [
        Shown(s.heading, s.column, s.low, "number" if s.kind == "hex" else s.kind, 0, s.where)
        for s in shown
    ]
    return make_format(plain, around)
