"""The table's reasoning, and the naive table itself."""

import numpy as np
import pytest

import veridnet as vn
from veridnet.headers.match import Bpf, parse
from veridnet.rules import reference
from veridnet.rules.explain import explain
from veridnet.rules.rule import Rule, RuleSet

scapy = pytest.importorskip("scapy.all")

RULES = RuleSet(
    (
        Rule("ip_proto == tcp and l4_dst in {80, 443}", ("forward 1",), 50, "web"),
        Rule("ip_proto == tcp and l4_dst == 443 and ip_src in 10.0.0.0/8", ("drop",), 100, "tls"),
        Rule("ip_proto == tcp and l4_dst == 22", ("queue 1",), 200, "ssh"),
        Rule("l4_dst in 1..1023", ("count",), 50),
        Rule("ip_version == 6 and ip_ttl < 2 and not ip_proto == udp", ("drop",), 7),
    ),
    ("drop",),
    lines=(1, 5, 9, 13, 17),
)


def packet(src="10.1.2.3", dport=443):
    return scapy.Ether() / scapy.IP(src=src, dst="192.0.2.1") / scapy.TCP(dport=dport)


def test_priority_decides():
    found = explain(RULES, packet())
    assert (found.winner, found.matched, found.actions) == (1, (1, 0, 3), ("drop",))
    assert found.row["l4_dst"] == 443
    assert "eth_dst" not in found.row
    text = str(found)
    assert "ip_src 10.1.2.3" in text
    assert "wins: rule 1 (tls), line 5: priority 100 > 50" in text
    assert "rule 2 (ssh), line 9: priority 200: ip_proto == tcp and l4_dst == 22 -> queue 1" in text
    assert "fails: l4_dst == 22 (it is 443)" in text


def test_the_earlier_among_equals():
    found = explain(RULES, packet("192.0.2.9"))
    assert (found.winner, found.matched) == (0, (0, 3))
    assert "earlier among equals than rule 3, line 13" in found.why
    assert (1, ("ip_src in 10.0.0.0/8 (it is 192.0.2.9)",)) in found.near


def test_alone_and_none():
    assert explain(RULES, packet(dport=22)).why.startswith("wins: rule 2 (ssh), line 9: priority 2")
    found = explain(RULES, {"l4_dst": 1023})
    assert found.why == "wins: rule 3, line 13: no other rule matches"
    found = explain(RULES, {"ip_proto": 6, "l4_dst": 4000})
    assert (found.winner, found.matched, found.actions) == (None, (), ("drop",))
    assert found.why == "no rule matches: the default: drop"
    assert dict(found.near)[0] == ("l4_dst in {80, 443} (it is 4000)",)
    assert str(explain(RULES, {})).startswith("packet: all columns that the rules read are 0")
    assert explain([], {}).why == "no rule matches: no default actions"


def test_pairs_as_a_table_has_them():
    found = explain([(7, RULES.rules[3]), (9, RULES.rules[0])], {"ip_proto": 6, "l4_dst": 80})
    assert (found.winner, found.matched) == (7, (7, 9))


def test_negations():
    row = {"ip_version": 6, "ip_ttl": 1, "ip_proto": 17}
    assert dict(explain(RULES, row).near)[4] == ("not ip_proto == 17 (it is 17)",)


def test_columns_that_are_not():
    with pytest.raises(vn.ConfigError, match="no column 'l4'"):
        explain(RULES, {"l4": 3})
    with pytest.raises(vn.ConfigError, match="from 0 to 65535"):
        explain(RULES, {"l4_dst": 65536})


def test_explanations_agree_with_the_naive_table():
    frames = [
        bytes(packet(src, port)) for src in ("10.0.0.1", "1.2.3.4") for port in (22, 80, 443, 9)
    ]
    from veridnet.headers.reference import parse_frames

    table = parse_frames(frames)
    ids = reference.classify(RULES, table)
    assert [explain(RULES, frame).winner for frame in frames] == [
        n if n >= 0 else None for n in ids
    ]


def test_the_naive_table():
    table = vn.Headers.from_arrays(ip_proto=[6, 6, 17, 6], l4_dst=[80, 443, 53, 5000])
    rules = RuleSet(
        (Rule("l4_dst < 1024"), Rule("ip_proto == tcp", (), 3), Rule("l4_dst == 443", (), 3))
    )
    ids = reference.classify(rules, table)
    assert ids.dtype == np.int32
    assert ids.tolist() == [1, 1, 0, 1]
    assert reference.classify([(5, Rule("l4_dst == 53"))], table).tolist() == [-1, -1, 5, -1]
    assert reference.classify(RuleSet((Rule(""),)), table).tolist() == [0] * 4
    with pytest.raises(vn.ConfigError, match=r"rule 1 \(x\), line 9: match, column 1"):
        RuleSet((Rule(""), Rule("nonsense", name="x")), lines=(3, 9)).tree(1)


def test_bpf():
    text = "tcp[2:2] * 1 = 443"  # arithmetic: no column says it
    node = parse(text)
    assert isinstance(node, Bpf)
    frames = [bytes(packet(dport=port)) for port in (443, 80)]
    columns = {"l4_dst": np.array([443, 80], np.uint16)}
    assert reference.evaluate(node, columns, frames).tolist() == [True, False]
    with pytest.raises(vn.ConfigError, match="only columns"):
        reference.evaluate(node, columns)
    rules = [(0, Rule(text))]
    assert explain(rules, frames[0]).winner == 0
    assert explain(rules, frames[1]).near == ((0, ("(tcp[2:2] * 1) = 443",)),)
    assert "needs the packet's bytes" in str(explain(rules, {"l4_dst": 443}))
