"""FlowTable: what its methods do to rules, ids, counters and readers."""

from __future__ import annotations

import gc
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether

import veridnet as vn
from veridnet.rules.rule import RuleSet

E = Ether(dst="02:00:00:00:00:01", src="02:00:00:00:00:02")
IP4 = IP(src="10.0.0.1", dst="10.0.0.2")
FRAMES = [bytes(p) for p in (
    E / IP4 / TCP(dport=80) / b"GET / HTTP/1.0",
    E / IP4 / UDP(dport=53) / b"question",
    E / IP4 / TCP(dport=443) / b"hello",
    E / IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(dport=53),
    E / Dot1Q(vlan=7) / IP4 / UDP(dport=53),
)]  # fmt: skip


def burst_of(frames: list[bytes] = FRAMES) -> Any:
    return vn.Burst.from_bytes(frames)


def ports(*l4_dst: int, **more: Any) -> Any:
    return vn.Headers.from_arrays(l4_dst=np.array(l4_dst, np.uint16), **more)


@pytest.fixture
def table() -> Any:
    with vn.FlowTable(engine="tuple", merge="manual") as t:
        yield t


# -- changing -------------------------------------------------------------------------------------


def test_add_remove_and_order(table: Any) -> None:
    assert table.classify(ports(1, 2)).tolist() == [-1, -1]
    first = table.add("l4_dst == 1")
    same = table.add("l4_dst == 1", priority=0)
    high = table.add("l4_dst in 1..2", priority=5, name="high")
    assert (first, same, high) == (0, 1, 2)
    assert len(table) == 3
    assert table.classify(ports(1, 2, 3)).tolist() == [high, high, -1]
    assert [id for id, _ in table.rules()] == [high, first, same]
    table.remove(high)
    assert table.classify(ports(1, 2)).tolist() == [first, -1]
    assert high not in table
    assert first in table
    with pytest.raises(KeyError):
        table.remove(high)
    with pytest.raises(KeyError):
        table[high]
    with pytest.raises(KeyError):
        table.find("high")
    assert table.classify(ports(1)).dtype == np.int32


def test_replace_keeps_id_place_and_counters(runtime: Any, table: Any) -> None:
    a, b = table.add("l4_dst == 53", name="a"), table.add("l4_dst == 53", name="b")
    table.apply(burst_of())
    assert table.stats()["packets"].tolist() == [3, 0]
    table.replace(a, match="l4_dst == 53 and ip_version == 4", actions=["count"])
    assert table[a].name == "a"
    assert table.classify(burst_of()).tolist() == [-1, a, -1, b, a]
    assert table.stats()["packets"].tolist() == [3, 0]
    table.replace(a, match="l4_dst == 443")
    table.replace(a, match="l4_dst == 53")
    assert table.classify(burst_of()).tolist() == [-1, a, -1, a, a]
    table.replace(b, priority=1)
    assert table.classify(burst_of()).tolist() == [-1, b, -1, b, b]
    with pytest.raises(KeyError):
        table.replace(7, match="")
    with pytest.raises(TypeError):
        table.replace(a, no_such=1)
    with pytest.raises(vn.ConfigError):
        table.replace(a, match="l4_dst ==")
    assert table[a].match == "l4_dst == 53"


def test_a_transaction_is_all_or_nothing(table: Any) -> None:
    keep, gone = table.add("l4_dst == 1"), table.add("l4_dst == 2")
    before = table.info()["version"]
    with pytest.raises(vn.ConfigError), table.transaction() as t:  # noqa: PT012
        t.add("l4_dst == 3")
        t.remove(gone)
        t.replace(keep, match="l4_dst == 4")
        table.add("not a match ((")
    assert [(i, r.match) for i, r in table.rules()] == [(0, "l4_dst == 1"), (1, "l4_dst == 2")]
    assert table.info()["version"] == before
    with table.transaction() as t:
        new = t.add("l4_dst == 3")
        passing = table.add("l4_dst == 5")  # the table's own methods take part
        t.remove(passing)
        t.remove(gone)
        with pytest.raises(KeyError):
            t.remove(gone)
        with pytest.raises(KeyError):
            t.replace(gone, match="")
        t.replace(new, match="l4_dst == 6")
        t.replace(keep, match="l4_dst == 4")
        assert table.classify(ports(1, 2, 3, 4, 6)).tolist() == [keep, gone, -1, -1, -1]
        with pytest.raises(vn.StateError, match="open already"), table.transaction():
            pass
        with pytest.raises(vn.StateError, match="transaction"):
            table.close()
    assert table.info()["version"] == before + 1
    assert table.classify(ports(1, 2, 3, 4, 6)).tolist() == [-1, -1, -1, keep, new]
    assert len(table) == 2


