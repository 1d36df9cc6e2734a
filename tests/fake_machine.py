"""A machine's /sys and /proc in a folder, as the kernel lays them out; and topologies from them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from veridnet.topology import Topology, show_cpus

MIB, GIB = 1 << 20, 1 << 30


def write(root: Path, files: dict[str, object]) -> None:
    """Writes files, by their paths below `root`."""
    for name, value in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")


def machine(
    root: Path,
    *,
    nodes: int = 2,
    cores: int = 4,
    smt: int = 2,
    l3: int = 2,
    isolated: Iterable[int] = (),
    allowed: Iterable[int] | None = None,
    offline: Iterable[int] = (),
    nics: dict[str, int] | None = None,
    free: int = 8 * GIB,
) -> Path:
    """`nodes` packages of one NUMA node and `cores` cores each, `l3` cores to an L3.

    CPUs are numbered as x86 firmware does it: every core's first thread, then the second threads.
    """
    total = nodes * cores * smt
    off, isolated = set(offline), set(isolated)
    on = [c for c in range(total) if c not in off]
    main = [c for c in on if c not in isolated] if allowed is None else list(allowed)
    cpu = "sys/devices/system/cpu"
    write(root, {
        f"{cpu}/online": show_cpus(on),
        f"{cpu}/isolated": show_cpus(isolated),
        f"{cpu}/nohz_full": show_cpus(isolated) or " (null)",
        "proc/self/status": f"Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t{show_cpus(main)}",
        "proc/meminfo": f"MemTotal:  {nodes * 16 << 20} kB\nMemFree: {free >> 10} kB\n"
                        f"MemAvailable:  {free >> 10} kB",
    })  # fmt: skip
    for c in range(total):
        core = c % (nodes * cores)
        base = f"{cpu}/cpu{c}"
        (root / base).mkdir(parents=True)
        if c in off:
            continue
        threads = [t for t in range(core, total, nodes * cores) if t not in off]
        domain = range(core // l3 * l3, core // l3 * l3 + l3)
        together = [t for t in on if t % (nodes * cores) in domain]
        write(root, {
            f"{base}/topology/physical_package_id": core // cores,
            f"{base}/topology/core_id": core % cores,
            f"{base}/topology/thread_siblings_list": show_cpus(threads),
        })  # fmt: skip
        for i, (level, kind, size, shared) in enumerate((
            (1, "Data", "32K", threads), (1, "Instruction", "32K", threads),
            (2, "Unified", "1024K", threads), (3, "Unified", "32768K", together),
        )):  # fmt: skip
            write(root, {
                f"{base}/cache/index{i}/{n}": v
                for n, v in (("level", level), ("type", kind), ("size", size),
                             ("shared_cpu_list", show_cpus(shared)), ("id", shared[0]))
            })  # fmt: skip
    for n in range(nodes):
        base = f"sys/devices/system/node/node{n}"
        mine = [c for c in on if c % (nodes * cores) // cores == n]
        write(root, {
            f"{base}/cpulist": show_cpus(mine),
            f"{base}/distance": " ".join("10" if m == n else "21" for m in range(nodes)),
            f"{base}/meminfo": f"Node {n} MemTotal:  {16 << 20} kB\n"
                               f"Node {n} MemFree:  {free // nodes >> 10} kB",
        })  # fmt: skip
        hugepages(root, f"{base}/hugepages")
    hugepages(root, "sys/kernel/mm/hugepages")
    for i, (address, node) in enumerate((nics or {}).items()):
        write(root, {
            f"sys/bus/pci/devices/{address}/class": "0x020000",
            f"sys/bus/pci/devices/{address}/numa_node": node,
            f"sys/bus/pci/devices/{address}/net/eth{i}/mtu": 1500,
        })  # fmt: skip
    return root


def hugepages(root: Path, folder: str, total: int = 0, free: int = 0) -> None:
    """A folder of hugepages of 2 MiB and 1 GiB."""
    for size in (2048, 1048576):
        at = f"{folder}/hugepages-{size}kB"
        few = size == 2048
        write(root, {
            f"{at}/nr_hugepages": total if few else 0, f"{at}/free_hugepages": free if few else 0,
            f"{at}/surplus_hugepages": 0, f"{at}/resv_hugepages": 0,
        })  # fmt: skip


@cache
def topology(nodes: int = 2, cores: int = 4, smt: int = 2, isolated: tuple[int, ...] = (),
             l3: int = 2) -> Topology:  # fmt: skip
    """The topology of such a machine."""
    with tempfile.TemporaryDirectory() as folder:
        return Topology.read(
            machine(Path(folder), nodes=nodes, cores=cores, smt=smt, isolated=isolated, l3=l3)
        )
