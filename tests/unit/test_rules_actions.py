"""Rule actions: texts, programs, and what they do to bursts. Checksums are scapy's own."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from acting import bytes_of, counts, received, runner_of, table_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, Dot1Q, Ether

import veridnet as vn
from veridnet._native.runner import ActionRunner, marks
from veridnet.rules import actions

E = Ether(dst="02:00:00:00:00:01", src="02:00:00:00:00:02")
IP4, IP6 = IP(src="10.0.0.1", dst="10.0.0.2", ttl=64), IPv6(src="2001:db8::1", dst="2001:db8::2")
PLAIN = [
    E / IP4 / UDP(sport=1000, dport=1053) / b"odd",
    E / IP4 / UDP(sport=1000, dport=1053, chksum=0) / b"none",
    E / IP4 / TCP(sport=2000, dport=443, flags="SA", seq=7) / b"data",
    E / IP6 / UDP(sport=3000, dport=1053) / b"six",
    E / IP6 / TCP(sport=3000, dport=80) / b"six",
    E / IP6 / ICMPv6EchoRequest(id=1, seq=2, data=b"ping"),
    E / Dot1Q(vlan=7, prio=3) / IP4 / TCP(dport=80),
    E / Dot1Q(vlan=7) / Dot1Q(vlan=8) / IP6 / UDP(dport=81) / b"x",
    E / IP4 / ICMP() / b"ping",
    E / ARP(psrc="10.0.0.1", pdst="10.0.0.2"),
]


def rebuilt(raw: bytes) -> bytes:
    """The frame with every checksum that it has computed by scapy."""
    packet = Ether(raw)
    for layer in (IP, TCP, UDP, ICMP, ICMPv6EchoRequest):
        if (found := packet.getlayer(layer)) is None:
            continue
        if layer is UDP and found.chksum == 0:
            continue
        setattr(found, "cksum" if layer is ICMPv6EchoRequest else "chksum", None)
    return bytes(packet)


def burst_of(packets: list[Any]) -> Any:
    return vn.Burst.from_bytes([bytes(p) for p in packets])


# -- texts ----------------------------------------------------------------------------------------


GOOD = ["drop", "drop blocked", "forward 1", "forward 1,2", "mirror 2", "queue 3", "set ip_dscp=46",
        "set ip_src=10.0.0.9", "set eth_dst=02:00:00:00:00:09", "set ip6_dst=2001:db8::9",
        "set tcp_flags=syn", "nat src=192.0.2.1", "nat dst=192.0.2.1:80", "nat src=2001:db8::7",
        "nat dst=[2001:db8::7]:443", "push_vlan 100", "push_vlan 100/5", "pop_vlan", "dec_ttl",
        "mark 7", "count", "meter gold", "sample 1/100 mirror 2", "sample 1/10 drop sampled",
        "rate_limit 10mbit", "rate_limit 5kpps burst=10", "python:json.dumps"]  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_a_text_is_read_and_given_back(text: str) -> None:
    texts = [text, "forward 1"] if text.startswith("queue") else [text]
    first = actions.parse(texts)[0]
    assert str(first) == text
    assert actions.parse([str(a) for a in actions.parse(texts)]) == actions.parse(texts)
    assert hash(first) is not None


@pytest.mark.parametrize(("text", "words"), [
    ("", "empty"), ("frobnicate", "there is no action 'frobnicate'"), ("forwrd 1", "forward"),
    ("output 1", "write forward"), ("forward", "needs a value"), ("forward 1,1", "twice"),
    ("forward 1,", "not a port"), ("drop a b", "word of letters"), ("set ip_dst", "column and a"),
    ("set ip_len=3", "cannot be written"), ("set ip_dsc=3", "did you mean ip_dscp"),
    ("set vlan_id=4096", "12 bits"), ("set ip_src=2001:db8::1", "not a value"),
    ("set l4_dst=1..2", "not one value"), ("set l4_dst=1 or ip_ttl=3", "not"),
    ("nat ip=1.2.3.4", "src= or dst="), ("nat src=1.2.3", "not an IP"),
    ("nat src=1.2.3.4:0", "a port is"), ("push_vlan 4096", "a VLAN ID"), ("push_vlan 1/8", "prior"),
    ("pop_vlan 3", "takes nothing"), ("mark -1", "a mark"), ("sample 100 drop", "1/N"),
    ("sample 1/0 drop", "N is"), ("sample 1/2 sample 1/2 drop", "cannot be sampled"),
    ("sample 1/2 count", "cannot be sampled"), ("rate_limit 10", "not a rate"),
    ("rate_limit 1mbit burst", "not a size"), ("rate_limit 1mbit x=1", "not expected"),
    ("python:os", "module and a function"), ("queue 3", "nothing is sent"),
])  # fmt: skip
def test_an_error_names_the_action_and_a_remedy(text: str, words: str) -> None:
    with pytest.raises(vn.ConfigError) as e:
        actions.parse(["count", text])
    said = f"{e.value} {e.value.hint}"
    assert words in said
    assert "action 2" in said
    assert e.value.hint


def test_nothing_comes_after_the_end() -> None:
    with pytest.raises(vn.ConfigError, match=r"action 2, 'dec_ttl': comes after 'forward 1'"):
        actions.parse(["forward 1", "dec_ttl"])
    assert len(actions.parse(["forward 1", "count"])) == 2
    with pytest.raises(vn.ConfigError, match="a list of texts"):
        actions.parse("drop")


def test_ports_and_meters_are_looked_up() -> None:
    program = actions.compile(["mirror wan", "forward 0,lan"], ["lan0", "lan", "wan"])
    assert program.ports == {0, 1, 2}
    for texts, words in ((["forward dmz"], "ports: 0 lan"), (["forward 2"], "no port '2'"),
                         (["forward 0,lan"], "twice"), (["meter gold"], "no meter 'gold'"),
                         (["python:json.nothing"], "no function"),
                         (["python:no_such_module.f"], "cannot be imported")):  # fmt: skip
        with pytest.raises(vn.ConfigError) as e:
            actions.compile(texts, ["lan", "wan"], {"silver": None})  # type: ignore[dict-item]
        assert words in f"{e.value} {e.value.hint}"
    with pytest.raises(vn.ConfigError, match="not known yet"):
        actions.compile(["forward lan"])
    assert actions.compile(["forward 5", "count"]).counts


def test_python_is_refused_where_none_runs() -> None:
    with pytest.raises(vn.ConfigError) as e:
        actions.check_native([actions.compile(["drop"]), actions.compile(["python:json.dumps"])])
    assert "table.apply" in e.value.hint


@pytest.mark.parametrize(("parameters", "words"), [
    ({"type": "srtcm", "cir": 0, "cbs": 1, "ebs": 1}, "above 0"),
    ({"type": "red"}, "srtcm or trtcm"), ({"cir": "10mbit"}, "cbs is missing"),
    ({"cir": "10mbit", "cbs": 1, "ebs": 2, "x": 1}, "x is not expected"),
    ({"cir": "10kpps", "cbs": 1, "ebs": 2}, "not packets"),
    ({"cir": 10, "pir": 5, "cbs": 1, "pbs": 2}, "pir is at least"),
    ({"cir": 10, "pir": 10, "cbs": 1, "pbs": 0}, "RFC 2698"),
])  # fmt: skip
def test_meters_are_checked(parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(vn.ConfigError, match=words):
        actions.make_meter("gold", parameters)


# -- what they do ---------------------------------------------------------------------------------


@pytest.fixture
def ports(runtime: Any) -> list[Any]:
    return [runtime.add_port("ring") for _ in range(3)]


def check_balance(runtime: Any, ports: list[Any]) -> None:
    totals = runtime.balance()
    assert totals.balanced, totals


def test_drop_forward_and_what_is_left(runtime: Any, ports: list[Any]) -> None:
    runner = runner_of([("l4_dst == 1053", ["drop"]), ("ip_version == 6", ["drop six"]),
                        ("vlan_id == 7", ["count", "forward 1"]), ("ip_proto == tcp", [])],
                       ports)  # fmt: skip
    burst = burst_of(PLAIN)
    assert runner.run(burst) is burst
    assert bytes_of(burst) == [bytes(PLAIN[k]) for k in (2, 8, 9)]
    assert received(ports[1]) == [bytes(PLAIN[6])]
    drops = runtime.balance().drops
    assert drops["rule"] == 3
    assert drops["six"] == 3
    hits = [counts(runner.table, k)[0] for k in range(4)]
    assert hits == [3, 3, 1, 1]
    assert sum(counts(runner.table, k)[1] for k in range(4)) + runner.missed[1] == sum(
        map(len, map(bytes, PLAIN))
    )
    assert runner.missed[0] == 2
    check_balance(runtime, ports)


def test_the_default_is_for_packets_that_no_rule_matches(runtime: Any, ports: list[Any]) -> None:
    runner = runner_of([("ip_version == 6", [])], ports, default=["forward 2"])
    burst = runner.run(burst_of(PLAIN))
    assert bytes_of(burst) == [bytes(PLAIN[k]) for k in (3, 4, 5, 7)]
    assert received(ports[2]) == [bytes(PLAIN[k]) for k in (0, 1, 2, 6, 8, 9)]
    check_balance(runtime, ports)


@pytest.mark.parametrize("texts", [["forward 1"], ["drop"], ["mark 1", "forward 1"], []])
def test_bursts_of_one_fate(runtime: Any, ports: list[Any], texts: list[str], make_frames) -> None:
    """The fast path and the other say the same, over bursts larger than an output's room."""
    frames = make_frames(700)
    runner = runner_of([("", texts)], ports)
    burst = runner.run(vn.Burst.from_bytes(frames))
    there = received(ports[1])
    assert (there, bytes_of(burst)) == {
        "forward 1": (frames, []), "drop": ([], []), "mark 1": (frames, []), "": ([], frames),
    }[texts[0] if texts else ""]  # fmt: skip
    assert counts(runner.table, 0) == (700, sum(map(len, frames)))
    check_balance(runtime, ports)


