"""Processes that share EAL's memory: one primary, and secondaries that attach to it by name.

Their file of locks stands in DPDK's runtime folder. A lock goes when its process ends, however it
does; a forked child has none.

    byte 0       the primary has it, alone: it lives
    byte 1       every process has it, shared: the memory is in use
    byte 1000+i  the process that has lcore id i: two must not use one cache of a mempool
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import struct
import time
from pathlib import Path

from veridnet._native import eal
from veridnet.errors import ConfigError, EalError

NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
LCORES_MAX = 128
PRIMARY, USED, LCORES = 0, 1, 1000
FLOCK = "hhqqi4x"


def runtime_folder() -> Path:
    """Where DPDK (eal_create_runtime_dir) keeps what processes share."""
    base = os.environ.get("RUNTIME_DIRECTORY") or (
        "/var/run" if os.getuid() == 0 else os.environ.get("XDG_RUNTIME_DIR") or "/tmp"
    )
    return Path(base) / "dpdk"


def hugetlbfs() -> str | None:
    """The folder of a hugetlbfs of 2 MiB pages that this process may write to."""
    with contextlib.suppress(OSError), open("/proc/self/mounts") as f:
        for line in f:
            _, folder, kind, options = line.split()[:4]
            folder = folder.encode().decode("unicode_escape")
            size = re.search(r"pagesize=(\w+)", options)
            fits = kind == "hugetlbfs" and (size is None or size[1] == "2M")
            if fits and os.access(folder, os.W_OK):
                return folder
    return None


class Group:
    """A process's part in the processes of one name.

    Attributes
    ----------
    primary
        Is it the one that the others attach to?
    first_lcore
        Its first lcore id: the main lcore's; the workers' follow.
    """

    def __init__(self, name: str, primary: bool, lcores: int) -> None:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            key = "shared" if primary else "attach"
            raise ConfigError(f"{key}={name!r}: 1 to 32 of A-Z a-z 0-9 _ -")
        self.name, self.primary, self.first_lcore = name, primary, 0
        folder = runtime_folder() / name
        path = folder / "veridnet.locks"
        if not primary and not path.exists():
            raise self._nobody()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as e:
            raise EalError(f"{path}: {e.strerror}") from None
        try:
            self._enter(lcores)
        except BaseException:
            os.close(self.fd)
            raise

    def _nobody(self) -> EalError:
        return EalError(
            f"no primary named {self.name!r} runs",
            hint=f"start a process with Runtime(shared={self.name!r}) first",
        )

    def _lock(self, at: int, n: int = 1, *, shared: bool = False) -> bool:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.lockf(self.fd, kind | fcntl.LOCK_NB, n, at)
        except OSError:
            return False
        return True

    def _holder(self, at: int) -> int:
        """The id of a process that has byte `at`; 0 for none."""
        query = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, at, 1, 0)
        kind, _, _, _, pid = struct.unpack(FLOCK, fcntl.fcntl(self.fd, fcntl.F_GETLK, query))
        return 0 if kind == fcntl.F_UNLCK else pid or -1

    def _enter(self, lcores: int) -> None:
        if self.primary:
            if not self._lock(PRIMARY):
                raise EalError(
                    f"a primary named {self.name!r} already runs (process {self._holder(PRIMARY)})",
                    hint=f"Runtime(attach={self.name!r}), or another name",
                )
            if not self._lock(USED):
                raise EalError(
                    f"process {self._holder(USED)} still uses the memory of an earlier primary "
                    f"named {self.name!r}",
                    hint="end it first, or take another name",
                )
            about = json.dumps({"dpdk": eal.version(), "pid": os.getpid()}).encode()
            os.ftruncate(self.fd, 0)
            os.pwrite(self.fd, about, 0)
        else:
            if not self.primary_alive:
                raise self._nobody()
            end = time.monotonic() + 10
            while not self._lock(USED, shared=True):  # the primary is starting
                if not self.primary_alive or time.monotonic() > end:
                    raise EalError(f"the primary named {self.name!r} did not start")
                time.sleep(0.01)
            theirs = json.loads(os.pread(self.fd, 4096, 0) or b"{}").get("dpdk")
            if theirs != eal.version():
                raise EalError(
                    f"the primary named {self.name!r} has {theirs}, this process {eal.version()}",
                    hint="processes that share memory need the same DPDK",
                )
        while not self._lock(LCORES + self.first_lcore, lcores):
            self.first_lcore += 1
            if self.first_lcore + lcores > LCORES_MAX:
                raise EalError(
                    f"{lcores} lcore ids are not free in {self.name!r}",
                    hint="name fewer worker CPUs in each process: Runtime(lcores=...)",
                )

    def started(self) -> None:
        """EAL runs: others may attach."""
        if self.primary:
            self._lock(USED, shared=True)

    def leave(self) -> None:
        """EAL did not start."""
        os.close(self.fd)

    @property
    def primary_alive(self) -> bool:
        """Does the primary live?"""
        return self.primary or self._holder(PRIMARY) != 0

    @property
    def others(self) -> bool:
        """Does another process use the memory?"""
        return self._holder(USED) != 0
