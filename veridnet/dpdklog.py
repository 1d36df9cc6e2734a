"""DPDK's log in Python's logging, as the logger ``veridnet.dpdk``.

DPDK writes into a pipe (never blocking, never calling Python), and a thread reads it: logging
from inside DPDK's callback could deadlock with the GIL.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import re
import threading

from veridnet._native import eal

logger = logging.getLogger("veridnet.dpdk")
# A program that has not set logging up gets errors as exceptions; DPDK's lines are for who asks.
logger.addHandler(logging.NullHandler())

# DPDK's level (rte_log.h: 1 emergency .. 8 debug) -> Python's.
LEVELS = [logging.INFO] + [logging.CRITICAL] * 3 + [
    logging.ERROR, logging.WARNING, logging.INFO, logging.INFO, logging.DEBUG,
]  # fmt: skip

# Logged as errors, by devices that work all the same: net_tap on kernels without its qdiscs.
NO_REASON = re.compile(
    r"Disabling rte flow support|(create|add) (multiq|ingress) qdisc|qdisc kind is unknown"
)


class LogReader(threading.Thread):
    """Reads DPDK's log for the life of the process."""

    def __init__(self) -> None:
        super().__init__(name="veridnet-log", daemon=True)
        self.read_fd, self.write_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.write_fd, False)
        self.recent: collections.deque[tuple[int, str]] = collections.deque(maxlen=64)
        self.marks: dict[bytes, threading.Event] = {}
        eal.log_open(self.write_fd)
        self.start()

    def run(self) -> None:
        rest = b""
        while chunk := os.read(self.read_fd, 65536):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line[:1] == b"\0":
                    if event := self.marks.pop(line, None):
                        event.set()
                elif line:
                    # A program's handler may fail; this thread must not: DPDK's pipe would fill.
                    with contextlib.suppress(Exception):
                        self.record(line)

    def record(self, line: bytes) -> None:
        number = line[0] - ord("0")
        text = line[1:].decode("utf-8", "replace").strip()
        if text:
            level = LEVELS[number] if 0 <= number < len(LEVELS) else logging.INFO
            self.recent.append((level, text))
            logger.log(level, "%s", text)

    def sync(self, timeout: float = 0.5) -> None:
        """Waits until every line written so far has been logged."""
        if threading.current_thread() is self:
            return
        mark = b"\0%d" % id(event := threading.Event())
        self.marks[mark] = event
        try:
            os.write(self.write_fd, mark + b"\n")
        except OSError:
            return
        event.wait(timeout)

    def errors(self) -> list[str]:
        """The latest error lines, oldest first, once each; not those that are no reason."""
        self.sync()
        lines = (text for level, text in self.recent if level >= logging.ERROR)
        return list(dict.fromkeys(t for t in lines if not NO_REASON.search(t)))


_reader: LogReader | None = None


def start() -> LogReader:
    """The process's reader; made at the first call."""
    global _reader
    if _reader is None:
        _reader = LogReader()
    return _reader
