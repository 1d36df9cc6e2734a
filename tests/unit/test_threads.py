"""Threads: two ports at once, and what is refused instead of raced."""

from __future__ import annotations

import contextlib
import sys
import threading
import time

import pytest
from threaded import together

import veridnet as vn


def test_two_threads_two_ports(runtime) -> None:
    ports = [runtime.add_port("null", name=str(i)) for i in range(2)]

    def loop(port) -> None:
        burst = vn.Burst(64)
        for _ in range(5000):
            port.rx(burst)
            burst.swap_macs()
            port.tx(burst)

    errors = together(*[lambda port=port: loop(port) for port in ports])
    assert errors == []
    for port in ports:
        assert port.stats["rx_packets"] == port.stats["tx_packets"] == 64 * 5000
        assert port.stats["rx_bytes"] == port.stats["tx_bytes"] == 64 * 64 * 5000


def waiting(port, burst, results: list) -> threading.Thread:
    """A thread that waits in tx on a full port, and does so already."""

    def send() -> None:
        try:
            results.append(port.tx(burst))
        except BaseException as e:
            results.append(e)

    thread = threading.Thread(target=send)
    thread.start()
    end = time.monotonic() + 10
    with contextlib.suppress(vn.StateError):  # that the burst is being sent
        while not results and time.monotonic() < end:
            _ = burst.lengths
            time.sleep(0.001)
    return thread


def test_a_burst_that_is_being_sent_is_refused(runtime, fill_ring) -> None:
    ring = runtime.add_port("ring", retry_us=1_000_000)
    other = runtime.add_port("ring")
    fill_ring(ring)
    burst = vn.Burst.from_bytes([bytes(60)] * 3)
    results: list[object] = []
    thread = waiting(ring, burst, results)
    for use in (
        burst.clear, burst.swap_macs, burst.set_macs, lambda: burst[0], lambda: burst.to_bytes(0),
        lambda: burst.lengths, lambda: other.tx(burst), lambda: other.rx(burst),
    ):  # fmt: skip
        with pytest.raises(vn.StateError):
            use()
    # The port, too, while it waits: one thread a queue. Receiving is another matter.
    with pytest.raises(vn.StateError, match="another thread is sending on this port"):
        ring.tx(vn.Burst.from_bytes([bytes(60)]))
    assert runtime.balance().balanced
    assert results == []
    assert other.tx(vn.Burst.from_bytes([bytes(60)])) == 1
    room = vn.Burst(3)
    assert ring.rx(room) == 3
    thread.join(10)
    assert results == [3]
    assert ring.stats["drops"] == {}


@pytest.mark.parametrize("what", ["port", "runtime"])
def test_close_waits_for_a_thread_that_is_sending(runtime, fill_ring, what: str) -> None:
    ring = runtime.add_port("ring", retry_us=300_000)
    fill_ring(ring)
    burst = vn.Burst.from_bytes([bytes(60)] * 3)
    results: list[object] = []
    thread = waiting(ring, burst, results)
    (ring if what == "port" else runtime).close()
    thread.join(10)
    assert results == [0]
    assert ring.closed
    assert runtime.problems == []
    assert runtime.mbufs_in_use() == 0
    assert runtime.balance().drops == {"tx_full": 3, "freed": runtime.balance().drops["freed"]}


def test_counters_while_others_make_bursts(runtime, ring) -> None:
    """The list of live bursts changes while it is read."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    end = time.monotonic() + 2
    errors: list[BaseException] = []
    keep = [vn.Burst(1) for _ in range(300)]

    def work() -> None:
        try:
            while time.monotonic() < end and not errors:
                made = [vn.Burst.from_bytes([bytes(60)]) for _ in range(30)]
                del made
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=work) for _ in range(2)]
    try:
        for t in threads:
            t.start()
        while time.monotonic() < end and not errors:
            ring.counters()
            runtime.balance()
    finally:
        for t in threads:
            t.join(20)
        sys.setswitchinterval(before)
    assert errors == []
    assert len(keep) == 300
