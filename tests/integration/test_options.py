"""The forwarder's options: when it ends, which ports it has, who forwards."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from captures import frame, frames, texts, write
from netns import Lab, wait_until
from running import Live, l2fwd

A, B = "02:00:00:00:00:aa", "02:00:00:00:00:bb"
NULLS = ("-p", "null:size=64", "-p", "null:size=64")


def numbered(path: Path, n: int, start: int = 0) -> Path:
    return write(path, (frame(B, A, f"{i}") for i in range(start, start + n)))


# -- when it ends ---------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 31, 32, 33, 1000, 1_000_003])
def test_count_is_exact(tmp_path: Path, count: int) -> None:
    result = l2fwd(*NULLS, "--count", str(count), cwd=tmp_path).ok()
    assert result["rx_packets"] == count and result["ended_by"] == "count reached"


@pytest.mark.parametrize("extra", [("--burst", "512"), ("--learn",), ("--queues", "2")])
def test_count_is_exact_with_two_workers(tmp_path: Path, extra: tuple[str, ...]) -> None:
    result = l2fwd(*NULLS, "--count", "300007", "--lcores", "0,1", *extra, cwd=tmp_path).ok()
    assert result["rx_packets"] == 300_007


def test_count_within_a_trace(tmp_path: Path) -> None:
    numbered(tmp_path / "in.pcap", 100)
    args = ("-p", "pcap:rx=in.pcap", "-p", "pcap:tx=out.pcap", "--count")
    assert l2fwd(*args, "70", cwd=tmp_path).ok()["rx_packets"] == 70
    assert texts(frames(tmp_path / "out.pcap")) == [f"{i}" for i in range(70)]
    result = l2fwd(*args, "1000", cwd=tmp_path).ok()
    assert (result["rx_packets"], result["ended_by"]) == (100, "end of trace")


def test_count_on_idle_ports(lab: Lab) -> None:
    """Nothing arrives for a while, then more than the count."""
    ns = lab.ns("R")
    ns.quiet()
    live = Live(lab, "-p", "tap:iface=vt0", "-p", "tap:iface=vt1", "--count", "5", ns=ns)
    live.ready()
    time.sleep(1)
    assert live.running, f"ended before anything came: {live.stderr}"
    raw = ns.raw("vt0")
    raw.send(*(frame(B, A, f"{i}") for i in range(9)))
    result = live.wait().ok()
    assert result["rx_packets"] == 5 and result["ended_by"] == "count reached"


def test_duration(tmp_path: Path) -> None:
    result = l2fwd(*NULLS, "--duration", "0.5", cwd=tmp_path).ok()
    assert 0.5 <= result["duration_s"] < 4 and result["ended_by"] == "duration over"


def test_until_idle(lab: Lab) -> None:
    """It goes on while packets come, and ends soon after the last."""
    ns = lab.ns("R")
    ns.quiet()
    live = Live(lab, "-p", "tap:iface=vt0", "-p", "tap:iface=vt1", "--until-idle", "1", ns=ns)
    live.ready()
    raw = ns.raw("vt0")
    for i in range(8):
        raw.send(frame(B, A, f"{i}"))
        time.sleep(0.2)  # far less than the 1 s, all together more
    assert live.running
    result = live.wait().ok()
    assert result["rx_packets"] == 8 and result["ended_by"] == "idle"
    assert 2.5 < result["duration_s"] < 12


def test_the_end_of_all_traces_ends_it(tmp_path: Path) -> None:
    """Not that of the first; a port that is no trace does not keep it going."""
    numbered(tmp_path / "a.pcap", 3)
    numbered(tmp_path / "b.pcap", 5000)
    result = l2fwd("-p", "pcap:rx=a.pcap,tx=a.out", "-p", "pcap:rx=b.pcap,tx=b.out",
                   "-p", "pcap:tx=c.out", cwd=tmp_path).ok()  # fmt: skip
    assert result["rx_packets"] == 5003 and result["ended_by"] == "end of trace"
    result = l2fwd("-p", "pcap:rx=a.pcap,tx=a.out", "-p", "null:no_rx=on", cwd=tmp_path).ok()
    assert result["rx_packets"] == 3


def test_infinite_replays_the_trace(tmp_path: Path) -> None:
    numbered(tmp_path / "in.pcap", 7)
    result = l2fwd("-p", "pcap:rx=in.pcap,infinite=on", "-p", "pcap:tx=out.pcap",
                   "--count", "1000", cwd=tmp_path).ok()  # fmt: skip
    assert result["rx_packets"] == 1000
    assert texts(frames(tmp_path / "out.pcap")) == [f"{i % 7}" for i in range(1000)]


# -- which ports, and which pairs -----------------------------------------------------------------


def test_portmap_by_order_and_by_name(tmp_path: Path) -> None:
    for i in range(4):
        numbered(tmp_path / f"in{i}.pcap", 2, 10 * i)
    ports = [w for i, n in enumerate("abcd")
             for w in ("-p", f"pcap:rx=in{i}.pcap,tx=out{i}.pcap,name={n}")]  # fmt: skip
    for text, to in (("(0,2)(1,3)", (2, 3, 0, 1)), ("(a,d),(b,c)", (3, 2, 1, 0)),
                     ("(a,a)(1,b)(c,d)", (0, 1, 3, 2))):  # fmt: skip
        result = l2fwd(*ports, "--portmap", text, cwd=tmp_path)
        data = result.ok()
        assert list(result.ports) == ["a", "b", "c", "d"]
        for i in range(4):
            out = frames(tmp_path / f"out{to[i]}.pcap")
            assert texts(out) == [f"{10 * i}", f"{10 * i + 1}"]
            assert {f[:6].hex() for f in out} == {f"0200000000{to[i]:02x}"}
            assert {f[6:12].hex(":") for f in out} == {data["ports"][to[i]]["mac"]}


def test_an_odd_last_port_sends_its_packets_back(tmp_path: Path) -> None:
    for i in range(3):
        numbered(tmp_path / f"in{i}.pcap", 2, 10 * i)
    ports = [w for i in range(3) for w in ("-p", f"pcap:rx=in{i}.pcap,tx=out{i}.pcap")]
    run = l2fwd(*ports, cwd=tmp_path)
    run.ok()
    assert [texts(frames(tmp_path / f"out{i}.pcap")) for i in range(3)] == [
        ["10", "11"], ["0", "1"], ["20", "21"]]  # fmt: skip
    assert "odd number of ports" in run.stderr


def test_one_port_alone(tmp_path: Path) -> None:
    numbered(tmp_path / "in.pcap", 5)
    l2fwd("-p", "pcap:rx=in.pcap,tx=out.pcap", cwd=tmp_path).ok()
    assert texts(frames(tmp_path / "out.pcap")) == [f"{i}" for i in range(5)]


def test_a_port_that_only_receives(tmp_path: Path) -> None:
    """A pcap port without tx= drops what would leave by it, by name."""
    numbered(tmp_path / "in.pcap", 5)
    result = l2fwd("-p", "pcap:rx=in.pcap", "-p", "pcap:rx=in.pcap", cwd=tmp_path).ok()
    assert result["drops"] == {"rx_only": 10}


def test_dpdks_own_words(tmp_path: Path) -> None:
    """--vdev takes what testpmd takes; the order on the command line is the ports' order."""
    numbered(tmp_path / "in.pcap", 50)
    result = l2fwd("--vdev", "net_pcap0,rx_pcap=in.pcap,tx_pcap=back.pcap",
                   "-p", "pcap:tx=out.pcap",
                   "--vdev", "net_null0,size=100,no-rx=1", "--vdev", "net_ring0",
                   cwd=tmp_path)  # fmt: skip
    data = result.ok()
    assert [p["kind"] for p in data["ports"]] == ["pcap", "pcap", "null", "ring"]
    assert texts(frames(tmp_path / "out.pcap")) == [f"{i}" for i in range(50)]
    data = l2fwd("--vdev", "net_null3,size=100,copy=1", "--vdev", "net_null1", "--count", "64",
                 cwd=tmp_path).ok()  # fmt: skip
    assert {p["rx_bytes"] // max(1, p["rx_packets"]) for p in data["ports"]} <= {0, 64, 100}


def test_memif_in_dpdks_words(tmp_path: Path) -> None:
    """DPDK's older names of the roles too."""
    for role in ("server", "master"):
        l2fwd("--vdev", f"net_memif0,role={role},socket={tmp_path}/m.sock,socket-abstract=no",
              "-p", "null:no_rx=on", "--duration", "0.1", cwd=tmp_path).ok()  # fmt: skip


def test_a_driver_that_is_no_kind(tmp_path: Path) -> None:
    """vdev: any virtual driver by its own arguments, here net_null as if it were unknown."""
    result = l2fwd("-p", "vdev:device=net_null9,devargs=size=77,copy=1", "-p", "null:no_rx=on",
                   "--count", "100", cwd=tmp_path).ok()  # fmt: skip
    assert result["ports"][0]["kind"] == "vdev"
    assert result["ports"][0]["rx_bytes"] == 7700


def test_a_ring_gives_back_what_it_got(tmp_path: Path) -> None:
    numbered(tmp_path / "in.pcap", 3000)
    l2fwd("-p", "pcap:rx=in.pcap,tx=out.pcap", "-p", "ring", "--until-idle", "1",
          cwd=tmp_path).ok()  # fmt: skip
    assert texts(frames(tmp_path / "out.pcap")) == [f"{i}" for i in range(3000)]
    # Without it the run ends with the trace, and what is left in the ring is given back.
    l2fwd("-p", "pcap:rx=in.pcap,tx=out.pcap", "-p", "ring", cwd=tmp_path).ok()


def test_mac_key(tmp_path: Path) -> None:
    numbered(tmp_path / "in.pcap", 2)
    l2fwd("-p", "pcap:rx=in.pcap", "-p", "pcap:tx=out.pcap,mac=02:11:22:33:44:55",
          cwd=tmp_path).ok()  # fmt: skip
    assert {f[:12].hex() for f in frames(tmp_path / "out.pcap")} == {"020000000001021122334455"}


def test_promiscuous(lab: Lab) -> None:
    """On by default; --no-promiscuous leaves the interface alone, and a port's own key wins."""
    lab.veth("A", "vt0", "R", "r0")
    ns = lab.ns("R")
    ns.up("r0")
    for options, keys, on in (((), "", True), (("--no-promiscuous",), "", False),
                              (("--no-promiscuous",), ",promiscuous=on", True)):  # fmt: skip
        live = Live(lab, "-p", f"af_packet:iface=r0,offloads=off{keys}", "-p", "null:no_rx=on",
                    *options, ns=ns).ready()  # fmt: skip
        flags = ns.run("cat", "/sys/class/net/r0/flags").stdout
        details = ns.ip("-d", "link", "show", "r0")
        assert ("PROMISC" in details or bool(int(flags, 16) & 0x100)) is on, details
        live.stop().ok()


@pytest.mark.parametrize("kind", ["af_packet", "af_xdp"])
def test_promiscuous_is_as_before_when_the_port_has_gone(lab: Lab, kind: str) -> None:
    """Set by the port and cleared again, or set by somebody else and left so."""
    lab.veth("A", "vt0", "R", "r0")
    ns = lab.ns("R")
    ns.up("r0")
    lab.ns("A").up("vt0")
    for before in ("off", "on"):
        ns.ip("link", "set", "r0", "promisc", before)
        for keys in ("", ",promiscuous=off"):
            live = Live(lab, "-p", f"{kind}:iface=r0,offloads=off{keys}", "-p", "null:no_rx=on",
                        ns=ns).ready()  # fmt: skip
            assert ("PROMISC" in ns.ip("link", "show", "r0")) is (keys == "")
            live.stop().ok(in_use=None)
            assert ("PROMISC" in ns.ip("link", "show", "r0")) is (before == "on")


# -- profiles -------------------------------------------------------------------------------------


def test_a_profile_and_the_command_line_over_it(tmp_path: Path) -> None:
    numbered(tmp_path / "in.pcap", 100)
    (tmp_path / "p.toml").write_text(
        """
        [runtime]
        memory = "thp"
        mbufs = 8191
        [[port]]
        kind = "pcap"
        rx = "in.pcap"
        name = "source"
        [[port]]
        kind = "pcap"
        tx = "out.pcap"
        [l2fwd]
        mac_updating = false
        count = 40
        """
    )
    result = l2fwd("--config", "p.toml", cwd=tmp_path).ok()
    assert result["rx_packets"] == 40 and result["ports"][0]["name"] == "source"
    assert frames(tmp_path / "out.pcap") == frames(tmp_path / "in.pcap")[:40]
    result = l2fwd("--config", "p.toml", "--count", "60", "-p", "null:no_rx=on", cwd=tmp_path).ok()
    assert result["rx_packets"] == 60 and len(result["ports"]) == 3


def test_profiles_that_the_project_brings(tmp_path: Path, demo_pcap: Path) -> None:
    """Those that need nothing of the machine run as they are, beside examples/."""
    root = demo_pcap.parent.parent
    profiles = {p.stem: p for p in (root / "dpdk-config").glob("*.toml")}
    if not profiles:
        pytest.skip("no profiles in dpdk-config/")
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "demo.pcap").symlink_to(demo_pcap)
    for name in ("null", "ring", "pcap"):
        if name in profiles:
            l2fwd("--config", str(profiles[name]), "--duration", "0.2", cwd=tmp_path).ok()


