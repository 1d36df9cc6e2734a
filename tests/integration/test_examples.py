"""The programs of examples/: they run, each has --help, and their errors are one line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from captures import frames
from netns import Lab
from running import l2fwd, veridnet

EXAMPLES = Path(__file__).parents[2] / "examples"
DEMO = EXAMPLES / "demo.pcap"
NAMES = sorted(p.stem for p in EXAMPLES.glob("*.py"))


def run(
    name: str, *args: str, cwd: Path, before: tuple[str, ...] = (), timeout: float = 30
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*before, sys.executable, "-P", str(EXAMPLES / f"{name}.py"), *args],
        capture_output=True, text=True, timeout=timeout, cwd=cwd, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_help(name: str, tmp_path: Path) -> None:
    done = run(name, "--help", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("usage: "), done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [n for n in NAMES if n != "bridge"])
@pytest.mark.parametrize("source", ["nosuch.pcap", "text.pcap"])
def test_errors_are_one_line(name: str, source: str, tmp_path: Path) -> None:
    (tmp_path / "text.pcap").write_text("this is text, and long enough to be a header\n")
    writers = ("forward", "to_ethernet", "firewall", "load_balancer", "pipeline", "handoff")
    out = ("out.pcap",) if name in writers else ()
    done = run(name, source, *out, cwd=tmp_path)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"{name}.py: error: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "out.pcap").exists()


def test_they_run(tmp_path: Path) -> None:
    assert "1795 packets" in run("forward", cwd=tmp_path).stdout
    assert "sent: 2 made ones and 32 received ones" in run("views", cwd=tmp_path).stdout
    done = run("to_ethernet", "out.pcap", "again.pcap", cwd=tmp_path)
    assert done.stdout == "1795 frames -> again.pcap\n", done.stderr


def stages(stdout: str) -> dict[str, list[str]]:
    """The words of each stage's line in a table of statistics: in, on, ... from the third."""
    lines = stdout[stdout.index("cycles/packet") :].split("\n\n")[0].splitlines()[1:]
    return {line.split()[1]: line.split() for line in lines}


