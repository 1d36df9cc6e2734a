"""Copies, branches and the program's own stages: what goes where, and what goes on."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipelines import in_order, number, through, traffic, until
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q, Ether

import veridnet as vn

Make = Callable[[list[Any]], vn.Pipeline]
TRAFFIC = traffic(1000)
SEEN = [Ether(f) for f in TRAFFIC]
DPORT = [p[UDP].dport if UDP in p else 0 for p in SEEN]


@pytest.fixture
def run(runtime: vn.Runtime, tmp_path: Path, write_pcap: Any, frames_of: Any) -> Callable[..., Any]:
    """``run(make, frames, outs=3, **options)``: what ports 1.. sent, the drops, what ran."""

    def do(make: Make, frames: list[bytes] = TRAFFIC, outs: int = 3, **options: Any) -> Any:
        source = write_pcap(tmp_path / "in.pcap", frames)
        before = runtime.balance()
        paths, running, _ = through(runtime, tmp_path, source, make, outs=outs, **options)
        now = runtime.balance()
        drops = {r: n - before.drops.get(r, 0) for r, n in now.drops.items()}
        return [frames_of(p) for p in paths], {r: n for r, n in drops.items() if n}, running

    return do


def to(dport: int | None, *others: int) -> list[bytes]:
    """The frames to these ports."""
    return [f for f, d in zip(TRAFFIC, DPORT, strict=True) if d in (dport, *others)]


# -- copies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("burst", [1, 32, 256])
def test_mirror_sample_tee(run: Any, burst: int) -> None:
    """Copies are as the packet was then; sampling takes every n-th."""

    def make(p: list[Any]) -> vn.Pipeline:
        branch = vn.Pipeline().filter("l4_dst == 53").rewrite("set ip_ttl=9").forward(p[3])
        return (vn.Pipeline(rx=[p[0]]).mirror(p[2]).sample(10, p[2]).rewrite("dec_ttl")
                .tee(branch).forward(p[1]))  # fmt: skip

    out, drops, running = run(make, burst=burst)
    assert [number(f) for f in out[0]] == [number(f) for f in TRAFFIC]
    assert [Ether(f)[IP].ttl for f in out[0] if IP in Ether(f)] == [63] * sum(IP in p for p in SEEN)
    assert sorted(out[1]) == sorted([*TRAFFIC, *TRAFFIC[9::10]])
    in_order(out[1], twice=True)
    assert [number(f) for f in out[2]] == [number(f) for f in to(53)]
    assert {Ether(f)[IP].ttl for f in out[2]} == {9}
    assert running.counters()["copies"] == 1000 + 100 + 1000
    assert drops == {"filtered": 1000 - len(to(53))} | ({"ttl": 0} if False else {})


def test_sample_by_two_workers_is_not_of_each(run: Any) -> None:
    out, *_ = run(lambda p: vn.Pipeline(rx=[p[0]]).sample(7, p[2]).forward(p[1]), lcores=2)
    assert len(out[1]) == 1000 // 7
    in_order(out[0])


def test_what_a_tee_leaves_ends(run: Any) -> None:
    """The packets themselves go on; what is left of copies is dropped."""
    out, drops, _ = run(
        lambda p: vn.Pipeline(rx=[p[0]]).tee(vn.Pipeline().filter("udp port 80")).forward(p[1])
    )
    assert out[0] == TRAFFIC
    some = sum(d == 80 and Dot1Q not in p for d, p in zip(DPORT, SEEN, strict=True))
    assert drops == {"no_output": some, "filtered": 1000 - some}


# -- branches -------------------------------------------------------------------------------------


def test_split_by_match(run: Any) -> None:
    """The first branch that matches; what a branch leaves goes on, and so do others."""

    def make(p: list[Any]) -> vn.Pipeline:
        return (
            vn.Pipeline(rx=[p[0]])
            .split({"l4_dst == 53": vn.Pipeline().forward(p[2]),
                    "l4_dst in 50..80": vn.Pipeline().rewrite("set ip_ttl=9"),
                    "l4_dst == 9": vn.Pipeline().drop(reason="discard")})
            .forward(p[1])
        )  # fmt: skip

    out, drops, _ = run(make)
    assert out[1] == to(53)
    assert [number(f) for f in out[0]] == [number(f) for f in to(0, 80, 443, 22)]
    assert [Ether(f)[IP].ttl == 9 for f in out[0] if IP in Ether(f)] == [
        d == 80 for d in DPORT if d in (80, 443, 22)]  # fmt: skip
    assert drops == {"discard": len(to(9))}


def test_split_by_column_and_rest(run: Any) -> None:
    out, drops, _ = run(
        lambda p: vn.Pipeline(rx=[p[0]])
        .split({53: vn.Pipeline().forward(p[1]), 80: vn.Pipeline().forward(p[2])},
               column="l4_dst", rest=vn.Pipeline().forward(p[3]))
        .drop(reason="nothing_comes")
    )  # fmt: skip
    assert out == [to(53), to(80), to(0, 9, 22, 443)]
    assert drops == {}


def test_split_by_rule(run: Any) -> None:
    with vn.FlowTable() as table:
        dns = table.add("l4_dst == 53", priority=2)
        web = table.add("l4_dst in 80..443", priority=1)
        out, drops, _ = run(
            lambda p: vn.Pipeline(rx=[p[0]]).classify(table)
            .split(rule={dns: vn.Pipeline().forward(p[1]), None: vn.Pipeline().forward(p[3]),
                         web: vn.Pipeline().forward(p[2])})
        )  # fmt: skip
    assert out == [to(53), to(80, 443), to(0, 9, 22)]
    assert drops == {}


def test_splits_in_splits_and_rules_that_outlive_a_branch(run: Any) -> None:
    """Ids stay with their packets through branches, filters and Python stages."""
    seen: list[tuple[int, int]] = []

    def note(h: Any, ids: Any) -> None:
        seen.extend(zip(h.l4_dst.tolist(), ids.tolist(), strict=True))

    with vn.FlowTable([vn.Rule("l4_dst == 53"), vn.Rule("l4_dst == 443")]) as table:
        inner = vn.Pipeline().split({"l4_dst == 53": vn.Pipeline().stage(lambda h: h.wire_len > 0)})
        out, *_ = run(
            lambda p: vn.Pipeline(rx=[p[0]]).classify(table)
            .split({"ip or vlan": inner}).filter("l4_dst != 9").stage(note, takes="headers+rules")
            .forward(p[1])
        )  # fmt: skip
    assert out[0] == to(0, 53, 80, 443, 22)
    ids = {53: 0, 443: 1}
    assert seen == [(d, ids.get(d, -1)) for d in DPORT if d != 9]


# -- Python ---------------------------------------------------------------------------------------


def test_a_stage_returns_nothing_a_mask_verdicts_columns(run: Any) -> None:
    def verdicts(h: Any) -> Any:
        out = np.full(len(h), vn.PASS, np.int64)
        out[h.l4_dst == 53] = 2
        out[h.l4_dst == 9] = vn.DROP
        return out

    out, drops, _ = run(
        lambda p: (
            vn.Pipeline(rx=[p[0]], ports=p)
            .stage(lambda h: None)
            .stage(lambda h: h.l4_dst != 22, reason="ssh")
            .stage(verdicts, reason="discard")
            .stage(lambda h: {"ip_ttl": np.where(h.l4_dst == 80, 7, h.ip_ttl)})
            .forward(p[1])
        ),
        burst=100,
    )
    assert out[1] == to(53)
    assert drops == {"ssh": len(to(22)), "discard": len(to(9))}
    assert [number(f) for f in out[0]] == [number(f) for f in to(0, 80, 443)]
    for raw in out[0]:
        p = Ether(raw)
        if IP in p:
            assert p[IP].ttl == (7 if p[UDP].dport == 80 else 64)
            was = p[IP].chksum
            del p[IP].chksum
            assert Ether(bytes(p))[IP].chksum == was


def test_a_stage_takes_bursts(run: Any) -> None:
    """It drops and takes packets; those that stay keep their rules and their order."""
    kept: list[bytes] = []
    ids: list[int] = []

    def take(burst: vn.Burst) -> None:
        burst.drop(burst.headers.l4_dst == 9, reason="discard")
        mine = burst.select(burst.headers.l4_dst == 22)
        kept.extend(mine.to_bytes(i) for i in range(len(mine)))
        mine.clear()

    with vn.FlowTable([vn.Rule("l4_dst == 53"), vn.Rule("l4_dst == 443")]) as table:
        out, drops, _ = run(
            lambda p: vn.Pipeline(rx=[p[0]]).classify(table).stage(take, takes="burst")
            .stage(lambda h, r: ids.extend(r.tolist()), takes="headers+rules").forward(p[1])
        )  # fmt: skip
    assert out[0] == to(0, 53, 80, 443)
    assert kept == to(22)
    assert sum(drops.values()) == len(to(22, 9))
    assert drops["discard"] == len(to(9))
    assert ids == [{53: 0, 443: 1}.get(d, -1) for d in DPORT if d not in (9, 22)]


# -- compiled -------------------------------------------------------------------------------------


def keep_odd(ip_src: Any, l4_dst: Any, wire_len: Any, keep: Any) -> None:
    for i in range(len(keep)):
        keep[i] = (int(ip_src[i]) * 7 + int(l4_dst[i]) + int(wire_len[i])) % 3 != 1


@pytest.mark.parametrize("burst", [1, 32, 512])
def test_numba_as_numpy(run: Any, burst: int) -> None:
    pytest.importorskip("numba")
    total = np.zeros(2, np.int64)

    @vn.native_stage(total=total)
    def count(wire_len: Any, total: Any) -> None:
        total[0] += len(wire_len)
        total[1] += wire_len.sum()

    @vn.native_stage(writes=["ip_ttl"])
    def lower(ip_ttl: Any, l4_dst: Any) -> None:
        for i in range(len(ip_ttl)):
            if l4_dst[i] == 80:
                ip_ttl[i] = 7

    native = vn.native_stage(keep_odd)

    def as_numpy(h: Any) -> Any:
        return (h.ip_src.astype(np.int64) * 7 + h.l4_dst + h.wire_len) % 3 != 1

    one, drops, _ = run(lambda p: vn.Pipeline(rx=[p[0]]).stage(count).stage(lower).stage(native)
                        .forward(p[1]), burst=burst)  # fmt: skip
    assert total.tolist() == [1000, sum(map(len, TRAFFIC))]
    two, others, _ = run(
        lambda p: vn.Pipeline(rx=[p[0]]).stage(as_numpy)
        .split({"l4_dst == 80": vn.Pipeline().rewrite("set ip_ttl=7")}).forward(p[1]), burst=burst
    )  # fmt: skip
    assert one == two
    assert drops == others
    assert 100 < drops["filtered"] < 900


def test_a_native_verdict_by_rule(run: Any) -> None:
    pytest.importorskip("numba")

    @vn.native_stage
    def pick(rule: Any, verdict: Any, l4_dst: Any) -> None:
        for i in range(len(rule)):
            if rule[i] == 0:
                verdict[i] = 2
            elif l4_dst[i] == 9:
                verdict[i] = -2

    assert vn.DROP == -2
    with vn.FlowTable([vn.Rule("l4_dst == 53")]) as table:
        out, drops, _ = run(
            lambda p: vn.Pipeline(rx=[p[0]], ports=p).classify(table).stage(pick, reason="nine")
            .forward(p[1])
        )  # fmt: skip
    assert out[:2] == [to(0, 80, 443, 22), to(53)]
    assert drops == {"nine": len(to(9))}


def test_a_c_function(run: Any, tmp_path: Path) -> None:
    (tmp_path / "stage.c").write_text("""
        #include <stdint.h>
        void stage(void *const *columns, int64_t n, int16_t *verdict, uint8_t *keep,
                   void *const *state)
        {
            const uint16_t *dst = columns[0];
            uint64_t *seen = state[0];
            for (int64_t i = 0; i < n; i++) {
                keep[i] = dst[i] == 80 ? 0 : 255;   /* any that is not 0 */
                seen[0] += dst[i] == 80;
            }
        }
    """)
    try:
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", "stage.so", "stage.c"],
                       check=True, cwd=tmp_path, timeout=60)  # fmt: skip
    except FileNotFoundError:
        pytest.skip("gcc is not here")
    library = ctypes.CDLL(str(tmp_path / "stage.so"))
    address = ctypes.cast(library.stage, ctypes.c_void_p).value
    seen = np.zeros(1, np.uint64)
    stage = vn.native_stage(address, columns=["l4_dst"], keep=True, name="no_web", seen=seen)
    out, drops, running = run(
        lambda p: vn.Pipeline(rx=[p[0]]).stage(stage, reason="web").forward(p[1])
    )
    assert out[0] == to(0, 53, 443, 22, 9)
    assert drops == {"web": len(to(80))}
    assert seen[0] == len(to(80))
    assert "no_web" in str(running.stats())


# -- rings ----------------------------------------------------------------------------------------


def test_rings_of_the_program(runtime: vn.Runtime, tmp_path: Path, write_pcap: Any,
                              frames_of: Any) -> None:  # fmt: skip
    """to_ring in one run, Pipeline(rx=[ring]) in the next: nothing is lost between them."""
    ring = vn.Ring(2048)
    source = write_pcap(tmp_path / "in.pcap", TRAFFIC)
    through(runtime, tmp_path, source, lambda p: vn.Pipeline(rx=[p[0]]).to_ring(ring))
    assert runtime.balance().held == len(ring) == 1000
    out = runtime.add_port("pcap", tx=tmp_path / "ring.pcap")
    with runtime.start(vn.Pipeline(rx=[ring]).forward(out), idle="adaptive"):
        until(lambda: out.counters()["tx_packets"] == 1000)
    out.close()
    assert frames_of(tmp_path / "ring.pcap") == TRAFFIC
    small = vn.Ring(128)
    through(runtime, tmp_path, source, lambda p: vn.Pipeline(rx=[p[0]]).to_ring(small))
    assert len(small) == 127
    assert runtime.balance().drops == {"ring_full": 873}
    small.close()
    ring.close()
