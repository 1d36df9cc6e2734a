"""Start, stop, swap, move: nothing leaks, is lost, doubled or overtaken. In processes of their own,
with more lcores than CPUs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pipelines import traffic

SETUP = f"""
import sys; sys.path[:0] = [{str(Path(__file__).parent.parent)!r}]
from many_lcores import pretend
pretend(4)
import gc, itertools, os, threading, time
from pathlib import Path
import numpy as np
from pipelines import in_order, number, through, traffic, until
from random_pipelines import frames_of
from threaded import running as again_and_again
import veridnet as vn
P = vn.Pipeline
SOURCE = Path(sys.argv[1])
FRAMES = frames_of(SOURCE)
OUT = SOURCE.parent / "out.pcap"

def slow(h):
    time.sleep(0.002 if len(done) < 60 else 0)
done = []

def all_came(rt):
    got = frames_of(OUT)
    assert sorted(map(number, got)) == sorted(map(number, FRAMES)), len(got)
    in_order(got)
"""


@pytest.fixture
def run_life(run_python: Any, tmp_path: Path, write_pcap: Any) -> Callable[..., None]:
    """Runs code after SETUP; FRAMES are the n packets of the capture SOURCE."""

    def do(code: str, frames: int = 8000) -> None:
        source = write_pcap(tmp_path / "in.pcap", traffic(frames))
        run_python(SETUP + code, source, timeout=170)

    return do


def test_a_thousand_starts_leak_nothing(run_life: Any) -> None:
    run_life("""
with vn.Runtime() as rt, vn.FlowTable([vn.Rule("ip", ["mark 1"])]) as table:
    a, b = rt.add_port("null"), rt.add_port("null")
    pipes = [P(rx=[a]).forward(b), P(rx=[a, b]).handoff(2).forward({a: b, b: a}),
             P(rx=[a], ports=[a, b]).apply(table).bridge(stations=64),
             P(rx=[a]).handoff().stage(lambda h: None).split({"ip": P().forward(b)}).drop()]
    def state():
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) >> 8, \\
            len(os.listdir("/proc/self/fd"))
    for k in range(1000):
        if k == 200:
            before = state()
        rt.start(pipes[k % 4], lcores=(1, 3, 2)[k % 3], idle="adaptive").stop()
    after = state()
    assert after[0] - before[0] < 24, (before, after)  # MiB; each start kept 160 KiB once
    assert after[1] == before[1], (before, after)
    assert rt.balance().balanced and rt.balance().held == 0
    assert len(rt.pipelines) == 1
    # What the forgotten ones counted is counted; one of them may start again.
    first = rt.start(P(rx=[a]).drop(reason="mine"), count=10, lcores=1)
    until(lambda: first.budget == 0)
    first.stop()
    rt.start(pipes[0], lcores=1).stop()
    first.start()
    first.stop()
    rt.start(pipes[0], lcores=1).stop()
    assert rt.balance().drops["mine"] == 10 and rt.balance().balanced
assert rt.mbufs_in_use() == 0
""", frames=1)  # fmt: skip


VARIANTS = """
def variants(a, out, table):
    tail = P().stage(slow).forward(out)
    return {
        "plain": P(rx=[a]).stage(slow).forward(out),
        "handoff": P(rx=[a]).handoff(ring=64).stage(slow).forward(out),
        "two": P(rx=[a]).handoff(2, ring=128).stage(slow).forward(out),
        "chain": P(rx=[a]).handoff(ring=64).stage(slow).handoff(ring=16).forward(out),
        "split": P(rx=[a])
        .split({"l4_dst == 53": tail, "l4_dst in 80..443": P().drop("l4_dst == 1")}, rest=tail)
        .stage(slow).forward(out),
        "rules": P(rx=[a], ports=[a, out]).apply(table).stage(slow).forward(out),
    }
"""


@pytest.mark.parametrize(("lcores", "distribute"), [(3, None), (3, False), (1, None)])
def test_swap_between_every_two_arrangements(run_life: Any, lcores: int, distribute: Any) -> None:
    """Under traffic that is finite: every packet once, in order. Rules change all the while."""
    run_life(
        VARIANTS
        + f"""
RULES = [vn.Rule("l4_dst == 53", ["forward 1"]), vn.Rule("l4_dst == 80", ["mark 1"])]
with vn.Runtime() as rt, vn.FlowTable(RULES) as table:
    a, out = rt.add_port("pcap", rx=SOURCE), rt.add_port("pcap", tx=OUT)
    pipes = variants(a, out, table)
    ways = [y for x in itertools.permutations(pipes.values(), 2) for y in x]
    def change():
        id = table.add("ip_ttl == 1", ["drop"])
        time.sleep(0.002)
        table.remove_rules([id])
    r = rt.start(ways[0], lcores={lcores}, distribute={distribute}, burst=8, idle="adaptive")
    with again_and_again(change) as errors:
        for pipe in ways:
            r.swap(pipe, 60)
            done.append(1)
    assert not errors, errors
    until(lambda: r.finished)
    r.stop(60)
    assert len(r.plan.workers) == {lcores}
    totals = rt.balance()
    assert totals.balanced and totals.held == 0 and totals.drops == {{}}, totals
all_came(rt)
assert rt.mbufs_in_use() == 0
"""
    )


def test_swap_infinite(run_life: Any) -> None:
    """200 swaps at full speed, and between them a runtime that always balances at rest."""
    run_life("""
