"""`veridnet l2fwd --rules`: against libpcap, tshark and the Linux stack; reloads, watchers."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from captures import frames, write
from netns import Lab, Namespace, run_all, wait_until
from running import COMMAND, Live, l2fwd, veridnet

DEMO = Path(__file__).resolve().parent.parent.parent / "examples" / "demo.pcap"
TRAFFIC = str(Path(__file__).resolve().parent / "traffic.py")


def rules_of(folder: Path, *rules: tuple[str, str], top: str = "", name: str = "r.toml") -> Path:
    """A file of (match, "action; action"), the first the strongest."""
    text = top
    for match, actions in rules:
        texts = [a.strip() for a in actions.split(";")]
        text += f"\n[[rule]]\nmatch = {json.dumps(match)}\nactions = {json.dumps(texts)}\n"
    path = folder / name
    new = folder / f".{name}"
    new.write_text(text)
    new.replace(path)  # as editors do: no reader sees half of it
    return path


def chosen(trace: Path, expression: str, folder: Path) -> list[bytes]:
    """What tcpdump takes of a capture."""
    if shutil.which("tcpdump") is None:
        pytest.skip("needs tcpdump")
    out = folder / "oracle.pcap"
    subprocess.run(["tcpdump", "-Z", "root", "-r", str(trace), "-w", str(out), expression],
                   capture_output=True, timeout=60, check=True)  # fmt: skip
    return frames(out)


# -- captures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("tcp dst port 80 or udp port 53", "ip"),
        ("src net 10.0.0.0/8 or ip6 or tcp[tcpflags] & tcp-syn != 0", "vlan or port 53 or icmp"),
        ("ip[8] < 64 and not broadcast", "ether[0] & 1 != 0 or portrange 1024-65535"),
    ],
)
def test_drop_and_forward(whole_trace: Path, first: str, second: str, tmp_path: Path) -> None:
    """The strongest rule that matches decides; of what matches, libpcap knows."""
    trace = whole_trace
    # "vlan" moves libpcap's offsets for all that follows it: the second expression goes last.
    want = [chosen(trace, e, tmp_path) for e in
            (first, f"not ({first}) and ({second})",
             f"not ({first}) and not ({second})")]  # fmt: skip
    everything = frames(trace)
    assert sum(map(len, want)) == len(everything)
    rules = rules_of(tmp_path, (first, "drop"), (second, "count; forward 2"))
    result = l2fwd("-p", f"pcap:rx={trace}", "-p", "pcap:tx=o1.pcap", "-p", "pcap:tx=o2.pcap",
                   "--no-mac-updating", "--rules", str(rules), cwd=tmp_path).ok()  # fmt: skip
    assert frames(tmp_path / "o2.pcap") == want[1]
    assert frames(tmp_path / "o1.pcap") == want[2]
    assert result["drops"] == ({"rule": len(want[0])} if want[0] else {})
    counted = [(r["packets"], r["bytes"]) for r in result["rules"]["rules"]]
    assert counted == [(len(w), sum(map(len, w))) for w in want[:2]]
    assert result["rules"]["missed"]["packets"] == len(want[2])
    assert result["copies"] == 0


def dissected(path: Path, *fields: str) -> list[list[str]]:
    """Fields as tshark has them, checksums checked."""
    if shutil.which("tshark") is None:
        pytest.skip("needs tshark")
    checks = [f"-o{p}.check_checksum:TRUE" for p in ("ip", "udp", "tcp")]
    done = subprocess.run(
        ["tshark", "-n", "-r", str(path), *checks, "-T", "fields", *(f"-e{f}" for f in fields)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return [line.split("\t") for line in done.stdout.splitlines()]


GOOD = ("ip.checksum.status", "udp.checksum.status", "tcp.checksum.status")
PLACES = ("ip.src", "ip.dst", "udp.srcport", "udp.dstport", "tcp.srcport", "tcp.dstport",
          "ip.proto")  # fmt: skip


def test_nat(whole_trace: Path, tmp_path: Path) -> None:
    """Addresses and ports are the new ones; a checksum is good where it was before."""
    trace = whole_trace
    what = "ip and (tcp or udp) and not ip[6:2] & 0x3fff != 0"
    before = dissected(write(tmp_path / "i.pcap", chosen(trace, what, tmp_path)), *GOOD, *PLACES)
    rules = rules_of(tmp_path, (what, "nat src=192.0.2.9:999; nat dst=198.51.100.1; forward 2"))
    l2fwd("-p", f"pcap:rx={trace}", "-p", "pcap:tx=o1.pcap", "-p", "pcap:tx=o2.pcap",
          "--rules", str(rules), cwd=tmp_path).ok()  # fmt: skip
    after = dissected(tmp_path / "o2.pcap", *GOOD, *PLACES)
    assert len(after) == len(before)
    for old, new in zip(before, after, strict=True):
        assert new[:3] == old[:3]
        # The outermost headers': tunnels and ICMP errors have more in them.
        outer = [text.split(",")[0] for text in new]
        assert outer[3:5] == ["192.0.2.9", "198.51.100.1"]
        assert outer[{"17": 5, "6": 7}[outer[9]]] == "999"
        assert (new[6], new[8]) == (old[6], old[8])


def test_vlan_there_and_back(whole_trace: Path, tmp_path: Path) -> None:
    trace = whole_trace
    rules_of(tmp_path, ("in_port == 0", "push_vlan 42/5; forward 1"), name="push.toml")
    rules_of(
        tmp_path, ("vlan 42", "pop_vlan; forward 1"), name="pop.toml", top='default = ["drop"]\n'
    )
    for source, rules, out in (
        (trace, "push", "tagged"),
        (tmp_path / "tagged.pcap", "pop", "back"),
    ):
        result = l2fwd("-p", f"pcap:rx={source}", "-p", f"pcap:tx={out}.pcap",
                       "--rules", f"{rules}.toml", cwd=tmp_path).ok()  # fmt: skip
        assert result["drops"] == {}
    tags = dissected(tmp_path / "tagged.pcap", "vlan.id", "vlan.priority")
    assert len(tags) == len(frames(trace))
    assert {(i.split(",")[0], p.split(",")[0]) for i, p in tags} == {("42", "5")}
    assert frames(tmp_path / "back.pcap") == frames(trace)


def test_offload_where_no_port_takes_flows(tmp_path: Path) -> None:
    rules = rules_of(tmp_path, ("udp", "drop"), ("tcp", "forward 1"))
    plain, asked = (
        l2fwd("-p", f"pcap:rx={DEMO}", "-p", f"pcap:tx=o{len(more)}.pcap", "--rules", str(rules),
              *more, cwd=tmp_path)
        for more in ((), ("--offload",))
    )  # fmt: skip
    assert frames(tmp_path / "o0.pcap") == frames(tmp_path / "o1.pcap")
    assert asked.ok()["rules"]["rules"] == plain.ok()["rules"]["rules"]
    (port,) = asked.data["rules"]["offload"]
    assert (port["port"], port["rules"], port["in_port"], port["flows"]) == ("0", 2, 0, 0)
    assert set(port["reasons"].values()) == {2}
    assert "port 0: 0 of 2 rules are in the port; of 2 it says: " in asked.stderr
    run = veridnet("l2fwd", "-p", "null", "-p", "null", "--offload", cwd=tmp_path)
    run.one_line("--offload", "--rules")


# -- a running forwarder --------------------------------------------------------------------------


def circling(lab: Lab, *more: str) -> Live:
    """A forwarder whose packets never end, nor get anywhere."""
    return Live(lab, "-p", f"pcap:rx={DEMO},infinite=on", "-p", "null:no_rx=on", *more)


def watched(which: str, folder: Path) -> dict[str, Any]:
    run = veridnet("rules", "watch", which, "--json", "--count", "1", cwd=folder)
    return run.data


def test_watch(lab: Lab) -> None:
    """Two forwarders; each is found by its rules' file, and by its process."""
    rules = [rules_of(lab.folder, ("udp", "drop"), name=f"{k}.toml") for k in "ab"]
    lives = [circling(lab, "--rules", str(path)).ready() for path in rules]
    both = veridnet("rules", "watch", "--count", "1", cwd=lab.folder)
    both.one_line("2 programs serve rules")
    for live, path in zip(lives, rules, strict=True):
        found = watched(path.name, lab.folder)
        assert (found["pid"], found["program"]) == (live.process.pid, "l2fwd")
        assert found["file"] == str(path)
        again = watched(str(live.process.pid), lab.folder)
        assert again["rules"][0]["packets"] > found["rules"][0]["packets"] > 0
        assert again["missed"]["packets"] > found["missed"]["packets"] > 0
    assert lives[1].stop().ok()["rules"]["rules"][0]["packets"] > 0
    lines = veridnet("rules", "watch", "--count", "2", "--interval", "0.2", cwd=lab.folder)
    assert lines.code == 0
    assert len(re.findall(r"^l2fwd \d+, ", lines.stdout, re.M)) == 2
    rate = re.findall(r"^ *0 .* ([\d.]+) [kM] .*udp", lines.stdout, re.M)
    assert rate, lines.stdout
    lives[0].stop().ok()
    gone = veridnet("rules", "watch", "a.toml", "--count", "1", cwd=lab.folder)
    gone.one_line("no running program serves rules")


