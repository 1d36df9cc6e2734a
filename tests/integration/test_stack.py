"""The real Linux stack across `veridnet l2fwd --learn`: hosts in namespaces, nothing else between.

A and B are the hosts. Taps are moved into their namespaces (see netns.py); af_packet and af_xdp
ports stand on veth ends in R, where veridnet runs.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from captures import frame, frames
from netns import Lab, Namespace, run_all, wait_until
from running import COMMAND, Live, Run, l2fwd

from veridnet._native import eal

TRAFFIC = str(Path(__file__).resolve().parent / "traffic.py")
MIB = 1 << 20
HOSTS = ("A", "B")
DPDK = tuple(int(n) for n in re.findall(r"\d+", eal.version())[:2])
needs_jumbo_tap = pytest.mark.skipif(
    DPDK < (24, 11), reason="net_tap takes no MTU above 1,500 before DPDK 24.11"
)


def join(
    lab: Lab,
    *kinds: str,
    mtu: int = 1500,
    keys: str = "",
    extra: tuple[str, ...] = (),
    addresses: bool = True,
) -> tuple[Live, list[Namespace], list[str]]:
    """A bridge between hosts A and B by ports of those kinds; (it, namespaces, their devices)."""
    router, hosts = lab.ns("R"), [lab.ns(h) for h in HOSTS]
    router.quiet()  # its own kernel is on those veth ends too
    ports, devices = [], []
    for i, kind in enumerate(kinds):
        device = f"vt{i}"
        devices.append(device)
        if kind == "tap":
            ports += ["-p", f"tap:iface={device}"]
            continue
        lab.veth(HOSTS[i], device, "R", f"r{i}", mtu=mtu)
        hosts[i].offloads_off(device)
        router.up(f"r{i}")
        ports += ["-p", f"{kind}:iface=r{i},offloads=off{keys}"]
    live = Live(lab, "--learn", *ports, *extra, ns=router).ready()
    for i, kind in enumerate(kinds):
        if kind == "tap":
            router.ip("link", "set", devices[i], "netns", hosts[i].name)
        hosts[i].up(devices[i], i + 1 if addresses else 0)
    return live, hosts, devices


def pings(hosts: list[Namespace], *options: str) -> None:
    """Both hosts reach each other by IPv4 and IPv6."""
    for host, other in zip(hosts, (2, 1), strict=True):
        for address in (f"10.77.0.{other}", f"fd77::{other}"):
            assert host.ping(address, *options), f"no echo from {address}"


def transfer(hosts: list[Namespace], size: int, address: str = "10.77.0.2") -> None:
    """TCP from A to B; the SHA-256 at both ends must be equal."""
    receiver = hosts[1].start(sys.executable, TRAFFIC, "receive", address, "5001",
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    wait_until(lambda: "5001" in hosts[1].run("ss", "-ltnH").stdout, "the receiver")
    sender = hosts[0].start(sys.executable, TRAFFIC, "send", address, "5001", str(size),
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    sent, received = (json.loads(o) for o in run_all([sender, receiver], 120))
    assert sent["bytes"] == size
    assert received == sent


def tag(hosts: list[Namespace], devices: list[str], *vids: str) -> None:
    """From now on everything between the hosts carries these tags, and only that is taken."""
    for host, device in zip(hosts, devices, strict=True):
        program = host.start(sys.executable, TRAFFIC, "tag", device, *vids,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
        assert program.stdout is not None and program.stderr is not None
        if program.stdout.readline() != "ready\n":
            pytest.skip(f"no tcx hooks in this kernel: {program.stderr.read().strip()[-200:]}")


@pytest.mark.parametrize(
    ("kinds", "size"),
    [
        pytest.param(("tap", "tap"), 50_000_000, id="tap"),
        pytest.param(("af_packet", "af_packet"), 50_000_000, id="af_packet"),
        pytest.param(("af_xdp", "af_xdp"), 50_000_000, id="af_xdp"),
        pytest.param(("tap", "af_packet"), 50_000_000, id="tap-af_packet"),
        pytest.param(("af_xdp", "tap"), 50_000_000, id="af_xdp-tap"),
    ],
)
def test_ping_and_tcp(lab: Lab, kinds: tuple[str, str], size: int) -> None:
    live, hosts, _ = join(lab, *kinds)
    pings(hosts)
    transfer(hosts, size)
    transfer(hosts, MIB, "fd77::2")
    result = live.stop().ok(in_use=None if "af_xdp" in kinds else 0)
    assert result["mode"] == "bridge" and result["bridge"]["stations"] == 2
    assert result["rx_packets"] > size // 1500
    assert all(p["rx_bytes"] > 0 and p["tx_bytes"] > 0 for p in result["ports"])
    if kinds != ("tap", "tap"):
        assert any("other end" in w for w in result["warnings"])


@pytest.mark.parametrize("vids", [("42",), ("7", "100")], ids=["802.1Q", "QinQ"])
@pytest.mark.parametrize("kind", ["tap", "af_packet", "af_xdp"])
def test_vlan_tags(lab: Lab, kind: str, vids: tuple[str, ...]) -> None:
    """Tagged frames of full size cross too; a capture on a third port shows the tags."""
    live, hosts, devices = join(lab, kind, kind, extra=("-p", "pcap:tx=seen.pcap"))
    tag(hosts, devices, *vids)
    if len(vids) > 1:  # a second tag does not fit beyond the MTU
        for host, device in zip(hosts, devices, strict=True):
            host.ip("route", "replace", "10.77.0.0/24", "dev", device, "mtu", "lock", "1496")
    pings(hosts)
    room = 1500 - 4 * (len(vids) - 1) - 28
    assert hosts[0].ping("10.77.0.2", "-s", str(room), "-M", "do")
    transfer(hosts, 50_000_000 if kind != "af_xdp" and len(vids) == 1 else 10_000_000)
    result = live.stop().ok(in_use=None if kind == "af_xdp" else 0)
    assert result["ports"][0]["rx_packets"] > 1000
    # Floods (ARP, neighbour solicitations) reach the capture. Those from before the tags aside,
    # all carry them.
    tags = b"".join(b"\x81\x00" + int(v).to_bytes(2, "big") for v in reversed(vids))
    arp = [f for f in frames(lab.folder / "seen.pcap") if b"\x08\x06\x00\x01" in f[12:24]]
    assert arp
    assert all(f[12:].startswith(tags + b"\x08\x06") for f in arp)


@pytest.mark.parametrize(
    "kind",
    [
        "tap",
        pytest.param("af_packet", marks=pytest.mark.xfail(
            strict=True, reason="net_af_packet writes 0x8100 for any tag")),
        "af_xdp",
    ],
)  # fmt: skip
def test_tags_of_every_kind_pass_unchanged(lab: Lab, kind: str) -> None:
    """Customer and service tags, both, priority tags, and what no standard names."""
    for label in "ABR":
        lab.ns(label).quiet()
    live, hosts, devices = join(lab, kind, kind, addresses=False)
    raws = [h.raw(d) for h, d in zip(hosts, devices, strict=True)]
    plain = frame("02:00:00:00:00:bb", "02:00:00:00:00:aa", "x", 100)
    tags = ("", "8100002a", "8100e000", "88a80064", "88a8006481000007", "8100006481000007",
            "910000648100000788a80001")  # fmt: skip
    data = [plain[:12] + bytes.fromhex(t) + plain[12:] for t in tags]
    raws[0].send(*data)
    assert raws[1].receive(0.5, at_least=len(data)) == data
    live.stop().ok(in_use=None)


def test_tap_in_the_namespace_that_veridnet_runs_in(lab: Lab) -> None:
    """The other way to wire taps: veridnet starts in A, where its first tap stays."""
    hosts = [lab.ns("A"), lab.ns("B")]
    live = Live(lab, "--learn", "-p", "tap:iface=vt0", "-p", "tap:iface=vt1", ns=hosts[0]).ready()
    hosts[0].ip("link", "set", "vt1", "netns", hosts[1].name)
    for i, host in enumerate(hosts):
        host.up(f"vt{i}", i + 1)
    pings(hosts)
    transfer(hosts, 10_000_000)
    live.stop().ok()


def test_jumbo_frames_through_af_packet(lab: Lab) -> None:
    """9,000 bytes of payload: framesz fits itself to the interface's MTU."""
    live, hosts, _ = join(lab, "af_packet", "af_packet", mtu=9000)
    pings(hosts, "-s", "8952", "-M", "do")
    transfer(hosts, 200_000_000)
    result = live.stop().ok()
    assert set(result["drops"]) <= {"tx_full"} and sum(result["drops"].values()) < 1000
    # TCP used the room: frames of more than 1,500 bytes on average.
    assert result["ports"][0]["rx_bytes"] / result["ports"][0]["rx_packets"] > 1600


