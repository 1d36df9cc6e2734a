"""Hugepages of the machine: what there is, and how more are reserved and given back.

Linux, Documentation/admin-guide/mm/hugetlbpage.rst. Other programs reserve and use them at the
same time: what a function returns is what it read last, not what it wrote.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from veridnet.errors import ConfigError, VeridnetError
from veridnet.topology import HugePages
from veridnet.topology_read import kilobytes, number, numbered, read_hugepages, text

__all__ = ["Machine", "Reserved", "command", "parse_size", "release", "reserve"]

MIB, GIB = 1 << 20, 1 << 30
TRIES = 3
#: PATH of a command under sudo, as Debian and Red Hat configure it.
SECURE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def command(*words: object) -> str:
    """The shell command ``veridnet hugepages WORDS`` that works here, with sudo where needed."""
    name = "veridnet"
    if os.geteuid() != 0 and shutil.which(name, path=SECURE_PATH) is None:
        # sudo does not look into a virtual environment.
        here = shutil.which(name)
        name = shlex.quote(here) if here else f"{shlex.quote(sys.executable)} -m veridnet"
    sudo = "" if os.geteuid() == 0 else "sudo "
    return f"{sudo}{name} hugepages {' '.join(map(str, words))}"


def parse_size(text: str) -> int:
    """Bytes of "2M", "1G", "2048kB"; ConfigError for what is no size."""
    word = text.strip().upper().removesuffix("B").removesuffix("I")
    factor = {"K": 1 << 10, "M": MIB, "G": GIB}.get(word[-1:], 0)
    if not factor or not word[:-1].isascii() or not word[:-1].isdecimal() or int(word[:-1]) < 1:
        raise ConfigError(f"{text!r} is no size of hugepages", hint="--size 2M or --size 1G")
    return int(word[:-1]) * factor


def show_size(size: int) -> str:
    """2097152 -> "2M": as it is typed."""
    return f"{size // GIB}G" if size % GIB == 0 else f"{size // MIB}M" if size >= MIB else (
        f"{size >> 10}K"
    )  # fmt: skip


class Machine:
    """The files of /proc and /sys below `root`, and what is done to them."""

    def __init__(self, root: str | os.PathLike[str] = "/") -> None:
        self.root = Path(root)

    def write(self, name: str, value: int) -> None:
        """Writes a number into a file of the kernel."""
        (self.root / name).write_text(f"{value}\n")

    def folder(self, node: int | None) -> str:
        """Where the hugepages of a node stand; of the machine, for None."""
        if node is None:
            return "sys/kernel/mm/hugepages"
        return f"sys/devices/system/node/node{node}/hugepages"

    @property
    def nodes(self) -> list[int]:
        """The NUMA nodes."""
        return list(numbered(self.root / "sys/devices/system/node", "node"))

    def pages(self, node: int | None = None) -> list[HugePages]:
        """The hugepages of each size, of a node or of the machine."""
        return list(read_hugepages(self.root / self.folder(node)))

    def of_size(self, size: int, node: int | None = None) -> HugePages:
        """Those of one size; ConfigError where the kernel has no such size, or no such node."""
        if node is not None and node not in self.nodes:
            raise ConfigError(
                f"there is no NUMA node {node}",
                hint=f"nodes: {', '.join(map(str, self.nodes)) or 'none are shown here'}",
            )
        found = self.pages(node)
        if not found:
            raise VeridnetError("this kernel shows no hugepages in /sys/kernel/mm/hugepages",
                                hint="a kernel with CONFIG_HUGETLBFS, /sys mounted")  # fmt: skip
        for h in found:
            if h.size == size:
                return h
        sizes = " and ".join(show_size(h.size) for h in found)
        raise ConfigError(f"there are no hugepages of {show_size(size)} here: this machine has "
                          f"{sizes}", hint=f"--size {show_size(found[0].size)}")  # fmt: skip

    def available(self, node: int | None = None) -> int:
        """Bytes that can still be had without swapping: MemAvailable, and by the nodes' count."""
        total = 0
        for n in self.nodes if node is None else [node]:
            info = text(self.root / f"sys/devices/system/node/node{n}/meminfo")
            free, cached = kilobytes(info, "MemFree"), kilobytes(info, "FilePages")
            total += free + (cached - kilobytes(info, "Shmem")) + kilobytes(info, "SReclaimable")
        machine = kilobytes(text(self.root / "proc/meminfo"), "MemAvailable")
        # (Memory that a hypervisor would plug in on demand is in the machine's figure only.)
        return min(total, machine) if total else machine

    def spare(self, node: int | None = None) -> int:
        """Bytes that may become hugepages: a tenth is left to everybody else, 256 MiB at least."""
        available = self.available(node)
        return max(0, available - max(256 * MIB, available // 10))

    def buddies(self, size: int = 2 * MIB) -> dict[int, tuple[int, int]]:
        """Node -> (pages of `size` that lie free in one piece, as many as all free memory is).

        The first can be had at once, the second at best, after compaction.
        """
        page = os.sysconf("SC_PAGE_SIZE")
        found: dict[int, tuple[int, int]] = {}
        for line in text(self.root / "proc/buddyinfo").splitlines():
            words = line.replace(",", " ").split()
            if len(words) < 5 or words[0] != "Node" or not words[1].isdecimal():
                continue
            blocks = [(page << order, int(n)) for order, n in enumerate(words[4:])]
            now, best = found.get(int(words[1]), (0, 0))
            now += sum(n * (b // size) for b, n in blocks if b >= size)
            best += sum(n * b for b, n in blocks)
            found[int(words[1])] = (now, best)
        return {node: (now, best // size) for node, (now, best) in found.items()}


@dataclass(frozen=True)
class Reserved:
    """What a `reserve` came to.

    Attributes
    ----------
    asked, free, total
        Pages that were to be free; that are; and all there are of the size, used ones included.
    before
        All there were.
    why
        Why not all: "" if all are there.
    """

    size: int
    node: int | None
    asked: int
    free: int
    total: int
    before: int
    why: str = ""

    @property
    def complete(self) -> bool:
        """Are there as many as were asked for?"""
        return self.free >= self.asked


def usable(h: HugePages) -> int:
    """Free pages that are not promised to a mapping."""
    return max(0, h.free - h.reserved)


def reserve(
    machine: Machine,
    n: int,
    *,
    size: int = 2 * MIB,
    node: int | None = None,
    exact: bool = False,
    drop_caches: bool = False,
    force: bool = False,
) -> Reserved:
    """Makes sure that `n` hugepages of `size` are free: adds what is missing, never takes away.

    Where the kernel gives fewer, memory is compacted and it is asked again, a few times.

    Parameters
    ----------
    exact
        All or none: with fewer, what was added is given back, and VeridnetError raised.
    drop_caches
        Lets the kernel forget what it has cached of files before compacting.
    force
        Also where that would leave the machine too little memory.

    ConfigError for a number, a size or a node that cannot be; VeridnetError where the right to it
    is missing.
    """
    if n < 1:
        raise ConfigError(f"{n} hugepages: at least 1 (veridnet hugepages release gives them back)")
    before = machine.of_size(size, node)
    if (missing := n - usable(before)) <= 0:
        return result(machine, n, size, node, before)
    if missing * size > (spare := machine.spare(node)) and not force:
        where = "" if node is None else f" of node {node}"
        most = max(0, spare // size) + usable(before)
        raise ConfigError(
            f"{n} hugepages of {show_size(size)} take {missing * size / GIB:.1f} GiB more, and of "
            f"the {machine.available(node) / GIB:.1f} GiB available{where} "
            f"{spare / GIB:.1f} may be taken",
            hint=(f"at most {most}, or " if most else "") + "--force",
        )
    base = before.total - before.surplus
    name = f"{machine.folder(node)}/hugepages-{size >> 10}kB/nr_hugepages"
    words: list[object] = ["reserve", n]
    words += [] if size == 2 * MIB else ["--size", show_size(size)]
    words += [] if node is None else ["--node", node]
    got = before
    for attempt in range(TRIES):
        if attempt:
            shake(machine, node, drop_caches)
        put(machine, name, base + missing, words)
        now = machine.of_size(size, node)
        if usable(now) >= n or (attempt and now.total <= got.total):
            got = now
            break
        got = now
    done = result(machine, n, size, node, before)
    if exact and not done.complete:
        put(machine, name, base, words)
        raise VeridnetError(
            f"only {done.free} of {n} hugepages of {show_size(size)} could be had, and none was "
            f"kept: {done.why}",
            hint=advice(size, drop_caches),
        )
    return done


def put(machine: Machine, name: str, value: int, words: list[object]) -> None:
    """Writes a count of hugepages; the error says what would be allowed to."""
    try:
        machine.write(name, value)
    except OSError as e:
        if isinstance(e, PermissionError):
            raise VeridnetError(
                "only root may change the hugepages", hint=command(*words)
            ) from None
        mend = ("a container cannot change the machine's hugepages: on the host, "
                f"{command(*words)}") if e.errno == 30 else ""  # fmt: skip
        raise VeridnetError(f"/{name} cannot be written ({e.strerror})", hint=mend) from None


def shake(machine: Machine, node: int | None, drop_caches: bool) -> None:
    """Compacts memory: free pages that lie apart become free blocks."""
    names = ["proc/sys/vm/compact_memory"]
    if node is not None:
        names.insert(0, f"sys/devices/system/node/node{node}/compact")
    try:
        if drop_caches:
            os.sync()  # only what is written can be dropped
            machine.write("proc/sys/vm/drop_caches", 3)
        machine.write(next((x for x in names if (machine.root / x).exists()), names[-1]), 1)
    except OSError:
        pass  # a kernel without compaction: it is asked again all the same


def result(machine: Machine, n: int, size: int, node: int | None, before: HugePages) -> Reserved:
    """What there is now, and why it is not more."""
    now = machine.of_size(size, node)
    why = ""
    if usable(now) < n:
        if now.total - before.total >= n - usable(before):
            why = "others took some meanwhile"
        else:
            nodes = machine.buddies(size)
            mine = [nodes.get(node, (0, 0))] if node is not None else list(nodes.values())
            left, best = (sum(x) for x in zip(*mine, strict=True)) if mine else (0, 0)
            why = (
                f"memory is fragmented ({best} pages' worth is free, {left} in one piece)"
                if best > n - usable(now)
                else "there is no more free memory"
            )
    return Reserved(size, node, n, usable(now), now.total, before.total, why)


def advice(size: int, drop_caches: bool) -> str:
    """What helps where the kernel gives too few."""
    boot = f"at boot: hugepagesz={show_size(size)} hugepages=N on the kernel's command line"
    return boot if drop_caches else f"--drop-caches; or {boot}"


def release(
    machine: Machine, *, size: int | None = None, node: int | None = None, all: bool = False
) -> list[tuple[HugePages, HugePages]]:
    """Gives hugepages back, those of one size or of all; returns (before, after) of each size.

    Only free ones, unless `all`: those in use then go when their users end.
    """
    if size is not None:
        machine.of_size(size, node)
    elif node is not None:
        machine.of_size(2 * MIB, node)
    done = []
    for before in machine.pages(node):
        if size not in (None, before.size):
            continue
        after = before
        keep = 0 if all else before.total - before.surplus - usable(before)
        if before.total - before.surplus > keep:
            words: list[object] = ["release", "--all"] if all else ["release"]
            if size is not None:
                words += ["--size", show_size(size)]
            words += [] if node is None else ["--node", node]
            folder = f"{machine.folder(node)}/hugepages-{before.size >> 10}kB"
            put(machine, f"{folder}/nr_hugepages", max(0, keep), words)
            after = machine.of_size(before.size, node)
        done.append((before, after))
    return done


def users(machine: Machine) -> Iterator[tuple[int, str, int]]:
    """(pid, name, bytes) of the processes that have hugepages mapped, as far as /proc shows.

    Pages that several share are counted with each.
    """
    for pid, path in numbered(machine.root / "proc", "").items():
        status = text(path / "status")
        if used := kilobytes(status, "HugetlbPages"):
            yield pid, status.partition("Name:\t")[2].partition("\n")[0], used


def thp(machine: Machine) -> dict[str, str | int]:
    """The settings of transparent huge pages, and how much memory is on them (bytes)."""
    base = machine.root / "sys/kernel/mm/transparent_hugepage"

    def chosen(name: str) -> str:
        return text(base / name).partition("[")[2].partition("]")[0]

    return {
        "enabled": chosen("enabled"),
        "defrag": chosen("defrag"),
        "khugepaged_defrag": number(base / "khugepaged/defrag"),
        "khugepaged_scan_ms": number(base / "khugepaged/scan_sleep_millisecs"),
        "anonymous_bytes": kilobytes(text(machine.root / "proc/meminfo"), "AnonHugePages"),
    }
