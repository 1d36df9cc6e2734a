"""Each stage against what is not ours: libpcap, scapy, numpy, arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from libpcap import pcap_filter
from pipelines import frame, number, through, traffic
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Dot1Q, Ether

import veridnet as vn
from veridnet._native.actions import Meter
from veridnet.pcap import scan

Make = Callable[[list[Any]], vn.Pipeline]
TRAFFIC = traffic(1000)


@pytest.fixture
def run(runtime: vn.Runtime, tmp_path: Path, write_pcap: Any, frames_of: Any) -> Callable[..., Any]:
    """``run(make, frames, outs=2, **options)``: what ports 1.. sent, the drops, what ran."""

    def do(make: Make, frames: list[bytes] = TRAFFIC, outs: int = 2, **options: Any) -> Any:
        source = write_pcap(tmp_path / "in.pcap", frames)
        before = runtime.balance()
        paths, running, _ = through(runtime, tmp_path, source, make, outs=outs, **options)
        now = runtime.balance()
        assert now.rx - before.rx == len(frames)
        drops = {r: n - before.drops.get(r, 0) for r, n in now.drops.items()}
        return [frames_of(p) for p in paths], {r: n for r, n in drops.items() if n}, running

    return do


@pytest.fixture(scope="module")
def real(request: pytest.FixtureRequest) -> list[bytes]:
    """Every different frame of the shared Ethernet traces that a pcap port takes."""
    paths = request.getfixturevalue("shared_traces")
    frames_of = request.getfixturevalue("frames_of")
    found = [path for path in paths if scan(path).linktype == 1]
    frames = dict.fromkeys(f for path in found for f in frames_of(path) if 14 <= len(f) <= 1518)
    return list(frames)


# -- looking --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["tcp", "udp port 53", "not ip", "ip6", "vlan", "icmp or icmp6", "tcp[tcpflags] & tcp-syn != 0",
     "ip[6:2] & 0x1fff != 0", "greater 200", "host 10.0.0.1 or net 192.168.0.0/16"],
)  # fmt: skip
def test_filter_and_drop_agree_with_libpcap(run: Any, real: list[bytes], text: str) -> None:
    wanted = pcap_filter(text, real)
    yes = [f for f, w in zip(real, wanted, strict=True) if w]
    no = [f for f, w in zip(real, wanted, strict=True) if not w]
    expression = text
    out, drops, _ = run(lambda p: vn.Pipeline(rx=[p[0]]).filter(expression).forward(p[1]), real)
    assert out == [yes, []]
    assert drops == ({"filtered": len(no)} if no else {})
    out, drops, _ = run(
        lambda p: vn.Pipeline(rx=[p[0]]).drop(expression, reason="unwanted").forward(p[1]), real
    )
    assert out == [no, []]
    assert drops == ({"unwanted": len(yes)} if yes else {})


def test_drop_all_and_no_output(run: Any) -> None:
    out, drops, _ = run(lambda p: vn.Pipeline(rx=[p[0]]).drop(reason="mine"))
    assert (out, drops) == ([[], []], {"mine": 1000})
    out, drops, _ = run(lambda p: vn.Pipeline(rx=[p[0]]).parse("ipv4").filter("ip"))
    assert drops["no_output"] == sum(pcap_filter("ip", TRAFFIC))
    # A pipeline without stages, and one whose map has no way for this input.
    assert run(lambda p: vn.Pipeline(rx=[p[0]]))[1] == {"no_output": 1000}
    out = run(lambda p: vn.Pipeline(rx=[p[0]], ports=p).forward({p[1]: p[0]}))
    assert out[1] == {"no_output": 1000}


def winners(table: vn.FlowTable, frames: list[bytes]) -> list[int]:
    burst = vn.Burst.from_bytes(frames)
    ids: list[int] = table.classify(burst).tolist()
    burst.clear()
    return ids


def rules() -> list[vn.Rule]:
    return [vn.Rule("l4_dst == 53", priority=3), vn.Rule("vlan_id == 7", priority=2),
            vn.Rule("ip_src in 10.0.0.4..10.0.0.9", priority=1)]  # fmt: skip


@pytest.mark.parametrize("burst", [1, 32, 512])
@pytest.mark.parametrize("flow_cache", [True, False])
def test_classify_says_what_the_table_says(run: Any, burst: int, flow_cache: bool) -> None:
    seen: list[int] = []

    def note(h: Any, ids: Any) -> None:
        assert ids.dtype == np.int32
        assert len(ids) == len(h)
        seen.extend(ids.tolist())

    with vn.FlowTable(rules()) as table:
        run(lambda p: vn.Pipeline(rx=[p[0]]).classify(table, flow_cache=flow_cache)
            .stage(note, takes="headers+rules").forward(p[1]), burst=burst)  # fmt: skip
        assert seen == winners(table, TRAFFIC)
    assert set(seen) == {-1, 0, 1, 2}


def test_classify_of_classbench_rules(run: Any, real: list[bytes]) -> None:
    from conftest import SHARED

    path = SHARED / "rules" / "acl1_1k"
    if not path.exists():
        pytest.skip("the shared rules (../shared/rules) are not here")
    from veridnet.rules import formats

    seen: list[int] = []
    with vn.FlowTable(formats.load(path, "classbench").rules) as table:
        run(lambda p: vn.Pipeline(rx=[p[0]]).classify(table)
            .stage(lambda h, ids: seen.extend(ids.tolist()), takes="headers+rules")
            .forward(p[1]), real)  # fmt: skip
        assert seen == winners(table, real)


def test_apply(run: Any) -> None:
    """As the rules say: their drops, ports by name and number; the rest goes on."""
    with vn.FlowTable([vn.Rule("l4_dst == 53", ["drop"], priority=2),
                       vn.Rule("l4_dst == 80", ["dec_ttl", "forward 2"]),
                       vn.Rule("l4_dst == 22", ["set ip_dscp=46"])]) as table:  # fmt: skip
        out, drops, running = run(
            lambda p: vn.Pipeline(rx=[p[0]], ports=p).apply(table).forward(p[1])
        )
    port = [Ether(f)[UDP].dport if UDP in Ether(f) else None for f in TRAFFIC]
    assert drops == {"rule": port.count(53)}
    assert [number(f) for f in out[0]] == [
        number(f) for f, d in zip(TRAFFIC, port, strict=True) if d not in (53, 80)]  # fmt: skip
    assert [Ether(f)[IP].ttl for f in out[1]] == [63] * port.count(80)
    for raw in out[0]:
        if UDP in (p := Ether(raw)):
            assert (p[IP].tos >> 2 == 46) == (p[UDP].dport == 22)
    missed = sum(d not in (53, 80, 22) for d in port)
    assert running.missed()[0] == missed


# -- changing -------------------------------------------------------------------------------------


def scapy_frames() -> list[bytes]:
    made = []
    for k in range(200):
        layer = (UDP, TCP)[k % 2](sport=1000 + k, dport=80)
        p = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
        if k % 3 == 0:
            p /= Dot1Q(vlan=k, prio=k % 8)
        made.append(bytes(p / IP(src="10.0.0.1", dst=f"10.0.1.{k}", ttl=2 + k % 60) / layer
                          / bytes(range(k % 100))))  # fmt: skip
    return made


def again(p: Any) -> bytes:
    """The packet with its lengths and checksums computed anew by scapy."""
    for layer in (IP, TCP, UDP):
        if layer in p:
            del p[layer].chksum
    return bytes(p)


def changed(change: Callable[[Any], Any]) -> list[bytes]:
    return [again(change(Ether(f))) for f in scapy_frames()]


def ttl(p: Any) -> Any:
    p[IP].ttl -= 1
    return p


def nat(p: Any) -> Any:
    p[IP].src = "192.0.2.1"
    p[UDP if UDP in p else TCP].sport = 99
    return p


def push(p: Any) -> Any:
    inner = p.payload
    tag = Dot1Q(vlan=100, type=p.type) / inner
    return Ether(src=p.src, dst=p.dst, type=0x8100) / tag


def pop(p: Any) -> Any:
    if Dot1Q not in p:
        return p
    return Ether(src=p.src, dst=p.dst, type=p[Dot1Q].type) / p[Dot1Q].payload


def macs(p: Any) -> Any:
    p.src, p.dst = p.dst, p.src
    return p


def columns(p: Any) -> Any:
    p.dst = "02:aa:00:00:00:01"
    p[IP].dst = "10.9.9.9"
    p[IP].tos = 46 << 2
    return p


@pytest.mark.parametrize(
    ("args", "options", "change"),
    [(["dec_ttl"], {}, ttl), (["nat src=192.0.2.1:99"], {}, nat), (["push_vlan 100"], {}, push),
     (["pop_vlan"], {}, pop), ([], {"swap_macs": True}, macs),
     (["dec_ttl", "set ip_dscp=46"], {"eth_dst": "02:aa:00:00:00:01", "ip_dst": "10.9.9.9"},
      lambda p: columns(ttl(p)))],
    ids=["ttl", "nat", "push", "pop", "macs", "columns"],
)  # fmt: skip
@pytest.mark.parametrize("shared", [False, True])
def test_rewrite_as_scapy(run: Any, args: list[str], options: dict[str, Any], change: Any,
                          shared: bool) -> None:  # fmt: skip
    """`shared`: the packet's copy at port 2 was made before, and stays as it was."""

    def make(p: list[Any]) -> vn.Pipeline:
        pipe = vn.Pipeline(rx=[p[0]])
        pipe = pipe.mirror(p[2]) if shared else pipe
        return pipe.rewrite(*args, **options).forward(p[1])

    out, drops, _ = run(make, scapy_frames())
    assert out[0] == changed(change)
    assert out[1] == (scapy_frames() if shared else [])
    assert drops == {}


