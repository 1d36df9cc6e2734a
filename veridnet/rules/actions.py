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

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from veridnet._native.actions import PORTS, ActionProgram, Meter
from veridnet.errors import ConfigError
from veridnet.headers.fields import FIELDS
from veridnet.rules.action_kinds import (
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
from veridnet.rules.action_texts import WIDE, Text, parse
from veridnet.rules.meters import make_meter, make_meters

__all__ = ["Action", "check_native", "compile", "make_meter", "make_meters", "parse"]

_INDEX = {field.name: number for number, field in enumerate(FIELDS)}


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
        at = Text(str(action), number)
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
    at: Text,
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
        case Set(column, value, _) if column in WIDE:
            hi, lo = WIDE[column]
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


def _port(at: Text, name: str, ports: Sequence[str] | None) -> int:
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


def _function(at: Text, module: str, function: str) -> Callable[..., Any]:
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
