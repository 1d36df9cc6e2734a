"""Stages of the program's own that run without the GIL: numba's, or any C function.

A function over columns is compiled to what `vn_native` (cython/kernels/vn_stages.h) is::

    void stage(void *const *columns, int64_t n, int16_t *verdict, uint8_t *keep,
               void *const *state);
"""

from __future__ import annotations

import importlib
import inspect
import linecache
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from veridnet.errors import ConfigError
from veridnet.headers.columns import no_column
from veridnet.headers.fields import BY_NAME, FIELDS
from veridnet.pipeline.stages import NUMBER, Maker, Stage

if TYPE_CHECKING:
    from veridnet.pipeline.shared import Shared

OUTPUTS = ("verdict", "keep")


@dataclass(frozen=True)
class Native(Stage):
    """A compiled function over columns."""

    orders = True
    stage: NativeStage = field(repr=False)
    reason: str = "filtered"

    @property
    def kind(self) -> str:  # type: ignore[override]
        return self.stage.name

    @property
    def text(self) -> str:
        return f"compiled, over {', '.join(self.stage.columns)}"

    def prepare(self, shared: Shared, number: int) -> Maker:
        n = self.stage
        address = n.address()
        columns = [NUMBER[c] for c in n.columns if c != "rule"]
        needs = list(columns)
        if "rule" in n.columns:
            columns.append(len(FIELDS))
        writes = [NUMBER[c] for c in n.writes]
        state = list(n.state.values())
        return lambda w: (
            "native", number, address, columns, needs, writes, state, n.verdict, n.keep, self.reason
        )  # fmt: skip


class NativeStage:
    """A function over columns that lcores run without the GIL: see `native_stage`.

    Called from Python, it is the function itself, over arrays: for tests.

    Attributes
    ----------
    columns
        Header columns that it gets, in order; "rule" is the ids of the rules that won.
    writes
        Of these, those that go back into the packets.
    state
        Name -> array: its own memory, shared by all workers.
    """

    def __init__(
        self,
        function: Callable[..., Any] | None,
        name: str,
        columns: Sequence[str],
        *,
        verdict: bool = False,
        keep: bool = False,
        writes: Sequence[str] = (),
        state: dict[str, np.ndarray[Any, Any]] | None = None,
        address: int = 0,
    ) -> None:
        for what, names in (("columns", columns), ("writes", writes)):
            if (
                isinstance(names, str)
                or not isinstance(names, Sequence)
                or not all(isinstance(x, str) for x in names)
            ):
                raise ConfigError(f"stage {name}: {what}={names!r}: names of columns",
                                  hint=f'{what}=("ip_ttl",)')  # fmt: skip
        self.function = function
        self.name = name
        self.columns = tuple(columns)
        self.verdict = verdict
        self.keep = keep
        self.writes = tuple(writes)
        self.state = state or {}
        self._address = address
        self._compiled: Any = None
        for column in self.columns:
            if column not in BY_NAME and column != "rule":
                raise ConfigError(f"stage {name}: {no_column(column)}")
        for column in self.writes:
            if column not in self.columns or not BY_NAME[column].writable:
                raise ConfigError(
                    f"stage {name}: {column} cannot be written",
                    hint="name a parameter that is a writable column: veridnet headers --columns",
                )
        if verdict and keep:
            raise ConfigError(f"stage {name}: verdict or keep, not both")
        for key, array in self.state.items():
            if not isinstance(array, np.ndarray) or not array.flags.c_contiguous:
                raise ConfigError(f"stage {name}: {key} is no contiguous numpy array")
            if not array.flags.writeable:
                raise ConfigError(f"stage {name}: {key} is read-only", hint="give it a copy")

    def __call__(self, *args: Any) -> Any:
        if self.function is None:
            raise TypeError(f"stage {self.name} is a C function")
        return self.function(*args)

    def __repr__(self) -> str:
        return f"<native stage {self.name} over {', '.join(self.columns)}>"

    def bound(self, reason: str) -> Native:
        """The stage of a pipeline."""
        return Native(self, reason)

    def address(self) -> int:
        """Where the C function is; compiles at first use (about a second)."""
        if not self._address:
            self._compiled = compile_stage(self)
            self._address = self._compiled.address
        return self._address


@overload
def native_stage(function: Callable[..., Any], /) -> NativeStage: ...
@overload
def native_stage(
    *, writes: Sequence[str] = ..., name: str | None = ..., **state: Any
) -> Callable[[Callable[..., Any]], NativeStage]: ...
@overload
def native_stage(
    function: int,
    /,
    *,
    columns: Sequence[str],
    verdict: bool = ...,
    keep: bool = ...,
    writes: Sequence[str] = ...,
    name: str | None = ...,
    **state: Any,
) -> NativeStage: ...


