"""Columns that a table of columns lacks, and that rules ask: what a plain packet has there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veridnet.errors import ConfigError

#: What a packet without tags, labels, fragments, options, extension headers and tunnels has.
PLAIN = (
    "vlan_depth", "mpls_depth", "frag", "ip_frag_off", "ip6_frag_off", "ip6_ext", "error",
    "tunnel",
)  # fmt: skip


def plain_column(name: str, columns: Mapping[str, NDArray[Any]], rows: int) -> NDArray[Any]:
    """A column that is not given, of shape (rows,).

    ``ip_version`` and ``ethertype`` follow from each other, or from the addresses that are given;
    ``ip6_next`` is ``ip_proto``; `PLAIN` are 0. Anything else is a ConfigError.
    """
    if name in PLAIN:
        return np.zeros(rows, np.uint64)
    if name == "ip6_next" and "ip_proto" in columns:
        return columns["ip_proto"]
    if name == "ethertype" and (version := version_of(columns, rows)) is not None:
        return np.select([version == 4, version == 6], [0x0800, 0x86DD], 0)
    if name == "ip_version" and (version := version_of(columns, rows)) is not None:
        return version
    raise ConfigError(
        f"the rules ask {name}, and the table has no such column",
        hint=f"Headers.from_arrays(..., {name}=...); it has {', '.join(columns)}",
    )


def version_of(columns: Mapping[str, NDArray[Any]], rows: int) -> NDArray[Any] | None:
    """The IP version of each row; None: nothing says it."""
    if "ip_version" in columns:
        return columns["ip_version"]
    if "ethertype" in columns:
        kind = columns["ethertype"]
        return np.select([kind == 0x0800, kind == 0x86DD], [4, 6], 0)
    four = "ip_src" in columns or "ip_dst" in columns
    six = any(name.startswith(("ip6_src", "ip6_dst")) for name in columns)
    if four == six:  # both, or neither
        return None
    return np.full(rows, 4 if four else 6)