def test_a_port_that_is_not_there(runtime: Any, ports: list[Any]) -> None:
    runner = runner_of([("ip_proto == udp", ["forward 7"]), ("", ["mirror 9"])], [ports[0], None])
    burst = runner.run(burst_of(PLAIN))
    assert len(burst) == 6
    assert runtime.balance().drops["no_output"] == 10
    burst.clear()
    runner_of([("", ["forward 1"])], [ports[0], None]).run(burst_of(PLAIN))
    assert runtime.balance().drops["no_output"] == 20
    check_balance(runtime, ports)


def test_lists_and_mirrors_send_copies(runtime: Any, ports: list[Any]) -> None:
    """A copy shows the packet as it was: what is written later is written to another."""
    runner = runner_of([("ip_version == 4", ["mirror 0", "set ip_ttl=9", "forward 1,2"])], ports)
    burst = runner.run(burst_of(PLAIN))
    four = [p for p in PLAIN if IP in p]
    assert received(ports[0]) == [bytes(p) for p in four]
    changed = received(ports[1])
    assert changed == received(ports[2])
    for before, after in zip(four, changed, strict=True):
        assert Ether(after)[IP].ttl == 9
        assert rebuilt(after) == after
        assert Ether(after)[IP].payload == Ether(bytes(before))[IP].payload
    assert runtime.balance().copies == 2 * len(four)
    assert len(burst) == len(PLAIN) - len(four)
    check_balance(runtime, ports)


