"""Hardware and software together against software alone, on a port that is none.

The port (`tests/flow_double.py`) matches packets' bytes; software matches the columns of the plain
parser. Nothing of what the two have in common is veridnet's offloading.
"""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent.parent))

from flow_double import Nic, RecordingApi

from veridnet.headers import reference
from veridnet.rules.flows import Box
from veridnet.rules.offload import Entry, Offloaded

FULL = {8: 0xFF, 16: 0xFFFF, 32: 0xFFFFFFFF, 64: (1 << 64) - 1}
MACS = (0x020000000001, 0x020000000002)
NETS = (0x0A000001, 0x0A000102, 0x0B000001)
PORTS = (0, 53, 80, 81, 443)


# -- packets --------------------------------------------------------------------------------------


def make_frame(rng: random.Random) -> bytes:
    """A frame of few different values, so that rules meet it; sometimes odd in some way."""
    pick = rng.choice
    proto = pick((6, 6, 17, 17, 132, 1, 50, 47, 99))
    ports = pick(PORTS).to_bytes(2, "big") + pick(PORTS).to_bytes(2, "big")
    l4 = {
        6: ports + bytes(8) + bytes([pick((0x50, 0x50, 0x50, 0x40, 0x60)), pick((2, 16, 18))])
        + bytes(6),
        17: ports + pick((b"\0\x10", b"\0\x10", b"\0\x04")) + bytes(10),
        132: ports + bytes(16),
        1: bytes([pick((0, 8)), pick((0, 1))]) + bytes(6),
        50: pick((1, 2)).to_bytes(4, "big") + bytes(8),
    }.get(proto, bytes(16))  # fmt: skip
    net = pick((4, 4, 4, 6, 6, "arp", "mpls", "other", "llc"))
    if net in (4, "mpls"):
        options = bytes(4) if rng.random() < 0.15 else b""
        length = 20 + len(options) + len(l4)
        if rng.random() < 0.1:
            length = pick((10, 22, length + 60))
        fragment = pick((0, 0, 0, 0, 0x4000, 0x2000, 0x2001, 3))
        body = bytes([0x45 + len(options) // 4, pick((0, 0x28, 0x29))]) + length.to_bytes(2, "big")
        body += b"\0\1" + fragment.to_bytes(2, "big") + bytes([pick((1, 64)), proto]) + bytes(2)
        body += pick(NETS).to_bytes(4, "big") + pick(NETS).to_bytes(4, "big") + options + l4
        kind = 0x0800
        if net == "mpls":
            labels = [pick((5, 6)) << 12 | 64] * pick((1, 2))
            labels[-1] |= 0x100
            body = b"".join(label.to_bytes(4, "big") for label in labels) + body
            kind = pick((0x8847, 0x8848))
    elif net == 6:
        proto = {1: 58}.get(proto, proto)
        first, extension = proto, b""
        if rng.random() < 0.2:
            first, extension = pick((0, 60)), bytes([proto, 0, 1, 4, 0, 0, 0, 0])
        elif rng.random() < 0.1:
            first, extension = 44, bytes([proto, 0, 0, pick((0, 1, 9)), 0, 0, 0, 7])
        length = len(extension) + len(l4)
        if rng.random() < 0.1:
            length = pick((4, length + 60))
        body = (0x60000000 | pick((0, 0x28, 0x29)) << 20 | pick((0, 9))).to_bytes(4, "big")
        body += length.to_bytes(2, "big") + bytes([first, pick((1, 64))])
        body += (0x20010DB8 << 96 | pick((1, 2))).to_bytes(16, "big")
        body += (0x20010DB8 << 96 | pick((1, 2))).to_bytes(16, "big") + extension + l4
        kind = 0x86DD
    elif net == "arp":
        kind, op = 0x0806, pick((1, 2))
        body = pick((b"\0\1\x08\0\6\4", b"\0\1\x08\0\6\4", b"\0\6\x08\0\6\4"))
        body += bytes([0, op]) + MACS[0].to_bytes(6, "big") + pick(NETS).to_bytes(4, "big")
        body += bytes(6) + pick(NETS).to_bytes(4, "big")
    elif net == "other":
        kind, body = pick((0x88B5, 0x88CC)), bytes(20)
    else:
        kind, body = 40, bytes(40)
    tags = b"".join(
        pick((b"\x81\0", b"\x81\0", b"\x88\xa8", b"\x91\0"))
        + (pick((0, 5)) << 13 | pick((7, 8, 0))).to_bytes(2, "big")
        for _ in range(pick((0, 0, 0, 0, 1, 1, 2, 3)))
    )
    frame = pick(MACS).to_bytes(6, "big") + pick(MACS).to_bytes(6, "big") + tags
    return (frame + kind.to_bytes(2, "big") + body).ljust(60, b"\0")


# -- rules ----------------------------------------------------------------------------------------


def exact(bits: int, *choices: int) -> st.SearchStrategy[tuple[int, int, int]]:
    return st.sampled_from(choices).map(lambda v: (FULL[bits], v, v))


def spans(bits: int, *pairs: tuple[int, int]) -> st.SearchStrategy[tuple[int, int, int]]:
    return st.sampled_from(pairs).map(lambda pair: (FULL[bits], *pair))


def masked(*pairs: tuple[int, int]) -> st.SearchStrategy[tuple[int, int, int]]:
    return st.sampled_from(pairs).map(lambda pair: (pair[0], pair[1], pair[1]))


PORT_RANGES = exact(16, *PORTS) | spans(16, (80, 443), (0, 80), (1, 65535), (53, 80))
NET_RANGES = exact(32, *NETS) | spans(
    32, (0x0A000000, 0x0AFFFFFF), (0x0A000000, 0x0A0000FF), (0x0A000002, 0x0B000001)
)
COLUMNS = {
    "in_port": exact(16, 0, 0, 1),
    "eth_dst": exact(64, *MACS) | masked((1, 0), (0xFF0000000001, 0x020000000001)),
    "eth_src": exact(64, *MACS),
    "ethertype": exact(16, 0x0800, 0x86DD, 0x0806, 0x88B5, 0) | spans(16, (0x0600, 0x86DD),
                                                                      (0x86DE, 0xFFFF)),
    "vlan_depth": exact(8, 0, 0, 0, 1, 2),
    "vlan_id": exact(16, 7, 8, 0) | spans(16, (7, 8), (5, 30), (1, 4095)),
    "vlan_pcp": exact(8, 5, 0),
    "vlan2_id": exact(16, 7, 0),
    "mpls_depth": exact(8, 0, 1),
    "mpls_label": exact(32, 5, 6),
    "arp_op": exact(16, 1, 2),
    "arp_spa": NET_RANGES,
    "ip_version": exact(8, 4, 4, 6, 0),
    "ip_proto": exact(8, 6, 17, 132, 1, 58, 0, 44) | spans(8, (6, 17)),
    "ip_ttl": exact(8, 64) | spans(8, (0, 4), (5, 255)),
    "ip_dscp": exact(8, 10, 0) | spans(8, (1, 20)),
    "ip_ecn": exact(8, 1),
    "ip_len": spans(16, (0, 40), (41, 65535)),
    "ip_src": NET_RANGES,
    "ip_dst": NET_RANGES,
    "ip_flags": masked((2, 2), (1, 0)),
    "ip_frag_off": exact(16, 0),
    "ip6_src_hi": exact(64, 0x20010DB8 << 32),
    "ip6_dst_lo": exact(64, 1, 2) | spans(64, (0, 1), (2, 7)),
    "ip6_next": exact(8, 6, 17),
    "ip6_ext": exact(8, 0, 1),
    "frag": exact(8, 0, 1),
    "error": exact(8, 0),
    "l4_src": PORT_RANGES,
    "l4_dst": PORT_RANGES,
    "tcp_flags": masked((2, 2), (18, 2)),
    "icmp_type": exact(8, 8, 0),
    "ipsec_spi": exact(32, 1),
    "wire_len": spans(32, (0, 70)),
}  # fmt: skip

#: Boxes as pcap's primitives make them: columns that go together.
TYPICAL = (
    ("ethertype", "ip_version", "ip_proto", "l4_dst"),
    ("vlan_depth", "ethertype", "ip_src"),
    ("ip_proto", "l4_dst"),
    ("ip_src", "ip_dst"),
    ("ip_src", "l4_dst"),
    ("l4_src", "l4_dst", "ip_proto"),
    ("vlan_id", "ip_dst"),
    ("eth_dst",),
    ("eth_src", "eth_dst"),
    ("vlan_depth", "ethertype", "ip_frag_off", "ip_proto", "l4_dst"),
    ("arp_spa", "arp_op"),
    (),
)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    if draw(st.integers(0, 3)):
        chosen = draw(st.sampled_from(TYPICAL))
        extra = draw(st.lists(st.sampled_from(sorted(COLUMNS)), max_size=1))
    else:
        chosen, extra = (), draw(st.lists(st.sampled_from(sorted(COLUMNS)), max_size=3))
    return {column: draw(COLUMNS[column]) for column in {*chosen, *extra}}


ACTIONS = (("drop",), ("count", "drop"), ("forward 1",), ("mark 3", "forward 1"), ())


@st.composite
def entries(draw: st.DrawFn, number: int) -> Entry:
    union = draw(st.none() if draw(st.integers(0, 40)) == 0 else
                 st.lists(boxes(), min_size=1, max_size=2))  # fmt: skip
    return Entry(
        number, draw(st.integers(0, 3)), number, None if union is None else tuple(union),
        draw(st.sampled_from(ACTIONS)), draw(st.sampled_from((0.0, 0.0, 0.0, 9.0))),
    )  # fmt: skip


@st.composite
def nics(draw: st.DrawFn) -> Nic:
    optional = ("vlan", "mpls", "arp_eth_ipv4", "ipv6", "sctp", "icmp", "icmp6", "esp", "ipv4.dscp",
                "ipv4.frag_off", "eth.src", "eth.has_vlan", "tcp.flags", "drop", "rss")  # fmt: skip
    nic = Nic(
        n_rx_queues=draw(st.sampled_from((1, 4))),
        capacity=draw(st.sampled_from((1000, 1000, 8, 2))),
        priorities=draw(st.sampled_from((1000, 1000, 1, 2))),
        without=frozenset(draw(st.lists(st.sampled_from(optional), max_size=2))),
        ranges=draw(st.booleans()),
        counts=draw(st.booleans()),
        lies=draw(st.booleans()),
        tag_types=frozenset(draw(st.sampled_from(((0x8100, 0x88A8), (0x8100, 0x88A8, 0x9100))))),
        first_fragments=draw(st.booleans()),
        through_extensions=draw(st.booleans()),
    )
    if not nic.counts:  # it never drops, so that marks are all that can be wrong
        nic.honours_has_vlan = draw(st.booleans())
        nic.through_tags = draw(st.booleans())
        nic.careless = draw(st.booleans())
    return nic


# -- both ways ------------------------------------------------------------------------------------


class Software:
    """The naive look-up."""

    def __init__(self, rules: dict[int, Entry]) -> None:
        self.rules = sorted(rules.values(), key=lambda e: (-e.priority, e.place))

    def winner(self, columns: dict[str, int], raw: int) -> int:
        for entry in self.rules:
            if entry.boxes is None:  # a BPF program; here: an odd sum of bytes
                if raw & 1:
                    return entry.id
            elif any(
                all(lo <= columns[column] & mask <= hi for column, (mask, lo, hi) in box.items())
                for box in entry.boxes
            ):
                return entry.id
        return -1


class Traffic:
    def __init__(self, seed: int, n: int) -> None:
        rng = random.Random(seed)
        self.frames = [make_frame(rng) for _ in range(n)]
        self.columns = [reference.parse(frame) for frame in self.frames]
        for columns in self.columns:
            columns["in_port"] = 0

    def together(
        self, i: int, off: Offloaded, api: RecordingApi, software: Software
    ) -> tuple[int, bool]:
        """(rule that frame i met, did the port drop it?)"""
        c = self.columns[i]
        dropped_by, mark = api.receive(self.frames[i], tie=i)
        if dropped_by is not None:
            rule = [f.rule for r in off._rules.values() for f in r.flows if f.handle is dropped_by]
            return rule[0], True
        found = int(off.ids([mark], [c["error"]], [c["frag"]], [c["ip6_ext"]],
                            [c["vlan_depth"]])[0])  # fmt: skip
        return (found if found >= 0 else self.alone(i, software)), False

    def alone(self, i: int, software: Software) -> int:
        return software.winner(self.columns[i], sum(self.frames[i]))


def check(traffic: Traffic, off: Offloaded, api: RecordingApi, rules: dict[int, Entry]) -> int:
    """Every frame meets the same rule; returns how many the port found."""
    software = Software(rules)
    counted: dict[int, list[int]] = {}
    before = off.counters()
    found = 0
    for i, frame in enumerate(traffic.frames):
        want = traffic.alone(i, software)
        got, dropped = traffic.together(i, off, api, software)
        assert got == want, (frame.hex(), traffic.columns[i], off.flows(), rules)
        if dropped:
            found += 1
            assert rules[want].drops
            count = counted.setdefault(want, [0, 0])
            count[0] += 1
            count[1] += len(frame)
    after = off.counters()
    for number, (packets, size) in after.items():
        old = before.get(number, (0, 0))
        assert [packets - old[0], size - old[1]] == counted.get(number, [0, 0])
    return found


@settings(max_examples=100)
@given(st.data())
def test_same_result(data: st.DataObject) -> None:
    rules = {n: data.draw(entries(n)) for n in range(data.draw(st.integers(1, 8)))}
    nic, api = data.draw(nics()), RecordingApi()
    off = Offloaded(rules.values(), nic, api, trust_port=False, queues=nic.n_rx_queues)
    traffic = Traffic(data.draw(st.integers(0, 1 << 32)), 60)
    check(traffic, off, api, rules)
    off.release()
    assert not api.flows
    assert (off.marks == -1).all()


@settings(max_examples=40)
@given(st.data())
def test_same_result_through_updates(data: st.DataObject) -> None:
    rules = {n: data.draw(entries(n)) for n in range(data.draw(st.integers(1, 6)))}
    nic, api = data.draw(nics()), RecordingApi()
    off = Offloaded(rules.values(), nic, api, trust_port=False, queues=nic.n_rx_queues)
    traffic = Traffic(data.draw(st.integers(0, 1 << 32)), 25)
    number = 6
    for _ in range(data.draw(st.integers(1, 4))):
        changes: dict[int, Entry | None] = {}
        for _ in range(data.draw(st.integers(1, 3))):
            how = data.draw(st.sampled_from("add remove replace move".split()))
            if how == "add" or not rules:
                changes[number] = data.draw(entries(number))
                number += 1
                continue
            old = data.draw(st.sampled_from(sorted(rules)))
            if how == "remove":
                changes[old] = None
            elif how == "move":
                changes[old] = replace(rules[old], priority=data.draw(st.integers(0, 3)))
            else:
                new = data.draw(entries(old))
                keep = data.draw(st.booleans())
                changes[old] = replace(
                    new, priority=rules[old].priority,
                    boxes=rules[old].boxes if keep else new.boxes,
                )  # fmt: skip
        after = {n: e for n, e in {**rules, **changes}.items() if e is not None}
        now = [rules]  # the table as software sees it
        turn = itertools.count()

        def each_step(now: list[dict[int, Entry]] = now, turn: Iterator[int] = turn) -> None:
            # What is in the port is right at every step, before and after the change is seen.
            # Other packets at each: all together would take most of the test's time.
            software = Software(now[0])
            for i in range(next(turn) % 8, len(traffic.frames), 8):
                flow = api.hit(traffic.frames[i], tie=i)
                owner = [f for r in off._rules.values() for f in r.flows if f.handle is flow]
                if owner and (owner[0].drops or believed(traffic.columns[i], off, owner[0].mark)):
                    assert owner[0].rule == traffic.alone(i, software)

        def publish(
            now: list[dict[int, Entry]] = now, after: dict[int, Entry] = after,
            each_step: Callable[[], None] = each_step,
        ) -> None:  # fmt: skip
            now[0] = after
            each_step()

        api.after_each = each_step
        off.sync(changes, publish)
        api.after_each = None
        rules = after
        check(traffic, off, api, rules)
        fresh_api = RecordingApi()
        fresh = Offloaded(rules.values(), nic, fresh_api, trust_port=False, queues=nic.n_rx_queues)
        if nic.capacity == 1000 and nic.priorities == 1000:
            kinds = {n: s.where for n, s in fresh.status().items()}
            assert {n: s.where for n, s in off.status().items()} == kinds
    off.release()
    assert not api.flows


def believed(columns: dict[str, int], off: Offloaded, mark: int) -> bool:
    c = columns
    return bool(off.ids([mark], [c["error"]], [c["frag"]], [c["ip6_ext"]], [c["vlan_depth"]])[0]
                >= 0)  # fmt: skip


# -- single cases ---------------------------------------------------------------------------------


def eq(value: int, bits: int = 16) -> tuple[int, int, int]:
    return FULL[bits], value, value


HTTP: Box = {"ip_version": eq(4, 8), "ip_proto": eq(6, 8), "l4_dst": eq(80)}
NET: Box = {"ip_src": (FULL[32], 0x0A000000, 0x0AFFFFFF)}


def offloaded(*rules: Entry, nic: Nic | None = None, **keys: Any) -> tuple[Offloaded, RecordingApi]:
    api = RecordingApi()
    return Offloaded(rules, nic or Nic(), api, **{"trust_port": False, "queues": 1, **keys}), api


def test_what_drops_is_a_flow_that_counts_and_drops() -> None:
    off, api = offloaded(Entry(4, 0, 0, (HTTP,), ("drop",)))
    assert off.status()[4].where == "port"
    assert off.status()[4].drops
    assert [f.actions for f in api.flows] == [[("count", None), ("drop", None)]] * 3
    assert [items for _, _, items in off.flows()] == [
        "eth has_vlan 0x0 / ipv4 / tcp dst 0x50",
        "eth / vlan has_more_vlan 0x0 / ipv4 / tcp dst 0x50",
        "eth / vlan / vlan has_more_vlan 0x0 / ipv4 / tcp dst 0x50",
    ]


def test_what_software_does_is_marked() -> None:
    off, api = offloaded(Entry(4, 0, 0, (HTTP,), ("set ip_ttl=9", "forward 1")))
    assert [f.actions for f in api.flows] == [
        [("mark", {"id": mark}), ("queue", {"index": 0})] for mark in (1, 2, 3)
    ]
    assert off.marks[:5].tolist() == [-1, 4, 4, 4, -1]
    assert off.depths[1:4].tolist() == [0, 1, 2]
    assert off.ids([1, 1, 0, 9, 2, 2], [0, 1, 0, 0, 0, 0], [0] * 6, [0] * 6,
                   [0, 0, 0, 0, 1, 0]).tolist() == [4, -1, -1, -1, 4, -1]  # fmt: skip
    off, api = offloaded(Entry(4, 0, 0, (HTTP,)), queues=2)
    assert api.flows[0].actions[1] == ("rss", {"queues": [0, 1]})


def test_a_winning_rule_in_software_keeps_others_there() -> None:
    long = {"wire_len": (FULL[32], 1000, 9000)}
    off, _ = offloaded(Entry(0, 5, 0, (long,), ("forward 1",)), Entry(1, 0, 1, (HTTP,), ("drop",)))
    status = off.status()
    assert status[0].reasons == ("rte_flow cannot be asked for wire_len",)
    assert status[1].where == "software"
    assert status[1].reasons == ("rule 0, which wins, is not all in the port",)
    off.sync({0: None})
    assert off.status()[1].where == "port"
    off.sync({0: Entry(0, 5, 0, (long,), ("forward 1",))})
    assert off.status()[1].where == "software"
    # The other way round it is in nobody's way.
    off, _ = offloaded(Entry(0, 0, 0, (long,), ("forward 1",)), Entry(1, 5, 1, (HTTP,), ("drop",)))
    assert off.status()[1].where == "port"


def test_a_drop_behind_another_rule_marks_unless_the_port_is_trusted() -> None:
    rules = Entry(0, 5, 0, (HTTP,), ("forward 1",)), Entry(1, 0, 1, (NET,), ("drop",))
    off, _ = offloaded(*rules)
    assert (off.status()[1].where, off.status()[1].drops) == ("port", False)
    off, _ = offloaded(*rules, trust_port=True)
    assert (off.status()[1].where, off.status()[1].drops) == ("port", True)
    levels = {rule: level for rule, level, _ in off.flows()}
    assert levels == {0: 0, 1: 1}


def test_ranges_become_prefixes_where_the_port_takes_none() -> None:
    box: Box = {"vlan_depth": eq(0, 8), **HTTP, "l4_dst": (FULL[16], 80, 87)}
    off, api = offloaded(Entry(0, 0, 0, (box,)))
    assert [items for *_, items in off.flows()] == ["eth has_vlan 0x0 / ipv4 / tcp dst 0x50/0xfff8"]
    box = {**box, "l4_dst": (FULL[16], 80, 90)}
    off, api = offloaded(Entry(0, 0, 0, (box,)))
    assert [items for *_, items in off.flows()] == ["eth has_vlan 0x0 / ipv4 / tcp dst 80..90"]
    off, api = offloaded(Entry(0, 0, 0, (box,)), nic=Nic(ranges=False))
    assert len(api.flows) == 3
    assert off.status()[0].where == "port"


def test_create_decides_not_validate() -> None:
    off, api = offloaded(Entry(0, 0, 0, (HTTP,)), nic=Nic(lies=True, without=frozenset(["tcp"])))
    assert off.status()[0].where == "software"
    assert "item tcp" in off.status()[0].reasons[0]
    assert "create" in api.log
    tried = api.log.count("create")
    off.sync({})
    assert api.log.count("create") == tried  # what it refused once is not asked again


def test_a_full_port_is_asked_again_when_something_went() -> None:
    rules = [Entry(n, 0, n, ({**HTTP, "vlan_depth": eq(0, 8), "l4_dst": eq(n)},))
             for n in range(1, 6)]  # fmt: skip
    off, api = offloaded(*rules, nic=Nic(capacity=3))
    assert [s.where for s in off.status().values()] == ["port"] * 3 + ["software"] * 2
    assert "full" in off.status()[5].reasons[0]
    assert api.log.count("create") == 4
    off.sync({1: None})
    assert [s.where for s in off.status().values()] == ["port"] * 3 + ["software"]


def test_changed_actions_change_nothing_in_the_port() -> None:
    first = Entry(0, 0, 0, (HTTP,), ("forward 1",))
    off, api = offloaded(first, Entry(1, 0, 1, (NET,)))
    api.log.clear()
    off.sync({0: replace(first, actions=("forward 2",))})
    assert api.log == []
    off.sync({0: replace(first, actions=("drop",))})
    assert off.status()[0].drops


def test_a_mark_on_its_way_is_looked_up_after_its_rule_went() -> None:
    off, _ = offloaded(Entry(0, 0, 0, (HTTP,)))
    off.sync({0: None})
    off.sync({0: Entry(0, 0, 0, (NET,))})
    assert off.ids([1], [0], [0], [0], [0]).tolist() == [-1]


def test_counters_outlive_flows() -> None:
    off, api = offloaded(Entry(0, 0, 0, ({},), ("drop",)))
    frame = bytes(12) + b"\x88\xb5" + bytes(50)
    for _ in range(3):
        assert api.receive(frame)[0] is not None
    off.sync({0: Entry(0, 0, 0, (HTTP,), ("drop",))})
    assert off.counters() == {0: (3, 192)}
    off.release()
    off.release()
    assert off.counters() == {0: (3, 192)}


def test_a_port_that_does_not_count_does_not_drop() -> None:
    off, api = offloaded(Entry(0, 0, 0, (HTTP,), ("drop",)), nic=Nic(counts=False))
    assert (off.status()[0].where, off.status()[0].drops) == ("port", False)
    assert all("drop" not in dict(f.actions) for f in api.flows)


def test_a_flow_that_does_not_go_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from veridnet.errors import FlowError

    off, api = offloaded(Entry(0, 0, 0, (HTTP,)))

    def stuck(flow: Any) -> None:
        raise FlowError("stuck", 5)

    monkeypatch.setattr(api, "destroy", stuck)
    published = []
    with pytest.raises(FlowError, match="stuck"):
        off.sync({0: None}, lambda: published.append(1))
    assert not published
    assert off.status()[0].where == "port"


def test_what_stands_behind_a_moved_flow_moves_too() -> None:
    one: Box = {"vlan_depth": eq(0, 8), **HTTP}
    other: Box = {**one, "ip_src": eq(0x0B000001, 32)}
    low = Entry(1, 0, 1, ({**NET, "vlan_depth": eq(0, 8), "ip_version": eq(4, 8)},))
    off, _ = offloaded(Entry(0, 5, 0, (one,)), low)
    assert {rule: level for rule, level, _ in off.flows()} == {0: 0, 1: 1}
    off.sync({2: Entry(2, 9, 2, (other,))})  # meets rule 0, not rule 1
    assert {rule: level for rule, level, _ in off.flows()} == {2: 0, 0: 1, 1: 2}


def test_arp_for_other_hardware_is_not_surely_taken() -> None:
    arp: Box = {"ethertype": eq(0x0806)}
    off, _ = offloaded(Entry(0, 5, 0, ({**arp, "arp_op": eq(1)},)), Entry(1, 0, 1, (arp,)))
    assert off.status()[1].where == "software"
