"""veridnet run, and what l2fwd shows of its pipeline: plans, stages, traces, errors of programs."""

from __future__ import annotations

import json
import signal
import textwrap
from collections import Counter
from pathlib import Path

import pytest
from captures import frame, frames, write
from netns import Lab
from running import Live, Run, l2fwd, veridnet

EXAMPLES = Path(__file__).parents[2] / "examples"
A, B = "02:00:00:00:00:aa", "02:00:00:00:00:bb"
PORTS = ("-p", "pcap:rx=in.pcap", "-p", "pcap:tx=out.pcap")
HEAD = "import numpy as np\nimport veridnet as vn\n"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    write(tmp_path / "in.pcap", (frame(B, A, f"{i}") for i in range(1000)))
    return tmp_path


def run(here: Path, program: str, *args: str, function: str = "") -> Run:
    """Of a program whose third line is the first that is given."""
    (here / "mine.py").write_text(HEAD + textwrap.dedent(program))
    return veridnet("run", f"mine.py{function}", *PORTS, *args, cwd=here)


FORWARD = """\
def pipeline(ports):
    return vn.Pipeline(rx=[ports[0]]).rewrite(swap_macs=True).forward(ports[1])
def longer(ports, rt):
    sink = rt.add_port("null:no_rx=on,name=sink")
    return vn.Pipeline(rx=[ports[0]], ports=ports).filter("wire_len > 60").forward(sink)
"""


def test_it_forwards(here: Path) -> None:
    result = run(here, FORWARD, "--json", "--trace", "2").ok()
    assert (result["tx_packets"], result["ended_by"]) == (1000, "end of trace")
    assert result["mode"] == "program" and result["rules"] is None
    kinds = [s["kind"] for s in result["stages"]]
    assert kinds == ["macs", "forward", "(end)"]
    assert [s["packets_in"] for s in result["stages"]] == [1000, 1000, 0]
    events = Counter(e["kind"] for e in result["trace"])
    assert events["rx"] == 2 and {e["packet"] for e in result["trace"]} == {1, 2}
    swapped = [f[6:12] + f[:6] + f[12:] for f in frames(here / "in.pcap")]
    assert frames(here / "out.pcap") == swapped


def test_the_summary_names_stages(here: Path) -> None:
    done = run(here, FORWARD, "--trace", "1")
    assert done.code == 0 and done.stdout == ""
    assert "cycles/packet" in done.stderr and "macs" in done.stderr
    assert "packet 1\n" in done.stderr and "sent by 1" in done.stderr


def test_a_function_that_takes_the_runtime(here: Path) -> None:
    """It adds a port, which is in the result."""
    result = run(here, FORWARD, "--json", function=":longer").ok()
    assert [p["name"] for p in result["ports"]] == ["0", "1", "sink"]
    assert result["tx_packets"] + result["drops"].get("filtered", 0) == 1000


def test_rules_of_a_program_are_shown(here: Path) -> None:
    program = """\
    def pipeline(ports):
        table = vn.FlowTable()
        table.add("wire_len > 0", ["forward 1"], name="all")
        return vn.Pipeline(rx=[ports[0]], ports=ports).apply(table)
    """
    result = run(here, program, "--json").ok()
    assert [(r["name"], r["packets"]) for r in result["rules"]["rules"]] == [("all", 1000)]


# -- plans ----------------------------------------------------------------------------------------


def test_a_plan_forwards_nothing(here: Path) -> None:
    (here / "out.pcap").write_text("precious")
    done = run(here, FORWARD, "--plan")
    assert done.code == 0 and done.stdout.startswith("#  stage"), done.stderr
    for form, first in (("mermaid", "flowchart"), ("dot", "digraph")):
        assert run(here, FORWARD, f"--plan={form}").stdout.startswith(first)
    plan = json.loads(run(here, FORWARD, "--plan", "--json").stdout)
    assert [s["kind"] for s in plan["stages"]] == ["macs", "forward"]
    assert (here / "out.pcap").read_text() == "precious"


def test_l2fwd_plan(here: Path) -> None:
    done = veridnet("l2fwd", *PORTS, "--plan", cwd=here)
    assert done.code == 0 and "forward" in done.stdout and not (here / "out.pcap").exists()


# -- errors of the user's file --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "words"),
    [("x = 1 / 0\n", ("mine.py:3", "ZeroDivisionError")),
     ("def pipeline(ports:\n", ("mine.py:3", "SyntaxError")),
     ("import nosuchmodule\n", ("mine.py:3", "ModuleNotFoundError")),
     ("def other(ports): ...\n", ("mine.py", "no function pipeline", "mine.py:other")),
     ("def pipeline(ports): return 5\n", ("mine.py", "returned int")),
     ("def pipeline(ports): return vn.Pipeline()\n", ("receives from nowhere",)),
     ("def pipeline(ports): raise KeyError('k')\n", ("mine.py:3", "KeyError")),
     ("def pipeline(ports): return vn.Pipeline(rx=ports).filter('tpc')\n", ("mine.py:3", "tpc")),
     ("def pipeline(ports, rt):\n    return vn.Pipeline(rx=ports).apply(3)\n", ("mine.py:4",))],
    ids=lambda x: x[:24] if isinstance(x, str) else "",
)  # fmt: skip
def test_errors_are_one_line(here: Path, program: str, words: tuple[str, ...]) -> None:
    done = run(here, program)
    done.one_line("veridnet run: error: ", *words)
    assert done.code == 2


