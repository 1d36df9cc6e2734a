"""Rates and sizes as people write them."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

_POWER = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(bit|bps|bit/s|b/s|pps|byte/s|byte)", re.IGNORECASE)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)(i?b?)", re.IGNORECASE)


def rate(text: str) -> tuple[bool, int]:
    """(of packets?, bytes or packets a second) of "10mbit", "1.5gbps", "5kpps", "2Mbyte/s".

    Prefixes are powers of 1,000, as rates have them. ValueError says what is wrong.

    >>> rate("10mbit"), rate("5kpps")
    ((False, 1250000), (True, 5000))
    """
    found = _RATE.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is not a rate")
    number, prefix, unit = found.groups()
    value = Fraction(number) * _POWER[prefix.lower()]
    packets = unit.lower() == "pps"
    if not packets and not unit.lower().startswith("byte"):
        value /= 8
    if not 1 <= value <= 10**13:
        raise ValueError(f"{text!r} is not a rate from 1 to 10^13 bytes (or packets) a second")
    return packets, int(value)


def size(value: Any) -> int:
    """Bytes (or packets): a number, or text as "64k" (64,000) or "64KiB" (65,536).

    >>> size("64k"), size("64KiB"), size(1500)
    (64000, 65536, 1500)
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if 0 <= value < 2**63:
            return value
        raise ValueError(f"{value} is not a size")
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if not found:
        raise ValueError(f"{value!r} is not a size")
    number, prefix, unit = found.groups()
    base = 1024 if unit.lower().startswith("i") else 1000
    exponent = ("", "k", "m", "g").index(prefix.lower())
    return int(Fraction(number) * base**exponent)
