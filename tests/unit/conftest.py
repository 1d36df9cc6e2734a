"""Fixtures of the unit tests: frames, a ring port, a full pool."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings

# Shared machines pause: a slow example is no failure.
settings.register_profile("veridnet", deadline=None, max_examples=300, database=None)
settings.load_profile("veridnet")


@pytest.fixture(scope="session")
def make_frames() -> Callable[..., list[bytes]]:
    """``make_frames(n, size=60)``: different frames of EtherType 0x88b5 (for experiments)."""

    def make(n: int, size: int = 60) -> list[bytes]:
        rng = random.Random(size)
        return [
            bytes((2, 0, 0, 0, 1, i & 0xFF, 2, 0, 0, 0, 2, i & 0xFF, 0x88, 0xB5))
            + rng.randbytes(size - 14)
            for i in range(n)
        ]

    return make


@pytest.fixture
def ring(runtime: Any) -> Any:
    """A port that receives what was sent to it; it holds 1,023 packets."""
    return runtime.add_port("ring")


@pytest.fixture
def fill_ring() -> Callable[[Any], int]:
    """``fill_ring(port)`` sends until the port takes no more; returns how many it took."""
    import veridnet as vn

    def fill(port: Any) -> int:
        taken = 0
        while True:
            burst = vn.Burst.from_bytes([bytes(60)] * 256)
            taken += port.tx(burst, policy="keep")
            if burst:
                burst.clear()
                return taken

    return fill


@pytest.fixture
def empty_pool() -> Callable[..., list[Any]]:
    """``empty_pool(pool, leave=0)`` takes all but so many mbufs; returns the bursts that have them.

    One by one in the end: what other lcores keep in their caches cannot be had.
    """
    import veridnet as vn

    def take(pool: Any, leave: int = 0) -> list[Any]:
        spare = vn.Burst.from_bytes([bytes(60)] * leave, pool)
        bursts, step = [], 1024
        while step:
            try:
                bursts.append(vn.Burst.from_bytes([bytes(60)] * step, pool))
            except vn.PoolError:
                step //= 2
        spare.clear()
        return bursts

    return take
