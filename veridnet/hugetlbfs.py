"""Mounts of hugetlbfs: where processes that share hugepages find them as files."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import pwd
import re
from dataclasses import dataclass
from pathlib import Path

from veridnet.errors import ConfigError, VeridnetError
from veridnet.hugepages import MIB, Machine, command, parse_size, show_size
from veridnet.topology_read import text

__all__ = ["Mount", "default_folder", "mount", "mounts", "unmount"]


@dataclass(frozen=True)
class Mount:
    """A mount of hugetlbfs; the files in it hold hugepages, whether or not a process runs."""

    folder: str
    size: int  # bytes of its pages
    options: str
    files: int = 0
    bytes: int = 0


def mounts(machine: Machine) -> list[Mount]:
    """The mounts that this process sees."""
    found = []
    for line in text(machine.root / "proc/self/mounts").splitlines():
        words = line.split()
        if len(words) < 4 or words[2] != "hugetlbfs":
            continue
        folder = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), words[1])
        m = re.search(r"pagesize=(\w+)", words[3])
        files, used = inside(machine.root / folder.lstrip("/"))
        found.append(Mount(folder, parse_size(m[1]) if m else 2 * MIB, words[3], files, used))
    return found


def inside(folder: Path) -> tuple[int, int]:
    """Files in a mount, and the bytes of hugepages that they hold."""
    sizes: list[int] = []
    with contextlib.suppress(OSError):  # not ours to read, or gone meanwhile
        sizes += [p.stat().st_blocks * 512 for p in folder.rglob("*") if p.is_file()]
    return len(sizes), sum(sizes)


def default_folder(size: int) -> str:
    """Where distributions mount them."""
    return "/dev/hugepages" if size == 2 * MIB else f"/dev/hugepages{show_size(size)}"


def mount(machine: Machine, folder: str, size: int, user: str = "") -> bool:
    """Mounts hugetlbfs of pages of `size` on a folder, which is made if it is not there.

    `user` owns it, who then needs no rights to use it. False: it was mounted already.
    """
    machine.of_size(size)
    options = f"pagesize={show_size(size)}"
    if user:
        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            raise ConfigError(f"--user {user}: there is no such user") from None
        options += f",uid={entry.pw_uid},gid={entry.pw_gid},mode=0700"
    folder = os.path.realpath(folder)
    there = next((m for m in mounts(machine) if m.folder == folder), None)
    if there is not None:
        if there.size != size:
            raise ConfigError(
                f"{folder}: pages of {show_size(there.size)} are mounted there",
                hint=command("unmount", "--dir", folder),
            )
        return False
    words = ("mount", "--dir", folder, "--size", show_size(size))
    try:
        os.makedirs(folder, exist_ok=True)
        if any(os.scandir(folder)):
            raise ConfigError(f"{folder}: is not empty, and a mount would hide what is in it")
        call("mount", b"hugetlbfs", os.fsencode(folder), b"hugetlbfs", 0, options.encode())
    except OSError as e:
        raise refused(e, folder, "mounted", words) from None
    return True


def unmount(machine: Machine, folder: str) -> None:
    """Unmounts it: its files are gone then, and their pages free. Not while one is in use."""
    folder = os.path.realpath(folder)
    if folder not in (known := [m.folder for m in mounts(machine)]):
        raise ConfigError(f"{folder}: no hugetlbfs is mounted there",
                          hint=f"mounted: {', '.join(known) or 'none'}")  # fmt: skip
    try:
        call("umount2", os.fsencode(folder), 0)
    except OSError as e:
        raise refused(e, folder, "unmounted", ("unmount", "--dir", folder)) from None


def call(name: str, *args: object) -> None:
    """mount(2) and umount2(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*args) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def refused(e: OSError, folder: str, what: str, words: tuple[str, ...]) -> VeridnetError:
    """The error for what the system refused."""
    hint = {errno.EPERM: command(*words), errno.EACCES: command(*words),
            errno.EBUSY: f"end who uses it: fuser -vm {folder}"}.get(e.errno or 0, "")  # fmt: skip
    return VeridnetError(f"{folder} cannot be {what} ({e.strerror})", hint=hint)
