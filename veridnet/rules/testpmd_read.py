"""testpmd's ``flow create`` lines -> rules."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from typing import NoReturn

from veridnet.errors import ConfigError
from veridnet.rules.files import place, read_text
from veridnet.rules.rule import MAX_PRIORITY, Rule, RuleSet
from veridnet.rules.testpmd_items import ITEMS, TPIDS, Field, Item, comparison, number, value

FORM = "as: flow create 0 ingress pattern eth / ipv4 / tcp dst is 443 / end actions drop / end"
_PARAMETERS = ("is", "spec", "last", "mask", "prefix")


def read(source: str | os.PathLike[str]) -> RuleSet:
    """The rules of a file of testpmd commands, or of its text (what has a line break).

    Lines are ``flow create``, ``set sample_actions``, blank, or comments (``#``). ConfigError names
    the line that is wrong, or that says what rules cannot.
    """
    text, name = read_text(source)
    samples: dict[int, tuple[str, ...]] = {}
    found: list[tuple[int, str, tuple[str, ...]]] = []
    lines = []
    for at, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            if words[:2] == ["set", "sample_actions"]:
                reader = _Words(words[2:])
                index = reader.number("an index")
                samples[index] = _actions(reader, samples)
            elif words[:2] == ["flow", "create"]:
                found.append(_flow(_Words(words[2:]), samples))
                lines.append(at)
            else:
                raise ConfigError(
                    f"{' '.join(words[:2])!r} is not a rule: lines are flow create, "
                    "set sample_actions, or comments", hint=FORM)  # fmt: skip
        except ConfigError as e:
            raise ConfigError(f"{place(name, at)}: {e}", hint=e.hint) from None
    # rte_flow's 0 is the strongest.
    levels = {level for level, _, _ in found}
    weakest = max(levels, default=0)
    if weakest - min(levels, default=0) <= MAX_PRIORITY:
        priority = {level: weakest - level for level in levels}
    else:
        priority = {level: n for n, level in enumerate(sorted(levels, reverse=True))}
    rules = tuple(Rule(match, actions, priority[level]) for level, match, actions in found)
    return RuleSet(rules, lines=tuple(lines))


class _Words:
    """The words of a line."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.at = 0

    @property
    def now(self) -> str:
        return self.words[self.at] if self.at < len(self.words) else ""

    def next(self, what: str) -> str:
        word = self.now
        if not word:
            raise ConfigError(f"{what} is missing at the end", hint=FORM)
        self.at += 1
        return word

    def take(self, *texts: str) -> str:
        if self.now and self.now in texts:
            return self.next("")
        return ""

    def need(self, text: str) -> None:
        if not self.take(text):
            raise ConfigError(f"{text!r} is expected, not {self.now or 'the end'!r}", hint=FORM)

    def number(self, what: str) -> int:
        return number(self.next(what))


def _flow(words: _Words, samples: dict[int, tuple[str, ...]]) -> tuple[int, str, tuple[str, ...]]:
    """(level, match, actions) of what follows ``flow create``."""
    port = words.number("a port")
    level, seen = 0, set()
    while word := words.take("group", "priority", "ingress", "egress", "transfer"):
        if word == "priority":
            level = words.number("a priority")
        elif word == "group" and words.number("a group"):
            raise ConfigError("only group 0: others are reached by jump, which rules do not have")
        elif word == "egress":
            raise ConfigError("egress: rules are for packets that are received")
        seen.add(word)
    words.need("pattern")
    tests = [] if "transfer" in seen else [f"in_port == {port}"]
    tests += _pattern(words)
    words.need("actions")
    actions = _actions(words, samples)
    if words.now:
        raise ConfigError(f"{words.now!r} after the end of the actions")
    return level, " and ".join(dict.fromkeys(test for test in tests if test)), actions


def _pattern(words: _Words) -> list[str]:
    tests: list[str] = []
    layer, tags = -1, 0
    while not words.take("end"):
        name = words.next("an item, or end")
        if name == "void" or (name == "any" and words.now == "/"):
            words.need("/")
            continue
        if name == "vlan":
            tags += 1
            key = name if tags == 1 else f"vlan {tags}"
        else:
            key = name
        item = ITEMS.get(key)
        if item is None:
            why = "a third tag has no columns" if name == "vlan" else f"there is no item {name!r}"
            near = difflib.get_close_matches(name, ITEMS, 1)
            raise ConfigError(
                why + (f" (did you mean {near[0]}?)" if near and not tags else ""),
                hint=f"items: {', '.join(k for k in ITEMS if ' ' not in k)}",
            )
        if item.layer <= layer and item.layer:
            raise ConfigError(f"{name} lies below what is before it; rules see outer headers only")
        layer = item.layer
        tests += [item.guard, *_item(words, name, item, tags)]
    return tests


def _item(words: _Words, name: str, item: Item, tags: int) -> list[str]:
    """The tests of an item's fields."""
    given: dict[str, dict[str, int]] = {"spec": {}, "last": {}, "mask": {}}
    while not words.take("/"):
        key = words.next(f"a field of {name}, or /")
        field = item.fields.get(key)
        if field is None:
            near = difflib.get_close_matches(key, item.fields, 1)
            raise ConfigError(f"{name} has no field {key!r}"
                              + (f" (did you mean {near[0]}?)" if near else ""),
                              hint=f"fields: {', '.join(item.fields)}")  # fmt: skip
        how = words.next(" or ".join(_PARAMETERS))
        if how not in _PARAMETERS:
            raise ConfigError(f"{name} {key} {how!r}: one of {', '.join(_PARAMETERS)} is expected")
        word = words.next("a value")
        try:
            if how == "prefix":
                length = number(word)
                if length > field.bits:
                    raise ConfigError(f"a prefix of {length} bits, of {field.bits}")
                given["mask"][key] = field.full ^ (field.full >> length)
            else:
                given["spec" if how == "is" else how][key] = value(field, word)
                if how == "is":
                    given["mask"][key] = field.full
        except ConfigError as e:
            raise ConfigError(f"{name} {key} {how}: {e}", hint=e.hint) from None
    if not given["spec"]:
        if given["last"] or given["mask"]:
            raise ConfigError(f"{name} has a mask or last without spec, which rte_flow refuses")
        return []
    masks = given["mask"] or {
        key: f.default for key, f in item.fields.items() if f.default
    }  # only spec: the item's default mask, on all of its fields
    ignored = [key for key in given["spec"] if not masks.get(key) and not given["mask"]]
    if name == "vlan" and "vid" in ignored:  # it is the tci's default mask
        masks = {"vid": 0xFFF}
        ignored.remove("vid")
    if ignored:
        raise ConfigError(f"{name} {ignored[0]} spec: {name}'s default mask leaves it out",
                          hint=f"{name} {ignored[0]} is, or a mask beside spec")  # fmt: skip
    tests: list[str] = []
    for key, mask in masks.items():
        if mask:
            spec, last = given["spec"].get(key, 0) & mask, given["last"].get(key, 0) & mask
            tests += _test(name, key, item.fields[key], mask, spec, max(spec, last), tags)
    return tests


def _test(
    name: str, key: str, field: Field, mask: int, lo: int, hi: int, tags: int
) -> Iterable[str]:
    if key in ("type", "inner_type") and name in ("eth", "vlan"):
        if mask != field.full or lo != hi:
            raise ConfigError(f"{name} {key}: only one whole value can be matched")
        if lo in TPIDS:
            raise ConfigError(f"{name} {key} {lo:#06x}: which TPID a tag has cannot be matched",
                              hint="leave it out; the vlan item that follows says it")  # fmt: skip
        return [f"ethertype == {lo:#06x}", f"vlan_depth == {tags}"]
    if key in ("has_vlan", "has_more_vlan"):
        return [f"vlan_depth > {tags}" if lo else f"vlan_depth == {tags}"]
    if (name, key) == ("mpls", "s"):
        return ["mpls_depth == 1" if lo else "mpls_depth > 1"]
    if (name, key, field.bits, mask) == ("tcp", "flags", 8, 0xFF):
        # The column has the bits above these, too.
        return [f"tcp_flags & 0xff == {lo:#x}" if lo == hi else f"tcp_flags & 0xff in {lo}..{hi}"]
    touched = [p for p in field.parts if mask >> p[1] & ((1 << p[2]) - 1)]
    if lo != hi and len(touched) > 1:
        raise ConfigError(f"{name} {key} last: a range of what is several columns")
    tests = []
    for column, shift, bits in touched:
        ones = (1 << bits) - 1
        if not column:
            _no_column(name, key)
        tests.append(
            comparison(column, bits, mask >> shift & ones, lo >> shift & ones, hi >> shift & ones)
        )
    return tests


def _no_column(name: str, key: str) -> NoReturn:
    raise ConfigError(f"{name} {key}: there is no column for this bit of a second tag")


def _actions(words: _Words, samples: dict[int, tuple[str, ...]]) -> tuple[str, ...]:
    """Action texts, of what stands between ``actions`` and ``end``."""
    out: list[str] = []
    while not words.take("end"):
        name = words.next("an action, or end")
        arguments: dict[str, str] = {}
        while words.now not in ("/", ""):
            key = words.next("")
            arguments[key] = words.next(f"a value of {name} {key}")
        words.need("/")
        try:
            _action(out, name, arguments, samples)
        except KeyError as e:
            raise ConfigError(f"{name}: {e.args[0]} is missing") from None
    return tuple(out)


#: Name -> (its argument, the action's text).
_SIMPLE = {
    "drop": ("", "drop"),
    "queue": ("index", "queue {}"),
    "mark": ("id", "mark {}"),
    "port_id": ("id", "forward {}"),
    "represented_port": ("ethdev_port_id", "forward {}"),
    "meter": ("mtr_id", "meter {}"),
    "of_pop_vlan": ("", "pop_vlan"),
    "dec_ttl": ("", "dec_ttl"),
    "of_dec_nw_ttl": ("", "dec_ttl"),
    "set_ttl": ("ttl_value", "set ip_ttl={}"),
    "set_ipv4_src": ("ipv4_addr", "set ip_src={}"),
    "set_ipv4_dst": ("ipv4_addr", "set ip_dst={}"),
    "set_ipv6_src": ("ipv6_addr", "nat src={}"),
    "set_ipv6_dst": ("ipv6_addr", "nat dst={}"),
    "set_tp_src": ("port", "set l4_src={}"),
    "set_tp_dst": ("port", "set l4_dst={}"),
    "set_mac_src": ("mac_addr", "set eth_src={}"),
    "set_mac_dst": ("mac_addr", "set eth_dst={}"),
    "set_ipv4_dscp": ("dscp_value", "set ip_dscp={}"),
    "set_ipv6_dscp": ("dscp_value", "set ip_dscp={}"),
}
_ADDRESSES = {"ipv4_addr", "ipv6_addr", "mac_addr"}
ACTIONS = (
    *_SIMPLE,
    "count",
    "of_push_vlan",
    "of_set_vlan_vid",
    "of_set_vlan_pcp",
    "sample",
    "void",
)


def _action(
    out: list[str], name: str, arguments: dict[str, str], samples: dict[int, tuple[str, ...]]
) -> None:
    """Adds an action to those before it."""
    allowed: tuple[str, ...] = ()
    if name in _SIMPLE:
        key, form = _SIMPLE[name]
        allowed = (key,) if key else ()
        if key:
            word = arguments[key]
            out.append(form.format(word if key in _ADDRESSES else number(word)))
        else:
            out.append(form)
    elif name == "count":
        allowed = ("identifier",)
        out.append("count")
    elif name == "of_push_vlan":
        allowed = ("ethertype",)
        if number(arguments["ethertype"]) != 0x8100:
            raise ConfigError("of_push_vlan: rules push tags of type 0x8100 only")
        out.append("push_vlan 0")
    elif name == "of_set_vlan_vid":
        allowed = ("vlan_vid",)
        vid = number(arguments["vlan_vid"])
        if out and out[-1].startswith("push_vlan"):
            pcp = out[-1].partition("/")[1:]
            out[-1] = f"push_vlan {vid}{''.join(pcp)}"
        else:
            out.append(f"set vlan_id={vid}")
    elif name == "of_set_vlan_pcp":
        allowed = ("vlan_pcp",)
        pcp_value = number(arguments["vlan_pcp"])
        if out and out[-1].startswith("push_vlan"):
            out[-1] = f"{out[-1].partition('/')[0]}/{pcp_value}"
        else:
            out.append(f"set vlan_pcp={pcp_value}")
    elif name == "sample":
        allowed = ("ratio", "index")
        ratio = number(arguments["ratio"])
        index = number(arguments.get("index", "0"))
        inner = samples.get(index, ())
        if len(inner) != 1:
            raise ConfigError(f"sample index {index}: it needs one action, by a line before it",
                              hint=f"set sample_actions {index} port_id id 1 / end")  # fmt: skip
        action = inner[0].replace("forward", "mirror", 1)
        out.append(action if ratio == 1 and action.startswith("mirror")
                   else f"sample 1/{ratio} {action}")  # fmt: skip
    elif name != "void":
        near = difflib.get_close_matches(name, ACTIONS, 1)
        raise ConfigError(f"rules have no action {name!r}"
                          + (f" (did you mean {near[0]}?)" if near else ""),
                          hint=f"actions: {', '.join(ACTIONS)}")  # fmt: skip
    for key in arguments:
        if key not in allowed:
            raise ConfigError(f"{name} has no {key!r}")
