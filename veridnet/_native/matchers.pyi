from typing_extensions import disjoint_base

OPS: dict[str, int]
DEPTH: int

@disjoint_base
class Program:
    def __new__(cls, text: str, steps: list[tuple[str, int, int, int, int, bool]]) -> Program: ...
    @property
    def text(self) -> str: ...
