"""The thread behind a table: it merges what has changed, and removes rules whose time is over."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType

from veridnet.eal import eal_runs
from veridnet.errors import PoolError, VeridnetError

if TYPE_CHECKING:
    from veridnet.rules.table import FlowTable

logger = logging.getLogger("veridnet.rules")

#: Young boxes (not in the base) or removed from it, from which on a new base is worth it at once,
#: if they are also one in BASE_SHARE of it ...
BASE_AT = 1024
BASE_SHARE = 8
#: ... and from which on when nothing has changed for QUIET_S.
MERGE_LEAST = 24
QUIET_S = 0.2
#: Boxes that have stayed in the delta for a tick, from which on a new middle is worth it.
MIDDLE_AT = 64
#: A middle of more boxes takes too long to be worth it.
MIDDLE_MOST = 16384
#: A base that is built within so many seconds needs no middle.
SOON_S = 0.05
#: What a middle may take of the memory for building.
MIDDLE_SHARE = 4
#: A merge rests so many times as long as the last one took: it never takes more of a CPU than 1/4.
REST = 3.0
TICK_S = 0.1
#: ... while the table changes.
BUSY_TICK_S = 0.02
MOST_PROBLEMS = 1000


class Level:
    """When one level was merged, and when it may be again."""

    def __init__(self) -> None:
        self.work = threading.Lock()  # one merge at a time
        self.took = 0.0
        self.rest_until = 0.0
        self.failed_at = 0  # rules when a merge found too little memory

    def rests(self, table: FlowTable) -> bool:
        """Must it wait?"""
        return time.monotonic() < self.rest_until or (
            bool(self.failed_at) and len(table) >= self.failed_at
        )

    def merge(
        self, table: FlowTable, merge: Callable[[], None], due: Callable[[], object] = lambda: True
    ) -> None:
        """Does so, in the calling thread, if it is due when no other thread does."""
        with self.work:
            if not due():
                return
            began = time.monotonic()
            rules = len(table)
            try:
                merge()
                self.failed_at = 0
            except (VeridnetError, MemoryError):
                self.failed_at = rules
                raise
            finally:
                now = time.monotonic()
                self.took = now - began
                self.rest_until = now + REST * self.took


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
        self.base = Level()
        self.middle = Level()
        self.changed_at = 0.0
        self.version = 0  # the table's, a tick ago
        self.timed = False
        self.ending = threading.Event()
        self.thread: threading.Thread | None = None
        self.builder: threading.Thread | None = None  # of a base

    def wake(self, timed: bool) -> None:
        """The table has changed (the caller has its lock)."""
        self.changed_at = time.monotonic()
        self.timed = timed
        if (self.automatic or timed) and self.thread is None:
            thread = threading.Thread(target=self.run, name="veridnet-rules", daemon=True)
            try:
                thread.start()
            except RuntimeError as e:  # the next change tries it again
                self.note(f"rules: no thread to merge them, nor for timeouts: {e}")
            else:
                self.thread = thread

    def run(self) -> None:
        """The thread."""
        while not self.ending.wait(self.tick()):
            table = self.table()
            if table is None or table._closed:
                return
            with self.complaints(table, "on_expire"):
                if self.timed:
                    table.expire()
            with self.complaints(table, "merging"):
                if self.automatic and not table._closed:
                    self.look_after(table)
            del table

    def tick(self) -> float:
        """Seconds until the next look."""
        changing = self.automatic and time.monotonic() - self.changed_at < 2 * QUIET_S
        return BUSY_TICK_S if changing else TICK_S

    def note(self, problem: str) -> None:
        """Tells a problem in the table's, of which there are not more than MOST_PROBLEMS."""
        table = self.table()
        if table is not None and len(table.problems) < MOST_PROBLEMS:
            table.problems.append(problem)

    @contextmanager
    def complaints(self, table: FlowTable, what: str) -> Iterator[None]:
        """What goes wrong in a thread is said in the log and among the table's problems."""
        try:
            yield
        except VeridnetError as e:
            if not table._closed:
                logger.warning("rules: %s", e)
                self.note(str(e))
        except MemoryError:
            logger.warning("rules: no memory to merge; lookups go on as they are")
        except BaseException as e:  # on_expire's may be any
            logger.exception("rules: %s failed", what)
            self.note(f"{what} failed: {type(e).__name__}: {e}")

    def look_after(self, table: FlowTable) -> None:
        """Merges what is worth it: a base in a thread of its own, as it may take long."""
        info = table._native.info()
        born, self.version = self.version, info["version"]
        if self.wants_base(table, info) and (self.builder is None or not self.builder.is_alive()):
            builder = threading.Thread(
                target=self.build_base, name="veridnet-rules-base", daemon=True
            )
            try:
                builder.start()
            except RuntimeError:  # there is no thread to be had
                self.merge_now()
            else:
                self.builder = builder
        elif self.wants_middle(table, info, born):
            self.merge_middle(table, born)

    def wants_base(self, table: FlowTable, info: dict[str, Any]) -> bool:
        """Is a new base worth it now?"""
        if self.base.rests(table):
            return False
        due = self.due(table, info)
        if due >= MERGE_LEAST and time.monotonic() - self.changed_at >= QUIET_S:
            return True
        return bool(due >= max(BASE_AT, info["base_boxes"] // BASE_SHARE))

    def wants_middle(self, table: FlowTable, info: dict[str, Any], born: int) -> bool:
        """Is a new middle worth it now? Rules that have come since `born` are too young to say."""
        if self.middle.rests(table) or self.base.took < SOON_S or table.engine == "tuple":
            return False
        if info["young_boxes"] > MIDDLE_MOST:
            return False
        stale = info["middle_dead"] + info["middle_old"]
        return bool(stale >= MIDDLE_AT or table._native.ripe(born) >= MIDDLE_AT)

    def build_base(self) -> None:
        """A thread that builds a base."""
        table = self.table()
        if table is not None:
            with self.complaints(table, "merging"):
                self.merge_now()

    def due(self, table: FlowTable, info: dict[str, Any] | None = None) -> int:
        """How many boxes a new base would put where they are looked up the fastest."""
        info = info or table._native.info()
        due: int = max(info["young_boxes"], info["delta_boxes"]) + info["base_dead"]
        if info["engines"] == "tuple" and table.engine != "tuple" and eal_runs():
            due += info["base_boxes"]  # the base was built before DPDK's engines were there
        return due

    def merge_now(self) -> None:
        """Builds a base, in the calling thread; then there is little left for the others."""
        table = self.table()
        if table is None:
            return
        self.base.merge(table, table._merge, lambda: self.due(table))
        info = table._native.info()
        if info["middle_boxes"] or info["delta_boxes"]:
            self.merge_middle(table, None)

    def merge_middle(self, table: FlowTable, born: int | None) -> None:
        """Builds a middle, in the calling thread; if there is no memory the delta keeps all."""
        with suppress(PoolError):
            self.middle.merge(table, lambda: table._merge_middle(born, MIDDLE_AT, MIDDLE_SHARE))

    def pause(self) -> None:
        """Waits for what is being merged; nothing new begins, if `automatic` is False."""
        builder = self.builder
        if builder is not None and builder is not threading.current_thread():
            builder.join()
        with self.still():
            pass

    @contextmanager
    def still(self) -> Iterator[None]:
        """While nothing is merged. The table's lock is only taken inside."""
        with self.base.work, self.middle.work:
            yield

    def settle(self, seconds: float) -> bool:
        """Waits until no merge is due; False: not in that time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            table = self.table()
            if table is None or not self.automatic or self.base.failed_at:
                return True
            if self.due(table) < MERGE_LEAST and not table._native.info()["garbage"]:
                return True
            table._native.wait(0.0)
            time.sleep(0.01)
        return False

    def stop(self) -> None:
        """Ends the threads, and waits for them."""
        self.ending.set()
        for thread in (self.thread, self.builder):
            if thread is not None and thread is not threading.current_thread():
                thread.join()
