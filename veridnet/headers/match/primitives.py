"""pcap-filter's primitives as tests of columns, with libpcap's meaning.

A column sees through: ``ip_proto`` is the protocol behind tags, labels and extension headers. A
primitive does not: ``udp`` is UDP right behind an untagged IPv4 or IPv6 header (or one IPv6
fragment header). So each has its guards: ``vlan_depth`` and ``ethertype``, ``ip6_next``,
``ip_frag_off``.

``vlan``, ``mpls``, ``pppoes`` and ``geneve`` move the offsets of all that stands behind them in the
text. Where such a primitive certainly holds, the guards are of one more header. Where it may not
hold (behind "or" and "not"), libpcap reads other bytes than a header's, and so only a BPF program
says the same.

What holds of well-formed packets may not of malformed ones: libpcap finds a port in a TCP header
that is cut off after 4 bytes, where columns have none; and a load beyond the packet's end makes the
whole filter false, also a "not" of it. `Lower.doubts` are the rows for which that may matter.
"""

from __future__ import annotations

from collections.abc import Callable

from veridnet.errors import ConfigError
from veridnet.headers.match import layout
from veridnet.headers.match.columntests import between
from veridnet.headers.match.simplify import simplify
from veridnet.headers.match.syntax import Join, Neg, Prim, Syntax, pcap_only, pcap_text
from veridnet.headers.match.tree import (
    FALSE,
    And,
    Bpf,
    Node,
    Not,
    Test,
    all_of,
    any_of,
    leaves,
)

_SHIFTS = ("vlan", "mpls", "pppoes", "geneve")
#: What does not look behind the Ethernet addresses.
_FIXED = ("length", "mac", "ether_broadcast", "ether_multicast")
_VLAN_TYPES = (0x8100, 0x88A8, 0x9100)
#: Protocols that are IPv6 extension headers: `ip_proto` sees through them.
_EXTENSIONS = (0, 43, 44, 51, 60, 135, 139, 140)
_MPLS, _ARP, _RARP, _IP4, _IP6 = 0x8847, 0x0806, 0x8035, 0x0800, 0x86DD
_V4 = 0xFFFFFFFF

Known = frozenset[int]
#: First and last, or number and mask.
Pairs = tuple[tuple[int, int], ...]
_NOTHING: Known = frozenset()


class _Bytes(Exception):
    """No columns answer a primitive."""


class _Unsure(Exception):
    """A primitive stands behind one that moves offsets, and may not hold."""

    def __init__(self, prim: Prim) -> None:
        self.prim = prim


def is_(column: str, value: int) -> Test:
    """column == value."""
    return Test(column, layout.full(column), value, value)


def at_least(column: str, value: int) -> Test:
    """column >= value."""
    full = layout.full(column)
    return Test(column, full, value, full)