with vn.Runtime() as rt, vn.FlowTable([vn.Rule("ip", ["mark 1"])]) as table:
    a, b, c = (rt.add_port("null") for _ in range(3))
    pipes = [P(rx=[a, b]).forward({a: b, b: a}), P(rx=[a, b]).handoff(2).forward({a: b, b: a}),
             P(rx=[a]).mirror(c).handoff().forward(c), P(rx=[b, c]).apply(table).forward(a),
             P(rx=[a, b, c], ports=[a, b, c]).bridge(stations=64),
             P(rx=[c]).tee(P().forward(a)).stage(lambda h: h.wire_len > 0).forward(b)]
    r = rt.start(pipes[0], lcores=3, idle="adaptive")
    for k in range(200):
        r.swap(pipes[(k * 7 + k // 6) % 6], 60)
    r.stop(60)
    t = rt.balance()
    assert t.balanced and t.held == 0 and t.rx > 0, t
assert rt.mbufs_in_use() == 0
""", frames=1)  # fmt: skip


def test_rows_of_the_last_program_are_forgotten(run_life: Any) -> None:
    """Branches that drop leave rows out of order; programs without branches do not write them."""
    run_life("""
with vn.Runtime() as rt:
    a, out = rt.add_port("pcap", rx=SOURCE), rt.add_port("pcap", tx=OUT)
    keep = np.arange(512) % 3 != 0
    def mix(h):
        done.append(len(h))
        time.sleep(0.001)
        return keep[:len(h)]
    first = P(rx=[a]).split({"l4_dst == 1": P().drop()}).stage(mix).forward(out)
    r = rt.start(first, lcores=3, distribute=False, burst=64, idle="adaptive")
    until(lambda: len(done) > 3)
    r.swap(P(rx=[a]).handoff(2).forward(out), 60)
    until(lambda: r.finished)
    r.stop(60)
    assert rt.balance().balanced
in_order(frames_of(OUT))
""")


def test_queues_move(run_life: Any) -> None:
    """Four queues of a ring port among three workers: without loss or reordering."""
    run_life("""
with vn.Runtime() as rt:
    a, out = rt.add_port("ring", queues=4), rt.add_port("pcap", tx=OUT)
    for q in range(4):
        burst = vn.Burst.from_bytes([f for f in FRAMES if number(f)[0] % 4 == q])
        a.tx(burst, queue=q)
        assert not burst
    sent = a.counters()["tx_packets"]
    r = rt.start(P(rx=[a]).stage(slow).forward(out), lcores=3, burst=4, idle="adaptive")
    assert len(r.owners()) == 4
    for k in range(60):
        owners = [(k * 5 + q * q + k // 7) % 3 for q in range(4)]
        r.move(owners, 60)
        assert r.owners() == owners
        done.append(1)
        if k % 10 == 0:
            loads = r.loads()
            assert len(loads) == 4 and all(x >= 0 for x in loads), loads
            r.rebalance()
    until(lambda: out.counters()["tx_packets"] == sent)
    r.stop(60)
    assert r.moves > 30
    for bad in ([0] * 3, [0, 1, 2, 3], [-1] * 4):
        try:
            r.move(bad)
        except vn.ConfigError:
            pass
        else:
            raise AssertionError(bad)
    assert rt.balance().balanced
got = frames_of(OUT)
assert sorted(map(number, got)) == sorted(map(number, FRAMES))
in_order(got)
""", frames=3600)  # fmt: skip


def test_count_and_drain(run_life: Any) -> None:
    run_life("""
with vn.Runtime() as rt:
    a = rt.add_port("null")
    for pipe, lcores in ((P(rx=[a]).drop(), 1), (P(rx=[a]).handoff(2, ring=16).drop(), 3)):
        for count in (1, 31, 12345):
            before = rt.balance().rx
            rt.run(pipe, lcores=lcores, count=count, idle="adaptive")
            assert rt.balance().rx - before == count
    # stop() while rings are full: what was received comes out.
    b, out = rt.add_port("pcap", rx=SOURCE), rt.add_port("pcap", tx=OUT)
    r = rt.start(P(rx=[b]).handoff(ring=1024).stage(lambda h: time.sleep(0.01)).forward(out),
                 lcores=2, idle="adaptive")
    until(lambda: rt.balance().held > 500)
    r.stop(60)
    n = b.counters()["rx_packets"]
    assert out.counters()["tx_packets"] == n > 500 and rt.balance().held == 0
    # A full ring that is not waited for drops, and says so.
    r = rt.start(P(rx=[a]).handoff(ring=2, full="drop").stage(lambda h: time.sleep(0.001)).drop(),
                 lcores=2)
    until(lambda: r.counters()["drops"].get("ring_full", 0) > 100)
    r.stop(60)
    assert rt.balance().balanced
in_order(frames_of(OUT))
assert [number(f) for f in frames_of(OUT)] == [number(f) for f in FRAMES[:n]]
""")


def test_a_bridge_keeps_its_stations_when_queues_move(run_python: Any) -> None:
    run_python("""
        import time
        import veridnet as vn
        with vn.Runtime() as rt:
            if len(rt.worker_cpus) < 2:
                raise SystemExit
            a, b = rt.add_port("ring"), rt.add_port("ring")
            frame = bytes.fromhex("0180c2000000" "020000000001" "0800") + bytes(46)
            a.tx(vn.Burst.from_bytes([frame]))
            running = rt.start(vn.Pipeline(rx=[a, b]).bridge(), lcores=2, idle="adaptive")
            end = time.monotonic() + 20
            while not running.bridges[0].stations() and time.monotonic() < end:
                time.sleep(0.01)
            before = running.owners()
            running.move([1 - k for k in before])
            assert running.owners() == [1 - k for k in before]
            assert [s[:2] for s in running.bridges[0].stations()] == [("02:00:00:00:00:01", 0)]
            running.stop()
            assert rt.balance().balanced
        assert rt.mbufs_in_use() == 0
    """)
