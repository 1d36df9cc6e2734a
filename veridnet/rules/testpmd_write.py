"""Rules -> testpmd's ``flow create`` lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NoReturn

from veridnet.errors import ConfigError
from veridnet.rules.boxes import FULL, Box, boxes, meet, prefixes
from veridnet.rules.rule import RuleSet, winning_order
from veridnet.rules.testpmd_items import ITEMS, PROTOCOLS, TPIDS, Field, text

_Test = tuple[int, int, int]
_IPV4 = ("ip_src", "ip_dst", "ip_ihl", "ip_id", "ip_flags", "ip_frag_off", "ip_checksum")
_IPV6 = ("ip6_src_hi", "ip6_src_lo", "ip6_dst_hi", "ip6_dst_lo", "ip6_flow_label", "ip6_next")
_IP = ("ip_proto", "ip_ttl", "ip_dscp", "ip_ecn")
_L4 = ("l4_src", "l4_dst", "tcp_flags", "sctp_tag", "sctp_checksum", "icmp_type", "icmp_code",
       "icmp_id", "icmp_seq", "ipsec_spi")  # fmt: skip
#: What `_link` writes itself.
_LINK = ("ethertype", "vlan_depth", "mpls_depth")
_BY_PROTOCOL = {number: name for name, number in PROTOCOLS.items()}


_NONE = (0, 0, 0)


class _CannotError(Exception):
    pass


def _cannot(why: str) -> NoReturn:
    raise _CannotError(why)


def write(rules: RuleSet, *, ports: Sequence[int] = ()) -> str:
    """The rules as testpmd commands, the strongest first; one rule may take several lines.

    A rule without ``in_port`` is for all ports: it is written as a transfer rule, or once for each
    of `ports`. Equal priorities, which rte_flow leaves undecided, become different ones where the
    actions differ. ConfigError names the rule that the syntax cannot say, and why.
    """
    out: list[str] = []
    samples: dict[str, int] = {}
    level, before = -1, None
    for n in winning_order([rule.priority for rule in rules.rules]):
        rule = rules.rules[n]
        if (rule.priority, rule.actions) != before:
            level, before = level + 1, (rule.priority, rule.actions)
        try:
            if rule.idle_timeout or rule.hard_timeout:
                _cannot("it has no timeouts")
            actions = _actions(rule.actions, samples, out)
            found = boxes(rules.tree(int(n)), 65536)
            if found is None:
                _cannot("it has ranges and masks only; the match needs more")
            lines = [line for box in found for line in _lines(box, level, actions, ports)]
        except _CannotError as e:
            raise ConfigError(
                f"{rules.label(int(n))}: testpmd's flow syntax cannot say it: {e}"
            ) from None
        out += [f"# {rule.name}"] if rule.name.isprintable() and rule.name else []
        out += lines
    if rules.default:
        try:
            actions = _actions(rules.default, samples, out)
            out += _lines({}, level + 1, actions, ports)
        except _CannotError as e:
            raise ConfigError(f"default: testpmd's flow syntax cannot say it: {e}") from None
    return "".join(f"{line}\n" for line in out)


def _lines(box: Box, level: int, actions: str, ports: Sequence[int]) -> Iterator[str]:
    """A box as commands."""
    left = dict(box)
    test = left.pop("in_port", None)
    if test is not None:
        mask, lo, hi = test
        if mask != 0xFFFF or lo != hi:
            _cannot("in_port must be one port")
        heads = [f"flow create {lo} priority {level} ingress"]
    elif ports:
        heads = [f"flow create {port} priority {level} ingress" for port in ports]
    else:
        heads = [f"flow create 0 priority {level} transfer"]
    for pattern in _patterns(left):
        for head in heads:
            yield f"{head} pattern {pattern} / end actions {actions}end"


def _patterns(box: Box) -> Iterator[str]:
    for whole in _with_version(box):
        for known in _with_protocol(whole):
            yield from _pattern(known)


def _not_zero(box: Box, column: str) -> bool:
    """Does a test say that a column is not 0, so that the packet has the header?"""
    return column in box and box[column][1] > 0


def _needed(box: Box, columns: Sequence[str], guard: str) -> None:
    """Tests that a packet without the header passes need a guard."""
    for column in columns:
        if column in box:
            _cannot(f"the test of {column} holds for packets without that header too; add {guard}")


def _with_version(box: Box) -> Iterator[Box]:
    """The box for IPv4, IPv6, or neither, as the patterns need it."""
    test = box.get("ip_version")
    used = [name for name in (*_IPV4, *_IPV6, *_IP, *_L4) if name in box]
    ethertype = box.get("ethertype")
    if test is None:
        if any(_not_zero(box, name) for name in _IPV4):
            versions = [4]
        elif any(_not_zero(box, name) for name in _IPV6):
            versions = [6]
        elif any(_not_zero(box, name) for name in (*_IP, *_L4)):
            kinds = {0x0800: [4], 0x86DD: [6]}
            exact = ethertype is not None and ethertype[1] == ethertype[2]
            versions = kinds.get(ethertype[1], [4, 6]) if exact and ethertype else [4, 6]
        elif used and ethertype in ((0xFFFF, 0x0800, 0x0800), (0xFFFF, 0x86DD, 0x86DD)):
            # Without that header it is malformed, and no item is there either.
            versions = [4 if ethertype[1] == 0x0800 else 6]
        else:
            _needed(box, used, "ip_version == 4 or ip_version == 6")
            yield box
            return
    else:
        versions = [v for v in (4, 6) if meet(test, (255, v, v), 255)]
        if meet(test, (255, 0, 0), 255):  # (the column has 0, 4 and 6 only)
            _cannot("ip_version must be 4, 6, or both")
    for version in versions:
        one = {name: t for name, t in box.items() if name != "ip_version"}
        others = _IPV6 if version == 4 else _IPV4
        if any(_not_zero(one, name) for name in others):
            continue  # no packet has both
        yield {**{k: t for k, t in one.items() if k not in others},
               "ip_version": (255, version, version)}  # fmt: skip


def _with_protocol(box: Box) -> Iterator[Box]:
    """The box for each protocol, as the patterns need it."""
    version = box.get("ip_version", (0, 0, 0))[1]
    used = [name for name in _L4 if name in box]
    test = box.get("ip_proto")
    if not version:
        yield box
        return
    if not used and version == 4:
        yield box
        return
    if test is not None:
        numbers = [n for n in range(256) if meet(test, (255, n, n), 255)]
        if any(n not in _BY_PROTOCOL for n in numbers):
            what = "tests above IP" if used else "ip_proto in IPv6"
            _cannot(f"{what} need ip_proto to be one of {', '.join(PROTOCOLS)}")
    elif not used:
        yield box
        return
    elif (
        version == 6
        and box.get("ip6_next", _NONE)[1] in (1, 6, 17, 50, 58, 132)
        and (box["ip6_next"][1] == box["ip6_next"][2])
    ):
        numbers = [box["ip6_next"][1]]  # no extension header
    elif any(_not_zero(box, name) for name in ("l4_src", "l4_dst")):
        numbers = [6, 17, 132]
    elif _not_zero(box, "tcp_flags"):
        numbers = [6]
    elif any(_not_zero(box, name) for name in ("sctp_tag", "sctp_checksum")):
        numbers = [132]
    elif _not_zero(box, "ipsec_spi"):
        numbers = [50, 51]
    elif any(_not_zero(box, name) for name in ("icmp_type", "icmp_code", "icmp_id", "icmp_seq")):
        numbers = [1, 58]
    else:
        _needed(box, used, "ip_proto == ...")
        return
    for number in numbers:
        item = ITEMS[_BY_PROTOCOL[number]]
        columns = {column for f in item.fields.values() for column, _, _ in f.parts}
        if any(_not_zero(box, name) for name in used if name not in columns):
            continue  # a header that this protocol has not
        rest = {k: t for k, t in box.items() if k not in used or k in columns}
        yield {**rest, "ip_proto": (255, number, number)}


def _pattern(box: Box) -> Iterator[str]:
    """One pattern, or several where addresses of IPv6 take several masks."""
    left = dict(box)
    version = left.pop("ip_version", (0, 0, 0))[1]
    items = _link(left, version)
    if version == 4:
        name = None
        if any(c in left for c in _L4):
            name = _BY_PROTOCOL[left.pop("ip_proto")[1]]
        items.append(_item("ipv4", left))
        if name:
            items.append(_item(name, left))
        yield _finished(items, left)
    elif version == 6:
        name = _BY_PROTOCOL[left.pop("ip_proto")[1]] if "ip_proto" in left else None
        for src in _wide("ip6_src", left):
            for dst in _wide("ip6_dst", left):
                rest = {k: t for k, t in left.items() if not k.startswith(("ip6_src", "ip6_dst"))}
                addresses = {k: t for k, t in (("ip6_src", src), ("ip6_dst", dst)) if t}
                rest |= addresses
                found = [*items, _item("ipv6", rest)]
                if name:
                    found.append(_item(name, rest))
                yield _finished(found, rest)
    else:
        yield _finished(items, left)


def _finished(items: list[str], left: Box) -> str:
    if left:
        _cannot(f"no item has {', '.join(sorted(left))}")
    return " / ".join(items)


def _link(left: Box, version: int) -> list[str]:
    """The items below IP; takes their tests away."""
    depth = left.pop("vlan_depth", None)
    tags, exact = 0, False
    if depth is not None:
        mask, lo, hi = depth
        if mask != 255 or (lo != hi and hi != 255) or lo > 2:
            _cannot("vlan_depth must be 0, 1, 2, over 0 or over 1")
        tags, exact = lo, lo == hi
    first = [c for c in ("vlan_id", "vlan_pcp", "vlan_dei") if c in left]
    second = [c for c in ("vlan2_id", "vlan2_pcp") if c in left]
    for columns, count in ((first, 1), (second, 2)):
        if columns and tags < count:
            if exact or not any(_not_zero(left, c) for c in columns):
                _needed(left, columns, f"vlan_depth >= {count}")
            tags = count
    ethertype = left.pop("ethertype", None)
    labels = left.pop("mpls_depth", None)
    kind = None
    if ethertype is not None:
        mask, kind, hi = ethertype
        if mask != 0xFFFF or kind != hi or kind in (0, *TPIDS):
            _cannot("ethertype must be one value, and no tag's")
        if not exact:
            _cannot("ethertype needs vlan_depth == 0, 1 or 2 beside it")
        if (version, kind) in ((4, 0x86DD), (6, 0x0800)):
            _cannot("ethertype and the IP columns contradict each other")
        if kind not in (0x8847, 0x8848) and labels is not None and labels[1] == 0:
            labels = None  # it says so
    link: Box = {k: left.pop(k) for k in ("eth_dst", "eth_src") if k in left}
    eth = _item("eth", link)
    if kind is not None and tags == 0:
        eth += f" type is {kind:#06x}"
    elif exact and tags == 0:
        eth += " has_vlan is 0"
    items = [eth]
    for number in range(1, tags + 1):
        item = _item("vlan" if number == 1 else "vlan 2", left)
        if number == tags and kind is not None:
            item += f" inner_type is {kind:#06x}"
        elif number == tags and exact:
            item += " has_more_vlan is 0"
        items.append(item)
    mpls = [c for c in ("mpls_label", "mpls_tc") if c in left]
    if labels is not None or mpls:
        items.append(_labels(left, labels, mpls))
    if kind == 0x0806 and any(c.startswith("arp_") for c in left):
        items.append(_item("arp_eth_ipv4", left))
    return items


def _labels(left: Box, labels: _Test | None, mpls: Sequence[str]) -> str:
    if labels is None and not any(_not_zero(left, c) for c in mpls):
        _needed(left, mpls, "mpls_depth > 0")
    item = _item("mpls", left)
    if labels is None or labels == (255, 1, 255):
        return item
    if labels == (255, 1, 1):
        return f"{item} s is 1"
    if labels == (255, 2, 255):
        return f"{item} s is 0"
    _cannot("mpls_depth must be 1, over 0 or over 1")


def _item(name: str, left: Box) -> str:
    """An item with the fields whose columns are tested; takes these tests away."""
    out = [name.partition(" ")[0]]
    for key, field in ITEMS[name].fields.items():
        parts = [p for p in field.parts if p[0] in left and p[0] not in _LINK]
        if key == "tci":
            continue
        if not parts:
            continue
        mask = lo = hi = 0
        for column, shift, bits in parts:
            m, a, b = left.pop(column)
            ones = (1 << bits) - 1
            if column == "tcp_flags" and m & ~ones:
                _cannot("tcp's flags are the lower 8 bits of tcp_flags (add & 0xff)")
            if column not in FULL or m == FULL[column]:
                b = min(b, ones)
            if a > ones:
                _cannot(f"{column} has values that do not fit {out[0]} {key}")
            if a != b and len(field.parts) > 1:
                # One of several columns: as a range of the whole field it means another thing.
                found = list(prefixes(a, b, bits))
                if len(found) != 1:
                    _cannot(f"a range of {column}, which is a part of {out[0]} {key}")
                a, m = found[0]
                b = a
            mask, lo, hi = mask | (m & ones) << shift, lo | a << shift, hi | b << shift
        out.append(_field(key, field, mask, lo, hi))
    return " ".join(out)


def _field(key: str, field: Field, mask: int, lo: int, hi: int) -> str:
    if lo == hi and mask == field.full:
        return f"{key} is {text(field, lo)}"
    if lo != hi:
        found = list(prefixes(lo, hi, field.bits))
        if len(found) > 1:
            return (f"{key} spec {text(field, lo)} {key} last {text(field, hi)} "
                    f"{key} mask {text(field, field.full)}")  # fmt: skip
        lo, mask = found[0]
    return f"{key} spec {text(field, lo)} {key} mask {text(field, mask)}"


def _wide(name: str, left: Box) -> list[_Test | None]:
    """The tests of an IPv6 address, of those of its halves."""
    ones = (1 << 64) - 1
    upper = left.get(f"{name}_hi")
    lower = left.get(f"{name}_lo")
    if upper is None and lower is None:
        return [None]
    halves = []
    for test in (upper or (ones, 0, ones), lower or (ones, 0, ones)):
        mask, lo, hi = test
        halves.append(list(prefixes(lo, hi, 64)) if mask == ones else [(lo, mask)])
    high, low = halves
    if len(high) == 1 and high[0][1] == ones and len(low) > 1 and lower is not None:
        first = high[0][0] << 64
        return [((1 << 128) - 1, first | lower[1], first | lower[2])]
    return [(m << 64 | n, v << 64 | w, v << 64 | w) for v, m in high for w, n in low]


_SET = {
    "ip_ttl": "set_ttl ttl_value {}",
    "ip_src": "set_ipv4_src ipv4_addr {}",
    "ip_dst": "set_ipv4_dst ipv4_addr {}",
    "ip6_src": "set_ipv6_src ipv6_addr {}",
    "ip6_dst": "set_ipv6_dst ipv6_addr {}",
    "l4_src": "set_tp_src port {}",
    "l4_dst": "set_tp_dst port {}",
    "eth_src": "set_mac_src mac_addr {}",
    "eth_dst": "set_mac_dst mac_addr {}",
    "vlan_id": "of_set_vlan_vid vlan_vid {}",
    "vlan_pcp": "of_set_vlan_pcp vlan_pcp {}",
}
_FORMS: tuple[tuple[str, str], ...] = (
    (r"drop", "drop"),
    (r"count", "count"),
    (r"queue (\d+)", "queue index {}"),
    (r"mark (\d+)", "mark id {}"),
    (r"forward (\d+)", "port_id id {}"),
    (r"meter (\d+)", "meter mtr_id {}"),
    (r"pop_vlan", "of_pop_vlan"),
    (r"dec_ttl", "dec_ttl"),
    (r"nat (src|dst)=(\d+\.\d+\.\d+\.\d+)", "set_ipv4_{} ipv4_addr {}"),
    (r"nat (src|dst)=([0-9a-fA-F:]*:[0-9a-fA-F:.]*)", "set_ipv6_{} ipv6_addr {}"),
    (r"nat (src|dst)=(\d+\.\d+\.\d+\.\d+):(\d+)",
     "set_ipv4_{0} ipv4_addr {1} / set_tp_{0} port {2}"),
    (r"push_vlan (\d+)", "of_push_vlan ethertype 0x8100 / of_set_vlan_vid vlan_vid {}"),
    (r"push_vlan (\d+)/(\d+)", "of_push_vlan ethertype 0x8100 / of_set_vlan_vid vlan_vid {} / "
                               "of_set_vlan_pcp vlan_pcp {}"),
)  # fmt: skip


def _actions(actions: Sequence[str], samples: dict[str, int], lines: list[str]) -> str:
    """The actions with a slash after each; what sampling needs goes to `lines`."""
    return "".join(f"{_action(' '.join(a.split()), samples, lines)} / " for a in actions)


def _action(action: str, samples: dict[str, int], lines: list[str]) -> str:
    if found := re.fullmatch(r"(?:sample 1/(\d+) )?(mirror \d+|queue \d+|mark \d+|count)", action):
        ratio, inner = found[1], found[2]
        if ratio or inner.startswith("mirror"):
            simple = _simple(inner.replace("mirror", "forward"))
            if simple not in samples:
                samples[simple] = len(samples)
                lines.append(f"set sample_actions {samples[simple]} {simple} / end")
            return f"sample ratio {ratio or 1} index {samples[simple]}"
    if found := re.fullmatch(r"set (\w+) ?= ?(\S+)", action):
        if found[1] in _SET:
            return _SET[found[1]].format(found[2])
        _cannot(f"no action sets {found[1]}")
    return _simple(action)


def _simple(action: str) -> str:
    for pattern, form in _FORMS:
        if found := re.fullmatch(pattern, action):
            return form.format(*found.groups())
    why = ""
    if action.startswith(("forward", "mirror")):
        why = " (ports by their order only)"
    elif action.startswith("meter"):
        why = " (meters by their number only)"
    _cannot(f"there is no action for {action!r}{why}")
