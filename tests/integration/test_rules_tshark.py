"""Rewritten packets as tshark sees them: whole, with as many wrong checksums as before."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from acting import table_of
from forwarding import forwarder

import veridnet as vn

pytestmark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")

RULE = ["nat src=192.0.2.33", "nat dst=[2001:db8:33::1]", "dec_ttl", "set ip_dscp=10",
        "push_vlan 33/1"]  # fmt: skip
STATUS = ("ip.checksum.status", "tcp.checksum.status", "udp.checksum.status",
          "icmpv6.checksum.status")  # fmt: skip


def fields(path: Path, *names: str) -> list[tuple[str, ...]]:
    command = ["tshark", "-r", str(path), "-T", "fields", "-E", "occurrence=f"]
    for name in names:
        command += ["-e", name]
    for proto in ("ip", "tcp", "udp"):
        command += ["-o", f"{proto}.check_checksum:TRUE"]
    out = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return [tuple(line.split("\t")) for line in out.stdout.rstrip("\n").split("\n")]


def test_what_rules_write_is_right_to_tshark(tmp_path: Path, demo_pcap: Path) -> None:
    out, plain = tmp_path / "out.pcap", tmp_path / "plain.pcap"
    for path, rules in ((plain, [("", ["forward 1"])]),
                        (out, [("ip_ttl > 1", [*RULE, "forward 1"]),
                               ("ip_version == 0", ["forward 1"])])):  # fmt: skip
        table = table_of(rules)
        with vn.Runtime() as rt:
            ports = [rt.add_port("pcap", rx=str(demo_pcap)), rt.add_port("pcap", tx=str(path))]
            f = forwarder(rt, ports, destinations=[1, 0], macs=[None] * 2, rules=table)
            f.start()
            deadline = time.monotonic() + 20
            while not f.finished and time.monotonic() < deadline:
                time.sleep(0.01)
            f.stop()
            assert rt.balance().balanced
            assert rt.balance().drops == {}
    names = ("ip.src", "ipv6.dst", "ip.ttl", "ipv6.hlim", "ip.dsfield.dscp", "vlan.id", "ip.len")
    before, after = fields(plain, *names), fields(out, *names)
    assert len(before) == len(after)
    changed = 0
    for old, new in zip(before, after, strict=True):
        if new[5] != "33":  # what is no IP, or has TTL 1 and went its own way
            assert new == old
            continue
        changed += 1
        assert new[0] in ("", "192.0.2.33")
        assert new[1] in ("", "2001:db8:33::1") or old[0]
        for k in (2, 3):
            assert not old[k] or int(new[k]) == int(old[k]) - 1
        assert new[6] == old[6]
    assert changed > 100
    # (A segment of which the capture shows no checksum has none after that either.)
    assert Counter(fields(plain, *STATUS)) == Counter(fields(out, *STATUS))
