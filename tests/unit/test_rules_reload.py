"""`FlowTable.reload`: rules, sets, meters and the default, in one step, and what is kept."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forwarding import forwarder

import veridnet as vn
from veridnet.apps import rules_file

PORTS = np.array([1, 2, 3, 4], np.uint16)


def headers() -> Any:
    n = len(PORTS)
    return vn.Headers.from_arrays(
        ip_version=np.full(n, 4, np.uint8), ip_proto=np.full(n, 17, np.uint8), l4_dst=PORTS,
        wire_len=np.full(n, 1000, np.uint32),
    )  # fmt: skip


def burst() -> Any:
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether

    return vn.Burst.from_bytes(
        [bytes(Ether() / IP() / UDP(dport=int(p)) / bytes(966)) for p in PORTS]
    )


@pytest.fixture
def rules(tmp_path: Path) -> Any:
    path = tmp_path / "r.toml"

    def write(text: str) -> str:
        path.write_text(text)
        return str(path)

    return write


BY_SET = '[[rule]]\nname = "s"\nmatch = "l4_dst in @them"\nactions = ["drop"]\n'


def test_a_set_changes_in_the_rules_that_name_it(runtime: Any, rules: Any) -> None:
    other = '[[rule]]\nmatch = "l4_dst == 4"\n'
    table = vn.FlowTable.load(rules(other + BY_SET + '[sets]\nthem = ["1"]\n'), ports=["0"])
    port = runtime.add_port("null")
    table.apply(burst(), [port]).clear()
    assert table.classify(headers()).tolist() == [1, -1, -1, 0]
    for them, found in (('"2", "3"', [-1, 1, 1, 0]), ('"4"', [-1, -1, -1, 0])):
        counts = table.reload(rules(other + BY_SET + f"[sets]\nthem = [{them}]\n"))
        assert counts == {"kept": 2, "added": 0, "removed": 0}
        assert table.classify(headers()).tolist() == found
        assert table.stats()["packets"].tolist() == [1, 1]
    table.close()


def test_an_error_keeps_everything(rules: Any) -> None:
    table = vn.FlowTable.load(rules(BY_SET + '[sets]\nthem = ["1"]\n'))
    for text, what in (
        (BY_SET + '[sets]\nother = ["1"]\n', r"rule 0 \(s\), line 1: .*no set @them"),
        (BY_SET + '[sets]\nthem = ["2"]\n[[rule]]\nmatch = ""\nactions = ["meter m"]\n',
         "no meter 'm'"),
        ('default = ["fly"]\n' + BY_SET + '[sets]\nthem = ["2"]\n', "fly"),
        (BY_SET + '[sets]\nthem = ["2"]\n[meters.m]\ncir = 0\ncbs = 1\nebs = 1\n', "cir"),
    ):  # fmt: skip
        with pytest.raises(vn.ConfigError, match=what):
            table.reload(rules(text))
        assert table.classify(headers()).tolist() == [0, -1, -1, -1]
        assert dict(table.ruleset().sets) == {"them": ("1",)}
        table.add("l4_dst in @them")
        table.remove(table.rules()[-1][0])
    table.close()


METERED = '[[rule]]\nmatch = ""\nactions = ["meter m", "forward 0"]\n[meters.m]\ncir = 1\n'


def test_meters_that_stay_have_measured(runtime: Any, rules: Any) -> None:
    port = runtime.add_port("ring")
    table = vn.FlowTable.load(rules(METERED + "cbs = 2000\nebs = 0\n"))
    passed = []

    def send() -> None:
        before = port.counters()["tx_packets"]
        table.apply(burst(), [port]).clear()
        passed.append(port.counters()["tx_packets"] - before)

    send()
    more = '[[rule]]\nmatch = "l4_dst == 9"\n'
    table.reload(rules(more + METERED + "cbs = 2000\nebs = 0\n[meters.n]\ncir = 1\ncbs=9\nebs=0\n"))
    send()  # the bucket stays empty
    table.reload(rules(METERED + "cbs = 3000\nebs = 0\n"))
    send()  # another meter: full
    assert passed == [2, 0, 3]
    assert table.stats()["packets"].tolist() == [12]
    assert runtime.balance().drops == {"meter": 7}
    table.close()


def test_an_idle_rule_keeps_its_age(rules: Any) -> None:
    text = '[[rule]]\nmatch = "l4_dst in @them"\nidle_timeout = 10\n[sets]\n'
    table = vn.FlowTable.load(rules(text + 'them = ["1"]\n'))
    added = time.monotonic()
    table._timed[0] = (0, added + 8)  # it was hit then
    table.reload(rules(text + 'them = ["2"]\n'))
    assert table.expire(added + 12) == []
    assert [e.id for e in table.expire(added + 19)] == [0]
    table.close()


def test_the_default_changes(runtime: Any, rules: Any) -> None:
    rule = '[[rule]]\nmatch = "l4_dst == 1"\nactions = ["forward 0"]\n'
    table = vn.FlowTable.load(rules('default = ["drop"]\n' + rule), ports=["0"])
    port = runtime.add_port("ring")
    left = []
    for default in ("drop", "", "drop other", "forward 0"):
        table.reload(rules((f'default = ["{default}"]\n' if default else "") + rule))
        b = table.apply(burst(), [port])
        left.append(len(b))
        b.clear()
    assert left == [0, 3, 0, 0]
    drops = runtime.balance().drops
    assert drops.pop("rule") == 3
    assert drops.pop("other") == 3
    assert port.counters()["tx_packets"] == 4 + 3
    table.close()


def test_rules_and_default_change_in_one_step(runtime: Any, rules: Any) -> None:
    """Two files that both drop all, one by its rule and one by its default: no packet comes by."""
    files = ('default = ["forward 0"]\n[[rule]]\nmatch = ""\nactions = ["drop a"]\n',
             'default = ["drop b"]\n[[rule]]\nmatch = "l4_dst == 9"\n'
             'actions = ["forward 0"]\n')  # fmt: skip
    ports = [runtime.add_port("null", size=64), runtime.add_port("null")]
    table = vn.FlowTable.load(rules(files[0]), ports=[p.name for p in ports])
    f = forwarder(runtime, ports, rules=table, destinations=[1, 0], macs=[None] * 2)
    f.start()
    with pytest.raises(vn.StateError, match="in use"):
        table.close()
    try:
        end = time.monotonic() + 2
        changes = 0
        while time.monotonic() < end:
            changes += 1
            table.reload(rules(files[changes % 2]))
    finally:
        f.stop()
    totals = runtime.balance()
    assert totals.balanced
    assert totals.tx == 0
    assert changes > 20
    assert totals.drops["a"] > 0
    assert totals.drops["b"] > 0
    table.close()
    with pytest.raises(vn.ClosedError):
        f.start()


def test_two_forwarders_do_not_share_a_table(runtime: Any) -> None:
    table = vn.FlowTable([])
    ports = [runtime.add_port("null") for _ in range(2)]
    table.bind([p.name for p in ports])
    one, two = (
        forwarder(runtime, ports, rules=table, destinations=[1, 0], macs=[None] * 2)
        for _ in range(2)
    )
    one.start()
    with pytest.raises(vn.StateError):
        two.start()
    one.stop()
    two.start()
    two.stop()
    table.close()


def test_a_rule_that_moves_keeps_its_counters(runtime: Any, rules: Any) -> None:
    def of(*ports: int) -> str:
        return "".join(f'[[rule]]\nmatch = "l4_dst >= {p}"\n' for p in ports)

    table = vn.FlowTable.load(rules(of(3, 2)), ports=["0"])
    table.apply(burst(), [runtime.add_port("null")]).clear()
    for ports, counts, ids in (
        ((4, 3, 2), (1, 0, 2), [-1, 1, 0, 2]),
        ((2, 3, 4), (0, 0, 3), [-1, 1, 1, 1]),
        ((3, 4, 2), (0, 0, 3), [-1, 1, 0, 0]),
    ):
        assert table.reload(rules(of(*ports))) == dict(
            zip(("added", "removed", "kept"), counts, strict=True)
        )
        assert table.classify(headers()).tolist() == ids
        assert table.stats()["packets"].tolist() == [2, 1, 0]
    table.close()


# -- the watched file -----------------------------------------------------------------------------


def test_a_file_that_is_being_written_is_waited_for(rules: Any, monkeypatch: Any) -> None:
    path = rules(BY_SET + '[sets]\nthem = ["1"]\n')
    file = rules_file.RulesFile(path, ["0"])
    for k, at in enumerate((10.0, 10.25, 10.5)):
        rules(BY_SET[: 20 + k])
        assert not file.look(at)
    rules(BY_SET + '[sets]\nthem = ["2"]\n')
    assert not file.look(10.75)
    assert file.look(11.0)
    assert file.problems == []
    file.close()
    file.close()


def test_served_while_it_is_open(rules: Any, tmp_path: Path, monkeypatch: Any) -> None:
    from veridnet.rules import monitor

    monkeypatch.setattr(monitor, "folder", lambda: str(tmp_path / "run"))
    path = rules(BY_SET + '[sets]\nthem = ["1"]\n')
    file = rules_file.RulesFile(path, ["0"])
    assert file.serve("l2fwd", lambda: (3, 180)) == ""
    (socket,) = monitor.running()
    found = monitor.query(socket)
    assert (found["program"], found["file"]) == ("l2fwd", path)
    assert found["missed"] == {"packets": 3, "bytes": 180}
    assert [r["name"] for r in found["rules"]] == ["s"]
    file.close()
    assert monitor.running() == []
    (tmp_path / "none").write_text("")
    monkeypatch.setattr(monitor, "folder", lambda: str(tmp_path / "none" / "run"))
    file = rules_file.RulesFile(path, ["0"])
    assert "cannot see this run" in file.serve("l2fwd", lambda: (0, 0))
    file.close()
