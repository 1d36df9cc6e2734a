from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

from veridnet._native.actions import ActionProgram
from veridnet._native.headers import ColumnsBase
from veridnet._native.matchers import Program

ENGINES: dict[str, int]
LEVELS: dict[str, int]
MAX_PRIORITY: int
RESTING: int
MAX_RULES: int

@disjoint_base
class Match:
    def __new__(
        cls,
        boxes: list[tuple[tuple[int, int, int, int, int], ...]] | None = None,
        program: Program | None = None,
    ) -> Match: ...
    @property
    def n_boxes(self) -> int: ...
    @property
    def special(self) -> bool: ...
    @property
    def needs_packets(self) -> bool: ...

@disjoint_base
class RuleTable:
    def __new__(cls, default: ActionProgram | None = None) -> RuleTable: ...
    def new_ids(self, n: int) -> list[int]: ...
    def unused(self, ids: list[int]) -> None: ...
    def commit(
        self,
        add: list[tuple[int, int, int, Match, ActionProgram | None]],
        remove: list[int],
        *default: ActionProgram | None,
    ) -> None: ...
    def lend_reader(self) -> int: ...
    def give_reader(self, reader: int) -> None: ...
    def classify(self, headers: ColumnsBase) -> npt.NDArray[np.int32]: ...
    def classify_arrays(
        self,
        arrays: dict[str, npt.NDArray[Any]],
        rows: int,
        fill: Callable[[str], npt.NDArray[Any]],
    ) -> npt.NDArray[np.int32]: ...
    def wait(self, seconds: float = 1.0) -> bool: ...
    def merge(
        self,
        engine: str = "auto",
        max_bytes: int = 0,
        *,
        level: str = "base",
        born: int | None = None,
        least: int = 0,
    ) -> None: ...
    def ripe(self, born: int) -> int: ...
    def counts(self, ids: Iterable[int]) -> npt.NDArray[np.uint64]: ...
    @property
    def version(self) -> int: ...
    def info(self) -> dict[str, Any]: ...
    def empty(self) -> None: ...
