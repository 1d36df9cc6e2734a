"""What cannot work is said in one line, with a non-zero exit code, before anything is touched."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from captures import frame, write
from netns import Lab
from running import COMMAND, Run, l2fwd, veridnet

import veridnet as veridnet_package

NOBODY = 65534
OLD = b"what was there before"

WRONG = {
    "no ports": ((), "no ports"),
    "unknown kind": (("-p", "nosuch:x=1"), "nosuch"),
    "near miss": (("-p", "net_pcap:rx=in.pcap"), "did you mean"),
    "unknown key": (("-p", "null:siz=64"), "did you mean 'size'"),
    "a key twice": (("-p", "null:size=64,size=65"), "twice"),
    "not a number": (("-p", "null:size=big"), "size=big"),
    "out of range": (("-p", "null:size=13"), "14"),
    "no key": (("-p", "null:64"), "key=value"),
    "no interface": (("-p", "af_packet"), "iface"),
    "no such interface": (("-p", "af_packet:iface=nosuch0"), "nosuch0"),
    "no such interface, af_xdp": (("-p", "af_xdp:iface=nosuch0"), "nosuch0"),
    "interface name": (("-p", "tap:iface=a-name-of-sixteen"), "a-name-of-sixteen"),
    "interface exists": (("-p", "tap:iface=lo"), "exists already"),
    "no input": (("-p", "pcap:rx=nosuch.pcap"), "nosuch.pcap"),
    "input is a folder": (("-p", "pcap:rx=."), "regular file"),
    "input is no capture": (("-p", "pcap:rx=text.pcap"), "text.pcap"),
    "input is empty": (("-p", "pcap:rx=empty.pcap"), "empty"),
    "no folder": (("-p", "pcap:rx=in.pcap", "-p", "pcap:tx=nosuch/out.pcap"), "nosuch/out.pcap"),
    "output is a folder": (("-p", "pcap:rx=in.pcap", "-p", "pcap:tx=."), "."),
    "output is a pipe": (("-p", "pcap:rx=in.pcap", "-p", "pcap:tx=pipe"), "pipe"),
    "neither": (("-p", "pcap:infinite=on"), "rx=FILE"),
    "read and written": (("-p", "pcap:rx=in.pcap,tx=in.pcap"), "both read and written"),
    "read and written by two": (("-p", "pcap:rx=in.pcap", "-p", "pcap:tx=in.pcap"), "same file"),
    "written twice": (("-p", "pcap:tx=new.pcap", "-p", "pcap:tx=new.pcap"), "same file"),
    "a name twice": (("-p", "null:name=a", "-p", "null:name=a"), "'a'"),
    "a name that is an order": (("-p", "null", "-p", "null:name=0"), "'0'"),
    "PCI address of nothing": (("-p", "0000:ff:1f.7"), "0000:ff:1f.7"),
    "short PCI address": (("-p", "ff:1f.7"), "0000:ff:1f.7"),
    "no PCI address": (("-p", "pci:address=zz"), "zz"),
    "unknown driver": (("--vdev", "net_nosuch0"), "net_nosuch0"),
    "no network driver": (("--vdev", "crypto_null0"), "crypto_null0"),
    "bad vdev key": (("--vdev", "net_null0,size=64,nosuch=1"), "nosuch"),
    "bad portmap": (("-p", "null", "-p", "null", "--portmap", "0-1"), "(0,1)(2,3)"),
    "portmap of nothing": (("-p", "null", "-p", "null", "--portmap", "(0,7)"), "'7'"),
    "portmap twice": (
        ("-p", "null", "-p", "null", "-p", "null", "--portmap", "(0,1)(1,2)"),
        "twice",
    ),
    "portmap lacks one": (("-p", "null", "-p", "null", "-p", "null", "--portmap", "(0,1)"), "2"),
    "learn and portmap": (("-p", "null", "-p", "null", "--learn", "--portmap", "(0,1)"), "learn"),
    "a bridge of one": (("-p", "null", "--learn"), "two ports"),
    "burst": (("-p", "null", "--burst", "1000"), "512"),
    "count": (("-p", "null", "--count", "0"), "count"),
    "duration": (("-p", "null", "--duration", "-1"), "-1"),
    "age": (("-p", "null", "-p", "null", "--learn", "--age", "0"), "age"),
    "stations": (("-p", "null", "-p", "null", "--learn", "--stations", "1"), "stations"),
    "unknown CPU": (("-p", "null", "--lcores", "4000"), "CPU 4000"),
    "a CPU twice": (("-p", "null", "--lcores", "0,0"), "twice"),
    "no CPU list": (("-p", "null", "--lcores", "a"), "1,3-5"),
    "too many lcores": (("-p", "null", "--lcores", "0-1023"), "CPU"),
    "too few mbufs": (("-p", "null", "--mbufs", "1"), "512"),
    "too many mbufs": (("-p", "null", "--mbufs", "99999999"), "mbufs"),
    "too little memory": (("-p", "null", "--mbufs", "67108864"), "MiB"),
    "too many queues": (("-p", "null:queues=65"), "64"),
    "--queues beyond all ports": (("-p", "null", "--queues", "65"), "from 1 to 64"),
    "--queues beyond these": (
        ("-p", "null:queues=64", "-p", "pcap:rx=in.pcap", "--queues", "2"),
        "from 1 to 1,",
    ),
    "no --queues": (("-p", "null", "--queues", "0"), "from 1 to 64"),
    "queues of a pcap port": (("-p", "pcap:rx=in.pcap,queues=2"), "queues"),
    "no profile": (("--config", "nosuch.toml"), "nosuch.toml"),
    "not TOML": (("--config", "text.pcap"), "not TOML"),
    "profile key": (("--config", "bad.toml"), "did you mean"),
    "memif folder": (("-p", "memif:role=server,socket=/nosuch/s.sock"), "/nosuch"),
    "memif path": (("-p", f"memif:role=server,socket=/tmp/{'x' * 120}"), "107"),
    "unknown option": (("--nosuch",), "--nosuch"),
    "near option": (("--duraton=5",), "did you mean --duration?) (see veridnet l2fwd --help)"),
    "port without -p": (("null",), "did you mean --port null?"),
    "capture without -p": (("in.pcap", "out.pcap"), "did you mean --port pcap:rx=in.pcap?"),
    "capture without rx=": (("-p", "pcap:in.pcap"), "did you mean 'pcap:rx=in.pcap'?"),
    "interface without iface=": (("-p", "tap:vtap0"), "did you mean 'tap:iface=vtap0'?"),
    "option of another name": (("--bridge",), "did you mean --learn?"),
    "no whole number": (("-p", "null", "--burst", "x"), "--burst: 'x' is not a whole number"),
    "burst 0": (("-p", "null", "--burst", "0"), "error: --burst 0: must be from 1"),
    "burst in a profile": (("--config", "burst.toml"), "error: burst.toml: burst=0: must be"),
    "text for a time": (
        ("--config", "text.toml"),
        "[l2fwd] duration = '5': must be a number (example: duration = 2.5)",
    ),
    "no time": (("--config", "idle.toml"), "idle.toml: [l2fwd] until_idle: 0 is not"),
    "no MAC address": (("-p", "null:mac=zz"), "null: mac=zz: is not a MAC address"),
    "a group address": (("-p", "null:mac=01:00:5e:00:00:01"), "group address"),
}

#: What another machine, or other files, could do: exit code 1. The others are usage errors: 2.
MAY_WORK_ELSEWHERE = {
    "no such interface", "no such interface, af_xdp", "interface exists", "no input",
    "input is a folder", "input is no capture", "input is empty", "no folder",
    "output is a folder", "output is a pipe", "PCI address of nothing", "short PCI address",
    "unknown driver", "too little memory", "memif folder",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With in.pcap, empty.pcap, text.pcap, pipe, and wrong profiles."""
    write(tmp_path / "in.pcap", [frame("02:00:00:00:00:aa", "02:00:00:00:00:bb", "x")])
    (tmp_path / "empty.pcap").touch()
    (tmp_path / "text.pcap").write_text("this is text, and long enough to be a header\n")
    (tmp_path / "bad.toml").write_text('[[port]]\nkind = "null"\nsiez = 64\n')
    for name, line in (
        ("burst", "burst = 0"),
        ("text", "duration = '5'"),
        ("idle", "until_idle = 0"),
    ):
        (tmp_path / f"{name}.toml").write_text(f'[l2fwd]\n{line}\n[[port]]\nkind = "null"\n')
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


