"""What a learning bridge must do (IEEE 802.1D clause 7), frame by frame.

With captures as ports and ``--burst 1`` the order is exact: the only worker takes one frame from
each port in turn. A scenario is a list of (port, frame); while one port hands in its frame, the
others hand in a filler that the bridge drops as link_local without learning from it.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest
from captures import frame, frames, texts, write
from netns import Lab, Raw
from running import Live, l2fwd

BROADCAST = "ff:ff:ff:ff:ff:ff"
A, B, C, D = (f"02:00:00:00:aa:{i:02x}" for i in range(1, 5))
GROUP_SOURCE = "03:00:00:00:00:01"  # no station can have it
FILLER = frame("01:80:c2:00:00:00", GROUP_SOURCE, "filler")

Step = tuple[int, bytes]


def bridge(tmp_path: Path, n: int, steps: list[Step], *options: str) -> tuple[list[list[str]], Any]:
    """Plays the steps; the texts that left by each port in order, and the result."""
    ports: list[str] = []
    for p in range(n):
        write(tmp_path / f"in{p}.pcap", (f if p == at else FILLER for at, f in steps))
        ports += ["-p", f"pcap:rx=in{p}.pcap,tx=out{p}.pcap"]
    result = l2fwd("--learn", "--burst", "1", *ports, *options, cwd=tmp_path).ok()
    fillers = (n - 1) * len(steps)
    result["drops"]["link_local"] -= fillers
    return [texts(frames(tmp_path / f"out{p}.pcap")) for p in range(n)], result


def model(n: int, steps: list[Step]) -> tuple[list[list[str]], dict[str, int]]:
    """The same by a bridge of a few lines of Python: (texts by port, counts)."""
    table: dict[bytes, int] = {}
    out: list[list[str]] = [[] for _ in range(n)]
    counts = {"copies": 0, "same_port": 0, "link_local": 0, "moved": 0, "learned": 0}
    for port, f in steps:
        dst, src = f[:6], f[6:12]
        if not src[0] & 1 and src != bytes(6):
            counts["learned"] += src not in table
            counts["moved"] += table.get(src, port) != port
            table[src] = port
        if dst[:5] == bytes.fromhex("0180c20000") and dst[5] < 16:
            counts["link_local"] += 1
            continue
        others = [p for p in range(n) if p != port]
        to = others if dst[0] & 1 or dst not in table else [table[dst]]
        if to == [port]:
            counts["same_port"] += 1
            continue
        counts["copies"] += len(to) - 1
        for p in to:
            out[p] += texts([f])
    return out, counts


def test_unknown_is_flooded_and_learned_is_not(tmp_path: Path) -> None:
    out, result = bridge(tmp_path, 3, [
        (0, frame(B, A, "a to unknown b")),
        (1, frame(A, B, "b to a")),
        (0, frame(B, A, "a to b")),
        (2, frame(A, C, "c to a")),
        (1, frame(C, B, "b to c")),
    ])  # fmt: skip
    assert out == [["b to a", "c to a"], ["a to unknown b", "a to b"], ["a to unknown b", "b to c"]]
    assert result["copies"] == 1
    assert result["bridge"] | {"stations": 3, "learned": 3, "moved": 0} == result["bridge"]


def test_broadcast_and_multicast_go_to_all_others_always(tmp_path: Path) -> None:
    groups = [BROADCAST, "01:00:5e:00:00:fb", "33:33:00:00:00:01", "01:80:c2:00:00:10"]
    steps = [(i % 4, frame(g, f"02:00:00:00:aa:{i % 4:02x}", f"{i}")) for i, g in
             enumerate(groups * 4)]  # fmt: skip
    out, result = bridge(tmp_path, 4, steps)
    for port in range(4):
        assert out[port] == [str(i) for i in range(16) if i % 4 != port]
    assert result["copies"] == 2 * len(steps)
    assert result["bridge"]["stations"] == 4


def test_link_local_stays_on_its_link(tmp_path: Path) -> None:
    """01:80:c2:00:00:00 to 0f (spanning tree, pause, LLDP, ...) are never forwarded."""
    steps = [(0, frame(f"01:80:c2:00:00:{i:02x}", A, f"{i}")) for i in range(0x12)]
    out, result = bridge(tmp_path, 3, steps)
    assert out == [[], ["16", "17"], ["16", "17"]]
    assert result["drops"] == {"link_local": 16}


def test_same_port_is_filtered(tmp_path: Path) -> None:
    """Two stations behind one port: what they say to each other is not repeated elsewhere."""
    out, result = bridge(tmp_path, 3, [
        (0, frame(BROADCAST, A, "a")),
        (0, frame(BROADCAST, B, "b")),
        (0, frame(B, A, "a to b")),
        (0, frame(A, A, "a to itself")),
    ])  # fmt: skip
    assert out == [[], ["a", "b"], ["a", "b"]]
    assert result["drops"] == {"link_local": 0, "same_port": 2}


def test_a_station_moves(tmp_path: Path) -> None:
    out, result = bridge(tmp_path, 4, [
        (0, frame(BROADCAST, A, "a at 0")),
        (1, frame(A, B, "to 0")),
        (3, frame(BROADCAST, A, "a at 3")),
        (1, frame(A, B, "to 3")),
        (0, frame(B, A, "a at 0 again")),
        (1, frame(A, B, "to 0 again")),
    ])  # fmt: skip
    assert out[0] == ["to 0", "a at 3", "to 0 again"]
    assert out[3] == ["a at 0", "to 3"]
    assert result["bridge"]["moved"] == 2
    assert result["bridge"]["stations"] == 2


def test_sources_that_no_station_can_have(tmp_path: Path) -> None:
    """Group addresses and zero are not learned; their frames are forwarded all the same."""
    zero = "00:00:00:00:00:00"
    out, result = bridge(tmp_path, 3, [
        (0, frame(A, GROUP_SOURCE, "from a group")),
        (0, frame(A, zero, "from zero")),
        (1, frame(zero, A, "to zero")),
    ])  # fmt: skip
    assert out[2] == ["from a group", "from zero", "to zero"]
    assert out[0] == ["to zero"]
    assert result["bridge"]["learned"] == 1


def test_tags_and_priority_tags_pass_unchanged(tmp_path: Path) -> None:
    """The bridge knows no VLANs: one table, tags are bytes like others."""
    plain = frame(BROADCAST, A, "x", 100)
    data = [plain[:12] + bytes.fromhex(t) + plain[12:] for t in
            ("81000000", "8100602a", "88a8006481000007", "9100000181000002")]  # fmt: skip
    write(tmp_path / "in.pcap", data)
    l2fwd("--learn", "-p", "pcap:rx=in.pcap", "-p", "pcap:tx=o1.pcap", "-p", "pcap:tx=o2.pcap",
          cwd=tmp_path).ok()  # fmt: skip
    assert frames(tmp_path / "o1.pcap") == frames(tmp_path / "o2.pcap") == data


def test_a_full_table_floods(tmp_path: Path) -> None:
    """Stations beyond the table's room are not learned, counted, and nothing to them is lost."""
    stations = [f"02:00:00:00:{i >> 8:02x}:{i & 255:02x}" for i in range(400)]
    steps = [(0, frame(BROADCAST, s, f"{i}")) for i, s in enumerate(stations)]
    steps += [(1, frame(s, B, f"to {i}")) for i, s in enumerate(stations)]
    out, result = bridge(tmp_path, 3, steps, "--stations", "8")
    known = result["bridge"]["stations"]
    assert 1 <= known < 400 and result["bridge"]["table_full"] >= 400 - known
    assert [t for t in out[0] if t.startswith("to")] == [f"to {i}" for i in range(400)]
    flooded = [t for t in out[2] if t.startswith("to")]
    assert 400 - known <= len(flooded) < 400
    assert result["copies"] == 400 + len(flooded)


