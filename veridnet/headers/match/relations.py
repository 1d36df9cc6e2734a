"""pcap-filter's relations: ``ip[8] < 5``, ``tcp[tcpflags] & tcp-syn != 0``, ``len > 100``."""

from __future__ import annotations

from typing import NamedTuple

from veridnet.headers.match.columntests import ColumnTests
from veridnet.headers.match.syntax import Prim
from veridnet.headers.match.words import ABBREVIATIONS, BYTES_ONLY, CONSTANTS, LINK

_COMPARE = {"=": "=", "==": "=", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_FLIPPED = {"=": "=", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
#: libpcap's, the weakest first.
_LEVELS = (("|", "^"), ("&",), ("<<", ">>"), ("+", "-"), ("*", "/", "%"))
_WORD = 0xFFFFFFFF


class _None(Exception):
    """What stands here is no arithmetic: where and why."""

    def __init__(self, at: int, why: str) -> None:
        self.at, self.why = at, why


class Value(NamedTuple):
    """An arithmetic expression: its text, and what it is if that is simple.

    number: a constant. Otherwise ((load & mask) >> shift), where load is (protocol, offset, bytes)
    or ("len", 0, 4); None: not that simple.
    """

    text: str
    number: int | None = None
    load: tuple[str, int, int] | None = None
    mask: int = _WORD
    shift: int = 0


class Relations(ColumnTests):
    """The grammar's part of relations."""

    def begins_relation(self) -> bool:
        ahead = 0
        while self.ahead(ahead).text in ("(", "-"):
            ahead += 1
        kind, text, _ = self.ahead(ahead)
        if kind == "number":
            return ahead > 0 or self.ahead(1).text in (*_COMPARE, *"+-*/&|%^", "<<", ">>")
        return kind == "word" and (
            text.lower() in CONSTANTS
            or text.lower() == "len"
            or (self.ahead(ahead + 1).text == "[" and self.loadable(text))
        )

    def loadable(self, text: str) -> bool:
        return text.lower() in ABBREVIATIONS or text.lower() in LINK or text.lower() in BYTES_ONLY

    def relation(self) -> Prim | None:
        """None, and somewhere further on: there is none."""
        kind, text, at = self.token
        try:
            left = self.arithmetic()
            if self.token.text not in _COMPARE:
                raise _None(self.token.at, f"a comparison is expected, not {self.token.text}")
            operator = _COMPARE[self.token.text]
            self.at += 1
            right = self.arithmetic()
        except _None as e:
            if text in ("(", "-") or kind == "number":
                return None
            self.fail(e.at, e.why)
        said = f"{left.text} {operator} {right.text}"
        if left.number is not None and right.number is None:
            left, right, operator = right, left, _FLIPPED[operator]
        if right.number is None or left.load is None:
            return Prim("bytes", (), said, at)
        args = (left.load, left.mask, left.shift, operator, right.number)
        return Prim("relation", args, said, at)

    def arithmetic(self, level: int = 0, depth: int = 0) -> Value:
        if depth > 100:
            raise _None(self.token.at, "too deeply nested")
        if level == len(_LEVELS):
            return self.operand(depth)
        left = self.arithmetic(level + 1, depth)
        while self.token.kind == "op" and self.token.text in _LEVELS[level]:
            operator, at = self.token.text, self.token.at
            self.at += 1
            left = self.operation(operator, left, self.arithmetic(level + 1, depth), at)
        return left

    def operation(self, operator: str, a: Value, b: Value, at: int) -> Value:
        text = f"({a.text} {operator} {b.text})"
        if operator in "/%" and b.number == 0:
            self.fail(at, "division by zero")
        if a.number is not None and b.number is not None:
            x, y = a.number, b.number
            number = {
                "|": lambda: x | y, "^": lambda: x ^ y, "&": lambda: x & y,
                "<<": lambda: x << y if y < 32 else 0, ">>": lambda: x >> y, "+": lambda: x + y,
                "-": lambda: x - y, "*": lambda: x * y, "/": lambda: x // y, "%": lambda: x % y,
            }[operator]() & _WORD  # fmt: skip
            return Value(str(number), number)
        # (A constant comes second: libpcap forgets what "5 + ip[8]" must be checked for.)
        if a.load is not None and b.number is not None:
            if operator == "&" and a.shift == 0:
                return Value(text, None, a.load, a.mask & b.number)
            if operator == ">>" and a.shift + b.number < 32:
                return Value(text, None, a.load, a.mask, a.shift + b.number)
        return Value(text)

    def operand(self, depth: int) -> Value:
        kind, text, at = self.token
        if self.take("("):
            inner = self.arithmetic(0, depth + 1)
            if not self.take(")"):
                raise _None(self.token.at, f") is missing before {self.token.text}")
            return inner
        if self.take("-"):
            inner = self.operand(depth + 1)
            if inner.number is not None:
                return Value(str(-inner.number & _WORD), -inner.number & _WORD)
            return Value(f"(- {inner.text})")
        word = text.lower()
        if kind == "number":
            try:
                number = int(text, 0)
            except ValueError:
                raise _None(at, f"{text!r} is not a number") from None
            if number > _WORD:
                raise _None(at, f"{text} has more than 32 bits")
            self.at += 1
            return Value(str(number), number)
        if kind == "word" and word in CONSTANTS:
            self.at += 1
            return Value(str(CONSTANTS[word]), CONSTANTS[word])
        if kind == "word" and word == "len":
            self.at += 1
            return Value("len", None, ("len", 0, 4))
        if kind == "word" and self.loadable(word) and self.ahead().text == "[":
            return self.load(depth)
        raise _None(at, f"a number, len, or bytes as ip[8] are expected, not {text}")

    def load(self, depth: int) -> Value:
        proto = self.token.text.lower()
        proto = "ether" if proto in LINK else proto
        self.at += 2
        offset = self.arithmetic(0, depth + 1)
        size = 1
        if self.take(":"):
            kind, text, at = self.token
            if kind != "number" or text not in ("1", "2", "4"):
                self.fail(at, f"1, 2 or 4 bytes are loaded, not {text}")
            size = int(text)
            self.at += 1
        if not self.take("]"):
            raise _None(self.token.at, f"] is missing before {self.token.text}")
        text = f"{proto}[{offset.text}:{size}]"
        if offset.number is None:
            return Value(text)
        return Value(text, None, (proto, offset.number, size), (1 << 8 * size) - 1)
