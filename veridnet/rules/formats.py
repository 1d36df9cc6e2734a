"""Which format a rule file has; reading, writing and converting any."""

from __future__ import annotations

import difflib
import os
from types import ModuleType
from typing import Any

from veridnet.errors import ConfigError
from veridnet.rules import classbench, testpmd, toml
from veridnet.rules.files import read_text
from veridnet.rules.rule import RuleSet

FORMATS: dict[str, ModuleType] = {"toml": toml, "testpmd": testpmd, "classbench": classbench}
_SUFFIXES = {
    ".toml": "toml",
    ".testpmd": "testpmd",
    ".flow": "testpmd",
    ".classbench": "classbench",
}


def guess(path: str, text: str) -> str:
    """The format of a file: by its name's end, else by its first line."""
    base = path.removesuffix(".xz").removesuffix(".gz")
    if kind := _SUFFIXES.get(os.path.splitext(base)[1].lower()):
        return kind
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("@"):
            return "classbench"
        if stripped.startswith(("flow ", "set sample_actions ")):
            return "testpmd"
        if stripped and not stripped.startswith("#"):
            break
    return "toml"


def load(path: str | os.PathLike[str], format: str | None = None) -> RuleSet:
    """The rules of a file.

    Parameters
    ----------
    path
        The file; xz and gzip are unpacked.
    format
        "toml", "testpmd" or "classbench"; None: by the name (.toml, .testpmd, .flow, .classbench),
        else by what is in it.

    ConfigError says which file, which line, and what is wrong.
    """
    if format is None:
        format = guess(os.fspath(path), read_text(path)[0])
    rules: RuleSet = _module(format).read(path)
    return rules


def dump(rules: RuleSet, format: str, **options: Any) -> str:
    """The rules as text of a format; ConfigError names the rule that it cannot say."""
    text: str = _module(format).write(rules, **options)
    return text


def convert(
    path: str | os.PathLike[str], to: str, format: str | None = None, **options: Any
) -> str:
    """A file's rules as text of another format."""
    _module(to)
    return dump(load(path, format), to, **options)


def _module(format: str) -> ModuleType:
    if format not in FORMATS:
        near = difflib.get_close_matches(str(format), FORMATS, 1)
        raise ConfigError(f"there is no rule format {format!r}"
                          + (f" (did you mean {near[0]}?)" if near else ""),
                          hint=f"formats: {', '.join(FORMATS)}")  # fmt: skip
    return FORMATS[format]
