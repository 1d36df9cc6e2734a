"""A loop of bursts allocates nothing that stays, and nothing per burst."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

import veridnet as vn

ROUNDS = 10_000


def growth(loop) -> tuple[int, int]:
    """(bytes that stayed, most bytes at any moment) over many rounds, after a first few."""
    loop(100)
    gc.collect()
    tracemalloc.start()
    try:
        loop(10)
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        loop(ROUNDS)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before, peak - before


@pytest.mark.parametrize("kind", ["null", "ring"])
def test_rx_swap_tx(runtime, kind: str) -> None:
    port = runtime.add_port(kind)
    if kind == "ring":
        port.tx(vn.Burst.from_bytes([bytes(60)] * 64))
    burst = vn.Burst(64)
    total = 0

    def loop(rounds: int) -> None:
        nonlocal total
        for _ in range(rounds):
            total += port.rx(burst)
            burst.swap_macs()
            port.tx(burst)

    stayed, peak = growth(loop)
    assert total == 64 * (ROUNDS + 110)
    # A few integers; one array of 64 pointers would be 512 bytes.
    assert stayed < 256
    assert peak < 400
    runtime_pool = runtime.pool.in_use
    assert runtime_pool == (64 if kind == "ring" else 0)


def test_views_and_copies_are_given_back(runtime) -> None:
    burst = vn.Burst.from_bytes([bytes(60)] * 8)

    def loop(rounds: int) -> None:
        for i in range(rounds):
            view = burst.view(i % 8, writable=True)
            view[0] = i & 255
            burst.to_bytes(i % 8)
            len(burst.lengths)
            del view

    stayed, _ = growth(loop)
    assert stayed < 1024
    assert burst.views == 0
    assert runtime.pool.in_use == 8


def test_bursts_are_given_back(runtime) -> None:
    def loop(rounds: int) -> None:
        for _ in range(rounds // 10):
            vn.Burst.from_bytes([bytes(60)] * 4).clear()

    stayed, _ = growth(loop)
    assert stayed < 4096
    assert runtime.mbufs_in_use() == 0
