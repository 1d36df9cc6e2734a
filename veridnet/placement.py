"""Which CPU each lcore runs on."""

from __future__ import annotations

import os


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
