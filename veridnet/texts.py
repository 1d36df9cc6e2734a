"""Texts that others wrote, for people's eyes."""

from __future__ import annotations

from collections.abc import Sequence


def printable(text: str) -> str:
    """A text that does nothing to a terminal: what is not printable as Python escapes it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns for a terminal, as wide as what is in them; numbers stand to the right."""
    every = [list(heads), *(list(row) for row in rows)]
    widths = [max(len(row[k]) for row in every) for k in range(len(heads))]
    right = [
        bool(rows) and all(row[k][:1].isdigit() or row[k] == "-" for row in rows)
        for k in range(len(heads))
    ]
    lines = [
        "  ".join(
            cell.rjust(w) if r else cell.ljust(w)
            for cell, w, r in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in every
    ]
    return "\n".join(lines)
