from typing_extensions import disjoint_base

from veridnet._native.bpf import Bpf

OPS: dict[str, int]
DEPTH: int
COLUMNS: int

@disjoint_base
class Program:
    def __new__(
        cls,
        text: str,
        steps: list[tuple[str, int, int, int, int, bool]],
        leaves: tuple[Bpf, ...] = ...,
        doubt: Program | None = ...,
        raw: Program | None = ...,
    ) -> Program: ...
    @property
    def text(self) -> str: ...
    @property
    def leaves(self) -> tuple[Bpf, ...]: ...
    @property
    def doubt(self) -> Program | None: ...
    @property
    def raw(self) -> Program | None: ...