class Lower:
    """Turns one syntax tree into a tree of tests.

    Parameters
    ----------
    raw
        Leave everything that is pcap-filter's to BPF programs.
    """

    def __init__(self, text: str, raw: bool = False) -> None:
        self.text = text
        self.raw = raw
        self.doubts: dict[Node, None] = {}
        self.shifts: list[Prim] = []  # those passed so far, in the text's order

    # -- the tree ----------------------------------------------------------------------------------

    def whole(self, s: Syntax) -> Node:
        try:
            return simplify(self.part(s, _NOTHING)[0])
        except _Unsure as e:
            moves = e.prim.text
            shift = self.shifts[0].text if self.shifts else ""
            raise ConfigError(
                f"match, column {e.prim.at + 1}: {moves} stands behind {shift!r}, which may not "
                f"hold: pcap-filter would look for it {shift} further on all the same",
                hint="put it before, or write columns, which need no such order: vlan_id == 7",
            ) from None

    def part(self, s: Syntax, known: Known) -> tuple[Node, Known, Known]:
        """The tree, and which shifts hold where it is true, and where it is false."""
        if pcap_only(s):
            return self.pcap(s, known)
        if isinstance(s, Neg):
            node, yes, no = self.part(s.of, known)
            return Not(node), no, yes
        if isinstance(s, Join):
            return self.join(s, known)
        assert not isinstance(s, Prim)
        return s, _NOTHING, _NOTHING

    def join(self, s: Join, known: Known) -> tuple[Node, Known, Known]:
        """Of pcap-filter's parts and others. Neighbours of the first kind stay together."""
        runs: list[Syntax] = []
        for part in s.parts:
            if runs and pcap_only(part) and pcap_only(runs[-1]) and isinstance(runs[-1], Join):
                runs[-1] = Join(s.word, (*runs[-1].parts, part))
            else:
                runs.append(Join(s.word, (part,)) if pcap_only(part) else part)
        return self.parts(s.word, runs, known)

    def parts(self, word: str, parts: list[Syntax], known: Known) -> tuple[Node, Known, Known]:
        nodes, here = [], known
        out: list[tuple[Known, Known]] = []
        for part in parts:
            node, yes, no = self.part(part, here)
            nodes.append(node)
            out.append((yes, no))
            here |= yes if word == "and" else no
        every: Known = frozenset().union(*(yes if word == "and" else no for yes, no in out))
        some = out[0][1 if word == "and" else 0]
        for yes, no in out[1:]:
            some &= no if word == "and" else yes
        return (all_of(nodes), every, some) if word == "and" else (any_of(nodes), some, every)

    def pcap(self, s: Syntax, known: Known) -> tuple[Node, Known, Known]:
        """What is pcap-filter's only.

        Its "and"s are answered one by one: a load beyond the end makes each of them false. What
        needs a BPF program otherwise is one program, of which a failing load makes all false.
        """
        before = len(self.shifts)
        doubts = dict(self.doubts)
        try:
            if self.raw:
                raise _Bytes
            if isinstance(s, Join) and s.word == "and" and len(s.parts) > 1:
                return self.parts("and", list(s.parts), known)
            node, yes, no = self.strict(s, known)
            if not any(isinstance(leaf, Bpf) for leaf in leaves(node)):
                return node, yes, no
        except (_Unsure, _Bytes):
            pass
        del self.shifts[before:]
        self.doubts = doubts
        for place in range(before):
            if place not in known:
                raise _Unsure(_first(s))
        return self.program(s, before)

    def program(self, s: Syntax, before: int) -> tuple[Node, Known, Known]:
        """One BPF program for all of it."""
        context = [prim.text for prim in self.shifts[:before]]
        text = pcap_text(s.parts[0] if isinstance(s, Join) and len(s.parts) == 1 else s)
        yes, no = self.skip(s)
        joined = " and ".join([*context, f"({text})"]) if context else text
        return Bpf(joined), yes, no

    def skip(self, s: Syntax) -> tuple[Known, Known]:
        """Passes the shifts of what is not looked at: which hold where it is true, and false."""
        if isinstance(s, Prim):
            if s.kind not in _SHIFTS:
                return _NOTHING, _NOTHING
            self.shifts.append(s)
            return frozenset({len(self.shifts) - 1}), _NOTHING
        if isinstance(s, Neg):
            yes, no = self.skip(s.of)
            return no, yes
        assert isinstance(s, Join)
        both = [self.skip(part) for part in s.parts]
        ends = (0, 1) if s.word == "and" else (1, 0)
        every: Known = frozenset().union(*(one[ends[0]] for one in both))
        some = both[0][ends[1]].intersection(*(one[ends[1]] for one in both))
        return (every, some) if s.word == "and" else (some, every)

    def strict(self, s: Syntax, known: Known) -> tuple[Node, Known, Known]:
        """Tests only; a part that needs bytes is a `Bpf` in the tree."""
        if isinstance(s, Neg):
            node, yes, no = self.strict(s.of, known)
            return Not(node), no, yes
        if isinstance(s, Join):
            nodes, here = [], known
            out: list[tuple[Known, Known]] = []
            for part in s.parts:
                node, yes, no = self.strict(part, here)
                nodes.append(node)
                out.append((yes, no))
                here |= yes if s.word == "and" else no
            every: Known = frozenset().union(*(o[s.word == "or"] for o in out))
            some = out[0][s.word == "and"].intersection(*(o[s.word == "and"] for o in out))
            if s.word == "and":
                return all_of(nodes), every, some
            return any_of(nodes), some, every
        assert isinstance(s, Prim)
        return self.primitive(s, known)

    def primitive(self, p: Prim, known: Known) -> tuple[Node, Known, Known]:
        if p.kind not in _FIXED and not (p.kind == "relation" and p.args[0][0] in ("len", "ether")):
            for place in range(len(self.shifts)):
                if place not in known:
                    raise _Unsure(p)
        answer: Callable[..., Node] = getattr(self, f"of_{p.kind}")
        if p.kind not in _FIXED and any(
            shift.kind in ("pppoes", "geneve") for shift in self.shifts
        ):
            raise _Bytes
        node = answer(*p.args)
        if p.kind != "length" and not (p.kind == "relation" and p.args[0][0] == "len"):
            self.doubts[at_least("error", 1)] = None
        if p.kind in _SHIFTS:
            self.shifts.append(p)
            return node, frozenset({len(self.shifts) - 1}), _NOTHING
        return node, _NOTHING, _NOTHING

    # -- guards ------------------------------------------------------------------------------------

    def count(self, kind: str) -> int:
        """How many of a kind came before."""
        return sum(shift.kind == kind for shift in self.shifts)

    def link(self, ethertype: int) -> list[Node]:
        """Is this what follows?"""
        labels = self.count("mpls")
        if labels:
            if ethertype not in (_IP4, _IP6):
                raise ConfigError(
                    f"match: {self.text!r}: behind mpls, only ip and ip6 can be told apart"
                )
            self.doubts[And((is_("mpls_depth", labels), is_("ip_version", 0)))] = None
            return [is_("mpls_depth", labels), is_("ip_version", 4 if ethertype == _IP4 else 6)]
        if ethertype < 0x600 or ethertype in _VLAN_TYPES:
            raise _Bytes
        return [is_("vlan_depth", self.count("vlan")), is_("ethertype", ethertype)]

    def exotic_arp(self) -> None:
        """ARP of other than Ethernet and IPv4 has no columns, but bytes at their place."""
        names = ("arp_sha", "arp_spa", "arp_tha", "arp_tpa")
        self.doubts[And((is_("ethertype", _ARP), *(is_(name, 0) for name in names)))] = None

    # -- primitives --------------------------------------------------------------------------------

    def of_bytes(self) -> Node:
        raise _Bytes

    def of_length(self, lo: int, hi: int) -> Node:
        return FALSE if lo > hi else Test("wire_len", _V4, lo, hi)

    def of_ethertype(self, ethertype: int) -> Node:
        return all_of(self.link(ethertype))

    def of_ether_broadcast(self) -> Node:
        return is_("eth_dst", (1 << 48) - 1)

    def of_ether_multicast(self) -> Node:
        return Test("eth_dst", 1 << 40, 1 << 40, 1 << 40)

    def of_ip_multicast(self) -> Node:
        return all_of([*self.link(_IP4), Test("ip_dst", _V4, 0xE0000000, _V4)])

    def of_ip6_multicast(self) -> Node:
        full = (1 << 64) - 1
        return all_of([*self.link(_IP6), Test("ip6_dst_hi", full, 0xFF << 56, full)])

    def of_mac(self, direction: str, number: int) -> Node:
        return _ends(direction, "eth_src", "eth_dst", lambda column: is_(column, number))

    def of_protocol(self, *versions: tuple[int, int]) -> Node:
        ways: list[Node] = []
        for version, number in versions:
            if version == 4:
                ways.append(all_of([*self.link(_IP4), is_("ip_proto", number)]))
                continue
            guard = self.link(_IP6)
            ways.append(all_of([*guard, is_("ip6_next", number)]))
            if number in _EXTENSIONS and number != 44:
                raise _Bytes
            if number != 44:
                ways.append(all_of([*guard, is_("ip6_next", 44), is_("ip6_ext", 1),
                                    is_("ip_proto", number)]))  # fmt: skip
        return any_of(ways)

    def of_port(self, protos: tuple[int, ...], direction: str, ranges: Pairs) -> Node:
        ports = _ends(direction, "l4_src", "l4_dst", lambda column: _in_ranges(column, ranges))
        four = [any_of([is_("ip_proto", proto) for proto in protos]), is_("ip_frag_off", 0)]
        six = any_of([is_("ip6_next", proto) for proto in protos])
        return any_of([all_of([*self.link(_IP4), *four, ports]),
                       all_of([*self.link(_IP6), six, ports])])  # fmt: skip

    def of_host4(self, proto: str, direction: str, members: Pairs) -> Node:
        def ends(src: str, dst: str) -> Node:
            return _ends(direction, src, dst, lambda column: _in_masks(column, members))

        if proto == "rarp":
            raise _Bytes
        ways: list[Node] = []
        if proto in ("", "ip"):
            ways.append(all_of([*self.link(_IP4), ends("ip_src", "ip_dst")]))
        if proto == "arp" or (not proto and not self.count("mpls")):
            self.exotic_arp()
            ways.append(all_of([*self.link(_ARP), ends("arp_spa", "arp_tpa")]))
        if not proto and not self.count("mpls"):
            self.doubts[is_("ethertype", _RARP)] = None
        return any_of(ways)

    def of_host6(self, direction: str, members: Pairs) -> Node:
        def inside(column: str) -> Node:
            return any_of([between(column, lo, hi) for lo, hi in members])

        return all_of([*self.link(_IP6), _ends(direction, "ip6_src", "ip6_dst", inside)])

    def of_vlan(self, number: int | None) -> Node:
        if self.count("mpls"):
            raise ConfigError(f"match: {self.text!r}: there is no vlan behind mpls")
        tags = self.count("vlan")
        depth = at_least("vlan_depth", tags + 1)
        if number is None:
            return depth
        if tags > 1:
            raise _Bytes
        return And((depth, is_(("vlan_id", "vlan2_id")[tags], number)))

    def of_mpls(self, number: int | None) -> Node:
        labels = self.count("mpls")
        if labels:
            if number is not None:
                raise _Bytes
            return at_least("mpls_depth", labels + 1)
        guard = self.link(_MPLS)
        return all_of(guard if number is None else [*guard, is_("mpls_label", number)])

    def of_pppoes(self, number: int | None) -> Node:
        if number is not None:
            raise _Bytes
        return all_of(self.link(0x8864))

    def of_geneve(self, number: int | None) -> Node:
        raise _Bytes

    def of_relation(
        self, load: tuple[str, int, int], mask: int, shift: int, operator: str, value: int
    ) -> Node:
        node = layout.test(load, mask, shift, operator, value)
        proto = load[0]
        if node is None:
            raise _Bytes
        if proto in ("len", "ether"):
            return node
        if proto in ("ip", "ip6", "arp"):
            if proto == "arp":
                self.exotic_arp()
            guard = self.link({"ip": _IP4, "ip6": _IP6, "arp": _ARP}[proto])
        elif proto == "icmp6":
            guard = [*self.link(_IP6), is_("ip6_next", 58)]
        else:
            number = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1}[proto]
            guard = [*self.link(_IP4), is_("ip_proto", number), is_("ip_frag_off", 0)]
        return all_of([*guard, node])


def _ends(direction: str, src: str, dst: str, test: Callable[[str], Node]) -> Node:
    if direction in ("src", "dst"):
        return test(src if direction == "src" else dst)
    join = all_of if direction == "src and dst" else any_of
    return join([test(src), test(dst)])


def _in_ranges(column: str, ranges: Pairs) -> Node:
    out: list[tuple[int, int]] = []
    for lo, hi in sorted(ranges):
        if out and lo <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], hi))
        else:
            out.append((lo, hi))
    return any_of([Test(column, layout.full(column), lo, hi) for lo, hi in out])


def _in_masks(column: str, members: Pairs) -> Node:
    prefixes, others = [], []
    for number, mask in members:
        rest = mask ^ _V4
        if rest & (rest + 1) == 0:
            prefixes.append((number, number | rest))
        else:
            others.append(Test(column, mask, number, number))
    return any_of([*([_in_ranges(column, tuple(prefixes))] if prefixes else []), *others])


def _first(s: Syntax) -> Prim:
    while not isinstance(s, Prim):
        s = s.of if isinstance(s, Neg) else s.parts[0]  # type: ignore[union-attr]
    return s
