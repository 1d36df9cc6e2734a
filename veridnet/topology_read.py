"""Reads a `Topology` from /sys and /proc."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from veridnet.errors import ConfigError
from veridnet.topology import SHOWN_CLASSES, Cache, Cpu, Device, HugePages, Node, parse_cpus

CGROUP_CPUSETS = ("cpuset.cpus.effective", "cpuset.effective_cpus")  # cgroup v2, v1


def text(path: Path, default: str = "") -> str:
    """A file's text, or the default where it cannot be read (an offline CPU's, a hidden one)."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return default


def number(path: Path, default: int = -1) -> int:
    """A file's number, or the default."""
    value = text(path)
    return int(value) if re.fullmatch(r"-?\d+", value) else default


def numbered(folder: Path, prefix: str) -> dict[int, Path]:
    """The entries prefix0, prefix1, ... of a folder."""
    found = {}
    for path in folder.glob(f"{prefix}[0-9]*"):
        if (rest := path.name.removeprefix(prefix)).isdecimal():
            found[int(rest)] = path
    return dict(sorted(found.items()))


def read(root: Path) -> dict[str, Any]:
    """The fields of a Topology."""
    system = root / "sys/devices/system"
    folders = numbered(system / "cpu", "cpu")
    online = read_online(root)
    if not online:
        raise ConfigError(f"no CPUs in {system / 'cpu'}, and none in {root / 'proc/cpuinfo'}")
    nodes = read_nodes(root, system / "node", online)
    node_of = {c: n.id for n in nodes for c in n.cpus}
    caches, used = read_caches(folders, online)
    isolated = set(parse_cpus(text(system / "cpu/isolated")))
    nohz = set(parse_cpus(text(system / "cpu/nohz_full")))
    allowed = read_allowed(root, online, isolated)
    cpus = []
    for c in sorted(set(folders) | online):
        at = folders.get(c, system / "cpu" / f"cpu{c}") / "topology"
        siblings = parse_cpus(text(at / "core_cpus_list") or text(at / "thread_siblings_list"))
        cpus.append(
            Cpu(
                id=c,
                package=number(at / "physical_package_id"),
                core=number(at / "core_id"),
                node=node_of.get(c, nodes[0].id),
                siblings=tuple(s for s in siblings if s in online) or (c,),
                l1=used.get((1, c), -1),
                l2=used.get((2, c), -1),
                l3=used.get((3, c), -1),
                online=c in online,
                allowed=c in allowed,
                isolated=c in isolated,
                nohz_full=c in nohz,
            )
        )
    return {
        "cpus": tuple(cpus),
        "nodes": nodes,
        "caches": caches,
        "devices": read_devices(root),
        "quota": read_quota(root),
    }


def read_online(root: Path) -> set[int]:
    """The CPUs that run."""
    folder = root / "sys/devices/system/cpu"
    if online := set(parse_cpus(text(folder / "online"))) or set(numbered(folder, "cpu")):
        return online
    found = re.findall(r"^processor\s*:\s*(\d+)", text(root / "proc/cpuinfo"), re.MULTILINE)
    if not found and root == Path("/"):
        return set(os.sched_getaffinity(0))  # neither /sys nor /proc is mounted
    return set(map(int, found))


def usable_cpus(root: Path = Path("/")) -> list[int]:
    """The CPUs on which this process may put workers: isolated ones, too, beside its affinity."""
    isolated = set(parse_cpus(text(root / "sys/devices/system/cpu/isolated")))
    return sorted(read_allowed(root, read_online(root), isolated))


def read_allowed(root: Path, online: set[int], isolated: set[int]) -> set[int]:
    """The CPUs on which this process may put workers.

    Linux starts everything beside the CPUs that isolcpus= names, so that a process's affinity does
    not have them, and still lets a thread be pinned there. They count as allowed unless somebody
    has narrowed the affinity (taskset) or the cpuset says no.
    """
    if root == Path("/"):
        affinity = set(os.sched_getaffinity(0))
    else:
        m = re.search(r"^Cpus_allowed_list:\s*(.*)", text(root / "proc/self/status"), re.MULTILINE)
        affinity = set(parse_cpus(m[1])) if m else set(online)
    cpuset = online
    for _, folder in cgroups(root, "cpuset"):
        listed = [parse_cpus(text(folder / name)) for name in CGROUP_CPUSETS]
        if found := next(filter(None, listed), None):
            cpuset = online & set(found)
            break
    if affinity & online == cpuset - isolated:
        return cpuset
    return affinity & online or affinity  # (a /sys of somebody else's)


def cgroups(root: Path, controller: str) -> list[tuple[int, Path]]:
    """(version, folder) of this process's control group and those above it, its own first."""
    found = []
    for line in text(root / "proc/self/cgroup").splitlines():
        if line.count(":") < 2:
            continue
        _, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        base = root / "sys/fs/cgroup" / (controller if names else "")
        at = base / path.lstrip("/")
        chain = [at, *at.parents]
        found += [(1 if names else 2, f) for f in chain if f == base or base in f.parents]
    return found


