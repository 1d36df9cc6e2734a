"""The forwarder over ring ports: pairs, the learning bridge, its accounts and its end."""

from __future__ import annotations

import re
import time

import pytest
from forwarding import forwarder
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.l2 import Ether

import veridnet as vn
from veridnet.apps.l2fwd import L2fwd, L2fwdOptions, parse_portmap

A, B, C = (f"02:00:00:00:aa:0{i}" for i in range(3))
EVERYONE = "ff:ff:ff:ff:ff:ff"


def frame(src: str, dst: str, text: bytes = b"") -> bytes:
    return bytes(Ether(src=src, dst=dst, type=0x88B5)) + text.ljust(46, b".")


def rings(runtime, n: int) -> list[vn.Port]:
    return [runtime.add_port("ring") for _ in range(n)]


def received(port: vn.Port) -> list[bytes]:
    burst = vn.Burst(2048)
    port.rx(burst)
    out = [burst.to_bytes(i) for i in range(len(burst))]
    burst.clear()
    return out


def equation(runtime) -> None:
    totals = runtime.balance()
    assert totals.balanced, totals


# -- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "pairs"),
    [("(0,1)", [("0", "1")]), ("(0,2)(1,3)", [("0", "2"), ("1", "3")]),
     (" ( wan , lan ) , (2,2) ", [("wan", "lan"), ("2", "2")])],
)  # fmt: skip
def test_portmap(text: str, pairs: list[tuple[str, str]]) -> None:
    assert parse_portmap(text) == pairs


@pytest.mark.parametrize("text", ["", "0,1", "(0)", "(0,1", "(0,1,2)", "(0,1)x", "()", "(,)"])
def test_portmap_refuses(text: str) -> None:
    with pytest.raises(vn.ConfigError, match="pairs are written as"):
        parse_portmap(text)


@given(st.one_of(st.text(), st.text(st.sampled_from("(),01ab "))))
def test_portmap_never_fails_otherwise(text: str) -> None:
    try:
        pairs = parse_portmap(text)
    except vn.ConfigError:
        return
    assert pairs
    assert re.sub(r"[\s,()]", "", text) == "".join(a + b for a, b in pairs)


@pytest.mark.parametrize(
    "options",
    [{"burst": 0}, {"burst": 513}, {"tx_full": "keep"}, {"age": 0.5}, {"age": 1e9},
     {"stations": 7}, {"count": 0}, {"learn": True, "portmap": [("0", "1")]}],
    ids=str,
)  # fmt: skip
def test_options_refuse(options: dict) -> None:
    with pytest.raises(vn.ConfigError):
        L2fwdOptions(**options)


def test_ports_refuse(runtime) -> None:
    a, b, c = rings(runtime, 3)
    for ports, options in (
        ([], {}), ([a], {"learn": True}), ([a, b], {"portmap": [("0", "9")]}),
        ([a, b, c], {"portmap": [("0", "1")]}), ([a, b], {"portmap": [("0", "1"), ("0", "0")]}),
        ([a, b], {"workers": 99}), ([a, b], {"portmap": [("0", "2")]}),
    ):  # fmt: skip
        with pytest.raises(vn.ConfigError):
            L2fwd(runtime, ports, **options)


# -- pairs ----------------------------------------------------------------------------------------


def test_a_pair_rewrites_as_dpdk_s_l2fwd(runtime, tmp_path, demo_pcap, frames_of) -> None:
    a = runtime.add_port("pcap", rx=demo_pcap, tx=tmp_path / "a.pcap")
    b = runtime.add_port("pcap", tx=tmp_path / "b.pcap")
    result = L2fwd(runtime, [a, b]).run(duration=20)
    runtime.close()
    mac = bytes.fromhex("020000000001") + bytes.fromhex(result.ports[1]["mac"].replace(":", ""))
    frames = frames_of(demo_pcap)
    assert frames_of(tmp_path / "b.pcap") == [mac + f[12:] for f in frames]
    assert frames_of(tmp_path / "a.pcap") == []
    assert result.ended_by == "end of trace"
    assert result.balanced
    assert (result.rx_packets, result.tx_packets) == (len(frames), len(frames))
    assert result.drops == {}
    assert result.held == 0


@pytest.mark.parametrize(
    ("portmap", "other"),
    [(None, (1, 0, 3, 2)), ("(0,1)(2,3)", (1, 0, 3, 2)), ("(0,2),(1,3)", (2, 3, 0, 1)),
     ("(0,0)(1,1)(3,2)", (0, 1, 3, 2))],
)  # fmt: skip
def test_whose_packets_go_where(runtime, portmap, other) -> None:
    ports = rings(runtime, 4)
    for i, port in enumerate(ports):
        port.tx(vn.Burst.from_bytes([bytes([i]) * 60]))
    pairs = None if portmap is None else parse_portmap(portmap)
    # One packet of each ring, before what the others send into it.
    app = L2fwd(runtime, ports, portmap=pairs, mac_updating=False, count=4, burst=1)
    assert app.run(duration=10).ended_by == "count reached"
    assert [received(p) for p in ports] == [[bytes([other[i]]) * 60] for i in range(4)]
    equation(runtime)


