"""Action texts, read: see `veridnet.rules.actions` for what there is."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import NoReturn

from veridnet._native.actions import MAX_BURST_BYTES
from veridnet.errors import ConfigError
from veridnet.headers.fields import BY_NAME, WRITABLE
from veridnet.rules.action_kinds import (
    FORMS,
    OTHERS,
    Action,
    Count,
    DecTtl,
    Drop,
    Forward,
    Mark,
    Mirror,
    Nat,
    PopVlan,
    PushVlan,
    Python,
    Queue,
    RateLimit,
    Sample,
    Set,
    UseMeter,
)
from veridnet.rules.units import rate, size

#: Columns whose field has fewer bits than their type.
_BITS = {"eth_dst": 48, "eth_src": 48, "vlan_id": 12, "vlan_pcp": 3, "ip_dscp": 6, "ip_ecn": 2,
         "ip6_flow_label": 20, "tcp_flags": 12}  # fmt: skip
WIDE = {"ip6_src": ("ip6_src_hi", "ip6_src_lo"), "ip6_dst": ("ip6_dst_hi", "ip6_dst_lo")}
_SETTABLE = (*WRITABLE, *WIDE)


#: Actions of one word.
_BARE: dict[str, Action] = {"pop_vlan": PopVlan(), "dec_ttl": DecTtl(), "count": Count()}


class Text:
    """One action's text, and where it stands."""

    def __init__(self, text: str, number: int) -> None:
        self.text = text
        self.number = number

    def fail(self, why: str, hint: str = "") -> NoReturn:
        raise ConfigError(f"action {self.number}, {self.text!r}: {why}", hint=hint)

    def form(self, why: str, word: str) -> NoReturn:
        self.fail(why, f"as: {FORMS[word]}")

    def integer(self, text: str, most: int, what: str, word: str, least: int = 0) -> int:
        try:
            value = int(text, 0)
        except ValueError:
            value = -1
        if not least <= value <= most:
            self.form(f"{what} is a number from {least} to {most}, not {text!r}", word)
        return value


def parse(texts: Sequence[str]) -> tuple[Action, ...]:
    """The actions of texts. ConfigError names the action, by its place from 1, and a remedy."""
    if isinstance(texts, str):
        raise ConfigError(f"actions are a list of texts, not one text: {texts!r}",
                          hint=f"[{texts!r}]")  # fmt: skip
    actions = []
    for number, text in enumerate(texts, 1):
        if not isinstance(text, str):
            raise ConfigError(f"action {number} is a text, not {text!r}")
        actions.append(_one(Text(text.strip(), number), text.strip()))
    _check_order(actions)
    return tuple(actions)


def _one(at: Text, text: str) -> Action:
    if text.startswith("python:"):
        return _python(at, text)
    word, _, rest = text.partition(" ")
    rest = rest.strip()
    if word not in FORMS:
        near = difflib.get_close_matches(word, FORMS, 1)
        other = OTHERS.get(word.lower()) or (near[0] if near else "")
        hint = f"write {other}" if other else f"there are {', '.join(FORMS)}"
        at.fail(f"there is no action {word!r}" if word else "an empty action", hint)
    if word in _BARE:
        if rest:
            at.form(f"{word} takes nothing, not {rest!r}", word)
        return _BARE[word]
    if not rest and word != "drop":
        at.form(f"{word} needs a value", word)
    return _PARSERS[word](at, rest)


def _drop(at: Text, rest: str) -> Action:
    if rest and not (rest.isascii() and rest.isidentifier()):
        at.form(f"a drop reason is a word of letters, digits and _, not {rest!r}", "drop")
    return Drop(rest or "rule")


def _port_name(at: Text, text: str, word: str) -> str:
    if not re.fullmatch(r"[^\s,]+", text):
        at.form(f"{text!r} is not a port's order or name", word)
    return text


def _forward(at: Text, rest: str) -> Action:
    ports = [_port_name(at, p.strip(), "forward") for p in rest.split(",")]
    seen: set[str] = set()
    for port in ports:
        if port in seen:
            at.fail(f"port {port} is named twice", "name it once")
        seen.add(port)
    return Forward(tuple(ports))


def _queue(at: Text, rest: str) -> Action:
    return Queue(at.integer(rest, 65534, "a queue", "queue"))


def _set(at: Text, rest: str) -> Action:
    column, equals, value = (part.strip() for part in rest.partition("="))
    if not equals or not value:
        at.form("a column and a value are needed", "set")
    if column not in _SETTABLE:
        near = difflib.get_close_matches(column, _SETTABLE, 3)
        why = "cannot be written" if column in BY_NAME else "is no column"
        at.fail(f"{column} {why}",
                f"did you mean {' or '.join(near)}?" if near else
                f"there are {', '.join(_SETTABLE)}")  # fmt: skip
    return Set(column, _value(at, column, value), value)