def test_a_pool_without_room_for_copies(runtime: Any, ports: list[Any], empty_pool) -> None:
    burst = burst_of(PLAIN[:1] * 8)
    fillers = empty_pool(runtime.pool, leave=2)
    runner = runner_of([("", ["mirror 0", "forward 1"])], ports)
    runner.run(burst)
    assert (len(received(ports[0])), len(received(ports[1]))) == (2, 8)
    assert runtime.balance().drops["no_mbuf"] == 6
    check_balance(runtime, ports)
    for filler in fillers:
        filler.clear()


def test_a_write_without_room_for_a_copy(runtime: Any, ports: list[Any], empty_pool) -> None:
    burst = burst_of(PLAIN[:1])
    fillers = empty_pool(runtime.pool, leave=1)
    runner_of([("", ["mirror 0", "dec_ttl", "forward 1"])], ports).run(burst)
    assert (len(received(ports[0])), len(received(ports[1]))) == (1, 0)
    assert runtime.balance().drops["no_mbuf"] == 1
    check_balance(runtime, ports)
    for filler in fillers:
        filler.clear()


NATS = ["nat src=192.0.2.77", "nat dst=192.0.2.77:8080", "nat src=2001:db8:ffff::9",
        "nat dst=[2001:db8:ffff::9]:8443", "nat src=10.0.0.1:1000", "nat src=255.255.255.255:65535",
        "nat dst=0.0.0.0:1"]  # fmt: skip


