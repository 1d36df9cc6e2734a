"""Functions in threads of their own, and what they raised."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Body = Callable[[], Any]


@contextmanager
def threads(*bodies: Body) -> Iterator[list[BaseException]]:
    """Each body once, in a thread of its own beside the block, which waits for them at its end."""
    errors: list[BaseException] = []

    def run(body: Body) -> None:
        try:
            body()
        except BaseException as e:
            errors.append(e)

    started = [threading.Thread(target=run, args=(body,)) for body in bodies]
    for thread in started:
        thread.start()
    try:
        yield errors
    finally:
        for thread in started:
            thread.join()


def together(*bodies: Body) -> list[BaseException]:
    """Each body once, at the same time."""
    with threads(*bodies) as errors:
        pass
    return errors


@contextmanager
def running(*bodies: Body) -> Iterator[list[BaseException]]:
    """Each body again and again, until the block ends."""
    stop = threading.Event()

    def again(body: Body) -> None:
        while not stop.is_set():
            body()

    with threads(*[lambda body=body: again(body) for body in bodies]) as errors:
        try:
            yield errors
        finally:
            stop.set()
