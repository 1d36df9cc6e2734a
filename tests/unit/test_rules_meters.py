"""Meters and rate limits against models written from RFC 2697, RFC 2698 and no other source."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import veridnet as vn
from veridnet._native.actions import Meter, limit_takes, tsc_hz
from veridnet.rules.units import rate, size

GREEN, YELLOW, RED = range(3)
START = 10**15


class Ticks:
    """When a bucket gets tokens: rte_meter gives it whole bytes at whole periods of TSC cycles."""

    def __init__(self, per_second: int) -> None:
        period = tsc_hz() / per_second
        self.bytes = 1 if period >= 100 else -int(-100 // period)
        self.period = int(period) if period >= 100 else tsc_hz() * self.bytes // per_second
        self.given = 0

    def until(self, now: int) -> int:
        """Tokens since the last call."""
        due = (now - START) // self.period
        fresh, self.given = due - self.given, due
        return fresh * self.bytes


def srtcm(cir: int, cbs: int, ebs: int, packets: list[tuple[int, int]]) -> list[int]:
    """RFC 2697, section 3, colour blind. What C cannot hold goes to E."""
    ticks, c, e, colors = Ticks(cir), cbs, ebs, []
    for now, length in packets:
        tokens = ticks.until(now)
        to_c = min(tokens, cbs - c)
        c += to_c
        e = min(ebs, e + tokens - to_c)
        if c - length >= 0:
            c -= length
            colors.append(GREEN)
        elif e - length >= 0:
            e -= length
            colors.append(YELLOW)
        else:
            colors.append(RED)
    return colors


def trtcm(cir: int, pir: int, cbs: int, pbs: int, packets: list[tuple[int, int]]) -> list[int]:
    """RFC 2698, section 3, colour blind."""
    c_ticks, p_ticks, c, p, colors = Ticks(cir), Ticks(pir), cbs, pbs, []
    for now, length in packets:
        c = min(cbs, c + c_ticks.until(now))
        p = min(pbs, p + p_ticks.until(now))
        if p - length < 0:
            colors.append(RED)
        elif c - length < 0:
            p -= length
            colors.append(YELLOW)
        else:
            p -= length
            c -= length
            colors.append(GREEN)
    return colors


packet_lists = st.lists(
    st.tuples(st.one_of(st.integers(0, 10**5), st.integers(0, 10**9)), st.integers(0, 9000)),
    min_size=1, max_size=60,
)  # fmt: skip
rates = st.one_of(st.integers(1, 10**6), st.integers(10**6, 2 * 10**10))
bursts = st.integers(0, 50_000)


def in_order(steps: list[tuple[int, int]]) -> list[tuple[int, int]]:
    now, packets = START, []
    for step, length in steps:
        now += step
        packets.append((now, length))
    return packets


def colors(meter: Meter, packets: list[tuple[int, int]]) -> list[int]:
    out: list[int] = meter.colors([t for t, _ in packets], [n for _, n in packets]).tolist()
    return out


def test_srtcm_is_rfc_2697(runtime: Any) -> None:
    @given(rates, bursts, bursts, packet_lists)
    def check(cir: int, cbs: int, ebs: int, steps: list[tuple[int, int]]) -> None:
        if cbs + ebs == 0:
            return
        packets = in_order(steps)
        meter = Meter("srtcm", cir=cir, cbs=cbs, ebs=ebs, now=START)
        expected = srtcm(cir, cbs, ebs, packets)
        assert colors(meter, packets) == expected
        stats = meter.stats()
        assert [stats[c][0] for c in ("green", "yellow", "red")] == [
            expected.count(k) for k in range(3)
        ]

    check()


def test_trtcm_is_rfc_2698(runtime: Any) -> None:
    @given(rates, rates, bursts, bursts, packet_lists)
    def check(a: int, b: int, cbs: int, pbs: int, steps: list[tuple[int, int]]) -> None:
        cir, pir = sorted((a, b))
        cbs, pbs = cbs + 1, pbs + 1
        packets = in_order(steps)
        meter = Meter("trtcm", cir=cir, pir=pir, cbs=cbs, pbs=pbs, now=START)
        assert colors(meter, packets) == trtcm(cir, pir, cbs, pbs, packets)

    check()


@pytest.mark.parametrize("per_second", [1_000, 125_000, 1_250_000, 125_000_000, 1_250_000_000])
def test_long_term_rate(runtime: Any, per_second: int) -> None:
    """Over ten seconds of twice the rate, what passes is the rate, within 1 %."""
    rng = random.Random(per_second)
    length = 1000
    step = tsc_hz() * length // (2 * per_second)
    n = min(20 * per_second // length, 20_000)
    times = [START + k * step + rng.randrange(step // 4 + 1) for k in range(n)]
    meter = Meter("srtcm", cir=per_second, cbs=2000, ebs=0, now=START)
    passed = int((meter.colors(times, [length] * n) != RED).sum()) * length
    expected = per_second * n * step / tsc_hz()
    assert abs(passed - expected) <= 0.01 * expected + 2 * length + 2000
    taken = int(limit_takes(False, per_second, 2000, START, times, [length] * n).sum()) * length
    assert abs(taken - expected) <= 2000 + 2 * length


def test_time_that_goes_back_brings_no_tokens(runtime: Any) -> None:
    """Two workers read the clock, and take the lock in the other order."""
    for meter in (Meter("srtcm", cir=1000, cbs=100, ebs=100, now=START),
                  Meter("trtcm", cir=1000, pir=2000, cbs=100, pbs=200, now=START)):  # fmt: skip
        times = [START + 50, *[START - k for k in range(20)]]
        assert colors(meter, [(t, 100) for t in times])[2:] == [RED] * 19
    times = np.array([START + 50, *[START - k for k in range(20)]], np.uint64)
    assert limit_takes(False, 1000, 200, START, times, [100] * 21).tolist() == [True] * 2 + (
        [False] * 19
    )


def test_rate_limits_are_exact_token_buckets(runtime: Any) -> None:
    """To the last cycle: tokens are fractions of bytes."""

    @given(st.booleans(), st.integers(1, 10**11), st.integers(1, 10**9), packet_lists)
    def check(packets_: bool, per_second: int, burst: int, steps: list[tuple[int, int]]) -> None:
        tokens, last, expected = Fraction(burst), START, []
        packets = in_order(steps)
        for now, length in packets:
            tokens = min(Fraction(burst), tokens + Fraction((now - last) * per_second, tsc_hz()))
            last = now
            cost = 1 if packets_ else length
            expected.append(tokens >= cost)
            tokens -= cost if tokens >= cost else 0
        taken = limit_takes(packets_, per_second, burst, START, [t for t, _ in packets],
                            [n for _, n in packets])  # fmt: skip
        assert taken.tolist() == expected

    check()


def test_units() -> None:
    assert [rate(t) for t in ("10mbit", "1.5gbps", "8 bit/s", "5kpps", "2Mbyte/s", "1pps")] == [
        (False, 1_250_000), (False, 187_500_000), (False, 1), (True, 5000), (False, 2_000_000),
        (True, 1)]  # fmt: skip
    assert [size(v) for v in ("64k", "64KiB", 1500, "1.5kb", "7")] == [64000, 65536, 1500, 1500, 7]
    for bad in ("", "10", "mbit", "1bit", "0pps", "99999tbit", "-1mbit", "1 m bit"):
        with pytest.raises(ValueError, match="not a rate"):
            rate(bad)
    for bad_size in ("", "k", -1, True, None, "1x", 1.5):
        with pytest.raises(ValueError, match="not a size"):
            size(bad_size)
    assert vn.ConfigError
