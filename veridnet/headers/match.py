"""Match expressions over header columns: text -> tree -> program.

::

    expression  := term { ("or" | "||") term }
    term        := factor { ("and" | "&&") factor }
    factor      := ("not" | "!") factor | "(" expression ")" | test
    test        := column                                 is it not 0?
                 | column [ "&" value ] compare value     == = != < <= > >=
                 | column "&" value                       is any of these bits set?
                 | column [ "not" ] "in" set
    set         := range | "{" range { "," range } "}"
    range       := value | value ".." value | address "/" length

A value is a number (decimal, 0x, 0b), a MAC, IPv4 or IPv6 address, or a name (tcp, udp, syn, ipv4,
trunc_ip4, ...). ``ip6_src`` and ``ip6_dst`` stand for both halves of the address.

Every test is one question: is (column & mask) in lo..hi? What is made of that follows from here:
the kernel's programs now, rules (`veridnet.rules`) later.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import NoReturn

from veridnet._native.matchers import DEPTH, Program
from veridnet.errors import ConfigError
from veridnet.headers import constants
from veridnet.headers.fields import BY_NAME, ERRORS, FIELDS
from veridnet.headers.values import mac


@dataclass(frozen=True)
class Test:
    """Is (column & mask) in lo..hi?"""

    column: str
    mask: int
    lo: int
    hi: int

    __test__ = False  # not pytest's


@dataclass(frozen=True)
class Not:
    """The contrary."""

    of: Node


@dataclass(frozen=True)
class And:
    """All of these."""

    of: tuple[Node, ...]


@dataclass(frozen=True)
class Or:
    """Any of these."""

    of: tuple[Node, ...]


Node = Test | Not | And | Or

#: Words that are values.
NAMES = {
    name.lower(): value
    for name, value in vars(constants).items()
    if name.isupper() and isinstance(value, int)
}
NAMES |= {"ipv4": 0x0800, "ipv6": 0x86DD, "arp": 0x0806}
NAMES |= {name: number for number, (name, _) in enumerate(ERRORS)}

_INDEX = {field.name: number for number, field in enumerate(FIELDS)}
_WIDE = {"ip6_src": ("ip6_src_hi", "ip6_src_lo"), "ip6_dst": ("ip6_dst_hi", "ip6_dst_lo")}
_KEYWORDS = {"and", "or", "not", "in"}

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<mac>[0-9a-fA-F]{1,2}(?:[:-][0-9a-fA-F]{1,2}){5}(?![\w:]))
    | (?P<ip6>(?=[0-9a-fA-F:.]*:[0-9a-fA-F:.]*:)[0-9a-fA-F:]+(?:\d+\.\d+\.\d+\.\d+)?)
    | (?P<ip4>\d+\.\d+\.\d+\.\d+)
    | (?P<number>0[xX][0-9a-fA-F_]+|0[bB][01_]+|\d[\d_]*)(?![A-Za-z_])
    | (?P<word>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)
    | (?P<op>\.\.|==|!=|<=|>=|&&|\|\||[=<>!&(){},/])
    )""",
    re.VERBOSE,
)


def hints() -> ModuleType:
    """`veridnet.headers.hints`, which only errors need."""
    from veridnet.headers import hints as module

    return module


