from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

PORTS: int
MAX_BURST_BYTES: int
COLORS: tuple[str, str, str]

def tsc_hz() -> int: ...
def limit_takes(
    packets: bool, rate: int, burst: int, start: int, times: Any, lengths: Any
) -> npt.NDArray[np.bool_]: ...

@disjoint_base
class Meter:
    def __new__(
        cls,
        kind: str,
        *,
        cir: int,
        cbs: int,
        ebs: int = 0,
        pir: int = 0,
        pbs: int = 0,
        now: int | None = None,
    ) -> Meter: ...
    @property
    def kind(self) -> str: ...
    @property
    def parameters(self) -> dict[str, int]: ...
    def colors(self, times: Any, lengths: Any) -> npt.NDArray[np.uint8]: ...
    def stats(self) -> dict[str, tuple[int, int]]: ...

@disjoint_base
class ActionProgram:
    def __new__(
        cls, ops: list[tuple[Any, ...]], texts: Sequence[str] = (), counts: bool = False
    ) -> ActionProgram: ...
    @property
    def texts(self) -> tuple[str, ...]: ...
    @property
    def ports(self) -> frozenset[int]: ...
    @property
    def counts(self) -> bool: ...
    @property
    def needs_python(self) -> bool: ...
