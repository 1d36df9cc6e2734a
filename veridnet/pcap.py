"""Capture files: what is in one (`scan`)."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from veridnet._native import capture as native
from veridnet.errors import CaptureError

__all__ = ["Capture", "scan"]

#: Not tcprewrite: Debian 12's writes wrong EtherTypes (tcpreplay issue 790).
TO_ETHERNET = (
    "give its packets Ethernet headers with: .venv/bin/python examples/to_ethernet.py IN OUT"
)
#: Link types (by libpcap's DLT numbers) whose packets are IP below a header that it replaces.
CONVERTIBLE = (0, 12, 14, 101, 108, 113, 228, 229, 276)


@dataclass(frozen=True)
class Capture:
    """What one reading through a capture file found.

    Attributes
    ----------
    path
        The file.
    linktype, linktype_name
        Its link type: number and name (1, "EN10MB" for Ethernet; see pcap-linktype(7)).
    records
        Whole records, up to the first that cannot be read.
    bytes
        Sum of their captured lengths.
    max_length
        The longest captured length.
    cut
        Numbers (from 0) of the records that hold only the beginning of their frame: uint64.
    damaged, error
        Is there a record that cannot be read, and libpcap's words for it.
    """

    path: str
    linktype: int
    linktype_name: str
    records: int
    bytes: int
    max_length: int
    cut: NDArray[np.uint64]
    damaged: bool
    error: str


def scan(path: str | os.PathLike[str], *, shown: str | None = None) -> Capture:
    """Reads a capture through once, by libpcap, at memory speed and without the GIL.

    Raises CaptureError for a file that is no capture, and for one of no bytes. `shown` is the
    name that errors give the file, where it differs from `path`.
    """
    path = os.fspath(path)
    name = shown or path
    if os.path.exists(path) and not os.path.isfile(path):
        # A FIFO would be waited for, a device may never end.
        raise CaptureError(f"{name}: is not a regular file")
    found = native.scan(path)
    if found["linktype"] < 0:
        if os.path.exists(path) and os.path.getsize(path) == 0:
            raise CaptureError(f"{name}: is empty, not even a capture's header is there")
        why = found["error"].removeprefix(f"{path}: ")
        raise CaptureError(f"{name}: cannot be read as a capture: {why}")
    return Capture(
        path=name,
        linktype=found["linktype"],
        linktype_name=found["linktype_name"],
        records=found["records"],
        bytes=found["bytes"],
        max_length=found["max_caplen"],
        cut=found["cut"],
        damaged=found["damaged"],
        error=found["error"],
    )
