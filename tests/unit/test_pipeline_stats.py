"""What pipelines say of themselves: statistics that add up, traces with an end, plans that draw."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipelines import through, traffic, until
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

import veridnet as vn

P = vn.Pipeline
TRAFFIC = traffic(1000)
DPORT = [Ether(f)[UDP].dport if UDP in Ether(f) else 0 for f in TRAFFIC]


@pytest.fixture
def run(runtime: vn.Runtime, tmp_path: Path, write_pcap: Any) -> Callable[..., Any]:
    """``run(make, **options)``: what ran over TRAFFIC, and its ports."""

    def do(make: Any, frames: list[bytes] = TRAFFIC, **options: Any) -> Any:
        source = write_pcap(tmp_path / "in.pcap", frames)
        _, running, ports = through(runtime, tmp_path, source, make, outs=3, **options)
        return running, ports

    return do


def busy(p: list[Any]) -> vn.Pipeline:
    """Stages of all kinds."""
    web = P().rewrite("dec_ttl").split({"udp port 443": P().forward(p[2])})
    return (
        P(rx=[p[0]], ports=p)
        .filter("l4_dst != 9", reason="discard")
        .split({"l4_dst in 80..443": web}, rest=P().stage(lambda h: h.l4_dst != 22, reason="ssh"))
        .mirror(p[3]).tee(P().filter("l4_dst == 53").forward(p[3]))
        .forward(p[1])
    )  # fmt: skip


# -- statistics -----------------------------------------------------------------------------------


def sums(stats: vn.Stats) -> dict[str, Any]:
    """kind -> row of the stage, all workers' together (kinds that occur once)."""
    return {stats.names[int(r["stage"])][0]: r for r in stats.by_stage()}


@pytest.mark.parametrize("burst", [1, 32, 500])
def test_every_packet_is_somewhere(run: Any, burst: int) -> None:
    running, ports = run(busy, burst=burst)
    stats = running.stats()
    of = {
        number: stats.by_stage()[i] for i, number in enumerate(stats.by_stage()["stage"].tolist())
    }
    nodes = {n.number: n for n in running.pipeline.flat()}
    sent = 0
    for number, row in of.items():
        into, out, dropped = (int(row[k]) for k in ("packets_in", "packets_out", "dropped"))
        assert dropped == sum(stats.drops.get(number, {}).values())
        if number not in nodes:
            assert into == out == 0  # the end
            continue
        gone = into - out - dropped
        node = nodes[number]
        if node.stage.kind == "forward":
            assert out == 0
            sent += gone
        elif node.stage.kind == "split":
            branches = [chain for _, chain in node.branches]
            assert gone == sum(
                int(of[c[0].number]["packets_in"]) - int(of[c[-1].number]["packets_out"])
                for c in branches
            )
        elif node.stage.kind == "tee":
            assert gone == 0
            assert of[node.branches[0][1][0].number]["packets_in"] == into == row["copies"]
        else:
            assert gone == 0, node
    copies = running.counters()["copies"]
    mirrored = next(int(r["copies"]) for n, r in of.items() if n in nodes
                    and nodes[n].stage.kind == "mirror")  # fmt: skip
    assert sum(p.counters()["tx_packets"] for p in ports) == sent + mirrored
    assert copies == sum(int(r["copies"]) for r in of.values())
    assert running.counters()["drops"]["discard"] == DPORT.count(9)
    assert running.counters()["drops"]["ssh"] == DPORT.count(22)


def test_histogram(run: Any) -> None:
    for burst, column in ((1, 0), (2, 1), (3, 1), (4, 2), (100, 6), (256, 8), (512, 9)):
        running, _ = run(lambda p: P(rx=[p[0]]).forward(p[1]), burst=burst)
        lane = running.stats().lanes[0]
        stage = running.stats().stages[0]
        assert lane["packets"] == 1000 == stage["packets_in"]
        assert lane["bursts"].sum() == stage["bursts"]
        assert lane["bursts"][column] >= 1000 // burst
    assert running.stats().lanes["ring"].tolist() == [-1]


