"""Columns for other libraries, and for reading."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from veridnet.errors import ConfigError
from veridnet.headers.fields import ERRORS
from veridnet.headers.values import ip_text, mac_text

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

    from veridnet.headers.columns import Columns

ColumnDict = Mapping[str, NDArray[Any]]


def need(module: str, extra: str) -> ModuleType:
    """A library that is not always there; ConfigError says how to get it."""
    try:
        return __import__(module)
    except ImportError:
        raise ConfigError(
            f"{module} is not installed", hint=f"pip install 'veridnet[{extra}]'"
        ) from None


def structured(columns: ColumnDict) -> NDArray[np.void]:
    """One structured array of all columns."""
    rows = len(next(iter(columns.values()))) if columns else 0
    out = np.zeros(rows, [(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        out[name] = column
    return out


def as_text(name: str) -> Callable[[int], str] | None:
    """How a column's numbers are written for people; None: as numbers."""
    if name in ("eth_dst", "eth_src", "arp_sha", "arp_tha"):
        return mac_text
    if name in ("ip_src", "ip_dst", "arp_spa", "arp_tpa"):
        return ip_text
    if name == "ethertype":
        return lambda value: f"0x{int(value):04x}"
    if name == "error":
        return lambda value: ERRORS[int(value)][0] if value else ""
    return None


def texts(columns: ColumnDict) -> dict[str, Any]:
    """Addresses and errors as text; the halves of IPv6 addresses as one column."""
    out: dict[str, Any] = {}
    for name, column in columns.items():
        low = name[:-2] + "lo"
        if name.startswith("ip6_") and name.endswith("_hi") and low in columns:
            halves = zip(column.tolist(), columns[low].tolist(), strict=True)
            out[name[:-3]] = [
                str(ipaddress.IPv6Address(hi << 64 | lo)) if hi or lo else "" for hi, lo in halves
            ]
        elif name.startswith("ip6_") and name.endswith("_lo") and name[:-2] + "hi" in columns:
            continue
        elif convert := as_text(name):
            values, where = np.unique(column, return_inverse=True)
            words = np.array([convert(value) for value in values.tolist()], object)
            out[name] = words[where].tolist() if len(column) else []
        else:
            out[name] = column
    return out


def to_pandas(columns: ColumnDict, text: bool) -> pandas.DataFrame:
    """See TableMethods.to_pandas."""
    module: Any = need("pandas", "pandas")
    frame: pandas.DataFrame = module.DataFrame(copied(columns, text))
    return frame


def to_arrow(columns: ColumnDict, text: bool) -> pyarrow.Table:
    """See TableMethods.to_arrow."""
    module: Any = need("pyarrow", "arrow")
    table: pyarrow.Table = module.table(
        {name: module.array(values) for name, values in copied(columns, text).items()}
    )
    return table


def to_polars(columns: ColumnDict, text: bool) -> polars.DataFrame:
    """See TableMethods.to_polars."""
    module: Any = need("polars", "polars")
    frame: polars.DataFrame = module.DataFrame(copied(columns, text))
    return frame


def copied(columns: ColumnDict, text: bool) -> dict[str, Any]:
    """Copies of the columns: the burst overwrites its own."""
    values = texts(columns) if text else columns
    return {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in values.items()}


def text_table(columns: ColumnDict, rows: int) -> str:
    """Columns with headings; what is left out is said."""
    total = len(next(iter(columns.values()))) if columns else 0
    head = {name: column[:rows] for name, column in columns.items()}
    cells = [[name, *map(str, values)] for name, values in texts(head).items()]
    widths = [max(map(len, column)) for column in cells]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in itertools.zip_longest(*cells, fillvalue="")
    ]
    if total > rows:
        lines.append(f"... and {total - rows} more")
    return "\n".join(lines)


_PROTO = {1: "ICMP", 6: "TCP", 17: "UDP", 47: "GRE", 50: "ESP", 51: "AH", 58: "ICMPv6", 132: "SCTP"}


def summary(headers: Columns, rows: int = 10) -> str:
    """Packets as people talk of them: from, to, protocol, ports."""
    names = (
        "wire_len", "ethertype", "vlan_depth", "vlan_id", "ip_version", "ip_proto", "ip_src",
        "ip_dst", "ip6_src_hi", "ip6_src_lo", "ip6_dst_hi", "ip6_dst_lo", "l4_src", "l4_dst",
        "eth_src", "eth_dst", "error",
    )  # fmt: skip
    take = min(rows, len(headers))
    c = {name: getattr(headers, name)[:take].tolist() for name in names}
    lines = [("#", "bytes", "from", "to", "what")]
    for i in range(take):
        if c["ip_version"][i] == 4:
            src, dst = ip_text(c["ip_src"][i]), ip_text(c["ip_dst"][i])
        elif c["ip_version"][i] == 6:
            src = ip_text(c["ip6_src_hi"][i], c["ip6_src_lo"][i])
            dst = ip_text(c["ip6_dst_hi"][i], c["ip6_dst_lo"][i])
        else:
            src, dst = mac_text(c["eth_src"][i]), mac_text(c["eth_dst"][i])
        what = (
            _PROTO.get(c["ip_proto"][i], f"protocol {c['ip_proto'][i]}")
            if c["ip_version"][i]
            else f"0x{c['ethertype'][i]:04x}"
        )
        if c["l4_src"][i] or c["l4_dst"][i]:
            what += f" {c['l4_src'][i]} > {c['l4_dst'][i]}"
        if c["vlan_depth"][i]:
            what += f" vlan {c['vlan_id'][i]}"
        if c["error"][i]:
            what += f" [{ERRORS[c['error'][i]][0]}]"
        lines.append((str(i), str(c["wire_len"][i]), src, dst, what))
    widths = [max(len(line[k]) for line in lines) for k in range(5)]
    out = [
        f"{a:>{widths[0]}}  {b:>{widths[1]}}  {s:<{widths[2]}}  {d:<{widths[3]}}  {w}"
        for a, b, s, d, w in lines
    ]
    if len(headers) > take:
        out.append(f"... and {len(headers) - take} more")
    return "\n".join(out)
