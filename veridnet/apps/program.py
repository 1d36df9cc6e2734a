"""Programs of the user's own: a Python file whose function makes a pipeline for given ports."""

from __future__ import annotations

import importlib.util
import inspect
import linecache
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from veridnet.apps.forwarding import App, Result, RunOptions
from veridnet.apps.rules_file import rules_report
from veridnet.errors import ConfigError
from veridnet.pipeline import Pipeline
from veridnet.rules import FlowTable
from veridnet.runtime import Port, Runtime

#: The function that makes the pipeline, where none is named.
FUNCTION = "pipeline"
HERE = str(Path(__file__).parents[1])


class Program:
    """FILE.py[:FUNCTION]: the file has been run, and the function is there.

    >>> Program("mirror.py:to_tap").pipeline(ports, rt)                   # doctest: +SKIP

    What the file or the function raise is a ConfigError that names file and line; `__cause__` is
    the exception.
    """

    def __init__(self, text: str) -> None:
        self.path, name = split_name(text)
        with Named(self.path):
            self.module = run_file(self.path)
        function = getattr(self.module, name, None)
        if not callable(function):
            near = [k for k, v in vars(self.module).items()
                    if inspect.isfunction(v) and v.__module__ == self.module.__name__]  # fmt: skip
            raise ConfigError(
                f"{self.path}: there is no function {name}",
                hint=f"{self.path}:{near[0]}" if near else f"def {FUNCTION}(ports): ...",
            )
        self.function: Callable[..., Any] = function

    def pipeline(self, ports: Sequence[Port], runtime: Runtime) -> Pipeline:
        """What the function makes of the ports, and of the runtime if it takes that, too."""
        given = [list(ports), runtime][: 1 + wants_runtime(self.function)]
        with Named(self.path):
            pipe = self.function(*given)
        if inspect.iscoroutine(pipe):
            pipe.close()  # else Python complains that nobody waited for it
        if not isinstance(pipe, Pipeline):
            raise ConfigError(
                f"{self.path}: {self.function.__name__} returned {type(pipe).__name__}, no "
                "Pipeline", hint="return vn.Pipeline(rx=ports)...",
            )  # fmt: skip
        return pipe


class ProgramApp(App):
    """Runs a pipeline that a program has made. What a stage raises stands in `problems`."""

    def __init__(
        self, runtime: Runtime, ports: Sequence[Port], program: Program, options: RunOptions
    ) -> None:
        super().__init__(runtime, ports)
        self.program = program
        self.running = options.prepare(runtime, program.pipeline(ports, runtime))
        self.ports += [p for p in self.running.ports if p not in self.ports]  # it added some

    def stop(self) -> None:
        """Stops the loops; what each had received is sent or dropped by name."""
        self.running.close()

    def close(self) -> None:
        """Closes the tables that stages ask. Only after `stop`; may be called twice."""
        for table in self._tables("apply", "classify"):
            table.close()

    def _tables(self, *kinds: str) -> list[FlowTable]:
        stages = [n.stage for n in self.running.pipeline.flat() if n.stage.kind in kinds]
        found = {id(t): t for s in stages if isinstance(t := getattr(s, "table", None), FlowTable)}
        return list(found.values())

    def problems(self) -> list[str]:
        """The runtime's, and what stages raised."""
        raised = [
            f"stage {stage}: {where(error, self.program.path)}: {said(error)}"
            for stage, error in self.running.errors
        ]
        return [*super().problems(), *raised]

    def result(self, reason: str = "") -> Result:
        """What was done since the start."""
        data = super().result(reason).to_dict()
        data["mode"] = "program"
        if tables := self._tables("apply"):
            data["rules"] = rules_report(tables, self.running.missed())
        return Result(data)


class Named:
    """Makes what is raised inside a ConfigError that names the user's file and line."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, Exception):
            raise ConfigError(f"{where(error, self.path)}: {said(error)}",
                              hint=getattr(error, "hint", "")) from error  # fmt: skip


def split_name(text: str) -> tuple[str, str]:
    """File and function of FILE.py[:FUNCTION]."""
    path, colon, name = text.rpartition(":")
    if colon and name.isidentifier() and not Path(text).is_file():
        return path, name
    return text, FUNCTION


def run_file(path: str) -> ModuleType:
    """Runs a file as a module; what stands beside it can be imported, as of a script."""
    file = Path(path)
    try:
        source = file.read_bytes()
    except OSError as e:
        raise ConfigError(f"{path}: {e.strerror}", hint="veridnet run FILE.py[:FUNCTION]") from None
    name = f"veridnet_program_{file.stem}"
    spec = importlib.util.spec_from_loader(name, None, origin=path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = path
    sys.modules[name] = module  # numba, dataclasses and pickle look it up
    sys.path.insert(0, str(file.resolve().parent))
    linecache.checkcache(path)
    exec(compile(source, path, "exec"), vars(module))
    return module


def wants_runtime(function: Callable[..., Any]) -> bool:
    """Must a second argument be given?"""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return sum(p.kind in kinds and p.default is p.empty for p in parameters) > 1


def where(error: BaseException, path: str) -> str:
    """file:line of an error: the last line of the user's file, else the last that is not ours."""
    if isinstance(error, SyntaxError) and error.filename == path:
        return f"{path}:{error.lineno}"
    frames = list(walk(error))
    mine = [f"{file}:{line}" for file, line in frames if file == path]
    theirs = [f"{file}:{line}" for file, line in frames if not file.startswith(HERE)]
    return (mine or theirs or [path])[-1]


def walk(error: BaseException) -> Iterator[tuple[str, int]]:
    """(file, line) of each frame, the innermost last."""
    tb = error.__traceback__
    while tb is not None:
        yield tb.tb_frame.f_code.co_filename, tb.tb_lineno
        tb = tb.tb_next


def said(error: BaseException) -> str:
    """What an error says: veridnet's own as they are, others with their kind."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    return str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