@pytest.mark.parametrize("text", NATS)
def test_nat_rewrites_and_checksums_follow(runtime: Any, text: str) -> None:
    (action,) = actions.parse([text])
    burst = runner_of([("", [text])]).run(burst_of(PLAIN))
    for before, after in zip(PLAIN, bytes_of(burst), strict=True):
        p = Ether(after)
        assert rebuilt(after) == after, p.summary()
        assert len(after) == len(bytes(before))
        network = IP if action.address.version == 4 else IPv6
        if network not in p:
            assert after == bytes(before)
            continue
        side = "src" if action.source else "dst"
        other = "dst" if action.source else "src"
        assert getattr(p[network], side) == str(action.address)
        assert getattr(p[network], other) == getattr(before[network], other)
        for layer in (TCP, UDP):
            if layer in p:
                was = Ether(bytes(before))[layer]
                port = "sport" if action.source else "dport"
                assert getattr(p[layer], port) == (action.port or getattr(was, port))
                assert bytes(p[layer].payload) == bytes(was.payload)
                if layer is UDP and was.chksum == 0:
                    assert p[layer].chksum == 0


def write_by_columns(raw: bytes, action: Any) -> bytes:
    """The same NAT by Burst.headers, which does not know it."""
    burst = vn.Burst.from_bytes([raw])
    h = burst.headers
    side = "src" if action.source else "dst"
    names = []
    if action.address.version == 4:
        getattr(h, f"ip_{side}")[:] = int(action.address)
        names.append(f"ip_{side}")
    else:
        getattr(h, f"ip6_{side}_hi")[:] = int(action.address) >> 64
        getattr(h, f"ip6_{side}_lo")[:] = int(action.address) & 2**64 - 1
        names += [f"ip6_{side}_hi", f"ip6_{side}_lo"]
    if action.port is not None:
        getattr(h, f"l4_{side}")[:] = action.port
        names.append(f"l4_{side}")
    h.write(*names, mask=h.ip_version == action.address.version)
    out = burst.to_bytes(0)
    burst.clear()
    return out


def test_nat_is_what_columns_write(runtime: Any) -> None:
    """The straight line for common shapes and the general writer agree, on broken packets too."""

    @given(st.data())
    def check(data: Any) -> None:
        raw = bytearray(bytes(data.draw(st.sampled_from(PLAIN))))
        for _ in range(data.draw(st.integers(0, 3))):
            raw[data.draw(st.integers(12, len(raw) - 1))] = data.draw(st.integers(0, 255))
        if data.draw(st.booleans()):
            raw = raw[: data.draw(st.integers(14, len(raw)))]
        text = data.draw(st.sampled_from(NATS))
        (action,) = actions.parse([text])
        burst = runner_of([("", [text])]).run(vn.Burst.from_bytes([bytes(raw)]))
        assert burst.to_bytes(0) == write_by_columns(bytes(raw), action)
        burst.clear()

    check()


def test_nat_of_fragments(runtime: Any) -> None:
    """The first has the ports; the others' bytes at that place are payload. Together they are a
    datagram with a right checksum."""
    whole = IP4 / UDP(sport=1, dport=2) / bytes(range(200))
    parts = [E / f for f in fragment(IP(bytes(whole)), 64)]
    assert len(parts) > 3
    burst = runner_of([("", ["nat dst=192.0.2.9:4000"])]).run(burst_of(parts))
    after = [Ether(b) for b in bytes_of(burst)]
    assert {p[IP].dst for p in after} == {"192.0.2.9"}
    for p, q in zip(parts[1:], after[1:], strict=True):
        assert bytes(q[IP].payload) == bytes(p[IP].payload)
    body = b"".join(bytes(p[IP].payload) for p in after)
    joined = bytes(E / IP(src="10.0.0.1", dst="192.0.2.9", proto=17) / body)
    assert Ether(joined)[UDP].dport == 4000
    assert rebuilt(joined)[-len(body) :] == body
    six = E / IP6 / IPv6ExtHdrFragment(offset=4, m=1, nh=17) / bytes(range(64))
    out = runner_of([("", ["nat src=[2001:db8::99]:9"])]).run(burst_of([six]))
    assert Ether(out.to_bytes(0))[IPv6].src == "2001:db8::99"
    assert out.to_bytes(0)[-64:] == bytes(range(64))
    burst.clear()


