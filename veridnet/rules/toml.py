"""Rules as TOML: veridnet's own file, which says all that there is to say.

::

    default = ["drop"]                      # packets that no rule matches

    [[rule]]
    name = "web"
    match = "ip_proto == tcp and l4_dst == 443"
    priority = 100                          # the larger wins, the earlier among equals
    actions = ["count", "forward 1"]

    [sets]
    servers = ["10.1.0.0/16", "10.2.0.7"]
    blocked = "blocked.txt"                 # a member a line, # begins a comment

    [meters.gold]
    cir = 1_000_000
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from veridnet.errors import ConfigError
from veridnet.rules.files import place, read_text
from veridnet.rules.rule import Rule, RuleSet, rule_label

_KEYS = tuple(f.name for f in fields(Rule))
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def read(source: str | os.PathLike[str]) -> RuleSet:
    """The rules of a TOML file, or of its text (what has a line break).

    Files of sets are found from the TOML file's folder. ConfigError says where what is wrong.
    """
    text, name = read_text(source)
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as e:
        where = re.search(r" \(at line (\d+), column (\d+)\)$", str(e))
        what = str(e)[: where.start()] if where else str(e)
        at = f"{place(name, int(where[1]))}, column {where[2]}" if where else name or "the text"
        raise ConfigError(f"{at}: not TOML: {what}") from None
    prefix = f"{name}: " if name else ""
    _check_keys(prefix, data, ("default", "rule", "sets", "meters"))
    entries = data.get("rule", [])
    if not isinstance(entries, list):
        raise ConfigError(f"{prefix}rules are written as [[rule]], not [rule]")
    lines = _lines(text, len(entries))
    rules = tuple(
        _rule(place(name, lines[n]) if lines else f"{prefix}rule {n}", n, entry)
        for n, entry in enumerate(entries)
    )
    default = data.get("default", [])
    if not isinstance(default, list) or not all(isinstance(a, str) for a in default):
        raise ConfigError(f'{prefix}default is a list of actions, as default = ["drop"]')
    meters = data.get("meters", {})
    if not isinstance(meters, dict) or not all(isinstance(m, dict) for m in meters.values()):
        raise ConfigError(f"{prefix}a meter is written as [meters.NAME] with its parameters below")
    return RuleSet(rules, tuple(default), _sets(prefix, name, data.get("sets", {})), meters, lines)


def _rule(where: str, number: int, entry: object) -> Rule:
    if not isinstance(entry, dict):
        raise ConfigError(f"{where}: a rule is a table: [[rule]]")
    label = entry.get("name")
    which = f"{where}: {rule_label(number, label if isinstance(label, str) else '')}"
    _check_keys(f"{which}: ", entry, _KEYS)
    if "match" not in entry:
        raise ConfigError(f"{which}: match is missing", hint='match = "" matches every packet')
    actions = entry.get("actions", [])
    if isinstance(actions, list):
        entry = {**entry, "actions": tuple(actions)}
    elif not isinstance(actions, str):
        raise ConfigError(f"{which}: actions is a list of texts, not {actions!r}")
    try:
        return Rule(**entry)
    except ConfigError as e:
        raise ConfigError(f"{which}: {e}", hint=e.hint) from None


def _lines(text: str, count: int) -> tuple[int, ...]:
    """Where the rules begin, or () where that is not plain to see."""
    found = [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if re.match(r"\s*\[\[\s*rule\s*\]\]\s*(#.*)?$", line)
    ]
    return tuple(found) if len(found) == count else ()


def _sets(prefix: str, name: str, data: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(data, dict):
        raise ConfigError(f"{prefix}sets is a table: [sets]")
    out = {}
    for key, value in data.items():
        if not _NAME.fullmatch(key):
            raise ConfigError(f"{prefix}set {key!r}: a name has letters, digits, _ and -")
        if isinstance(value, str):
            try:
                out[key] = read_set(os.path.join(os.path.dirname(name), value))
            except ConfigError as e:
                found = "it is found from the rule file's folder"
                raise ConfigError(f"{prefix}set {key}: {e}", hint=found) from None
            continue
        if not isinstance(value, list):
            raise ConfigError(f"{prefix}set {key}: a list of members, or the name of a file")
        members = []
        for member in value:
            if isinstance(member, bool) or not isinstance(member, str | int):
                raise ConfigError(f"{prefix}set {key}: a member is text or a number, not {member}")
            members.append(str(member))
        out[key] = tuple(members)
    return out


def read_set(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The members of a set's file: one a line; ``#`` begins a comment."""
    text, _ = read_text(os.fspath(path) or "?")
    members = (line.partition("#")[0].strip() for line in text.splitlines())
    return tuple(member for member in members if member)


def _check_keys(prefix: str, data: Mapping[str, object], known: tuple[str, ...]) -> None:
    for key in data:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            raise ConfigError(
                f"{prefix}unknown key {key}" + (f" (did you mean {near[0]}?)" if near else ""),
                hint=f"keys: {', '.join(known)}",
            )


def write(rules: RuleSet) -> str:
    """The rules as TOML. `read` gives the same rules back."""
    out = []
    if rules.default:
        out += [f"default = {_value(rules.default)}", ""]
    for rule in rules.rules:
        out.append("[[rule]]")
        if rule.name:
            out.append(f"name = {_value(rule.name)}")
        out.append(f"match = {_value(rule.match)}")
        if rule.priority:
            out.append(f"priority = {rule.priority}")
        if rule.actions:
            out.append(f"actions = {_value(rule.actions)}")
        for key in ("idle_timeout", "hard_timeout"):
            if value := getattr(rule, key):
                out.append(f"{key} = {value!r}")
        out.append("")
    if rules.sets:
        out.append("[sets]")
        out += [f"{_key(key)} = {_value(members)}" for key, members in rules.sets.items()]
        out.append("")
    for name, parameters in rules.meters.items():
        out.append(f"[meters.{_key(name)}]")
        out += [f"{_key(key)} = {_value(value)}" for key, value in parameters.items()]
        out.append("")
    return "\n".join(out)


def _key(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else _value(text)


def _value(value: Any) -> str:
    if isinstance(value, str):
        # A JSON string is a TOML string, but for what Unicode says of DEL and surrogates.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    raise ConfigError(f"TOML has no {type(value).__name__}: {value!r}")
