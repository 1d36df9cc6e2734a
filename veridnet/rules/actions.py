"""What a rule does: action texts -> actions -> a compiled program.

::

    drop [REASON]                 the packet ends; counted as a drop `rule`, or of that reason
    forward PORT[,PORT...]        it is sent; a list sends copies
    mirror PORT                   a copy is sent, and the packet goes on
    queue N                       the tx queue of what is sent after it
    set COLUMN=VALUE              writes a header field; checksums follow
    nat src=IP[:PORT]             the source (dst=: the destination) address and port
    push_vlan ID[/PCP]            puts an 802.1Q tag on; pop_vlan takes the outermost off
    dec_ttl                       TTL or hop limit; what would become 0 is dropped (`ttl`)
    mark N                        the mbuf's mark, as rte_flow's MARK
    meter NAME                    red is dropped (`meter`)
    rate_limit RATE [burst=N]     what is above is dropped (`rate`): 10mbit, 1.5gbps, 5kpps
    sample 1/N ACTION             every N-th packet of the rule runs the action
    count                         the rule's counters are wanted
    python:MODULE.FUNCTION        a function is called with these packets (``table.apply`` only)

They run in order. `drop` and `forward` end the packet, so they come last (`count` may stand
anywhere); a packet that none of them ends goes on: in ``table.apply`` it stays in the burst, in a
forwarder it goes as without rules.
"""

from __future__ import annotations

import difflib
import importlib
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from veridnet._native.actions import MAX_BURST_BYTES, PORTS, ActionProgram, Meter
from veridnet.errors import ConfigError
from veridnet.headers.fields import BY_NAME, FIELDS, WRITABLE
from veridnet.rules.units import rate, size

__all__ = ["Action", "compile", "make_meter", "make_meters", "parse"]

_INDEX = {field.name: number for number, field in enumerate(FIELDS)}
#: Columns whose field has fewer bits than their type.
_BITS = {"eth_dst": 48, "eth_src": 48, "vlan_id": 12, "vlan_pcp": 3, "ip_dscp": 6, "ip_ecn": 2,
         "ip6_flow_label": 20, "tcp_flags": 12}  # fmt: skip
_WIDE = {"ip6_src": ("ip6_src_hi", "ip6_src_lo"), "ip6_dst": ("ip6_dst_hi", "ip6_dst_lo")}
_SETTABLE = (*WRITABLE, *_WIDE)


@dataclass(frozen=True)
class Drop:
    """The packet ends, counted under `reason`."""

    reason: str = "rule"

    def __str__(self) -> str:
        return "drop" if self.reason == "rule" else f"drop {self.reason}"


@dataclass(frozen=True)
class Forward:
    """The packet is sent to the last port, and copies of it to the others."""

    ports: tuple[str, ...]

    def __str__(self) -> str:
        return f"forward {','.join(self.ports)}"


@dataclass(frozen=True)
class Mirror:
    """A copy of the packet, as it is now, is sent."""

    port: str

    def __str__(self) -> str:
        return f"mirror {self.port}"


@dataclass(frozen=True)
class Queue:
    """What is sent from here on leaves by this tx queue."""

    number: int

    def __str__(self) -> str:
        return f"queue {self.number}"


@dataclass(frozen=True)
class Set:
    """Writes a column; `text` is the value as it was written."""

    column: str
    value: int
    text: str

    def __str__(self) -> str:
        return f"set {self.column}={self.text}"


@dataclass(frozen=True)
class Nat:
    """Replaces the address, and with `port` the port, of the source or destination."""

    source: bool
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int | None = None

    def __str__(self) -> str:
        side = "src" if self.source else "dst"
        if self.port is None:
            return f"nat {side}={self.address}"
        address = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"nat {side}={address}:{self.port}"


@dataclass(frozen=True)
class PushVlan:
    """Puts an 802.1Q tag in front of the EtherType."""

    vlan: int
    pcp: int = 0

    def __str__(self) -> str:
        return f"push_vlan {self.vlan}/{self.pcp}" if self.pcp else f"push_vlan {self.vlan}"


@dataclass(frozen=True)
class PopVlan:
    """Takes the outermost tag off."""

    def __str__(self) -> str:
        return "pop_vlan"


@dataclass(frozen=True)
class DecTtl:
    """Takes one from the TTL or hop limit."""

    def __str__(self) -> str:
        return "dec_ttl"


@dataclass(frozen=True)
class Mark:
    """Writes the mbuf's mark."""

    value: int

    def __str__(self) -> str:
        return f"mark {self.value}"