def _bits(column: str) -> int:
    return 128 if column in _WIDE else int(BY_NAME[column].dtype.removeprefix("uint"))


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.unread = -1  # where the text begins that cannot be read
        self.tokens: list[tuple[str, str, int]] = list(self._scan())
        self.at = 0

    def _scan(self) -> Iterator[tuple[str, str, int]]:
        at, end = 0, len(self.text.rstrip())
        while at < end:
            found = _TOKEN.match(self.text, at)
            if found is None:
                self.unread = at + len(self.text[at:]) - len(self.text[at:].lstrip())
                yield "unread", self.text[self.unread : self.unread + 10], self.unread
                return
            kind = str(found.lastgroup)
            yield kind, found.group(kind), found.start(kind)
            at = found.end()
        yield "end", "the end", len(self.text)

    def fail(self, at: int, why: str, hint: str = "") -> NoReturn:
        """Says where the text is wrong and why, and what to write instead if that is known."""
        if at == self.unread:
            why = f"cannot read {self.text[at : at + 10]!r}"
            hint = hints().SIGNS.get(self.text[at], hint)
        raise ConfigError(f"match, column {at + 1}: {why}", hint=hint or f"{self.text!r}")

    @property
    def token(self) -> tuple[str, str, int]:
        return self.tokens[self.at]

    def take(self, *texts: str) -> str | None:
        """The next token's text if it is one of these, and on to the next."""
        kind, text, _ = self.token
        if kind in ("op", "word") and (text.lower() if kind == "word" else text) in texts:
            self.at += 1
            return text.lower()
        return None

    def need(self, text: str) -> None:
        if not self.take(text):
            self.fail(self.token[2], f"{text} is missing before {self.token[1]}")

    # -- the grammar ----------------------------------------------------------------------------

    def whole(self) -> Node:
        if self.token[0] == "end":
            self.fail(0, "an empty expression", "as: ip_proto == udp and l4_dst == 53")
        node = self.expression()
        kind, text, at = self.token
        if kind != "end":
            self.fail(at, f"{text!r} is not expected here; and, or, or the end is",
                      hints().for_operator(text))  # fmt: skip
        return node

    def expression(self, depth: int = 0) -> Node:
        nodes = [self.term(depth)]
        while self.take("or", "||"):
            nodes.append(self.term(depth))
        return nodes[0] if len(nodes) == 1 else Or(tuple(nodes))

    def term(self, depth: int) -> Node:
        nodes = [self.factor(depth)]
        while self.take("and", "&&"):
            nodes.append(self.factor(depth))
        return nodes[0] if len(nodes) == 1 else And(tuple(nodes))

    def factor(self, depth: int) -> Node:
        if depth > 100:
            self.fail(self.token[2], "too deeply nested")
        if self.take("not", "!"):
            return Not(self.factor(depth + 1))
        if self.take("("):
            node = self.expression(depth + 1)
            self.need(")")
            return node
        return self.test()

    def test(self) -> Node:
        kind, text, at = self.token
        if kind != "word" or text.lower() in _KEYWORDS:
            again = kind in ("number", "ip4", "ip6", "mac") and self.at > 1
            self.fail(at, f"a column is expected, not {text}",
                      hints().SIGNS["["] if again else "")  # fmt: skip
        column = text.lower()
        if column not in BY_NAME and column not in _WIDE:
            near = difflib.get_close_matches(column, [*BY_NAME, *_WIDE], 3)
            hint = f"did you mean {' or '.join(near)}?" if near else "veridnet headers --columns"
            if better := hints().instead(self.text[at:]):
                hint = better if ": " in better else f"write {better}"
            self.fail(at, f"there is no column {text!r}", hint)
        self.at += 1
        mask = (1 << _bits(column)) - 1
        masked = False
        if self.take("&"):
            if column in _WIDE:
                self.fail(at, f"& is not for {column}; it is for its halves, {column}_hi and _lo")
            mask, masked = self.value(column, "value"), True
        if operator := self.take("==", "=", "!=", "<", "<=", ">", ">="):
            return self.compare(column, mask, operator)
        negated = bool(self.take("not"))
        if self.take("in"):
            node = self.members(column, mask)
            return Not(node) if negated else node
        if negated:
            self.fail(self.token[2], f"in is missing before {self.token[1]}")
        if masked or column not in _WIDE:
            return Not(Test(column, mask, 0, 0))
        return Not(self.between(column, 0, 0))

    def compare(self, column: str, mask: int, operator: str) -> Node:
        at = self.token[2]
        top = (1 << _bits(column)) - 1
        lo, hi = self.range(column)
        if operator in ("==", "=", "!="):
            node = self.inside(column, mask, lo, hi)
            return Not(node) if operator == "!=" else node
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
            return Not(Test(next(iter(_WIDE.get(column, (column,)))), 0, 0, 0))
        return self.inside(column, mask, lo, hi)

    def members(self, column: str, mask: int) -> Node:
        if not self.take("{"):
            return self.inside(column, mask, *self.range(column))
        nodes = [self.inside(column, mask, *self.range(column))]
        while self.take(","):
            nodes.append(self.inside(column, mask, *self.range(column)))
        self.need("}")
        return nodes[0] if len(nodes) == 1 else Or(tuple(nodes))

    def range(self, column: str) -> tuple[int, int]:
        """Value, range, or prefix, as its first and last value."""
        form, text, at = self.token
        lo = self.value(column, "value")
        if self.take(".."):
            hi = self.value(column, "value")
            if hi < lo:
                self.fail(at, f"the range {text}..{self.tokens[self.at - 1][1]} is empty")
            return lo, hi
        if self.take("/"):
            bits = _bits(column)
            kind, length, where = self.token
            if kind != "number" or not length.isdigit() or int(length) > bits:
                self.fail(where, f"a prefix length from 0 to {bits} is expected, not {length}")
            self.at += 1
            rest = (1 << (bits - int(length))) - 1
            if lo & rest:
                network = ""
                if form in ("ip4", "ip6"):
                    whole = ipaddress.ip_network(f"{text}/{length}", strict=False)
                    network = f"write {whole}"
                self.fail(at, f"{text}/{length} has bits beyond its length", network)
            return lo, lo | rest
        return lo, lo

    def value(self, column: str, what: str) -> int:
        kind, text, at = self.token
        self.at += 1
        number = -1
        if kind == "number":
            try:
                number = int(text, 0)
            except ValueError:
                self.fail(at, f"{text!r} is not a number")
        elif kind == "mac":
            if column not in ("eth_dst", "eth_src", "arp_sha", "arp_tha"):
                self.fail(at, f"{column} holds no MAC address")
            return mac(text)
        elif kind in ("ip4", "ip6"):
            holders = (
                ("ip_src", "ip_dst", "arp_spa", "arp_tpa")
                if kind == "ip4"
                else ("ip6_src", "ip6_dst")
            )
            if column not in holders:
                self.fail(at, f"{column} holds no IPv{kind[2]} address; {', '.join(holders)} do")
            try:
                return int(ipaddress.ip_address(text))
            except ValueError:
                self.fail(at, f"{text!r} is not an IP address")
        elif kind == "word" and text.lower() in NAMES and text.lower() not in _KEYWORDS:
            number = NAMES[text.lower()]
        else:
            near = difflib.get_close_matches(text.lower(), NAMES, 2) if kind == "word" else []
            hint = hints().for_value(text) or (f"did you mean {' or '.join(near)}?" if near else "")
            self.fail(at, f"a {what} is expected, not {text}", hint)
        if number >> _bits(column):
            self.fail(at, f"{text} does not fit {column}, which has {_bits(column)} bits")
        return number

    def inside(self, column: str, mask: int, lo: int, hi: int) -> Node:
        if column in _WIDE:
            return self.between(column, lo, hi)
        return Test(column, mask, lo, hi)

    def between(self, column: str, lo: int, hi: int) -> Node:
        """lo..hi of 128 bits, by the two halves of 64."""
        upper, lower = _WIDE[column]
        ones = (1 << 64) - 1
        lo_hi, lo_lo, hi_hi, hi_lo = lo >> 64, lo & ones, hi >> 64, hi & ones
        if lo_hi == hi_hi:
            return And((Test(upper, ones, lo_hi, lo_hi), Test(lower, ones, lo_lo, hi_lo)))
        ways: list[Node] = []
        if lo_lo:
            ways.append(And((Test(upper, ones, lo_hi, lo_hi), Test(lower, ones, lo_lo, ones))))
            lo_hi += 1
        if hi_lo != ones:
            ways.append(And((Test(upper, ones, hi_hi, hi_hi), Test(lower, ones, 0, hi_lo))))
            hi_hi -= 1
        if lo_hi <= hi_hi:
            ways.append(Test(upper, ones, lo_hi, hi_hi))
        return ways[0] if len(ways) == 1 else Or(tuple(ways))