def test_jumbo_frames_through_af_packet_as_the_issue_says(lab: Lab) -> None:
    live, hosts, _ = join(
        lab, "af_packet", "af_packet", mtu=9000, keys=",framesz=16384,blocksz=16384"
    )
    pings(hosts, "-s", "8952", "-M", "do")
    live.stop().ok()


@needs_jumbo_tap
def test_jumbo_frames_through_tap(lab: Lab) -> None:
    ports = ("-p", "tap:iface=vt0,mtu=9000", "-p", "tap:iface=vt1,mtu=9000")
    router, hosts = lab.ns("R"), [lab.ns("A"), lab.ns("B")]
    live = Live(lab, "--learn", *ports, ns=router).ready()
    for i, host in enumerate(hosts):
        router.ip("link", "set", f"vt{i}", "netns", host.name)
        host.up(f"vt{i}", i + 1, mtu=9000)
    pings(hosts, "-s", "8952", "-M", "do")
    transfer(hosts, 200_000_000)
    result = live.stop().ok()
    # TCP fills queues; and the interfaces came up one after the other.
    assert set(result["drops"]) <= {"tx_full"} and sum(result["drops"].values()) < 1000
    assert result["ports"][0]["rx_bytes"] / result["ports"][0]["rx_packets"] > 1600


