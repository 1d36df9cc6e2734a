"""Who writes a tcpdump or Wireshark filter is told the match expression that says the same."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

import veridnet as vn
from veridnet.headers import match

SAME = [
    ("gre", "ip_proto == gre"), ("icmpv6", "ip_proto == icmpv6"),
    ("dns", "l4_src == 53 or l4_dst == 53"),
    ("udp.dstport == 53", "ip_proto == udp and l4_dst == 53"),
    ("tcp.port in {80, 443}", "ip_proto == tcp and (l4_src in {80, 443} or l4_dst in {80, 443})"),
    ("ip.src == 10.0.0.0/8", "ip_src == 10.0.0.0/8"),
    ("ip.addr != 10.0.0.1", "ip_src != 10.0.0.1 and ip_dst != 10.0.0.1"),
    ("tcp.flags.ack == 0", "not tcp_flags & ack"), ("frame.len > 1000", "wire_len > 1000"),
    ("eth.type == 0x0806", "ethertype == 0x0806"), ("vlan.id eq 7", "vlan_id == 7"),
    ("tcp.checksum.status == 0", "ip_proto == tcp and l4_csum == 2"),
    ("dport == 53", "l4_dst == 53"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "same"), SAME)
def test_what_to_write_instead(text: str, same: str) -> None:
    with pytest.raises(vn.ConfigError) as error:
        match.compile(text)
    assert error.value.hint == f"write {same}"
    match.compile(same)


@pytest.mark.parametrize(("text", "words"), [
    ("l4_dst == 80 or 443", "{80, 443}"), ("l4_dst in [80, 443]", "braces"),
    ("l4_dst in (80, 443)", "braces"), ("l4_dst in 80, 443", "braces"),
    ("l4_dst in 80-90", "80..90"),
    ("ip_proto eq tcp", "write =="), ('ip_src == "10.0.0.1"', "no quotes"),
    ("ip_src == 10.1.2.3/8", "write 10.0.0.0/8"), ("ethertype == ip", "write ipv4"),
    ("tcp_flags == syn|ack", "0x12"), ("host www.example.com", "10.0.0.0/24"),
    ("frame.number < 100", "--count"), ("nothing_like_it", "--columns"), ("dst", "ip_dst"),
])  # fmt: skip
def test_hints(text: str, words: str) -> None:
    with pytest.raises(vn.ConfigError) as error:
        match.compile(text)
    assert words in error.value.hint and "\n" not in error.value.hint


def test_a_traceback_shows_the_hint() -> None:
    with pytest.raises(vn.ConfigError) as error:
        match.compile("gre")
    for e in (error.value, pickle.loads(pickle.dumps(error.value))):
        shown = traceback.format_exception_only(e)
        assert shown[-1] == "hint: write ip_proto == gre\n" and len(shown) == 2
    e = pickle.loads(pickle.dumps(vn.PortError("no", 2, hint="do")))
    assert (e.errno, e.hint, e.__notes__) == (2, "do", ["hint: do"])


def test_names_of_columns(runtime) -> None:
    burst = vn.Burst.from_bytes([bytes(60)] * 2)
    h = burst.headers
    for name, words in {
        "dport": "did you mean l4_dst", "ip6_dst": "ip6_dst_hi and ip6_dst_lo",
        "ipv4": "group of columns", "l4_dts": "l4_dst",
    }.items():  # fmt: skip
        with pytest.raises(AttributeError, match=words):
            getattr(h, name)
        with pytest.raises(AttributeError, match=words):
            setattr(h, name, 1)
    with pytest.raises(AttributeError, match="Name it when the table is made"):
        _ = h.copy("ip_ttl").l4_csum
    with pytest.raises(TypeError, match="not text: write headers"):
        burst.select("ip_proto == tcp")
    assert not hasattr(h, "__array__")
    burst.clear()


def test_a_program_in_the_clones_root(tmp_path) -> None:
    """The sources there come first on sys.path; the compiled modules are the installed ones."""
    root = Path(__file__).resolve().parents[2]
    code = "import veridnet as vn; print(vn.__file__, vn.Burst)"
    # scripts/test sets PYTHONSAFEPATH, as -P does: users do not.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0 and str(root / "veridnet") in done.stdout, done.stderr
    copy = tmp_path / "veridnet"
    shutil.copytree(root / "veridnet", copy, ignore=shutil.ignore_patterns("*.so"))
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode and "run scripts/setup" in done.stderr
