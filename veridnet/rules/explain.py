"""Why a packet gets the rule that it gets."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from veridnet._native.bpf import Bpf
from veridnet.errors import ConfigError
from veridnet.headers.fields import BY_NAME, ERRORS
from veridnet.headers.match import And, Not, Or, Test, columns
from veridnet.rules.boxes import FULL, prefixes
from veridnet.rules.reference import Rules, Sets, numbered
from veridnet.rules.rule import Rule, RuleSet, rule_label, winning_order
from veridnet.texts import printable

#: At most so many rules that nearly matched are shown, and so many tests of one.
NEAR, TESTS = 5, 3
_MAC = ("eth_dst", "eth_src", "arp_sha", "arp_tha")
_IP4 = ("ip_src", "ip_dst", "arp_spa", "arp_tpa")
_HEX = ("ethertype", "tcp_flags", "ptype")


@dataclass(frozen=True)
class Explanation:
    """What `explain` found; ``str()`` is for people.

    Attributes
    ----------
    row
        The packet's columns that the rules read.
    winner
        The id of the rule that wins; None: no rule matches.
    matched
        Ids of all rules that match, the strongest first.
    why
        Why the winner wins.
    near
        Of rules that nearly matched, the nearest first: (id, the tests that failed).
    actions
        What happens to the packet: the winner's actions, or the default.
    lines
        Id -> the rule in one line, of all rules named here.
    """

    row: Mapping[str, int]
    winner: int | None
    matched: tuple[int, ...]
    why: str
    near: tuple[tuple[int, tuple[str, ...]], ...]
    actions: tuple[str, ...]
    lines: Mapping[int, str]

    def __str__(self) -> str:
        shown = [f"{name} {value_text(name, v)}" for name, v in self.row.items() if v]
        out = [f"packet: {', '.join(shown) or 'all columns that the rules read are 0'}"]
        if self.matched:
            out += ["matched:", *(f"  {self.lines[n]}" for n in self.matched)]
        out.append(self.why)
        if self.near:
            out.append("nearly:")
            for n, failed in self.near:
                more = f", and {len(failed) - TESTS} more" if len(failed) > TESTS else ""
                out += [f"  {self.lines[n]}", f"    fails: {'; '.join(failed[:TESTS])}{more}"]
        return "\n".join(out)


def explain(
    rules: Rules,
    packet: Any,
    *,
    in_port: int = 0,
    sets: Sets | None = None,
    default: tuple[str, ...] = (),
) -> Explanation:
    """Which rules match a packet, which wins and why, and which nearly matched.

    As the table decides it: a malformed packet by what was parsed of it.

    Parameters
    ----------
    rules
        A rule set, rules (ids count from 0), or (id, rule) pairs as ``FlowTable.rules()`` gives.
    packet
        Its bytes (or anything that ``bytes()`` takes, as scapy's packets), or a mapping of columns
        to numbers; what is not in it is 0.
    in_port
        The port that received the bytes.
    sets, default
        Named sets, and the actions of packets that no rule matches, where `rules` is no rule set.
    """
    ids, found, trees = numbered(rules, sets)
    if isinstance(rules, RuleSet):
        default = rules.default
        labels = [rules.label(n) for n in ids]
    else:
        labels = [rule_label(n, r.name) for n, r in zip(ids, found, strict=True)]
    row, frame = _row(packet, in_port)
    reads = set().union(*map(columns, trees))
    matched: list[int] = []
    failures: list[tuple[int, int, int, list[str]]] = []
    for n in winning_order([rule.priority for rule in found]):
        failed = _failed(trees[n], row, frame, False)
        if failed:
            failures.append((len(failed), len(failures), int(n), failed))
        else:
            matched.append(int(n))
    near = [(n, failed) for count, _, n, failed in sorted(failures)[:NEAR] if count <= TESTS]
    lines = {
        ids[n]: f"{labels[n]}: priority {found[n].priority}: {_one_line(found[n].match)}"
        f" -> {printable(', '.join(found[n].actions)) or 'no actions'}"
        for n in (*matched, *(n for n, _ in near))
    }
    return Explanation(
        {name: row[name] for name in BY_NAME if name in reads},
        ids[matched[0]] if matched else None,
        tuple(ids[n] for n in matched),
        _why(matched, found, labels, default),
        tuple((ids[n], tuple(failed)) for n, failed in near),
        found[matched[0]].actions if matched else default,
        lines,
    )


def _one_line(match: str) -> str:
    return printable(" ".join(match.split())) or "every packet"


def _why(matched: list[int], rules: list[Rule], labels: list[str], default: tuple[str, ...]) -> str:
    if not matched:
        then = f"the default: {printable(', '.join(default))}" if default else "no default actions"
        return f"no rule matches: {then}"
    best = matched[0]
    if len(matched) == 1:
        return f"wins: {labels[best]}: no other rule matches"
    mine, other = rules[best].priority, rules[matched[1]].priority
    if mine > other:
        return f"wins: {labels[best]}: priority {mine} > {other}"
    return f"wins: {labels[best]}: priority {mine}, earlier among equals than {labels[matched[1]]}"


def _row(packet: Any, in_port: int) -> tuple[dict[str, int], bytes | None]:
    """All columns, and the bytes if there are any."""
    if isinstance(packet, Mapping):
        row = dict.fromkeys(BY_NAME, 0)
        for name, value in packet.items():
            if name not in BY_NAME:
                raise ConfigError(f"there is no column {name!r}", hint="veridnet headers --columns")
            if not 0 <= int(value) <= FULL[name]:
                raise ConfigError(f"{name} = {value}: from 0 to {FULL[name]}")
            row[name] = int(value)
        return row, None
    from veridnet.headers import reference

    frame = bytes(packet)
    return reference.parse(frame, in_port=in_port), frame


def _failed(node: Any, row: Mapping[str, int], frame: bytes | None, negated: bool) -> list[str]:
    """The fewest tests that would have to come out otherwise; [] if it matches."""
    if isinstance(node, Not):
        return _failed(node.of, row, frame, not negated)
    if isinstance(node, Test):
        value = row[node.column] & node.mask
        if (node.lo <= value <= node.hi) != negated:
            return []
        text = text_of(node)
        it = value_text(node.column, row[node.column])
        return [f"not {text} (it is {it})" if negated else f"{text} (it is {it})"]
    if isinstance(node, And | Or):
        if isinstance(node, And) != negated:
            return list(dict.fromkeys(f for p in node.of for f in _failed(p, row, frame, negated)))
        best: list[str] | None = None
        for part in node.of:
            failed = _failed(part, row, frame, negated)
            if not failed:
                return []
            if best is None or len(failed) < len(best):
                best = failed
        if best is None:
            return ["nothing"]
        if len(node.of) > 1 and len(best) == 1 and (text := _set_text(node, row)):
            return [f"not {text}" if negated else text]
        return best
    if frame is None:
        return [f"{node.text} (needs the packet's bytes)"]
    if Bpf(node.text).matches(frame) != negated:
        return []
    return [f"not {node.text}" if negated else str(node.text)]


def _set_text(node: Any, row: Mapping[str, int]) -> str:
    """A union of tests of one column as a set; "" for another."""
    names = {part.column if isinstance(part, Test) else "" for part in node.of}
    if len(names) != 1 or "" in names or any(p.mask != FULL[p.column] for p in node.of):
        return ""
    (name,) = names
    if len(node.of) > 6:
        inside = f"a set of {len(node.of):,}"
    else:
        inside = f"{{{', '.join(_range_text(p) for p in node.of)}}}"
    return f"{name} in {inside} (it is {value_text(name, row[name])})"


def value_text(column: str, value: int) -> str:
    """A column's value, for people."""
    if column in _MAC and value < 1 << 48:
        return value.to_bytes(6, "big").hex(":")
    if column in _IP4:
        return str(ipaddress.IPv4Address(value))
    if column == "error" and value < len(ERRORS):
        return ERRORS[value][0]
    return f"{value:#x}" if column in _HEX or (column.startswith("ip6_") and value > 9999) else (
        str(value))  # fmt: skip


def _range_text(test: Test) -> str:
    lo, hi = test.lo, test.hi
    if lo == hi:
        return value_text(test.column, lo)
    if test.column in _IP4:
        found = list(prefixes(lo, hi, 32))
        if len(found) == 1:
            return f"{ipaddress.IPv4Address(lo)}/{found[0][1].bit_count()}"
    return f"{value_text(test.column, lo)}..{value_text(test.column, hi)}"


def text_of(test: Test) -> str:
    """A test, in the match language."""
    full = FULL[test.column]
    name = test.column if test.mask == full else f"{test.column} & {test.mask:#x}"
    if test.mask != full:
        return f"{name} == {test.lo:#x}" if test.lo == test.hi else (
            f"{name} in {test.lo:#x}..{test.hi:#x}")  # fmt: skip
    if test.lo == test.hi:
        return f"{name} == {_range_text(test)}"
    if test.lo == 0 and test.column not in (*_IP4, *_MAC):
        return f"{name} <= {value_text(test.column, test.hi)}"
    if test.hi == full and test.column not in (*_IP4, *_MAC):
        return f"{name} >= {value_text(test.column, test.lo)}"
    return f"{name} in {_range_text(test)}"
