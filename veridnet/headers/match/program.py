"""Text -> tree -> program."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from veridnet._native.matchers import COLUMNS, DEPTH, Program
from veridnet.errors import ConfigError
from veridnet.headers.fields import FIELDS
from veridnet.headers.match import sets as named
from veridnet.headers.match.grammar import Parser
from veridnet.headers.match.primitives import Lower
from veridnet.headers.match.syntax import has_pcap
from veridnet.headers.match.tree import And, Bpf, Node, Not, Or, Test, any_of, leaves

_INDEX = {field.name: number for number, field in enumerate(FIELDS)}


class Meaning(NamedTuple):
    """What an expression means.

    Attributes
    ----------
    tree
        By columns; what they do not say is a `Bpf` leaf.
    doubt
        For which rows only the packets' bytes decide: malformed packets, and ARP and RARP that have
        no columns. None: for none.
    raw
        What decides these: the same, with a `Bpf` leaf for all that is pcap-filter's.
    """

    tree: Node
    doubt: Node | None
    raw: Node


def _meaning(text: str, sets: dict[str, tuple[str, ...]]) -> Meaning:
    parser = Parser(text)
    parser.sets = sets
    syntax = parser.whole()
    lower = Lower(text)
    tree = lower.whole(syntax)
    if not has_pcap(syntax) or not lower.doubts:
        return Meaning(tree, None, tree)
    return Meaning(tree, any_of(list(lower.doubts)), Lower(text, raw=True).whole(syntax))


_kept = lru_cache(4096)(lambda text: _meaning(text, {}))


def meaning(text: str, sets: named.Sets | None = None) -> Meaning:
    """An expression's tree, and what to do where columns do not say enough.

    ConfigError says at which column of the text it is wrong.
    """
    if not isinstance(text, str):
        raise TypeError(f"a match expression is text, not {type(text).__name__}")
    return _meaning(text, named.check(sets)) if sets else _kept(str.__str__(text))


def parse(text: str, sets: named.Sets | None = None) -> Node:
    """The tree of an expression. ConfigError says at which column of the text it is wrong.

    Parameters
    ----------
    text
        The expression; docs/match.md has the language.
    sets
        {name: members} for ``@name``; a member is a text as it stands in a set's braces.
    """
    return meaning(text, sets).tree


def compile(text: str, sets: named.Sets | None = None, *, packets: bool = False) -> Program:
    """An expression's program.

    Parameters
    ----------
    packets
        It will run where packets are, and may ask for their bytes. Otherwise an expression that
        does is a ConfigError: "tcp[20:4] = 0x47455420" asks for what is no column.
    """
    what = meaning(text, sets)
    if not packets:
        for leaf in leaves(what.tree):
            if isinstance(leaf, Bpf):
                raise ConfigError(
                    f"{leaf.text!r} asks for bytes that no column holds; here are columns only",
                    hint="match it on a burst, or write a comparison of columns: "
                    "veridnet headers --columns",
                )
    if not packets or what.doubt is None:
        return of_tree(text, what.tree)
    return of_tree(text, what.tree, of_tree(text, what.doubt), of_tree(text, what.raw))


def of_tree(
    text: str, tree: Node, doubt: Program | None = None, raw: Program | None = None
) -> Program:
    """A tree's program."""
    steps: list[tuple[str, int, int, int, int, bool]] = []
    programs: dict[str, int] = {}

    def leaf(node: Node) -> tuple[Test | Bpf, bool] | None:
        negated = False
        while isinstance(node, Not):
            node, negated = node.of, not negated
        if isinstance(node, And | Or) and not node.of:  # always, never
            return Test("wire_len", 0, 0, 0), negated ^ isinstance(node, Or)
        return (node, negated) if isinstance(node, Test | Bpf) else None

    def step(op: str, test: Test | Bpf, negated: bool) -> None:
        if isinstance(test, Bpf):
            number = programs.setdefault(test.text, len(programs))
            if COLUMNS + number >= 128:
                raise ConfigError("the match expression asks for bytes in too many places")
            steps.append((op, COLUMNS + number, 1, 1, 1, negated))
        else:
            steps.append((op, _INDEX[test.column], test.mask, test.lo, test.hi, negated))

    def emit(node: Node, depth: int) -> None:
        if depth > DEPTH:
            raise ConfigError("the match expression is too deeply nested")
        if found := leaf(node):
            step("push", *found)
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
                    step(op, *found)
                else:
                    emit(part, depth + (k > 0))
                    if k:
                        steps.append((f"join_{op}", 0, 0, 0, 0, False))

    emit(tree, 1)
    if not programs:
        return Program(text, steps, (), doubt, raw)
    from veridnet._native.bpf import Bpf as Native

    return Program(text, steps, tuple(map(Native, programs)), doubt, raw)
