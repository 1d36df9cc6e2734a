"""Masks, names and texts are objects of the program's: they may run Python, and use the burst."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import veridnet as vn
from veridnet._native import burst as native_burst
from veridnet.errors import BurstError, ConfigError, StateError, VeridnetError

FRAME = bytes.fromhex(
    "020000000001020000000002080045000028000100004006"
    "f97d0a0000010a0000020050005100000000000000005002000000000000"
)
N = 64


class Mask:
    """An array that does something while it is made."""

    def __init__(self, rows: int, act: Callable[[], object]) -> None:
        self.rows, self.act = rows, act

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        self.act()
        return np.ones(self.rows, np.bool_)


def balance() -> None:
    account = native_burst.account_read()
    made = account["generated"] + account["copies"]
    assert made == sum(account["drops"].values()) + native_burst.held()


USES: list[Callable[[Any, Any], object]] = [
    lambda b, mask: b.select(mask),
    lambda b, mask: b.compress(mask),
    lambda b, mask: b.drop(mask),
    lambda b, mask: b.split({"a": mask}),
    lambda b, mask: b.split({"a": np.ones(N, np.bool_), "b": mask}),
    lambda b, mask: b.vlan_push(7, mask=mask),
    lambda b, mask: b.vlan_pop(mask=mask),
    lambda b, mask: b.headers.write(mask=mask),
]


@pytest.mark.parametrize("use", USES)
def test_a_mask_that_clears_the_burst(runtime, use) -> None:
    burst = vn.Burst.from_bytes([FRAME] * N)
    with pytest.raises((TypeError, StateError)):
        use(burst, Mask(N, burst.clear))
    assert len(burst) == 0
    balance()


@pytest.mark.parametrize("use", USES)
def test_a_mask_that_fills_the_burst(runtime, use) -> None:
    burst = vn.Burst(256)
    other = vn.Burst.from_bytes([FRAME] * 200)
    everything = np.ones(200, np.bool_)
    with contextlib.suppress(TypeError, BurstError, StateError):
        use(burst, Mask(0, lambda: other.select(everything, into=burst)))
    balance()
    burst.clear()


def test_a_mapping_that_clears_the_burst(runtime) -> None:
    burst = vn.Burst.from_bytes([FRAME] * N)

    class Masks(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            burst.clear()
            return np.ones(0, np.bool_)

    with pytest.raises(StateError, match="changed meanwhile"):
        burst.split(Masks(a=None))
    balance()


def test_split_that_fails_moves_nothing(runtime) -> None:
    burst = vn.Burst.from_bytes([FRAME] * N)

    class Odd(dict[Any, Any]):
        def __iter__(self) -> Any:
            return iter([["unhashable"]])

        def __getitem__(self, name: Any) -> Any:
            return np.ones(N, np.bool_)

    with pytest.raises(TypeError):
        burst.split(Odd())
    assert len(burst) == N
    burst.clear()
    balance()


def test_texts_of_other_types(runtime) -> None:
    burst = vn.Burst.from_bytes([FRAME] * N)
    h = burst.headers

    class Text(str):
        def __hash__(self) -> int:
            burst.clear()
            return str.__hash__(self)

    assert h.match(Text("ip_ttl == 64")).all() and len(burst) == N
    assert h.match(np.str_("ip_ttl == 64")).all()
    with pytest.raises(TypeError, match="text, not list"):
        h.match([])
    burst.clear()


@pytest.mark.parametrize("use", USES)
def test_bytes_that_are_neither_0_nor_1(runtime, use) -> None:
    """Of another type's array seen as bool: what is not 0 is true, once."""
    burst = vn.Burst.from_bytes([FRAME] * N)
    mask = np.zeros(N, np.uint8)
    mask[3], mask[9] = 2, 255
    before = native_burst.held()
    kept = use(burst, mask.view(np.bool_))
    assert native_burst.held() in (before, before - 2), kept
    burst.clear()
    balance()