def test_timed_bursts(run: Any) -> None:
    """One burst in 17; before the first there is no figure."""
    running, _ = run(lambda p: P(rx=[p[0]]).filter("ip or vlan").forward(p[1]), burst=10)
    row = running.stats().stages[0]
    assert row["timed_packets"] == 10 * (row["bursts"] // 17) > 0
    assert row["cycles_per_packet"] == row["timed_cycles"] / row["timed_packets"] > 0
    running, _ = run(lambda p: P(rx=[p[0]]).drop(), frames=TRAFFIC[:3])
    assert np.isnan(running.stats().stages[0]["cycles_per_packet"])
    assert running.stats().to_dict()["stages"][0]["cycles_per_packet"] is None


def test_forms(run: Any) -> None:
    running, _ = run(busy)
    stats = running.stats()
    again = json.loads(json.dumps(stats.to_dict()))
    assert [s["packets_in"] for s in again["stages"]] == stats.stages["packets_in"].tolist()
    assert again["drops"]["filter #0"] == {"discard": DPORT.count(9)}
    text = str(stats)
    for word in ("filter", "split", "tee", "forward", "mirror", f"{DPORT.count(9)} discard"):
        assert word in text
    array = stats.to_numpy()
    array["packets_in"] = 0
    assert stats.stages["packets_in"].sum() > 0
    pandas = pytest.importorskip("pandas")
    frame = stats.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame[frame.kind == "filter"].packets_in.iloc[0] == 1000


def test_workers_and_swaps(runtime: vn.Runtime) -> None:
    """Counters of programs that were swapped out stay in the balance."""
    a, b = runtime.add_port("null"), runtime.add_port("null")
    with runtime.start(P(rx=[a]).drop(reason="first"), idle="adaptive", lcores=1) as handle:
        until(lambda: a.counters()["rx_packets"] > 100)
        handle.swap(P(rx=[b]).drop(reason="second"))
        until(lambda: b.counters()["rx_packets"] > 100)
    drops = handle.counters()["drops"]
    assert drops["first"] == a.counters()["rx_packets"]
    assert drops["second"] == b.counters()["rx_packets"]
    assert handle.stats().workers[0]["passes"] >= handle.stats().workers[0]["busy_passes"] > 0


# -- traces ---------------------------------------------------------------------------------------


def ends(events: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    """Packet -> its events; each begins with rx and comes to an end."""
    of: dict[int, list[dict[str, Any]]] = {}
    for e in events:
        of.setdefault(e["packet"], []).append(e)
    for mine in of.values():
        assert mine[0]["kind"] == "rx", mine
        assert [e["kind"] for e in mine].count("rx") == 1
        assert any(e["kind"] == "out" or (e["kind"] == "ended" and e["reason"]) for e in mine), mine
        assert [e["tsc"] for e in mine] == sorted(e["tsc"] for e in mine)
    return of


@pytest.mark.parametrize(("n", "burst"), [(1, 32), (50, 32), (200, 512), (1000, 1)])
def test_a_trace_has_every_packet(run: Any, n: int, burst: int) -> None:
    running, _ = run(busy, trace=n, burst=burst)
    of = ends(running.trace().events)
    assert len(of) == len(running.trace()) == n
    for k, mine in of.items():
        assert mine[0]["bytes"] == TRAFFIC[k - 1][:128]
        assert mine[0]["length"] == len(TRAFFIC[k - 1])
        dropped = [e["reason"] for e in mine if e["kind"] == "ended" and e["reason"]]
        expected = {9: "discard", 22: "ssh"}.get(DPORT[k - 1])
        assert (expected in dropped) == (expected is not None)
        assert len([e for e in mine if e["kind"] == "out"]) == {
            9: 0, 22: 0, 53: 3}.get(DPORT[k - 1], 1 if DPORT[k - 1] == 443 and
                                    TRAFFIC[k - 1][12:14] == b"\x08\0" else 2)  # fmt: skip
    # What is traced is counted like all else.
    assert running.stats().stages["packets_in"][0] == 1000
    json.dumps(running.trace().to_dict())
    text = str(running.trace())
    assert text.count("received on") == n
    if n > 1:
        assert "dropped (discard)" in text
        assert "ip_ttl 64 -> 63" in text


def test_a_trace_goes_through_rings(run: Any, runtime: vn.Runtime) -> None:
    if len(runtime.worker_cpus) < 2:
        pytest.skip("two CPUs are needed")
    running, _ = run(
        lambda p: P(rx=[p[0]]).filter("l4_dst != 9").handoff(ring=16).rewrite("dec_ttl")
        .filter("l4_dst != 22").forward(p[1]), trace=300, lcores=2,
    )  # fmt: skip
    of = ends(running.trace().events)
    assert len(of) == 300
    for k, mine in of.items():
        workers = {e["worker"] for e in mine}
        assert workers == ({0} if DPORT[k - 1] == 9 else {0, 1})
        kinds = [e["kind"] for e in mine]
        assert kinds.count("ring") == kinds.count("from_ring") == (DPORT[k - 1] != 9)
        if DPORT[k - 1] in (9, 22):
            assert next(e["reason"] for e in mine if e["reason"]) == "filtered"


def test_a_trace_of_what_a_full_ring_does_not_take(run: Any, runtime: vn.Runtime) -> None:
    if len(runtime.worker_cpus) < 2:
        pytest.skip("two CPUs are needed")
    running, _ = run(
        lambda p: P(rx=[p[0]]).handoff(ring=2, full="drop").forward(p[1]), trace=1000, lcores=2
    )
    of = ends(running.trace().events)
    assert len(of) == 1000
    full = sum(any(e["reason"] == "ring_full" for e in mine) for mine in of.values())
    assert full == running.counters()["drops"].get("ring_full", 0)


def test_a_trace_of_what_comes_by_a_ring(runtime: vn.Runtime) -> None:
    ring, out = vn.Ring(256), runtime.add_port("null")
    burst = vn.Burst.from_bytes(TRAFFIC[:100])
    ring.put(burst)
    with runtime.start(P(rx=[ring]).forward(out), trace=10, idle="adaptive") as handle:
        until(lambda: out.counters()["tx_packets"] == 100)
    assert len(ends(handle.trace().events)) == 10
    assert "a ring" in str(handle.trace())
    ring.close()


def test_no_trace(run: Any) -> None:
    running, _ = run(lambda p: P(rx=[p[0]]).drop())
    assert len(running.trace()) == 0
    assert str(running.trace()) == "no packet was traced"


# -- plans ----------------------------------------------------------------------------------------


def pipes(runtime: vn.Runtime) -> list[vn.Pipeline]:
    p = [runtime.add_port("null", name=name) for name in ('a "quoted" <b>', "b", "c|d{}", "e")]
    return [
        P(rx=[p[0]]), P(rx=[p[0], p[1]]).forward({p[0]: p[1], p[1]: p[0]}), busy(p),
        P(rx=p).handoff().filter('l4_dst == 9 or host 10.0.0.1').handoff().forward(p[2]),
    ]  # fmt: skip


def test_plans_as_text_and_pictures(runtime: vn.Runtime, tmp_path: Path) -> None:
    for pipe in pipes(runtime):
        plan = pipe.plan()
        text = str(plan)
        kinds = [n.stage.kind for n in pipe.flat()]
        assert all(kind in text for kind in kinds)
        known = plan.to_dict()
        assert json.loads(json.dumps(known)) == known
        assert [s["kind"] for s in known["stages"]] == [
            k for k in kinds if k != "handoff" or plan.links]  # fmt: skip
        mermaid(plan.to_mermaid())
        dot = plan.to_graphviz()
        if shutil.which("dot"):
            done = subprocess.run(["dot", "-Tsvg"], input=dot, capture_output=True, text=True,
                                  timeout=60, check=False)  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert done.stderr == ""
            assert done.stdout.count('class="cluster"') == len(plan.workers)
        # Nothing was started.
        assert runtime.pipelines == []


def mermaid(text: str) -> None:
    """A flowchart whose arrows join boxes that there are."""
    lines = text.rstrip("\n").split("\n")
    assert lines[0] == "flowchart LR"
    box = re.compile(r'\s*(?:subgraph )?(\w+)(?:\(\["[^"]*"\]\)|\["[^"]*"\])$')
    arrow = re.compile(r'\s*(\w+) (?:-->|-- "[^"]*" -->|== "[^"]*" ==>) (\w+)$')
    boxes = {m[1] for line in lines if (m := box.match(line))}
    for line in lines[1:]:
        if m := arrow.match(line):
            assert m[1] in boxes, line
            assert m[2] in boxes, line
        else:
            assert box.match(line) or line == "  end", line
    assert text.count("subgraph") == text.count("  end\n")


def test_ttl_in_a_trace(run: Any) -> None:
    """Reasons that actions give."""
    frames = [bytes(Ether() / IP(ttl=k % 3) / UDP() / bytes(30)) for k in range(30)]
    running, _ = run(lambda p: P(rx=[p[0]]).rewrite("dec_ttl").forward(p[1]), frames, trace=30)
    of = ends(running.trace().events)
    reasons = [next((e["reason"] for e in mine if e["reason"]), None) for mine in of.values()]
    assert reasons == ["ttl", "ttl", None] * 10
