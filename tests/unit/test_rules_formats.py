"""Rule files: what is read, what is written, and what each format cannot say."""

import dataclasses
import lzma
import shutil
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import veridnet as vn
from veridnet.headers.fields import BY_NAME
from veridnet.rules import classbench, formats, reference, testpmd, toml
from veridnet.rules.rule import Rule, RuleSet

SHARED = Path(__file__).resolve().parents[3] / "shared" / "rules"

TOML = """\
default = ["drop"]

[[rule]]
name = "web"
match = "ip_proto == tcp and l4_dst == 443"
priority = 100
actions = ["count", "forward 1"]

  [[ rule ]]  # with spaces
match = ""
idle_timeout = 2
hard_timeout = 0.5

[sets]
ports = [22, "80..90"]
blocked = "blocked.txt"

[meters.gold]
cir = 1_000
"""


def test_toml(tmp_path):
    (tmp_path / "blocked.txt").write_text("# who\n10.0.0.0/8\n\n192.0.2.1 # one\n")
    path = tmp_path / "r.toml"
    path.write_text(TOML)
    rules = formats.load(path)
    web, everything = rules.rules
    assert web == Rule(
        "ip_proto == tcp and l4_dst == 443", ("count", "forward 1"), 100, "web", 0.0, 0.0
    )
    assert everything == Rule("", idle_timeout=2.0, hard_timeout=0.5)
    assert rules.default == ("drop",)
    assert rules.sets == {"ports": ("22", "80..90"), "blocked": ("10.0.0.0/8", "192.0.2.1")}
    assert rules.meters == {"gold": {"cir": 1000}}
    assert rules.lines == (3, 9)
    assert rules.label(0) == "rule 0 (web), line 3"
    assert toml.read(toml.write(rules)) == rules


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.builds(
            Rule,
            TEXT,
            st.lists(TEXT, max_size=3).map(tuple),
            st.integers(0, 2**24 - 1),
            TEXT,
            st.floats(0, 1e6),
            st.floats(0, 1e6),
        ),
        max_size=4,
    ),
    st.lists(TEXT, max_size=2),
)
def test_toml_says_everything(rules, default):
    given_rules = RuleSet(tuple(rules), tuple(default))
    written = toml.write(given_rules)
    tomllib.loads(written)
    assert toml.read(written + "\n") == given_rules


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[rule]]\nmatch = 3\n", "line 1: rule 0: match is text, not 3"),
        ("\n[[rule]]\nname='a'\n", "line 2: rule 0 (a): match is missing"),
        ("[[rule]]\nmatch=''\nprio=3\n", "unknown key prio (did you mean priority?)"),
        ("[[rule]]\nmatch=''\npriority=16777216\n", "from 0 to 16777215; the larger wins"),
        ("[[rule]]\nmatch=''\npriority=true\n", "priority is a whole number"),
        ("[[rule]]\nmatch=''\nactions='drop'\n", "actions is a list of texts"),
        ("[[rule]]\nmatch=''\nactions=[3]\n", "an action is text, not 3"),
        ("[[rule]]\nmatch=''\nidle_timeout=-1\n", "from 0 to 1e9 seconds"),
        ("[[rule]]\nmatch=''\nhard_timeout=nan\n", "from 0 to 1e9 seconds"),
        ("[rule]\nmatch=''\n", "rules are written as [[rule]]"),
        ("[[rules]]\nmatch=''\n", "unknown key rules (did you mean rule?)"),
        ("[[rule]]\nmatch=\n", "line 2, column 7: not TOML"),
        ("default='drop'\n", "default is a list"),
        ("sets=3\n", "sets is a table"),
        ("[sets]\na=[1.5]\n", "set a: a member is text or a number"),
        ("[sets]\na='/none'\n", "/none: No such file"),
        ("meters=3\n", "[meters.NAME]"),
    ],
)
def test_toml_errors(text, says):
    with pytest.raises(vn.ConfigError) as e:
        toml.read(text)
    assert says in str(e.value)


