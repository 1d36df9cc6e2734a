from collections.abc import Iterable, Sequence
from typing import Any, Self, TypeVar

from typing_extensions import disjoint_base

from veridnet._native.memory import Mempool
from veridnet._native.port import NativePort

MAX_BURST: int

_Port = TypeVar("_Port", bound=NativePort)

@disjoint_base
class Bridge:
    def __new__(cls, stations: int = 8192, age_s: float = 300.0, socket: int = -1) -> Self: ...
    def release(self) -> None: ...
    def stations(self, limit: int = 65536) -> list[tuple[str, int, float]]: ...
    def counters(self) -> dict[str, int]: ...

@disjoint_base
class WorkerRing:
    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    def __new__(cls, size: int, many_producers: bool, socket: int = -1) -> Self: ...
    def __len__(self) -> int: ...

@disjoint_base
class Program:
    @property
    def kept(self) -> list[Any]: ...
    @property
    def ports(self) -> list[Any]: ...
    @property
    def tables(self) -> list[Any]: ...
    @property
    def caches(self) -> list[tuple[Any, bool]]: ...
    @property
    def stages(self) -> list[tuple[int, int]]: ...
    def __new__(
        cls,
        ports: list[_Port],
        own: list[int],
        lanes: list[Any],
        sinks: list[tuple[Any, bool, bool]],
        stages: list[tuple[Any, ...]],
        *,
        reader: int,
        copy_pool: Mempool | None = None,
        policy: str = "retry",
        end: int = 0,
        ordered: bool = True,
        copies: bool = True,
    ) -> Self: ...
    def native(
        self,
        address: int,
        columns: Iterable[int],
        needs: Iterable[int],
        writes: Iterable[int],
        state: Sequence[Any],
        verdict: bool,
        keep: bool,
        reason: str,
    ) -> int: ...
