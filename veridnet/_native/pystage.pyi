from collections.abc import Callable
from typing import Any, Self

from typing_extensions import disjoint_base

PASS: int
DROP: int
WANTS: dict[str, int]

@disjoint_base
class PyStage:
    @property
    def function(self) -> Callable[..., Any]: ...
    @property
    def name(self) -> str: ...
    @property
    def errors(self) -> list[tuple[str, BaseException]]: ...
    def __new__(
        cls,
        function: Callable[..., Any],
        name: str,
        *,
        wants: str = "headers",
        reason: str = "filtered",
        errors: list[Any],
        headers: Any = None,
    ) -> Self: ...
    def write(self, columns: dict[str, Any]) -> None: ...
    def verdicts(self, result: Any) -> None: ...