def test_rewrite_drops_what_has_no_ttl_left(run: Any) -> None:
    frames = [bytes(Ether() / IP(ttl=k % 3) / UDP() / bytes(30)) for k in range(99)]
    out, drops, _ = run(lambda p: vn.Pipeline(rx=[p[0]]).rewrite("dec_ttl").forward(p[1]), frames)
    assert [Ether(f)[IP].ttl for f in out[0]] == [1] * 33
    assert drops == {"ttl": 66}


def test_set_macs_by_input(run: Any) -> None:
    raw = bytes(range(12))
    out, *_ = run(lambda p: vn.Pipeline(rx=[p[0]]).set_macs({p[0]: raw}).forward({p[0]: p[2]}))
    assert out == [[], [raw + f[12:] for f in TRAFFIC]]


# -- rates ----------------------------------------------------------------------------------------


def test_meter_drops_red(run: Any) -> None:
    """RFC 2697 with next to no rate: what fits into the two buckets goes on, in IP bytes."""
    frames = [frame(0, k, 100) for k in range(200)]
    size = 100 - 14
    meter = {"cir": 1, "cbs": 20 * size, "ebs": 10 * size}
    out, drops, _ = run(lambda p: vn.Pipeline(rx=[p[0]]).meter(**meter).forward(p[1]), frames)
    assert out[0] == frames[:30]
    assert drops == {"meter": 170}
    # A meter that two stages share is emptied by both.
    one = Meter("srtcm", **meter)
    out, drops, _ = run(
        lambda p: vn.Pipeline(rx=[p[0]]).meter(one).meter(one).forward(p[1]), frames, burst=1
    )
    assert len(out[0]) == 15
    assert drops == {"meter": 185}


