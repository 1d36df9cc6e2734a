"""More worker lcores than this machine has CPUs: for tests, in a process of their own.

`pretend` comes before the first Runtime. The library then sees a machine of so many CPUs, and the
lcores of those that are not there share those that are.
"""

from __future__ import annotations

import os

from fake_machine import topology

from veridnet import placement
from veridnet.topology import Topology


def pretend(cpus: int) -> None:
    """A machine of one node with `cpus` CPUs."""
    fake = topology(nodes=1, cores=cpus, smt=1, l3=cpus)
    real = sorted(os.sched_getaffinity(0))

    def lcore_map(cpus: list[int], first: int = 0) -> str:
        main = f"{first}@({','.join(map(str, real))})"
        return ",".join(
            [main, *(f"{first + 1 + i}@{real[c % len(real)]}" for i, c in enumerate(cpus))]
        )

    placement.worker_cpus = lambda workers, most=127: list(range(cpus))
    placement.lcore_map = lcore_map
    Topology.read = classmethod(lambda cls, root="/": fake)  # type: ignore[method-assign]