def test_no_file(tmp_path):
    with pytest.raises(vn.ConfigError, match="No such file"):
        formats.load(tmp_path / "none.toml")
    (tmp_path / "r.xz").write_bytes(b"\xfd7zXZ\0junk")
    with pytest.raises(vn.ConfigError, match="damaged"):
        formats.load(tmp_path / "r.xz")
    (tmp_path / "r.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(vn.ConfigError, match="not text"):
        formats.load(tmp_path / "r.toml")
    with pytest.raises(vn.ConfigError, match="did you mean toml"):
        formats.load(tmp_path / "r.toml", "tomll")


# -- ClassBench -----------------------------------------------------------------------------------

LINE = "@10.1.2.3/8\t192.0.2.1/32\t0 : 65535\t80 : 443\t0x06/0xFF\t0x0000/0x0200\t"


def test_classbench_line():
    rules = classbench.read(f"# one\n\n{LINE}\n@0.0.0.0/0 0.0.0.0/0 1 : 1 0 : 65535 0x10/0xf0\n")
    assert rules.lines == (3, 4)
    assert [rule.match for rule in rules.rules] == [
        "ip_version == 4 and ip_src in 10.0.0.0/8 and ip_dst == 192.0.2.1 "
        "and l4_dst in 80..443 and ip_proto == tcp",
        "ip_version == 4 and l4_src == 1 and ip_proto & 240 == 16",
    ]
    assert rules.rules[0].priority == 0
    assert classbench.write(rules).splitlines()[1] == (
        "@0.0.0.0/0\t0.0.0.0/0\t1 : 1\t0 : 65535\t0x10/0xF0\t0x0000/0x0000"
    )
    assert classbench.read(classbench.write(rules)) == RuleSet(
        (dataclasses.replace(rules.rules[0]), *rules.rules[1:])
    )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("10.0.0.0/8", "not a ClassBench filter"),
        (LINE.replace("10.1", "300.1"), "'300.1.2.3' is not an IPv4 address"),
        (LINE.replace("/8", "/33"), "prefix length 33"),
        (LINE.replace("443", "79"), "80 : 79 are no range"),
        (LINE.replace("443", "65536"), "80 : 65536 are no range"),
        (LINE.replace("0x06", "0x106"), "more than 8 bits"),
    ],
)
def test_classbench_errors(line, says):
    with pytest.raises(vn.ConfigError) as e:
        classbench.read(f"\n{line}\n")
    assert says in str(e.value)
    assert str(e.value).startswith("line 2: ")


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (Rule("ip_version == 4", ("drop",)), "rule 0: ClassBench files have no actions"),
        (Rule("ip_version == 4", name="x", idle_timeout=1), "rule 0 (x): ClassBench files have no"),
        (Rule("ip_proto == 6"), "other packets too"),
        (Rule("ip_src in 0.0.0.0/1"), "other packets too"),
        (Rule("ip_version == 4 and ip_ttl == 3"), "no ip_ttl"),
        (Rule("ip_version == 4 and l4_dst & 1"), "no range"),
        (Rule("ip_src & 1 == 1"), "no prefix"),
    ],
)
def test_what_classbench_cannot_say(rule, says):
    with pytest.raises(vn.ConfigError) as e:
        classbench.write(RuleSet((rule,)))
    assert says in str(e.value)


def test_classbench_has_the_strongest_first():
    rules = RuleSet((Rule("ip_src == 10.0.0.1"), Rule("ip_src in 10.0.0.0/7", ("drop",), 5)))
    written = classbench.write(rules, matches_only=True).splitlines()
    assert [line.split("\t")[0] for line in written] == ["@10.0.0.0/7", "@10.0.0.1/32"]


