"""Open vSwitch with DPDK as a peer: a rule set as OpenFlow flows, its header trace as packets.

net_pcap with infinite_rx receives, net_null sends, one PMD thread forwards. ovsdb-server and
ovs-vswitchd run in a private directory under /tmp, never as services, and end with the benchmark.

With the cache off (emc-insert-inv-prob=0) every lookup reaches the megaflow table; the trace has
fewer flows (3,292) than the exact-match cache has places (8,192).
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import classbench
from harness import Benchmark, Case, Contender, Figure, Ratio, Settings, bounded
from machine import BenchError, cpus, hugepages

DAEMON = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
#: Pages of 2 MiB: 1 GiB of them is Open vSwitch's, whose pools are large.
PAGES = 560
#: Seconds after which its daemons are ended, whatever happens here.
PATIENCE = 120
RULES = "acl1_1k"


def masks(lo: int, hi: int) -> Iterator[str]:
    """A range of ports as value/mask pairs; "" for all ports."""
    if (lo, hi) == (0, 0xFFFF):
        yield ""
        return
    while lo <= hi:
        size = lo & -lo or 1 << 16
        while lo + size - 1 > hi:
            size >>= 1
        yield f"{lo:#x}/{0x10000 - size & 0xFFFF:#x}"
        lo += size


def flows(filters: Any) -> Iterator[str]:
    """The filters as OpenFlow flows: the first of the file has the highest priority."""
    names = {1: "icmp", 6: "tcp", 17: "udp", 132: "sctp"}
    for row in filters:
        f = dict(zip(filters.dtype.names, row.tolist(), strict=True))
        base = [f"priority={0xFFFF - f['place']}"]
        base.append(names.get(f["proto"], f"ip,nw_proto={f['proto']}") if f["proto_mask"] else "ip")
        for side in ("src", "dst"):
            if length := f[f"{side}_len"]:
                net = ipaddress.ip_network((f[side], length), strict=False)
                base.append(f"nw_{side}={net}")
        for sport in masks(f["sport_lo"], f["sport_hi"]):
            for dport in masks(f["dport_lo"], f["dport_hi"]):
                if (sport or dport) and f["proto"] not in (6, 17, 132):
                    raise BenchError(f"filter {f['place']}: ports without a protocol that has them")
                ports = [f"tp_{side}={p}" for side, p in (("src", sport), ("dst", dport)) if p]
                yield ",".join([*base, *ports, "actions=output:2"])
    yield "priority=0,actions=output:2"


class Switch:
    """ovsdb-server and ovs-vswitchd in a directory of their own."""

    def __init__(self, folder: Path, memory: str = "hugepages") -> None:
        self.folder = folder
        self.env = os.environ | {
            name: str(folder)
            for name in ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR")
        }
        self.processes: list[subprocess.Popen[bytes]] = []
        self.db = f"unix:{folder}/db.sock"
        main, worker = cpus()
        self.call("ovsdb-tool", "create", f"{folder}/conf.db", SCHEMA)
        self.start("ovsdb-server", f"{folder}/conf.db", f"--remote=punix:{folder}/db.sock",
                   f"--unixctl={folder}/db.ctl", "-vconsole:off")  # fmt: skip
        self.wait(lambda: (folder / "db.sock").exists(), "ovsdb-server")
        extra = "--no-pci --no-telemetry --in-memory"
        if memory == "no-huge":
            extra = "--no-pci --no-telemetry --no-huge --no-shconf -m 1024"
        self.vsctl("--no-wait", "init")
        self.vsctl(
            "--no-wait", "set", "Open_vSwitch", ".", "other_config:dpdk-init=true",
            f"other_config:dpdk-lcore-mask={1 << main:#x}",
            f"other_config:pmd-cpu-mask={1 << worker:#x}",
            f'other_config:dpdk-extra="{extra}"',
            *(["other_config:dpdk-socket-mem=1024"] if memory == "hugepages" else []),
        )  # fmt: skip
        self.start(DAEMON, self.db, f"--unixctl={folder}/vs.ctl", f"--log-file={folder}/vs.log",
                   f"--pidfile={folder}/vs.pid", "-vconsole:off", "-vfile:info")  # fmt: skip
        self.wait(lambda: (folder / "vs.ctl").exists(), "ovs-vswitchd")

    def start(self, *command: str) -> None:
        """Starts a daemon under a time limit, and never with real-time priority.

        With it the PMD thread starves the thread that adds its ports.
        """
        whole = bounded("chrt", "-o", "0", *command, patience=PATIENCE)
        null = subprocess.DEVNULL
        self.processes.append(
            subprocess.Popen(whole, env=self.env, stdin=null, stdout=null, stderr=null)
        )

    def wait(self, ready: Any, what: str) -> None:
        """Waits until it is there."""
        for _ in range(200):
            if ready():
                return
            if any(p.poll() is not None for p in self.processes):
                break
            time.sleep(0.1)
        raise BenchError(f"{what} did not start: {self.last_words()}")

    def last_words(self) -> str:
        """The last error in its log."""
        log = self.folder / "vs.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        bad = [x for x in lines if re.search(r"\|(ERR|EMER|WARN)\|", x)]
        return (bad or lines or ["no log"])[-1]

    def call(self, *command: str) -> str:
        """Runs a tool; what it printed."""
        done = subprocess.run(
            bounded(*command, patience=60), env=self.env, stdin=subprocess.DEVNULL,
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            why = done.stderr.strip().splitlines()
            raise BenchError(f"{command[0]}: {why[-1] if why else self.last_words()}")
        return done.stdout

    def vsctl(self, *words: str) -> str:
        """ovs-vsctl."""
        return self.call("ovs-vsctl", f"--db={self.db}", "--timeout=40", *words)

    def appctl(self, *words: str) -> str:
        """ovs-appctl to ovs-vswitchd."""
        return self.call("ovs-appctl", "-t", f"{self.folder}/vs.ctl", *words)

    def port(self, name: str, devargs: str, number: int) -> None:
        """Adds a DPDK port."""
        self.vsctl("add-port", "br0", name, "--", "set", "Interface", name, "type=dpdk",
                   f"options:dpdk-devargs={devargs}", f"ofport_request={number}")  # fmt: skip
        error = self.vsctl("get", "Interface", name, "error").strip()
        if error not in ("[]", '""'):
            raise BenchError(f"Open vSwitch, port {name}: {error}")

    def favour(self) -> None:
        """Gives the PMD thread the real-time priority that this process has, if any."""
        policy = os.sched_getscheduler(0)
        if policy == os.SCHED_OTHER:
            return
        process = int((self.folder / "vs.pid").read_text())
        for task in Path(f"/proc/{process}/task").iterdir():
            if (task / "comm").read_text().startswith("pmd-"):
                os.sched_setscheduler(int(task.name), policy, os.sched_getparam(0))

    def stats(self) -> dict[str, float]:
        """The figures of the PMD thread that forwards."""
        text = self.appctl("dpif-netdev/pmd-stats-show").split("main thread:")[0]
        found = {}
        for line in text.splitlines():
            if m := re.match(r"\s+([a-z][\w ./-]*): ([\d.]+)", line):
                found[m[1].strip()] = float(m[2])
        return found

    def close(self) -> None:
        """Ends both daemons: ovs-vswitchd first."""
        for tool in ("vs.ctl", "db.ctl"):
            with contextlib.suppress(BenchError):
                self.call("ovs-appctl", "-t", f"{self.folder}/{tool}", "exit")
        for p in reversed(self.processes):
            try:
                p.wait(10)
            except subprocess.TimeoutExpired:
                p.terminate()  # timeout passes it on
                p.wait(15)


@contextlib.contextmanager
def switch(rules: str, headers: int, memory: str, cache: bool) -> Iterator[Switch]:
    """A switch that forwards `headers` headers of the trace (0: all) by the rules."""
    for program in ("ovsdb-server", DAEMON):
        if shutil.which(program) is None:
            raise BenchError(
                "Open vSwitch with DPDK is not installed "
                "(Debian: apt install --no-install-recommends openvswitch-switch-dpdk)"
            )
    trace = classbench.headers(rules)
    with tempfile.TemporaryDirectory(prefix="vnovs") as name:
        folder = Path(name)
        classbench.write_pcap(folder / "trace.pcap", trace[: headers or len(trace)])
        (folder / "flows").write_text("\n".join(flows(classbench.filters(rules))) + "\n")
        made = None
        try:
            made = Switch(folder, memory)
            if not cache:
                made.vsctl("--no-wait", "set", "Open_vSwitch", ".",
                           "other_config:emc-insert-inv-prob=0")  # fmt: skip
            made.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev",
                       "fail-mode=secure")  # fmt: skip
            made.call("ovs-ofctl", "add-flows", f"unix:{folder}/br0.mgmt", f"{folder}/flows")
            made.port("out", "net_null0", 2)
            made.port("in", f"net_pcap0,rx_pcap={folder}/trace.pcap,infinite_rx=1", 1)
            yield made
        finally:
            if made:
                made.close()


def forward(
    seconds: int, *, rules: str = RULES, headers: int = 0, cache: bool = True,
    memory: str = "hugepages", settle: float = 4,
) -> dict[str, float]:  # fmt: skip
    """Forwards; the PMD thread's figures, and "mpps" by the packets that it received."""
    with contextlib.ExitStack() as stack:
        if memory == "hugepages":
            stack.enter_context(hugepages(PAGES))
        s = stack.enter_context(switch(rules, headers, memory, cache))
        time.sleep(settle)  # upcalls, and the cache takes one packet in 100
        s.favour()
        s.appctl("dpif-netdev/pmd-stats-clear")
        start = time.monotonic()
        time.sleep(seconds)
        found = s.stats()
        spent = time.monotonic() - start
        found["mpps"] = found["packets received"] / spent / 1e6
        found["flows"] = float(len(s.call("ovs-ofctl", "dump-flows",
                                          f"unix:{s.folder}/br0.mgmt").splitlines()))  # fmt: skip
        return found


