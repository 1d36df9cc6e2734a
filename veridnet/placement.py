"""Which CPU each lcore runs on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path


def lcore_map(workers: tuple[int, ...] | None) -> tuple[str, list[int]]:
    """EAL's ``--lcores`` text, and the CPU of each worker lcore (lcore i + 1 is entry i).

    The main lcore (0) is Python's main thread: it floats over every CPU that the process may
    use, since EAL would otherwise pin it, and every thread and process started later with it.
    """
    allowed = sorted(os.sched_getaffinity(0))
    cpus = list(workers) if workers is not None else allowed[:127]
    main = ",".join(map(str, allowed))
    parts = [f"0@({main})"] + [f"{i + 1}@{cpu}" for i, cpu in enumerate(cpus)]
    return ",".join(parts), cpus


#: EAL's interrupt thread, as 22.11 and 24.11 name it.
INTERRUPT_THREADS = ("eal-intr-thread", "dpdk-intr")


def keep_interrupts_off(cpus: Iterable[int]) -> None:
    """Keeps EAL's interrupt thread off the workers' CPUs, where there are others.

    net_memif takes its shared memory away in that thread when a peer goes. A worker that was
    preempted by it in the middle of a burst would go on in memory that is gone; one that runs
    beside it has long left the burst.
    """
    others = os.sched_getaffinity(0) - set(cpus)
    if not others:
        return
    tasks: list[Path] = []
    with contextlib.suppress(OSError):  # /proc may be hidden
        tasks = list(Path("/proc/self/task").iterdir())
    for task in tasks:
        with contextlib.suppress(OSError):
            if (task / "comm").read_text().strip() in INTERRUPT_THREADS:
                os.sched_setaffinity(int(task.name), others)