def read_quota(root: Path) -> float | None:
    """How many CPUs' worth of time the control group gives; None: no limit."""
    limits = []
    for version, folder in cgroups(root, "cpu"):
        if version == 2:
            parts = text(folder / "cpu.max").split()
        else:
            parts = [text(folder / f"cpu.cfs_{n}_us") for n in ("quota", "period")]
        if len(parts) == 2 and all(p.isdecimal() for p in parts) and int(parts[1]):
            limits.append(int(parts[0]) / int(parts[1]))
    return min(limits, default=None)


def read_caches(
    folders: dict[int, Path], online: set[int]
) -> tuple[tuple[Cache, ...], dict[tuple[int, int], int]]:
    """The data and unified caches, and (level, CPU) -> the id of the one that the CPU uses."""
    caches: dict[tuple[int, tuple[int, ...]], Cache] = {}
    used = {}
    for c in sorted(online & set(folders)):
        for folder in numbered(folders[c] / "cache", "index").values():
            level = number(folder / "level")
            if level < 1 or text(folder / "type") == "Instruction":
                continue
            shared = parse_cpus(text(folder / "shared_cpu_list")) or (c,)
            m = re.fullmatch(r"(\d+)([KMG]?)", text(folder / "size"))
            size = int(m[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[m[2]] if m else 0
            # Without an id (before Linux 4.11, some Arm machines), the first CPU names it.
            new = Cache(level, number(folder / "id", shared[0]), size, shared)
            used[level, c] = caches.setdefault((level, shared), new).id
    return tuple(sorted(caches.values(), key=lambda x: (x.level, x.cpus))), used


def read_nodes(root: Path, folder: Path, online: set[int]) -> tuple[Node, ...]:
    """The NUMA nodes; one of everything where the kernel shows none."""
    folders = numbered(folder, "node")
    if not folders:
        info = text(root / "proc/meminfo")
        huge = read_hugepages(root / "sys/kernel/mm/hugepages")
        memory, free = kilobytes(info, "MemTotal"), kilobytes(info, "MemFree")
        return (Node(0, tuple(sorted(online)), memory, free, {0: 10}, huge),)
    nodes = []
    for n, path in folders.items():
        info = text(path / "meminfo")
        distances = [int(d) for d in text(path / "distance").split() if d.isdecimal()]
        nodes.append(
            Node(
                id=n,
                cpus=tuple(c for c in parse_cpus(text(path / "cpulist")) if c in online),
                memory=kilobytes(info, "MemTotal"),
                free=kilobytes(info, "MemFree"),
                # The file has a column for each node online, in order.
                distances=dict(zip(folders, distances, strict=False)),
                hugepages=read_hugepages(path / "hugepages"),
            )
        )
    return tuple(nodes)


def kilobytes(info: str, name: str) -> int:
    """A line of meminfo, in bytes; 0 if it is not there."""
    m = re.search(rf"\b{re.escape(name)}:\s*(\d+) kB", info)
    return int(m[1]) << 10 if m else 0


def read_hugepages(folder: Path) -> tuple[HugePages, ...]:
    """The hugepages of each size in a folder of hugepages-NkB folders, the smallest first."""
    found = []
    for path in folder.glob("hugepages-*kB"):
        size = path.name.removeprefix("hugepages-").removesuffix("kB")
        if size.isdecimal():
            names = ("nr_hugepages", "free_hugepages", "surplus_hugepages", "resv_hugepages")
            found.append(HugePages(int(size) << 10, *(number(path / n, 0) for n in names)))
    return tuple(sorted(found, key=lambda h: h.size))


def read_devices(root: Path) -> tuple[Device, ...]:
    """PCI devices of the classes worth showing, and interfaces of devices on other buses."""
    devices, seen = [], set()
    pci = root / "sys/bus/pci/devices"
    for path in sorted(pci.iterdir()) if pci.is_dir() else []:
        kind = SHOWN_CLASSES.get(int(text(path / "class", "0x0"), 16) >> 16)
        if kind is None:
            continue
        # virtio's interfaces are one folder further down.
        nets = sorted({p.name for at in ("net/*", "virtio*/net/*") for p in path.glob(at)})
        seen |= set(nets)
        devices.append(
            Device(path.name, kind, number(path / "numa_node"), driver(path), tuple(nets))
        )
    net = root / "sys/class/net"
    for path in sorted(net.iterdir()) if net.is_dir() else []:
        if path.name not in seen and (path / "device").exists():
            node = number(path / "device/numa_node")
            devices.append(
                Device(path.name, "network", node, driver(path / "device"), (path.name,))
            )
    return tuple(devices)


def driver(device: Path) -> str:
    """The name of a device's driver, "" if it has none."""
    link = device / "driver"
    return os.path.basename(os.path.realpath(link)) if link.exists() else ""