def test_set_writes_any_writable_column(runtime: Any) -> None:
    values = {"eth_dst": "02:00:00:00:00:99", "eth_src": "02:00:00:00:00:98", "vlan_id": "99",
              "vlan_pcp": "6", "ip_ttl": "3", "ip_dscp": "46", "ip_ecn": "1", "ip_id": "77",
              "ip_src": "192.0.2.1", "ip_dst": "192.0.2.2", "ip6_src": "2001:db8::a",
              "ip6_dst": "2001:db8::b", "ip6_flow_label": "5", "l4_src": "11", "l4_dst": "12",
              "tcp_seq": "13", "tcp_ack": "14", "tcp_flags": "syn", "tcp_window": "15"}  # fmt: skip
    assert {*values} - {"ip6_src", "ip6_dst"} == {n for n in vn.headers.fields.WRITABLE
                                                  if not n.startswith("ip6_s")
                                                  and not n.startswith("ip6_d")}  # fmt: skip
    rule = [f"set {name}={value}" for name, value in values.items()]
    burst = runner_of([("", rule)]).run(burst_of(PLAIN))
    assert all(rebuilt(raw) == raw for raw in bytes_of(burst))
    h = burst.headers
    assert (h.eth_dst == vn.mac("02:00:00:00:00:99")).all()
    four, six, tcp = h.ip_version == 4, h.ip_version == 6, h.ip_proto == vn.TCP
    assert (h.ip_src[four] == vn.ip("192.0.2.1")).all()
    assert (h.ip6_dst_lo[six] == 0xB).all()
    assert (h.ip_dscp[four | six] == 46).all()
    assert (h.vlan_id[h.vlan_depth > 0] == 99).all()
    assert (h.tcp_flags[tcp] == 2).all()
    assert (h.l4_dst[np.isin(h.ip_proto, (6, 17))] == 12).all()
    later = runner_of([("", ["set ip_ttl=3", "set ip_ttl=4"])]).run(burst)
    assert (later.headers.ip_ttl[four | six] == 4).all()


def test_ttl(runtime: Any, ports: list[Any]) -> None:
    packets = [E / IP(ttl=t) / UDP() for t in (0, 1, 2, 255)]
    packets += [E / IPv6(hlim=t) / UDP() for t in (0, 1, 2, 255)]
    packets += [E / Dot1Q() / IP(ttl=1) / UDP(), E / Dot1Q() / Dot1Q() / IPv6(hlim=9) / UDP(),
                E / IP(ttl=9, options=b"\x01\x01\x01\x01") / UDP(), PLAIN[9]]  # fmt: skip
    burst = runner_of([("", ["dec_ttl"])]).run(burst_of(packets))
    left = [Ether(b) for b in bytes_of(burst)]
    assert [(p.ttl if IP in p else p.hlim if IPv6 in p else None)
            for p in (q.getlayer(IP) or q.getlayer(IPv6) or q for q in left)] == [
        1, 254, 1, 254, 8, 8, None]  # fmt: skip
    assert all(rebuilt(bytes(p)) == bytes(p) for p in left)
    assert runtime.balance().drops["ttl"] == 5
    check_balance(runtime, ports)


def test_vlan_tags(runtime: Any) -> None:
    burst = runner_of([("", ["push_vlan 100/5"])]).run(burst_of(PLAIN))
    assert [Ether(b)[Dot1Q].vlan for b in bytes_of(burst)] == [100] * len(PLAIN)
    assert (burst.headers.vlan_pcp == 5).all()
    burst = runner_of([("", ["pop_vlan"])]).run(burst)
    assert bytes_of(burst) == [bytes(p) for p in PLAIN]
    burst = runner_of([("", ["pop_vlan", "pop_vlan", "push_vlan 9", "set vlan_id=10"])]).run(burst)
    assert (burst.headers.vlan_id == 10).all()
    assert (burst.headers.vlan_depth == 1).all()
    burst.clear()
    rule = ["push_vlan 1", "pop_vlan", "dec_ttl", "nat src=1.2.3.4", "set l4_dst=1",
            "set eth_dst=02:00:00:00:00:07", "sample 1/1 mirror 0"]  # fmt: skip
    runts = runner_of([("", rule)]).run(vn.Burst.from_bytes([b"x", b"y" * 13]))
    assert bytes_of(runts) == [b"x", b"y" * 13]