def test_ids_are_stable_and_rest_before_they_come_again(table: Any) -> None:
    ids = table.add_rules(vn.Rule(f"l4_dst == {k}") for k in range(10))
    assert ids == list(range(10))
    table.remove_rules(ids[:5])
    assert table.classify(ports(4, 5, 9)).tolist() == [-1, 5, 9]
    assert table.add("l4_dst == 4") == 10
    used = set()
    for _ in range(1500):
        id = table.add("l4_dst == 4")
        used.add(id)
        table.remove(id)
    assert max(used) < 1100
    assert table.classify(ports(4, 5)).tolist() == [10, 5]


def test_counters_of_an_id_that_comes_again_begin_at_0(runtime: Any, table: Any) -> None:
    for _ in range(1100):
        table.remove(table.add("l4_dst == 9"))
    seen = set()
    for _ in range(1100):
        id = table.add("l4_dst == 53")
        seen.add(id)
        table.apply(burst_of(FRAMES[1:2]))
        assert table.stats()["packets"].tolist() == [1]
        assert table.stats()["bytes"].tolist() == [len(FRAMES[1])]
        table.remove(id)
    assert len(seen) < 1100


def test_update_is_one_step(table: Any) -> None:
    a = table.add("l4_dst == 1")
    version = table.info()["version"]
    (b,) = table.update(add=[vn.Rule("l4_dst == 1")], remove=[a])
    assert table.info()["version"] == version + 1
    assert table.classify(ports(1)).tolist() == [b]


@pytest.mark.parametrize("options", [{"engine": "magic"}, {"merge": "never"}, {"max_memory": 9}])
def test_options_that_are_wrong(options: Any) -> None:
    with pytest.raises(vn.ConfigError):
        vn.FlowTable(**options)


@pytest.mark.parametrize(("match", "options"), [
    ("l4_dst == 65536", {}), ("l5_dst == 1", {}), ("", {"priority": 1 << 24}),
    ("", {"priority": -1}), ("", {"actions": ["fly"]}), ("", {"idle_timeout": -1}),
    ("", {"actions": "drop"}), ("host @nobody", {}),
])  # fmt: skip
def test_rules_that_are_wrong(table: Any, match: str, options: Any) -> None:
    with pytest.raises(vn.ConfigError):
        table.add(match, **options)
    assert len(table) == 0
    assert table.add("") == 0


# -- files ----------------------------------------------------------------------------------------


def toml(*rules: str, head: str = "") -> str:
    return head + "".join(f"[[rule]]\nmatch = {r!r}\n" for r in rules)


