"""Texts that others wrote, for people's eyes."""

from __future__ import annotations


def printable(text: str) -> str:
    """A text that does nothing to a terminal: what is not printable as Python escapes it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