def test_marks(runtime: Any) -> None:
    burst = runner_of([("ip_proto == tcp", ["mark 0"]), ("ip_version == 6", ["mark 4294967295"])]
                      ).run(burst_of(PLAIN))  # fmt: skip
    assert marks(burst).tolist() == [-1, -1, 0, 2**32 - 1, 0, 2**32 - 1, 0, 2**32 - 1, -1, -1]


def test_queues(runtime: Any) -> None:
    """net_null swallows; its queues count. A queue that a port lacks is one that it has."""
    port = runtime.add_port("null", queues=2)
    runner = runner_of(
        [
            ("ip_proto == tcp", ["queue 1", "forward 0"]),
            ("ip_version == 6", ["queue 5", "forward 0"]),
            ("", ["forward 0"]),
        ],
        [port],
    )
    runner.run(burst_of(PLAIN))
    assert port.stats["tx_packets"] == len(PLAIN)
    assert runtime.balance().balanced


def test_sampling_is_exact(runtime: Any, ports: list[Any], make_frames) -> None:
    runner = runner_of([("", ["sample 1/7 mirror 2", "sample 1/3 drop sampled", "forward 1"])],
                       ports)  # fmt: skip
    frames = make_frames(250)
    for k in range(0, 250, 50):
        runner.run(vn.Burst.from_bytes(frames[k : k + 50]))
    assert received(ports[2]) == frames[6::7]
    assert received(ports[1]) == [f for k, f in enumerate(frames, 1) if k % 3]
    assert runtime.balance().drops["sampled"] == 250 // 3
    check_balance(runtime, ports)


def test_packets_of_rate_limits(runtime: Any, ports: list[Any], make_frames) -> None:
    """A burst's worth passes; at 1 packet a second nothing more while the test runs."""
    frames = make_frames(100, 100)
    for text, passed in (("rate_limit 1pps burst=30", 30), ("rate_limit 8bit burst=1050", 10)):
        before = runtime.balance().drops.get("rate", 0)
        burst = runner_of([("", [text])], ports).run(vn.Burst.from_bytes(frames))
        assert bytes_of(burst) == frames[:passed]
        assert runtime.balance().drops["rate"] - before == 100 - passed
        burst.clear()
    check_balance(runtime, ports)


def test_red_packets_are_dropped(runtime: Any, ports: list[Any], make_frames) -> None:
    """Metered are the bytes after Ethernet header and tags: 86 of 100."""
    meters = actions.make_meters({"m": {"cir": 1, "cbs": 860, "ebs": 430}})
    runner = runner_of([("", ["meter m", "forward 1"])], ports, meters=meters)
    runner.run(vn.Burst.from_bytes(make_frames(100, 100)))
    assert len(received(ports[1])) == 15
    assert meters["m"].stats() == {"green": (10, 860), "yellow": (5, 430), "red": (85, 7310)}
    assert runtime.balance().drops["meter"] == 85
    burst = runner_of([("", ["meter m"])], meters=meters).run(
        burst_of([E / Dot1Q() / Dot1Q() / bytes(40)]))  # fmt: skip
    assert meters["m"].stats()["red"] == (86, 7350)
    assert not burst
    check_balance(runtime, ports)


# -- Python ---------------------------------------------------------------------------------------

SEEN: list[Any] = []


def odd_ports(burst: Any) -> None:
    """Keeps packets to odd ports."""
    SEEN.append(len(burst))
    burst.drop(burst.headers.l4_dst % 2 == 0, reason="even")


def fails(burst: Any) -> None:
    raise RuntimeError("of the function")


def test_python_functions_get_bursts_and_the_rest_runs_after(
    runtime: Any, ports: list[Any], monkeypatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "my_rules", sys.modules[__name__])
    SEEN.clear()
    runner = runner_of([("ip_proto == udp", ["python:my_rules.odd_ports", "set l4_dst=9"]),
                        ("ip_proto == tcp", ["sample 1/2 python:my_rules.odd_ports", "forward 1"]),
                        ], ports)  # fmt: skip
    burst = runner.run(burst_of(PLAIN))
    assert SEEN == [4, 1]
    assert (burst.headers.l4_dst.tolist()) == [0, 0, 0, 9, 9, 9, 9]
    assert len(received(ports[1])) == 2
    assert runtime.balance().drops["even"] == 1
    check_balance(runtime, ports)
    broken = runner_of([("ip_proto == udp", ["python:my_rules.fails"]),
                        ("ip_proto == tcp", ["python:my_rules.odd_ports"])], ports)  # fmt: skip
    burst.clear()
    burst = burst_of(PLAIN)
    with pytest.raises(RuntimeError, match="of the function"):
        broken.run(burst)
    assert len(burst) == 3
    assert runtime.balance().balanced


