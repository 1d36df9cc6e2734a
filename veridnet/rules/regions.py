"""Sets of packets, as the values that their columns may have.

A region says for each of some columns which values it may have; it is all packets for which all
hold. Offloading asks of regions whether they meet, and whether some cover another. Where an exact
answer would take too long the answer is the careful one: "they meet", "it is not covered".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

from veridnet.headers.fields import BY_NAME

#: Column -> how many bits its numbers have.
BITS = {name: int(field.dtype.removeprefix("uint")) for name, field in BY_NAME.items()}


class Values(NamedTuple):
    """The numbers x with ``lo <= x <= hi`` and ``x & mask == value``; bounds are members."""

    lo: int
    hi: int
    mask: int = 0
    value: int = 0


Region: TypeAlias = Mapping[str, Values]


def prefix_bits(mask: int, bits: int) -> int | None:
    """How many leading ones a mask is; None if it is no prefix."""
    inverse = ~mask & ((1 << bits) - 1)
    return bits - inverse.bit_length() if inverse & (inverse + 1) == 0 else None


def values(bits: int, mask: int, lo: int, hi: int) -> tuple[Values | None, bool]:
    """The numbers x of so many bits with ``lo <= x & mask <= hi``; are they exactly these?

    Not exactly: they are more. None: there are none.
    """
    top = (1 << bits) - 1
    mask &= top
    if lo > hi:
        return None, True
    length = prefix_bits(mask, bits)
    if length is not None:
        step = top & ~mask
        low = -(-lo // (step + 1)) * (step + 1)  # up to a multiple
        high = min((hi & ~step) | step, top)
        return (Values(low, high), True) if low <= high else (None, True)
    if lo == hi:
        return (shrink(Values(0, top, mask, lo)), True) if lo & ~mask == 0 else (None, True)
    if lo <= 0 and hi >= mask:
        return Values(0, top), True
    return Values(0, top), False


def _next(x: int, mask: int, value: int, top: int) -> int | None:
    """The smallest number >= x whose masked bits are value."""
    if x & mask == value:
        return x
    for bit in range(top.bit_length()):
        one = 1 << bit
        above = top & ~((one << 1) - 1)
        if x & one or (x ^ value) & mask & above or (mask & one and not value & one):
            continue
        return (x & above) | one | (value & (one - 1) & mask)
    return None


def shrink(v: Values) -> Values | None:
    """The same numbers with bounds that are members; None: there are none."""
    if v.lo > v.hi:
        return None
    if not v.mask:
        return v
    top = (1 << max(v.hi.bit_length(), v.mask.bit_length())) - 1
    lo = _next(v.lo, v.mask, v.value, top)
    below = _next(top - v.hi, v.mask, v.mask & ~v.value, top)
    if lo is None or below is None:
        return None
    hi = top - below
    return Values(lo, hi, v.mask, v.value) if lo <= hi else None


def meet(a: Values, b: Values) -> Values | None:
    """The numbers in both."""
    if (a.value ^ b.value) & a.mask & b.mask:
        return None
    both = Values(max(a.lo, b.lo), min(a.hi, b.hi), a.mask | b.mask, a.value | b.value)
    return shrink(both)


def within(a: Values, b: Values) -> bool:
    """Are all numbers of `a` in `b`? False also where it is hard to say."""
    if a.lo < b.lo or a.hi > b.hi:
        return False
    if a.lo == a.hi:
        return a.lo & b.mask == b.value
    # What leading bits the bounds share, all between them have.
    fixed = a.mask | ~((1 << (a.lo ^ a.hi).bit_length()) - 1)
    known = a.value | (a.lo & fixed)
    return b.mask & ~fixed == 0 and (known ^ b.value) & b.mask == 0


def overlap(a: Region, b: Region) -> dict[str, Values] | None:
    """The packets in both regions; None: there are none."""
    if len(b) > len(a):
        a, b = b, a
    out = dict(a)
    for column, v in b.items():
        mine = out.get(column)
        if mine is None:
            out[column] = v
            continue
        both = meet(mine, v)
        if both is None:
            return None
        out[column] = both
    return out


def inside(a: Region, b: Region) -> bool:
    """Are all packets of `a` in `b`? False also where it is hard to say."""
    for column, v in b.items():
        mine = a.get(column) or Values(0, (1 << BITS[column]) - 1)
        if not within(mine, v):
            return False
    return True


def _without(a: Values, b: Values) -> list[Values]:
    """The numbers of `a` that are not in `b`, in pieces that share none."""
    pieces = [Values(a.lo, min(a.hi, b.lo - 1), a.mask, a.value),
              Values(max(a.lo, b.hi + 1), a.hi, a.mask, a.value)]  # fmt: skip
    middle = meet(a, Values(b.lo, b.hi))
    rest = b.mask
    while middle is not None and rest:
        bit = rest & -rest
        rest ^= bit
        other = meet(middle, Values(0, a.hi, bit, ~b.value & bit))
        if other is not None:
            pieces.append(other)
        middle = meet(middle, Values(0, a.hi, bit, b.value & bit))
    return [piece for piece in map(shrink, pieces) if piece is not None]


def minus(a: Region, b: Region) -> list[dict[str, Values]]:
    """The packets of `a` that are not in `b`, as regions that share none."""
    if overlap(a, b) is None:
        return [dict(a)]
    left = dict(a)
    out = []
    for column, v in b.items():
        mine = left.get(column) or Values(0, (1 << BITS[column]) - 1)
        out += [{**left, column: piece} for piece in _without(mine, v)]
        both = meet(mine, v)
        if both is None:  # they meet, so there is one
            return [dict(a)]
        left[column] = both
    return out


def covered(a: Region, by: Iterable[Region], limit: int = 64) -> bool:
    """Is each packet of `a` in one of `by`? False also after `limit` pieces."""
    left = [dict(a)]
    for region in by:
        pieces = []
        for piece in left:
            if not inside(piece, region):
                pieces += minus(piece, region)
        left = pieces
        if not left:
            return True
        if len(left) > limit:
            return False
    return False
