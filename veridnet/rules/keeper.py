"""The thread behind a table: it merges what has changed, and removes rules whose time is over."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING
from weakref import ReferenceType

from veridnet.errors import VeridnetError
from veridnet.runtime import eal_runs

if TYPE_CHECKING:
    from veridnet.rules.table import FlowTable

logger = logging.getLogger("veridnet.rules")

#: Boxes in the delta, or removed from the base, from which on a merge is worth it at once.
MERGE_AT = 1024
#: ... and from which on when nothing has changed for QUIET_S.
MERGE_LEAST = 24
QUIET_S = 0.2
#: A merge rests so many times as long as the last one took: it never takes more of a CPU than 1/4.
REST = 3.0
TICK_S = 0.1


class Keeper:
    """Merging and ageing of one table.

    Parameters
    ----------
    table
        The table, weakly: one that nobody has any more ends its keeper.
    automatic
        Merge without being asked?
    """

    def __init__(self, table: ReferenceType[FlowTable], *, automatic: bool) -> None:
        self.table = table
        self.automatic = automatic
        self.work = threading.Lock()  # one merge at a time
        self.changed_at = 0.0
        self.rest_until = 0.0
        self.failed_at = 0  # rules when a merge found too little memory
        self.timed = False
        self.ending = threading.Event()
        self.thread: threading.Thread | None = None

    def wake(self, timed: bool) -> None:
        """The table has changed (the caller has its lock)."""
        self.changed_at = time.monotonic()
        self.timed = timed
        if (self.automatic or timed) and self.thread is None:
            self.thread = threading.Thread(target=self.run, name="veridnet-rules", daemon=True)
            self.thread.start()

    def run(self) -> None:
        """The thread."""
        while not self.ending.wait(TICK_S):
            table = self.table()
            if table is None or table._closed:
                return
            try:
                if self.timed:
                    table.expire()
                if self.automatic and self.wanted(table):
                    self.merge_now()
            except VeridnetError as e:
                logger.warning("rules: %s", e)
                table.problems.append(str(e))
            except MemoryError:
                logger.warning("rules: no memory to merge; lookups go on as they are")
            except Exception as e:  # on_expire's, which is not ours
                logger.exception("rules: on_expire failed")
                table.problems.append(f"on_expire failed: {type(e).__name__}: {e}")
            del table

    def wanted(self, table: FlowTable) -> bool:
        """Is a merge worth it now?"""
        now = time.monotonic()
        if now < self.rest_until or (self.failed_at and len(table) >= self.failed_at):
            return False
        due = self.due(table)
        return due >= MERGE_AT or (due >= MERGE_LEAST and now - self.changed_at >= QUIET_S)

    def due(self, table: FlowTable) -> int:
        """How many boxes a merge would put where they are looked up the fastest."""
        info = table._native.info()
        due: int = info["delta_boxes"] + info["base_dead"]
        if info["engines"] == "tuple" and table.engine != "tuple" and eal_runs():
            due += info["base_boxes"]  # the base was built before DPDK's engines were there
        return due

    def merge_now(self) -> None:
        """Merges, in the calling thread."""
        table = self.table()
        if table is None:
            return
        with self.work:
            began = time.monotonic()
            rules = len(table)
            try:
                table._merge()
                self.failed_at = 0
            except (VeridnetError, MemoryError):
                self.failed_at = rules
                raise
            finally:
                now = time.monotonic()
                self.rest_until = now + REST * (now - began)

    def settle(self, seconds: float) -> bool:
        """Waits until no merge is due; False: not in that time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            table = self.table()
            if table is None or not self.automatic or self.failed_at:
                return True
            if self.due(table) < MERGE_LEAST and not table._native.info()["garbage"]:
                return True
            table._native.wait(0.0)
            time.sleep(0.01)
        return False

    def stop(self) -> None:
        """Ends the thread, and waits for it."""
        self.ending.set()
        thread = self.thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