def test_pipeline(tmp_path: Path) -> None:
    """The example's own run, and the command's over the same function."""
    done = run("pipeline", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("#  stage"), done.stderr
    new = len(tshark(DEMO, "-Y", "tcp.flags.syn == 1 && tcp.flags.ack == 0 && !icmp && !icmpv6"))
    assert new > 10 and f"{new} new_flow" in done.stdout and "4 no_arp" in done.stdout
    assert "packet 1\n" in done.stdout
    args = (str(EXAMPLES / "pipeline.py"), "-p", f"pcap:rx={DEMO}", "-p", "pcap:tx=run.pcap")
    result = veridnet("run", *args, "--json", cwd=tmp_path).ok()
    assert result["drops"]["new_flow"] == new
    assert frames(tmp_path / "run.pcap") == frames(tmp_path / "out.pcap")


def test_handoff(tmp_path: Path) -> None:
    """What the rules do does not depend on how many lcores do it: see test_firewall."""
    done = run("handoff", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    counted = stages(done.stdout)
    assert counted["filter"][-2:] == ["4", "filtered"]
    assert "12 blocked" in done.stdout
    if "link 0" in done.stdout:
        assert counted["handoff"]
    passed_whole(tmp_path / "out.pcap")


def test_numba_stage(tmp_path: Path) -> None:
    pytest.importorskip("numba")
    done = run("numba_stage", cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    share = [int(w.split()[3].replace(",", "")) for w in done.stdout.split("\n\n")[1].splitlines()]
    assert share == sorted(share, reverse=True) and 30_000 < share[0] <= 40_000
    assert "share" in done.stdout


def test_ethertypes(tmp_path: Path) -> None:
    """Compared with what the file's own bytes say."""
    done = run("ethertypes", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    counted = {w[1]: int(w[0].replace(",", "")) for w in map(str.split, done.stdout.splitlines())}
    scapy = pytest.importorskip("scapy.utils")
    expected: dict[str, int] = {}
    for packet, _ in scapy.RawPcapReader(str(EXAMPLES / "demo.pcap")):
        key = f"0x{packet[12:14].hex()}"
        expected[key] = expected.get(key, 0) + 1
    assert counted == expected


def test_bridge(lab: Lab) -> None:
    before = ("ip", "netns", "exec", lab.ns("R").name)
    done = run("bridge", "0.3", cwd=lab.folder, before=before)
    assert done.returncode == 0 and "packets sent" in done.stdout, done.stderr
    done = run("bridge", "soon", cwd=lab.folder, before=before)
    assert done.returncode == 2 and "Traceback" not in done.stderr


# -- rules: firewall.toml, load_balancer.toml ----------------------------------------------------


def counters(stdout: str) -> dict[str, int]:
    """The packets of each rule, and of each drop reason, as the programs print them."""
    lines = [line.rsplit(maxsplit=2) for line in stdout.split("\n\n")[0].splitlines()[1:]]
    return {name: int(packets.replace(",", "")) for name, packets, _ in lines}


def tshark(path: Path, *options: str) -> list[str]:
    """What tshark prints of a capture, with checksums checked."""
    if shutil.which("tshark") is None:
        pytest.skip("needs tshark")
    checks = [w for p in ("ip", "tcp", "udp") for w in ("-o", f"{p}.check_checksum:TRUE")]
    done = subprocess.run(
        ["tshark", "-n", "-r", str(path), "-o", "ip.defragment:FALSE", "-o",
         "ipv6.defragment:FALSE", *checks, *options],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


def wrong_checksums(path: Path) -> int:
    bad = " || ".join(f"{p}.checksum.status == 0" for p in ("ip", "tcp", "udp", "icmpv6"))
    return len(tshark(path, "-Y", bad))


#: A rule of firewall.toml -> the packets that it is for, in tshark's words.
INSIDE = "{192.0.2.2, 198.51.100.2, 198.51.100.64/27}"
INSIDE6 = "{2001:db8::2, 2001:db8:42::2, 2001:db8:100::/64}"
ASKED = (f"(ip.src in {INSIDE} && ip.dst in {{192.0.2.1, 198.51.100.1}} || "
         f"ipv6.src in {INSIDE6} && ipv6.dst in {{2001:db8::1, 2001:db8:42::1}})")  # fmt: skip
FIREWALL = {
    "arp": "arp",
    "blocked": "ip.addr == 198.51.100.200 && !icmp.type == 3 || ip.addr == 233.252.0.0/24",
    "web": f"tcp.dstport in {{80, 443}} && {ASKED}",
    "dns": f"(udp.dstport == 53 || tcp.dstport == 53) && {ASKED}",
    "discovery": "icmpv6.type in {133 .. 136}",
    "tcp answers": "tcp.srcport in {53, 80} && tcp.flags.ack == 1 && "
                   f"(ip.dst in {INSIDE} || ipv6.dst in {INSIDE6})",
}  # fmt: skip


def passed_whole(path: Path) -> Counter[bytes]:
    """The frames of a capture; they are some of the demo trace's, unchanged and in order."""
    whole, passed = frames(DEMO), frames(path)
    rest = iter(whole)
    assert all(frame in rest for frame in passed)
    return Counter(passed)


def test_firewall(tmp_path: Path) -> None:
    """From Python and in the compiled loop; the rules' counters are what tshark counts."""
    done = run("firewall", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    counted = counters(done.stdout)
    for name, words in FIREWALL.items():
        assert counted[name] == len(tshark(DEMO, "-Y", words)), name
    ended = "--rules", str(EXAMPLES / "firewall.toml"), "--no-mac-updating"
    result = l2fwd(*ended, "-p", f"pcap:rx={DEMO}", "-p", "pcap:tx=loop.pcap", cwd=tmp_path).ok()
    assert {r["name"]: r["packets"] for r in result["rules"]["rules"]} == counted
    assert result["drops"]["blocked"] == counted["blocked"]
    assert result["drops"]["unlisted"] == result["rules"]["missed"]["packets"] > 400
    assert result["drops"]["meter"] > 0 and result["drops"]["rate"] >= counted["ping"] - 70
    for path in (tmp_path / "passed.pcap", tmp_path / "loop.pcap"):
        assert passed_whole(path).total() > 1000
        assert tshark(path, "-Y", "(udp.port == 7 || tcp.port == 9) && !icmp && !icmpv6") == []
        assert tshark(path, "-Y", FIREWALL["blocked"]) == []
        assert len(tshark(path, "-Y", FIREWALL["dns"])) == counted["dns"]
        assert wrong_checksums(path) == 0


BACKENDS = ("192.0.2.11", "192.0.2.12", "192.0.2.13", "2001:db8:5::11", "2001:db8:5::12")


def test_load_balancer(tmp_path: Path) -> None:
    """Every request of the service goes to one backend of its kind, a flow always to the same, and
    the answers come from the service's address."""
    done = run("load_balancer", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    counted = counters(done.stdout)
    asked = len(tshark(DEMO, "-Y", "udp.dstport == 53 && ip.dst == 192.0.2.1"))
    asked6 = len(tshark(DEMO, "-Y", "udp.dstport == 53 && ipv6.dst == 2001:db8::1"))
    web = len(tshark(DEMO, "-Y", "tcp.dstport == 80 && ip.dst == 192.0.2.1"))
    assert counted["dns 1"] + counted["dns 2"] + counted["dns 3"] == counted["dns back"] == asked
    assert counted["dns6 1"] + counted["dns6 2"] == counted["dns6 back"] == asked6
    assert counted["web near"] == counted["web back"] == web > 0
    assert all(counted[name] > 5 for name in ("dns 1", "dns 2", "dns 3", "dns6 1", "dns6 2"))
    back = tshark(tmp_path / "answers.pcap", "-Tfields", *"-e ip.src -e ipv6.src".split())
    assert Counter(back) == {"192.0.2.1\t": asked + web, "\t2001:db8::1": asked6}
    assert wrong_checksums(tmp_path / "answers.pcap") == 0

    ended = "--rules", str(EXAMPLES / "load_balancer.toml")
    result = l2fwd(*ended, "-p", f"pcap:rx={DEMO}", "-p", "pcap:tx=to.pcap", cwd=tmp_path).ok()
    sent = asked + asked6 + web
    assert result["tx_packets"] == sent
    assert result["drops"] == {"no_service": result["rx_packets"] - sent}
    there = tmp_path / "to.pcap"
    assert wrong_checksums(there) == 0
    fields = "-e ip.src -e ip.dst -e ipv6.dst -e udp.srcport -e tcp.srcport -e tcp.dstport".split()
    flows: dict[tuple[str, ...], set[str]] = {}
    for line in tshark(there, "-Tfields", *fields):
        source, to, to6, sport, tcp_sport, tcp_dport = line.split("\t")
        assert (
            (to or to6) in BACKENDS if not tcp_dport else (to, tcp_dport) == ("192.0.2.21", "8080")
        )
        flows.setdefault((source, sport, tcp_sport), set()).add(to or to6)
    assert len(flows) > 100 and all(len(backends) == 1 for backends in flows.values())


@pytest.mark.parametrize("name", ["firewall", "load_balancer"])
def test_rules_commands(name: str, tmp_path: Path) -> None:
    """The commands that the head of each rule file shows."""
    rules = str(EXAMPLES / f"{name}.toml")
    done = veridnet("rules", "check", rules, "--strict", cwd=tmp_path)
    assert done.code == 0 and "no warnings" in done.stdout, done.stderr
    done = veridnet("rules", "explain", rules, f"{DEMO}:7", cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(("wins: ", "no rule ", "    fails: "))
    done = veridnet("rules", "bench", rules, "--trace", str(DEMO), "--seconds", "0.1", cwd=tmp_path)
    assert done.code == 0 and "compared with a naive scan: 0 differ" in done.stdout, done.stderr
