"""The package's surface: names, types, and one copy of each module."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

import veridnet

NATIVE = (
    "errors", "eal", "memory", "burst", "port", "worker", "capture", "headers", "matchers", "bpf",
    "table", "actions", "runner", "ruletable", "flow", "named", "ring", "stack", "rcu",
)  # fmt: skip
ALLOWED = Path(__file__).with_name("stubtest-allowlist.txt")


def test_public_names_are_all() -> None:
    public = {
        name
        for name in dir(veridnet)
        if not name.startswith("_") and not isinstance(getattr(veridnet, name), type(sys))
    }
    assert public | {"__version__"} == set(veridnet.__all__)
    assert len(veridnet.__all__) == len(set(veridnet.__all__))


def test_star_import_gives_them_all() -> None:
    space: dict[str, object] = {}
    exec("from veridnet import *", space)
    assert set(veridnet.__all__) <= set(space)


def test_public_things_have_docstrings() -> None:
    missing = [
        name
        for name in veridnet.__all__
        if callable(value := getattr(veridnet, name)) and not value.__doc__
    ]
    assert missing == []


def test_no_module_is_loaded_twice(run_python) -> None:
    """A compiled module that is cimported under a wrong name would be loaded a second time, with
    its own copy of every global (a burst that one copy made, the other would not know)."""
    loaded = json.loads(
        run_python(
            """
            import importlib, json, pkgutil, sys
            import veridnet
            for m in pkgutil.walk_packages(veridnet.__path__, "veridnet."):
                if not m.name.endswith(("__main__", "libvnkernels", "libvnintr")):
                    importlib.import_module(m.name)
            print(json.dumps([[n, getattr(m, "__file__", None)] for n, m in sys.modules.items()]))
            """
        ).stdout
    )
    files: dict[str, str] = {}
    for name, file in loaded:
        if file and "/veridnet/_native/" in file:
            assert file not in files, f"{file} is both {name} and {files[file]}"
            assert name.startswith("veridnet"), f"{file} is loaded as {name}"
            files[file] = name
    names = {name for name, _ in loaded}
    assert {f"veridnet._native.{n}" for n in NATIVE} <= names
    # Second copies of one file need not share its path: the bare names must not be there either.
    assert not names & {"eal", "memory", "burst", "port", "worker", "capture", "kernels", "dpdk"}


def test_typed() -> None:
    folder = Path(veridnet.__file__).parent
    assert (folder / "py.typed").exists()
    for name in NATIVE:
        assert (folder / "_native" / f"{name}.pyi").exists()


def test_version_is_the_distribution_s() -> None:
    from importlib.metadata import version

    assert veridnet.__version__ == version("veridnet")


def test_drop_reasons_name_and_explain() -> None:
    reasons = veridnet.drop_reasons()
    assert {"tx_full", "too_long", "runt", "rx_only", "freed", "closed"} <= set(reasons)
    assert all(name.isidentifier() and len(text) > 10 for name, text in reasons.items())


@pytest.mark.timeout(150)
def test_stubs_agree_with_the_modules(tmp_path) -> None:
    """mypy's stubtest, run away from the source folder."""
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed (scripts/lint has it)")
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "--allowlist", ALLOWED, "--ignore-unused-allowlist",
         *(f"veridnet._native.{n}" for n in NATIVE)],
        cwd=tmp_path, capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
