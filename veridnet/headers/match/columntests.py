"""Comparisons of columns: ``ip_ttl < 5``, ``l4_dst in {80, 443}``, ``tcp_flags & syn``."""

from __future__ import annotations

import difflib
import ipaddress
from types import ModuleType

from veridnet.headers import constants
from veridnet.headers.fields import BY_NAME, ERRORS
from veridnet.headers.match.lexer import Lexer
from veridnet.headers.match.sets import loop_of, of_set
from veridnet.headers.match.tree import And, Node, Not, Or, Test
from veridnet.headers.values import mac

#: Words that are values.
NAMES = {
    name.lower(): value
    for name, value in vars(constants).items()
    if name.isupper() and isinstance(value, int)
}
NAMES |= {"ipv4": 0x0800, "ipv6": 0x86DD, "arp": 0x0806}
NAMES |= {name: number for number, (name, _) in enumerate(ERRORS)}

WIDE = {"ip6_src": ("ip6_src_hi", "ip6_src_lo"), "ip6_dst": ("ip6_dst_hi", "ip6_dst_lo")}
KEYWORDS = {"and", "or", "not", "in"}
_ONES = (1 << 64) - 1
_HOLDERS = {
    "mac": ("eth_dst", "eth_src", "arp_sha", "arp_tha"),
    "ip4": ("ip_src", "ip_dst", "arp_spa", "arp_tpa"),
    "ip6": ("ip6_src", "ip6_dst"),
}


#: Column of IP addresses -> a column of the other family; and the family of each.
_OTHER = {"ip_src": "ip6_src", "ip_dst": "ip6_dst", "ip6_src": "ip_src", "ip6_dst": "ip_dst"}
_OTHER |= {"arp_spa": "ip6_src", "arp_tpa": "ip6_dst"}
_FAMILY = {column: kind for kind in ("ip4", "ip6") for column in _HOLDERS[kind]}


def hints() -> ModuleType:
    """`veridnet.headers.hints`, which only errors need."""
    from veridnet.headers import hints as module

    return module


def bits(column: str) -> int:
    """How many a column has."""
    return 128 if column in WIDE else int(BY_NAME[column].dtype.removeprefix("uint"))


def between(column: str, lo: int, hi: int) -> Node:
    """lo..hi of 128 bits, by the two halves of 64."""
    upper, lower = WIDE[column]
    lo_hi, lo_lo, hi_hi, hi_lo = lo >> 64, lo & _ONES, hi >> 64, hi & _ONES
    if lo_hi == hi_hi:
        first = Test(upper, _ONES, lo_hi, lo_hi)
        if (lo_lo, hi_lo) == (0, _ONES):
            return first
        return And((first, Test(lower, _ONES, lo_lo, hi_lo)))
    ways: list[Node] = []
    if lo_lo:
        ways.append(And((Test(upper, _ONES, lo_hi, lo_hi), Test(lower, _ONES, lo_lo, _ONES))))
        lo_hi += 1
    if hi_lo != _ONES:
        ways.append(And((Test(upper, _ONES, hi_hi, hi_hi), Test(lower, _ONES, 0, hi_lo))))
        hi_hi -= 1
    if lo_hi <= hi_hi:
        ways.append(Test(upper, _ONES, lo_hi, hi_hi))
    return ways[0] if len(ways) == 1 else Or(tuple(ways))


def inside(column: str, mask: int, lo: int, hi: int) -> Node:
    """A test of a column, which may be both halves of an IPv6 address."""
    return between(column, lo, hi) if column in WIDE else Test(column, mask, lo, hi)


