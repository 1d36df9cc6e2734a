"""Which process is which: numbers that no two have while either lives."""

from __future__ import annotations

import os
import threading

__all__ = ["alive", "describe", "identity", "thread_alive"]


def stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name; empty if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()
    except OSError:
        return []


def identity(pid: int | None = None) -> int:
    """The process's number: its id below, the time of its start (ticks since boot) above.

    0 if there is no such process, or it has ended and nobody has waited for it.
    """
    pid = pid or os.getpid()
    fields = stat_fields(pid)
    if len(fields) < 20 or fields[0] in "ZX":
        return 0
    return (int(fields[19]) & 0xFFFFFFFF) << 32 | pid


def alive(process: int) -> bool:
    """Does the process of that number still run?"""
    return identity(process & 0xFFFFFFFF) == process


def thread_alive(process: int, tid: int) -> bool:
    """Does that thread of it?"""
    return alive(process) and os.path.exists(f"/proc/{process & 0xFFFFFFFF}/task/{tid}")


def describe(process: int) -> str:
    """For people: "process 123"."""
    pid = process & 0xFFFFFFFF
    return "this process" if pid == os.getpid() else f"process {pid}"


def thread() -> tuple[int, str]:
    """The calling thread: the kernel's id and its name."""
    return threading.get_native_id(), threading.current_thread().name
