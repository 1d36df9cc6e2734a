"""Stacks: last in, first out, all or nothing."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threaded import threads

import veridnet as vn

STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=40)


@pytest.mark.parametrize("lock_free", [True, False])
def test_as_a_list(runtime, lock_free) -> None:
    @given(STEPS)
    def check(steps) -> None:
        stack, model, n = vn.Stack(30, lock_free=lock_free), [], 0
        for push, count in steps:
            if push:
                values = list(range(n, n + count))
                n += count
                fits = len(model) + count <= 30
                assert stack.push(values) == (count if fits else 0)
                model += values if fits else []
            else:
                expected = model[len(model) - count :][::-1] if count <= len(model) else []
                assert stack.pop(count).tolist() == expected
                model = model[: len(model) - len(expected)]
            assert len(stack) == len(model) and stack.free == 30 - len(model)
        stack.close()

    check()


def test_full_range_and_errors(runtime) -> None:
    stack = vn.Stack(4)
    assert stack.push([0, 2**64 - 1]) == 2
    assert stack.pop(2).tolist() == [2**64 - 1, 0]
    assert stack.push(7) == 1 and stack.pop().tolist() == [7]
    for bad, error in ((-1, OverflowError), (2**64, OverflowError), (np.array([-1]), OverflowError),
                       (np.array([0.5]), TypeError)):  # fmt: skip
        with pytest.raises(error):
            stack.push(bad)
    assert stack.push(range(5)) == 0 and len(stack) == 0 and stack.capacity == 4
    assert len(stack.pop(1 << 62)) == 0
    with pytest.raises(ValueError, match="elements"):
        stack.pop(-1)
    for size in (0, -1, 1 << 31, "x"):
        with pytest.raises(vn.ConfigError):
            vn.Stack(size)
    with pytest.raises(TypeError):
        pickle.dumps(stack)
    stack.close()
    stack.close()
    assert stack.closed and "closed" in repr(stack)
    with pytest.raises(vn.ClosedError):
        stack.push(1)
    with pytest.raises(vn.ConfigError, match="no stack"):
        vn.Stack.attach("nobody")
    named = vn.Stack(4, name="a")
    assert vn.Stack.attach("a") is named


@pytest.mark.parametrize("lock_free", [True, False])
def test_threads_lose_and_double_nothing(runtime, lock_free) -> None:
    stack = vn.Stack(1000, lock_free=lock_free)
    stack.push(range(1000))
    taken: list[list[int]] = []

    def work() -> None:
        mine: list[int] = []
        for _ in range(2000):
            mine += stack.pop(3).tolist()
            if len(mine) > 30:
                assert stack.push(mine) == len(mine)
                mine = []
        taken.append(mine)

    with threads(work, work, work) as errors:
        pass
    assert errors == []
    assert sorted(sum(taken, stack.pop(len(stack)).tolist())) == list(range(1000))
