"""A capture that is open for reading into columns. Imports neither numpy nor DPDK's start."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterable

from veridnet._native.table import Reader
from veridnet.errors import CaptureError
from veridnet.headers.fields import FIELDS, NEEDS

INDEX = {field.name: number for number, field in enumerate(FIELDS)}

logger = logging.getLogger("veridnet.headers")


def with_needs(columns: Iterable[str]) -> set[str]:
    """The columns, and those that they are computed from."""
    chosen = set(columns)
    for name in tuple(chosen):
        chosen.update(NEEDS.get(name, ()))
    return chosen


class Source:
    """An open capture.

    Parameters
    ----------
    path
        The file, or a FIFO; "-" is standard input.
    columns
        Names of the columns to parse.
    rows
        Rows of a block.

    CaptureError if it cannot be opened, is no capture, or has packets that begin with neither
    Ethernet nor IP.
    """

    def __init__(self, path: str | os.PathLike[str], columns: Iterable[str], rows: int) -> None:
        self.path = os.fspath(path)
        chosen = with_needs(columns)
        numbers = sorted(INDEX[name] for name in chosen)
        derived = [INDEX[name] for name in chosen if name in NEEDS]
        fd = open_file(self.path)
        empty = os.fstat(fd).st_size == 0 and stat.S_ISREG(os.fstat(fd).st_mode)
        try:
            self.reader = Reader(fd, numbers, derived, rows)
        except CaptureError as e:
            if empty or str(e).endswith("only got 0"):
                why = "is empty, not even a capture's header is there"
            else:
                why = f"cannot be read as a capture: {e}"
            raise CaptureError(f"{self.path}: {why}") from None
        if not self.reader.readable:
            self.refuse()

    def refuse(self) -> None:
        """Packets of this link type are not parsed."""
        from veridnet.pcap import CONVERTIBLE, TO_ETHERNET

        raise CaptureError(
            f"{self.path}: its link type is {self.reader.linktype_name}; only Ethernet (EN10MB) "
            "and raw IP (RAW, IPV4, IPV6) are parsed",
            hint=TO_ETHERNET if self.reader.linktype in CONVERTIBLE else "",
        )

    def finish(self) -> None:
        """At the end: says if there was more that could not be read.

        What was whole has been used, so that is a warning; CaptureError if there was nothing.
        """
        error, records = self.reader.error, self.reader.records
        if error and records == 0:
            raise CaptureError(f"{self.path}: no readable frame: {error}")
        if error:
            logger.warning(
                "%s: damaged after record %s (%s); the records before are used",
                self.path, records, error,
            )  # fmt: skip


def open_file(path: str) -> int:
    """A descriptor for reading; CaptureError says why there is none."""
    try:
        fd = os.dup(0) if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError) as e:
        why = e.strerror if isinstance(e, OSError) and e.strerror else str(e)
        raise CaptureError(f"cannot open {path}: {why}") from None
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        raise CaptureError(f"cannot open {path}: it is a directory")
    return fd
