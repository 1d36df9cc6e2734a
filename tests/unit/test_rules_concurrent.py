"""A rule table that changes while others look: whole versions only; nothing leaks or is lost."""

from __future__ import annotations

import gc
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threaded import running

import veridnet as vn
from veridnet.apps.l2fwd import L2fwd, L2fwdOptions

PORTS = np.arange(4096, dtype=np.uint16)


def halves(actions: str = "", extra: int = 0) -> list[Any]:
    """Rules that all packets match: two ranges of a column, and some inside them."""
    texts = (actions,) if actions else ()
    rules = [vn.Rule("l4_dst < 2048", texts), vn.Rule("l4_dst >= 2048", texts)]
    return rules + [vn.Rule(f"l4_dst in {k * 7}..{k * 9 + 3}", texts, priority=1)
                    for k in range(extra)]  # fmt: skip


@pytest.mark.parametrize("engine", ["tuple", "auto"])
def test_two_sets_swap_and_no_reader_sees_both_or_none(runtime: Any, engine: str) -> None:
    headers = vn.Headers.from_arrays(l4_dst=np.tile(PORTS, 4))
    with vn.FlowTable(halves(extra=20), engine=engine) as table:
        table.compile()
        sets = [frozenset(id for id, _ in table.rules())]  # one more with each swap
        seen = 0

        def look() -> None:
            nonlocal seen
            first = len(sets) - 1
            ids = set(np.unique(table.classify(headers)).tolist())
            # The next set is noted before readers can see it. Ids come again after a rest.
            assert any(ids <= one for one in sets[max(first - 1, 0) :]), (ids, first, len(sets))
            seen += 1

        swaps = 0
        until = time.monotonic() + 3
        with running(look, look) as errors:
            while time.monotonic() < until and not errors:
                swaps += 1
                with table.transaction() as change:
                    for id in sets[-1]:
                        change.remove(id)
                    sets.append(frozenset(change.add_rules(halves(extra=swaps % 30))))
                if swaps % 64 == 0:
                    table.compile()
        assert swaps > 100
        assert seen > 20
        table.wait()


def test_columns_that_come_and_go(runtime: Any) -> None:
    """Rules on other columns meanwhile, in the delta and in merges, gone before these end."""
    frames = [bytes(12) + b"\x08\x00" + bytes(50)] * 64
    headers = vn.Headers.from_arrays(
        l4_dst=np.tile(PORTS, 4), ip_ttl=np.zeros(16384, np.uint8),
        vlan_id=np.zeros(16384, np.uint16),
        ip6_src_hi=np.ones(16384, np.uint64), eth_src=np.zeros(16384, np.uint64))  # fmt: skip
    texts = ("ip_ttl == 9", "vlan_id == 5", "ip6_src_hi & 0xffff0000 == 0x10000", "eth_src == 7",
             "eth_src == 7 and vlan_id in 5..9")  # fmt: skip
    with vn.FlowTable(halves(), merge="manual") as table:

        def look() -> None:
            assert set(table.classify(headers).tolist()) == {0, 1}
            burst = vn.Burst.from_bytes(frames)  # a fresh one: it has no columns yet
            assert set(table.classify(burst).tolist()) <= {0, 1}
            burst.clear()

        until = time.monotonic() + 3
        with running(look, table.compile) as errors:
            k = 0
            while time.monotonic() < until and not errors:
                ids = [table.add(texts[(k + n) % 5], priority=1 + k % 3) for n in range(k % 4)]
                k += 1
                if k % 3 == 0:
                    time.sleep(0.001)
                table.remove_rules(ids)
        assert table.info()["merges"] > 5
        assert len(table) == 2


def rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_memory_returns_after_a_million_updates(runtime: Any) -> None:
    """Half a million adds and as many removals, in batches, with a reader and merges meanwhile."""
    rules = [vn.Rule(f"ip_dst == {k * 2654435761 % (1 << 32)} and l4_dst == {k % 65536}")
             for k in range(2000)]  # fmt: skip
    headers = vn.Headers.from_arrays(
        ip_dst=np.arange(4096, dtype=np.uint32), ip_version=np.full(4096, 4, np.uint8),
        l4_dst=PORTS)  # fmt: skip
    with vn.FlowTable(engine="tuple", merge="manual") as table:
        native = table.native
        base = table.add_rules(rules[:100])
        matches = [table._matches(rule.match) for rule in rules]

        def updates(count: int) -> None:
            done = 0
            while done < count:
                ids = native.new_ids(len(matches))
                native.commit([(i, 1, 1000 + i, m, None)
                               for i, m in zip(ids, matches, strict=True)], [])  # fmt: skip
                if done % 100_000 == 0:
                    native.merge("tuple")
                native.commit([], ids)
                done += 2 * len(ids)

        def look() -> None:
            table.classify(headers)
            time.sleep(0.001)

        with running(look):
            updates(200_000)
            table.wait()
            gc.collect()
            before = rss()
            updates(1_000_000)
        table.compile()
        for _ in range(3):
            assert table.wait(5)
        info = table.info()
        assert info["garbage"] == 0
        assert (info["rules"], info["delta_boxes"], info["base_rules"]) == (100, 0, 100)
        assert rss() - before < 16 << 20
        assert [id for id, _ in table.rules()] == base


def test_forwarding_through_updates_loses_and_mixes_nothing(runtime: Any) -> None:
    """Packets circle between two rings; all rules send to one port, then all to the other."""
    rings = [runtime.add_port("ring") for _ in range(2)]
    frames = [bytes(12) + b"\x08\x00\x45\x00\x00\x2e" + bytes(5) + b"\x40\x11" + bytes(10)
              + bytes((0, 9, k % 16, k % 256)) + bytes(22) for k in range(256)]  # fmt: skip
    wide = [vn.Rule(f"ethertype == 0x800 and {m}", ("forward 0",))
            for m in ("ip_ttl < 128", "ip_ttl >= 128")]  # fmt: skip
    table = vn.FlowTable(wide)
    app = L2fwd(runtime, rings, L2fwdOptions(rules=table, mac_updating=False))
    for ring in rings:
        ring.tx(vn.Burst.from_bytes(frames))
    stop = threading.Event()
    thread = threading.Thread(target=lambda: app.run(stop=stop))
    thread.start()
    try:
        ids = [id for id, _ in table.rules()]
        until = time.monotonic() + 3
        swaps = 0
        while time.monotonic() < until:
            swaps += 1
            to = f"forward {swaps % 2}"
            with table.transaction() as change:
                for id in ids:
                    change.remove(id)
                ids = change.add_rules(vn.Rule(r.match, (to,)) for r in wide)
                change.add_rules(vn.Rule(f"l4_dst == {k}", (to,)) for k in range(swaps % 5))
            table.remove_rules([id for id, _ in table.rules() if id not in ids])
            if swaps % 50 == 0:
                table.compile()
    finally:
        stop.set()
        thread.join()
    assert swaps > 50
    assert app.running.missed()[0] == 0, "packets that no rule matched"
    totals = runtime.balance()
    assert totals.balanced
    for ring in rings:
        burst = vn.Burst(1023)
        ring.rx(burst)
        burst.clear()
    drops = dict(runtime.balance().drops)
    assert drops.pop("freed") + drops.pop("tx_full", 0) == 512
    assert not any(drops.values()), drops
