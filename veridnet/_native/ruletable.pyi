from collections.abc import Sequence

from typing_extensions import disjoint_base

from veridnet._native.actions import ActionProgram
from veridnet._native.matchers import Program

@disjoint_base
class RuleTable:
    def __new__(cls) -> RuleTable: ...
    def load(
        self,
        rules: Sequence[tuple[Program | None, ActionProgram | None]],
        none: ActionProgram | None = None,
    ) -> None: ...
    def counts(self, rule: int) -> tuple[int, int]: ...
    def readers(self) -> dict[int, tuple[int, int]]: ...
