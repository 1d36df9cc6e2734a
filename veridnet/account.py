"""The account of every packet: `Totals`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Totals:
    """Everything that was counted: see `Runtime.balance`."""

    rx: int = 0
    generated: int = 0
    copies: int = 0
    tx: int = 0
    drops: dict[str, int] = field(default_factory=dict)
    held: int = 0
    handed_in: int = 0
    handed_out: int = 0

    @property
    def balanced(self) -> bool:
        """rx + generated + copies + handed_in == tx + drops + held + handed_out."""
        into = self.rx + self.generated + self.copies + self.handed_in
        return into == self.tx + sum(self.drops.values()) + self.held + self.handed_out

    def add_drops(self, drops: Mapping[str, int]) -> None:
        for reason, n in drops.items():
            self.drops[reason] = self.drops.get(reason, 0) + n
