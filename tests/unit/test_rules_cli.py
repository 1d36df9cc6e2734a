"""veridnet rules: what its subcommands print, and how they end."""

import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import veridnet as vn
from veridnet.apps import rules_packets, rules_watch
from veridnet.cli import main
from veridnet.cli.l2fwd_view import print_rules
from veridnet.cli.rules import watch_table
from veridnet.rules import formats, monitor, reference, trace
from veridnet.rules.rule import Rule, RuleSet

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "rules"
DEMO = ROOT / "examples" / "demo.pcap"

TOML = """\
default = ["drop"]

[[rule]]
name = "web"
match = "ip_proto == tcp and l4_dst in {80, 443}"
priority = 50
actions = ["count", "forward 1"]

[[rule]]
name = "tls"
match = "ip_proto == tcp and l4_dst == 443"
actions = ["drop"]

[[rule]]
match = "ip_src in 10.0.0.0/8"
actions = ["forward 1"]
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text(TOML)
    return str(path)


def run(capsys, *words):
    code = main(["rules", *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_check(capsys, file):
    code, out, _ = run(capsys, "check", file)
    assert code == 0
    assert "3 rules, toml" in out
    assert "engines: exact 2, ternary 1; 4 boxes altogether\ntable: acl\n" in out
    assert "warning: rule 1 (tls), line 9: shadowed: rule 0 (web), line 3 matches all of its" in out
    assert "info:" not in out
    assert out.endswith("1 warning; 1 to know of (--info)\n")
    assert "info: rule 2, line 14: overlaps:" in run(capsys, "check", file, "--info")[1]
    assert run(capsys, "check", file, "--strict")[0] == 1
    data = json.loads(run(capsys, "check", file, "--json")[1])
    assert [(r["id"], r["line"], r["boxes"], r["engine"]) for r in data["rules"]] == [
        (0, 3, 2, "exact"), (1, 9, 1, "exact"), (2, 14, 1, "ternary")
    ]  # fmt: skip
    assert [c["kind"] for c in data["conflicts"]] == ["shadowed", "overlaps"]
    assert data["table"] == {"engines": ["acl"], "programs": 0, "bpf": 0, "problem": ""}


def test_check_names_the_engines_of_the_table(capsys, tmp_path, monkeypatch):
    exact = "".join(
        f"[[rule]]\nmatch = 'ip_version == 4 and ip_src == 10.0.{n}.1 and l4_dst == {n}'\n"
        for n in range(100)
    )
    path = tmp_path / "r.toml"
    path.write_text(
        exact
        + "[[rule]]\nmatch = 'l4_dst in 1..100'\n"
        + "[[rule]]\nmatch = 'tcp[20:4] = 0x47455420'\n"
        + "[[rule]]\nmatch = 'ip_version == 6 and l4_src in 1..100'\n"
    )
    assert "\ntable: hash, 2 x acl, BPF of 1\n" in run(capsys, "check", str(path))[1]
    found = json.loads(run(capsys, "check", str(path), "--json")[1])["table"]
    assert found["engines"] == ["hash", "acl", "acl"]
    assert (found["programs"], found["bpf"], found["problem"]) == (0, 1, "")
    with vn.FlowTable.load(path) as table:  # as it says of itself
        table.compile()
        assert table.info()["engines"] == "hash,acl,acl"
    path.write_text("[[rule]]\nmatch = 'tcp[20:4] = 1'\n")
    assert "\ntable: BPF of 1\n" in run(capsys, "check", str(path))[1]

    def no_memory(self):
        raise vn.PoolError("no memory")

    monkeypatch.setattr(vn.FlowTable, "compile", no_memory)
    code, out, _ = run(capsys, "check", str(path))
    assert code == 0
    assert "table: cannot be built here: no memory" in out


ESC = "\x1b]0;owned\x07\n\u202e"
SHOWN = "\\x1b]0;owned\\x07\\n\\u202e"


def test_a_name_does_nothing_to_the_terminal(capsys, tmp_path, monkeypatch):
    path = tmp_path / "r.toml"
    rules = RuleSet((Rule("ip_proto == 6", name=ESC), Rule("ip_proto == 6", ("drop",), name="é")))
    path.write_text(formats.FORMATS["toml"].write(rules))
    code, out, _ = run(capsys, "check", str(path))
    assert code == 0
    assert f"rule 0 ({SHOWN})" in out and f"  {SHOWN}  " in out and "  é  " in out
    assert "\x1b" not in out and "\x07" not in out and "\u202e" not in out
    assert json.loads(run(capsys, "check", str(path), "--json")[1])["rules"][0]["name"] == ESC
    _, out, _ = run(capsys, "explain", str(path), "ip_proto=6")
    assert f"wins: rule 0 ({SHOWN}), line 1: " in out and "\x1b" not in out
    path.write_text(path.read_text().replace("ip_proto == 6", "ip_prto == 6", 1))
    code, _, err = run(capsys, "check", str(path))
    assert (code, err.count("\n")) == (2, 1)
    assert f"({SHOWN})" in err and "\x1b" not in err
    path.write_text(f"[[rule]]\nmatch = 3\nname = {json.dumps(ESC)}\n")
    assert f"({SHOWN})" in run(capsys, "check", str(path))[2]

    folder = str(tmp_path / "run")
    monkeypatch.setattr(monitor, "folder", lambda: folder)
    taken = snapshot(7, 1.0)
    taken["rules"][0]["name"] = ESC
    with monitor.Monitor(lambda: taken):
        _, out, _ = run(capsys, "watch", "-n", "1")
        assert SHOWN in out and "\x1b" not in out
        _, out, _ = run(capsys, "watch", "-n", "1", "--json")
        assert json.loads(out)["rules"][0]["name"] == ESC
    found = rules_watch.with_rates(taken, None)
    console = Console(width=200, file=io.StringIO(), highlight=False)
    console.print(watch_table(found))
    assert SHOWN in console.file.getvalue() and "\x1b" not in console.file.getvalue()
    console = Console(width=200, file=io.StringIO(), highlight=False, markup=False)
    print_rules(console, {"rules": taken["rules"], "missed": taken["missed"], "reloads": 0,
                          "offload": []})  # fmt: skip
    assert SHOWN in console.file.getvalue() and "\x1b" not in console.file.getvalue()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[rule]]\nmatch = 'ip_prto == 6'\n", "r.toml: rule 0, line 1: match, column 1: "),
        ("\n\n[[rule]]\n", "r.toml:3: rule 0: match is missing"),
        ("[[rule]\n", "r.toml:1, column 7: not TOML"),
    ],
)
def test_check_errors_have_their_place(capsys, tmp_path, text, says):
    path = tmp_path / "r.toml"
    path.write_text(text)
    code, out, err = run(capsys, "check", str(path))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("veridnet rules check: error: ")
    assert says in err


def test_a_wrong_action_is_found(capsys, tmp_path):
    pytest.importorskip("veridnet.rules.actions")
    path = tmp_path / "r.toml"
    path.write_text("[[rule]]\nmatch = ''\nactions = ['dorp']\n")
    code, _, err = run(capsys, "check", str(path))
    assert code == 2
    assert "r.toml: rule 0, line 1: " in err


def test_explain(capsys, file):
    words = ("explain", file, "ip_src=10.0.0.1", "ip_proto=tcp", "l4_dst=443")
    code, out, _ = run(capsys, *words)
    assert code == 0
    assert "wins: rule 0 (web), line 3: priority 50 > 0" in out
    (line,) = run(capsys, *words, "--json")[1].splitlines()
    data = json.loads(line)
    assert (data["winner"], data["matched"], data["actions"]) == (
        0,
        [0, 1, 2],
        ["count", "forward 1"],
    )
    frame = "020000000001020000000002080045000028000100004006" + "0000" + "0a000001c0000201"
    frame += "0400" + "01bb" + "00000000000000005002ffff00000000"
    two = run(capsys, "explain", file, frame, f"{DEMO}:1", "--json")[1].splitlines()
    assert json.loads(two[0])["winner"] == 0
    assert json.loads(two[1])["packet"] == f"{DEMO}:1"


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("zzz", "is no packet"),
        ("0a0b", "is no packet"),
        ("l5_dst=3", "there is no column 'l5_dst'"),
        ("l4_dst=70000", "does not fit"),
        (f"{DEMO}:0", "packets count from 1"),
        (f"{DEMO}:999999", "it has 1795 packets"),
    ],
)
def test_what_is_no_packet(capsys, file, word, says):
    code, out, err = run(capsys, "explain", file, word)
    assert (code, out) == (2, "")
    assert says in err


def test_columns_say_what_is_below_them():
    ((name, row),) = rules_packets.packets(["ip6_src=2001:db8::1", "tcp_flags=2", "vlan_id=7"])
    assert name == "ip6_src=2001:db8::1 tcp_flags=2 vlan_id=7"
    assert row == {
        "ip6_src_hi": 0x20010DB800000000, "ip6_src_lo": 1, "tcp_flags": 2, "vlan_id": 7,
        "ip_version": 6, "ip_proto": 6, "ethertype": 0x86DD, "ip6_next": 6, "vlan_depth": 1,
    }  # fmt: skip


def test_a_packet_of_a_capture_is_what_its_columns_are():
    from veridnet.headers import read

    table = read(DEMO, "ip_src", "l4_dst", "wire_len")
    ((_, row),) = rules_packets.packets([f"{DEMO}:291"])
    assert {n: row[n] for n in ("ip_src", "l4_dst", "wire_len")} == {
        n: int(getattr(table, n)[290]) for n in ("ip_src", "l4_dst", "wire_len")
    }


def test_convert(capsys, file, tmp_path):
    code, out, _ = run(capsys, "convert", file, "--to", "testpmd")
    assert code == 0
    assert out.startswith(
        "# web\nflow create 0 priority 0 transfer pattern eth / ipv4 / tcp dst is 80"
    )
    assert (
        "flow create 3 priority 0 ingress"
        in run(capsys, "convert", file, "--to", "testpmd", "--ports", "2,3")[1]
    )
    code, out, err = run(capsys, "convert", file, "--to", "classbench")
    assert (code, out) == (2, "")
    assert "rule 0 (web), line 3: ClassBench files have no actions" in err
    (tmp_path / "t").write_text("flow create 0 transfer pattern eth / end actions drop / end\n")
    assert run(capsys, "convert", str(tmp_path / "t"), "--to", "toml")[1] == (
        '[[rule]]\nmatch = ""\nactions = ["drop"]\n'
    )
    assert run(capsys, "convert", file, "--to", "toml", "--ports", "1")[0] == 2
    assert run(capsys, "convert", file, "--to", "testpmd", "--ports", "a")[0] == 2
    assert run(capsys, "convert", file, "--to", "testpmd", "--matches-only")[0] == 2


def test_alone_it_shows_its_commands(capsys):
    code, out, err = run(capsys)
    assert (code, out) == (2, "")
    for name in ("check", "explain", "convert", "bench", "watch"):
        assert f"    {name}" in err
        with pytest.raises(SystemExit) as e:
            main(["rules", name, "--help"])
        assert e.value.code == 0
        assert "examples:" in capsys.readouterr().out


# -- traces and bench ---------------------------------------------------------------------------


def test_packets_made_from_rules_meet_them():
    rules = RuleSet((
        Rule("ip_version == 4 and ip_src in 10.0.0.0/8 and l4_dst in {80, 443}"),
        Rule("tcp_flags & 3 == 2 and ip6_src in 2001:db8::/32"),
    ))  # fmt: skip
    packets = trace.make(rules, 500)
    assert list(packets) == trace.reads(rules)
    ids = reference.classify(rules, packets)
    assert set(ids) == {0, 1}
    assert (trace.make(rules, 500)["l4_dst"] == packets["l4_dst"]).all()
    assert trace.make(RuleSet((Rule(""),)), 5) == {}


def test_trace_files(tmp_path):
    rules = RuleSet((Rule("ip_src in 1.0.0.0/8 and l4_dst == 80"),))
    (tmp_path / "t").write_text("16777217\t2\t3\t80\t6\t0\t0\n\n5 2 3 80 6\n")
    packets = trace.load(tmp_path / "t", rules)
    assert reference.classify(rules, packets).tolist() == [0, -1]
    assert packets["ip_version"].tolist() == [4, 4]
    (tmp_path / "t").write_text("1 2 3 4 5\n1 2 3 4 256\n")
    with pytest.raises(ValueError, match="t:2: neither a ClassBench trace nor a capture"):
        trace.load(tmp_path / "t", rules)
    assert len(trace.load(DEMO, rules)["l4_dst"]) == 1795


def test_a_classbench_trace_is_drawn_from_its_rules():
    path = SHARED / "acl1_1k"
    if not path.exists():
        pytest.skip(f"no {path}")
    rules = formats.load(path)
    packets = trace.load(SHARED / "acl1_1k_trace", rules)
    some = {name: values[:500] for name, values in packets.items()}
    ids = reference.classify(rules, some)
    drawn = np.array([int(line.split()[6]) for line in (SHARED / "acl1_1k_trace").open()][:500])
    # The winner is the filter it was drawn from, or one before it.
    assert (ids >= 0).all()
    assert (ids <= drawn).all()
    assert (ids == drawn).mean() > 0.3


def test_bench(capsys, file):
    pytest.importorskip("veridnet.rules.table")
    words = ("bench", file, "--engine", "tuple", "--packets", "1000", "--seconds", "0.01", "--json")
    code, out, err = run(capsys, *words)
    assert code == 0, err
    data = json.loads(out)
    assert (data["rules"], data["packets"], data["verified"], data["wrong"]) == (3, 1000, 200, 0)
    assert 0 < data["ns_per_packet"] < 1e6
    code, out, _ = run(capsys, *words[:-1], "--trace", str(DEMO))
    assert code == 0
    assert "1,795 packets" in out
    assert "0 differ" in out


# -- watch ---------------------------------------------------------------------------


def snapshot(packets, seconds):
    rule = {"id": 0, "name": "web", "priority": 5, "match": "l4_dst == 80", "actions": ["drop"],
            "packets": packets, "bytes": packets * 100}  # fmt: skip
    return {"program": "l2fwd", "pid": 1, "seconds": seconds, "rules": [rule],
            "missed": {"packets": 1, "bytes": 60}}  # fmt: skip


def test_rates():
    first = rules_watch.with_rates(snapshot(100, 1.0), None)
    assert first["rules"][0]["packets_per_second"] == 0
    second = rules_watch.with_rates(snapshot(300, 1.5), snapshot(100, 1.0))
    assert second["rules"][0]["packets_per_second"] == 400
    assert second["rules"][0]["bits_per_second"] == 320_000
    assert second["missed"]["packets_per_second"] == 0
    # A rule that was replaced counts from 0 again.
    third = rules_watch.with_rates(snapshot(5, 2.0), snapshot(300, 1.5))
    assert third["rules"][0]["packets_per_second"] == 0


@pytest.fixture
def served(tmp_path, monkeypatch, file):
    folder = str(tmp_path / "run")
    monkeypatch.setattr(monitor, "folder", lambda: folder)
    with monitor.Monitor(lambda: {**snapshot(7, 1.0), "file": file}) as m:
        yield m


def test_watch(capsys, served, file):
    code, out, _ = run(capsys, "watch", "-n", "1")
    assert code == 0
    assert out.splitlines()[0] == "l2fwd 1, 1.0 s"
    assert out.splitlines()[2].split()[:4] == ["0", "5", "7", "700"]
    assert "no rule" in out
    for which in (file, served.path, served.path.split("-")[-1].removesuffix(".sock")):
        code, out, _ = run(capsys, "watch", which, "-n", "2", "-i", "0.05", "--json")
        assert code == 0
        assert [json.loads(line)["rules"][0]["packets"] for line in out.splitlines()] == [7, 7]
    code, out, err = run(capsys, "watch", "other.toml")
    assert (code, out) == (2, "")
    assert "no running program serves rules of other.toml" in err
    assert run(capsys, "watch", "-i", "0")[0] == 2


def test_watch_ends_with_the_program_and_with_ctrl_c(tmp_path):
    path = str(tmp_path / "m.sock")
    command = [
        sys.executable,
        "-P",
        "-m",
        "veridnet",
        "rules",
        "watch",
        path,
        "-i",
        "0.1",
        "--json",
    ]
    with monitor.Monitor(lambda: snapshot(7, 1.0), path):
        p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert json.loads(p.stdout.readline())["pid"] == 1
        p.send_signal(signal.SIGINT)
        _, err = p.communicate(timeout=20)
        assert (p.returncode, err) == (0, "")
        p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        p.stdout.readline()
        time.sleep(0.05)
    out, err = p.communicate(timeout=20)
    assert (p.returncode, err) == (0, "")
    assert all(json.loads(line) for line in out.splitlines())
