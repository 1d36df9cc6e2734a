"""Packets as a command line names them: hex, one of a capture, or columns."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

from veridnet.errors import ConfigError
from veridnet.headers import match
from veridnet.headers.fields import BY_NAME
from veridnet.headers.match import And, Test

FORMS = "hex digits of a frame, CAPTURE:NUMBER, or COLUMN=VALUE ..."


def packets(words: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """(what it is called, bytes or columns) of each packet; neighbouring COLUMN=VALUE are one."""
    row: dict[str, int] = {}
    name: list[str] = []
    for word in words:
        if re.fullmatch(r"[A-Za-z_]\w*\s*=.*", word, re.DOTALL):
            row |= column(word)
            name.append(word)
            continue
        if row:
            yield " ".join(name), implied(row)
            row, name = {}, []
        digits = re.sub(r"[\s:.-]", "", word)
        if re.fullmatch(r"(0[xX])?([0-9a-fA-F]{2})+", digits) and len(digits) >= 28:
            frame = bytes.fromhex(digits.lower().removeprefix("0x"))
            yield f"{len(frame)} bytes", frame
        elif (found := re.fullmatch(r"(.+):(\d+)", word)) and os.path.exists(found[1]):
            yield word, from_capture(found[1], int(found[2]))
        else:
            raise ConfigError(f"{word[:60]!r} is no packet", hint=FORMS)
    if row:
        yield " ".join(name), implied(row)


def column(word: str) -> dict[str, int]:
    """COLUMN=VALUE, with the values of the match language."""
    name, _, value = word.partition("=")
    tree = match.parse(f"{name.strip()} == {value.strip()}")
    tests = tree.of if isinstance(tree, And) else (tree,)
    out = {}
    for test in tests:
        if not isinstance(test, Test) or test.lo != test.hi:
            raise ConfigError(f"{word!r}: one value is expected")
        out[test.column] = test.lo
    return out


def implied(row: dict[str, int]) -> dict[str, int]:
    """A row with what its columns say about those that are not given: ip_src says IPv4."""
    out = dict(row)
    groups = {BY_NAME[name].group for name in row}
    if "ip_version" not in out:
        if "ipv4" in groups:
            out["ip_version"] = 4
        elif "ipv6" in groups:
            out["ip_version"] = 6
    protocols = [n for group, n in (("tcp", 6), ("udp", 17), ("sctp", 132)) if group in groups]
    if len(protocols) == 1:
        out.setdefault("ip_proto", protocols[0])
    kind = {4: 0x0800, 6: 0x86DD}.get(out.get("ip_version", 0))
    if kind and not out.get("mpls_depth"):
        out.setdefault("ethertype", kind)
    if out.get("ip_version") == 6 and "ip_proto" in out:
        out.setdefault("ip6_next", out["ip_proto"])
    if {"vlan_id", "vlan_pcp", "vlan_dei"} & out.keys():
        out.setdefault("vlan_depth", 2 if {"vlan2_id", "vlan2_pcp"} & out.keys() else 1)
    return out


def from_capture(path: str, number: int) -> dict[str, int]:
    """The columns of a capture's packet, which counts from 1."""
    from veridnet.headers.capture import read_blocks

    at = 0
    if number > 0:
        for block in read_blocks(path, "all"):
            if number <= at + len(block):
                return {name: int(getattr(block, name)[number - at - 1]) for name in BY_NAME}
            at += len(block)
        raise ConfigError(f"{path}:{number}: it has {at} packets")
    raise ConfigError(f"{path}:{number}: packets count from 1")