def test_load_and_reload(tmp_path: Path, runtime: Any) -> None:
    path = tmp_path / "r.toml"
    path.write_text(toml("l4_dst == 53", "l4_dst == 80", "l4_dst == 443"))
    with vn.FlowTable.load(path, merge="manual") as table:
        assert [r.match for _, r in sorted(table.rules())][2] == "l4_dst == 443"
        assert sorted(id for id, _ in table.rules()) == [0, 1, 2]
        table.apply(burst_of())
        path.write_text(toml("l4_dst == 80", "l4_dst == 22", "l4_dst == 443", "l4_dst == 80"))
        assert table.reload(path) == {"kept": 2, "added": 2, "removed": 1}
        assert [r.match for r in table.ruleset().rules] == [
            "l4_dst == 80", "l4_dst == 22", "l4_dst == 443", "l4_dst == 80"]  # fmt: skip
        stats = {r["id"]: r["packets"] for r in table.stats()}
        assert stats[1] == 1
        # A rule that moves in the file keeps its id and takes its new place among equals.
        path.write_text(toml("l4_dst == 443", "l4_dst == 80"))
        assert table.reload(path) == {"kept": 2, "added": 0, "removed": 2}
        assert [r.match for r in table.ruleset().rules] == ["l4_dst == 443", "l4_dst == 80"]
        before = table.rules()
        path.write_text(toml("l4_dst == 443", "l4_dst === 80"))
        with pytest.raises(vn.ConfigError, match=r"r\.toml"):
            table.reload(path)
        with pytest.raises(vn.ConfigError, match="nothing"):
            table.reload(tmp_path / "nothing.toml")
        assert table.rules() == before


def test_reload_keeps_rules_of_other_priorities(tmp_path: Path) -> None:
    """A new rule moves only those of its own priority."""
    path = tmp_path / "r.toml"
    rule = "[[rule]]\nmatch = 'l4_dst == {0}'\npriority = {0}\n"
    path.write_text(rule.format(1) + rule.format(3))
    with vn.FlowTable.load(path) as table:
        path.write_text(rule.format(2) + rule.format(3) + rule.format(1))
        assert table.reload(path) == {"kept": 2, "added": 1, "removed": 0}
        assert [id for id, _ in table.rules()] == [1, 2, 0]


def test_of_says_which_rule_is_wrong() -> None:
    with pytest.raises(vn.ConfigError, match="rule"):
        vn.FlowTable.of(RuleSet((vn.Rule(""), vn.Rule("l4_dst === 1"))))


# -- looking --------------------------------------------------------------------------------------


def test_a_burst_its_headers_and_a_copy(runtime: Any, table: Any) -> None:
    web = table.add("tcp dst port 80")
    dns = table.add("udp and l4_dst == 53")
    tagged = table.add("vlan_id == 7", priority=1)
    burst = burst_of()
    want = [web, dns, -1, dns, tagged]
    assert table.classify(burst).tolist() == want
    assert table.classify(burst.headers).tolist() == want
    assert table.classify(burst) is table.classify(burst)
    names = ("ip_version", "ethertype", "ip_proto", "l4_dst", "vlan_depth", "vlan_id", "frag",
             "ip_frag_off", "ip6_next", "ip6_ext", "error", "tunnel", "mpls_depth")  # fmt: skip
    copy = burst.headers.copy(*names)
    assert table.classify(copy).tolist() == want
    empty = vn.Burst(8)
    assert table.classify(empty).tolist() == []
    with pytest.raises(TypeError, match="dict"):
        table.classify({})


def test_columns_that_are_not_given(table: Any) -> None:
    table.add("ip src net 10.0.0.0/8 and tcp dst port 80")
    src = np.array([0x0A000001, 0x0B000001, 0x0A000001], np.uint32)
    proto = np.array([6, 6, 17], np.uint8)
    headers = ports(80, 80, 80, ip_src=src, ip_proto=proto)
    assert table.classify(headers).tolist() == [0, -1, -1]
    with pytest.raises(vn.ConfigError, match=r"ip_proto.*no such column"):
        table.classify(ports(80, 80, 80, ip_src=src))
    table.add("vlan_id == 3", priority=9)
    with pytest.raises(vn.ConfigError, match="vlan_id"):
        table.classify(headers)
    # A rule that is gone asks no more, in the delta ...
    table.remove(1)
    assert table.classify(headers).tolist() == [0, -1, -1]
    # ... and in the base.
    gone = table.add("vlan_id == 3", priority=9)
    table.compile()
    table.remove(gone)
    assert table.classify(headers).tolist() == [0, -1, -1]
    table.add("", priority=3)
    assert table.classify(headers).tolist() == [3, 3, 3]


