"""memif: two processes and shared memory between them; and what is left when one is killed."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from captures import frame, frames, write
from netns import Lab, wait_until
from running import Live, l2fwd

# The longest wait for a peer that is not there yet: 1 s a burst, then what is next is dropped.
PATIENT = "retry_us=1000000"


def memif(lab: Lab, role: str, keys: str = "") -> str:
    return f"memif:role={role},socket={lab.folder}/memif.sock{',' + keys if keys else ''}"


#: Buffers that hold the longest of `sizes`, for both ends.
JUMBO = "bsize=9216"


def sizes(path: Path, repeat: int = 300, longest: int = 9216) -> Path:
    """Frames of every kind of length; with 300 repeats the ring of 1,024 slots goes round twice."""
    lengths = [n for n in (14, 60, 1514, 2047, 2048, 2049, 4096, 9018, 9216, 60) if n <= longest]
    data = [frame("02:00:00:00:00:aa", "02:00:00:00:00:bb", f"{n}", n) for n in lengths * repeat]
    return write(path, data)


@pytest.mark.parametrize("trace", ["demo", "sizes"])
def test_a_capture_crosses_whole(lab: Lab, tmp_path: Path, demo_pcap: Path, trace: str) -> None:
    """In one process a capture in, in the other a capture out, equal byte for byte."""
    source = demo_pcap if trace == "demo" else sizes(tmp_path / "in.pcap")
    server = Live(lab, "-p", memif(lab, "server", JUMBO), "-p", "pcap:tx=out.pcap",
                  "--no-mac-updating", "--lcores", "0").ready()  # fmt: skip
    # After its trace the sender stays until the other has taken everything out of the rings.
    sent = l2fwd("-p", f"pcap:rx={source}", "-p", memif(lab, "client", f"{JUMBO},{PATIENT}"),
                 "--lcores", "1",
                 "--no-mac-updating", "--until-idle", "2", cwd=tmp_path).ok()  # fmt: skip
    still(server)
    received = server.stop().ok()
    assert sent["drops"] == received["drops"] == {}
    assert sent["tx_packets"] == received["rx_packets"] == len(frames(source))
    assert frames(tmp_path / "out.pcap") == frames(source)


@pytest.mark.parametrize("words", ["ours", "dpdk"])
def test_a_frame_longer_than_a_buffer(lab: Lab, tmp_path: Path, words: str) -> None:
    """It is dropped by name: net_memif's chains of buffers break the ring once it goes round."""
    source = sizes(tmp_path / "in.pcap")
    server = Live(lab, "-p", memif(lab, "server"), "-p", "pcap:tx=out.pcap", "--no-mac-updating",
                  "--lcores", "0").ready()  # fmt: skip
    port = memif(lab, "client", PATIENT)
    if words == "dpdk":
        port = (f"vdev:device=net_memif0,{PATIENT},devargs=role=client,"
                f"socket={lab.folder}/memif.sock,socket-abstract=no")  # fmt: skip
    sent = l2fwd("-p", f"pcap:rx={source}", "-p", port, "--lcores", "1", "--no-mac-updating",
                 "--until-idle", "2", cwd=tmp_path).ok()  # fmt: skip
    still(server)
    received = server.stop().ok()
    short = [f for f in frames(source) if len(f) <= 2048]
    assert sent["drops"] == {"too_long": len(frames(source)) - len(short)}
    assert sent["tx_packets"] == received["rx_packets"] == len(short)
    assert frames(tmp_path / "out.pcap") == short


def test_there_and_back(lab: Lab, tmp_path: Path) -> None:
    """The other process has one port, which sends its packets back: both directions."""
    source = sizes(tmp_path / "in.pcap")
    server = Live(lab, "-p", memif(lab, "server", f"{JUMBO},{PATIENT}"), "--no-mac-updating",
                  "--lcores", "0").ready()  # fmt: skip
    l2fwd(
        "-p",
        f"pcap:rx={source},tx=out.pcap",
        "-p",
        memif(lab, "client", f"{JUMBO},{PATIENT}"),
        "--lcores",
        "1",
        "--no-mac-updating",
        "--until-idle",
        "0.7",
        cwd=tmp_path,
    ).ok()
    still(server)
    server.stop().ok()
    assert frames(tmp_path / "out.pcap") == frames(source)


def stream(lab: Lab, role: str, keys: str = "") -> Live:
    """A process that sends into a memif port as fast as it can, on CPU 0."""
    return Live(lab, "-p", "null:size=64", "-p", memif(lab, role, keys), "--lcores", "0")


