"""Directives that show what the installed package says of itself.

``{port-keys} KIND``
    The keys of a kind of port: name, values, default, meaning. Every kind must be shown
    somewhere, or the build warns.
``{common-keys}``
    The keys that every kind has.
``{port-kinds}``
    All kinds: DPDK's driver, queues, rights, what it is.
``{drop-reasons}``
    Every reason for which a packet can end unsent.
``{header-columns}``
    Every header column, by group.
``{header-errors}``
    Every value of the error column.
``{command-help} COMMAND``
    What ``veridnet COMMAND --help`` prints; COMMAND may be two words.
``{profile-keys} TABLE``
    The keys of a profile's table: runtime or l2fwd.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

import veridnet
from veridnet.apps.l2fwd import PROFILE_KEYS, L2fwdOptions
from veridnet.cli.commands import COMMANDS, load
from veridnet.cli.common import Parser
from veridnet.config import RuntimeConfig
from veridnet.headers.fields import ERRORS, FIELDS, GROUPS
from veridnet.ports import COMMON_KEYS, KINDS, Key

logger = logging.getLogger(__name__)


def cell(text: object) -> str:
    """A table cell of Markdown."""
    return str(text).replace("|", r"\|").replace("<", r"\<")


def code(text: object) -> str:
    """A table cell in monospace, or an empty one."""
    return f"`{cell(text)}`" if str(text) else ""


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table's lines."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def toml(value: object) -> str:
    """A plain value as TOML has it; nothing for None."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


class Generated(SphinxDirective):
    """A directive whose content is Markdown that `lines` makes."""

    optional_arguments = 1

    def lines(self, argument: str) -> list[str]:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        argument = self.arguments[0] if self.arguments else ""
        # The package may have changed where the page has not.
        self.env.note_reread()
        try:
            lines = self.lines(argument)
        except KeyError:
            raise self.error(f"{self.name}: there is no {argument!r}") from None
        node = nodes.container()
        self.state.nested_parse(StringList(lines, source=self.name), self.content_offset, node)
        return node.children


def key_rows(keys: Iterable[Key]) -> Iterable[list[str]]:
    """One row a key."""
    for k in keys:
        values = " ".join(f"`{c}`" for c in k.choices)
        if not values:
            kinds = {bool: "`on` `off`", int: "number"}
            values = kinds.get(k.type, "text") + k.range()
        default = k.default
        if default is None or isinstance(default, bool):
            default = {True: "on", False: "off", None: ""}[default]
        yield [f"`{k.name}`", values, code(default), cell(k.help)]


KEY_HEAD = ("key", "values", "default", "meaning")


class PortKeys(Generated):
    """The keys of one kind."""

    required_arguments, optional_arguments = 1, 0

    def lines(self, argument: str) -> list[str]:
        kind = KINDS[argument]
        facts = (
            f"DPDK's driver: `{kind.driver}`; at most {kind.max_queues} "
            f"queue{'s' if kind.max_queues > 1 else ''}; "
            f"{'no rights needed' if kind.unprivileged else 'needs root or capabilities'}."
        )
        if not kind.keys:
            return [facts, "", "No keys but the common ones."]
        return [facts, "", *markdown_table(KEY_HEAD, key_rows(kind.keys))]


class CommonKeys(Generated):
    """The keys of every kind."""

    def lines(self, argument: str) -> list[str]:
        return markdown_table(KEY_HEAD, key_rows(COMMON_KEYS))


class PortKinds(Generated):
    """All kinds."""

    def lines(self, argument: str) -> list[str]:
        rows = (
            [
                f"[`{k.name}`](#{k.name})",
                cell(k.summary),
                f"`{k.driver}`",
                str(k.max_queues),
                "no" if k.unprivileged else "yes",
            ]
            for k in KINDS.values()
        )
        return markdown_table(("kind", "what it is", "driver", "queues", "needs rights"), rows)


class DropReasons(Generated):
    """All reasons."""

    def lines(self, argument: str) -> list[str]:
        rows = ([f"`{name}`", cell(text)] for name, text in veridnet.drop_reasons().items())
        return markdown_table(("reason", "meaning"), rows)


class HeaderColumns(Generated):
    """All columns."""

    def lines(self, argument: str) -> list[str]:
        out: list[str] = []
        for group, meaning in GROUPS.items():
            rows = (
                [f"`{f.name}`", f"{f.dtype}{' *w*' if f.writable else ''}", cell(f.meaning),
                 cell(f.spec), cell(f.tshark)]
                for f in FIELDS if f.group == group
            )  # fmt: skip
            out += [f"**{group}**: {meaning}", ""]
            out += markdown_table(("column", "dtype", "meaning", "defined in", "tshark"), rows)
            out += [""]
        return out


class HeaderErrors(Generated):
    """All errors."""

    def lines(self, argument: str) -> list[str]:
        rows = ([str(n), f"`{name}`", cell(text)] for n, (name, text) in enumerate(ERRORS))
        return markdown_table(("value", "name", "meaning"), rows)


class ProfileKeys(Generated):
    """The keys of a profile's table."""

    required_arguments, optional_arguments = 1, 0

    def lines(self, argument: str) -> list[str]:
        config = {"runtime": RuntimeConfig, "l2fwd": L2fwdOptions}[argument]
        defaults = {f.name: f.default for f in dataclasses.fields(config)}
        names = PROFILE_KEYS if argument == "l2fwd" else defaults
        return markdown_table(
            ("key", "default"), ([f"`{n}`", code(toml(defaults.get(n)))] for n in names)
        )


class CommandHelp(SphinxDirective):
    """A command's help, as it is printed."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        os.environ["COLUMNS"] = "100"
        parser = Parser(prog="veridnet")
        sub = parser.add_subparsers()
        for command in map(load, COMMANDS):
            command.add_parser(sub)
        for word in self.arguments[0].split():
            groups = (a.choices for a in parser._actions if isinstance(a.choices, dict))
            choices = next(groups, {})
            if word not in choices:
                raise self.error(f"there is no command {self.arguments[0]!r}")
            parser = choices[word]
        text = parser.format_help()
        return [nodes.literal_block(text, text, language="none")]


def check_shown(app: Sphinx) -> None:
    """Warns of kinds of ports that no page describes."""
    pages = "\n".join(p.read_text() for p in Path(app.srcdir).glob("*.md"))
    for kind in KINDS:
        if f"{{port-keys}} {kind}\n" not in pages:
            logger.warning("no page has {port-keys} %s: a kind of port is not described", kind)


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the directives."""
    for name, directive in {
        "port-keys": PortKeys,
        "common-keys": CommonKeys,
        "port-kinds": PortKinds,
        "drop-reasons": DropReasons,
        "header-columns": HeaderColumns,
        "header-errors": HeaderErrors,
        "profile-keys": ProfileKeys,
        "command-help": CommandHelp,
    }.items():
        app.add_directive(name, directive)
    app.connect("builder-inited", check_shown)
    return {"version": veridnet.__version__, "parallel_read_safe": True}