@needs_jumbo_tap
def test_jumbo_frames_through_tap_are_chains_of_buffers(
    lab: Lab, run_python: Callable[..., Any]
) -> None:
    """Each way, by whole frames: received in segments, sent from them, not a byte changed."""
    router = lab.ns("R")
    router.quiet()
    code = """
        import socket, time
        import veridnet as vn
        with vn.Runtime() as rt:
            port = rt.add_port("tap", iface="vt0", mtu=9000)
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5))
            raw.bind(("vt0", 0x88B5))
            raw.settimeout(20)
            head = bytes.fromhex("0200000000aa0200000000bb88b5")
            room = 2048
            for size in (60, room, room + 1, 2 * room + 1, 4 * room, 9014):
                frame = head + bytes(i * 7 % 251 for i in range(size - len(head)))
                raw.send(frame)
                burst, end = vn.Burst(8), time.monotonic() + 20
                while not port.rx(burst):
                    assert time.monotonic() < end, f"{size} bytes do not arrive"
                assert len(burst) == 1 and burst.to_bytes(0) == frame
                # The headroom of the first buffer is free too, or it is not.
                assert -(-size // (room + 128)) <= burst.segments(0) <= size // room + 1
                assert burst.segments(0) > (1 if size > room + 128 else 0)
                assert port.tx(burst) == 1
                while (got := raw.recvfrom(65536))[1][2] == socket.PACKET_OUTGOING:
                    pass
                assert got[0] == frame, (size, len(got[0]))
                print(size)
            assert port.stats["drops"] == {}
        assert rt.mbufs_in_use() == 0 and rt.balance().balanced
    """
    done = run_python(code, prefix=("ip", "netns", "exec", router.name))
    assert done.stdout.split()[-1] == "9014"


@pytest.mark.skipif(DPDK >= (23, 0), reason="DPDK 22.11's net_tap has this limit")
def test_jumbo_frames_through_tap_are_refused(lab: Lab) -> None:
    """By DPDK 22.11, when the port is added, with nothing left behind."""
    router = lab.ns("R")
    run = l2fwd("-p", "tap:iface=vt0,mtu=9000", "-p", "tap:iface=vt1,mtu=9000",
                "--duration", "0.1", cwd=lab.folder, ns=router)  # fmt: skip
    run.one_line("tap", "9000", "MTU")
    assert "vt0" not in router.ip("link"), "the refused port left its interface behind"


def test_frames_too_long_for_the_other_port_are_dropped_by_name(lab: Lab) -> None:
    """A jumbo host behind af_packet, one of 1,500 bytes behind a tap: no frame is cut or sticks."""
    live, hosts, _ = join(lab, "af_packet", "tap", mtu=9000)
    pings(hosts)
    assert hosts[0].no_ping("10.77.0.2", "-s", "4000", "-M", "do")
    pings(hosts)
    result = live.stop().ok()
    assert result["drops"]["too_long"] == 3
    assert result["ports"][1]["drops"]["too_long"] == 3


