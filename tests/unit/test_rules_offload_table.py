"""`FlowTable.offload`: what a port holds follows the table; what is left out.

The port is `tests/flow_double.py`'s, which is none.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from flow_double import Nic, RecordingApi

import veridnet as vn
from veridnet.errors import FlowError
from veridnet.rules import offload

#: One flow each: of untagged IPv4 and TCP, with a port.
TCP = "vlan_depth == 0 and ip_version == 4 and ip_proto == tcp"
ONLY_DROPS = "only rules that drop are put there: marks are not read"


@pytest.fixture
def table() -> Iterator[vn.FlowTable]:
    with vn.FlowTable(merge="manual") as t:
        yield t


def web(port: int) -> str:
    return f"{TCP} and l4_dst == {port}"


def frame(port: int) -> bytes:
    """Untagged IPv4 and TCP to a port, 60 bytes."""
    ip = bytes.fromhex("4500002800010000400600000a0000010a000002")
    return bytes(12) + b"\x08\0" + ip + b"\x04\0" + port.to_bytes(2, "big") + bytes(8) + \
        b"\x50\x02" + bytes(6) + bytes(6)  # fmt: skip


def dropped(api: RecordingApi, *ports: int) -> list[bool]:
    return [api.receive(frame(port))[0] is not None for port in ports]


def where(off: Any) -> dict[int, str]:
    return {number: status.where for number, status in off.status().items()}


# -- it follows -----------------------------------------------------------------------------------


def test_flows_follow_each_change(table: vn.FlowTable) -> None:
    api = RecordingApi()
    a = table.add(web(1), ["drop"])
    off = table.offload(Nic(), api=api)
    assert dropped(api, 1, 2) == [True, False]
    b = table.add(web(2), ["drop"])
    assert dropped(api, 1, 2) == [True, True]
    table.replace(a, match=web(3))
    assert dropped(api, 1, 2, 3) == [False, True, True]
    table.remove(b)
    assert dropped(api, 1, 2, 3) == [False, False, True]
    with table.transaction() as t:
        c = t.add(web(2), ["drop"])
        t.remove(a)
        assert dropped(api, 2, 3) == [False, True]  # not before the block ends
    assert dropped(api, 2, 3) == [True, False]
    (d,) = table.update([vn.Rule(web(4), ("drop",))], [c])
    assert dropped(api, 2, 4) == [False, True]
    # What wins over it and stays in software takes it out, before it is seen.
    e = table.add("wire_len > 1000", ["forward 1"], priority=5)
    assert dropped(api, 4) == [False]
    assert where(off) == {e: "software", d: "software"}
    table.remove_rules([e])
    assert dropped(api, 4) == [True]
    table.close()
    assert off.released and not api.flows


def test_flows_follow_reloads_and_timeouts(table: vn.FlowTable, tmp_path: Path) -> None:
    api = RecordingApi()
    path = tmp_path / "r.toml"
    text = "[[rule]]\nmatch = {!r}\nactions = ['drop']\n"
    path.write_text(text.format(web(1)))
    table.offload(Nic(), api=api)
    table.reload(path)
    assert dropped(api, 1, 2) == [True, False]
    path.write_text(text.format(web(1)) + text.format(web(2)))
    before = list(api.flows)
    table.reload(path)
    assert dropped(api, 1, 2) == [True, True]
    assert before[0] in api.flows  # what stays is not touched
    path.write_text("[[rule]]\nmatch = 'no_column == 1'\n")
    with pytest.raises(vn.ConfigError):
        table.reload(path)
    assert dropped(api, 1, 2) == [True, True]
    gone = table.add(web(3), ["drop"], hard_timeout=1000)
    assert dropped(api, 3) == [True]
    assert [e.id for e in table.expire(time.monotonic() + 2000)] == [gone]
    assert dropped(api, 1, 2, 3) == [True, True, False]


def test_a_change_that_does_not_come_changes_nothing(table: vn.FlowTable) -> None:
    api = RecordingApi()
    a = table.add(web(1), ["drop"])
    off = table.offload(Nic(), api=api)

    def broken() -> None:
        with table.transaction() as t:
            t.remove(a)
            t.add(web(2), ["drop"])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert dropped(api, 1, 2) == [True, False]
    assert where(off) == {a: "port"}


def test_a_commit_that_fails_puts_flows_back(
    table: vn.FlowTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = RecordingApi()
    a = table.add(web(1), ["drop"])
    off = table.offload(Nic(), api=api)

    class Full:
        """The native table, without memory for more."""

        def __init__(self, native: Any) -> None:
            self.native = native

        def __getattr__(self, name: str) -> Any:
            return getattr(self.native, name)

        def commit(self, *args: Any) -> None:
            assert not api.flows  # taken out before
            raise MemoryError

    native = table._native
    monkeypatch.setattr(table, "_native", Full(native))
    with pytest.raises(MemoryError):
        table.replace(a, match=web(2))
    monkeypatch.setattr(table, "_native", native)
    assert dropped(api, 1, 2) == [True, False]
    assert where(off) == {a: "port"} and table[a].match == web(1)
    table.replace(a, match=web(2))
    assert dropped(api, 1, 2) == [False, True]


def test_a_flow_that_does_not_go_stops_the_change(
    table: vn.FlowTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = RecordingApi()
    a = table.add(web(1), ["drop"])
    table.offload(Nic(), api=api)

    def stuck(flow: Any) -> None:
        raise FlowError("stuck", 5)

    with monkeypatch.context() as m:
        m.setattr(api, "destroy", stuck)
        with pytest.raises(FlowError, match="stuck"):
            table.remove(a)
    assert a in table and dropped(api, 1) == [True]
    table.remove(a)
    assert not api.flows and len(table) == 0


def test_counters_are_the_tables_until_the_rule_goes(table: vn.FlowTable) -> None:
    api = RecordingApi()
    a = table.add(web(1), ["drop"])
    off = table.offload(Nic(), api=api)
    assert dropped(api, 1, 1, 2) == [True, True, False]
    assert [(r["packets"], r["bytes"]) for r in table.stats()] == [(2, 120)]
    table.replace(a, match=web(2))  # another flow; the rule's counters go on
    assert dropped(api, 1, 2) == [False, True]
    assert [(r["packets"], r["bytes"]) for r in table.stats()] == [(3, 180)]
    off.release()
    assert [(r["packets"], r["bytes"]) for r in table.stats()] == [(3, 180)]
    table.add(web(3), ["drop"])  # a port that was released follows no more
    assert not api.flows
    table.remove(a)
    assert [r["packets"] for r in table.stats()] == [0]
    assert a not in off.counters()


def test_two_ports_follow(table: vn.FlowTable) -> None:
    apis = RecordingApi(), RecordingApi()
    first = table.offload(Nic(), api=apis[0])
    table.offload(Nic(index=1), api=apis[1])
    a = table.add(f"in_port == 1 and {web(1)}", ["drop"])
    b = table.add(web(2), ["drop"])
    assert [dropped(api, 1, 2) for api in apis] == [[False, True], [True, True]]
    assert where(first) == {a: "software", b: "port"}
    assert first.status()[a].reasons == ()  # none of its packets comes from port 0
    first.release()
    table.remove(b)
    assert [len(api.flows) for api in apis] == [0, 1]


# -- marks=False ----------------------------------------------------------------------------------


def test_without_marks_only_drops_are_there(table: vn.FlowTable) -> None:
    api = RecordingApi()
    forwards = table.add(web(1), ["forward 1"])
    drops = table.add(web(2), ["count", "drop"])
    counts = table.add(web(3), ["count"])
    idle = table.add(web(4), ["drop"], idle_timeout=100)
    off = table.offload(Nic(), api=api, marks=False)
    assert where(off) == {forwards: "software", drops: "port", counts: "software",
                          idle: "software"}  # fmt: skip
    for number in (forwards, counts, idle):
        assert off.status()[number].reasons == (ONLY_DROPS,)
    assert [f.actions for f in api.flows] == [[("count", None), ("drop", None)]]
    assert (off.marks == -1).all()
    table.replace(forwards, actions=["drop"])
    table.replace(drops, actions=["forward 1"])
    assert dropped(api, 1, 2) == [True, False]
    assert all("mark" not in dict(f.actions) for f in api.flows)


def test_without_marks_a_drop_behind_another_rule_stays(table: vn.FlowTable) -> None:
    """What would be marked where marks are read is software's here."""
    one = table.add(web(1), ["forward 1"], priority=5)
    other = table.add(TCP, ["drop"])
    with table.offload(Nic(), api=RecordingApi()) as off:
        assert where(off) == {one: "port", other: "port"} and not off.status()[other].drops
    api = RecordingApi()
    off = table.offload(Nic(), api=api, marks=False)
    assert where(off) == {one: "software", other: "software"} and not api.flows
    table.remove(one)
    assert dropped(api, 1, 2) == [True, True]