def sink(lab: Lab, role: str, keys: str = "") -> Live:
    """One that receives from it, on CPU 1."""
    return Live(lab, "-p", memif(lab, role, keys), "-p", "null:no_rx=on", "--lcores", "1")


def pair(lab: Lab, mortal: str, survivor: str) -> tuple[Live, Live]:
    """A sink and the stream into it, the server first."""
    if survivor == "server":
        live = stream(lab, survivor).ready()
        return sink(lab, mortal).ready(), live
    return sink(lab, mortal).ready(), stream(lab, survivor).ready()


def counts(live: Live, port: str) -> list[int]:
    """rx packets, rx bytes, tx packets, tx bytes, dropped of a port, from the latest table."""
    for line in reversed(live.stderr.splitlines()):
        words = line.replace(",", "").split()
        if len(words) > 6 and words[0] == port:
            return [int(w) for w in words[2:7]]
    return [0] * 5


def still(live: Live) -> None:
    """It runs."""
    assert live.running, f"ended with {live.process.returncode}: {live.stderr[-2000:]}"


@pytest.mark.parametrize("survivor", ["server", "client"])
def test_the_peer_is_killed_and_comes_back(lab: Lab, survivor: str) -> None:
    """kill -9 in the middle of traffic, twice: the other end goes on, drops by name, recovers."""
    mortal = {"client": "server", "server": "client"}[survivor]
    peer, live = pair(lab, mortal, survivor)
    for _ in range(2):
        before = counts(peer, "0")[0]
        wait_until(lambda: counts(peer, "0")[0] > before + 10_000, "packets at the peer", 4)  # noqa: B023
        peer.process.send_signal(signal.SIGKILL)
        peer.process.wait(5)
        dropped = counts(live, "1")[4]
        wait_until(
            lambda: not live.running or counts(live, "1")[4] > dropped + 10_000,  # noqa: B023
            "drops at the survivor",
            5,
        )
        still(live)
        peer = sink(lab, mortal).ready()
    wait_until(lambda: counts(peer, "0")[0] > 10_000, "packets at the peer that came back", 4)
    received = peer.stop().ok()
    result = live.stop().ok()
    assert received["rx_packets"] == received["tx_packets"]
    assert result["drops"].keys() == {"tx_full"}
    assert result["ports"][1]["drops"] == result["drops"]


@pytest.mark.parametrize("survivor", ["server", "client"])
def test_ctrl_c_after_the_peer_was_killed(lab: Lab, survivor: str) -> None:
    mortal = {"client": "server", "server": "client"}[survivor]
    peer, live = pair(lab, mortal, survivor)
    wait_until(lambda: counts(peer, "0")[0] > 10_000, "packets at the peer", 4)
    peer.process.send_signal(signal.SIGKILL)
    peer.process.wait(5)
    time.sleep(0.3)
    still(live)
    started = time.monotonic()
    result = live.stop().ok()
    assert time.monotonic() - started < 5
    assert result["drops"]["tx_full"] > 0


def test_a_server_without_a_client_drops_by_name(lab: Lab, demo_pcap: Path) -> None:
    result = l2fwd("-p", f"pcap:rx={demo_pcap}", "-p", memif(lab, "server"), cwd=lab.folder).ok()
    assert result["drops"] == {"tx_full": result["rx_packets"]}


def test_a_client_without_a_server_says_so(lab: Lab) -> None:
    run = l2fwd("-p", "null:no_rx=on", "-p", memif(lab, "client"), cwd=lab.folder)
    line = run.one_line("memif.sock")
    assert "sudo" not in line and "Operation not permitted" not in line


def test_a_server_starts_over_a_dead_one(lab: Lab, tmp_path: Path) -> None:
    """A killed server leaves its socket file behind; the next one takes its place."""
    first = sink(lab, "server").ready()
    first.process.send_signal(signal.SIGKILL)
    first.process.wait(5)
    assert (tmp_path / "memif.sock").exists()
    second = sink(lab, "server").ready()
    live = stream(lab, "client").ready()
    wait_until(lambda: counts(second, "0")[0] > 10_000, "packets")
    live.stop().ok()
    second.stop().ok()


