"""The grammar: a text becomes a syntax tree (`veridnet.headers.match.syntax`).

::

    expression  := factor { ("and" | "&&" | "or" | "||") ( factor | id ) }
    factor      := ("not" | "!") factor | "(" expression ")" | column test | relation | primitive
    column test := column                                 is it not 0?
                 | column [ "&" value ] compare value     == = != < <= > >=
                 | column "&" value                       is any of these bits set?
                 | column [ "not" ] "in" set
    set         := range | "{" range { "," range } "}" | "@" name
    range       := value | value ".." value | address "/" length | "@" name
    relation    := arithmetic compare arithmetic          ip[8] < 5, len > 100
    primitive   := [ protocol ] [ direction ] [ type ] id | protocol | vlan [ id ] | ...
    id          := number | address | name | "not" id | "(" id { ("and" | "or") id } ")" | set

Relations and primitives are pcap-filter's. An id after "and" or "or" has the qualifiers of the
primitive before it: ``port 80 or 443``.
"""

from __future__ import annotations

import difflib
from typing import NoReturn

from veridnet.headers.fields import BY_NAME
from veridnet.headers.match.columntests import KEYWORDS, WIDE, hints
from veridnet.headers.match.ids import NO_QUALIFIERS, Ids, Qualifiers
from veridnet.headers.match.relations import Relations
from veridnet.headers.match.syntax import Neg, Prim, Syntax, level
from veridnet.headers.match.words import ABBREVIATIONS, AFTER, BYTES_ONLY, KINDS, LINK, REFUSED

#: Words with which a primitive begins.
_FIRST = {*ABBREVIATIONS, *LINK, *BYTES_ONLY, *KINDS, *REFUSED, "src", "dst", "proto", "protochain",
          "broadcast", "multicast", "less", "greater", "vlan", "mpls", "pppoes", "pppoed", "geneve",
          "llc"}  # fmt: skip