@pytest.mark.parametrize("case", WRONG)
def test_one_line(case: str, folder: Path) -> None:
    args, word = WRONG[case]
    before = (folder / "in.pcap").read_bytes()
    run = l2fwd(*args, "--duration", "0.1", cwd=folder) if case != "duration" else l2fwd(
        *args, cwd=folder)  # fmt: skip
    run.one_line(word)
    assert run.code == (1 if case in MAY_WORK_ELSEWHERE else 2)
    assert (folder / "in.pcap").read_bytes() == before


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(("-p", "pcap:rx=nosuch.pcap"), id="no input"),
        pytest.param(("-p", "pcap:rx=text.pcap"), id="no capture"),
        pytest.param(("-p", "pcap:rx=out.pcap"), id="its input"),
        pytest.param(("-p", "null:siz=64"), id="unknown key"),
        pytest.param(("-p", "null:name=0"), id="a name twice"),
        pytest.param(("-p", "af_packet:iface=nosuch0"), id="no interface"),
        pytest.param(("-p", "null", "--portmap", "(0,2)"), id="bad portmap"),
        pytest.param(("--learn",), id="a bridge of one"),
    ],
)
def test_an_output_survives_what_is_wrong_with_later_ports(
    folder: Path, rest: tuple[str, ...]
) -> None:
    """A capture that would be written is not emptied before everything was checked."""
    (folder / "out.pcap").write_bytes(OLD)
    l2fwd("-p", "pcap:rx=in.pcap,tx=out.pcap", *rest, cwd=folder).one_line()
    assert (folder / "out.pcap").read_bytes() == OLD