def test_frames_too_long_for_af_xdp(lab: Lab) -> None:
    """The interface's MTU is above what af_xdp's 2,048-byte buffers hold: said, and dropped."""
    lab.veth("A", "vt0", "R", "r0", mtu=3000)
    lab.ns("A").offloads_off("vt0")
    router, hosts = lab.ns("R"), [lab.ns("A"), lab.ns("B")]
    router.up("r0")
    lab.veth("B", "vt1", "R", "r1", mtu=3000)
    hosts[1].offloads_off("vt1")
    router.up("r1")
    live = Live(lab, "--learn", "-p", "af_xdp:iface=r0,offloads=off",
                "-p", "af_packet:iface=r1,offloads=off", ns=router).ready()  # fmt: skip
    for i, host in enumerate(hosts):
        host.up(f"vt{i}", i + 1)
    pings(hosts)
    # From B to A: our af_xdp port cannot send it.
    assert hosts[1].no_ping("10.77.0.1", "-s", "2500", "-M", "do")
    pings(hosts)
    run = live.stop()
    result = run.ok(in_use=None)
    assert result["drops"].get("too_long") == 3
    assert "2,048" in run.stderr


@pytest.mark.parametrize("kind", ["af_packet", "af_xdp"])
def test_offloads_that_are_on_are_named_with_the_command_that_mends_them(
    lab: Lab, kind: str
) -> None:
    lab.veth("A", "vt0", "R", "r0")
    lab.ns("R").up("r0")
    lab.ns("A").up("vt0")
    run = l2fwd("-p", f"{kind}:iface=r0", "-p", "null:no_rx=on", "--duration", "0.2",
                cwd=lab.folder, ns=lab.ns("R"))  # fmt: skip
    result = run.ok(in_use=None)
    (warning,) = result["warnings"]
    assert "ethtool -K r0 " in warning and "tx off" in warning and "offloads=off" in warning
    assert warning in run.stderr
    assert ("txvlan off" in warning and "rxvlan off" in warning) is (kind == "af_xdp")
    # And the command does what it says.
    command = warning.split("mend: ")[1].split(" (")[0].split(",")[0].split()
    assert lab.ns("R").run(*command).returncode == 0
    again = l2fwd("-p", f"{kind}:iface=r0", "-p", "null:no_rx=on", "--duration", "0.2",
                  cwd=lab.folder, ns=lab.ns("R"))  # fmt: skip
    assert again.ok(in_use=None)["warnings"] == []


@pytest.mark.parametrize("kind", ["af_packet", "af_xdp"])
def test_offloads_are_off_only_while_the_port_is_there(lab: Lab, kind: str) -> None:
    lab.veth("A", "vt0", "R", "r0")
    router = lab.ns("R")
    router.up("r0")
    lab.ns("A").up("vt0")

    def on() -> set[str]:
        names = {"tx-checksumming", "tx-tcp-segmentation", "generic-segmentation-offload",
                 "generic-receive-offload", "rx-vlan-offload", "tx-vlan-offload"}  # fmt: skip
        lines = router.run("ethtool", "-k", "r0").stdout.splitlines()
        return {n.strip() for n, _, v in (x.partition(": ") for x in lines) if v == "on"} & names

    before = on()
    assert {"tx-checksumming", "rx-vlan-offload", "tx-vlan-offload"} <= before
    live = Live(lab, "-p", f"{kind}:iface=r0,offloads=off", "-p", "null:no_rx=on", ns=router)
    live.ready()
    assert on() == ({"rx-vlan-offload", "tx-vlan-offload"} if kind == "af_packet" else set())
    result = live.stop().ok(in_use=None)
    assert on() == before
    assert (kind == "af_xdp") is any("PEER" in w and "txvlan" in w for w in result["warnings"])


def test_an_interface_of_a_namespace_without_a_sys_of_its_own(lab: Lab) -> None:
    """nsenter --net: /sys/class/net still shows the interfaces outside."""
    lab.veth("A", "vt0", "R", "r0", mtu=1400)
    router = lab.ns("R")
    router.up("r0")
    lab.ns("A").up("vt0")
    enter = ("nsenter", f"--net=/run/netns/{router.name}")
    seen = []
    for before in (("ip", "netns", "exec", router.name), enter):
        done = subprocess.run([*before, *COMMAND, "ports", "--json"], capture_output=True,
                              text=True, timeout=30, check=True)  # fmt: skip
        seen.append(json.loads(done.stdout)["interfaces"])
    assert seen[0] == seen[1]
    (r0,) = seen[0]
    assert (r0["name"], r0["driver"], r0["mtu"], r0["up"]) == ("r0", "veth", 1400, True)
    assert r0["mac"] in router.ip("link", "show", "r0")
    for kind in ("af_packet", "af_xdp"):
        done = subprocess.run(
            [*enter, *COMMAND, "l2fwd", "-p", f"{kind}:iface=r0", "-p", "null:no_rx=on",
             "--duration", "0.1", "--json"],
            capture_output=True, text=True, timeout=30, cwd=lab.folder,
        )  # fmt: skip
        Run(done.returncode, done.stdout, done.stderr).ok(in_use=None)
