"""Port: what it says of itself, and its control path."""

from __future__ import annotations

import numpy as np
import pytest

import veridnet as vn
from veridnet.config import PortSpec


def test_names_and_orders(runtime) -> None:
    a = runtime.add_port("null")
    b = runtime.add_port("null", name="wan")
    c = runtime.add_port("null:name=lan,size=100")
    assert [p.name for p in runtime.ports] == ["0", "wan", "lan"]
    assert [p.index for p in runtime.ports] == [0, 1, 2]
    assert runtime.port("wan") is b
    assert runtime.port(0) is a
    assert runtime.port("lan") is c
    with pytest.raises(vn.ConfigError, match="no port 'x'"):
        runtime.port("x")
    with pytest.raises(vn.ConfigError, match="already a port named 'wan'"):
        runtime.add_port("null", name="wan")
    assert len(runtime.ports) == 3
    assert repr(a) == "<Port 0 (null), 1 queue(s)>"


@pytest.mark.parametrize(
    ("args", "options"),
    [(("null",), {"size": 100}), (("null:size=100",), {}), (("null:size=9",), {"size": "100"}),
     ((PortSpec("null", {"size": 100}),), {})],
)  # fmt: skip
def test_ways_to_say_a_port(runtime, args, options) -> None:
    burst = vn.Burst(4)
    assert runtime.add_port(*args, **options).rx(burst) == 4
    assert burst.lengths.tolist() == [100] * 4


def test_vdev(runtime) -> None:
    assert runtime.add_vdev("net_null7,size=100").kind == "null"
    assert runtime.add_vdev("net_ring_own").kind == "vdev"
    with pytest.raises(vn.ConfigError, match="no network device"):
        runtime.add_vdev("crypto_null")
    with pytest.raises(vn.PortError):
        runtime.add_vdev("net_nosuchdriver0")


@pytest.mark.parametrize(
    ("kind", "options", "error"),
    [
        ("nul", {}, vn.ConfigError),
        ("null", {"sise": 1}, vn.ConfigError),
        ("null", {"size": 13}, vn.ConfigError),
        ("null", {"queues": 65}, vn.ConfigError),
        ("null", {"mac": "xyz"}, vn.ConfigError),
        ("ring", {"mac": "01:00:00:00:00:01"}, vn.ConfigError),
        ("0000:ff:1f.7", {}, vn.VeridnetError),
        ("af_packet", {"iface": "no-such-iface"}, vn.PortError),
        ("af_packet", {}, vn.ConfigError),
    ],
)
def test_a_port_that_cannot_be_leaves_nothing(runtime, kind, options, error) -> None:
    before = runtime.pool.in_use
    for _ in range(2):
        with pytest.raises(error) as e:
            runtime.add_port(kind, **options)
        assert "\n" not in str(e.value)
    assert runtime.ports == []
    assert runtime.pool.in_use == before


def test_a_failed_port_leaves_no_file(runtime, tmp_path) -> None:
    runtime.add_port("null", name="x")
    new, old = tmp_path / "new.pcap", tmp_path / "old.pcap"
    old.write_bytes(b"mine")
    for path in (new, old):
        with pytest.raises(vn.ConfigError, match="already a port"):
            runtime.add_port("pcap", tx=path, name="x")
    assert not new.exists()
    assert old.read_bytes() == b"mine"


def test_attributes(runtime) -> None:
    port = runtime.add_port("null", mac="02:00:00:00:00:77", mtu=1400)
    assert port.mac == "02:00:00:00:00:77"
    assert port.mtu == 1400
    assert port.kind == "null"
    assert port.info()["driver"] == "net_null"
    assert port.link() == {"up": True, "speed_mbps": 10000, "full_duplex": True}
    assert port.promiscuous is True
    assert port.receives
    assert not port.finite
    assert not port.exhausted
    assert not port.closed
    port.mac = b"\x02\0\0\0\0\x78"
    assert port.mac == "02:00:00:00:00:78"
    port.mtu = 1300
    assert port.mtu == 1300


@pytest.mark.parametrize("mtu", [-1, 0, 45, 1501, 65536, 10**6])
def test_mtu_refuses(runtime, mtu: int) -> None:
    port = runtime.add_port("null")
    with pytest.raises(vn.VeridnetError):
        port.mtu = mtu
    assert port.mtu == 1500


def test_what_a_driver_refuses(ring) -> None:
    ring.mac = "02:00:00:00:00:01"  # its driver cannot; the port can
    assert ring.mac == "02:00:00:00:00:01"
    with pytest.raises(vn.ConfigError, match="no address of a single station"):
        ring.mac = "03:00:00:00:00:01"
    with pytest.raises(vn.PortError, match="MTU of 1400"):
        ring.mtu = 1400
    with pytest.raises(vn.ConfigError, match="not a MAC address"):
        ring.mac = "02:00"


def test_promiscuous(ring) -> None:
    ring.promiscuous = False
    assert ring.promiscuous is False
    ring.promiscuous = True
    assert ring.promiscuous is True


def test_stats_are_the_burst_calls(runtime, make_frames) -> None:
    port = runtime.add_port("ring")
    port.tx(vn.Burst.from_bytes(make_frames(10, 100)))
    burst = vn.Burst(4)
    port.rx(burst)
    assert port.stats == port.counters() == {
        "rx_packets": 4, "rx_bytes": 400, "tx_packets": 10, "tx_bytes": 1000,
        "retries": 0, "drops": {}, "pmd_lost": 0,
    }  # fmt: skip
    pmd = port.pmd_stats()
    assert (pmd["ipackets"], pmd["opackets"]) == (4, 10)
    burst.clear()
    port.close()
    assert port.stats["tx_bytes"] == 1000


