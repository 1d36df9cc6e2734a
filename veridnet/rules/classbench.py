"""ClassBench filter files: matches on IPv4 addresses, ports and protocol; no actions.

A line is ``@src/len dst/len sport_lo : sport_hi dport_lo : dport_hi proto/mask flags/mask``. Ids
count in file order; all have priority 0, so the first line that matches wins, as ClassBench says.
A line matches IPv4 packets only. Its last column, flags, is read and ignored: dpdk-test-acl does
so too, and in the published sets it says nothing but noise.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from typing import NoReturn

from veridnet.errors import ConfigError
from veridnet.rules import boxes as boxed
from veridnet.rules.files import place, read_text
from veridnet.rules.rule import Rule, RuleSet, winning_order

_LINE = re.compile(
    r"@(?P<src>[\d.]+)/(?P<src_len>\d{1,3})\s+(?P<dst>[\d.]+)/(?P<dst_len>\d{1,3})"
    r"\s+(?P<sport>\d{1,9}\s*:\s*\d{1,9})\s+(?P<dport>\d{1,9}\s*:\s*\d{1,9})"
    r"\s+(?P<proto>0x[0-9a-fA-F]+)\s*/\s*(?P<mask>0x[0-9a-fA-F]+)"
    r"(?:\s+0x[0-9a-fA-F]+\s*/\s*0x[0-9a-fA-F]+)?\s*"
)
_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp"}
_FORM = "as: @10.0.0.0/8 192.0.2.1/32 0 : 65535 80 : 80 0x06/0xFF 0x0000/0x0000"


def read(source: str | os.PathLike[str]) -> RuleSet:
    """The filters of a file (which may be packed by xz or gzip) or of its text.

    ConfigError names the line that is wrong.
    """
    text, name = read_text(source)
    rules, lines = [], []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        try:
            rules.append(Rule(_match(stripped)))
        except ConfigError as e:
            raise ConfigError(f"{place(name, number)}: {e}", hint=e.hint) from None
        lines.append(number)
    return RuleSet(tuple(rules), lines=tuple(lines))


def _match(line: str) -> str:
    found = _LINE.fullmatch(line)
    if found is None:
        raise ConfigError(f"not a ClassBench filter: {line[:80]!r}", hint=_FORM)
    tests = ["ip_version == 4"]
    for column, key in (("ip_src", "src"), ("ip_dst", "dst")):
        tests += _network(column, found[key], int(found[f"{key}_len"]))
    for column, key in (("l4_src", "sport"), ("l4_dst", "dport")):
        lo, hi = (int(part) for part in found[key].split(":"))
        if not lo <= hi <= 65535:
            raise ConfigError(f"the ports {lo} : {hi} are no range of 0 to 65535")
        if lo == hi:
            tests.append(f"{column} == {lo}")
        elif (lo, hi) != (0, 65535):
            tests.append(f"{column} in {lo}..{hi}")
    proto, mask = int(found["proto"], 16), int(found["mask"], 16)
    if proto > 255 or mask > 255:
        raise ConfigError(f"the protocol {found['proto']}/{found['mask']} has more than 8 bits")
    if mask == 255:
        tests.append(f"ip_proto == {_PROTOCOLS.get(proto, proto)}")
    elif mask:
        tests.append(f"ip_proto & {mask} == {proto & mask}")
    return " and ".join(tests)


def _network(column: str, address: str, length: int) -> list[str]:
    try:
        number = int(ipaddress.IPv4Address(address))
    except ValueError:
        raise ConfigError(f"{address!r} is not an IPv4 address") from None
    if length > 32:
        raise ConfigError(f"the prefix length {length} is more than 32")
    if length == 0:
        return []
    if length == 32:
        return [f"{column} == {address}"]
    first = ipaddress.IPv4Address(number >> (32 - length) << (32 - length))
    return [f"{column} in {first}/{length}"]


def write(rules: RuleSet, *, matches_only: bool = False) -> str:
    """The matches as ClassBench filters, the strongest rule first.

    A rule may take several lines. ConfigError names the rule that cannot be said: one with actions
    (unless `matches_only`, which leaves out actions, names and timeouts), or one that speaks of
    more than IPv4's addresses, ports and protocol.
    """
    out = []
    for n in winning_order([rule.priority for rule in rules.rules]):
        rule = rules.rules[n]
        if not matches_only and (rule.actions or rule.idle_timeout or rule.hard_timeout):
            what = "actions" if rule.actions else "timeouts"
            raise ConfigError(f"{rules.label(n)}: ClassBench files have no {what}",
                              hint="write the matches only (--matches-only)")  # fmt: skip
        found = boxed.boxes(rules.tree(n), 65536)
        if found is None:
            raise ConfigError(f"{rules.label(n)}: what it matches cannot be said by ranges")
        for box in found:
            out += _lines(rules, int(n), box)
    if rules.default and not matches_only:
        raise ConfigError("ClassBench files have no default action",
                          hint="write the matches only (--matches-only)")  # fmt: skip
    return "".join(f"{line}\n" for line in out)


_KNOWN = ("ip_version", "ip_src", "ip_dst", "l4_src", "l4_dst", "ip_proto")


def _lines(rules: RuleSet, number: int, box: boxed.Box) -> list[str]:
    """A box as filters: one for each pair of prefixes."""

    def cannot(why: str) -> NoReturn:
        raise ConfigError(f"{rules.label(number)}: a ClassBench filter cannot say it: {why}")

    others = sorted(set(box) - set(_KNOWN))
    if others:
        cannot(f"it has no {', '.join(others)}")
    if not is_ipv4(box):
        cannot("it is for IPv4 only; the rule is for other packets too (add ip_version == 4)")
    networks = []
    for column in ("ip_src", "ip_dst"):
        mask, lo, hi = box.get(column, (0xFFFFFFFF, 0, 0xFFFFFFFF))
        if mask != 0xFFFFFFFF:
            cannot(f"{column} & {mask:#x} is no prefix")
        networks.append(
            [
                f"{ipaddress.IPv4Address(value)}/{prefix.bit_count()}"
                for value, prefix in boxed.prefixes(lo, hi, 32)
            ]
        )
    ports = []
    for column in ("l4_src", "l4_dst"):
        mask, lo, hi = box.get(column, (0xFFFF, 0, 0xFFFF))
        if mask != 0xFFFF:
            cannot(f"{column} & {mask:#x} is no range")
        ports.append(f"{lo} : {hi}")
    mask, lo, hi = box.get("ip_proto", (0xFF, 0, 0xFF))
    masks = [(lo, mask)] if mask != 0xFF else boxed.prefixes(lo, hi, 8)
    return [
        f"@{src}\t{dst}\t{ports[0]}\t{ports[1]}\t0x{value:02x}/0x{bits:02X}\t0x0000/0x0000"
        for value, bits in masks
        for src in networks[0]
        for dst in networks[1]
    ]


def is_ipv4(box: Mapping[str, tuple[int, int, int]]) -> bool:
    """Are all packets of a box IPv4? Another's ip_src and ip_dst are 0."""
    version = box.get("ip_version")
    if version is not None and version == (255, 4, 4):
        return True
    if version is not None and not (version[0] == 255 and version[1] <= 4 <= version[2]):
        return False
    return any(box[column][1] > 0 for column in ("ip_src", "ip_dst") if column in box)
