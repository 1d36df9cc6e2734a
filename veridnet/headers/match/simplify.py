"""Leaves out of a tree what cannot be: a TCP port of an ARP packet.

Primitives bring their guards with them, and many alternatives (``net`` is of IPv4 or of ARP,
``tcp`` of IPv4 or of IPv6). Joined, most of these exclude each other. What stays is what a person
would have written, and what a table of rules can look up.
"""

from __future__ import annotations

from veridnet.headers.fields import BY_NAME
from veridnet.headers.match.tree import FALSE, TRUE, And, Bpf, Node, Not, Or, Test, all_of, any_of

#: What is known: column -> its least and greatest value.
Facts = dict[str, tuple[int, int]]
_FULL = {name: (1 << int(field.dtype.removeprefix("uint"))) - 1 for name, field in BY_NAME.items()}


def _whole(node: Node) -> bool:
    return isinstance(node, Test) and node.mask == _FULL.get(node.column)


def _learn(facts: Facts, test: Test) -> bool:
    """Adds what a test says, if it is of a whole column; False: it contradicts."""
    if test.mask != _FULL.get(test.column):
        return True
    lo, hi = facts.get(test.column, (test.lo, test.hi))
    facts[test.column] = lo, hi = max(lo, test.lo), min(hi, test.hi)
    return lo <= hi


def simplify(node: Node, facts: Facts | None = None) -> Node:
    """The same under `facts`, without what is impossible or certain."""
    facts = {} if facts is None else facts
    if isinstance(node, Test):
        if node.lo == 0 and node.hi >= node.mask:
            return TRUE
        if not _whole(node) or node.column not in facts:
            return node
        lo, hi = facts[node.column]
        return TRUE if node.lo <= lo and hi <= node.hi else \
            FALSE if hi < node.lo or node.hi < lo else node  # fmt: skip
    if isinstance(node, Bpf):
        return node
    if isinstance(node, Not):
        inner = simplify(node.of, facts)
        if isinstance(inner, Not):
            return inner.of
        return FALSE if inner == TRUE else TRUE if inner == FALSE else Not(inner)
    if isinstance(node, Or):
        parts = [part for part in (simplify(part, facts) for part in node.of) if part != FALSE]
        return TRUE if TRUE in parts else any_of(parts)
    return _conjunction(node, facts)


def _conjunction(node: And, facts: Facts) -> Node:
    known = dict(facts)
    flat: list[Node] = []
    for part in node.of:
        flat.extend(part.of if isinstance(part, And) else (part,))
    tests = [part for part in flat if isinstance(part, Test)]
    kept: list[Node] = []
    for test in tests:
        said = simplify(test, known)
        if said == FALSE or not _learn(known, test):
            return FALSE
        if said != TRUE:
            kept.append(test)
    choices: list[list[Node]] = []
    for part in flat:
        if isinstance(part, Test):
            continue
        said = simplify(part, known)
        if said == FALSE:
            return FALSE
        if isinstance(said, Or):
            choices.append(list(said.of))
        elif said != TRUE:
            kept.append(said)
    if len(choices) > 1:
        choices = _merge(choices, known)
    if any(not choice for choice in choices):
        return FALSE
    fewer = [any_of(choice) for choice in choices]
    if fewer and any(len(choice) == 1 for choice in choices):  # a new fact: once more
        return simplify(all_of([*kept, *fewer]), facts)
    return all_of([*kept, *fewer])


def _direct(node: Node) -> Facts | None:
    """What the tests of an alternative say of whole columns; None: contradictions."""
    facts: Facts = {}
    for part in node.of if isinstance(node, And) else (node,):
        if isinstance(part, Test) and not _learn(facts, part):
            return None
    return facts


def _exclude(a: Facts | None, b: Facts | None) -> bool:
    """Can these not both be?"""
    if a is None or b is None:
        return True
    return any(name in b and (b[name][1] < lo or hi < b[name][0]) for name, (lo, hi) in a.items())


def _merge(choices: list[list[Node]], facts: Facts) -> list[list[Node]]:
    """Joins choices where the pairs that can be are not more than the choices were."""
    done = [choices[0]]
    for choice in choices[1:]:
        said = [_direct(one) for one in choice]
        for k, other in enumerate(done):
            most = max(len(other), len(choice))
            if len(other) * len(choice) > 64:
                continue
            pairs: list[Node] = []
            for one in other:
                direct = _direct(one)
                pairs += [all_of([one, two]) for two, its in zip(choice, said, strict=True)
                          if not _exclude(direct, its)]  # fmt: skip
            if len(pairs) <= most:
                simple = (simplify(pair, facts) for pair in pairs)
                done[k] = [pair for pair in simple if pair != FALSE]
                break
        else:
            done.append(choice)
    return done
