"""The match language beside pcap-filter's own: mixtures, sets, errors, and what trees look like."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

import veridnet as vn
from veridnet.headers import match
from veridnet.headers.match import And, Bpf, Not, Or, Test

FRAME = bytes.fromhex(  # 10.0.0.1:1234 -> 192.168.1.1:443, TCP SYN, TTL 64
    "020000000001020000000002080045000028000040004006000"
    "00a000001c0a8010104d201bb00000001000000005002ffff00000000"
)


def tagged(vid: int) -> bytes:
    return FRAME[:12] + b"\x81\x00" + vid.to_bytes(2, "big") + FRAME[12:]


@pytest.fixture
def burst(runtime):
    burst = vn.Burst.from_bytes([FRAME, tagged(7), FRAME[:36], FRAME[:23] + b"\x11" + FRAME[24:]])
    yield burst
    burst.clear()


@pytest.mark.parametrize(("text", "rows"), [
    ("tcp dst port 443 and src net 10.0.0.0/8 and ip_ttl > 5", [True, False, False, False]),
    ("tcp dst port 443 and src net 10.0.0.0/8", [True, False, False, False]),
    ("tcp and src net 10.0.0.0/8", [True, False, True, False]),
    # A primitive does not look through a tag; a column does.
    ("tcp", [True, False, True, False]), ("ip_proto == tcp", [True, True, True, False]),
    ("vlan and tcp", [False, True, False, False]), ("vlan_id == 7 and ip_proto == tcp",
                                                    [False, True, False, False]),
    ("vlan and ip_ttl == 64 and tcp", [False, True, False, False]),
    ("vlan and (ip_ttl == 1 or tcp)", [False, True, False, False]),
    ("tcp && ip_ttl == 64 || vlan_id == 7", [True, True, True, False]),
    ("not (tcp and ip_ttl == 64)", [False, True, False, True]),
    ("tcp dst port {22, 443, 8000..8100} and not ip_dst in {10.0.0.0/8}",
     [True, False, False, False]),
    ("tcp[13] & 2 != 0 and tcp_flags & syn", [True, False, False, False]),
    ("tcp[14:4] = 0xffff0000 and ip_ttl == 64", [True, False, False, False]),
    ("ip_ttl == 64 and not tcp[16:4] = 1", [True, True, False, True]),
    ("src host {10.0.0.1, 10.0.0.2, ::1} and port (443 or 80)", [True, False, False, True]),
])  # fmt: skip
def test_primitives_and_columns(burst, text, rows) -> None:
    assert burst.headers.match(text).tolist() == rows


def test_ports_of_a_cut_packet(burst) -> None:
    """A packet that ends within its TCP header has no columns of it; libpcap reads bytes."""
    assert burst.headers.match("tcp dst port 443").tolist()[2] is False
    assert burst.headers.match("tcp src port 1234").tolist()[2] is True
    assert burst.headers.match("not tcp dst port 443").tolist()[2] is False


def test_a_tree_as_a_person_would_write_it() -> None:
    tree = match.parse("tcp dst port 443 and src net 10.0.0.0/8 and ip_ttl < 5")
    assert isinstance(tree, And) and set(tree.of) == {
        Test("ip_ttl", 255, 0, 4), Test("vlan_depth", 255, 0, 0),
        Test("ethertype", 65535, 0x0800, 0x0800), Test("ip_proto", 255, 6, 6),
        Test("ip_frag_off", 65535, 0, 0), Test("l4_dst", 65535, 443, 443),
        Test("ip_src", 0xFFFFFFFF, 0x0A000000, 0x0AFFFFFF),
    }  # fmt: skip
    assert match.parse("ip and arp") == Or(()) and match.columns(match.parse("ip and arp")) == set()
    assert match.parse("vlan or ip") == Bpf("(vlan) or (ip)")
    assert match.parse("l4_dst == 80") == Test("l4_dst", 65535, 80, 80)
    ports = {leaf for leaf in match.leaves(match.parse("udp dst port {53, 54, 80-90, 85..99}"))
             if leaf.column == "l4_dst"}  # fmt: skip
    assert ports == {Test("l4_dst", 65535, 53, 54), Test("l4_dst", 65535, 80, 99)}
    meaning = match.meaning("tcp and ip_ttl == 1")
    assert meaning.doubt == Test("error", 255, 1, 255)
    assert set(meaning.raw.of) == {Test("ip_ttl", 255, 1, 1), Bpf("tcp")}
    assert match.meaning("ip_ttl == 1").doubt is None
    assert isinstance(match.parse("not tcp"), Not)


def test_and_or_without_parentheses(runtime) -> None:
    """pcap-filter takes them from left to right, columns "and" first; mixtures must not differ."""
    burst = vn.Burst.from_bytes([FRAME])
    h = burst.headers
    assert not h.match("tcp or udp and port 53")[0]  # (tcp or udp) and port 53
    assert h.match("ip_proto == tcp or ip_proto == udp and l4_dst == 53")[0]
    assert h.match("tcp and port 443 or udp")[0]
    assert h.match("ip_ttl == 64 and tcp or udp")[0]
    with pytest.raises(vn.ConfigError, match="column 15: 'and' after 'or'") as error:
        h.match("tcp or udp    and ip_ttl == 64")
    assert "parentheses" in error.value.hint
    assert h.match("(tcp or udp) and ip_ttl == 64")[0]
    burst.clear()


def test_sets(tmp_path) -> None:
    path = tmp_path / "bad.txt"
    path.write_text("# bad ones\n10.0.0.1\n\n192.168.0.0/16  # a network\n2001:db8::/32\n")
    bad = match.sets.load(path)
    assert bad == ("10.0.0.1", "192.168.0.0/16", "2001:db8::/32")
    sets = {"bad": bad, "ports": ["80", "8000..8100"], "hosts": ("10.0.0.1",), "none": ()}
    assert match.parse("src net @bad", sets) == match.parse(
        "src net {10.0.0.1, 192.168.0.0/16, 2001:db8::/32}"
    )
    assert match.parse("l4_dst in @ports", sets) == match.parse("l4_dst in {80, 8000..8100}")
    assert match.parse("l4_dst in {53, @ports}", sets) == match.parse(
        "l4_dst in {53, 80, 8000..8100}"
    )
    assert match.parse("tcp port {22, @ports}", sets) == match.parse(
        "tcp port {22, 80, 8000..8100}"
    )
    assert match.parse("host @hosts or udp", sets) == match.parse("host 10.0.0.1 or udp")
    table = vn.Headers.from_arrays(l4_dst=[80, 81])
    assert match.compile("l4_dst in @ports", sets).text and len(table) == 2
    for text, words in {
        "src host @bda": "did you mean @bad", "l4_dst in @none": "is empty",
        "src host @bad": "'192.168.0.0/16': ", "tcp port @bad": "a port is expected",
        "l4_dst in @hosts": "the set @hosts, '10.0.0.1'",
    }.items():  # fmt: skip
        with pytest.raises(vn.ConfigError) as error:
            match.parse(text, sets)
        assert words in f"{error.value} {error.value.hint}", (text, str(error.value))
    with pytest.raises(vn.ConfigError, match="no set @x"):
        match.parse("host @x")
    with pytest.raises(vn.ConfigError, match="is one text"):
        match.parse("host @x", {"x": "10.0.0.1"})
    with pytest.raises(vn.ConfigError, match="cannot read the set"):
        match.sets.load(tmp_path / "nothing")
    path.write_text("# nothing\n")
    with pytest.raises(vn.ConfigError, match="is empty"):
        match.sets.load(path)


def test_sets_of_both_families() -> None:
    """A column takes the members that it can hold; the others must be right all the same."""
    sets = {
        "mixed": ("10.0.0.1", "2001:db8::/32", "192.168.0.0/16", "::1"),
        "v4": ("10.0.0.1",), "v6": ("::1",), "bad": ("10.0.0.1", "2001:db8::1/32"),
        "words": ("10.0.0.1", "l4_dst"),
    }  # fmt: skip
    four, six = "{10.0.0.1, 192.168.0.0/16}", "{2001:db8::/32, ::1}"
    for column in ("ip_src", "ip_dst", "arp_spa", "arp_tpa"):
        assert match.parse(f"{column} in @mixed", sets) == match.parse(f"{column} in {four}")
    for column in ("ip6_src", "ip6_dst"):
        assert match.parse(f"{column} in @mixed", sets) == match.parse(f"{column} in {six}")
    assert match.parse("ip_src not in @mixed", sets) == match.parse(f"ip_src not in {four}")
    assert match.parse("ip_src in {10.1.0.0/16, @mixed}", sets) == match.parse(
        "ip_src in {10.1.0.0/16, {}}".replace("{}", four[1:-1])
    )
    for text, words in {
        "ip_src in @v6": "the set @v6 has no IPv4 member, and ip_src holds no IPv6 address",
        "ip6_dst in @v4": "the set @v4 has no IPv6 member, and ip6_dst holds no IPv4 address",
        "ip_src in @bad": "the set @bad, '2001:db8::1/32': 2001:db8::1/32 has bits beyond",
        "ip_src in @words": "the set @words, 'l4_dst'", "l4_dst in @mixed": "'10.0.0.1'",
    }.items():  # fmt: skip
        with pytest.raises(vn.ConfigError) as error:
            match.parse(text, sets)
        assert words in str(error.value), (text, str(error.value))


@pytest.mark.parametrize(("sets", "words"), [
    ({"a": ["@a"]}, "refer to themselves: @a -> @a"),
    ({"a": ["10.0.0.1", "@b"], "b": ["@a"]}, "refer to themselves: @a -> @b -> @a"),
    ({"a": ["@c", "@b"], "b": [" @d"], "c": ["10.0.0.1"], "d": ["@b"]},
     "refer to themselves: @a -> @b -> @d -> @b"),
    ({"a": ["@b"], "b": ["10.0.0.1"]}, "the set @a, '@b': no set can be a member"),
    ({"a": ["@nothing"]}, "the set @a, '@nothing': no set can be a member"),
])  # fmt: skip
@pytest.mark.parametrize("text", ["ip_src in @a", "src host {10.0.0.9, @a}"])
def test_sets_are_no_members(sets, words: str, text: str) -> None:
    with pytest.raises(vn.ConfigError) as error:
        match.parse(text, sets)
    assert words in str(error.value)
    assert error.value.hint


def test_many_sets_without_a_loop_cost_little() -> None:
    """Each of 1,000 sets has all behind it: 2**1000 ways, none of them twice."""
    names = [f"s{n}" for n in range(1000)]
    sets = {name: tuple(f"@{n}" for n in names[k + 1 :][:20]) for k, name in enumerate(names)}
    assert match.sets.loop_of("s0", sets) == ()
    assert match.sets.loop_of("s0", {**sets, "s999": ("@s5",)})[-1] == "s5"


@pytest.mark.parametrize(("text", "column", "words"), [
    ("host www.example.com", 6, "no name server"), ("tcp port foo-bar", 10, "no service"),
    ("port 70000", 6, "16 bits"), ("src net 10.1.2.3/8", 9, "beyond its length"),
    ("host 10.0.0.0/8", 6, "write net 10.0.0.0/8"), ("port 80-90", 8, "write portrange 80-90"),
    ("src 80", 5, "src port 80"), ("tcp 80", 5, "write tcp port"), ("tcp[0:3] = 1", 7, "1, 2 or 4"),
    ("udp proto 3", 11, "no udp proto"),
    ("ip broadcast", 1, "mask"), ("vlan 5000", 6, "at most 4095"), ("vlan {7, 8}", 6, "vlan_id in"),
    ("inbound", 1, "in_port"), ("host 300.1.1.1", 6, "not an IP"), ("ether foo", 7, "ether host"),
    ("tcp prot 80", 5, "not expected"), ("port http and tcpp", 15, "tcp"),
    ("ip[8] <", 8, "expected, not the end"), ("tcp[13] & 2", 12, "comparison is expected"),
    ("port 80 or", 11, "expected"), ("ip host 02:00:00:00:00:01", 9, "ether"),
    ("udp port http", 10, "port of tcp"), ("vlan or (tcp and ip_ttl == 1)", 10, "may not hold"),
    ("ip[8] / 0 = 1", 7, "division by zero"), ("(tcp", 5, ")"), ("port {80, 90", 13, "}"),
])  # fmt: skip
def test_errors_point_at_the_text(text, column, words) -> None:
    with pytest.raises(vn.ConfigError) as error:
        match.parse(text)
    said = f"{error.value} {error.value.hint}"
    assert words in said and f"column {column}:" in said and "\n" not in said, said


def test_bytes_need_packets(runtime, tmp_path) -> None:
    table = vn.Headers.from_arrays(ip_proto=[6])
    for call in (
        table.match,
        match.compile,
        lambda text: list(vn.headers.read_blocks("x", where=text)),
    ):
        with pytest.raises(vn.ConfigError, match="asks for bytes") as error:
            call("tcp[20:4] = 0x47455420")
        assert "burst" in error.value.hint
    burst = vn.Burst.from_bytes([FRAME])
    with pytest.raises(vn.ConfigError, match="tunnels"):
        burst.headers.inner.match("tcp[20:4] = 0x47455420")
    burst.clear()


def test_plans_and_the_error_column(runtime) -> None:
    """Primitives ask for `error`: a plan must have it."""
    burst = vn.Burst(4, headers=vn.Headers("ip", "eth", "vlan", "ipv6"))
    with pytest.raises(AttributeError, match="error"):
        burst.headers.match("tcp")
    assert len(burst.headers.match("ip_proto == tcp")) == 0


def test_compiling_takes_less_than_a_millisecond() -> None:
    texts = [f"tcp dst port {k} and src net 10.{k}.0.0/16 and ip_ttl < 5" for k in range(100)]
    texts += [f"udp port {k} or icmp" for k in range(100)]
    times = []
    for text in texts:
        start = time.perf_counter()
        match.compile(text, packets=True)
        times.append(time.perf_counter() - start)
    assert np.median(times) < 3e-3  # 0.5 ms here; other tests run beside this one


def test_match_imports_little() -> None:
    code = (
        "import sys; from veridnet.headers import match; match.compile('tcp port 80 or udp');"
        "print(*(m for m in ('numpy', 'socket', 'veridnet.headers.hints') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "", done.stdout + done.stderr