def _value(at: Text, column: str, text: str) -> int:
    """A value of the match language: a number, address, or name."""
    from veridnet.headers.match import Test
    from veridnet.headers.match import parse as parse_match

    bits = _BITS.get(column) or (128 if column in WIDE else
                                 int(BY_NAME[column].dtype.removeprefix("uint")))  # fmt: skip
    if column in WIDE:
        try:
            return int(ipaddress.IPv6Address(text))
        except ValueError:
            at.fail(f"{text!r} is not an IPv6 address", f"as: set {column}=2001:db8::1")
    try:
        node = parse_match(f"{column} == {text}")
    except ConfigError as e:
        at.fail(f"{text!r} is not a value of {column}", getattr(e, "hint", ""))
    if not isinstance(node, Test) or node.lo != node.hi or node.column != column:
        at.fail(f"{text!r} is not one value", f"as: set {column}=1")
    if node.lo >> bits:
        at.fail(f"{text} does not fit {column}", f"it has {bits} bits")
    return node.lo


def _nat(at: Text, rest: str) -> Action:
    found = re.fullmatch(r"(src|dst)\s*=\s*(.+)", rest)
    if not found:
        at.form("src= or dst= is needed", "nat")
    side, text = found.groups()
    port = None
    if match := re.fullmatch(r"\[([^\]]*)\](?::(.*))?|([^:]+):([^:]*)", text):
        six, six_port, four, four_port = match.groups()
        text, number = (six, six_port) if six is not None else (four, four_port)
        if number is not None:
            port = at.integer(number, 65535, "a port", "nat", 1)
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        at.form(f"{text!r} is not an IP address", "nat")
    return Nat(side == "src", address, port)


def _push(at: Text, rest: str) -> Action:
    vlan, _, pcp = rest.partition("/")
    return PushVlan(
        at.integer(vlan, 4095, "a VLAN ID", "push_vlan"),
        at.integer(pcp or "0", 7, "a priority", "push_vlan"),
    )


def _rate_limit(at: Text, rest: str) -> Action:
    words = rest.split()
    try:
        packets, per_second = rate(words[0])
        burst = None
        for word in words[1:]:
            key, _, value = word.partition("=")
            if key != "burst" or burst is not None:
                at.form(f"{word!r} is not expected", "rate_limit")
            burst = size(value)
    except ValueError as e:
        at.form(str(e), "rate_limit")
    if burst is None:
        # What 10 ms bring; at least a few packets, or nothing would pass between two bursts.
        burst = max(per_second // 100, 64 if packets else 16384)
    if not 1 <= burst <= MAX_BURST_BYTES:
        at.form(f"burst is from 1 to {MAX_BURST_BYTES}", "rate_limit")
    return RateLimit(packets, per_second, burst, " ".join(words))


def _sample(at: Text, rest: str) -> Action:
    found = re.fullmatch(r"1\s*/\s*(\d+)\s+(\S.*)", rest)
    if not found:
        at.form("1/N and an action are needed", "sample")
    n = at.integer(found[1], 2**32 - 1, "N", "sample", 1)
    action = _one(at, found[2])
    if isinstance(action, Sample | Count | Queue):
        at.fail(f"{action} cannot be sampled", "sample forward, mirror, drop, set, ...")
    return Sample(n, action)


def _python(at: Text, text: str) -> Action:
    module, _, function = text.removeprefix("python:").strip().rpartition(".")
    if not module or not all(p.isidentifier() for p in (*module.split("."), function)):
        at.form("a module and a function are needed", "python:")
    return Python(module, function)


_PARSERS: dict[str, Callable[[Text, str], Action]] = {
    "drop": _drop,
    "forward": _forward,
    "mirror": lambda at, rest: Mirror(_port_name(at, rest, "mirror")),
    "queue": _queue,
    "set": _set,
    "nat": _nat,
    "push_vlan": _push,
    "mark": lambda at, rest: Mark(at.integer(rest, 2**32 - 1, "a mark", "mark")),
    "meter": lambda at, rest: UseMeter(_port_name(at, rest, "meter")),
    "rate_limit": _rate_limit,
    "sample": _sample,
    "python:": _python,
}


def _check_order(actions: Sequence[Action]) -> None:
    """What could never have an effect is an error."""
    ended: Action | None = None
    waits: tuple[int, Action] | None = None
    for number, action in enumerate(actions, 1):
        if isinstance(action, Count):
            continue
        if ended is not None:
            raise ConfigError(
                f"action {number}, {str(action)!r}: comes after {str(ended)!r}, which ends the "
                f"packet", hint=f"put it before {str(ended)!r}, or leave it away")  # fmt: skip
        inner = action.action if isinstance(action, Sample) else action
        if isinstance(action, Queue):
            waits = (number, action)
        elif isinstance(inner, Forward | Mirror):
            waits = None
        if isinstance(action, Drop | Forward):
            ended = action
    if waits is not None:
        raise ConfigError(
            f"action {waits[0]}, {str(waits[1])!r}: nothing is sent after it",
            hint=f"put it before a forward, as: {waits[1]}, forward 1")  # fmt: skip