@dataclass(frozen=True)
class UseMeter:
    """Drops what a named meter colours red."""

    name: str

    def __str__(self) -> str:
        return f"meter {self.name}"


@dataclass(frozen=True)
class RateLimit:
    """Drops what is above so many bytes (or packets) a second; `text` is what was written."""

    packets: bool
    rate: int
    burst: int
    text: str

    def __str__(self) -> str:
        return f"rate_limit {self.text}"


@dataclass(frozen=True)
class Sample:
    """Every n-th packet runs the action."""

    n: int
    action: Action

    def __str__(self) -> str:
        return f"sample 1/{self.n} {self.action}"


@dataclass(frozen=True)
class Count:
    """The user wants to see the rule's counters. (All rules count.)"""

    def __str__(self) -> str:
        return "count"


@dataclass(frozen=True)
class Python:
    """Calls a function with the packets."""

    module: str
    function: str

    def __str__(self) -> str:
        return f"python:{self.module}.{self.function}"


Action = (
    Drop | Forward | Mirror | Queue | Set | Nat | PushVlan | PopVlan | DecTtl | Mark | UseMeter
    | RateLimit | Sample | Count | Python
)  # fmt: skip

#: First word -> how the action is written.
FORMS = {
    "drop": "drop, or drop REASON",
    "forward": "forward 1, forward lan, or forward 1,2",
    "mirror": "mirror 2",
    "queue": "queue 1",
    "set": "set ip_dscp=46",
    "nat": "nat src=192.0.2.1, or nat dst=10.0.0.2:8080, or nat dst=[2001:db8::1]:80",
    "push_vlan": "push_vlan 100, or push_vlan 100/5",
    "pop_vlan": "pop_vlan",
    "dec_ttl": "dec_ttl",
    "mark": "mark 7",
    "meter": "meter gold",
    "rate_limit": "rate_limit 10mbit, rate_limit 5kpps, or rate_limit 10mbit burst=64k",
    "sample": "sample 1/100 mirror 2",
    "count": "count",
    "python:": "python:module.function",
}
#: Other tools' words -> ours.
_OTHERS = {"output": "forward", "accept": "forward", "pass": "forward", "port_id": "forward",
           "reject": "drop", "deny": "drop", "snat": "nat src=", "dnat": "nat dst=",
           "dec_nw_ttl": "dec_ttl", "dec_ip_ttl": "dec_ttl", "mod": "set", "police": "rate_limit",
           "limit": "rate_limit", "log": "mirror", "clone": "mirror", "strip_vlan": "pop_vlan",
           "of_pop_vlan": "pop_vlan", "of_push_vlan": "push_vlan", "set_field": "set"}  # fmt: skip


class _Text:
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
        actions.append(_one(_Text(text.strip(), number), text.strip()))
    _check_order(actions)
    return tuple(actions)


def _one(at: _Text, text: str) -> Action:
    if text.startswith("python:"):
        return _python(at, text)
    word, _, rest = text.partition(" ")
    rest = rest.strip()
    if word not in FORMS:
        near = difflib.get_close_matches(word, FORMS, 1)
        other = _OTHERS.get(word.lower()) or (near[0] if near else "")
        hint = f"write {other}" if other else f"there are {', '.join(FORMS)}"
        at.fail(f"there is no action {word!r}" if word else "an empty action", hint)
    if word in ("pop_vlan", "dec_ttl", "count"):
        if rest:
            at.form(f"{word} takes nothing, not {rest!r}", word)
        return {"pop_vlan": PopVlan, "dec_ttl": DecTtl, "count": Count}[word]()
    if not rest and word != "drop":
        at.form(f"{word} needs a value", word)
    return _PARSERS[word](at, rest)


def _drop(at: _Text, rest: str) -> Action:
    if rest and not (rest.isascii() and rest.isidentifier()):
        at.form(f"a drop reason is a word of letters, digits and _, not {rest!r}", "drop")
    return Drop(rest or "rule")


def _port_name(at: _Text, text: str, word: str) -> str:
    if not re.fullmatch(r"[^\s,]+", text):
        at.form(f"{text!r} is not a port's order or name", word)
    return text


def _forward(at: _Text, rest: str) -> Action:
    ports = [_port_name(at, p.strip(), "forward") for p in rest.split(",")]
    for k, port in enumerate(ports):
        if port in ports[:k]:
            at.fail(f"port {port} is named twice", "name it once")
    return Forward(tuple(ports))