@pytest.mark.parametrize(("seed", "n"), [(1, 2), (2, 3), (3, 4), (4, 6)])
def test_like_a_bridge_in_python(tmp_path: Path, seed: int, n: int) -> None:
    """Random stations that talk, move and shout: every port's output equals the model's."""
    rng = random.Random(seed)
    stations = [f"02:00:00:00:bb:{i:02x}" for i in range(3 * n)]
    groups = [BROADCAST, "01:00:5e:01:02:03", "01:80:c2:00:00:0e"]
    home = {s: rng.randrange(n) for s in stations}
    steps = []
    for i in range(400):
        src = rng.choice(stations)
        if rng.random() < 0.05:
            home[src] = rng.randrange(n)
        dst = rng.choice(groups) if rng.random() < 0.15 else rng.choice(stations)
        steps.append((home[src], frame(dst, src, f"{i}", rng.choice((60, 61, 590, 1514)))))
    out, result = bridge(tmp_path, n, steps)
    want, counts = model(n, steps)
    assert out == want
    assert result["copies"] == counts["copies"]
    assert result["drops"].get("same_port", 0) == counts["same_port"]
    assert result["drops"].get("link_local", 0) == counts["link_local"]
    assert {k: result["bridge"][k] for k in ("moved", "learned")} == {
        k: counts[k] for k in ("moved", "learned")
    }


