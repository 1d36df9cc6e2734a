"""The machine as placement sees it: CPUs, caches, NUMA nodes, and the devices beside them.

All is read from /sys and /proc (Linux, Documentation/ABI/stable/sysfs-devices-system-cpu and
-node), without EAL. What a container or an old kernel does not show is -1, or absent.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from veridnet.errors import ConfigError

__all__ = ["Cache", "Cpu", "Device", "HugePages", "Node", "Topology", "parse_cpus", "show_cpus"]

#: How near two CPUs are to each other, by what they share.
SAME_CPU, SAME_CORE, SAME_L2, SAME_L3, SAME_NODE, REMOTE = range(6)
NEAR_NAMES = ("the same CPU", "the same core", "the same L2", "the same L3", "the same node",
              "another node")  # fmt: skip

#: PCI base classes worth showing: what packets, blocks and accelerators sit behind.
SHOWN_CLASSES = {0x01: "storage", 0x02: "network", 0x03: "display", 0x0B: "processor",
                 0x10: "crypto", 0x12: "accelerator"}  # fmt: skip


@dataclass(frozen=True)
class Cache:
    """A data or unified cache, and the CPUs that share it."""

    level: int
    id: int
    size: int  # bytes
    cpus: tuple[int, ...]


@dataclass(frozen=True)
class Cpu:
    """A CPU as the kernel numbers it: a hardware thread.

    Attributes
    ----------
    core
        The kernel's core id, unique within a package only; `siblings` tells cores apart.
    siblings
        The hardware threads of its core, itself included (SMT).
    l1, l2, l3
        Ids of the caches that it uses; -1 where there is none, or none is shown.
    allowed
        May this process put a worker there: by its affinity and its cgroup's cpuset.
    isolated, nohz_full
        Kept free of other threads (isolcpus=, cpuset partitions), and of the scheduler's tick.
    """

    id: int
    package: int = -1
    core: int = -1
    node: int = 0
    siblings: tuple[int, ...] = ()
    l1: int = -1
    l2: int = -1
    l3: int = -1
    online: bool = True
    allowed: bool = True
    isolated: bool = False
    nohz_full: bool = False


@dataclass(frozen=True)
class HugePages:
    """Hugepages of one size, of a node or of the machine."""

    size: int  # bytes
    total: int
    free: int
    surplus: int = 0
    reserved: int = 0  # promised to mappings, not yet touched; the machine's only


@dataclass(frozen=True)
class Node:
    """A NUMA node. It may have memory and no CPU, or CPUs and no memory."""

    id: int
    cpus: tuple[int, ...]
    memory: int = 0  # bytes
    free: int = 0
    distances: dict[int, int] = field(default_factory=dict)  # node -> ACPI SLIT, 10 is itself
    hugepages: tuple[HugePages, ...] = ()


@dataclass(frozen=True)
class Device:
    """A PCI device, or a network interface of another bus; node -1: the kernel does not say."""

    name: str  # the PCI address, or the interface
    kind: str  # network, storage, accelerator, ...
    node: int = -1
    driver: str = ""
    interfaces: tuple[str, ...] = ()


def parse_cpus(text: str) -> tuple[int, ...]:
    """The numbers of a kernel list: "0-2,8" -> (0, 1, 2, 8). Empty and "(null)" are none."""
    found: set[int] = set()
    for m in re.finditer(r"(\d+)(?:-(\d+))?(?::(\d+)/(\d+))?", text):
        first, last = int(m[1]), int(m[2] or m[1])
        used, group = int(m[3] or 1), int(m[4] or 1)  # "0-31:2/16": the first 2 of each 16
        found |= {c for c in range(first, last + 1) if (c - first) % group < used}
    return tuple(sorted(found))


def show_cpus(cpus: Iterable[int]) -> str:
    """The kernel's way to write them: (0, 1, 2, 8) -> "0-2,8"."""
    runs: list[list[int]] = []
    for c in sorted(set(cpus)):
        if runs and c == runs[-1][1] + 1:
            runs[-1][1] = c
        else:
            runs.append([c, c])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