def test_a_second_server_does_not_harm_the_first(lab: Lab) -> None:
    """A connection that ends before its first message makes net_memif's server panic."""
    first = sink(lab, "server").ready()
    l2fwd("-p", memif(lab, "server"), "-p", "null:no_rx=on", cwd=lab.folder).one_line("memif.sock")
    time.sleep(0.3)
    still(first)
    live = stream(lab, "client").ready()
    wait_until(lambda: counts(first, "0")[0] > 10_000, "packets")
    live.stop().ok()
    still(first)
    first.stop().ok()


def test_peers_that_leave_at_once(lab: Lab, tmp_path: Path) -> None:
    """Such a connection ends before the driver has greeted it: alone, net_memif panics."""
    server = sink(lab, "server").ready()
    for _ in range(50):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.connect(f"{tmp_path}/memif.sock")
        time.sleep(0.002)
    time.sleep(0.3)
    still(server)
    live = stream(lab, "client").ready()
    wait_until(lambda: counts(server, "0")[0] > 10_000, "packets")
    live.stop().ok()
    still(server)
    server.stop().ok()


def test_an_abstract_server_comes_back(lab: Lab) -> None:
    keys = "abstract=on"
    peer = sink(lab, "server", keys).ready()
    live = stream(lab, "client", keys).ready()
    for _ in range(2):
        wait_until(lambda: counts(peer, "0")[0] > 10_000, "packets", 4)  # noqa: B023
        peer.process.send_signal(signal.SIGKILL)
        peer.process.wait(5)
        peer = sink(lab, "server", keys).ready()
    wait_until(lambda: counts(peer, "0")[0] > 10_000, "packets", 4)
    peer.stop().ok()
    live.stop().ok()


@pytest.mark.parametrize("keys", ["", "abstract=on"])
def test_two_interfaces_on_one_socket(lab: Lab, tmp_path: Path, keys: str) -> None:
    """One process serves ids 0 and 1, another uses both: each frame goes to its own."""
    ids = [f"{keys + ',' if keys else ''}id={i},{JUMBO},{PATIENT}" for i in (0, 1)]
    server = Live(lab, "-p", memif(lab, "server", ids[0]), "-p", memif(lab, "server", ids[1]),
                  "--no-mac-updating", "--lcores", "0").ready()  # fmt: skip
    source = sizes(tmp_path / "in.pcap")
    l2fwd("-p", f"pcap:rx={source}", "-p", memif(lab, "client", ids[0]),
          "-p", memif(lab, "client", ids[1]), "-p", "pcap:tx=out.pcap",
          "--no-mac-updating", "--until-idle", "3", "--lcores", "1",
          cwd=tmp_path).ok()  # fmt: skip
    still(server)
    server.stop().ok()
    assert frames(tmp_path / "out.pcap") == frames(source)


def test_a_relative_socket_path(lab: Lab, tmp_path: Path) -> None:
    l2fwd("-p", "memif:role=server,socket=memif.sock", "-p", "null:no_rx=on", "--duration", "0.1",
          cwd=tmp_path).ok()  # fmt: skip


def test_testpmd_as_the_peer(lab: Lab, tmp_path: Path, demo_pcap: Path) -> None:
    """DPDK's own program at the other end: what it received from us lies in its capture."""
    testpmd = shutil.which("dpdk-testpmd")
    if testpmd is None:
        pytest.skip("needs dpdk-testpmd")
    log = (tmp_path / "testpmd.log").open("w")
    peer = lab.start(
        testpmd, "--no-huge", "-m", "256", "--no-shconf", "--no-pci", "--no-telemetry",
        "-l", "0,1", "--file-prefix", "vnpeer",
        "--vdev", f"net_memif0,role=server,socket={tmp_path}/memif.sock,socket-abstract=no",
        "--vdev", f"net_pcap0,rx_pcap={demo_pcap},tx_pcap={tmp_path}/theirs.pcap",
        "--", "--total-num-mbufs=8192", "--forward-mode=io", "--stats-period", "1",
        stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    log.close()
    wait_until(lambda: "Port statistics" in (tmp_path / "testpmd.log").read_text(), "testpmd")
    mine = sizes(tmp_path / "mine.pcap", longest=2048)
    result = l2fwd(
        "-p", f"pcap:rx={mine},tx=ours.pcap", "-p", memif(lab, "client", PATIENT),
        "--no-mac-updating", "--lcores", "0", "--until-idle", "1", cwd=tmp_path,
    ).ok()  # fmt: skip
    peer.send_signal(signal.SIGINT)
    peer.wait(10)
    assert result["drops"] == {}
    assert frames(tmp_path / "theirs.pcap") == frames(mine)
