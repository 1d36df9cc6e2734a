"""Addresses as numbers, and back: between what people write and what columns hold."""

from __future__ import annotations

import ipaddress
from types import ModuleType
from typing import Any

from veridnet.addresses import mac_bytes
from veridnet.errors import ConfigError


def _numpy() -> ModuleType:
    """numpy, which takes 0.1 s to load: only who has columns needs it."""
    import numpy

    return numpy


def mac(text: str | bytes) -> int:
    """A MAC address as the 48-bit number that eth_dst and eth_src hold.

    >>> hex(mac("02:00:00:00:00:01"))
    '0x20000000001'
    """
    return int.from_bytes(mac_bytes(text), "big")


def ip(text: str) -> int:
    """An IPv4 or IPv6 address as a number.

    >>> hex(ip("10.0.0.1"))
    '0xa000001'

    An IPv6 address has 128 bits: its halves are ``ip(a) >> 64`` (ip6_src_hi) and
    ``ip(a) & 2**64 - 1`` (ip6_src_lo).
    """
    try:
        return int(ipaddress.ip_address(text))
    except ValueError:
        raise ConfigError(
            f"not an IP address: {text!r}", hint="as 10.0.0.1 or 2001:db8::1"
        ) from None


def mac_text(value: int) -> str:
    """The number in eth_dst as text."""
    return int(value).to_bytes(6, "big").hex(":")


def ip_text(value: int, low: int | None = None) -> str:
    """An IPv4 address; or with `low`, the IPv6 address of the two halves."""
    if low is None:
        return str(ipaddress.IPv4Address(int(value)))
    return str(ipaddress.IPv6Address(int(value) << 64 | int(low)))


def column_value(name: str, value: Any) -> Any:
    """What a user assigns to a column, as numpy takes it: addresses may be text."""
    if isinstance(value, bytes | bytearray) and name.startswith(("eth_", "arp_sha", "arp_tha")):
        return mac(bytes(value))
    if not isinstance(value, str):
        return value
    if name.startswith(("eth_", "arp_sha", "arp_tha")):
        return mac(value)
    if name in ("ip_src", "ip_dst", "arp_spa", "arp_tpa"):
        number = ip(value)
        if ":" in value:
            raise ConfigError(f"{name} takes an IPv4 address, not {value}")
        return _numpy().uint32(number)
    if name.startswith("ip6_") and name.endswith(("_hi", "_lo")):
        number = ip(value)
        if ":" not in value:
            raise ConfigError(f"{name} takes an IPv6 address, not {value}")
        half = number >> 64 if name.endswith("_hi") else number & (2**64 - 1)
        return _numpy().uint64(half)
    raise ConfigError(f"{name} takes numbers, not {value!r}")
