"""Network namespaces for tests: made, used and removed, whatever happens between.

How a tap gets into a namespace: veridnet makes it in the namespace that it runs in. Both ways on
from there work. Either veridnet runs in a namespace of its own and its taps are moved out
(``ip -n R link set vtap0 netns A``: net_tap keeps its file descriptor, and that is all that its
data path uses), or veridnet is started inside the namespace of one of its taps. What a move loses
is the interface's state: it arrives down and without addresses.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

CLONE_NEWNET = 0x40000000
SOL_PACKET, PACKET_AUXDATA = 263, 8
TP_STATUS_VLAN_VALID = 1 << 4
# txvlan: else veth carries a tag beside the frame, where XDP programs do not see it.
OFFLOADS_OFF = "tx off rx off sg off tso off gso off gro off txvlan off rxvlan off".split()

libc = ctypes.CDLL(None, use_errno=True)

# Several runs may share a machine. A pid alone is not unique: chroots and containers count from 1.
PREFIX = f"vn{os.getpid()}x{secrets.token_hex(2)}"


def why_not() -> str:
    """Why namespaces cannot be made here; "" if they can."""
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    for tool in ("ip", "ethtool", "ping"):
        if shutil.which(tool) is None:
            return f"needs {tool}"
    name = f"{PREFIX}probe"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, timeout=10)
    if made.returncode:
        return f"network namespaces cannot be made: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], timeout=10)
    return ""


def wait_until(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Polls until the condition holds; AssertionError after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:g} s in vain for {what}"
        time.sleep(0.02)


def ip(*args: str, check: bool = True) -> str:
    """Runs ip(8); returns what it prints."""
    done = subprocess.run(["ip", *args], capture_output=True, text=True, timeout=15)
    assert not check or done.returncode == 0, f"ip {' '.join(args)}: {done.stderr.strip()}"
    return done.stdout


class Raw:
    """An AF_PACKET socket on one interface: whole frames, tags where they were on the wire."""

    def __init__(self, dev: str) -> None:
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.socket.bind((dev, 3))

    def send(self, *frames: bytes) -> None:
        """Sends whole frames; a full device queue is tried again for a while."""
        for frame in frames:
            for _ in range(1000):
                try:
                    self.socket.send(frame)
                    break
                except OSError as e:
                    if e.errno != 105:  # ENOBUFS
                        raise
                    time.sleep(0.001)

    def receive(self, quiet: float = 0.2, at_most: int = 1 << 20, at_least: int = 0) -> list[bytes]:
        """Frames that arrive until nothing has arrived for `quiet` seconds.

        For the first `at_least` frames it waits longer, 20 s in all: as long as a busy machine
        needs. What is not to come can only be missed within `quiet`.
        """
        frames: list[bytes] = []
        end = time.monotonic() + 20
        with contextlib.suppress(TimeoutError):
            while len(frames) < at_most:
                left = end - time.monotonic() if len(frames) < at_least else 0
                self.socket.settimeout(max(quiet, left))
                frame, aux, _, source = self.socket.recvmsg(65536, 128)
                if source[2] == socket.PACKET_OUTGOING:
                    continue
                for level, kind, data in aux:
                    if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                        status, _, _, _, _, tci, tpid = struct.unpack("3I4H", data[:20])
                        if status & TP_STATUS_VLAN_VALID:
                            frame = frame[:12] + struct.pack("!2H", tpid, tci) + frame[12:]
                frames.append(frame)
        return frames

    def close(self) -> None:
        self.socket.close()


class Namespace:
    """One namespace: `run` and `start` programs in it, and look after its interfaces."""

    def __init__(self, lab: Lab, label: str) -> None:
        self.lab = lab
        self.name = f"{PREFIX}{label}"
        ip("netns", "add", self.name)
        self.ip("link", "set", "lo", "up")

    def ip(self, *args: str, check: bool = True) -> str:
        """ip -n NAMESPACE ..."""
        return ip("-n", self.name, *args, check=check)

    def run(self, *args: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        """Runs a program to its end in the namespace."""
        return subprocess.run(
            ["ip", "netns", "exec", self.name, *args],
            capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def start(self, *args: str, **options: object) -> subprocess.Popen[str]:
        """Starts a program in the namespace; the lab ends it."""
        return self.lab.start("ip", "netns", "exec", self.name, *args, **options)

    def up(self, dev: str, host: int = 0, *, net: int = 77, mtu: int = 0) -> None:
        """Brings an interface up, as 10.NET.0.HOST and fdNET::HOST unless host is 0."""
        if mtu:
            self.ip("link", "set", dev, "mtu", str(mtu))
        if host:
            self.ip("addr", "add", f"10.{net}.0.{host}/24", "dev", dev)
            self.ip("addr", "add", f"fd{net}::{host}/64", "dev", dev, "nodad")
        self.ip("link", "set", dev, "up")

    def quiet(self) -> None:
        """No IPv6 on interfaces to come: the kernel then sends nothing by itself."""
        done = self.run("sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6")
        assert done.returncode == 0, done.stderr

    def offloads_off(self, dev: str) -> None:
        """Turns off what spoils raw frames."""
        done = self.run("ethtool", "-K", dev, *OFFLOADS_OFF)
        assert done.returncode == 0, done.stderr

    def ping(self, address: str, *options: str, count: int = 3) -> bool:
        """Do so many echoes come back within 20 s?"""
        # With -w it goes on until `count` answers came; with -W alone it would wait for the last
        # answer two round trips only, and take a busy machine's delay for a loss.
        done = self.run("ping", "-n", "-c", str(count), "-i", "0.05", "-w", "20", *options, address)
        return done.returncode == 0

    def no_ping(self, address: str, *options: str, count: int = 3) -> bool:
        """Sends exactly so many echo requests; does no answer come in 1 s?"""
        done = self.run("ping", "-n", "-c", str(count), "-i", "0.05", "-W", "1", *options, address)
        return done.returncode == 1

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """This thread is in the namespace meanwhile; sockets made here stay there."""
        home = os.open("/proc/self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            if libc.setns(there, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            yield
        finally:
            libc.setns(home, CLONE_NEWNET)
            os.close(home)
            os.close(there)

    def raw(self, dev: str) -> Raw:
        """A raw socket on an interface of the namespace."""
        with self.inside():
            raw = Raw(dev)
        self.lab.on_close.callback(raw.close)
        return raw


class Lab:
    """The namespaces and processes of one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.namespaces: dict[str, Namespace] = {}
        self.processes: list[subprocess.Popen[str]] = []
        self.on_close = contextlib.ExitStack()

    def ns(self, label: str) -> Namespace:
        """The namespace of that label, made at the first call."""
        if label not in self.namespaces:
            self.namespaces[label] = Namespace(self, label)
        return self.namespaces[label]

    def veth(self, a: str, dev_a: str, b: str, dev_b: str, *, mtu: int = 1500) -> None:
        """A veth pair between two namespaces, both ends down, offloads as the kernel has them."""
        one, two = self.ns(a), self.ns(b)
        one.ip("link", "add", dev_a, "mtu", str(mtu), "type", "veth",
               "peer", "name", dev_b, "mtu", str(mtu), "netns", two.name)  # fmt: skip

    def start(self, *args: str, **options: object) -> subprocess.Popen[str]:
        """Starts a program; it is ended with the lab."""
        options = {"text": True, "stdin": subprocess.DEVNULL, "cwd": self.folder, **options}
        process: subprocess.Popen[str] = subprocess.Popen(args, **options)  # type: ignore[call-overload]
        self.processes.append(process)
        return process

    def close(self) -> None:
        """Ends the processes, then the namespaces; goes on after errors."""
        for process in self.processes:
            with contextlib.suppress(OSError):
                process.kill()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        self.on_close.close()
        for ns in self.namespaces.values():
            for pid in ip("netns", "pids", ns.name, check=False).split():
                with contextlib.suppress(OSError):
                    os.kill(int(pid), signal.SIGKILL)
            ip("netns", "del", ns.name, check=False)


def run_all(commands: Sequence[subprocess.Popen[str]], timeout: float) -> list[str]:
    """Waits for started programs together; what each printed. AssertionError where one failed."""
    end = time.monotonic() + timeout
    outputs = []
    for process in commands:
        out, err = process.communicate(timeout=max(0.1, end - time.monotonic()))
        assert process.returncode == 0, f"{process.args}: {process.returncode}: {out}{err}"
        outputs.append(out)
    return outputs
