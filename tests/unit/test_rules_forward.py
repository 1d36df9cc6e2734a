"""The forwarder with rules: what they end, what goes its own way, in which order, and reloads."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from acting import counts, table_of
from forwarding import forwarder
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether

import veridnet as vn
from veridnet.apps import rules_file
from veridnet.apps.l2fwd import L2fwd, L2fwdOptions

A, B = "02:00:00:00:aa:01", "02:00:00:00:aa:02"


def frame(k: int, port: int, proto: Any = UDP, src: str = A, dst: str = B) -> bytes:
    """Frame number k."""
    return bytes(Ether(src=src, dst=dst) / IP(src="10.0.0.1", dst="10.0.0.2", id=k)
                 / proto(dport=port))  # fmt: skip


def ids(frames: list[bytes]) -> list[int]:
    return [Ether(f)[IP].id for f in frames]


def toml_of(text: str) -> str:
    """A rule file of lines of "match -> action; action"; each rule's name is its match."""
    out = []
    for line in filter(None, text.split("\n")):
        match, _, texts = line.partition("->")
        made = [t.strip() for t in texts.split(";") if t.strip()]
        out.append(
            f"[[rule]]\nname = {match.strip()!r}\nmatch = {match.strip()!r}\nactions = {made!r}"
        )
    return "\n".join(out) + "\n"


@pytest.fixture
def run_capture(tmp_path: Path, write_pcap: Any, frames_of: Any) -> Callable[..., Any]:
    """``run_capture(frames, rules, default=None, **options)``: three pcap ports, of which the first
    receives; the frames that each sent, the table, the result."""

    def run(frames: list[bytes], rules: Any, default: Any = None, **options: Any) -> Any:
        write_pcap(tmp_path / "in.pcap", frames)
        outs = [tmp_path / f"out{k}.pcap" for k in range(3)]
        table = table_of(rules, default)
        with vn.Runtime() as rt:
            if options.pop("compiled", False):
                table.merge()
            ports = [rt.add_port("pcap", rx=str(tmp_path / "in.pcap"), tx=str(outs[0]))]
            ports += [rt.add_port("pcap", tx=str(out)) for out in outs[1:]]
            if options.pop("bridge", False):
                f = forwarder(rt, ports, rules=table, **options)
            else:
                options.setdefault("macs", [None] * 3)
                f = forwarder(rt, ports, rules=table, destinations=[1, 0, 2], **options)
            f.start()
            deadline = time.monotonic() + 20
            while not f.finished and time.monotonic() < deadline:
                time.sleep(0.005)
            f.stop()
            totals = rt.balance()
            assert totals.balanced, totals
            assert totals.rx == len(frames)
            assert ports[0].counters()["rx_bytes"] == sum(map(len, frames))
            missed = f.missed()
        assert rt.mbufs_in_use() == 0
        assert table.wait(0.0), "a reader is still online"
        assert table.info()["lookups"] == len(frames)
        return [frames_of(out) if out.exists() else [] for out in outs], table, totals, missed

    return run


FRAMES = [frame(k, (80, 53, 443, 22, 9)[k % 5], (UDP, TCP)[k % 2]) for k in range(1000)]


def test_rules_first_then_the_pairs_way(run_capture: Any) -> None:
    rules = [("l4_dst == 22", ["drop"]), ("l4_dst == 53", ["forward 2"]),
             ("l4_dst == 443", ["dec_ttl", "forward 1"]), ("l4_dst == 9", ["count"])]  # fmt: skip
    outs, table, totals, missed = run_capture(FRAMES, rules)
    assert outs[0] == []
    # Port 1 gets what a rule sends there and what goes its own way, in the order of arrival.
    assert ids(outs[1]) == [k for k in range(1000) if k % 5 in (0, 2, 4)]
    assert outs[2] == FRAMES[1::5]
    assert totals.drops == {"rule": 200}
    assert [counts(table, k)[0] for k in range(4)] == [200] * 4
    assert missed == (200, sum(map(len, FRAMES[::5])))