def test_xstats(runtime) -> None:
    port = runtime.add_port("null", size=64)
    burst = vn.Burst(32)
    port.rx(burst)
    xstats = port.xstats()
    assert xstats["rx_good_packets"] == 32
    array = port.xstats_array()
    assert array.dtype == np.dtype([("name", "U63"), ("value", np.uint64)])
    assert dict(array.tolist()) == xstats
    assert len(array) >= 8


def test_queues(runtime) -> None:
    port = runtime.add_port("null", queues=3)
    assert (port.n_rx_queues, port.n_tx_queues) == (3, 3)
    burst = vn.Burst(4)
    for q in range(3):
        assert port.rx(burst, q) == 4
        assert port.tx(burst, queue=q) == 4
    assert port.stats["rx_packets"] == port.stats["tx_packets"] == 12
    with pytest.raises(IndexError, match="rx queue 3 of 3"):
        port.rx(burst, 3)
    port.rx(burst)
    with pytest.raises(IndexError, match="tx queue 3 of 3"):
        port.tx(burst, 3)
    with pytest.raises(OverflowError):
        port.tx(burst, -1)
    assert len(burst) == 4


def test_arguments_are_checked(ring) -> None:
    for call in (ring.rx, ring.tx):
        with pytest.raises(TypeError):
            call(None)
        with pytest.raises(TypeError):
            call([bytes(60)])
    burst = vn.Burst.from_bytes([bytes(60)])
    for policy in ("loop", "", 1, []):
        with pytest.raises(vn.ConfigError, match="unknown tx policy"):
            ring.tx(burst, policy=policy)
    assert ring.tx(burst) == 1


def test_stop_and_start(ring, make_frames) -> None:
    burst = vn.Burst.from_bytes(make_frames(2))
    ring.stop()
    ring.stop()
    for call in (ring.rx, ring.tx):
        with pytest.raises(vn.StateError, match="not started"):
            call(burst)
    ring.start()
    ring.start()
    assert ring.tx(burst) == 2


def test_close(runtime, make_frames) -> None:
    port = runtime.add_port("ring")
    port.tx(vn.Burst.from_bytes(make_frames(7)))
    burst = vn.Burst(3)
    port.rx(burst)
    port.close()
    port.close()
    assert port.closed
    assert port.exhausted
    assert port.details["left_in_ring"] == 4
    assert port.stats["rx_packets"] == 3
    for use in (
        lambda: port.mac, lambda: port.mtu, port.info, port.link, port.xstats, port.pmd_stats,
        port.start, port.stop, lambda: port.rx(burst), lambda: port.tx(burst), port.drain,
    ):  # fmt: skip
        with pytest.raises(vn.ClosedError, match="closed"):
            use()
    assert "closed" in repr(port)
    # The burst's packets are the pool's, not the port's.
    assert [burst.to_bytes(i) for i in range(3)] == make_frames(3)
    other = runtime.add_port("ring")
    assert other.tx(burst) == 3


@pytest.mark.parametrize("how", ["stopped", "started"])
def test_what_a_ring_holds_is_freed_when_it_closes(runtime, make_frames, how: str) -> None:
    port = runtime.add_port("ring")
    port.tx(vn.Burst.from_bytes(make_frames(9)))
    if how == "stopped":
        port.stop()
    port.close()
    assert runtime.pool.in_use == 0


def test_ports_come_and_go(runtime) -> None:
    for _ in range(40):
        port = runtime.add_port("ring")
        port.tx(vn.Burst.from_bytes([bytes(60)]))
        port.close()
    assert runtime.pool.in_use == 0
    assert len(runtime.pools) == 1


def test_a_closed_port_s_name_is_free_again(runtime) -> None:
    runtime.add_port("null", name="wan").close()
    port = runtime.add_port("ring", name="wan")
    assert runtime.port("wan") is port
    port.close()
    assert runtime.port("wan") is port


def test_a_port_s_own_pool_goes_with_it(runtime, tmp_path, write_pcap, make_frames) -> None:
    trace = write_pcap(tmp_path / "in.pcap", make_frames(10))
    for _ in range(3):
        port = runtime.add_port("pcap", rx=trace, infinite=True)
        burst = vn.Burst(4)
        port.rx(burst)
        pool = port.pool
        assert pool is not runtime.pool
        port.close()
        assert pool.closed
        assert [burst.to_bytes(i) for i in range(4)] == make_frames(4)
        assert pool.in_use == 4
        burst.clear()
        assert pool.in_use == 0


def test_a_device_that_is_not_configured(run_python) -> None:
    """NativePort, used out of order."""
    run_python(
        """
        import veridnet as vn
        from veridnet._native import eal
        from veridnet._native.port import NativePort
        with vn.Runtime():
            eal.hotplug_add("vdev", "net_ring_bare", "")
            port = NativePort("net_ring_bare")
            burst = vn.Burst.from_bytes([bytes(60)])
            for use in (lambda: port.set_trace(1), lambda: port.tx(burst), port.drain):
                try:
                    use()
                except vn.StateError:
                    pass
                else:
                    raise AssertionError("not refused")
            port.set_tx(max_frame=100)
            assert port.counters()["tx_packets"] == 0
            assert not port.exhausted
            port.close()
            eal.hotplug_remove("vdev", "net_ring_bare")
        """
    )