def test_watch_on_a_terminal(lab: Lab) -> None:
    if shutil.which("script") is None:
        pytest.skip("needs script")
    live = circling(lab, "--rules", str(rules_of(lab.folder, ("udp", "drop")))).ready()
    command = " ".join([*COMMAND, "rules", "watch", "--count", "3", "--interval", "0.2"])
    done = subprocess.run(["script", "-qec", command, "/dev/null"], capture_output=True, text=True,
                          timeout=60, stdin=subprocess.DEVNULL,
                          env={**os.environ, "TERM": "xterm", "COLUMNS": "150"})  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "packets/s" in done.stdout and "udp" in done.stdout and "\x1b[" in done.stdout
    live.stop().ok()


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    rules = rules_of(tmp_path, ("udp", "drop"))
    (tmp_path / "run").write_text("")
    code = f"""
import sys
from veridnet.rules import monitor
monitor.folder = lambda: {str(tmp_path / "run" / "veridnet")!r}
from veridnet.cli import main
sys.exit(main(["l2fwd", "-p", "pcap:rx={DEMO}", "-p", "null", "--rules", {str(rules)!r}, "--json"]))
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True,
                          timeout=60, cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["problems"] == []
    assert any("rules watch cannot see this run" in w for w in data["warnings"])
    assert "rules watch cannot see this run" in done.stderr


@pytest.mark.parametrize("how", ["SIGHUP", "the file"])
def test_reload_between_rings(lab: Lab, how: str) -> None:
    """Rules, sets and the default of a real process change; no packet of its ports is lost."""
    rules_of(lab.folder, ("udp dst port @ports", "drop a"), top='[sets]\nports = ["53"]\n')
    live = circling(lab, "-p", "ring", "--rules", "r.toml").ready()
    pid = str(live.process.pid)

    def reloads(n: int) -> None:
        if how == "SIGHUP":
            live.process.send_signal(signal.SIGHUP)
        wait_until(lambda: watched(pid, lab.folder)["reloads"] == n, f"reload {n}")

    rules_of(lab.folder, ("udp dst port @ports", "drop a"), ("tcp", "drop b"),
             top='default = ["drop c"]\n[sets]\nports = ["0..65535"]\n')  # fmt: skip
    reloads(1)
    seen = watched(pid, lab.folder)
    assert [r["id"] for r in seen["rules"]] == [0, 1]
    wait_until(lambda: watched(pid, lab.folder)["rules"][1]["packets"] > 0, "rule 1")
    # A broken file is told at once, and changes nothing.
    (lab.folder / "r.toml").write_text('[[rule]]\nmatch = "udp dst prt 3"\n')
    if how == "SIGHUP":
        live.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "not reloaded, the rules before stay" in live.stderr, "the warning")
    assert live.running
    assert [r["match"] for r in watched(pid, lab.folder)["rules"]] == ["udp dst port @ports", "tcp"]
    run = live.stop()
    assert run.code == 1  # it has a problem
    data = run.data
    assert data["balanced"] is True and data["held"] == 0 and data["mbufs_in_use"] == 0
    assert {"a", "b", "c"} <= set(data["drops"])
    (problem,) = data["problems"]
    assert "r.toml" in problem and "prt" in problem
    assert data["rules"]["reloads"] == 1


# -- the Linux stack ------------------------------------------------------------------------------


def between(lab: Lab, *rules: tuple[str, str], top: str = "") -> tuple[Live, list[Namespace]]:
    """Hosts A (10.77.0.1, port 0) and B (10.77.0.2, port 1), and a capture (port 2)."""
    router, hosts = lab.ns("R"), [lab.ns("A"), lab.ns("B")]
    router.quiet()
    for host in hosts:
        host.quiet()
    path = rules_of(lab.folder, *rules, top=top)
    live = Live(lab, "-p", "tap:iface=vt0", "-p", "tap:iface=vt1", "-p", "pcap:tx=seen.pcap",
                "--no-mac-updating", "--rules", str(path), ns=router).ready()  # fmt: skip
    for k, host in enumerate(hosts):
        router.ip("link", "set", f"vt{k}", "netns", host.name)
        host.ip("addr", "add", f"10.77.0.{k + 1}/24", "dev", f"vt{k}")
        host.ip("link", "set", f"vt{k}", "up")
    return live, hosts


def transfer(hosts: list[Namespace], to: str, port: int, *, own: str = "10.77.0.2",
             own_port: int = 5001, size: int = 20_000_000) -> None:  # fmt: skip
    """TCP from A to an address and port, to B's own."""
    receiver = hosts[1].start(sys.executable, TRAFFIC, "receive", own, str(own_port),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    wait_until(lambda: f":{own_port}" in hosts[1].run("ss", "-ltnH").stdout, "the receiver")
    sender = hosts[0].start(sys.executable, TRAFFIC, "send", to, str(port), str(size),
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    sent, received = (json.loads(o) for o in run_all([sender, receiver], 120))
    assert sent["bytes"] == size
    assert received == sent


def test_nat_between_hosts(lab: Lab) -> None:
    """A appears as 10.77.0.9 to B; B's TCP service is 10.77.0.100:80 to A."""
    live, hosts = between(
        lab,
        ("in_port == 0 and tcp and ip dst 10.77.0.100 and tcp dst port 80",
         "nat src=10.77.0.9; nat dst=10.77.0.2:5001; sample 1/100 mirror 2; forward 1"),
        ("in_port == 1 and tcp and ip dst 10.77.0.9 and tcp src port 5001",
         "nat dst=10.77.0.1; nat src=10.77.0.100:80; forward 0"),
        ("in_port == 0 and ip src 10.77.0.1", "nat src=10.77.0.9; mirror 2; forward 1"),
        ("in_port == 1 and ip dst 10.77.0.9", "nat dst=10.77.0.1; forward 0"),
        ("arp", "count"),
        top='default = ["drop"]\n',
    )  # fmt: skip
    a, b = hosts
    a.ip("addr", "add", "10.77.0.9/32", "dev", "lo")  # who answers for it
    b.ip("addr", "add", "10.77.0.100/32", "dev", "lo")
    assert a.ping("10.77.0.2")
    transfer(hosts, "10.77.0.100", 80)
    transfer(hosts, "10.77.0.2", 5002, own_port=5002, size=1 << 20)
    result = live.stop().ok()
    counted = [r["packets"] for r in result["rules"]["rules"]]
    assert all(counted[:5])
    assert counted[0] > 20_000_000 // 1500 // 50  # GRO may have made them few
    seen = dissected(lab.folder / "seen.pcap", "ip.src", "ip.dst", "icmp.type", *GOOD)
    assert {(s, d) for s, d, *_ in seen} == {("10.77.0.9", "10.77.0.2")}
    assert "8" in {t for _, _, t, *_ in seen}


def test_vlan_between_hosts(lab: Lab) -> None:
    """B's side is tagged, A's is not."""
    live, hosts = between(
        lab,
        ("in_port == 0", "push_vlan 42; mirror 2; forward 1"),
        ("in_port == 1 and vlan 42", "pop_vlan; forward 0"),
        top='default = ["drop"]\n',
    )
    program = hosts[1].start(sys.executable, TRAFFIC, "tag", "vt1", "42",
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    assert program.stdout is not None and program.stderr is not None
    if program.stdout.readline() != "ready\n":
        pytest.skip(f"no tcx hooks in this kernel: {program.stderr.read().strip()[-200:]}")
    assert hosts[0].ping("10.77.0.2")
    transfer(hosts, "10.77.0.2", 5001)
    result = live.stop().ok()
    assert all(r["packets"] > 10 for r in result["rules"]["rules"])
    tags = dissected(lab.folder / "seen.pcap", "vlan.id")
    assert {t for (t,) in tags} == {"42"}


def test_rules_change_while_tcp_flows(lab: Lab) -> None:
    """Reloads that do the same by other means: the transfer does not notice."""
    one = (("in_port == 0", "forward 1"), ("in_port == 1", "forward 0"))
    two = (("ip or arp", "count"), ("ip6", "drop"))
    live, hosts = between(lab, *one)
    assert hosts[0].ping("10.77.0.2")
    receiver = hosts[1].start(sys.executable, TRAFFIC, "receive", "10.77.0.2", "5001",
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    wait_until(lambda: "5001" in hosts[1].run("ss", "-ltnH").stdout, "the receiver")
    sender = hosts[0].start(sys.executable, TRAFFIC, "send", "10.77.0.2", "5001", "100000000",
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    reloads = 0
    while sender.poll() is None and reloads < 50:
        reloads += 1
        rules_of(lab.folder, *(two if reloads % 2 else one))
        live.process.send_signal(signal.SIGHUP)
        time.sleep(0.1)
    sent, received = (json.loads(o) for o in run_all([sender, receiver], 60))
    assert received == sent
    result = live.stop().ok()
    assert result["rules"]["reloads"] >= 2
    assert result["drops"].keys() <= {"rule"}
