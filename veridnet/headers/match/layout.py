"""Which bits of a header are a column."""

from __future__ import annotations

from veridnet.headers.fields import BY_NAME
from veridnet.headers.match.tree import FALSE, TRUE, Node, Not, Test, all_of

#: Protocol -> (first bit of the header, bits, column, or the number that always stands there).
LAYOUT: dict[str, tuple[tuple[int, int, str | int], ...]] = {
    "ether": ((0, 48, "eth_dst"), (48, 48, "eth_src")),
    "ip": ((0, 4, 4), (4, 4, "ip_ihl"), (8, 6, "ip_dscp"), (14, 2, "ip_ecn"), (16, 16, "ip_len"),
           (32, 16, "ip_id"), (48, 3, "ip_flags"), (51, 13, "ip_frag_off"), (64, 8, "ip_ttl"),
           (72, 8, "ip_proto"), (80, 16, "ip_checksum"), (96, 32, "ip_src"), (128, 32, "ip_dst")),
    "ip6": ((0, 4, 6), (4, 6, "ip_dscp"), (10, 2, "ip_ecn"), (12, 20, "ip6_flow_label"),
            (48, 8, "ip6_next"), (56, 8, "ip_ttl"), (64, 64, "ip6_src_hi"), (128, 64, "ip6_src_lo"),
            (192, 64, "ip6_dst_hi"), (256, 64, "ip6_dst_lo")),
    "arp": ((48, 16, "arp_op"), (64, 48, "arp_sha"), (112, 32, "arp_spa"), (144, 48, "arp_tha"),
            (192, 32, "arp_tpa")),
    "tcp": ((0, 16, "l4_src"), (16, 16, "l4_dst"), (32, 32, "tcp_seq"), (64, 32, "tcp_ack"),
            (100, 12, "tcp_flags"), (112, 16, "tcp_window"), (128, 16, "tcp_checksum"),
            (144, 16, "tcp_urgent")),
    "udp": ((0, 16, "l4_src"), (16, 16, "l4_dst"), (32, 16, "udp_len"), (48, 16, "udp_checksum")),
    "sctp": ((0, 16, "l4_src"), (16, 16, "l4_dst"), (32, 32, "sctp_tag"),
             (64, 32, "sctp_checksum")),
    "icmp": ((0, 8, "icmp_type"), (8, 8, "icmp_code")),
    "icmp6": ((0, 8, "icmp_type"), (8, 8, "icmp_code")),
}  # fmt: skip

#: Bytes that are there wherever a header is well-formed, and has columns.
_SIZE = {"ether": 14, "ip": 20, "ip6": 40, "arp": 28, "tcp": 20, "udp": 8, "sctp": 12, "icmp": 8,
         "icmp6": 4}  # fmt: skip
_TOP = 0xFFFFFFFF


def full(column: str) -> int:
    """All bits of a column."""
    return (1 << int(BY_NAME[column].dtype.removeprefix("uint"))) - 1


def test(
    load: tuple[str, int, int], mask: int, shift: int, operator: str, value: int
) -> Node | None:
    """((load & mask) >> shift) compared with a value; None: no columns say it."""
    proto, offset, size = load
    if proto == "len":
        pieces: list[tuple[int, int, str | int]] = [(0, 32, "wire_len")]
        first, width = 0, 32
    else:
        pieces, first, width = list(LAYOUT.get(proto, ())), 8 * offset, 8 * size
        if offset + size > _SIZE.get(proto, 0):
            return None  # a packet may end before, and that is an answer of its own
    if operator == "!=":
        node = test(load, mask, shift, "=", value)
        return None if node is None else Not(node)
    mask = mask & ((1 << width) - 1) & ~((1 << shift) - 1)
    lo, hi = {
        "=": (value, value), "<": (0, value - 1), "<=": (0, value), ">": (value + 1, _TOP),
        ">=": (value, _TOP),
    }[operator]  # fmt: skip
    if lo > hi or hi < 0:
        return FALSE
    lo, hi = lo << shift, ((hi + 1) << shift) - 1
    if lo == 0 and hi >= mask:
        return TRUE
    if lo > mask:
        return FALSE
    parts = _parts(pieces, first, width, mask)
    if parts is None:
        return None
    if operator == "=":
        if lo & ~mask:
            return FALSE
        out: list[Node] = []
        for column, up, bits in parts:
            out.append(_within(column, up, bits, lo & bits, (lo & bits) | ((1 << shift) - 1)))
        return FALSE if FALSE in out else all_of([part for part in out if part != TRUE])
    if len(parts) != 1:
        return None
    column, up, bits = parts[0]
    return _within(column, up, bits, lo, hi)


def _parts(
    pieces: list[tuple[int, int, str | int]], first: int, width: int, mask: int
) -> list[tuple[str | int, int, int]] | None:
    """What the bits of a mask are: (column, how far it is shifted up in the load, its bits there).

    None if a bit is of no column.
    """
    out = []
    for begin, bits, column in pieces:
        # Bit 0 of the column is bit `up` of the load, counted from the right.
        up = first + width - begin - bits
        there = (((1 << bits) - 1) << up if up >= 0 else ((1 << bits) - 1) >> -up) & mask
        if there:
            out.append((column, up, there))
            mask &= ~there
    return None if mask else out


def _within(column: str | int, up: int, bits: int, lo: int, hi: int) -> Node:
    """Are these bits of the load, which are a column's, in lo..hi?"""
    if isinstance(column, int):
        return TRUE if lo <= (column << up if up >= 0 else column >> -up) & bits <= hi else FALSE
    if up >= 0:
        mask, lo, hi = bits >> up, -(-lo >> up), hi >> up
    else:
        mask, lo, hi = bits << -up, lo << -up, ((hi + 1) << -up) - 1
    whole = next(b for rows in (*LAYOUT.values(), ((0, 32, "wire_len"),))
                 for _, b, name in rows if name == column)  # fmt: skip
    if mask == (1 << whole) - 1:
        mask = full(column)
    hi = min(hi, full(column))
    return FALSE if lo > hi else Test(column, mask, lo, hi)
