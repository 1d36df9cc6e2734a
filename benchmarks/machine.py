"""The machine under the benchmarks: its facts, its CPUs, its hugepages, who else used it."""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parent.parent
NR_HUGEPAGES = Path("/proc/sys/vm/nr_hugepages")
THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")

#: Pages of 2 MiB that testpmd (-m 512) or a veridnet process takes, with room to spare.
PAGES = 320


class BenchError(Exception):
    """A benchmark that could not be run, and why."""


def cpus() -> tuple[int, int]:
    """The CPU of the main threads, and that of the one forwarding core, on both sides."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise BenchError("two CPUs are needed: one forwards, the other starts and watches")
    return allowed[0], allowed[1]


def meminfo(name: str) -> int:
    """One number of /proc/meminfo."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    return 0


@contextlib.contextmanager
def hugepages(pages: int = PAGES) -> Iterator[None]:
    """Sees to that many free hugepages of 2 MiB, and restores the former number."""
    if meminfo("HugePages_Free") >= pages:
        yield
        return
    former = int(NR_HUGEPAGES.read_text())
    try:
        for attempt in range(5):
            if attempt:
                # Memory may be in pieces, or a process that has just ended not yet cleared away.
                Path("/proc/sys/vm/compact_memory").write_text("1")
                time.sleep(0.2)
            missing = pages - meminfo("HugePages_Free")
            NR_HUGEPAGES.write_text(str(meminfo("HugePages_Total") + missing))
            if meminfo("HugePages_Free") >= pages:
                break
        else:
            raise BenchError(f"the kernel has no {pages} hugepages of 2 MiB to reserve")
        yield
    except PermissionError:
        raise BenchError(
            f"only root can reserve hugepages (echo {pages} | sudo tee {NR_HUGEPAGES})"
        ) from None
    finally:
        with contextlib.suppress(PermissionError):
            NR_HUGEPAGES.write_text(str(former))


def first_line(*command: str) -> str:
    """The first line that a command prints; "" if it cannot be run."""
    try:
        out = subprocess.run(command, capture_output=True, text=True, timeout=20, cwd=REPO)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return out.stdout.strip().partition("\n")[0]


def cpu_model() -> tuple[str, bool]:
    """The CPU's name with family and model (virtual machines hide the name), and: is it virtual?"""
    values: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        values.setdefault(key.strip(), value.strip())
    name = values.get("model name", platform.machine())
    if "cpu family" in values:
        name += f" (family {values['cpu family']}, model {values['model']})"
    return name, "hypervisor" in values.get("flags", "").split()


def commit() -> str:
    """The commit that is checked out, and whether anything differs from it."""
    found = first_line("git", "rev-parse", "--short", "HEAD")
    if found and first_line("git", "status", "--porcelain", "-uno"):
        found += " and changes"
    return found or "unknown"


def now() -> str:
    """Date and time."""
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M UTC}"


def facts() -> dict[str, Any]:
    """What a reader must know of the machine to judge the numbers."""
    name, virtual = cpu_model()
    return {
        "cpu": name,
        "cpus": len(os.sched_getaffinity(0)),
        "virtual": virtual,
        "mhz": first_line("awk", "/MHz/ {print int($4); exit}", "/proc/cpuinfo"),
        "governor": GOVERNOR.read_text().strip() if GOVERNOR.exists() else "none (no cpufreq)",
        "memory_gib": round(meminfo("MemTotal") / (1 << 20), 1),
        "kernel": platform.release(),
        "thp": THP.read_text().strip() if THP.exists() else "none",
        "hugepages_before": int(NR_HUGEPAGES.read_text()) if NR_HUGEPAGES.exists() else 0,
        "dpdk": first_line("pkg-config", "--modversion", "libdpdk"),
        "testpmd": first_line("dpkg-query", "-W", "-f", "${Version}", "dpdk-dev"),
        "python": platform.python_version(),
        "load_at_start": os.getloadavg()[0],
    }


class Usage:
    """What else used the CPUs meanwhile: steal time, and processes that are not ours.

    Both in percent of one CPU, by /proc/stat. What is ours are this process and its children.
    """

    def __init__(self) -> None:
        self.at = time.monotonic()
        self.steal, self.busy, self.own = self.read()

    @staticmethod
    def read() -> tuple[float, float, float]:
        """Steal, busy and our own CPU time so far, in seconds."""
        line = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        user, nice, system, _, _, irq, softirq, steal = (
            int(v) / os.sysconf("SC_CLK_TCK") for v in line[:8]
        )
        own = 0.0
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            used = resource.getrusage(who)
            own += used.ru_utime + used.ru_stime
        return steal, user + nice + system + irq + softirq, own

    def result(self) -> dict[str, float]:
        """The shares since this object was made."""
        seconds = max(time.monotonic() - self.at, 1e-9)
        steal, busy, own = self.read()
        others = (busy - self.busy) - (own - self.own)
        return {
            "seconds": round(seconds, 1),
            "steal_percent": round(100 * (steal - self.steal) / seconds, 2),
            "others_percent": round(100 * max(others, 0.0) / seconds, 1),
        }
