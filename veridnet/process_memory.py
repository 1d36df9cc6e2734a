"""On what pages and NUMA nodes the memory of a process lies (proc_pid_numa_maps(5), smaps)."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from veridnet.errors import ConfigError, VeridnetError
from veridnet.topology_read import kilobytes, text

__all__ = ["read"]


def read(pid: int | str = "self", root: Path = Path("/")) -> dict[str, Any]:
    """Its resident memory by node and page size, and how much is on huge pages, in bytes.

    The page size is that of the mapping: transparent huge pages are in the count of 4 KiB, and
    ``transparent_bytes`` says how much they are.
    """
    folder = root / f"proc/{pid}"
    if not folder.exists():
        raise ConfigError(f"there is no process {pid}")
    try:
        rollup = (folder / "smaps_rollup").read_text()
    except OSError as e:
        raise VeridnetError(
            f"the memory of process {pid} cannot be looked at ({e.strerror})",
            hint="as its user, or as root" if isinstance(e, PermissionError) else "",
        ) from None
    sums: Counter[tuple[int, int]] = Counter()
    for line in text(folder / "numa_maps").splitlines():
        m = re.search(r"kernelpagesize_kB=(\d+)", line)
        page = (int(m[1]) if m else 4) << 10
        for node, pages in re.findall(r"\bN(\d+)=(\d+)", line):
            sums[int(node), page] += int(pages) * page
    return {
        "nodes": [{"node": n, "page": p, "bytes": b} for (n, p), b in sorted(sums.items())],
        "resident_bytes": kilobytes(rollup, "Rss"),
        "anonymous_bytes": kilobytes(rollup, "Anonymous"),
        "transparent_bytes": kilobytes(rollup, "AnonHugePages"),
        "hugetlb_bytes": kilobytes(rollup, "Private_Hugetlb") + kilobytes(rollup, "Shared_Hugetlb"),
    }
