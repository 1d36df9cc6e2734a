"""Columns as users meet them: lifetime, plans, selections, interop. What they hold: the twin's."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import numpy as np
import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether

import veridnet as vn
from veridnet import headers
from veridnet._native import burst as native_burst

E = Ether(dst="02:00:00:00:00:01", src="02:00:00:00:00:02")


def packets() -> list[Any]:
    """One of each of the usual kinds."""
    return [
        E / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1000, dport=53) / b"query",
        E / IP(src="10.0.0.3", dst="10.0.0.4") / TCP(sport=2000, dport=443, flags="S"),
        E / IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(sport=3000, dport=53) / b"six",
        E / Dot1Q(vlan=7, prio=3) / IP(src="10.0.0.5", dst="10.0.0.6") / TCP(dport=80),
        E / ARP(psrc="10.0.0.1", pdst="10.0.0.2"),
        E / IP(src="10.0.0.7", dst="10.0.0.8") / ICMP(),
    ]


@pytest.fixture
def burst(runtime: Any) -> Any:
    """A burst of these packets."""
    return vn.Burst.from_bytes(packets())


def balance(drops: dict[str, int]) -> None:
    """All that was generated is held or dropped for these reasons."""
    account = native_burst.account_read()
    assert account["drops"] == drops
    assert account["generated"] == sum(drops.values()) + native_burst.held()


# -- lifetime and plans ---------------------------------------------------------------------------


def test_classify_with_numpy(burst) -> None:
    h = burst.headers
    assert ((h.ip_proto == vn.UDP) & (h.l4_dst == 53)).tolist() == [1, 0, 1, 0, 0, 0]
    assert (h.tcp_flags & vn.SYN > 0).tolist() == [0, 1, 0, 1, 0, 0]
    assert h.eth_dst[0] == vn.mac("02:00:00:00:00:01") and h.ip_src[0] == vn.ip("10.0.0.1")
    assert h.ip_csum.tolist() == [1, 1, 0, 1, 0, 1] and h.l4_csum.tolist() == [1, 1, 1, 1, 0, 1]
    burst.clear()


def test_columns_end_with_their_packets(ring, burst) -> None:
    h = burst.headers
    kept, ports = h.copy("l4_dst"), h.l4_dst.tolist()
    ring.tx(burst)
    for use in (lambda: h.l4_dst, lambda: h.match("l4_dst"), lambda: h.write(), lambda: h.copy()):
        with pytest.raises(vn.StateError, match="no longer holds"):
            use()
    ring.rx(burst)
    with pytest.raises(vn.StateError):
        _ = h.l4_dst
    assert burst.headers.l4_dst.tolist() == kept.l4_dst.tolist() == ports
    assert pickle.loads(pickle.dumps(kept)).l4_dst.tolist() == ports
    with pytest.raises(TypeError):
        pickle.dumps(burst.headers)
    burst.clear()


def test_memory_is_the_bursts_and_nothing_is_allocated_per_burst(ring, burst) -> None:
    first = burst.headers.l4_dst
    address = first.ctypes.data
    for _ in range(3):
        ring.tx(burst)
        ring.rx(burst)
        again = burst.headers.l4_dst
        assert again is first and again.ctypes.data == address
    burst.clear()


def test_a_plan_is_all_that_is_parsed(runtime) -> None:
    burst = vn.Burst(8, headers=vn.Headers("l4", "ip_proto"))
    ring = runtime.add_port("ring")
    ring.tx(vn.Burst.from_bytes(packets()))
    ring.rx(burst)
    assert burst.headers.l4_dst[0] == 53 and burst.headers.parsed() == [
        "ip_proto",
        "l4_src",
        "l4_dst",
    ]
    for use in (lambda h: h.ip_ttl, lambda h: h.match("ip_ttl > 1")):
        with pytest.raises(AttributeError, match="ip_ttl is not among"):
            use(burst.headers)
    assert "10.0.0.1" in repr(burst), "a repr parses for itself"
    assert burst.headers.parsed() == ["ip_proto", "l4_src", "l4_dst"]
    burst.clear()


def test_a_burst_learns_what_is_read(ring, burst) -> None:
    assert burst.headers.parsed() == []
    _ = burst.headers.l4_dst, burst.headers.ip_ttl
    ring.tx(burst)
    ring.rx(burst)
    assert burst.headers.asked() == ["ip_ttl", "l4_dst"]
    _ = burst.headers.ip_ttl
    assert burst.headers.parsed() == ["ip_ttl", "l4_dst"], "both in one pass"
    burst.clear()


@pytest.mark.parametrize("wrong", ["l5", "ip_scr", ""])
def test_unknown_columns(burst, wrong) -> None:
    with pytest.raises(vn.ConfigError):
        vn.Headers(wrong)
    with pytest.raises(AttributeError):
        getattr(burst.headers, wrong)
    with pytest.raises(AttributeError):
        setattr(burst.headers, wrong, 1)
    with pytest.raises(vn.ConfigError):
        vn.Headers()
    burst.clear()


def test_an_empty_burst_has_empty_columns(runtime) -> None:
    burst = vn.Burst(4)
    h = burst.headers
    assert len(h) == len(h.l4_dst) == len(h.match("l4_dst == 1")) == len(h.inner.ip_src) == 0
    assert burst.drop(h.l4_dst == 1) == 0 and len(burst.select(h.l4_dst == 1)) == 0
    assert set(burst.split({"a": h.l4_dst == 1}, rest="b")) == {"a", "b"}
    assert burst.vlan_push(1) == burst.vlan_pop() == h.write() == 0


def test_in_port(runtime) -> None:
    runtime.add_port("null").close()
    ports = [runtime.add_port("ring") for _ in range(2)]
    burst = vn.Burst(8)
    for port in ports:
        port.tx(vn.Burst.from_bytes([bytes(60)]))
        port.rx(burst)
        assert burst.headers.in_port.tolist() == [port.index]
        burst.clear()


def test_receive_time_of_a_capture(runtime, tmp_path, write_pcap) -> None:
    path = write_pcap(tmp_path / "x.pcap", [bytes(60)] * 2)
    port = runtime.add_port("pcap", rx=path)
    burst = vn.Burst(8)
    port.rx(burst)
    from scapy.utils import rdpcap

    assert burst.headers.rx_time.tolist() == [
        int(p.time * 1_000_000_000) for p in rdpcap(str(path))
    ]
    burst.clear()


# -- selections -----------------------------------------------------------------------------------


def names(burst: Any) -> list[int]:
    return [len(burst.to_bytes(i)) for i in range(len(burst))]


def test_select_and_compress_are_complements(burst) -> None:
    sizes = names(burst)
    udp = burst.select(burst.headers.ip_proto == vn.UDP)
    assert names(udp) == [sizes[0], sizes[2]] and names(burst) == [sizes[i] for i in (1, 3, 4, 5)]
    arp = burst.compress(burst.headers.ip_version != 0)
    assert names(arp) == [sizes[4]] and names(burst) == [sizes[i] for i in (1, 3, 5)]
    assert burst.select(burst.headers.ip_version == 4, into=udp) is udp
    assert names(udp) == [sizes[i] for i in (0, 2, 1, 3, 5)] and len(burst) == 0
    balance({})
    udp.clear(), arp.clear()
    balance({"freed": 6})


def test_split(burst) -> None:
    h = burst.headers
    parts = burst.split(
        {"dns": h.l4_dst == 53, "udp": h.ip_proto == vn.UDP, "v4": h.ip_version == 4}, rest="rest"
    )
    assert {name: len(part) for name, part in parts.items()} == {
        "dns": 2, "udp": 0, "v4": 3, "rest": 1,
    }  # fmt: skip
    assert len(burst) == 0 and parts["rest"].headers.ethertype[0] == vn.ETH_ARP
    with pytest.raises(ValueError, match="names a mask"):
        parts["v4"].split({"x": np.ones(3, bool)}, rest="x")
    assert len(parts["v4"].split({"x": np.array([True, False, False])})["x"]) == 1
    assert len(parts["v4"]) == 2


def test_drops_have_the_programs_reasons(runtime, burst) -> None:
    assert burst.drop(burst.headers.l4_dst == 53, reason="dns_policy") == 2
    assert burst.drop(burst.headers.ip_version == 0) == 1
    assert burst.drop(reason="dns_policy") == 3 and len(burst) == 0
    balance({"dns_policy": 5, "filtered": 1})
    assert vn.drop_reasons()["dns_policy"]
    for wrong in ("", "two words", "1st", "ü"):
        with pytest.raises(ValueError, match="a word"):
            burst.drop(reason=wrong)


def test_too_many_reasons(run_python) -> None:
    run_python("""
        import veridnet as vn
        with vn.Runtime(memory="4k", mbufs=1023):
            for k in range(48):
                vn.Burst.from_bytes([bytes(60)]).drop(reason=f"r{k}")
            try:
                vn.Burst.from_bytes([bytes(60)]).drop(reason="r48")
            except ValueError as e:
                assert "too many" in str(e)
            else:
                raise SystemExit("a 49th reason")
    """)


def test_moving_received_packets_keeps_the_count_of_their_bytes(runtime, ring) -> None:
    sent = vn.Burst.from_bytes(packets())
    total = int(sent.lengths.sum())
    ring.tx(sent)
    burst = vn.Burst(32)
    ring.rx(burst)
    udp = burst.select(burst.headers.ip_proto == vn.UDP)
    assert ring.counters()["rx_bytes"] == total
    udp.clear(), burst.clear()


@pytest.mark.parametrize(
    "mask", [[1, 0, 0, 0, 0, 0], np.ones(5, bool), np.ones((6, 1), bool), np.arange(6), True, None]
)
def test_masks_that_are_none(burst, mask) -> None:
    for use in (burst.select, burst.compress, lambda m: burst.split({"a": m})):
        with pytest.raises(TypeError, match="bool array"):
            use(mask)
    assert len(burst) == 6
    burst.clear()


def test_moves_that_cannot_be(burst) -> None:
    everything = np.ones(6, bool)
    small = vn.Burst(5)
    with pytest.raises(vn.BurstError, match="do not fit"):
        burst.select(everything, into=small)
    with pytest.raises(vn.BurstError, match="into itself"):
        burst.select(everything, into=burst)
    view = burst.view(0)
    for use in (
        lambda: burst.select(everything), lambda: burst.drop(everything), lambda: burst.vlan_pop(),
        lambda: burst.split({"a": everything}), lambda: burst.headers.write(), lambda: burst.drop(),
    ):  # fmt: skip
        _ = burst.headers.ip_ttl
        with pytest.raises(vn.ViewError):
            use()
    del view
    assert len(burst) == 6 and len(small) == 0
    burst.clear()


# -- other libraries, and reading -----------------------------------------------------------------


def test_structured_and_dict(burst) -> None:
    h = burst.headers
    rows = h.to_numpy("ip_src", "l4_dst")
    assert rows.dtype.names == ("ip_src", "l4_dst") and rows["l4_dst"][0] == 53
    assert list(h.to_dict("l4")) == ["l4_src", "l4_dst"]
    h.to_dict("l4")["l4_dst"][:] = 0
    assert h.l4_dst[0] == 53, "a copy"
    burst.clear()


@pytest.mark.parametrize(("module", "method"), [
    ("pandas", "to_pandas"), ("pyarrow", "to_arrow"), ("polars", "to_polars"),
])  # fmt: skip
def test_data_frames(burst, module, method) -> None:
    h = burst.headers
    if module not in sys.modules:
        try:
            __import__(module)
        except ImportError:
            with pytest.raises(vn.ConfigError, match=f"{module} is not installed"):
                getattr(h, method)("l4_dst")
            burst.clear()
            pytest.skip(f"{module} is not installed; the error was right")
    frame = getattr(h, method)("ip_src", "l4_dst", "ip6_src_hi", "ip6_src_lo", text=True)
    numbers = getattr(h, method)("ip_src", "l4_dst")
    burst.clear()
    rows = frame.to_pylist() if module == "pyarrow" else (
        frame.to_dict("records") if module == "pandas" else frame.to_dicts()
    )  # fmt: skip
    assert rows[0] == {"ip_src": "10.0.0.1", "l4_dst": 53, "ip6_src": ""}
    assert rows[2]["ip6_src"] == "2001:db8::1"
    assert int(numbers["l4_dst"][0].as_py() if module == "pyarrow" else numbers["l4_dst"][0]) == 53


def test_reading(burst) -> None:
    text = repr(burst)
    assert "<Burst of 6 packets" in text and "UDP 1000 > 53" in text and "vlan 7" in text
    assert "2001:db8::1" in text and "0x0806" in text
    assert "10.0.0.1" in burst.headers.to_text("ip_src") and "and 4 more" in burst.headers.to_text(
        "ip_src", rows=2
    )
    burst.clear()
    assert repr(burst) == "<Burst of 0 packets, capacity 6>"


def test_tables_of_arrays() -> None:
    table = vn.Headers.from_arrays(l4_dst=[53, 80], ip_src=np.array([1, 2], np.int64))
    assert table.ip_src.dtype == np.uint32 and len(table) == 2 and "l4_dst" in repr(table)
    assert table.match("l4_dst < 60").tolist() == [True, False]
    assert table.where("l4_dst < 60").ip_src.tolist() == [1]
    for wrong in (
        {"l4_dst": [65536]}, {"l4_dst": [-1]}, {"l4_dst": [1.5]}, {"l4": [1]}, {"nosuch": [1]},
        {"l4_dst": [1], "l4_src": [1, 2]}, {"l4_dst": [[1]]}, {},
    ):  # fmt: skip
        with pytest.raises(vn.ConfigError):
            vn.Headers.from_arrays(**wrong)
    with pytest.raises(AttributeError, match="has no ip_dst"):
        _ = table.ip_dst
    with pytest.raises(AttributeError, match="has no ip_dst"):
        table.match("ip_dst == 1.2.3.4")


def test_columns_in_numba(burst) -> None:
    numba = pytest.importorskip("numba")

    @numba.njit  # type: ignore[untyped-decorator, unused-ignore]
    def count(proto, port):  # type: ignore[no-untyped-def]
        n = 0
        for i in range(len(proto)):
            n += proto[i] == 17 and port[i] == 53
        return n

    assert count(burst.headers.ip_proto, burst.headers.l4_dst) == 2
    burst.clear()


def test_addresses() -> None:
    assert headers.mac_text(vn.mac("2:0:0:0:0:1")) == "02:00:00:00:00:01"
    assert headers.ip_text(vn.ip("10.1.2.3")) == "10.1.2.3"
    six = vn.ip("2001:db8::1")
    assert headers.ip_text(six >> 64, six & 2**64 - 1) == "2001:db8::1"
    for wrong in ("02:00", "zz:00:00:00:00:01", b"123"):
        with pytest.raises(vn.ConfigError):
            vn.mac(wrong)
    with pytest.raises(vn.ConfigError):
        vn.ip("10.0.0.256")


def test_simd_levels() -> None:
    levels = headers.simd_levels()
    assert levels[0] == "plain" and headers.simd_level() in levels
    with pytest.raises(ValueError, match="no level"):
        headers.set_simd_level("mmx")


def test_the_rss_key(burst) -> None:
    """The test vectors of the RSS specification are for its key; another key, another hash."""
    default = bytes.fromhex(
        "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"
    )
    first = burst.headers.copy("flow_hash").flow_hash
    try:
        headers.set_rss_key(bytes(40))
        burst.headers._forget()
        assert not burst.headers.flow_hash.any()
        headers.set_rss_key(default)
        burst.headers._forget()
        assert burst.headers.flow_hash.tolist() == first.tolist()
    finally:
        headers.set_rss_key(default)
    with pytest.raises(ValueError, match="40 bytes"):
        headers.set_rss_key(b"short")
    burst.clear()