def test_mac_updating_is_of_the_own_way_alone(run_capture: Any) -> None:
    macs = [bytes(range(12)), None, None]
    rules = [("l4_dst == 443", ["forward 1"]), ("l4_dst == 53", ["set ip_ttl=9"])]
    outs, *_ = run_capture(FRAMES, rules, macs=macs, burst=7)
    assert ids(outs[1]) == list(range(1000))
    for k, raw in enumerate(outs[1]):
        assert (raw[:12] == FRAMES[k][:12]) == (k % 5 == 2)
        assert raw[:12] in (FRAMES[k][:12], macs[0])
        assert (Ether(raw)[IP].ttl == 9) == (k % 5 == 1)


@pytest.mark.parametrize(("default", "where"), [(["drop"], None), (["forward 2"], 2), ([], 1)])
def test_the_default(run_capture: Any, default: list[str], where: int | None) -> None:
    outs, _, totals, missed = run_capture(FRAMES, [("ip_proto == tcp", ["forward 0"])], default)
    assert ids(outs[0]) == list(range(1, 1000, 2))
    assert missed[0] == 500
    assert totals.drops == ({"rule": 500} if where is None else {})
    if where:
        assert outs[where] == FRAMES[::2]


def test_a_bridge_with_rules(run_capture: Any) -> None:
    """What rules do not end is bridged (here: flooded), in the order of arrival at each port."""
    rules = [("l4_dst == 22", ["drop blocked"]), ("l4_dst == 53", ["forward 2"]),
             ("l4_dst == 443", ["mirror 0"])]  # fmt: skip
    outs, _, totals, _ = run_capture(FRAMES, rules, bridge=True)
    assert totals.drops == {"blocked": 200}
    assert outs[0] == FRAMES[2::5]
    assert ids(outs[1]) == [k for k in range(1000) if k % 5 in (0, 2, 4)]
    assert ids(outs[2]) == [k for k in range(1000) if k % 5 != 3]
    assert totals.copies == 600 + 200


def test_the_input_port_and_derived_columns(run_capture: Any) -> None:
    wrong = bytearray(FRAMES[0])
    wrong[24] ^= 0xFF
    frames = [*FRAMES[:10], bytes(wrong)]
    rules = [("in_port == 0 and ip_csum == 2", ["drop bad_checksum"]),
             ("in_port == 0", ["forward 2"])]  # fmt: skip
    outs, _, totals, _ = run_capture(frames, rules)
    assert outs[2] == frames[:10]
    assert totals.drops == {"bad_checksum": 1}


def test_python_actions_are_dropped_in_a_loop(run_capture: Any) -> None:
    """The table refuses them; should one come through all the same, its packets are counted."""
    _, _, totals, _ = run_capture(FRAMES[:50], [("", ["python:json.dumps"])])
    assert totals.drops == {"no_python": 50}


def test_copies_are_counted(run_capture: Any) -> None:
    outs, _, totals, _ = run_capture(FRAMES, [("", ["mirror 0", "dec_ttl", "forward 0,1,2"])])
    assert totals.copies == 3000
    assert ids(outs[1]) == ids(outs[2]) == list(range(1000))
    assert ids(outs[0]) == sorted(2 * list(range(1000)))