def parse(text: str) -> Node:
    """The tree of an expression. ConfigError says at which column of the text it is wrong."""
    if not isinstance(text, str):
        raise TypeError(f"a match expression is text, not {type(text).__name__}")
    return _Parser(text).whole()


def columns(node: Node) -> set[str]:
    """The columns that a tree reads."""
    if isinstance(node, Test):
        return {node.column}
    if isinstance(node, Not):
        return columns(node.of)
    return set().union(*map(columns, node.of))


def compile(text: str) -> Program:
    """An expression's program."""
    steps: list[tuple[str, int, int, int, int, bool]] = []

    def leaf(node: Node) -> tuple[Test, bool] | None:
        negated = False
        while isinstance(node, Not):
            node, negated = node.of, not negated
        return (node, negated) if isinstance(node, Test) else None

    def emit(node: Node, depth: int) -> None:
        if depth > DEPTH:
            raise ConfigError("the match expression is too deeply nested")
        if found := leaf(node):
            test, negated = found
            steps.append(("push", _INDEX[test.column], test.mask, test.lo, test.hi, negated))
        elif isinstance(node, Not):
            emit(node.of, depth)
            steps.append(("not", 0, 0, 0, 0, False))
        elif isinstance(node, And | Or):
            op = "and" if isinstance(node, And) else "or"
            # What needs a value of its own comes first: it is the top then, and tests join it.
            parts = sorted(node.of, key=lambda part: leaf(part) is not None)
            for k, part in enumerate(parts):
                found = leaf(part)
                if k and found:
                    test, negated = found
                    steps.append((op, _INDEX[test.column], test.mask, test.lo, test.hi, negated))
                else:
                    emit(part, depth + (k > 0))
                    if k:
                        steps.append((f"join_{op}", 0, 0, 0, 0, False))

    emit(parse(text), 1)
    return Program(text, steps)