def test_rules_of_bytes(runtime: Any, table: Any) -> None:
    get = table.add("tcp[20:4] = 0x47455420", priority=1)
    rest = table.add("")
    assert table.info()["specials"] == 1
    assert table.classify(burst_of()).tolist() == [get, rest, rest, rest, rest]
    table.compile()
    assert table.classify(burst_of()).tolist() == [get, rest, rest, rest, rest]
    with pytest.raises(vn.ConfigError, match="reads bytes"):
        table.classify(ports(80))
    table.replace(get, match="udp[8:4] = 0x71756573")
    assert table.classify(burst_of()).tolist() == [rest, get, rest, rest, rest]
    with pytest.raises(vn.ConfigError):
        table.add("tcp[20:5] = 1")
    table.remove(get)
    assert table.wait()
    assert table.classify(ports(80)).tolist() == [rest]
    assert table.classify(burst_of()).tolist() == [rest] * 5
    table.add("udp")
    table.wait()
    assert table.info()["specials"] == 0


def test_default_actions(runtime: Any) -> None:
    ring = runtime.add_port("ring")
    with vn.FlowTable([vn.Rule("l4_dst == 53", ("drop",))], default=["forward 0"]) as table:
        left = table.apply(burst_of(), [ring])
        assert len(left) == 0
        out = vn.Burst(16)
        assert ring.rx(out) == 2
        assert [out.to_bytes(i) for i in range(2)] == [FRAMES[0], FRAMES[2]]
        out.clear()
        assert table.stats()["packets"].tolist() == [3]
    assert runtime.balance().drops["rule"] == 3


def test_apply_and_bind(runtime: Any) -> None:
    a, b = runtime.add_port("ring"), runtime.add_port("ring")
    table = vn.FlowTable([vn.Rule("l4_dst == 53", ("forward 1",))])
    assert len(table.apply(burst_of(), [a, b])) == 2
    table.bind([a.name, b.name])
    with pytest.raises(vn.ConfigError, match="cannot become"):
        table.apply(burst_of(), [b, a])
    with pytest.raises(vn.ConfigError):
        table.add("", ["forward 2"])
    table.add("l4_dst == 80", [f"forward {a.name}"])
    left = table.apply(burst_of(), [a, b])
    assert len(left) == 1
    assert a.counters()["tx_packets"] == 1
    assert b.counters()["tx_packets"] == 6
    table.close()
    for port in (a, b):
        out = vn.Burst(16)
        port.rx(out)
        out.clear()
    with pytest.raises(vn.ConfigError, match="nowhere"):
        vn.FlowTable([vn.Rule("", ("forward nowhere",))], ports=["x"])
    with pytest.raises(vn.ConfigError, match="nowhere"):
        vn.FlowTable([vn.Rule("", ("forward nowhere",))]).bind(["x"])


def test_stats_pandas_explain_conflicts(runtime: Any, table: Any) -> None:
    table.add("l4_dst == 53", ["count"], name="dns", priority=2)
    table.add("udp dst port 53", name="hidden")
    burst = burst_of()
    table.apply(burst)
    stats = table.stats()
    assert stats["name"].tolist() == ["dns", "hidden"]
    assert stats["packets"].tolist() == [3, 0]
    assert stats["bytes"].tolist() == [sum(len(FRAMES[k]) for k in (1, 3, 4)), 0]
    assert "dns" in str(table.explain(FRAMES[1]))
    assert len(table.conflicts()) == 1
    pandas = pytest.importorskip("pandas")
    frame = table.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.loc[0, "packets"] == 3
    assert frame.loc[1, "match"] == "udp dst port 53"


# -- ageing ---------------------------------------------------------------------------------------


