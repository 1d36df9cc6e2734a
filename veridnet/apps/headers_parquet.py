"""`veridnet headers --parquet FILE`: columns with their types, null where a packet has none."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from veridnet._native.table import Reader
from veridnet.errors import ConfigError, VeridnetError
from veridnet.headers import match
from veridnet.headers.fields import BY_NAME
from veridnet.headers.interop import need
from veridnet.headers.source import INDEX
from veridnet.headers.text import Shown


def flat(shown: Iterable[Shown]) -> dict[str, Shown]:
    """Heading -> column: IPv6 addresses as their halves. The packet's number has no column."""
    out: dict[str, Shown] = {}
    for s in shown:
        if s.low:
            out[f"{s.heading}_hi"] = Shown(s.heading, s.column, where=s.where)
            out[f"{s.heading}_lo"] = Shown(s.heading, s.low, where=s.where)
        else:
            out[s.heading] = s
    return out


def write_parquet(
    path: str, shown: Sequence[Shown], reader: Reader, blocks: Iterable[None]
) -> None:
    """Writes the selected rows of all blocks.

    Numbers keep the columns' types; addresses are numbers; rx_time is a timestamp in ns, UTC.
    ConfigError without pyarrow, VeridnetError if the file cannot be written. What was made of it
    is then removed, as it is after Ctrl-C.
    """
    pa = need("pyarrow", "arrow")
    need("pyarrow.parquet", "arrow")
    columns = flat(shown)
    if any(not s.column for s in columns.values()):
        raise ConfigError("--parquet has no packet numbers: leave number out of --fields")
    tests = {s.where: match.compile(s.where) for s in columns.values() if s.where}
    time = pa.timestamp("ns", "UTC")
    schema = pa.schema(
        [
            (name, time if s.column == "rx_time" else pa.type_for_alias(BY_NAME[s.column].dtype))
            for name, s in columns.items()
        ]
    )
    there = os.path.lexists(path)
    try:
        with pa.parquet.ParquetWriter(path, schema) as writer:
            for _ in blocks:
                writer.write_table(table(pa, schema, columns, tests, reader))
    except BaseException as e:
        if not there and os.path.lexists(path):
            os.unlink(path)
        if not isinstance(e, OSError | pa.ArrowException):
            raise
        why = os.strerror(e.errno) if isinstance(e, OSError) and e.errno else str(e)
        raise VeridnetError(f"--parquet {path}: {why}") from None


def table(pa: Any, schema: Any, columns: dict[str, Shown], tests: dict[str, Any],
          reader: Reader) -> Any:  # fmt: skip
    """The selected rows of a block."""
    chosen = reader.chosen()
    keep = slice(None) if chosen is None else np.frombuffer(chosen, np.bool_)
    absent = {
        where: ~np.frombuffer(reader.matches(test), np.bool_)[keep] for where, test in tests.items()
    }
    arrays = []
    for field, s in zip(schema, columns.values(), strict=True):
        values = np.frombuffer(reader.column(INDEX[s.column]), BY_NAME[s.column].dtype)[keep]
        if s.column == "rx_time":
            values = values.view(np.int64)
        mask = absent.get(s.where) if s.where else None
        plain = pa.int64() if s.column == "rx_time" else field.type
        arrays.append(pa.array(values, plain, mask=mask).cast(field.type))
    return pa.table(arrays, schema=schema)