def test_two_workers_share_a_table(tmp_path: Path, write_pcap: Any, run_python: Any) -> None:
    write_pcap(tmp_path / "a.pcap", FRAMES)
    code = f"""
        import sys, time; sys.path[:0] = [{str(Path(__file__).parent.parent)!r}]
        import veridnet as vn
        from acting import counts, table_of
        from forwarding import forwarder
        table = table_of([("l4_dst == 53", ["sample 1/10 drop sampled", "forward 2"]),
                          ("l4_dst == 22", ["drop"])])
        with vn.Runtime(lcores="0,1" if len(__import__("os").sched_getaffinity(0)) > 1 else "0,0",
                        ) as rt:
            ports = [rt.add_port("pcap", rx="a.pcap", tx="x.pcap"),
                     rt.add_port("pcap", rx="a.pcap", tx="y.pcap"), rt.add_port("null")]
            f = forwarder(rt, ports[:2] + [rt.add_port("pcap", tx="z.pcap")], 2, rules=table,
                             destinations=[1, 0, 2], macs=[None] * 3)
            f.start()
            while not f.finished:
                time.sleep(0.01)
            f.stop()
            t = rt.balance()
            assert t.balanced and t.rx == 2000, t
            assert t.drops == {{"rule": 400, "sampled": 40}}, t
            assert counts(table, 0)[0] == 400
    """
    run_python(code)


# -- the file -------------------------------------------------------------------------------------


@pytest.fixture
def rules_path(tmp_path: Path) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text(toml_of("l4_dst == 53 -> drop\nl4_dst == 80 -> count\n"))
    return path


def test_l2fwd_with_a_rule_file(
    runtime: Any, tmp_path: Path, write_pcap: Any, rules_path: Path
) -> None:
    write_pcap(tmp_path / "in.pcap", FRAMES)
    ports = [runtime.add_port("pcap", rx=str(tmp_path / "in.pcap")),
             runtime.add_port("pcap", tx=str(tmp_path / "out.pcap"))]  # fmt: skip
    app = L2fwd(runtime, ports, L2fwdOptions(rules=str(rules_path)))
    assert app.rules is not None
    with pytest.raises(vn.ConfigError, match="calls no Python"):
        app.rules.table.add("", ["python:json.dumps"])
    result = app.run().to_dict()
    rows = result["rules"]["rules"]
    assert [(r["id"], r["name"], r["packets"]) for r in rows] == [
        (0, "l4_dst == 53", 200), (1, "l4_dst == 80", 200)]  # fmt: skip
    assert result["rules"]["missed"]["packets"] == 600
    assert result["tx_packets"] == 800
    assert result["balanced"]


def test_a_changed_file_is_reloaded_without_a_loss(runtime: Any, rules_path: Path) -> None:
    """Packets circle between two rings meanwhile: none may be lost."""
    ports = [runtime.add_port("ring") for _ in range(2)]
    rules_path.write_text(toml_of("l4_dst == 53 -> forward 1\n"))
    app = L2fwd(runtime, ports, L2fwdOptions(rules=str(rules_path), mac_updating=False))
    stop = threading.Event()
    for port in ports:
        port.tx(vn.Burst.from_bytes(FRAMES[:256]))
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(app.run(stop=stop)))
    thread.start()
    try:
        assert app.rules is not None
        for k in range(5):
            text = ("l4_dst == 53 -> forward 0\n", "ip_proto == tcp -> dec_ttl; count\n")[k % 2]
            rules_path.write_text(toml_of(text) + "\n" * k)
            app.rules.wanted = k % 2 == 1  # as SIGHUP does; otherwise the file's change is seen
            deadline = time.monotonic() + 10
            while app.rules.reloads <= k and time.monotonic() < deadline:
                time.sleep(0.01)
            assert app.rules.reloads == k + 1, (app.rules.problems, results)
        rules_path.write_text(toml_of("l4_dst === 53 -> forward 0\n"))
        app.rules.wanted = True
        deadline = time.monotonic() + 10
        while not app.rules.problems and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "the rules before stay" in app.rules.problems[0]
    finally:
        stop.set()
        thread.join()
    totals = runtime.balance()
    assert totals.balanced
    for port in ports:
        burst = vn.Burst(1023)
        port.rx(burst)
        burst.clear()
    drops = runtime.balance().drops
    assert drops.pop("ttl", 0) + drops["freed"] == 512
    assert results[0].to_dict()["rules"]["reloads"] == 5


