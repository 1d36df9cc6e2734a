"""The tree that a match expression becomes.

Every test is one question: is (column & mask) in lo..hi? What is made of that follows from here:
the kernel's programs (`veridnet.headers.match.program`), and rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Test:
    """Is (column & mask) in lo..hi?"""

    column: str
    mask: int
    lo: int
    hi: int

    __test__ = False  # not pytest's


@dataclass(frozen=True)
class Bpf:
    """A pcap-filter expression that no column answers: a program over the packet's bytes does.

    It is false for a packet that ends before a byte that it asks for.
    """

    text: str


@dataclass(frozen=True)
class Not:
    """The contrary."""

    of: Node


@dataclass(frozen=True)
class And:
    """All of these; of none: always."""

    of: tuple[Node, ...]


@dataclass(frozen=True)
class Or:
    """Any of these; of none: never."""

    of: tuple[Node, ...]


Node = Test | Bpf | Not | And | Or

TRUE = And(())
FALSE = Or(())


def leaves(node: Node) -> Iterator[Test | Bpf]:
    """The tests and BPF programs of a tree, from left to right."""
    if isinstance(node, Test | Bpf):
        yield node
    elif isinstance(node, Not):
        yield from leaves(node.of)
    else:
        for part in node.of:
            yield from leaves(part)


def columns(node: Node) -> set[str]:
    """The columns that a tree reads."""
    return {leaf.column for leaf in leaves(node) if isinstance(leaf, Test) and leaf.mask}


def all_of(parts: list[Node]) -> Node:
    """All of these; a single one is itself, and what is in an And comes up."""
    flat: list[Node] = []
    for part in parts:
        flat.extend(part.of if isinstance(part, And) else (part,))
    return flat[0] if len(flat) == 1 else And(tuple(dict.fromkeys(flat)))


def any_of(parts: list[Node]) -> Node:
    """Any of these; a single one is itself, and what is in an Or comes up."""
    flat: list[Node] = []
    for part in parts:
        flat.extend(part.of if isinstance(part, Or) else (part,))
    return flat[0] if len(flat) == 1 else Or(tuple(dict.fromkeys(flat)))