# -- the limit ------------------------------------------------------------------------------------


def test_only_the_strongest_rules_are_tried(
    table: vn.FlowTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,024 of them; here fewer, as each is compared with all that win over it."""
    assert offload.MOST == 1024
    monkeypatch.setattr(offload, "MOST", 8)
    ids = table.add_rules(vn.Rule(web(n), ("drop",)) for n in range(14))
    api = RecordingApi()
    off = table.offload(Nic(), api=api)
    found = where(off)
    assert [found[n] for n in ids] == ["port"] * 8 + ["software"] * 6
    assert {off.status()[n].reasons for n in ids[8:]} == {("only the strongest 8 rules are tried",)}
    assert len(api.flows) == 8
    assert dropped(api, 0, 7, 8, 13) == [True, True, False, False]
    # What goes makes room for what comes behind it; the rest is not touched.
    kept = set(map(id, api.flows[2:]))
    table.remove_rules(ids[:2])
    assert dropped(api, 0, 8, 9, 10) == [False, True, True, False]
    assert kept < set(map(id, api.flows)) and len(api.flows) == 8
    # A stronger one is tried; what is there already and in nobody's way stays.
    strong = table.add(web(99), ["drop"], priority=9)
    assert where(off)[strong] == "port"
    assert dropped(api, 9, 99) == [True, True]
    # One that meets all goes before all: what was there is put there anew, and not the weakest.
    table.add("eth_src == 02:00:00:00:00:07", ["drop"], priority=10)
    found = where(off)
    assert [found[n] for n in ids[2:]] == ["port"] * 6 + ["software"] * 6
