"""EAL in this process: which memory it takes, and its one start."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path

from veridnet import dpdklog, hugepages, placement
from veridnet._native import eal
from veridnet._native.memory import HEADROOM, Heap, hugepages_probe
from veridnet.config import LOG_LEVELS, RuntimeConfig
from veridnet.errors import EalError
from veridnet.group import Group, hugetlbfs

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
    group: Group | None = None

    @property
    def first_lcore(self) -> int:
        """The id of the main lcore; the workers' follow."""
        return self.group.first_lcore if self.group else 0


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


@atexit.register
def _remove_files() -> None:
    """The last process of a group leaves no hugepages in use. The runtime has closed before."""
    if _eal is None or (group := _eal.group) is None or group.others:
        return
    folder = hugetlbfs()
    for path in Path(folder).glob(f"{group.name}map_*") if folder else ():
        with contextlib.suppress(OSError):
            path.unlink()


def started() -> Eal | None:
    """EAL as it started here; None: it has not."""
    return _eal


def start_eal(config: RuntimeConfig) -> Eal:
    """Starts EAL, or returns the one that has started if its settings serve."""
    global _eal
    name = config.group_name
    cpus = placement.worker_cpus(config.lcores, 127 if name is None else 31)
    if _eal is not None:
        check_group(_eal.group, config)
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
    group = None
    if config.attach is None:
        memory, why = choose_memory(config)
        if name is not None and memory != "hugepages":
            choose_memory(dataclasses.replace(config, memory="hugepages"))  # raises
    else:
        memory, why = "hugepages", "the primary's"
    if name is not None:
        group = Group(name, config.shared is not None, len(cpus) + 1)
    try:
        if group is not None and hugetlbfs() is None:
            raise EalError(
                "no hugetlbfs of 2 MiB pages is mounted that this process may write to",
                hint="sudo mkdir -p /dev/hugepages && "
                "sudo mount -t hugetlbfs nodev /dev/hugepages -o pagesize=2M",
            )
        _eal = _start(config, memory, why, cpus, group)
    except BaseException:
        if group is not None:
            group.leave()
        raise
    if group is not None:
        group.started()
    return _eal


def check_group(group: Group | None, config: RuntimeConfig) -> None:
    """EalError unless EAL, which runs, shares its memory as the config says."""
    name = config.group_name
    if name is None and group is None:
        return
    if group is None or name != group.name or group.primary != (config.shared is not None):
        now = "alone" if group is None else (
            f"with {'shared' if group.primary else 'attach'}={group.name!r}")  # fmt: skip
        raise EalError(f"EAL has started {now} and cannot start again", hint="use another process")


def _start(
    config: RuntimeConfig, memory: str, why: str, cpus: list[int], group: Group | None
) -> Eal:
    first = group.first_lcore if group else 0
    lcores = placement.lcore_map(cpus, first)
    args = ["veridnet", "--lcores", lcores, "--main-lcore", str(first), "--no-telemetry"]
    # An allowed PCI device that does not exist: NICs are taken only when add_port names them.
    args += ["-a", "0000:00:00.0"] if Path("/sys/bus/pci").exists() else ["--no-pci"]
    if group is not None:
        args += ["--file-prefix", group.name, "--huge-dir", str(hugetlbfs())]
        args += ["--proc-type", "primary" if group.primary else "secondary"]
    elif memory == "hugepages":
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
    return Eal(memory, why, lcores, cpus, group=group)