# -- who forwards ---------------------------------------------------------------------------------


def test_queues_and_two_workers(tmp_path: Path) -> None:
    """Two queues a port, two workers, each with a queue of both ports."""
    result = l2fwd("-p", "null:size=64", "-p", "null:size=64", "--queues", "2", "--lcores", "0,1",
                   "--duration", "1", cwd=tmp_path).ok()  # fmt: skip
    assert [w["cpu"] for w in result["workers"]] == [0, 1]
    assert all(w["busy_passes"] > 0 for w in result["workers"])


@pytest.mark.parametrize("extra", [(), ("--learn",)], ids=["pairs", "bridge"])
def test_two_workers_share_a_tx_queue(tmp_path: Path, extra: tuple[str, ...]) -> None:
    """Four captures into each other: whoever sends, nothing is lost or mixed up."""
    for i in range(4):
        numbered(tmp_path / f"in{i}.pcap", 3000, 10_000 * i)
    ports = [w for i in range(4) for w in ("-p", f"pcap:rx=in{i}.pcap,tx=out{i}.pcap")]
    if extra:
        ports = ports[2:] + ports[:2]
    result = l2fwd(*ports, "--lcores", "0,1", *extra, cwd=tmp_path).ok()
    assert len(result["workers"]) == 2
    if not extra:
        for i in range(4):
            assert texts(frames(tmp_path / f"out{i ^ 1}.pcap")) == [
                f"{n}" for n in range(10_000 * i, 10_000 * i + 3000)
            ]


