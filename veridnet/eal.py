"""EAL in this process: which memory it takes, and its one start."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from veridnet import dpdklog, hugepages, placement
from veridnet._native import eal
from veridnet._native.memory import HEADROOM, Heap, hugepages_probe
from veridnet.config import LOG_LEVELS, RuntimeConfig
from veridnet.errors import EalError

MIB = 1 << 20
HUGE_PAGE = 2 * MIB
THP_ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")

MEMORY_NAMES = {
    "hugepages": "hugepages (2 MiB)",
    "thp": "transparent huge pages",
    "4k": "4 KiB pages",
}


@dataclass
class Eal:
    """EAL as it started in this process; it cannot be started again."""

    memory: str
    why: str  # what was probed, for people
    lcores: str
    cpus: list[int]
    heaps: dict[int, Heap] = field(default_factory=dict)  # by NUMA node; -1: anywhere


_eal: Eal | None = None


def pool_bytes(mbufs: int, data_room: int) -> int:
    """Memory that a pool takes, generously: elements, its ring, and the lcores' caches."""
    element = -(-(data_room + HEADROOM + 128 + 64) // 64) * 64 + 64
    return mbufs * (element + 16) + 4 * MIB


def hugepages_needed(mbufs: int) -> int:
    """Hugepages of 2 MiB for a pool of so many mbufs, and for what DPDK needs itself."""
    return -(-(pool_bytes(mbufs, 2048) + 32 * MIB) // HUGE_PAGE)


def memory_available() -> int:
    """Bytes that can still be had without swapping (MemAvailable)."""
    with contextlib.suppress(OSError), open("/proc/meminfo") as f:
        for line in f:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return 1 << 62


def eal_runs() -> bool:
    """Has EAL started in this process? It then runs to the process's end."""
    return _eal is not None


def thp_enabled() -> bool:
    """Does the kernel give transparent huge pages to who asks for them?"""
    try:
        return "[never]" not in THP_ENABLED.read_text()
    except OSError:
        return False


def choose_memory(config: RuntimeConfig) -> tuple[str, str]:
    """The memory kind for a config, by probing, and why. EAL must not have started."""
    pages = hugepages_needed(config.mbufs)
    if config.memory in ("auto", "hugepages"):
        rc = hugepages_probe(pages, HUGE_PAGE)
        if rc == 0:
            return "hugepages", f"{pages} free hugepages were there"
        if config.memory == "hugepages":
            raise EalError(
                f"{pages} hugepages of 2 MiB are not free ({os.strerror(-rc)})",
                hint=f"{hugepages.command('reserve', pages + 64)}, or memory auto",
            )
    if config.memory in ("auto", "thp"):
        if thp_enabled():
            return "thp", f"no {pages} free hugepages"
        if config.memory == "thp":
            raise EalError(
                "transparent huge pages are disabled",
                hint=f"echo madvise | sudo tee {THP_ENABLED}",
            )
    return "4k", "neither hugepages nor transparent huge pages"


def started() -> Eal | None:
    """EAL as it started here; None: it has not."""
    return _eal


def start_eal(config: RuntimeConfig) -> Eal:
    """Starts EAL, or returns the one that has started if its settings serve."""
    global _eal
    lcores, cpus = placement.lcore_map(config.lcores)
    if _eal is not None:
        if config.memory not in ("auto", _eal.memory):
            raise EalError(
                f"EAL has started with {MEMORY_NAMES[_eal.memory]} and cannot start again",
                hint="one process, one memory kind: use another process",
            )
        if config.lcores is not None and cpus != _eal.cpus:
            raise EalError(
                f"EAL has started with workers on CPUs {_eal.cpus} and cannot start again",
                hint="one process, one set of lcores: use another process",
            )
        return _eal
    if eal.started():
        raise EalError("EAL did not start earlier in this process and cannot be started again",
                       hint="start a new process")  # fmt: skip
    memory, why = choose_memory(config)
    args = ["veridnet", "--lcores", lcores, "--main-lcore", "0", "--no-telemetry"]
    # An allowed PCI device that does not exist: NICs are taken only when add_port names them.
    args += ["-a", "0000:00:00.0"] if Path("/sys/bus/pci").exists() else ["--no-pci"]
    if memory == "hugepages":
        args += ["--in-memory"]
    else:
        # Untouched pages of EAL's own memory cost nothing; in "4k" the pools live in it too.
        size = 4096 if memory == "4k" else 256
        args += ["--no-huge", "--no-shconf", "-m", str(size)]
    log = dpdklog.start()
    eal.log_level("", LOG_LEVELS[config.log_level])
    args += ["--log-level", str(LOG_LEVELS[config.log_level])]
    # EAL aborts where it cannot make a pipe.
    need, spare = 16 + 4 * (len(cpus) + 1), []
    try:
        spare += [os.dup(log.write_fd) for _ in range(need)]
    except OSError:
        raise EalError(f"EAL needs {need} free file descriptors", hint="ulimit -n 1024") from None
    finally:
        for fd in spare:
            os.close(fd)
    if not os.path.isdir("/sys/devices/system/cpu"):
        raise EalError("/sys is not mounted, and EAL reads the CPUs there")
    try:
        eal.init(args)
    except EalError as e:
        detail = "; ".join(log.errors()[-2:])
        raise EalError(f"{e}: {detail}" if detail else str(e)) from None
    _eal = Eal(memory, why, lcores, cpus)
    return _eal