@pytest.mark.parametrize("name", ["acl1_1k", "fw1_1k", "ipc1_1k", "acl1_10k.xz", "fw1_10k.xz"])
def test_classbench_files(name):
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"no {path}")
    rules = formats.load(path)
    data = path.read_bytes()
    text = (lzma.decompress(data) if name.endswith(".xz") else data).decode()
    lines = [line for line in text.splitlines() if line.startswith("@")]
    assert len(rules) == len(lines) > 800
    written = classbench.write(rules).splitlines()
    same = [line.split()[:-1] == w.split()[:-1] for line, w in zip(lines, written, strict=True)]
    assert all(same)


# -- testpmd --------------------------------------------------------------------------------------

READ = [
    ("flow create 2 ingress pattern end actions end", "in_port == 2", ()),
    ("flow create 0 transfer pattern eth / end actions drop / end", "", ("drop",)),
    ("flow create 0 transfer pattern eth / vlan vid is 7 / ipv4 src spec 10.0.0.0 src mask "
     "255.0.0.0 proto is 6 / tcp dst is 443 / end actions queue index 1 / count / mark id 5 / "
     "port_id id 1 / end",
     "vlan_depth > 0 and vlan_id == 7 and ip_version == 4 and ip_src in 10.0.0.0/8 and "
     "ip_proto == 6 and ip_proto == tcp and l4_dst == 443",
     ("queue 1", "count", "mark 5", "forward 1")),
    ("flow create 0 transfer pattern eth type is 0x0800 / ipv4 tos spec 0xb8 tos mask 0xfc / end "
     "actions end", "ethertype == 0x0800 and vlan_depth == 0 and ip_version == 4 and ip_dscp == 46",
     ()),
    ("flow create 0 transfer pattern eth has_vlan is 1 / end actions end", "vlan_depth > 0", ()),
    ("flow create 0 transfer pattern eth / vlan tci spec 0x6007 tci mask 0xefff inner_type is "
     "0x86dd / vlan vid is 3 has_more_vlan is 0 / ipv6 src prefix 32 src spec 2001:db8:: / end "
     "actions end", "vlan_depth > 0 and vlan_pcp == 3 and vlan_id == 7 and ethertype == 0x86dd and "
     "vlan_depth == 1 and vlan_depth > 1 and vlan2_id == 3 and vlan_depth == 2 and ip_version == 6 "
     "and ip6_src in 2001:db8::/32", ()),
    ("flow create 0 transfer pattern eth / mpls label is 16 s is 1 / ipv4 / end actions end",
     "mpls_depth > 0 and mpls_label == 16 and mpls_depth == 1 and ip_version == 4", ()),
    ("flow create 0 transfer pattern ipv4 fragment_offset spec 0 fragment_offset mask 0x3fff / end "
     "actions end", "ip_version == 4 and ip_flags & 0x1 == 0x0 and ip_frag_off == 0", ()),
    ("flow create 0 transfer pattern ipv4 / tcp src spec 0x400 src last 2047 src mask 0xffff flags "
     "spec 2 flags mask 0x12 / end actions end", "ip_version == 4 and ip_proto == tcp and "
     "l4_src in 1024..2047 and tcp_flags & 0x12 == 0x2", ()),
    # Only spec: the default mask, on all its fields (rte_flow_item_tcp_mask).
    ("flow create 0 transfer pattern tcp dst spec 80 / end actions end",
     "ip_proto == tcp and l4_src == 0 and l4_dst == 80", ()),
    ("flow create 0 transfer pattern vlan vid spec 7 / end actions end",
     "vlan_depth > 0 and vlan_id == 7", ()),
    ("flow create 0 transfer pattern represented_port ethdev_port_id is 3 / void / any / eth dst "
     "is 02:00:00:00:00:01 / end actions of_push_vlan ethertype 0x8100 / of_set_vlan_vid vlan_vid "
     "7 / of_set_vlan_pcp vlan_pcp 2 / of_pop_vlan / void / end",
     "in_port == 3 and eth_dst == 02:00:00:00:00:01", ("push_vlan 7/2", "pop_vlan")),
    ("flow create 0 transfer pattern udp src is 010 / end actions set_ipv4_src ipv4_addr 10.0.0.1 "
     "/ set_tp_dst port 80 / set_mac_dst mac_addr 02:00:00:00:00:02 / dec_ttl / meter mtr_id 3 / "
     "of_set_vlan_vid vlan_vid 5 / set_ipv6_dst ipv6_addr 2001:db8::1 / end",
     "ip_proto == udp and l4_src == 8",
     ("set ip_src=10.0.0.1", "set l4_dst=80", "set eth_dst=02:00:00:00:00:02", "dec_ttl", "meter 3",
      "set vlan_id=5", "nat dst=2001:db8::1")),
]  # fmt: skip