def test_how_many_are_moved_by_such_bytes(runtime) -> None:
    burst = vn.Burst.from_bytes([FRAME] * N)
    mask = np.zeros(N, np.uint8)
    mask[3] = 2
    chosen = burst.select(mask.view(np.bool_))
    assert (len(chosen), len(burst)) == (1, N - 1)
    table = burst.headers.copy("ip_ttl")
    rows = np.zeros(N - 1, np.uint8)
    rows[0] = 2
    assert len(table.where(rows.view(np.bool_)).ip_ttl) == 1


@pytest.mark.parametrize(
    "change", [{"l3_len": 10}, {"l3_len": 65535}, {"l3_len": 500, "payload_off": 65535},
               {"l2_len": 65535, "ip_ihl": 255}, {"ip_proto": 132, "payload_len": 65535}],
)  # fmt: skip
def test_columns_that_others_are_computed_from_may_be_anything(runtime, change) -> None:
    long = FRAME + bytes(6000)  # several segments
    burst = vn.Burst.from_bytes([FRAME, long])
    h = burst.headers
    for name, value in change.items():
        column = getattr(h, name)
        with pytest.raises(ValueError, match="read-only"):
            column[...] = 0
        column.base[:2] = min(value, np.iinfo(column.dtype).max)  # as nobody should
    assert set(h.ip_csum.tolist()) | set(h.l4_csum.tolist()) <= {0, 1, 2}
    burst.clear()


@pytest.mark.parametrize("kind", [1, 4, 6, 77])
def test_inner_packets_may_be_said_to_be_anywhere(runtime, kind) -> None:
    burst = vn.Burst.from_bytes([FRAME, FRAME + bytes(6000)])
    h = burst.headers
    for column, value in ((h.inner_kind, kind), (h.inner_off, [40, 65000]), (h.inner_len, 65535)):
        column.base[:2] = value
    assert len(h.inner.to_numpy("all")) == 2
    burst.clear()


def test_tunnels_end(runtime) -> None:
    burst = vn.Burst.from_bytes([FRAME])
    h = burst.headers
    for _ in range(102):
        h = h.inner
    assert h.ip_src.tolist() == [0]
    with pytest.raises(ConfigError, match="deep"):
        h.inner  # noqa: B018  the property is what fails
    burst.clear()


def test_wrong_plans_and_masks_of_tables() -> None:
    with pytest.raises(TypeError, match="plan"):
        vn.Burst(8, headers="ipv4")
    with pytest.raises(ConfigError, match="no columns"):
        vn.Headers.from_arrays()
    table = vn.Headers.from_arrays(ip_src=[1, 2, 3])
    for mask in ([0, 0, 1], [True], 5, None, [1.0, 0.0, 0.0]):
        with pytest.raises(TypeError, match="bool array"):
            table.where(mask)
    assert table.where([True, False, True]).ip_src.tolist() == [1, 3]


def test_threads_that_use_one_burst(runtime, ring) -> None:
    """Anything may be refused, nothing may be lost."""
    burst, end = vn.Burst(256), threading.Event()
    unexpected: list[BaseException] = []

    def guard(act: Callable[[], object]) -> None:
        while not end.is_set():
            try:
                act()
            except (VeridnetError, TypeError, ValueError):
                pass
            except BaseException as e:
                unexpected.append(e)
                return

    def read() -> None:
        h = burst.headers
        h.ip_ttl -= 1
        h.match("ip_proto == tcp and l4_dst == 81")
        h.write(mask=h.ip_src != 0)
        _ = h.inner.l4_csum, h.l4_csum

    def move() -> None:
        burst.select(np.ones(len(burst), np.bool_))
        burst.split({"a": np.ones(len(burst), np.bool_)})
        burst.vlan_push(5)

    threads = [threading.Thread(target=guard, args=(act,)) for act in (read, move, read)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(300):
            made = vn.Burst.from_bytes([FRAME] * N)
            try:
                made.select(np.ones(N, np.bool_), into=burst)
                ring.tx(burst)
                burst.clear()
                ring.rx(burst)
                burst.drop(burst.headers.ip_proto == vn.TCP, reason="threads")
            except (VeridnetError, TypeError):
                pass
    finally:
        end.set()
        for thread in threads:
            thread.join()
    assert not unexpected