def test_a_rule_file_that_is_wrong(runtime: Any, tmp_path: Path) -> None:
    with pytest.raises(vn.ConfigError, match=r"nothing\.toml"):
        rules_file.RulesFile(str(tmp_path / "nothing.toml"), ["0"])
    path = tmp_path / "python.toml"
    path.write_text(toml_of("l4_dst == 1 -> python:json.dumps\n"))
    with pytest.raises(vn.ConfigError, match="calls no Python"):
        rules_file.RulesFile(str(path), ["0"])


def test_a_file_that_is_away_for_a_moment(rules_path: Path) -> None:
    rules = rules_file.RulesFile(str(rules_path), ["0"])
    text = rules_path.read_text()
    rules_path.unlink()
    assert not rules.look(10.0)
    rules_path.write_text(text)
    os.utime(rules_path, ns=(1, 1))
    assert not rules.look(10.5)
    assert not rules.look(11.1)
    assert rules.look(11.4)
    assert not rules.look(13.0)
    assert rules.problems == []


def test_the_command_reloads_on_sighup_and_shows_rules(
    tmp_path: Path, write_pcap: Any, run_python: Any
) -> None:
    write_pcap(tmp_path / "in.pcap", FRAMES)
    (tmp_path / "rules.toml").write_text(toml_of("l4_dst == 53 -> drop\n"))
    code = """
        import json, os, signal, sys, threading, time
        from veridnet.cli import main
        threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGHUP)).start()
        sys.exit(main(["l2fwd", "-p", "pcap:rx=in.pcap", "-p", "pcap:tx=out.pcap",
                       "--rules", "rules.toml", "--until-idle", "2", "--json"]))
    """
    done = run_python(code)
    import json

    data = json.loads(done.stdout)
    assert data["rules"]["reloads"] == 1
    assert data["rules"]["rules"] == [
        {"id": 0, "name": "l4_dst == 53", "packets": 200,
         "bytes": sum(map(len, FRAMES[1::5]))}]  # fmt: skip
    assert "(no rule)" in done.stderr
    assert "rules reloaded 1 times" in done.stderr


def test_a_table_closes_after_apply(tmp_path: Path, write_pcap: Any) -> None:
    write_pcap(tmp_path / "in.pcap", FRAMES)
    with vn.Runtime() as rt, vn.FlowTable() as table:
        table.add("l4_dst == 53", ["drop"])
        a = rt.add_port("pcap", rx=str(tmp_path / "in.pcap"))
        burst = vn.Burst(256)
        a.rx(burst)
        before = len(burst)
        assert len(table.apply(burst)) < before
        burst.drop()
    with pytest.raises(vn.ClosedError):
        table.apply(burst)