def test_verbose_shows_the_traceback(here: Path) -> None:
    done = run(here, "def pipeline(ports): return vn.Pipeline(rx=ports).filter('tpc')\n", "-v")
    assert done.code == 2 and "Traceback" in done.stderr and ".filter('tpc')" in done.stderr


def test_no_such_file(here: Path) -> None:
    done = veridnet("run", "nosuch.py", *PORTS, cwd=here)
    done.one_line("nosuch.py", "No such file")
    assert done.code == 2 and not (here / "out.pcap").exists()


def test_no_ports(here: Path) -> None:
    (here / "mine.py").write_text(HEAD + FORWARD)
    veridnet("run", "mine.py", cwd=here).one_line("no ports are given")


@pytest.mark.parametrize("option", [("--idle", "lazy"), ("--workers", "0"), ("--workers", "many"),
                                    ("--trace", "99999"), ("--rebalance", "0"),
                                    ("--plan=svg",)])  # fmt: skip
def test_options_refuse(here: Path, option: tuple[str, ...]) -> None:
    assert run(here, FORWARD, *option).code == 2
    done = veridnet("l2fwd", *PORTS, *option, cwd=here)
    done.one_line(option[0].partition("=")[0])
    assert done.code == 2 and not (here / "out.pcap").exists()


RAISES = """\
seen = 0
def odd(h):
    global seen
    seen += 1
    if seen == 5:
        raise ValueError("the fifth burst")
def pipeline(ports):
    return vn.Pipeline(rx=[ports[0]]).stage(odd).forward(ports[1])
"""


def test_a_stage_that_raises(here: Path) -> None:
    """One line names stage, file and line; every packet is accounted for; exit code 1."""
    done = run(here, RAISES, "--json")
    data = done.data
    assert done.code == 1 and data["ended_by"] == "a stage raised"
    assert data["problems"] == ["stage odd: mine.py:8: ValueError: the fifth burst"]
    assert data["balanced"] and data["held"] == 0 and data["mbufs_in_use"] == 0
    assert data["drops"]["stage_error"] >= 32
    assert data["tx_packets"] == 4 * 32 == len(frames(here / "out.pcap"))
    (line,) = [line for line in done.stderr.splitlines() if "mine.py" in line]
    assert line == "problem: stage odd: mine.py:8: ValueError: the fifth burst"
    assert "Traceback" not in done.stderr
    assert 'raise ValueError("the fifth burst")' in run(here, RAISES, "-v").stderr


# -- l2fwd ----------------------------------------------------------------------------------------


def test_l2fwd_stages_and_trace(here: Path) -> None:
    done = veridnet("l2fwd", *PORTS, "--stages", "--trace", "1", cwd=here)
    assert done.code == 0
    for text in ("cycles/packet", "macs", "forward", "packet 1\n", "eth_dst"):
        assert text in done.stderr
    result = l2fwd(*PORTS, "--trace", "3", cwd=here).ok()
    assert {e["packet"] for e in result["trace"]} == {1, 2, 3}
    assert sum(s["packets_in"] for s in result["stages"] if s["kind"] == "forward") == 1000


@pytest.mark.parametrize("idle", ["adaptive", "sleep"])
def test_idle(here: Path, idle: str) -> None:
    """An idle worker sleeps, and what comes is forwarded."""
    ports = ("-p", "ring", "-p", "ring")
    result = l2fwd(*ports, "--idle", idle, "--duration", "0.3", cwd=here).ok()
    assert result["workers"][0]["sleeps"] > 50
    assert l2fwd(*PORTS, "--idle", idle, cwd=here).ok()["tx_packets"] == 1000


def test_profile_keys(here: Path) -> None:
    (here / "p.toml").write_text(
        '[[port]]\nkind = "ring"\n[l2fwd]\nidle = "adaptive"\ntrace = 2\nduration = 0.2\n'
    )
    assert l2fwd("-c", "p.toml", cwd=here).ok()["workers"][0]["sleeps"] > 0
    (here / "p.toml").write_text('[[port]]\nkind = "ring"\n[l2fwd]\nidle = "lazy"\n')
    l2fwd("-c", "p.toml", cwd=here).one_line("idle=lazy", "p.toml")


def test_ctrl_c_ends_a_program(lab: Lab) -> None:
    (lab.folder / "mine.py").write_text(
        HEAD + "def pipeline(ports): return vn.Pipeline(rx=ports).drop()\n"
    )
    live = Live(lab, "mine.py", "-p", "null", "--idle", "adaptive", command="run")
    result = live.ready().stop(signal.SIGINT).ok()
    assert result["ended_by"] == "stopped" and result["drops"]["filtered"] > 0