@pytest.mark.parametrize(("line", "match", "actions"), READ)
def test_testpmd_line(line, match, actions):
    (rule,) = testpmd.read(f"{line}\n").rules
    assert rule.match == match
    assert rule.actions == actions


def test_testpmd_sample():
    (rule,) = testpmd.read(
        "set sample_actions 3 port_id id 2 / end\nflow create 0 transfer pattern eth / end actions "
        "sample ratio 100 index 3 / sample ratio 1 index 3 / end\n"
    ).rules
    assert rule.actions == ("sample 1/100 mirror 2", "mirror 2")


def test_testpmd_priorities():
    form = "flow create 0 priority {} transfer pattern eth / end actions end\n"
    rules = testpmd.read("".join(form.format(n) for n in (3, 0, 7)))
    assert [rule.priority for rule in rules.rules] == [4, 7, 0]
    far = testpmd.read("".join(form.format(n) for n in (0, 2**32 - 1, 5)))
    assert [rule.priority for rule in far.rules] == [2, 0, 1]
    three = [Rule("l4_dst == 1", ("drop",)), Rule("l4_dst > 0", ("queue 1",)),
             Rule("ip_version == 4", ("drop",), 9)]  # fmt: skip
    back = testpmd.read(testpmd.write(RuleSet(tuple(three))))
    assert [r.priority for r in back.rules] == sorted(
        (r.priority for r in back.rules), reverse=True
    )
    assert [r.actions for r in back.rules if r.priority == 2] == [("drop",)]


REFUSED = [
    ("flow create 0 pattern eth / end", "'actions' is expected", True),
    ("flow create 0 pattern eth / ipv4 scr is 1.2.3.4 / end actions end", "did you mean src", True),
    ("flow create 0 pattern eth / ipv4 src is 1.2.3 / end actions end", "not an IPv4", True),
    ("flow create 0 pattern eth / ipv4 src at 1.2.3.4 / end actions end", "one of is, spec", True),
    ("flow create 0 pattern eth / ipv4 src is / end actions end", "not a number", True),
    ("flow create 0 pattern eth / ipv7 / end actions end", "there is no item 'ipv7'", True),
    ("flow create 0 pattern eth / end actions dropp / end", "did you mean drop", True),
    ("flow create 0 pattern eth / end actions queue / end", "queue: index is missing", False),
    ("flow create x pattern eth / end actions drop / end", "'x' is not a number", True),
    ("flow create 0 pattern eth / ipv4 ttl is 256 / end actions end", "more than 8 bits", True),
    ("flow create 0 pattern eth / end actions drop / end more", "after the end", True),
    ("flow create 0 group 1 pattern eth / end actions drop / end", "only group 0", False),
    ("flow create 0 egress pattern eth / end actions drop / end", "egress", False),
    ("flow create 0 pattern ipv4 / eth / end actions end", "lies below", False),
    ("flow create 0 pattern eth / ipv4 src mask 1.2.3.4 / end actions end", "without spec", False),
    ("flow create 0 pattern eth type is 0x8100 / end actions end", "which TPID", False),
    ("flow create 0 pattern eth / end actions rss / end", "no action 'rss'", False),
    ("flow create 0 pattern ipv4 tos spec 0 tos last 9 tos mask 0xff / end actions end",
     "several columns", False),
    ("flow create 0 pattern eth type spec 0x0800 / end actions end", "default mask", False),
    ("flow destroy 0 rule 3", "is not a rule", False),
    ("start", "is not a rule", False),
]  # fmt: skip