def native_stage(
    function: Any = None,
    /,
    *,
    writes: Sequence[str] = (),
    name: str | None = None,
    columns: Sequence[str] = (),
    verdict: bool = False,
    keep: bool = False,
    **state: Any,
) -> Any:
    """A function over columns that becomes a stage at the speed of a built-in one.

    The names of its parameters say what it gets, each an array of shape (packets,): a header
    column (`veridnet.headers.FIELDS`), ``rule`` (int32, ids of the rules that won, -1 for none),
    ``keep`` (bool, True everywhere: write False to drop), ``verdict`` (int16, PASS everywhere:
    write a port's number or DROP), or a keyword of the decorator (an array of your own, which all
    workers share). It is compiled by numba in nopython mode (``pip install veridnet[numba]``), so
    it can do what numba can; bounds are not checked, and an exception is printed and passed over.

    Parameters
    ----------
    function
        Or the address of a C function (see this module), with `columns`, `verdict` and `keep`.
    writes
        Columns that go back into the packets; checksums follow.

    >>> @vn.native_stage
    ... def no_telnet(l4_dst, keep):
    ...     for i in range(len(keep)):
    ...         keep[i] = l4_dst[i] != 23
    >>> pipe.stage(no_telnet)                                             # doctest: +SKIP
    """
    if isinstance(function, int):
        if isinstance(function, bool) or not 0 < function < 1 << 64:
            raise ConfigError(f"native_stage: {function!r} is no address")
        return NativeStage(
            None, name or f"C function {function:#x}", columns, verdict=verdict, keep=keep,
            writes=writes, state=state, address=function,
        )  # fmt: skip

    def make(f: Callable[..., Any]) -> NativeStage:
        try:
            names = list(inspect.signature(f).parameters)
        except (TypeError, ValueError):
            raise ConfigError(f"native_stage: {f!r} is no Python function") from None
        unknown = [k for k in state if k not in names]
        if unknown:
            raise ConfigError(f"stage {f.__name__} has no parameter {unknown[0]!r}")
        return NativeStage(
            f, name or f.__name__, [p for p in names if p not in OUTPUTS and p not in state],
            verdict="verdict" in names, keep="keep" in names, writes=writes, state=state,
        )  # fmt: skip

    if function is None:
        return make
    if not callable(function):
        raise ConfigError(f"a stage is a function, not {function!r}")
    return make(function)


def compile_stage(stage: NativeStage) -> Any:
    """numba's cfunc of a stage."""
    try:
        numba: Any = importlib.import_module("numba")
        errors: Any = importlib.import_module("numba.core.errors")
        extending: Any = importlib.import_module("numba.extending")
    except ImportError:
        raise ConfigError(f"stage {stage.name}: numba is not installed",
                          hint="pip install 'veridnet[numba]'") from None  # fmt: skip

    types = numba.types

    def pointer(context: Any, address: Any) -> Any:
        """An integer as a pointer."""

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

        return types.voidptr(address), generate

    pointer_of = extending.intrinsic(pointer)
    assert stage.function is not None
    names = list(inspect.signature(stage.function).parameters)
    space: dict[str, Any] = {
        "carray": numba.carray, "pointer": pointer_of, "bool_": np.bool_, "int16": np.int16,
        "inner": numba.njit(nogil=True, error_model="numpy")(stage.function),
    }  # fmt: skip
    # "rule" comes last among the columns (vn_native_arg).
    places = [c for c in stage.columns if c != "rule"] + ["rule"]
    lines = ["def stage(columns, n, verdict, keep, state):"]
    for column in stage.columns:
        dtype = np.dtype(np.int32) if column == "rule" else np.dtype(BY_NAME[column].dtype)
        space[f"t_{column}"] = dtype
        lines.append(f"    {column} = carray(pointer(columns[{places.index(column)}]), (n,), "
                     f"t_{column})")  # fmt: skip
    if stage.keep:
        lines.append("    keep_ = carray(pointer(keep), (n,), bool_)")
    if stage.verdict:
        lines.append("    verdict_ = carray(pointer(verdict), (n,), int16)")
    for k, (key, array) in enumerate(stage.state.items()):
        space[f"t_{key}"] = array.dtype
        lines.append(f"    {key} = carray(pointer(state[{k}]), {array.shape!r}, t_{key})")
    args = [f"{name}_" if name in OUTPUTS else name for name in names]
    lines.append(f"    inner({', '.join(args)})")
    text = "\n".join(lines) + "\n"
    filename = f"<stage {stage.name}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(True), filename)
    exec(compile(text, filename, "exec"), space)
    words = types.CPointer(types.uintp)
    signature = types.void(words, types.int64, types.uintp, types.uintp, words)
    try:
        return numba.cfunc(signature, nopython=True, error_model="numpy")(space["stage"])
    except errors.NumbaError as e:
        told = [x.strip() for x in str(e).splitlines()]
        told = [x for x in told if x and not x.startswith(("Failed in", "During:"))]
        why = told[0] if told else type(e).__name__
        if at := next((x for x in told if x.startswith("File ") and "<stage" not in x), ""):
            why += f" ({at.rstrip(':')})"
        raise ConfigError(f"stage {stage.name} cannot be compiled: {why}",
                          hint="numba's nopython mode: numba.readthedocs.io") from e  # fmt: skip
