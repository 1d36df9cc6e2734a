"""Our docstrings as napoleon understands them.

- Compiled modules write a method's signature with ``self``, and a property's type as a first line.
- Napoleon takes a property's text up to a colon for its type, so those are kept from it; and a
  paragraph after a section for a part of that, so plain text comes first.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

SECTION = re.compile(r"(Parameters|Attributes)$")

NAMES = re.compile(r"^\w+(, \w+)+$")

# The text of the property that napoleon is kept from.
kept: list[str] = []


def paragraphs(lines: list[str]) -> list[list[str]]:
    """The lines, parted at blank ones."""
    out: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            out[-1].append(line)
        elif out[-1]:
            out.append([])
    return [p for p in out if p]


def prose_first(lines: list[str]) -> list[str]:
    """The same text, with the plain paragraphs before the sections."""
    text, sections, inside = [], [], False
    for p in paragraphs(lines):
        inside = inside or bool(SECTION.match(p[0]))
        indented = any(line.startswith(" ") for line in p)
        (sections if inside and (indented or SECTION.match(p[0])) else text).append(p)
    # "a, b" would be read as a type and a name.
    sections = [[NAMES.sub(lambda m: m[0].replace(" ", ""), line) for line in p] for p in sections]
    return [line for p in (*text, *sections) for line in (*p, "")]


def process_docstring(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    if what in ("property", "attribute"):
        short = name.rpartition(".")[2]
        if lines and (m := re.fullmatch(rf"{short}: (\S.*)", lines[0])):
            del lines[0]
            while lines and not lines[0].strip():
                del lines[0]
            if lines:
                lines[0] = f"``{m[1]}``. {lines[0]}"
        kept[:], lines[:] = lines, []
    elif any(SECTION.match(line) for line in lines):
        lines[:] = prose_first(lines)


def restore_docstring(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    if what in ("property", "attribute"):
        lines[:] = kept


def process_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, result: Any
) -> tuple[str | None, Any] | None:
    if what != "method" or not signature:
        return None
    return re.sub(r"^\(self(, )?", "(", signature), result


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers all, around napoleon's own (priority 500)."""
    app.connect("autodoc-process-docstring", process_docstring, priority=400)
    app.connect("autodoc-process-docstring", restore_docstring, priority=600)
    app.connect("autodoc-process-signature", process_signature)
    return {"parallel_read_safe": True}
