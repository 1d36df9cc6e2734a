"""The words of the match language."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

from veridnet.errors import ConfigError


class Token(NamedTuple):
    """A word: what kind it is, its text, and where it begins."""

    kind: str
    text: str
    at: int


_TOKEN = re.compile(
    r"""\s*(?:
      (?P<mac>(?:[0-9a-fA-F]{1,2}(?P<_s>[:.-])(?:[0-9a-fA-F]{1,2}(?P=_s)){4}[0-9a-fA-F]{1,2}
              |[0-9a-fA-F]{4}(?:\.[0-9a-fA-F]{4}){2})(?![\w:]))
    | (?P<ip6>(?=[0-9a-fA-F:.]*:[0-9a-fA-F:.]*:)[0-9a-fA-F:]+(?:\d+\.\d+\.\d+\.\d+)?)
    | (?P<ip4>\d+\.\d+\.\d+\.\d+)
    | (?P<net>\d+\.\d+(?:\.\d+)?(?![\w.]))
    | (?P<number>0[xX][0-9a-fA-F_]+|0[bB][01_]+|\d[\d_]*)(?![A-Za-z_])
    | \\(?P<escaped>[A-Za-z][\w-]*)
    | @(?P<set>[\w.-]+)
    | (?P<word>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*|-\w+)*)
    | (?P<op>\.\.|==|!=|<=|>=|<<|>>|&&|\|\||[-+*%=<>!&|^(){}\[\]:,/])
    )""",
    re.VERBOSE,
)


class Lexer:
    """A text's tokens, and where one stands among them."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.unread = -1  # where the text begins that cannot be read
        self.tokens: list[Token] = list(self._scan())
        self.at = 0
        self.place = ""  # of a text that is not the user's: a member of a named set

    def _scan(self) -> Iterator[Token]:
        at, end = 0, len(self.text.rstrip())
        while at < end:
            found = _TOKEN.match(self.text, at)
            if found is None:
                self.unread = at + len(self.text[at:]) - len(self.text[at:].lstrip())
                yield Token("unread", self.text[self.unread : self.unread + 10], self.unread)
                return
            kind = str(found.lastgroup)
            yield Token(kind, found.group(kind), found.start(kind))
            at = found.end()
        yield Token("end", "the end", len(self.text))

    def fail(self, at: int, why: str, hint: str = "") -> NoReturn:
        """Says where the text is wrong and why, and what to write instead if that is known."""
        if at == self.unread:
            from veridnet.headers import hints

            why = f"cannot read {self.text[at : at + 10]!r}"
            hint = hints.SIGNS.get(self.text[at], hint)
        where = f"match, column {at + 1}" if not self.place else self.place
        raise ConfigError(f"{where}: {why}", hint=hint or f"{self.text!r}")

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def ahead(self, count: int = 1) -> Token:
        """The token `count` further on."""
        return self.tokens[min(self.at + count, len(self.tokens) - 1)]

    def take(self, *texts: str) -> str | None:
        """The next token's text if it is one of these, and on to the next."""
        kind, text, _ = self.token
        if kind in ("op", "word") and (text.lower() if kind == "word" else text) in texts:
            self.at += 1
            return text.lower()
        return None

    def need(self, text: str) -> None:
        if not self.take(text):
            self.fail(self.token.at, f"{text} is missing before {self.token.text}")

    def since(self, at: int) -> str:
        """The text from `at` to before the next token."""
        return self.text[at : self.token.at].strip()