class ColumnTests(Lexer):
    """The grammar's part of columns."""

    sets: dict[str, tuple[str, ...]]

    def column_test(self) -> Node:
        _, text, at = self.token
        column = text.lower()
        self.at += 1
        mask = (1 << bits(column)) - 1
        masked = False
        if self.take("&"):
            if column in WIDE:
                self.fail(at, f"& is not for {column}; it is for its halves, {column}_hi and _lo")
            mask, masked = self.value(column, "value"), True
        if operator := self.take("==", "=", "!=", "<", "<=", ">", ">="):
            return self.compare(column, mask, operator)
        negated = bool(self.take("not"))
        if self.take("in"):
            node = self.members(column, mask)
            return Not(node) if negated else node
        if negated:
            self.fail(self.token.at, f"in is missing before {self.token.text}")
        if masked or column not in WIDE:
            return Not(Test(column, mask, 0, 0))
        return Not(between(column, 0, 0))

    def compare(self, column: str, mask: int, operator: str) -> Node:
        at = self.token.at
        top = (1 << bits(column)) - 1
        if operator in ("==", "=", "!="):
            node = self.one_of(column, mask)
            return Not(node) if operator == "!=" else node
        lo, hi = self.range(column)
        if lo != hi:
            self.fail(at, f"{operator} takes one value")
        if operator == "<":
            lo, hi = 0, lo - 1
        elif operator == "<=":
            lo, hi = 0, lo
        elif operator == ">":
            lo, hi = lo + 1, top
        else:
            lo, hi = lo, top
        if lo > hi or hi < 0:  # nothing is
            return Not(Test(next(iter(WIDE.get(column, (column,)))), 0, 0, 0))
        return inside(column, mask, lo, hi)

    def members(self, column: str, mask: int) -> Node:
        if not self.take("{"):
            return self.one_of(column, mask)
        nodes = [self.one_of(column, mask)]
        while self.take(","):
            nodes.append(self.one_of(column, mask))
        self.need("}")
        return nodes[0] if len(nodes) == 1 else Or(tuple(nodes))

    def one_of(self, column: str, mask: int) -> Node:
        """A range, or a named set: of addresses, its members of the column's family."""
        if self.token.kind != "set":
            return inside(column, mask, *self.range(column))
        name, at = self.token.text, self.token.at - 1
        ranges = []
        for inner in self.named_set():
            other = _OTHER.get(column)
            if other and inner.token.kind == _FAMILY[other]:
                inner.range(other)  # it must be right all the same
            else:
                ranges.append(inner.range(column))
            inner.whole_member()
        if not ranges:
            versions = [f"IPv{_FAMILY[c][2]}" for c in (column, _OTHER[column])]
            self.fail(at, f"the set @{name} has no {versions[0]} member, and {column} holds no "
                          f"{versions[1]} address", f"try {_OTHER[column]} in @{name}")  # fmt: skip
        nodes = [inside(column, mask, lo, hi) for lo, hi in dict.fromkeys(ranges)]
        return nodes[0] if len(nodes) == 1 else Or(tuple(nodes))

    def named_set(self) -> list[ColumnTests]:
        """A parser for each member of the set that the token names."""
        name, at = self.token.text, self.token.at - 1
        if name not in self.sets:
            near = difflib.get_close_matches(name, self.sets, 2)
            known = f"sets: {', '.join(self.sets)}" if self.sets else "parse(text, sets={...})"
            self.fail(at, f"there is no set @{name}",
                      f"did you mean @{' or @'.join(near)}?" if near else known)  # fmt: skip
        if not self.sets[name]:
            self.fail(at, f"the set @{name} is empty")
        self.at += 1
        out = []
        for member in self.sets[name]:
            if named := of_set(member):
                if loop := loop_of(name, self.sets):
                    ring = " -> ".join(f"@{part}" for part in loop)
                    self.fail(at, f"sets that refer to themselves: {ring}",
                              f"no set can be a member: list what @{name} has")  # fmt: skip
                self.fail(at, f"the set @{name}, {member!r}: no set can be a member",
                          f"list the members of @{named} in @{name}")  # fmt: skip
            inner = type(self)(member)
            inner.sets = {}
            inner.place = f"match, column {at + 1}: the set @{name}, {member!r}"
            out.append(inner)
        return out

    def whole_member(self) -> None:
        """Nothing may follow the member of a set."""
        if self.token.kind != "end":
            self.fail(self.token.at, f"{self.token.text!r} is not expected; one member a text")

    def range(self, column: str) -> tuple[int, int]:
        """Value, range, or prefix, as its first and last value."""
        form, text, at = self.token
        lo = self.value(column, "value")
        if self.take(".."):
            hi = self.value(column, "value")
            if hi < lo:
                self.fail(at, f"the range {text}..{self.tokens[self.at - 1].text} is empty")
            return lo, hi
        if self.take("/"):
            return lo, lo | self.prefix_rest(bits(column), lo, form, text, at)
        return lo, lo

    def prefix_rest(self, size: int, lo: int, form: str, text: str, at: int) -> int:
        """The length after an address and its /: a mask of the bits behind it, which must be 0."""
        kind, length, where = self.token
        if kind != "number" or not length.isdigit() or int(length) > size:
            self.fail(where, f"a prefix length from 0 to {size} is expected, not {length}")
        self.at += 1
        rest = (1 << (size - int(length))) - 1
        if lo & rest:
            network = ""
            if form in ("ip4", "ip6"):
                whole = ipaddress.ip_network(f"{text}/{length}", strict=False)
                network = f"write {whole}"
            self.fail(at, f"{text}/{length} has bits beyond its length", network)
        return rest

    def address(self, kind: str, text: str, at: int) -> int:
        """The number of a MAC, IPv4 or IPv6 address."""
        if kind == "mac":
            digits = text.replace(".", "")
            if len(digits) == 12 and len(text) == 14:
                return int(digits, 16)
            return mac(text.replace(".", ":"))
        try:
            return int(ipaddress.ip_address(text))
        except ValueError:
            self.fail(at, f"{text!r} is not an IP address")

    def value(self, column: str, what: str) -> int:
        kind, text, at = self.token
        self.at += 1
        number = -1
        if kind == "number":
            try:
                number = int(text, 0)
            except ValueError:
                self.fail(at, f"{text!r} is not a number")
        elif kind in _HOLDERS:
            if column not in _HOLDERS[kind]:
                name = "MAC" if kind == "mac" else f"IPv{kind[2]}"
                also = "" if kind == "mac" else f"; {', '.join(_HOLDERS[kind])} do"
                self.fail(at, f"{column} holds no {name} address{also}")
            return self.address(kind, text, at)
        elif kind == "word" and text.lower() in NAMES and text.lower() not in KEYWORDS:
            number = NAMES[text.lower()]
        else:
            near = difflib.get_close_matches(text.lower(), NAMES, 2) if kind == "word" else []
            hint = hints().for_value(text) or (f"did you mean {' or '.join(near)}?" if near else "")
            self.fail(at, f"a {what} is expected, not {text}", hint)
        if number >> bits(column):
            self.fail(at, f"{text} does not fit {column}, which has {bits(column)} bits")
        return number