def test_what_forbids_it(runtime: Any, ports: list[Any]) -> None:
    runner = runner_of([("", ["drop"])], ports)
    burst = burst_of(PLAIN)
    view = burst.view(0)
    with pytest.raises(vn.ViewError):
        runner.run(burst)
    assert len(burst) == len(PLAIN)
    view.release()
    del view
    with pytest.raises(vn.ConfigError):
        ActionRunner(table_of([]), 192)
    ports[1].close()
    with pytest.raises(vn.StateError):
        runner.run(burst)
    burst.clear()


# -- combinations ---------------------------------------------------------------------------------

STEPS = ["set ip_ttl=7", "set eth_src=02:00:00:00:00:55", "nat src=192.0.2.1:99", "push_vlan 5",
         "nat dst=2001:db8::5", "pop_vlan", "dec_ttl", "mark 3", "count", "mirror 0", "mirror 2",
         "sample 1/2 mirror 1", "sample 1/3 drop sampled", "sample 1/2 forward 2"]  # fmt: skip
ENDS = [["drop"], ["forward 0"], ["forward 1"], ["forward 0,1,2"], ["queue 0", "forward 2"], []]


def test_any_combination_keeps_the_account_and_the_order(runtime: Any, ports: list[Any]) -> None:
    packets = [bytes(p) for p in PLAIN]

    @settings(max_examples=100)
    @given(st.data())
    def check(data: Any) -> None:
        rng = random.Random(data.draw(st.integers(0, 1000)))
        matches = ["ip_proto == udp", "ip_proto == tcp", "ip_version == 6", "vlan_depth > 0", ""]
        rules = [
            (m, [*data.draw(st.lists(st.sampled_from(STEPS), max_size=4)),
                 *data.draw(st.sampled_from(ENDS))])
            for m in data.draw(st.permutations(matches))[: data.draw(st.integers(1, 5))]
        ]  # fmt: skip
        runner = runner_of(rules, ports)
        frames = [rng.choice(packets) for _ in range(20)]
        # A number behind each Ethernet header's last byte of source would be rewritten: the order
        # is told by the destination address.
        frames = [bytes((2, 0, 0, 0, 9, k)) + f[6:] for k, f in enumerate(frames)]
        burst = runner.run(vn.Burst.from_bytes(frames))
        totals = runtime.balance()
        assert totals.balanced
        assert sum(counts(runner.table, k)[0] for k in range(len(rules))) + runner.missed[0] == 20
        kept = bytes_of(burst)
        outs = [received(p) for p in ports]
        for frames_out in (kept, *outs):
            order = [f[5] for f in frames_out]
            assert order == sorted(order)
            assert all(rebuilt(f) == f for f in frames_out)
        assert max(Counter(f[5] for f in kept).values(), default=1) == 1
        burst.clear()

    check()


def test_fragments_of_all_shapes_survive(runtime: Any, ports: list[Any]) -> None:
    """Packets whole and cut anywhere, through every action: no crash, an account
    that holds, and no more than the frame changed in size."""
    rng = random.Random(4)
    rule = [
        "dec_ttl",
        "nat src=192.0.2.1:99",
        "nat dst=[2001:db8::5]:7",
        "set tcp_window=1",
        "set vlan_id=3",
        "mirror 0",
        "push_vlan 4",
        "set ip_dscp=1",
        "pop_vlan",
        "forward 1",
    ]
    runner = runner_of([("", rule)], ports)
    for _ in range(20):
        frames = []
        for _ in range(50):
            frame = bytes(rng.choice(PLAIN)) + rng.randbytes(rng.randrange(8))
            frames.append(frame[: rng.randrange(1, len(frame) + 1)])
        burst = runner.run(vn.Burst.from_bytes(frames))
        assert not burst
        assert len(received(ports[0])) >= len(received(ports[1]))
    check_balance(runtime, ports)