@pytest.mark.parametrize(("line", "says", "_"), REFUSED)
def test_testpmd_errors(line, says, _):
    with pytest.raises(vn.ConfigError) as e:
        testpmd.read(f"# it\n{line}\n")
    assert says in str(e.value)
    assert str(e.value).startswith("line 2: ")


WRITTEN = [
    "ip_version == 4",
    "ip_proto == tcp and l4_dst == 443",
    "l4_dst in {22, 80..443}",
    "tcp_flags & 0xff == 2",
    "ip_src in 10.0.0.0/8 and not ip_dst in 10.0.0.0/8",
    "ip_version == 4 and ip_ttl < 5",
    "ip_version and ip_ttl == 0",
    "ip_version == 4 and ip_dscp == 46",
    "ip_version == 4 and ip_frag_off == 0 and ip_flags & 1 == 0",
    "ip6_src in 2001:db8::/32 and ip_proto == udp",
    "ip6_dst in 2001:db8::5..2001:db8::1:7",
    "ip6_dst in 2001:db8::/65 and l4_src == 53 and ip_proto == udp",
    "ip_version == 6 and ip6_next in {0, 43, 44}",
    "ethertype == eth_ipv4 and vlan_depth == 0 and ip_ttl < 5",
    "vlan_id == 7 and in_port == 1",
    "vlan_depth > 0 and vlan_id < 3 and vlan_pcp in {1, 2}",
    "vlan2_id == 3",
    "vlan_depth == 0",
    "vlan_depth in {0, 2}",
    "ethertype == eth_arp and vlan_depth == 0 and arp_op == 0 or ip_proto == icmp",
    "ethertype == eth_ipv4 and vlan_depth == 0 and mpls_depth == 0 and l4_src == 1",
    "ethertype == 0x88cc and vlan_depth == 1",
    "mpls_label == 16 or mpls_depth == 1",
    "icmp_type == 8",
    "ip_proto == icmpv6 and icmp_type in 133..137 and ip_version == 6",
    "eth_dst == ff:ff:ff:ff:ff:ff and eth_src != 02:00:00:00:00:01",
    "eth_dst & 0x010000000000",
    "ipsec_spi == 77 or sctp_tag == 5",
    "",
]
ACTIONS = ("count", "forward 1", "queue 2", "mark 3", "push_vlan 7/2", "push_vlan 9", "pop_vlan",
           "dec_ttl", "set ip_ttl=9", "set ip_src=10.0.0.1", "nat dst=10.0.0.2:80",
           "nat src=2001:db8::1", "set l4_dst=80", "set eth_src=02:00:00:00:00:01", "meter 3",
           "mirror 2", "sample 1/100 mirror 2", "sample 1/10 mark 4", "drop")  # fmt: skip


