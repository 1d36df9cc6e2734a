"""What the grammar makes of a text, before it is known how each part is answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from veridnet.headers.match.tree import Node


@dataclass(frozen=True)
class Prim:
    """One of pcap-filter's primitives.

    Attributes
    ----------
    kind
        Which: the method of `veridnet.headers.match.primitives.Lower` that answers it.
    args
        For it.
    text
        The same for libpcap, with numbers in place of names.
    at
        Where it begins in the user's text.
    """

    kind: str
    args: tuple[Any, ...]
    text: str
    at: int


@dataclass(frozen=True)
class Neg:
    """not."""

    of: Syntax


@dataclass(frozen=True)
class Join:
    """Parts with "and" or "or" between them, in the text's order."""

    word: str
    parts: tuple[Syntax, ...]


#: A Node is a comparison of columns.
Syntax = Node | Prim | Neg | Join


def pcap_only(s: Syntax) -> bool:
    """Are all parts pcap-filter's?"""
    if isinstance(s, Neg):
        return pcap_only(s.of)
    if isinstance(s, Join):
        return all(map(pcap_only, s.parts))
    return isinstance(s, Prim)


def has_pcap(s: Syntax) -> bool:
    """Is any part pcap-filter's?"""
    if isinstance(s, Neg):
        return has_pcap(s.of)
    if isinstance(s, Join):
        return any(map(has_pcap, s.parts))
    return isinstance(s, Prim)


def pcap_text(s: Syntax) -> str:
    """For libpcap, of what is pcap-filter's only."""
    if isinstance(s, Prim):
        return s.text
    if isinstance(s, Neg):
        return f"not ({pcap_text(s.of)})"
    assert isinstance(s, Join)
    return f" {s.word} ".join(f"({pcap_text(part)})" for part in s.parts)


#: Kinds whose last argument is a list of members.
_LISTED = ("port", "host4", "host6")


def join(word: str, parts: list[Syntax]) -> Syntax:
    """A single part is itself. ``port 80 or port 443`` is one primitive of two members."""
    if word == "or":
        parts = _merged(parts)
    return parts[0] if len(parts) == 1 else Join(word, tuple(parts))


def _merged(parts: list[Syntax]) -> list[Syntax]:
    """Neighbours only: a primitive that goes past others may ask for other bytes, or sooner."""
    groups: list[list[Syntax]] = []
    for part in parts:
        last = groups[-1][-1] if groups else None
        if _alike(last, part):
            groups[-1].append(part)
        else:
            groups.append([part])
    return [_one(group) for group in groups]


def _alike(a: Syntax | None, b: Syntax) -> bool:
    return (
        isinstance(a, Prim)
        and isinstance(b, Prim)
        and a.kind in _LISTED
        and (a.kind, a.args[:-1]) == (b.kind, b.args[:-1])
        and "src and dst" not in a.args
    )


def _one(group: list[Syntax]) -> Syntax:
    first = group[0]
    prims = [prim for prim in group if isinstance(prim, Prim)]
    if len(group) == 1 or not isinstance(first, Prim):
        return first
    members = dict.fromkeys(member for prim in prims for member in prim.args[-1])
    text = " or ".join(dict.fromkeys(prim.text for prim in prims))
    return Prim(first.kind, (*first.args[:-1], tuple(members)), text, first.at)


def level(parts: list[Syntax], words: list[str]) -> Syntax | int:
    """Joins what stands between parentheses, or the number of the word that is ambiguous.

    Comparisons of columns: "and" binds stronger than "or". pcap-filter: both bind alike, from left
    to right. Where both kinds are, they must say the same.
    """
    if all(map(pcap_only, parts)):
        node, last = [parts[0]], ""
        for word, part in zip(words, parts[1:], strict=True):
            node = [*node, part] if word == last or not last else [join(last, node), part]
            last = word
        return join(last, node)
    if any(map(has_pcap, parts)) and "or" in words:
        first = words.index("or")
        if "and" in words[first:]:
            return first + words[first:].index("and")
    groups = [[parts[0]]]
    for word, part in zip(words, parts[1:], strict=True):
        if word == "and":
            groups[-1].append(part)
        else:
            groups.append([part])
    return join("or", [join("and", group) for group in groups])