def test_timeouts(runtime: Any, table: Any) -> None:
    table.merging = False
    table._keeper.stop()  # time is the test's
    gone: list[Any] = []
    table.on_expire = gone.append
    began = time.monotonic()
    idle = table.add("l4_dst == 53", idle_timeout=10)
    hard = table.add("l4_dst == 80", hard_timeout=20, idle_timeout=100)
    ever = table.add("")
    assert table.expire(began + 9) == []
    table.apply(burst_of())
    assert table.expire(began + 12) == []  # seen: new packets
    assert table.expire(began + 21)[0].id == hard
    assert table.expire(began + 21.5) == []
    (last,) = table.expire(began + 22.5)
    assert (last.id, last.reason, last.packets) == (idle, "idle", 3)
    assert [e.reason for e in gone] == ["hard", "idle"]
    assert [id for id, _ in table.rules()] == [ever]
    id = table.add("", hard_timeout=5)
    table.replace(id, hard_timeout=0)
    assert table.expire(began + 1e6) == []


def test_a_thread_expires(runtime: Any) -> None:
    done = threading.Event()
    with vn.FlowTable() as table:
        table.on_expire = lambda e: done.set()
        table.add("", hard_timeout=0.05)
        assert done.wait(10)
        assert len(table) == 0


# -- life -----------------------------------------------------------------------------------------


def test_close(runtime: Any) -> None:
    table = vn.FlowTable([vn.Rule("l4_dst == 53", idle_timeout=60)])
    table.apply(burst_of())
    assert "1 rules" in repr(table)
    table.close()
    table.close()
    assert "closed" in repr(table)
    for call in (lambda: table.add(""), lambda: table.classify(burst_of()), table.stats,
                 table.compile, table.expire, lambda: table.native, table.info):  # fmt: skip
        with pytest.raises(vn.ClosedError):
            call()


def test_close_while_it_is_used(runtime: Any) -> None:
    table = vn.FlowTable([vn.Rule("l4_dst == 53")])
    reader = table.native.lend_reader()
    with pytest.raises(vn.StateError, match="in use"):
        table.close()
    # It lives on, and so does what runs by itself.
    ids = table.add_rules(vn.Rule(f"l4_dst == {k}") for k in range(2000))
    assert table.settle(30)
    assert table.info()["merges"] >= 1
    assert table.classify(ports(1999)).tolist() == [ids[-1]]
    table.native.give_reader(reader)
    table.close()


def test_a_thread_that_has_ended_keeps_no_reader(runtime: Any) -> None:
    table = vn.FlowTable([vn.Rule("l4_dst == 53")])
    for _ in range(100):  # more than there are readers
        thread = threading.Thread(target=lambda: table.apply(burst_of()))
        thread.start()
        thread.join()
    assert table.stats()["packets"].tolist() == [300]
    table.close()


def test_nobody_has_it_any_more() -> None:
    table = vn.FlowTable(vn.Rule(f"l4_dst == {k}") for k in range(100))
    thread = table._keeper.thread
    del table
    gc.collect()
    assert thread is not None
    thread.join(5)
    assert not thread.is_alive()


def test_columns_of_packets_inside_have_no_bytes(runtime: Any) -> None:
    with vn.FlowTable([vn.Rule("tcp[20:4] = 0x47455420")]) as table:
        burst = burst_of()
        with pytest.raises(vn.ConfigError, match="inside"):
            table.classify(burst.headers.inner)
        assert table.classify(burst)[0] == 0


def test_a_callback_that_fails_is_told_and_ends_nothing() -> None:
    def fail(expired: Any) -> None:
        raise ZeroDivisionError("of the callback")

    with vn.FlowTable() as table:
        table.on_expire = fail
        for _ in range(2):
            table.add("", hard_timeout=0.01)
            deadline = time.monotonic() + 10
            while len(table) and time.monotonic() < deadline:
                time.sleep(0.01)
            assert len(table) == 0
        deadline = time.monotonic() + 10
        while len(table.problems) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert table.problems == ["on_expire failed: ZeroDivisionError: of the callback"] * 2


def test_compile_builds_only_what_has_changed(runtime: Any) -> None:
    with vn.FlowTable([vn.Rule("l4_dst == 53")], merge="manual") as table:
        for _ in range(3):
            table.compile()
        assert table.info()["merges"] == 1
        table.bind(["a", "b"])
        assert table.info()["merges"] == 1
        table.compile()
        assert table.info()["merges"] == 2