class Parser(Relations, Ids):
    """Reads one text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.q = NO_QUALIFIERS  # of the primitive before

    def whole(self) -> Syntax:
        if self.token.kind == "end":
            self.fail(0, "an empty expression", "as: tcp port 443, or ip_ttl < 5")
        node = self.expression()
        kind, text, at = self.token
        if kind != "end":
            self.fail(at, f"{text!r} is not expected here; and, or, or the end is",
                      hints().for_operator(text))  # fmt: skip
        return node

    def expression(self, depth: int = 0) -> Syntax:
        parts, words, places = [self.factor(depth)], [], []
        while word := self.take("and", "&&", "or", "||"):
            places.append(self.tokens[self.at - 1].at)
            words.append("and" if word in ("and", "&&") else "or")
            parts.append(self.factor(depth))
        node = level(parts, words)
        if isinstance(node, int):
            self.fail(places[node], "'and' after 'or', of pcap-filter's primitives and of columns: "
                      "the one takes them from left to right, the other 'and' first",
                      "write parentheses")  # fmt: skip
        return node

    def factor(self, depth: int) -> Syntax:
        if depth > 100:
            self.fail(self.token.at, "too deeply nested")
        if self.take("not", "!"):
            return Neg(self.factor(depth + 1))
        kind, text, at = self.token
        if self.begins_relation():
            start = self.at
            if (relation := self.relation()) is not None:
                self.q = NO_QUALIFIERS
                return relation
            self.at = start
        if self.take("("):
            before = self.q
            node = self.expression(depth + 1)
            self.need(")")
            self.q = before
            return node
        word = text.lower()
        if kind == "word" and (word in BY_NAME or word in WIDE):
            return self.column_test()
        if kind == "word" and word in _FIRST:
            return self.primitive(word, at)
        if self.q != NO_QUALIFIERS and self.is_id():
            return self.ids(self.q)
        return self.no_test(kind, text, at)

    def no_test(self, kind: str, text: str, at: int) -> NoReturn:
        if kind != "word" or text.lower() in KEYWORDS:
            again = kind in ("number", "ip4", "net", "ip6", "mac") and self.at > 1
            sign = hints().SIGNS.get(text, "") if kind == "op" else ""
            self.fail(at, f"a primitive or a column is expected, not {text}",
                      hints().SIGNS["["] if again else sign)  # fmt: skip
        column = text.lower()
        near = difflib.get_close_matches(column, [*BY_NAME, *WIDE, *_FIRST], 3)
        hint = f"did you mean {' or '.join(near)}?" if near else "veridnet headers --columns"
        if better := hints().instead(self.text[at:]):
            hint = better if ": " in better else f"write {better}"
        self.fail(at, f"there is no column {text!r}, and no such primitive", hint)

    # -- pcap-filter's primitives ----------------------------------------------------------------

    def primitive(self, word: str, at: int) -> Syntax:
        if word in REFUSED:
            self.fail(at, f"{word} is not for Ethernet frames", REFUSED[word])
        self.q = NO_QUALIFIERS
        if word in ("less", "greater"):
            self.at += 1
            number = self.number(word)
            bounds = (0, number) if word == "less" else (number, (1 << 32) - 1)
            return Prim("length", bounds, f"{word} {number}", at)
        if word in ("vlan", "mpls", "pppoes", "geneve"):
            return self.layer(word, at)
        if word in ("pppoed", "llc"):
            self.at += 1
            if word == "pppoed":
                return Prim("ethertype", (0x8863,), word, at)
            kind = f" {self.tokens[self.at - 1].text}" if self.take(*AFTER["llc"]) else ""
            return Prim("bytes", (), f"llc{kind}", at)
        proto = ""
        if word in ABBREVIATIONS or word in LINK or word in BYTES_ONLY:
            proto = "ether" if word in LINK else word
            self.at += 1
        if cast := self.take("broadcast", "multicast"):
            return self.cast(cast, proto, at)
        if self.take("gateway"):
            self.fail(at, "gateway needs a name server", "ether host and not host")
        q = self.qualifiers(proto)
        if q is not None:
            self.q = q
            return self.ids(q)
        if proto == "ether":
            self.fail(self.token.at, f"{word} alone is no primitive", "ether host, ether proto")
        if self.is_id() and self.token.kind in ("number", "ip4", "net", "ip6", "mac"):
            self.fail(self.token.at, f"{self.token.text} after {word}: of what?",
                      f"write {word} port, host or net before it")  # fmt: skip
        if word in BYTES_ONLY:
            return Prim("bytes", (), word, at)
        return Prim(*ABBREVIATIONS[word], word, at)

    def qualifiers(self, proto: str) -> Qualifiers | None:
        """[direction] [type]; None: neither is there."""
        direction = kind = ""
        if first := self.take("src", "dst"):
            direction = first
            other = "dst" if first == "src" else "src"
            nearby = self.ahead().text.lower()
            if self.token.text.lower() in ("or", "and", "||", "&&") and nearby == other:
                word = "or" if self.token.text.lower() in ("or", "||") else "and"
                direction = f"src {word} dst"
                self.at += 2
        if (found := self.take(*KINDS)) or (
            not direction and (found := self.take("proto", "protochain"))
        ):
            kind = found
        if not direction and not kind:
            return None
        return Qualifiers(proto, direction, kind)

    def number(self, what: str) -> int:
        kind, text, at = self.token
        try:
            if kind != "number":
                raise ValueError
            number = int(text, 0)
        except ValueError:
            self.fail(at, f"a number is expected after {what}, not {text}")
        if number >> 32:
            self.fail(at, f"{text} has more than 32 bits")
        self.at += 1
        return number

    def layer(self, word: str, at: int) -> Prim:
        """vlan, mpls, pppoes, geneve: what follows them is looked for behind them."""
        self.at += 1
        if self.token.text in ("{", "@") or self.token.kind == "set":
            self.fail(self.token.at, f"a set after {word}: each {word} stands for one more header",
                      f"{word}, and a comparison of a column: vlan_id in {{7, 8}}")  # fmt: skip
        number = None
        if self.token.kind == "number" and self.ahead().text not in ("=", "==", "<", ">"):
            where = self.token.at
            number = self.number(word)
            most = {"vlan": 4095, "mpls": 0xFFFFF, "pppoes": 0xFFFF, "geneve": 0xFFFFFF}[word]
            if number > most:
                self.fail(where, f"{word} {number}: at most {most}")
        return Prim(word, (number,), word if number is None else f"{word} {number}", at)

    def cast(self, cast: str, proto: str, at: int) -> Prim:
        """broadcast and multicast."""
        proto = proto or "ether"
        if f"{proto} {cast}" == "ip broadcast":
            self.fail(at, "ip broadcast needs the network's mask, which is not known",
                      "ether broadcast, or ip_dst == 10.0.0.255")  # fmt: skip
        if proto != "ether" and (proto not in ("ip", "ip6") or cast != "multicast"):
            self.fail(at, f"there is no {proto} {cast}", "ether broadcast, ip multicast")
        return Prim(f"{proto}_{cast}", (), f"{proto} {cast}", at)