def test_lcores_names_the_cpu(tmp_path: Path) -> None:
    result = l2fwd(*NULLS, "--lcores", "1", "--count", "1000", cwd=tmp_path).ok()
    assert [w["cpu"] for w in result["workers"]] == [1]


@pytest.mark.parametrize("burst", ["1", "7", "512"])
def test_burst(tmp_path: Path, burst: str) -> None:
    numbered(tmp_path / "in.pcap", 1000)
    l2fwd("-p", "pcap:rx=in.pcap", "-p", "pcap:tx=out.pcap", "--burst", burst, cwd=tmp_path).ok()
    assert len(frames(tmp_path / "out.pcap")) == 1000


def test_what_a_full_port_does_not_take(tmp_path: Path) -> None:
    """A server without a client takes nothing: retried for retry_us, or dropped at once."""
    numbered(tmp_path / "in.pcap", 10)
    for options, keys, retries in (((), "", True), (("--tx-full", "drop"), "", False),
                                   ((), ",retry_us=0", None)):  # fmt: skip
        result = l2fwd("-p", "pcap:rx=in.pcap", "-p",
                       f"memif:role=server,socket={tmp_path}/m.sock{keys}", *options,
                       cwd=tmp_path).ok()  # fmt: skip
        assert result["drops"] == {"tx_full": 10}
        if retries is not None:
            assert (result["ports"][1]["retries"] > 0) is retries


def test_stats_period(lab: Lab) -> None:
    live = Live(lab, *NULLS).ready()
    wait_until(lambda: live.stderr.count("rx pps") >= 3, "three tables", 4)
    live.stop().ok()
