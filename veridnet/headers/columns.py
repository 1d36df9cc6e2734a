"""What users see of a burst's headers."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from veridnet._native import burst as native_burst
from veridnet._native import headers as native
from veridnet.errors import ConfigError
from veridnet.headers import interop, match
from veridnet.headers.fields import BY_NAME, FIELDS, GROUPS, NEEDS, WRITABLE
from veridnet.headers.values import column_value

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

native.define([(field.name, field.dtype) for field in FIELDS], NEEDS, WRITABLE)


def expand(names: Iterable[str]) -> tuple[str, ...]:
    """Columns of the given groups and columns, in the table's order, each once."""
    chosen: set[str] = set()
    for name in names:
        if name in GROUPS:
            chosen.update(field.name for field in FIELDS if field.group == name)
        elif name in BY_NAME:
            chosen.add(name)
        elif name == "all":
            chosen.update(BY_NAME)
        else:
            known = [*GROUPS, *BY_NAME, "all"]
            near = difflib.get_close_matches(str(name), known, 3)
            raise ConfigError(
                f"there is no header group or column {name!r}",
                hint=(f"did you mean {' or '.join(near)}?" if near else "")
                or f"groups: {', '.join(GROUPS)}",
            )
    return tuple(field.name for field in FIELDS if field.name in chosen)


def no_column(name: str) -> str:
    """The text of an error: what people may have meant."""
    from veridnet.headers import hints

    if name in GROUPS:
        members = ", ".join(field.name for field in FIELDS if field.group == name)
        return f"{name!r} is a group of columns, not a column; its columns: {members}"
    if name in ("ip6_src", "ip6_dst"):
        return f"there is no column {name!r}: its halves are {name}_hi and {name}_lo"
    meant = hints.NAMES_OF.get(name)
    near = [meant] if meant else difflib.get_close_matches(name, BY_NAME, 3)
    return f"there is no column {name!r}" + (f"; did you mean {' or '.join(near)}?" if near else "")


class Headers:
    """Which columns to parse: ``Burst(256, headers=Headers("ipv4", "l4_dst"))``.

    Parameters
    ----------
    names
        Groups (`veridnet.headers.GROUPS`) and columns (`veridnet.headers.FIELDS`); "all" for all.

    The cost of a parse follows what is asked. Without a plan, a burst learns from what its
    program reads.
    """

    __slots__ = ("names",)

    def __init__(self, *names: str) -> None:
        self.names: tuple[str, ...] = expand(names)
        if not self.names:
            raise ConfigError("no columns", hint='as Headers("ipv4", "l4")')

    def __repr__(self) -> str:
        return f"Headers({', '.join(map(repr, self.names))})"

    @staticmethod
    def from_arrays(**columns: ArrayLike) -> HeaderTable:
        """Columns that never were packets, all of one length: numpy, pandas or Arrow data."""
        return HeaderTable.from_arrays(**columns)


class TableMethods:
    """What columns of a burst and columns of their own have in common."""

    __slots__ = ()

    def _names(self) -> list[str]:
        raise NotImplementedError

    def to_numpy(self, *names: str) -> NDArray[np.void]:
        """A structured array, a row a packet: a copy. All parsed columns, or those given."""
        return interop.structured(self._dict(names))

    def to_dict(self, *names: str) -> dict[str, NDArray[Any]]:
        """{column: array}: copies."""
        return {name: column.copy() for name, column in self._dict(names).items()}

    def to_pandas(self, *names: str, text: bool = False) -> pandas.DataFrame:
        """A pandas DataFrame; with ``text=True``, addresses and errors as text.

        Needs pandas (``pip install veridnet[pandas]``).
        """
        return interop.to_pandas(self._dict(names), text)

    def to_arrow(self, *names: str, text: bool = False) -> pyarrow.Table:
        """An Arrow table. Needs pyarrow (``pip install veridnet[arrow]``)."""
        return interop.to_arrow(self._dict(names), text)

    def to_polars(self, *names: str, text: bool = False) -> polars.DataFrame:
        """A polars DataFrame. Needs polars (``pip install veridnet[polars]``)."""
        return interop.to_polars(self._dict(names), text)

    def to_text(self, *names: str, rows: int = 20) -> str:
        """A table for reading: one line a packet, at most `rows`."""
        return interop.text_table(self._dict(names), rows)

    def _dict(self, names: Iterable[str]) -> dict[str, NDArray[Any]]:
        return {name: getattr(self, name) for name in expand(names) or self._names()}


