from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

from veridnet._native.burst import Burst
from veridnet._native.memory import Mempool
from veridnet._native.port import NativePort
from veridnet._native.ruletable import RuleTable

@disjoint_base
class ActionRunner:
    def __new__(
        cls,
        table: RuleTable,
        reader: int,
        ports: Sequence[NativePort | None] = ...,
        *,
        copy_pool: Mempool | None = None,
        policy: str = "retry",
    ) -> ActionRunner: ...
    @property
    def table(self) -> RuleTable: ...
    @property
    def missed(self) -> tuple[int, int]: ...
    def run(self, burst: Burst) -> Burst: ...

def marks(burst: Burst) -> npt.NDArray[np.int64]: ...
