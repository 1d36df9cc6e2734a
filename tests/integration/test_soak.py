"""Order and loss for long: everything at once, while pipelines, rules and queues change at random.

8 seconds in the normal run, two minutes in CI; VERIDNET_SOAK_SECONDS=3600 is the hour.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pipelines import frame

SECONDS = float(os.environ.get("VERIDNET_SOAK_SECONDS", 8))
FLOWS, EACH = 64, 12

#: Traffic goes round: numbered packets of some flows are put into a ring port, every pipeline sends
#: them back into it, and its last stage checks that no flow lacks a number or has one too early.
CODE = f"""
import sys; sys.path[:0] = [{str(Path(__file__).parent.parent)!r}]
from many_lcores import pretend
pretend(4)
import random, time
import numpy as np
from threaded import running as again_and_again
import veridnet as vn
P = vn.Pipeline
SECONDS, SEED, FLOWS, EACH = {SECONDS}, int(sys.argv[1]), {FLOWS}, {EACH}
rng = random.Random(SEED)

class Check:
    # By flow (ip_src - 10.0.0.0): each flow's packets carry their number (ip_id) in the flow, and
    # go round in the order in which they were put in. What is behind its place was overtaken.
    def __init__(self, count):
        self.count, self.next, self.seen, self.wrong = count, [0] * FLOWS, 0, []
    def __call__(self, h):
        if not len(h):
            return
        next, count = self.next, self.count
        for flow, id in zip((h.ip_src - 0x0A000000).tolist(), h.ip_id.tolist()):
            if id != next[flow]:
                self.wrong.append((flow, id, next[flow]))
            next[flow] = (id + 1) % count
        self.seen += len(h)

check = Check(EACH)
RULES = [vn.Rule("l4_dst == 53"), vn.Rule("l4_dst == 80", ["mark 1"], priority=1)]

def pipelines(a, t1):
    # Each ends at the port from which all come, with the check, on one worker.
    last = lambda pipe: pipe.stage(check).forward(a)
    return {{
        "plain": last(P(rx=[a])),
        "handoff": last(P(rx=[a]).handoff(ring=256)),
        "two": last(P(rx=[a]).handoff(ring=64).rewrite(swap_macs=True).handoff(ring=256)),
        "dealt": last(P(rx=[a]).handoff(2, ring=256).filter("l4_dst != 7").handoff(ring=256)),
        "split": last(P(rx=[a]).split({{"l4_dst == 53": P().rewrite("set ip_dscp=3"),
                                        "l4_dst in 80..443": P().filter("ip or vlan")}})
                      .handoff(ring=32)),
        "rules": last(P(rx=[a], ports=[a]).stage(lambda h: None).classify(t1)
                      .split(rule={{0: P().rewrite("set ip_ttl=9"), 1: P().parse("ipv4")}})
                      .handoff()),
    }}

with vn.Runtime() as rt, vn.FlowTable(RULES) as t1:
    a = rt.add_port("ring")
    made = vn.Burst.from_bytes([bytes.fromhex(x) for x in open(sys.argv[2]).read().split()])
    assert len(made) == EACH * FLOWS
    a.tx(made)
    assert not made
    held = EACH * FLOWS
    pipes = list(pipelines(a, t1).values())
    r = rt.start(pipes[0], lcores=3, distribute=False, burst=rng.choice((4, 32, 256)),
                 idle="adaptive")

    def change():
        ids = [t1.add("ip_ttl == 1", ["drop"], priority=5) for _ in range(rng.randrange(1, 9))]
        time.sleep(0.003)
        t1.remove_rules(ids)

    swaps = 0
    end = time.monotonic() + SECONDS
    with again_and_again(change) as errors:
        while time.monotonic() < end and not check.wrong and not errors and not r.finished:
            what = rng.randrange(10)
            if what == 0:
                r.stop(60)
                r = rt.start(rng.choice(pipes), lcores=rng.choice((3, 4)), distribute=False,
                             burst=rng.choice((1, 4, 32, 256, 512)), idle="adaptive")
            elif what < 3 and "handoff" not in repr(r.pipeline):
                r.move([rng.randrange(3)], 60)
            else:
                r.swap(rng.choice(pipes), 60)
            swaps += 1
            time.sleep(rng.random() * 0.02)
    r.stop(60)
    assert not errors, errors
    assert not check.wrong, (SEED, swaps, check.wrong[:5])
    totals = rt.balance()
    assert totals.balanced and totals.drops == {{}} and totals.held == 0, totals
    # All that went in is still there, in order.
    burst, left = vn.Burst(2048), []
    while a.rx(burst):
        left += [burst.to_bytes(i) for i in range(len(burst))]
        burst.clear()
    assert len(left) == held, len(left)
    assert len(rt.pipelines) < 3
    print(swaps, "changes,", check.seen, "packets")
    assert check.seen > held and swaps > 5
assert rt.mbufs_in_use() == 0
"""


@pytest.fixture(autouse=True)
def namespaces_work() -> None:
    """No namespaces are needed here."""


@pytest.mark.timeout(SECONDS + 180)
@pytest.mark.parametrize("seed", [1])
def test_soak(run_python: Any, tmp_path: Path, seed: int) -> None:
    frames = []
    for k in range(EACH * FLOWS):
        raw = bytearray(frame(0, k // FLOWS))  # its number in the flow is the IP id
        raw[26:30] = (0x0A000000 + k % FLOWS).to_bytes(4, "big")
        raw[36:38] = (53, 80, 443, 22)[k % 4].to_bytes(2, "big")
        frames.append(raw.hex())
    (tmp_path / "frames").write_text("\n".join(frames))
    print(run_python(CODE, seed, tmp_path / "frames", timeout=SECONDS + 170).stdout)