def _queue(at: _Text, rest: str) -> Action:
    return Queue(at.integer(rest, 65534, "a queue", "queue"))


def _set(at: _Text, rest: str) -> Action:
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


def _value(at: _Text, column: str, text: str) -> int:
    """A value of the match language: a number, address, or name."""
    from veridnet.headers.match import Test, parse as parse_match

    bits = _BITS.get(column) or (128 if column in _WIDE else
                                 int(BY_NAME[column].dtype.removeprefix("uint")))  # fmt: skip
    if column in _WIDE:
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


def _nat(at: _Text, rest: str) -> Action:
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


def _push(at: _Text, rest: str) -> Action:
    vlan, _, pcp = rest.partition("/")
    return PushVlan(
        at.integer(vlan, 4095, "a VLAN ID", "push_vlan"),
        at.integer(pcp or "0", 7, "a priority", "push_vlan"),
    )


def _rate_limit(at: _Text, rest: str) -> Action:
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


def _sample(at: _Text, rest: str) -> Action:
    found = re.fullmatch(r"1\s*/\s*(\d+)\s+(\S.*)", rest)
    if not found:
        at.form("1/N and an action are needed", "sample")
    n = at.integer(found[1], 2**32 - 1, "N", "sample", 1)
    action = _one(at, found[2])
    if isinstance(action, Sample | Count | Queue):
        at.fail(f"{action} cannot be sampled", "sample forward, mirror, drop, set, ...")
    return Sample(n, action)


def _python(at: _Text, text: str) -> Action:
    module, _, function = text.removeprefix("python:").strip().rpartition(".")
    if not module or not all(p.isidentifier() for p in (*module.split("."), function)):
        at.form("a module and a function are needed", "python:")
    return Python(module, function)