@dataclass(frozen=True)
class Topology:
    """The machine's CPUs, caches, NUMA nodes and devices, as they were when it was read.

    >>> top = Topology.read()                                           # doctest: +SKIP
    >>> [c.id for c in top.cpus if c.allowed and c.isolated]            # doctest: +SKIP
    [2, 3]
    """

    cpus: tuple[Cpu, ...]
    nodes: tuple[Node, ...] = ()
    caches: tuple[Cache, ...] = ()
    devices: tuple[Device, ...] = ()
    quota: float | None = None  # CPUs' worth of time that the cgroup gives; None: no limit

    @classmethod
    def read(cls, root: str | os.PathLike[str] = "/") -> Self:
        """Reads /sys and /proc below `root`. Works with what is there; ConfigError if nothing is.

        Of another root than "/", /proc/self/status says what the process may use.
        """
        from veridnet import topology_read

        return cls(**topology_read.read(Path(root)))

    @cached_property
    def _by_id(self) -> dict[int, Cpu]:
        return {c.id: c for c in self.cpus}

    def cpu(self, number: int) -> Cpu:
        """The CPU of that number; ConfigError if there is none."""
        try:
            return self._by_id[number]
        except KeyError:
            raise ConfigError(
                f"there is no CPU {number}", hint=f"CPUs: {show_cpus(self._by_id)}"
            ) from None

    @property
    def usable(self) -> tuple[int, ...]:
        """The CPUs on which this process may put workers."""
        return tuple(c.id for c in self.cpus if c.online and c.allowed)

    @property
    def packages(self) -> tuple[int, ...]:
        """The packages (sockets) with CPUs online."""
        return tuple(sorted({c.package for c in self.cpus if c.online}))

    @property
    def cores(self) -> tuple[tuple[int, ...], ...]:
        """The hardware threads of each physical core that is online."""
        return tuple(sorted({c.siblings for c in self.cpus if c.online}))

    @property
    def smt(self) -> bool:
        """Do cores have more than one hardware thread?"""
        return any(len(c.siblings) > 1 for c in self.cpus)

    def cache(self, level: int, number: int) -> Cache | None:
        """The cache of that level and id."""
        return next((c for c in self.caches if (c.level, c.id) == (level, number)), None)

    def near(self, a: int, b: int) -> int:
        """How near two CPUs are: SAME_CPU .. REMOTE, less is nearer."""
        x, y = self.cpu(a), self.cpu(b)
        tests: tuple[Callable[[], bool], ...] = (
            lambda: x.id == y.id,
            lambda: y.id in x.siblings,
            lambda: x.l2 == y.l2 >= 0,
            lambda: x.l3 == y.l3 >= 0,
            lambda: x.node == y.node,
        )
        return next((i for i, test in enumerate(tests) if test()), REMOTE)

    def distance(self, a: int, b: int) -> int:
        """How far two nodes are, as the firmware says (10: the same; 20 where it is silent)."""
        known = next((n.distances for n in self.nodes if n.id == a), {})
        return known.get(b, 10 if a == b else 20)

    def node_of(self, device: str) -> int:
        """The node of a PCI address or a network interface; -1 where it is not known."""
        for d in self.devices:
            if device == d.name or device in d.interfaces:
                return d.node
        return -1

    def svg(self, workers: Mapping[int, str] | None = None) -> str:
        """A picture of it, as an SVG file's text; `workers` are words to write on CPUs."""
        from veridnet import topology_draw

        return topology_draw.svg(self, workers)

    def dot(self, workers: Mapping[int, str] | None = None) -> str:
        """The same in Graphviz's language."""
        from veridnet import topology_draw

        return topology_draw.dot(self, workers)

    def _repr_svg_(self) -> str:  # notebooks show it
        return self.svg()

    def to_dict(self) -> dict[str, Any]:
        """The topology as plain JSON types."""
        data = asdict(self)
        return data | {"usable": list(self.usable), "smt": self.smt}
