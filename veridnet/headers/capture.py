"""Captures as columns: `read` and `read_blocks`."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from veridnet._native.matchers import Program
from veridnet.errors import ConfigError
from veridnet.headers import match
from veridnet.headers.columns import HeaderTable, expand
from veridnet.headers.fields import BY_NAME, FIELDS, NEEDS
from veridnet.headers.source import INDEX, Source

#: Not given otherwise: all that stands in the headers, and nothing that is computed.
PLAIN = tuple(field.name for field in FIELDS if field.name not in NEEDS)


def read_blocks(
    path: str | os.PathLike[str], *names: str, rows: int = 65536, where: str | None = None
) -> Iterator[HeaderTable]:
    """A capture's packets as tables, `rows` packets each (the last one fewer), in order.

    Parameters
    ----------
    path
        pcap or pcapng of Ethernet frames or IP packets; "-" is standard input.
    names
        Groups and columns, as for `veridnet.headers.Headers`; none: all but the computed ones.
    rows
        Packets of a block. A block has fewer where `where` leaves some out, and is left out
        itself if nothing of it matches.
    where
        A match expression: only packets that match. What it reads need not be among `names`.

    ``rx_time`` is the time of the record, ``wire_len`` the length on the wire; a record that was
    cut by the snapshot length is parsed as far as it goes. Neither a Runtime nor root is needed.
    The GIL is released while a block is read.

    CaptureError for what is no such capture, and for one whose first record is damaged. If a later
    record is, the ones before are used, and a warning is logged.
    """
    if rows < 1:
        raise ConfigError(f"rows={rows}: at least 1")
    chosen = expand(names) if names else PLAIN
    program, used = None, set(chosen)
    if where is not None:
        program = match.compile(where)
        used |= match.columns(match.parse(where))
    return _blocks(Source(path, used, rows), chosen, program)


def _blocks(
    source: Source, chosen: tuple[str, ...], program: Program | None
) -> Iterator[HeaderTable]:
    reader = source.reader
    while reader.read():
        if program is not None and not reader.select(program):
            continue
        mask = reader.chosen()
        keep = None if mask is None else np.frombuffer(mask, np.bool_)
        columns = {}
        for name in chosen:
            # Each block has memory of its own, that can be written.
            column = np.frombuffer(bytearray(reader.column(INDEX[name])), BY_NAME[name].dtype)
            columns[name] = column if keep is None else column[keep]
        yield HeaderTable(columns, reader.selected)
    source.finish()


def read(path: str | os.PathLike[str], *names: str, where: str | None = None) -> HeaderTable:
    """A whole capture as one table: see `read_blocks`, which needs less memory.

    ``read("trace.pcap", "ip", "ipv4", "l4", where="ip_proto == udp").to_pandas(text=True)``
    """
    blocks = list(read_blocks(path, *names, where=where))
    if len(blocks) == 1:
        return blocks[0]
    chosen = expand(names) if names else PLAIN
    columns = {
        name: np.concatenate([getattr(block, name) for block in blocks])
        if blocks
        else np.zeros(0, BY_NAME[name].dtype)
        for name in chosen
    }
    return HeaderTable(columns, sum(map(len, blocks)))