def random_packets(rows=4000, seed=5):
    """Columns as real packets have them: what a packet lacks is 0."""
    rng = np.random.default_rng(seed)

    def pick(*values):
        return rng.choice(np.array(values, np.uint64), rows)

    version, depth = pick(0, 4, 6), pick(0, 0, 1, 2, 3)
    labels = pick(0, 0, 0, 1, 2)
    proto = np.where(version == 4, pick(1, 6, 17, 132, 50, 99), pick(6, 17, 58, 132, 51, 0))
    v4, v6 = version == 4, version == 6
    proto[version == 0] = 0
    ports = np.isin(proto, (6, 17, 132)) & (rng.random(rows) < 0.9)
    icmp = (v4 & (proto == 1)) | (v6 & (proto == 58))
    kind = np.where(v4, 0x0800, np.where(v6, 0x86DD, pick(0x0806, 0x88CC, 0x0800)))
    kind[labels > 0] = 0x8847
    kind[(labels == 0) & (version == 0) & (kind == 0x0800)] = 0x88B5
    prefix = 0x20010DB800000000
    columns = {
        "in_port": pick(0, 1, 2), "eth_dst": pick(2**48 - 1, 0x020000000001, 0x010203040506),
        "eth_src": pick(0x020000000001, 0x020000000002), "ethertype": kind, "vlan_depth": depth,
        "vlan_id": pick(0, 1, 2, 7, 4095) * (depth > 0), "vlan_pcp": pick(0, 1, 2, 7) * (depth > 0),
        "vlan2_id": pick(0, 3, 9) * (depth > 1), "mpls_depth": labels,
        "mpls_label": pick(0, 16, 17) * (labels > 0), "arp_op": pick(0, 1) * (kind == 0x0806),
        "ip_version": version, "ip_proto": proto, "ip_ttl": pick(0, 1, 4, 5, 64) * (version > 0),
        "ip_dscp": pick(0, 46, 63) * (version > 0), "ip_flags": pick(0, 1, 2, 3) * v4,
        "ip_frag_off": pick(0, 1, 100) * v4,
        "ip_src": pick(0, 0x0A000001, 0x0AFFFFFF, 0x0B000000, 0xC0000201) * v4,
        "ip_dst": pick(0, 0x0A000001, 0x0AFFFFFF, 0x0B000000, 0xC0000201) * v4,
        "ip6_src_hi": pick(0, prefix, prefix + 5, prefix - 1) * v6, "ip6_src_lo": pick(0, 5) * v6,
        "ip6_dst_hi": pick(0, prefix, prefix + 1) * v6,
        "ip6_dst_lo": pick(0, 4, 5, 6, 2**16 + 7, 2**16 + 8, 2**63) * v6,
        "ip6_next": np.where(v6, pick(0, 43, 44, 6, 17), 0),
        "l4_src": pick(0, 1, 53, 80) * ports, "l4_dst": pick(0, 21, 22, 80, 443, 444) * ports,
        "tcp_flags": pick(0, 2, 18, 0x102) * (ports & (proto == 6)),
        "icmp_type": pick(0, 8, 133, 137) * icmp,
        "ipsec_spi": pick(0, 77) * np.isin(proto, (50, 51)),
        "sctp_tag": pick(0, 5) * (ports & (proto == 132)),
    }  # fmt: skip
    return {name: values.astype(BY_NAME[name].dtype) for name, values in columns.items()}


@pytest.mark.parametrize("match", WRITTEN)
def test_testpmd_says_the_same(match):
    if "arp_op" in match:
        match = match.replace("arp_op == 0", "arp_spa == 0.0.0.0")
    packets = random_packets()
    packets["arp_spa"] = packets["arp_op"].astype(np.uint32)
    rules = RuleSet((Rule(match, ("drop",), 3),))
    written = testpmd.read(testpmd.write(rules) + "\n")
    assert {r.actions for r in written.rules} == {("drop",)}
    there = reference.classify(rules, packets) >= 0
    back = reference.classify(written, packets) >= 0
    assert there.any()
    wrong = np.flatnonzero(there != back)
    assert not wrong.size, {name: values[wrong[0]] for name, values in packets.items()}


