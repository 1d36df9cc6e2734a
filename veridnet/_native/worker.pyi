from typing import Any, Self, TypeVar

from typing_extensions import disjoint_base

from veridnet._native.memory import Mempool
from veridnet._native.port import NativePort
from veridnet._native.ruletable import RuleTable

MAX_PORTS: int
MAX_BURST: int

_Port = TypeVar("_Port", bound=NativePort)

@disjoint_base
class Forwarder:
    @property
    def bridging(self) -> bool: ...
    @property
    def rules(self) -> RuleTable | None: ...
    def __new__(
        cls,
        ports: list[_Port],
        lcores: list[int],
        *,
        destinations: list[int] | None = None,
        macs: list[bytes | None] | None = None,
        receive: list[bool],
        copy_pool: Mempool,
        burst: int = 32,
        count: int = -1,
        policy: str = "retry",
        stations: int = 8192,
        age_s: float = 300.0,
        rules: RuleTable | None = None,
        flow_cache: bool = True,
        socket: int = -1,
    ) -> Self: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def release(self) -> None: ...
    @property
    def running(self) -> bool: ...
    @property
    def finished(self) -> bool: ...
    @property
    def budget(self) -> int: ...
    def passes(self) -> list[tuple[int, int]]: ...
    def counters(self) -> dict[str, Any]: ...
    def missed(self) -> tuple[int, int]: ...
    def stations(self, limit: int = 65536) -> list[tuple[str, int, float]]: ...
    def bridge_counters(self) -> dict[str, int]: ...
