"""The actions, each a frozen value whose str() is its text; and how they are written."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass


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
OTHERS = {"output": "forward", "accept": "forward", "pass": "forward", "port_id": "forward",
          "reject": "drop", "deny": "drop", "snat": "nat src=", "dnat": "nat dst=",
           "dec_nw_ttl": "dec_ttl", "dec_ip_ttl": "dec_ttl", "mod": "set", "police": "rate_limit",
           "limit": "rate_limit", "log": "mirror", "clone": "mirror", "strip_vlan": "pop_vlan",
           "of_pop_vlan": "pop_vlan", "of_push_vlan": "push_vlan", "set_field": "set"}  # fmt: skip
