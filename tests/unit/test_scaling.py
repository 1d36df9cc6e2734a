"""The scaling model: its bounds, its queue against theory, and its command."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import veridnet as vn
from veridnet import scaling
from veridnet.cli.commands import parse
from veridnet.cli.commands import run as run_command

COSTS = scaling.Costs(total=30.0, hz=3e9)


def test_line_rate_is_that_of_everybody() -> None:
    """RFC 2544's table: 14,880,952 frames of 64 bytes at 10 Gbit/s, 812,743 of 1,518."""
    assert round(scaling.line_rate(10e9, 64)) == 14_880_952
    assert round(scaling.line_rate(10e9, 1518)) == 812_744 or 812_743


def test_independent_workers_add_up() -> None:
    for n in (1, 2, 4, 8):
        assert scaling.predict(COSTS, n, 2).mpps == pytest.approx(100 * n)
    bound = scaling.predict(COSTS, 8, 2, line=10e9)
    assert bound.bound == "line rate"
    assert bound.mpps == pytest.approx(2 * 14.880952)
    assert bound.utilization == pytest.approx(2 * 14.880952 / 800)


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 1000))
def test_never_more_than_all_workers(workers: int, queues: int, flows: int) -> None:
    p = scaling.predict(COSTS, workers, 2, queues=queues, flows=flows)
    assert 0 < p.mpps <= 100 * min(workers, queues) * (1 + 1e-9)
    assert 1 / queues <= p.share * (1 + 1e-9)


def test_few_flows_fall_unevenly() -> None:
    many = scaling.predict(COSTS, 8, 2, flows=100_000).mpps
    few = scaling.predict(COSTS, 8, 2, flows=16).mpps
    one = scaling.predict(COSTS, 8, 2, flows=1).mpps
    assert one < few < many <= 800
    assert one == pytest.approx(100)


def test_who_deals_out_is_the_bound_in_the_end() -> None:
    heavy = scaling.Costs(300.0, 3e9, (("work", 270.0),))
    rates = [scaling.predict(heavy, n, 1, distribute=True).mpps for n in (2, 3, 9, 40)]
    assert rates[0] < rates[1] < rates[2]
    assert scaling.predict(heavy, 40, 1, distribute=True).bound == "receiver"
    split = scaling.predict(heavy, 2, 1, handoff=0.5)
    assert 10 < split.mpps < 20


def test_crosstalk_is_fitted() -> None:
    fitted = COSTS.with_crosstalk(2, 180.0)
    assert fitted.crosstalk == pytest.approx(0.1)
    assert scaling.predict(fitted, 2, 2).mpps == pytest.approx(200 / 1.1)


def test_the_queue_is_that_of_theory() -> None:
    """Burst 1, Poisson: M/D/1, whose mean time in the system is s + s * rho / (2 (1 - rho))."""
    costs = scaling.Costs(3000.0, 3e9)  # 1 us
    for rho in (0.3, 0.6, 0.8):
        found = scaling.simulate(costs, rho, burst=1, ring=100_000, packets=300_000)
        theory = 1 + rho / (2 * (1 - rho))
        assert found.mean_us == pytest.approx(theory, rel=0.06)
        assert found.loss == 0
    # D/D/1 below its limit never waits; above it, what is too much is lost.
    assert scaling.simulate(costs, 0.9, poisson=False, burst=1).mean_us == pytest.approx(1.0)
    over = scaling.simulate(costs, 2.0, ring=64, packets=100_000)
    assert over.loss == pytest.approx(0.5, abs=0.02)
    assert over.p99_us <= 64 + 33


@pytest.mark.parametrize("bad", [
    {"load": 0.0}, {"load": 5.0}, {"load": 0.5, "ring": 0}, {"load": 0.5, "packets": 1},
])  # fmt: skip
def test_bad_questions(bad: dict[str, Any]) -> None:
    with pytest.raises(vn.ConfigError):
        scaling.simulate(COSTS, **bad)
    with pytest.raises(vn.ConfigError):
        scaling.predict(COSTS, 0, 1)
    with pytest.raises(vn.ConfigError):
        scaling.Costs(0.0, 3e9)
    for words in ({"queues": 0}, {"flows": 0}, {"flows": -5}, {"size": -20, "line": 1e9}):
        with pytest.raises(vn.ConfigError):
            scaling.predict(COSTS, 2, 1, **words)  # type: ignore[arg-type]
    with pytest.raises(vn.ConfigError):
        scaling.predict(COSTS, 10**400, 1)


def test_the_command(runtime: Any, tmp_path: Path, capsys: Any) -> None:
    from veridnet.apps.l2fwd import L2fwd

    ports = [runtime.add_port("null"), runtime.add_port("null")]
    result = L2fwd(runtime, ports).run(duration=0.3).to_dict()
    file = tmp_path / "one.json"
    file.write_text(json.dumps(result))
    command = ["scale", str(file), "--workers", "1,4", "--load", "0.5", "--json"]
    assert run_command(parse(command)) == 0
    told = json.loads(capsys.readouterr().out)
    one, four = (p["mpps"] for p in told["predictions"])
    assert four == pytest.approx(4 * one)
    assert one == pytest.approx(result["rx_packets"] / result["duration_s"] / 1e6, rel=0.01)
    assert 0 < sum(c for _, c in told["costs"]["stages"]) < told["costs"]["total"] * 1.5
    assert not math.isnan(told["queues"][0]["mean_us"])
    assert run_command(parse(["scale", str(file), "--line", "10G"])) == 0
    assert "line rate" in capsys.readouterr().out
    wrong: list[dict[str, Any]] = [
        {"duration_s": "x"}, {"duration_s": math.inf}, {"rx_packets": None}, {"tsc_hz": "fast"},
        {"rx_packets": 10**400}, {"stages": None}, {"stages": [{}]}, {"stages": 3},
        {"stages": [{"stage": [], "timed_cycles": 1, "timed_packets": 1, "kind": 1}]},
    ]  # fmt: skip
    texts = [json.dumps({**result, **words}) for words in wrong]
    for text in ("{}", "[1]", "nonsense", "[" * 200_000, *texts):
        file.write_text(text)
        assert run_command(parse(["scale", str(file)])) == 2, text[:80]
    assert run_command(parse(["scale", str(tmp_path / "none.json")])) != 0