class Columns(native.ColumnsBase, TableMethods):
    """The headers of the packets that a burst holds: ``burst.headers``.

    Each attribute is a column (`veridnet.headers.FIELDS`): a numpy array of shape (packets,), in
    host byte order, 0 where a packet has no such header. Columns are parsed at first use, into
    memory that the burst keeps: nothing is allocated per burst.

    Columns are valid until the burst's next rx or tx; reading one after that raises StateError.
    (An array taken before is then overwritten by the next parse.) `copy` keeps them. Other
    changes to packets (``swap_macs``, writing through a view) do not change what was parsed.
    """

    __slots__ = ()

    def _names(self) -> list[str]:
        return self.parsed() or self.asked() or list(SUMMARY)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in BY_NAME:
            raise AttributeError(no_column(name))
        if not BY_NAME[name].writable:
            raise AttributeError(f"{name} cannot be written to packets")
        getattr(self, name)[...] = column_value(name, value)

    @property
    def inner(self) -> Columns:
        """The same columns for the packets inside GRE, VXLAN, GENEVE, GTP-U and IP-in-IP.

        Rows without one are 0.
        """
        return type(self)(self.burst, self.depth + 1)

    def copy(self, *names: str) -> HeaderTable:
        """The columns, kept: all that are parsed, or those given."""
        return HeaderTable(self.to_dict(*names), len(self))

    def __repr__(self) -> str:
        return f"<headers of {len(self)} packets>\n{interop.summary(self._apart())}"


class HeaderTable(TableMethods):
    """Columns of their own: no packets, no end.

    Made by ``headers.copy()``, ``Headers.from_arrays(...)`` and `veridnet.headers.read`.
    """

    __slots__ = ("_columns", "_rows")

    def __init__(self, columns: Mapping[str, NDArray[Any]], rows: int) -> None:
        self._columns = dict(columns)
        self._rows = rows

    @classmethod
    def from_arrays(cls, **columns: ArrayLike) -> HeaderTable:
        """See `Headers.from_arrays`. What does not fit the column's dtype is an error."""
        out: dict[str, NDArray[Any]] = {}
        for name, values in columns.items():
            if name not in BY_NAME:
                expand([name])  # says what is near
                raise ConfigError(f"{name} is a group, not a column")
            given = np.asarray(values)
            if given.dtype.kind not in "uib" or given.ndim != 1:
                raise ConfigError(
                    f"{name}: integers of shape (n,) are needed, "
                    f"not {given.dtype} of shape {given.shape}"
                )
            array = given.astype(BY_NAME[name].dtype)
            if not np.array_equal(array, given):
                raise ConfigError(f"{name}: a value does not fit {BY_NAME[name].dtype}")
            out[name] = array
        if not out:
            raise ConfigError("no columns", hint="as from_arrays(ip_src=..., l4_dst=...)")
        sizes = {len(column) for column in out.values()}
        if len(sizes) != 1:
            raise ConfigError(f"columns of different lengths: {sorted(sizes)}")
        return cls(out, sizes.pop())

    def _names(self) -> list[str]:
        return list(self._columns)

    def match(self, text: str) -> NDArray[np.bool_]:
        """Which rows match an expression: a new bool array. See `Columns.match`."""
        return native.match_arrays(text, self._columns, self._rows)

    def where(self, mask: NDArray[np.bool_] | str) -> HeaderTable:
        """The rows of a mask (bool array of shape (rows,)), or of a match expression."""
        chosen = self.match(mask) if isinstance(mask, str) else np.asarray(mask)
        if chosen.dtype != np.bool_ or chosen.shape != (self._rows,):
            raise TypeError(
                f"a mask is a bool array of shape ({self._rows},), a row a packet; "
                f"this is {chosen.dtype} of shape {chosen.shape}"
            )
        chosen = chosen.view(np.uint8) != 0
        columns = {name: column[chosen] for name, column in self._columns.items()}
        return HeaderTable(columns, int(np.count_nonzero(chosen)))

    def __getattr__(self, name: str) -> NDArray[Any]:
        try:
            columns: dict[str, NDArray[Any]] = object.__getattribute__(self, "_columns")
            return columns[name]
        except (KeyError, AttributeError):
            if name not in BY_NAME:
                raise AttributeError(no_column(name)) from None
            if len(self._columns) > 10:
                has = f"has {len(self._columns)} others"
            else:
                has = f"has {', '.join(self._columns)}"
            raise AttributeError(
                f"this table has no {name}; it {has}. Name it when the table is made: "
                f'read(..., "{name}"), headers.copy(..., "{name}")'
            ) from None

    def __getstate__(self) -> tuple[dict[str, NDArray[Any]], int]:
        return self._columns, self._rows

    def __setstate__(self, state: tuple[dict[str, NDArray[Any]], int]) -> None:
        self._columns, self._rows = state

    def __len__(self) -> int:
        return self._rows

    def __repr__(self) -> str:
        return f"<header table of {len(self)} packets>\n{self.to_text(rows=10)}"


#: What a readable table of packets shows.
SUMMARY = ("wire_len", "eth_src", "eth_dst", "ethertype", "ip_proto", "l4_src", "l4_dst", "error")

native_burst.set_columns_type(Columns)
native.set_language(functools.partial(match.compile, packets=True), no_column)
