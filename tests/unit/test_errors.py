"""The tree of errors: as documented, and as Python's own errors."""

from __future__ import annotations

import copy
import errno
import pickle
import re

import pytest

import veridnet as vn
from veridnet import errors


def documented_tree() -> dict[str, tuple[str, ...]]:
    """Class -> its bases, from the drawing at the top of veridnet/errors.py."""
    tree: dict[str, tuple[str, ...]] = {}
    stack: list[tuple[int, str]] = []
    for line in errors.__doc__.splitlines():
        m = re.match(r"^(?P<lead>[ |]*)(?:\+-- )?(?P<name>\w+Error)(?:\((?P<base>\w+)\))?", line)
        if m is None or not (m["base"] or "+--" in line):
            continue
        depth = line.index(m["name"])
        while stack and stack[-1][0] >= depth:
            stack.pop()
        parents = (stack[-1][1],) if stack else ()
        tree[m["name"]] = parents + ((m["base"],) if m["base"] else ())
        stack.append((depth, m["name"]))
    return tree


def test_the_documented_tree_is_the_real_one() -> None:
    real = {
        name: tuple(base.__name__ for base in getattr(errors, name).__bases__)
        for name in errors.__all__
    }
    assert documented_tree() == real
    assert len(real) >= 12


def test_every_error_is_public() -> None:
    for name in errors.__all__:
        assert getattr(vn, name) is getattr(errors, name)
        assert issubclass(getattr(errors, name), vn.VeridnetError)


def test_text_and_hint() -> None:
    e = vn.ConfigError("no such key", hint="keys: a, b")
    assert str(e) == "no such key"
    assert e.hint == "keys: a, b"
    assert vn.StateError("closed").hint == ""


def test_dpdk_error_is_an_oserror() -> None:
    e = vn.PortError("cannot be started", errno.EBUSY, hint="try again")
    assert isinstance(e, OSError)
    assert e.errno == errno.EBUSY
    assert e.strerror == "Device or resource busy"
    assert str(e) == "cannot be started: Device or resource busy"
    assert str(vn.PortError("no device")) == "no device"
    assert vn.PortError("no device").errno is None
    assert isinstance(vn.PoolError("x"), MemoryError)


@pytest.mark.parametrize("copied", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy])
def test_errors_travel_between_processes(copied) -> None:
    for e in (
        vn.ConfigError("text", hint="mend"),
        vn.ViewError("text"),
        vn.PortError("what", errno.EPERM, hint="sudo"),
        vn.PoolError("what"),
    ):
        other = copied(e)
        assert type(other) is type(e)
        assert str(other) == str(e)
        assert other.hint == e.hint
        assert getattr(other, "errno", None) == getattr(e, "errno", None)