def test_an_odd_port_sends_its_packets_back(runtime, make_frames) -> None:
    ports = rings(runtime, 3)
    ports[2].tx(vn.Burst.from_bytes(make_frames(1)))
    app = L2fwd(runtime, ports, count=1, mac_updating=False)
    assert "odd number of ports: port 2" in app.warnings[0]
    app.run(duration=10)
    assert received(ports[2]) == make_frames(1)


def test_runts_and_long_frames(runtime, tmp_path, write_pcap) -> None:
    frames = [bytes(60), b"", bytes(13), bytes(14), bytes(5000), bytes(20000)]
    a = runtime.add_port("pcap", rx=write_pcap(tmp_path / "x.pcap", frames))
    b = runtime.add_port("pcap", tx=tmp_path / "y.pcap")
    result = L2fwd(runtime, [a, b]).run(duration=10)
    assert result.drops == {"runt": 2, "too_long": 1}
    assert result.tx_packets == 3
    assert result.ports[0]["rx_bytes"] == sum(map(len, frames))
    equation(runtime)


@pytest.mark.parametrize("tx_full", ["drop", "retry"])
def test_a_full_port(runtime, tmp_path, write_pcap, make_frames, tx_full: str) -> None:
    """1,500 frames into a ring of 1,023 that nobody empties."""
    a = runtime.add_port("pcap", rx=write_pcap(tmp_path / "x.pcap", make_frames(1500)))
    b = runtime.add_port("ring")
    began = time.perf_counter()
    result = L2fwd(runtime, [a, b], portmap=[("0", "1")], tx_full=tx_full, count=1500).run(
        duration=9
    )
    assert time.perf_counter() - began < 5
    assert result.rx_packets >= 1500
    assert result.balanced


# -- the bridge -----------------------------------------------------------------------------------


def bridge(runtime, ports, sent: list[tuple[int, bytes]]) -> tuple[list[list[bytes]], L2fwd]:
    """Runs a bridge over rings: each ring gives it what it was sent, and holds what it gets. So
    what a port received is bridged again, unless the count ends it first."""
    for i, data in sent:
        ports[i].tx(vn.Burst.from_bytes([data]))
    app = L2fwd(runtime, ports, learn=True, count=len(sent), burst=1)
    app.run(duration=10)
    return [received(p) for p in ports], app


def test_the_unknown_and_the_many_are_flooded(runtime) -> None:
    ports = rings(runtime, 4)
    data = frame(A, B)
    got, app = bridge(runtime, ports, [(0, data)])
    assert got == [[], [data], [data], [data]]
    assert app.running.bridges[0].counters()["stations"] == 1
    (mac, port, age), *_ = app.running.bridges[0].stations()
    assert (mac, port) == (A, 0)
    assert 0 <= age < 10
    assert runtime.balance().copies == 2
    equation(runtime)


@pytest.mark.parametrize("dst", [EVERYONE, "01:00:5e:00:00:fb", "33:33:00:00:00:01"])
def test_groups_are_flooded(runtime, dst: str) -> None:
    ports = rings(runtime, 3)
    data = frame(A, dst)
    got, _ = bridge(runtime, ports, [(1, data)])
    assert got == [[data], [], [data]]


@pytest.mark.parametrize("last", ["00", "01", "0f"])
def test_link_local_groups_stay(runtime, last: str) -> None:
    ports = rings(runtime, 3)
    got, _ = bridge(runtime, ports, [(1, frame(A, f"01:80:c2:00:00:{last}"))])
    assert got == [[], [], []]
    assert runtime.balance().drops["link_local"] == 1
    equation(runtime)


def test_a_known_station_gets_its_frames_alone(runtime) -> None:
    """A has been heard on port 0 (by a frame that goes nowhere): B's answer goes there only."""
    ports = rings(runtime, 3)
    answer = frame(B, A)
    sent = [(0, frame(A, "01:80:c2:00:00:00")), (1, answer)]
    got, app = bridge(runtime, ports, sent)
    assert got == [[answer], [], []]
    assert {(mac, port) for mac, port, _ in app.running.bridges[0].stations()} == {(A, 0), (B, 1)}
    assert app.running.bridges[0].counters()["learned"] == 2
    assert runtime.balance().copies == 0
    equation(runtime)