def test_an_output_survives_what_is_wrong_with_its_own_port(folder: Path) -> None:
    (folder / "out.pcap").write_bytes(OLD)
    for spec in ("pcap:rx=nosuch.pcap,tx=out.pcap", "pcap:rx=text.pcap,tx=out.pcap",
                 "pcap:rx=out.pcap,tx=out.pcap",
                 "pcap:rx=in.pcap,tx=out.pcap,queues=2"):  # fmt: skip
        l2fwd("-p", spec, cwd=folder).one_line()
        assert (folder / "out.pcap").read_bytes() == OLD


def test_an_interface_that_is_down(lab: Lab) -> None:
    lab.veth("A", "vt0", "R", "r0")
    for kind in ("af_packet", "af_xdp"):
        run = l2fwd("-p", f"{kind}:iface=r0", cwd=lab.folder, ns=lab.ns("R"))
        run.one_line("r0 is down", "ip link set r0 up")


def test_the_loopback_interface(lab: Lab) -> None:
    """Its MTU of 65,536 is more than a buffer can hold."""
    run = l2fwd("-p", "af_packet:iface=lo", "--duration", "0.2", cwd=lab.folder, ns=lab.ns("R"))
    if run.code:
        run.one_line("lo")
    else:
        run.ok()


def test_hugepages_that_are_not_there(folder: Path) -> None:
    """So many that no test machine has them free."""
    run = l2fwd("-p", "null", "--memory", "hugepages", "--mbufs", "60000000", cwd=folder)
    run.one_line("hugepages", "veridnet hugepages reserve")