def case(label: str, headers: int, cache: bool, bar: float | None = None) -> Case:
    """Ours against Open vSwitch: the same rules, packets and devices."""

    def own(seconds: int) -> float:
        from rules import forwarding

        return (
            1e3
            / forwarding(RULES, True, seconds, headers=headers, memory="hugepages", cache=cache)[
                "ns"
            ]
        )

    return Case(
        f"{label}, net_pcap (infinite_rx) to net_null, 64 bytes",
        {
            "veridnet": Contender(own, True),
            "Open vSwitch": Contender(
                lambda s: forward(s, headers=headers, cache=cache)["mpps"], True
            ),
        },
        [Ratio("veridnet", "Open vSwitch", bar)],
    )


def cycle_figures(settings: Settings) -> list[Figure]:
    """What the PMD thread itself counts, without ours."""
    figures = []
    for label, headers, cache in (
        ("100 flows, exact-match cache on", 100, True),
        ("the whole trace, exact-match cache on", 0, True),
        ("the whole trace, exact-match cache off", 0, False),
    ):
        found = [forward(settings.seconds, headers=headers, cache=cache)
                 for _ in range(min(settings.rounds, 3))]  # fmt: skip
        for name, unit in (("avg cycles per packet", "cycles"), ("mpps", "Mpps"),
                           ("avg. subtable lookups per megaflow hit", "")):  # fmt: skip
            figures.append(Figure(f"{label}: {name}", unit, [f[name] for f in found]))
        hits = [100 * f["emc hits"] / f["packets received"] for f in found]
        figures.append(Figure(f"{label}: hits of the exact-match cache", "%", hits))
    return figures


BENCHMARKS = [
    Benchmark(
        "ovs", f"{RULES} as OpenFlow flows in Open vSwitch with DPDK, against l2fwd --rules",
        [
            case("100 flows, all in the exact-match cache", 100, True, 1.5),
            case("whole trace, exact-match cache on", 0, True),
            case("whole trace, every lookup in the megaflow table", 0, False, 10),
        ],
        notes=["last case: no cache on both sides (emc-insert-inv-prob=0, --no-flow-cache)"],
    ),
    Benchmark(
        "ovs-cycles", "the peer alone: cycles a packet in Open vSwitch with DPDK",
        figures=cycle_figures,
    ),
]  # fmt: skip


if __name__ == "__main__":
    import json
    import signal
    import sys

    from run import end_on

    end_on(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for words in sys.argv[1:]:
        print(words, json.dumps(forward(**json.loads(words)), indent=1), flush=True)