def test_a_station_that_moves(runtime) -> None:
    ports = rings(runtime, 3)
    quiet = frame(A, "01:80:c2:00:00:00")
    answer = frame(B, A)
    got, app = bridge(runtime, ports, [(0, quiet), (1, quiet), (2, answer)])
    assert got == [[], [answer], []]
    assert app.running.bridges[0].counters()["moved"] == 1


def test_back_to_where_it_came_from(runtime) -> None:
    """Two stations behind one port: the bridge keeps out of their talk."""
    ports = rings(runtime, 2)
    sent = [(0, frame(A, "01:80:c2:00:00:00")), (0, frame(B, A)), (0, frame(A, B))]
    got, _ = bridge(runtime, ports, sent)
    assert got == [[], []]
    assert runtime.balance().drops["same_port"] == 2
    equation(runtime)


def test_closed_ports_are_refused(runtime) -> None:
    ports = rings(runtime, 2)
    ports[1].close()
    with pytest.raises(vn.ClosedError):
        L2fwd(runtime, ports, learn=True)


# -- its life -------------------------------------------------------------------------------------


def test_ports_of_a_running_forwarder(runtime) -> None:
    ports = [runtime.add_port("null"), runtime.add_port("null")]
    app = L2fwd(runtime, ports)
    app.start()
    try:
        burst = vn.Burst(4)
        for use in (
            lambda: ports[0].rx(burst), lambda: ports[1].tx(burst), ports[0].stop, ports[0].drain,
            ports[0].close, app.start,
        ):  # fmt: skip
            with pytest.raises(vn.StateError):
                use()
        second = L2fwd(runtime, ports)
        with pytest.raises(vn.StateError):
            second.start()
        assert not second.running.running
        end = time.monotonic() + 10
        while ports[0].stats["rx_packets"] < 1000 and time.monotonic() < end:
            time.sleep(0.001)
    finally:
        app.stop()
    app.stop()
    assert ports[0].stats["rx_packets"] >= 1000
    equation(runtime)
    assert ports[0].rx(burst) == 4
    assert ports[0].tx(burst) == 4


def test_closing_the_runtime_stops_it(runtime) -> None:
    ports = [runtime.add_port("null"), runtime.add_port("null")]
    app = L2fwd(runtime, ports)
    app.start()
    end = time.monotonic() + 10
    while not ports[0].stats["rx_packets"] and time.monotonic() < end:
        time.sleep(0.001)
    runtime.close()
    assert not app.running.running
    assert runtime.mbufs_in_use() == 0
    assert runtime.balance().rx > 0
    assert runtime.balance().drops == {}


@pytest.mark.parametrize("count", [1, 31, 33, 1000])
def test_count_is_exact(runtime, count: int) -> None:
    ports = [runtime.add_port("null"), runtime.add_port("null")]
    result = L2fwd(runtime, ports, count=count).run(duration=10)
    assert result.rx_packets == result.tx_packets == count
    assert result.ended_by == "count reached"


@pytest.mark.parametrize("first", ["never receives", "its trace ends"])
def test_stations_age_whoever_is_left(runtime, tmp_path, write_pcap, first: str) -> None:
    """The first worker has nothing to receive, or is done: the second one sweeps the table."""
    if len(runtime.worker_cpus) < 2:
        pytest.skip("needs two CPUs")
    trace = write_pcap(tmp_path / "in.pcap", [frame(B, EVERYONE)])
    rx = {"rx": trace} if first == "its trace ends" else {}
    a = runtime.add_port("pcap", tx=tmp_path / "out.pcap", **rx)
    (b,) = rings(runtime, 1)
    b.tx(vn.Burst.from_bytes([frame(A, EVERYONE)]))
    f = forwarder(runtime, [a, b], 2, stations=64, age_s=0.2)
    f.start()
    end = time.monotonic() + 10
    while not f.bridges[0].counters()["learned"] == f.bridges[0].counters()["aged"] > 0:
        assert time.monotonic() < end, f.bridges[0].counters()
        time.sleep(0.01)
    f.stop()
    assert f.bridges[0].counters()["stations"] == 0
    equation(runtime)


def test_a_signal_handler_may_stop_it_at_any_moment(run_python) -> None:
    """A flag that is set in a handler is only looked at: waiting for an Event can hang there."""
    run_python("""
        import veridnet as vn
        from veridnet.apps.l2fwd import L2fwd
        from veridnet.cli.common import StopFlag, stop_on_signals
        import os, signal, threading, time

        flag = stop_on_signals()
        assert not any(hasattr(flag, name) for name in ("wait", "_cond"))
        with vn.Runtime(memory="4k", mbufs=1023, lcores=(0,)) as rt:
            app = L2fwd(rt, [rt.add_port("ring"), rt.add_port("ring")])
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            began = time.monotonic()
            assert app.run(stop=flag, duration=30).to_dict()["ended_by"] == "stopped"
            assert time.monotonic() - began < 20
    """)