_PARSERS: dict[str, Callable[[_Text, str], Action]] = {
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


# -- compiling ------------------------------------------------------------------------------------


def compile(
    actions: Sequence[Action | str],
    ports: Sequence[str] | None = None,
    meters: Mapping[str, Meter] | None = None,
) -> ActionProgram:
    """The program of actions (or of their texts).

    Parameters
    ----------
    ports
        Names of the ports, in order; None: any order number, and no names.
    meters
        Name -> meter (`make_meters`).

    ConfigError names an action whose port, meter or function is not there.
    """
    texts = [a for a in actions if isinstance(a, str)]
    if texts and len(texts) != len(actions):
        raise TypeError("actions are all texts or all parsed")
    parsed = parse(texts) if texts else tuple(a for a in actions if not isinstance(a, str))
    ops: list[tuple[Any, ...]] = []
    for number, action in enumerate(parsed, 1):
        at = _Text(str(action), number)
        if isinstance(action, Sample):
            ops.append(("sample", action.n))
            ops.append(_op(at, action.action, ports, meters))
        elif isinstance(action, Count):
            continue
        else:
            op = _op(at, action, ports, meters)
            # Columns that are set one after the other are written in one go, the last value of
            # each; unless the one before is sampled.
            sampled = len(ops) > 1 and ops[-2][0] == "sample"
            if op[0] == "set" and ops and ops[-1][0] == "set" and not sampled:
                ops[-1] = ("set", [*ops[-1][1], *op[1]])
            else:
                ops.append(op)
    return ActionProgram(
        ops, tuple(str(a) for a in parsed), any(isinstance(a, Count) for a in parsed)
    )


def _op(
    at: _Text,
    action: Action,
    ports: Sequence[str] | None,
    meters: Mapping[str, Meter] | None,
) -> tuple[Any, ...]:
    match action:
        case Drop(reason):
            return ("drop", reason)
        case Forward(names):
            numbers = [_port(at, name, ports) for name in names]
            if len(set(numbers)) != len(numbers):
                at.fail("a port is named twice", "name it once, by its order or its name")
            return ("forward", numbers)
        case Mirror(name):
            return ("mirror", _port(at, name, ports))
        case Queue(number):
            return ("queue", number)
        case Set(column, value, _) if column in _WIDE:
            hi, lo = _WIDE[column]
            return ("set", [(_INDEX[hi], value >> 64), (_INDEX[lo], value & (1 << 64) - 1)])
        case Set(column, value, _):
            return ("set", [(_INDEX[column], value)])
        case Nat(source, address, port):
            return ("nat", source, address.version, address.packed, port)
        case PushVlan(vlan, pcp):
            return ("push", vlan | pcp << 13)
        case PopVlan():
            return ("pop",)
        case DecTtl():
            return ("ttl",)
        case Mark(value):
            return ("mark", value)
        case UseMeter(name):
            if meters is None or name not in meters:
                known = ", ".join(meters or ()) or "none"
                at.fail(f"there is no meter {name!r}", f"meters: {known}; define it as a [meter]")
            return ("meter", meters[name])
        case RateLimit(packets, per_second, burst, _):
            return ("limit", packets, per_second, burst)
        case Python(module, function):
            return ("call", _function(at, module, function))
    raise TypeError(f"not an action: {action!r}")


def _port(at: _Text, name: str, ports: Sequence[str] | None) -> int:
    if ports is not None and name in ports:
        return list(ports).index(name)
    number = int(name) if name.isascii() and name.isdecimal() else -1
    if ports is None:
        if number < 0:
            at.fail(f"port {name!r} is a name, and the ports are not known yet",
                    "name it by its order (0, 1, ...), or give the ports")  # fmt: skip
        if number >= PORTS:
            at.fail(f"port {number} is more than rules can name", f"0 to {PORTS - 1}")
        return number
    if not 0 <= number < len(ports):
        known = ", ".join(f"{i} {p}" if p != str(i) else p for i, p in enumerate(ports))
        at.fail(f"there is no port {name!r}", f"ports: {known or 'none'}")
    return number


def _function(at: _Text, module: str, function: str) -> Callable[..., Any]:
    try:
        found = importlib.import_module(module)
    except ImportError as e:
        at.fail(f"module {module} cannot be imported: {e}", "put it on PYTHONPATH, or install it")
    target = getattr(found, function, None)
    if not callable(target):
        at.fail(f"module {module} has no function {function}", f"define it in {found.__file__}")
    return target  # type: ignore[no-any-return]


def check_native(programs: Sequence[ActionProgram]) -> None:
    """ConfigError if an action needs Python: the forwarder's loops run without."""
    for program in programs:
        if program.needs_python:
            text = next(t for t in program.texts if "python:" in t)
            raise ConfigError(
                f"action {text!r}: the native forwarder calls no Python",
                hint="receive bursts in a loop of your own, and call table.apply(burst, ports=...)",
            )


# -- meters ---------------------------------------------------------------------------------------

_METERS = {"srtcm": ("cir", "cbs", "ebs"), "trtcm": ("cir", "pir", "cbs", "pbs")}


def make_meter(name: str, parameters: Mapping[str, Any]) -> Meter:
    """A meter of parameters as rule files have them.

    ``type`` is "srtcm" (cir, cbs, ebs) or "trtcm" (cir, pir, cbs, pbs). A rate is bytes a second,
    or text as "10mbit"; a burst is bytes, or text as "64k". Metered are the bytes after the
    Ethernet header and VLAN tags.
    """
    given = dict(parameters)
    kind = given.pop("type", "trtcm" if "pir" in given else "srtcm")
    if kind not in _METERS:
        raise ConfigError(f"meter {name}: type is srtcm or trtcm, not {kind!r}")
    values = {}
    for key in _METERS[kind]:
        if key not in given:
            raise ConfigError(f"meter {name}: {key} is missing",
                              hint=f"a {kind} has {', '.join(_METERS[kind])}")  # fmt: skip
        value = given.pop(key)
        try:
            values[key] = _meter_rate(value) if key in ("cir", "pir") else size(value)
        except ValueError as e:
            raise ConfigError(f"meter {name}: {key}: {e}", hint="as 10mbit, or 64k") from None
    if given:
        raise ConfigError(f"meter {name}: {next(iter(given))} is not expected",
                          hint=f"a {kind} has {', '.join(_METERS[kind])}")  # fmt: skip
    if values["cir"] == 0 or values.get("pir", values["cir"]) < values["cir"]:
        raise ConfigError(f"meter {name}: cir is above 0, and pir is at least cir")
    if kind == "srtcm" and not values["cbs"] + values["ebs"]:
        raise ConfigError(f"meter {name}: cbs or ebs is above 0 (RFC 2697)")
    if kind == "trtcm" and not (values["cbs"] and values["pbs"]):
        raise ConfigError(f"meter {name}: cbs and pbs are above 0 (RFC 2698)")
    return Meter(kind, **values)


def _meter_rate(value: Any) -> int:
    if isinstance(value, str):
        packets, per_second = rate(value)
        if packets:
            raise ValueError("a meter's rate is of bytes, not packets")
        return per_second
    return size(value)


def make_meters(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Meter]:
    """Name -> meter, of a rule file's meters."""
    return {name: make_meter(name, parameters) for name, parameters in tables.items()}