def reachable(path: Path) -> bool:
    """May everybody read it, and pass through the folders above?"""
    return bool(path.stat().st_mode & 0o4) and all(p.stat().st_mode & 0o1 for p in path.parents)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may write to (pytest's own are for their owner), with in.pcap."""
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv")
    for path in (Path(sys.prefix), Path(sys.executable).resolve(), Path(veridnet_package.__file__)):
        if not reachable(path):
            pytest.skip(f"others may not read {path}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        if not reachable(folder):
            pytest.skip(f"others may not enter {folder}")
        write(folder / "in.pcap", [frame("02:00:00:00:00:aa", "02:00:00:00:00:bb", "x")])
        yield folder


def nobody(folder: Path, *args: str) -> Run:
    """`veridnet l2fwd` as the user nobody, without capabilities."""
    command = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
               "--inh-caps=-all", *COMMAND, "l2fwd", *args, "--json")  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=folder)
    return Run(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("spec", ["tap:iface=vt0", "af_packet:iface=lo", "af_xdp:iface=lo"])
def test_without_capabilities_kernel_ports_are_refused(open_folder: Path, spec: str) -> None:
    nobody(open_folder, "-p", spec).one_line("capability", "sudo")


def test_without_capabilities_the_rest_works(open_folder: Path) -> None:
    for args in (
        ("-p", "pcap:rx=in.pcap", "-p", "pcap:tx=out.pcap"),
        ("-p", "null", "-p", "ring", "--count", "1000"),
        ("-p", f"memif:role=server,socket={open_folder}/m.sock", "-p", "null:no_rx=on",
         "--duration", "0.1"),
    ):  # fmt: skip
        nobody(open_folder, *args).ok()


def test_files_that_nobody_may_read_or_write(open_folder: Path) -> None:
    source, out = open_folder / "in.pcap", open_folder / "out.pcap"
    source.chmod(0o600)
    nobody(open_folder, "-p", "pcap:rx=in.pcap").one_line("in.pcap", "Permission denied")
    source.chmod(0o644)
    out.write_bytes(OLD)
    nobody(open_folder, "-p", "pcap:rx=in.pcap,tx=out.pcap").one_line("Permission denied")
    assert out.read_bytes() == OLD


def test_a_socket_in_the_place_of_a_capture(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(folder / "sock"))
        l2fwd("-p", "pcap:rx=sock", cwd=folder).one_line("sock")
        l2fwd("-p", "pcap:rx=in.pcap", "-p", "pcap:tx=sock", cwd=folder).one_line("sock")


def test_the_other_commands(folder: Path) -> None:
    veridnet("ports", "nosuch", cwd=folder).one_line("nosuch")
    veridnet("ports", "--port", "pcap:rx=nosuch.pcap", cwd=folder).one_line("nosuch.pcap")
    veridnet("nosuch", cwd=folder).one_line("nosuch", "commands: l2fwd, run, headers, rules, ")
    veridnet("l2fw", cwd=folder).one_line("did you mean l2fwd?")
    veridnet("--versoin", cwd=folder).one_line("did you mean --version?")
    veridnet("ports", "--jsn", cwd=folder).one_line("--json?) (see veridnet ports --help)")


def test_a_tap_says_what_its_interface_is_called(lab: Lab) -> None:
    """Without iface= DPDK chooses the name."""
    run = veridnet("l2fwd", "-p", "tap", "-p", "null", "--duration", "0.2", cwd=lab.folder,
                   ns=lab.ns("R"))  # fmt: skip
    assert run.code == 0 and "forwarding: 0 tap dtap0, 1 null" in run.stderr, run.stderr


def test_without_proc(folder: Path) -> None:
    """/proc is hidden, as in some containers: doctor says so in a line, and what can work does."""
    hide = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh")

    def hidden(*args: str) -> Run:
        done = subprocess.run([*hide, *COMMAND, *args], capture_output=True, text=True,
                              timeout=30, cwd=folder, stdin=subprocess.DEVNULL)  # fmt: skip
        return Run(done.returncode, done.stdout, done.stderr)

    if subprocess.run([*hide, "true"], capture_output=True).returncode:
        pytest.skip("/proc cannot be hidden here")
    doctor = hidden("doctor", "--json")
    assert doctor.code == 0, doctor.stderr
    checks = {c["name"]: c for c in doctor.data["checks"]}
    assert checks["/proc"]["status"] == "fallback" and "mount" in checks["/proc"]["mend"]
    assert checks["drivers"]["status"] == checks["self-test"]["status"] == "ok"
    assert hidden("ports").code == 0
    hidden("l2fwd", "-p", "null", "-p", "null", "--count", "1000", "--json").ok()
    hidden("l2fwd", "-p", "pcap:rx=in.pcap").one_line("/proc")
