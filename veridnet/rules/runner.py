"""Who applies a table's rules to bursts in one thread."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from veridnet._native.burst import Burst
from veridnet._native.ruletable import RuleTable
from veridnet._native.runner import ActionRunner

if TYPE_CHECKING:
    from veridnet.runtime import Port


class Runner:
    """A native runner, and the reader of the table that it has as long as it lives."""

    def __init__(self, table: RuleTable, ports: Sequence[Port], policy: str) -> None:
        self.table = table
        self.pid = os.getpid()
        self.reader = -1
        self.reader = table.lend_reader()
        self.native = ActionRunner(table, self.reader, ports, policy=policy)

    def run(self, burst: Burst) -> Burst:
        """Applies the rules."""
        return self.native.run(burst)

    def __del__(self) -> None:
        if self.reader >= 0 and self.pid == os.getpid():
            self.table.give_reader(self.reader)
