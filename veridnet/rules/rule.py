"""The record that all rule files make: `Rule`, and `RuleSet`.

The larger priority wins (as in OpenFlow); among equals, the earlier rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from veridnet.errors import ConfigError
from veridnet.headers import match
from veridnet.headers.match import And
from veridnet.texts import printable

#: The largest priority: the number's room beside a rule's place in the engines' 64 bits.
MAX_PRIORITY = (1 << 24) - 1


@dataclass(frozen=True)
class Rule:
    """What packets it is for, and what happens to them.

    Attributes
    ----------
    match
        A match expression; "" matches every packet.
    actions
        Action texts ("drop", "forward 1", ...), in order.
    priority
        0..16777215. The larger wins; among equals the rule that was added earlier.
    name
        For people.
    idle_timeout
        Seconds without a packet after which the rule goes; 0: never.
    hard_timeout
        Seconds after which it goes; 0: never.
    """

    match: str
    actions: tuple[str, ...] = ()
    priority: int = 0
    name: str = ""
    idle_timeout: float = 0.0
    hard_timeout: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.match, str):
            raise ConfigError(f"match is text, not {self.match!r}")
        if isinstance(self.actions, str):
            raise ConfigError(f"actions is a list of texts, not the text {self.actions!r}",
                              hint=f'actions = ["{self.actions}"]')  # fmt: skip
        for action in self.actions:
            if not isinstance(action, str):
                raise ConfigError(f"an action is text, not {action!r}")
        object.__setattr__(self, "actions", tuple(self.actions))
        number = self.priority
        if not isinstance(number, int) or isinstance(number, bool):
            raise ConfigError(f"priority is a whole number, not {number!r}")
        if not 0 <= number <= MAX_PRIORITY:
            raise ConfigError(f"priority {number}: from 0 to {MAX_PRIORITY}; the larger wins")
        if not isinstance(self.name, str):
            raise ConfigError(f"name is text, not {self.name!r}")
        for key in ("idle_timeout", "hard_timeout"):
            value = getattr(self, key)
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise ConfigError(f"{key} is a number of seconds, not {value!r}")
            if not 0 <= value <= 1e9:
                raise ConfigError(f"{key} {str(value)[:20]}: from 0 to 1e9 seconds; 0: none")
            object.__setattr__(self, key, float(value))


@dataclass(frozen=True)
class RuleSet:
    """The rules of a file, in its order; a rule's id is its place, from 0.

    Attributes
    ----------
    rules
        In order.
    default
        Actions of packets that no rule matches; (): the application's own.
    sets
        Named sets: name -> members, texts of the match language.
    meters
        Name -> parameters of a meter.
    lines
        The line of the file at which each rule begins; () where that is not known.
    """

    rules: tuple[Rule, ...] = ()
    default: tuple[str, ...] = ()
    sets: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    meters: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: MappingProxyType({}))
    lines: tuple[int, ...] = field(default=(), compare=False)

    def __len__(self) -> int:
        return len(self.rules)

    def label(self, number: int) -> str:
        """Which rule it is, for people: ``rule 3 (web), line 12``."""
        text = rule_label(number, self.rules[number].name)
        return f"{text}, line {self.lines[number]}" if number < len(self.lines) else text

    def tree(self, number: int) -> Any:
        """The tree of a rule's match; ConfigError names the rule."""
        try:
            return tree(self.rules[number].match, self.sets)
        except ConfigError as e:
            raise ConfigError(f"{self.label(number)}: {e}", hint=e.hint) from None


def rule_label(id: int, name: str) -> str:
    """Which rule it is, for people: ``rule 3 (web)``."""
    return f"rule {id}" + (f" ({printable(name)})" if name else "")


def tree(text: str, sets: Mapping[str, tuple[str, ...]] | None = None) -> Any:
    """The tree of a rule's match: of all packets for ""."""
    if not text.strip():
        return And(())
    return match.parse(text, sets)


def winning_order(priorities: Any) -> Any:
    """The order in which rules are asked: int array of places, the strongest first."""
    import numpy as np

    return np.argsort(-np.asarray(priorities, np.int64), kind="stable")