def test_two_workers_lose_nothing(tmp_path: Path) -> None:
    """The same table under two workers: the order between ports is open, the sums are not."""
    n, ports = 4, []
    for p in range(n):
        data = [frame(BROADCAST, f"02:00:00:{p:02x}:00:{i % 50:02x}", f"{p} {i}") for i in
                range(2000)]  # fmt: skip
        write(tmp_path / f"in{p}.pcap", data)
        ports += ["-p", f"pcap:rx=in{p}.pcap,tx=out{p}.pcap"]
    result = l2fwd("--learn", "--lcores", "0,1", *ports, cwd=tmp_path).ok()
    assert len(result["workers"]) == 2
    assert result["copies"] == n * 2000 * (n - 2)
    assert result["bridge"]["stations"] == n * 50
    for p in range(n):
        got = texts(frames(tmp_path / f"out{p}.pcap"))
        for other in set(range(n)) - {p}:
            mine = [t for t in got if t.startswith(f"{other} ")]
            assert mine == [f"{other} {i}" for i in range(2000)]


def arrive(raws: list[Raw], *want: list[str]) -> None:
    """Each port gets these frames, and for a while no other."""
    got = [texts(r.receive(0.15, at_least=len(w))) for r, w in zip(raws, want, strict=True)]
    assert got == list(want)


def test_ageing_on_live_ports(lab: Lab) -> None:
    """--age 3: a silent station is forgotten, one that talks is not."""
    ns = lab.ns("R")
    ns.quiet()
    taps = [f"vt{i}" for i in range(4)]
    ports = [w for t in taps for w in ("-p", f"tap:iface={t}")]
    live = Live(lab, "--learn", "--age", "3", *ports, ns=ns).ready()
    raws = [ns.raw(t) for t in taps]
    raws[0].send(frame(BROADCAST, A, "hello a"))
    arrive(raws, [], ["hello a"], ["hello a"], ["hello a"])
    raws[1].send(frame(BROADCAST, B, "hello b"))
    arrive(raws, ["hello b"], [], ["hello b"], ["hello b"])
    raws[2].send(frame(A, C, "c to a"))
    arrive(raws, ["c to a"], [], [], [])
    for _ in range(10):  # a goes on talking, b is silent for 5 s
        raws[0].send(frame(BROADCAST, A, "a"))
        time.sleep(0.5)
    arrive(raws, [], ["a"] * 10, ["a"] * 10, ["a"] * 10)
    raws[3].send(frame(A, D, "d to a"), frame(B, D, "d to b"))
    arrive(raws, ["d to a", "d to b"], ["d to b"], ["d to b"], [])
    raws[1].send(frame(D, B, "b to d"))
    arrive(raws, [], [], [], ["b to d"])
    result = live.stop().ok()
    assert result["bridge"]["aged"] >= 1
    assert result["bridge"]["learned"] >= 5  # b twice
    assert result["drops"] == {}