def test_testpmd_writes_actions():
    rules = RuleSet((Rule("", ACTIONS, 0, "every action"),), ("queue 9",))
    read = testpmd.read(testpmd.write(rules))
    assert read.rules[1] == Rule("", ("queue 9",), 0)
    expected = [a for a in ACTIONS if not a.startswith("nat dst")]
    expected.insert(ACTIONS.index("nat dst=10.0.0.2:80"), "set ip_dst=10.0.0.2")
    expected.insert(ACTIONS.index("nat dst=10.0.0.2:80") + 1, "set l4_dst=80")
    assert list(read.rules[0].actions) == expected


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (Rule("ip_proto == 6 and l4_dst < 5 and in_port < 3", name="a"), "rule 0 (a): testpmd's"),
        (Rule("l4_dst < 5"), "holds for packets without that header too; add ip_"),
        (Rule("ip_ttl < 5"), "add ip_version == 4 or ip_version == 6"),
        (Rule("vlan_id == 0"), "add vlan_depth >= 1"),
        (Rule("ethertype == 0x0800"), "vlan_depth == 0, 1 or 2"),
        (Rule("wire_len > 100"), "no item has wire_len"),
        (Rule("ip_version == 6 and ip_proto == 99"), "ip_proto to be one of"),
        (Rule("tcp_flags & 0x102"), "lower 8 bits"),
        (Rule("", idle_timeout=3), "no timeouts"),
        (Rule("", ("python:a.b",)), "no action for 'python:a.b'"),
        (Rule("", ("forward wan",)), "ports by their order only"),
        (Rule("", ("set tcp_seq=3",)), "no action sets tcp_seq"),
    ],
)
def test_what_testpmd_cannot_say(rule, says):
    with pytest.raises(vn.ConfigError) as e:
        testpmd.write(RuleSet((rule,)))
    assert says in str(e.value)


def test_a_next_header_is_the_protocol():
    match = "ethertype == eth_ipv6 and vlan_depth == 0 and ip6_next == 17 and l4_dst == 53"
    assert testpmd.write(RuleSet((Rule(match),))) == (
        "flow create 0 priority 0 transfer pattern eth type is 0x86dd / ipv6 proto is 17 / udp dst "
        "is 53 / end actions end\n"
    )


def run_testpmd(lines):
    """What dpdk-testpmd's own parser says of each line: is it accepted?"""
    program = shutil.which("dpdk-testpmd")
    if program is None:
        pytest.skip("no dpdk-testpmd (package dpdk-dev)")
    text = "".join(f"{line}\nshow port foo\n" for line in lines)
    done = subprocess.run(
        [program, "--no-huge", "-m", "128", "--no-pci", "--no-telemetry", "--no-shconf", "-l",
         "0,1", "--vdev", "net_null0", "--vdev", "net_null1", "--vdev", "net_null2",
         "--", "-i", "--total-num-mbufs=2048"],
        input=text + "quit\n", capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if "testpmd>" not in done.stdout:
        pytest.skip(f"dpdk-testpmd does not start here: {done.stderr[-200:]}")
    # Each echo is followed by what is said about it; "show port foo" ends each with an error.
    parts = done.stdout.partition("testpmd> ")[2].split("testpmd> show port foo")[:-1]
    assert len(parts) == len(lines)
    return ["Bad arguments" not in part.partition("testpmd> ")[2] for part in parts]


def test_testpmd_takes_what_we_write_and_refuses_what_it_must():
    good = [line for line, _, _ in READ]
    some = [Rule(match, ("drop",)) for match in WRITTEN if "arp_op" not in match]
    # (One action a line: testpmd cuts lines at 511 characters.)
    for rule in [*some, *(Rule("", (action,)) for action in ACTIONS)]:
        good += testpmd.write(RuleSet((rule,))).splitlines()[:20]
    good = [line for line in good if not line.startswith("#")]
    bad = [line for line, _, theirs in REFUSED if theirs]
    accepted = run_testpmd([*good, *bad])
    assert [line for line, ok in zip(good, accepted, strict=False) if not ok] == []
    assert [line for line, ok in zip(bad, accepted[len(good) :], strict=True) if ok] == []