def test_limit(run: Any) -> None:
    """A bucket of ten packets that fills once a second at most."""
    out, drops, _ = run(
        lambda p: vn.Pipeline(rx=[p[0]]).limit("1pps burst=10").forward(p[1]), [*TRAFFIC[:100]]
    )
    assert 10 <= len(out[0]) < 50
    assert out[0] == TRAFFIC[: len(out[0])] or len(out[0]) > 10
    assert drops == {"rate": 100 - len(out[0])}


# -- by port, ring, bridge ------------------------------------------------------------------------


def test_forward_by_number_name_and_map(run: Any) -> None:
    for target in (lambda p: 1, lambda p: p[1].name, lambda p: p[1], lambda p: {p[0]: p[1]},
                   lambda p: {p[0].name: p[1].name}):  # fmt: skip
        out, drops, _ = run(
            lambda p, target=target: vn.Pipeline(rx=[p[0]], ports=p).forward(target(p)),
            TRAFFIC[:100],
        )
        assert (out, drops) == ([TRAFFIC[:100], []], {})


def test_bridge_learns(run: Any) -> None:
    """Unknown: everywhere but where it came from. Known: there; where it came from: nowhere."""
    a, b = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
    one = bytes(Ether(src=a, dst=b, type=0x88B5) / bytes(46))
    other = bytes(Ether(src=b, dst=a, type=0x88B5) / bytes(46))
    link_local = bytes(Ether(src=a, dst="01:80:c2:00:00:0e", type=0x88CC) / bytes(46))
    out, drops, running = run(
        lambda p: vn.Pipeline(rx=[p[0]], ports=p).bridge(), [one, other, one, link_local], burst=1
    )
    assert out == [[one], [one]]
    assert drops == {"same_port": 2, "link_local": 1}
    assert running.bridges[0].counters()["stations"] == 2
