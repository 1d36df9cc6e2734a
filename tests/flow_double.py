"""A port with rte_flow that is none: it records flows, and matches them against packets' bytes.

It knows nothing of columns: it walks the headers on the wire as a NIC's parser does, and compares
them with the bytes of spec, last and mask that DPDK is given (`veridnet._native.flow.layout`).
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from veridnet._native import flow as native
from veridnet.errors import FlowError

#: Where the fields of headers stand, for ranges: (offset, bytes).
FIELDS = {
    "eth": [(0, 6), (6, 6), (12, 2)],
    "vlan": [(0, 2), (2, 2)],
    "mpls": [(0, 3), (3, 1)],
    "arp_eth_ipv4": [(6, 2), (8, 6), (14, 4), (18, 6), (24, 4)],
    "ipv4": [(0, 1), (1, 1), (2, 2), (4, 2), (6, 2), (8, 1), (9, 1), (10, 2), (12, 4), (16, 4)],
    "ipv6": [(0, 4), (4, 2), (6, 1), (7, 1), (8, 16), (24, 16)],
    "tcp": [(0, 2), (2, 2), (4, 4), (8, 4), (12, 1), (13, 1), (14, 2), (16, 2), (18, 2)],
    "udp": [(0, 2), (2, 2), (4, 2), (6, 2)],
    "sctp": [(0, 2), (2, 2), (4, 4), (8, 4)],
    "icmp": [(0, 1), (1, 1), (2, 2), (4, 2), (6, 2)],
    "icmp6": [(0, 1), (1, 1), (2, 2)],
    "esp": [(0, 4), (4, 4)],
}
NEXT_PROTO = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1, "icmp6": 58, "esp": 50}


#: The item's bytes are not always the header's: DPDK 22.11 has padding before spa.
ARP_AT = [
    next(at for at, byte in enumerate(
        native.layout([("arp_eth_ipv4", {name: (1 << (8 * size - 8), 0, None)})])[0][1] or b"")
        if byte)
    for name, (_, size) in zip("op sha spa tha tpa".split(), FIELDS["arp_eth_ipv4"], strict=True)
]  # fmt: skip


@dataclass
class Nic:
    """What a port can do, and how it sees what is not plain."""

    index: int = 0
    n_rx_queues: int = 1
    capacity: int = 1 << 30
    priorities: int = 1 << 30
    without: frozenset[str] = frozenset()  # items, "item.field", actions
    ranges: bool = True
    counts: bool = True
    lies: bool = False  # validate passes everything
    tag_types: frozenset[int] = frozenset((0x8100, 0x88A8))
    honours_has_vlan: bool = True
    through_tags: bool = False  # eth / ipv4 meets tagged packets too
    first_fragments: bool = False
    through_extensions: bool = False
    careless: bool = False  # matches headers that reach beyond the packet's end


@dataclass(eq=False)
class Installed:
    nic: Nic
    priority: int
    layout: list[tuple[str, bytes | None, bytes | None, bytes | None]]
    actions: list[tuple[str, Any]]
    packets: int = 0
    bytes: int = 0


@dataclass
class RecordingApi:
    """The methods of `veridnet.rules.offload.RteFlow`, on a `Nic`."""

    flows: list[Installed] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    after_each: Callable[[], None] | None = None

    def _check(self, nic: Nic, pattern: Any, actions: Any, priority: int) -> None:
        def refuse(what: str, number: int = errno.ENOTSUP) -> None:
            error = FlowError(f"nic: {what}", number)
            error.cause = what
            raise error

        for name, fields in pattern:
            if name in nic.without:
                refuse(f"item {name}")
            for key, (_, _, last) in fields.items():
                if f"{name}.{key}" in nic.without:
                    refuse(f"item {name}.{key}")
                if last is not None and not nic.ranges:
                    refuse(f"item {name}.{key} last")
        for name, _ in actions:
            if name in nic.without:
                refuse(f"action {name}")
        if priority >= nic.priorities:
            refuse("priority")

    def validate(self, nic: Nic, pattern: Any, actions: Any, *, priority: int) -> None:
        self.log.append("validate")
        if not nic.lies:
            self._check(nic, pattern, actions, priority)

    def create(self, nic: Nic, pattern: Any, actions: Any, *, priority: int) -> Installed:
        self.log.append("create")
        self._check(nic, pattern, actions, priority)
        if len(self.flows) >= nic.capacity:
            raise FlowError("nic: table full", errno.ENOSPC)
        flow = Installed(nic, priority, native.layout(pattern), list(actions))
        self.flows.append(flow)
        if self.after_each is not None:
            self.after_each()
        return flow

    def query(self, flow: Installed) -> tuple[int | None, int | None]:
        assert flow in self.flows
        return (flow.packets, flow.bytes) if flow.nic.counts else (None, None)

    def destroy(self, flow: Installed) -> None:
        self.log.append("destroy")
        self.flows.remove(flow)
        if self.after_each is not None:
            self.after_each()

    def hit(self, frame: bytes, *, tie: int = 0) -> Installed | None:
        """The flow that takes a frame: of the smallest priority; among equals, any (`tie`)."""
        hits = [flow for flow in self.flows if matches(flow, frame)]
        best = min((flow.priority for flow in hits), default=0)
        hits = [flow for flow in hits if flow.priority == best]
        return hits[tie % len(hits)] if hits else None

    def receive(self, frame: bytes, *, tie: int = 0) -> tuple[Installed | None, int]:
        """(flow that dropped it, its mark); counts."""
        flow = self.hit(frame, tie=tie)
        if flow is None:
            return None, 0
        actions = dict(flow.actions)
        if "count" in actions:
            flow.packets += 1
            flow.bytes += len(frame)
        if "drop" in actions:
            return flow, 0
        return None, actions["mark"]["id"]


def matches(flow: Installed, frame: bytes) -> bool:
    """Does a frame have the pattern's headers, with its values?"""
    nic = flow.nic
    at, end = 0, len(frame)
    kind: int | None = None  # EtherType that comes next
    proto: int | None = None
    names = [part[0].lower() for part in flow.layout]
    for position, (name, spec, last, mask) in enumerate(
        (name.lower(), *rest) for name, *rest in flow.layout
    ):
        follows = names[position + 1] if position + 1 < len(names) else ""
        if name == "eth":
            size = 14
        elif name == "vlan":
            size = 4
            if kind not in nic.tag_types:
                return False
        elif name == "mpls":
            size = 4
            if kind not in (0x8847, 0x8848):
                return False
        elif name == "arp_eth_ipv4":
            size = 28
            if kind != 0x0806 or frame[at : at + 6] != b"\0\1\x08\0\6\4":
                return False
        elif name == "ipv4":
            size = 20
            if kind != 0x0800 or at + 20 > end or frame[at] >> 4 != 4:
                return False
            length = int.from_bytes(frame[at + 2 : at + 4], "big")
            header = (frame[at] & 15) * 4
            if not nic.careless and not (20 <= header <= length <= end - at):
                return False
            if not nic.careless:
                end = at + length
        elif name == "ipv6":
            size = 40
            if kind != 0x86DD or at + 40 > end or frame[at] >> 4 != 6:
                return False
            length = int.from_bytes(frame[at + 4 : at + 6], "big") + 40
            if not nic.careless:
                if length > end - at:
                    return False
                end = at + length
        else:
            size = {"tcp": 20, "udp": 8, "sctp": 12, "icmp": 8, "icmp6": 4, "esp": 8}[name]
            if proto != NEXT_PROTO[name]:
                return False
            if name == "tcp" and at + 20 <= end and not nic.careless:
                offset = (frame[at + 12] >> 4) * 4
                if offset < 20 or at + offset > end:
                    return False
        header_bytes = frame[at : at + size]
        if at + size > end:
            return False
        if spec is not None and not _equal(name, header_bytes, spec, last, mask or b""):
            return False
        if name == "eth":
            kind = int.from_bytes(frame[12:14], "big")
            asks = mask is not None and any(mask[14:])  # has_vlan is all that follows the header
            if asks and nic.honours_has_vlan:
                assert spec is not None
                if (kind in nic.tag_types) != any(spec[14:]):
                    return False
            elif nic.through_tags and follows not in ("vlan", ""):
                while kind in nic.tag_types:
                    kind = int.from_bytes(frame[at + 16 : at + 18], "big")
                    at += 4
        elif name == "vlan":
            kind = int.from_bytes(header_bytes[2:4], "big")
            if mask is not None and any(mask[4:]) and nic.honours_has_vlan:
                assert spec is not None
                if (kind in nic.tag_types) != any(spec[4:]):
                    return False
        elif name == "ipv4":
            fragment = int.from_bytes(frame[at + 6 : at + 8], "big")
            proto = header_bytes[9]
            if fragment & 0x1FFF or (fragment & 0x2000 and not nic.first_fragments):
                proto = None
            size = (frame[at] & 15) * 4
        elif name == "ipv6":
            proto = header_bytes[6]
            while nic.through_extensions and proto in (0, 60) and at + size + 8 <= end:
                proto, size = frame[at + size], size + (frame[at + size + 1] + 1) * 8
        at += size
    return True


def _equal(name: str, header: bytes, spec: bytes, last: bytes | None, mask: bytes) -> bool:
    for k, (at, size) in enumerate(FIELDS[name]):
        value = int.from_bytes(header[at : at + size], "big")
        if name == "arp_eth_ipv4":
            at = ARP_AT[k]
        low, bits = (int.from_bytes(part[at : at + size], "big") for part in (spec, mask))
        high = int.from_bytes(last[at : at + size], "big") if last is not None else 0
        if high in (0, low):
            if (value ^ low) & bits:
                return False
        elif not low & bits <= value & bits <= high & bits:
            return False
    return True