def test_errors_of_a_loaded_file_name_it(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(toml_of("l4_dst == -> drop\n"))
    with pytest.raises(vn.ConfigError, match=r"rules\.toml: rule 0 .*column"):
        vn.FlowTable.load(tmp_path / "rules.toml")


def test_add_says_what_is_wrong() -> None:
    with vn.FlowTable() as table:
        with pytest.raises(vn.ConfigError, match="a list of texts, not the text 'drop'"):
            table.add("tcp", "drop")
        with pytest.raises(TypeError, match="a whole Rule"):
            table.add(vn.Rule("tcp"), ["drop"])
        assert table.rules() == []


def test_counters_as_a_data_frame() -> None:
    pytest.importorskip("pandas")
    with vn.FlowTable() as table:
        table.add("tcp", ["drop"], priority=7, name="a")
        table.add("udp", ["drop"])
        frame = table.to_pandas()
    assert list(frame.index) == [0, 1]
    assert list(frame["match"]) == ["tcp", "udp"] and list(frame["priority"]) == [7, 0]
    assert list(frame.columns) == ["priority", "name", "match", "packets", "bytes"]


def test_flow_cache(run_capture: Callable[..., Any]) -> None:
    """Packets of a flow go where the first went; so do they without the cache, one by one."""
    flows = [(proto, port, 64 + port % 2) for port in range(50, 90) for proto in (UDP, TCP)]
    frames = [
        bytes(Ether(src=A, dst=B) / IP(dst="10.0.0.2", id=k, ttl=ttl) / proto(dport=port))
        for k in range(20) for proto, port, ttl in flows
    ]  # fmt: skip
    frames[100:100] = [frames[0][:n] for n in (14, 20, 34)] * 5  # cut ones
    rules = [("udp dst port 53", ["forward 2"]), ("l4_dst in 60..70 and ip_ttl == 64", ["drop"]),
             ("tcp dst portrange 75-80", ["forward 0"]), ("tcp", ["count"])]  # fmt: skip
    sent, table, totals, _ = run_capture(frames, rules, compiled=True)
    again, other, without, _ = run_capture(frames, rules, compiled=True, flow_cache=False)
    assert sent == again
    assert totals == without
    assert [counts(table, k) for k in range(4)] == [counts(other, k) for k in range(4)]
    assert table.info()["cached"] > len(frames) / 2
    assert other.info()["cached"] == 0


def test_flow_cache_and_bytes(run_capture: Callable[..., Any]) -> None:
    """What only BPF can say differs within a flow: that is asked of each packet."""
    frames = [frame(k, 53) + bytes([k]) for k in range(200)]
    rules = [("ether[42] & 1 == 1", ["forward 2"]), ("udp", ["drop"])]
    sent, table, _, _ = run_capture(frames, rules, compiled=True)
    assert ids(sent[2]) == list(range(1, 200, 2))
    assert sent[0] == sent[1] == []
    assert table.info()["cached"] > 0


def test_flow_cache_sees_each_version(tmp_path: Path, write_pcap: Any, frames_of: Any) -> None:
    """A table that changes while it is in use: what is remembered is not all that is asked."""
    write_pcap(tmp_path / "in.pcap", [frame(k, 53) for k in range(64)])
    with vn.Runtime() as rt, vn.FlowTable(ports=["a", "b", "c"]) as table:
        ports = [rt.add_port("pcap", name="a", rx=str(tmp_path / "in.pcap"), infinite=True)]
        ports += [rt.add_port("null", name=name, no_rx=True) for name in "bc"]
        f = forwarder(rt, ports, rules=table, destinations=[1, 0, 0], macs=[None] * 3)
        table.add("udp dst port 53 and ip_ttl < 5", ["forward c"], priority=9)
        f.start()
        for turn in range(20):
            if turn % 4 == 3:
                table.compile()
            id = table.add("udp", [("forward c", "drop")[turn % 2]])
            assert table.wait(5)
            before = ports[1].counters()["tx_packets"]
            time.sleep(0.01)
            assert ports[1].counters()["tx_packets"] == before, "none goes the old way"
            if turn % 5 == 4:  # it is removed from the base
                table.compile()
            table.remove(id)
            assert table.wait(5)
        time.sleep(0.01)
        assert ports[1].counters()["tx_packets"] > before
        f.stop()
        assert rt.balance().balanced
        assert table.info()["cached"] > 0
        f.release()


def test_flow_cache_is_the_forwarders(tmp_path: Path, write_pcap: Any) -> None:
    """A forwarder without it does not use the cache that another one had on the same table."""
    write_pcap(tmp_path / "in.pcap", [frame(k, 53) for k in range(64)])
    with vn.Runtime() as rt, vn.FlowTable([vn.Rule("udp", ["count"])], ports=["a", "b"]) as table:
        table.compile()
        rt.add_port("pcap", name="a", rx=str(tmp_path / "in.pcap"), infinite=True)
        rt.add_port("null", name="b", no_rx=True)
        for cache in (True, False, True):
            before = table.info()["cached"]
            f = forwarder(
                rt, rt.ports, rules=table, destinations=[1, 0], macs=[None] * 2, flow_cache=cache
            )
            f.start()
            time.sleep(0.02)
            f.stop()
            hits = table.info()["cached"] - before
            assert hits > 0 if cache else hits <= 0
            f.release()
        assert rt.balance().balanced
