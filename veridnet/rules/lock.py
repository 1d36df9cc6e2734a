"""The lock of a table's changes, which a forked child does not wait for."""

from __future__ import annotations

import os
import threading
from types import TracebackType

from veridnet.errors import ForkedError


class OwnLock:
    """A `threading.RLock` of the process that made it; others get a ForkedError.

    A thread that held it when the process forked is not in the child, and would never let go.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._pid = os.getpid()

    @property
    def forked(self) -> bool:
        """Is this another process?"""
        return os.getpid() != self._pid

    def check(self) -> None:
        """ForkedError in another process."""
        if self.forked:
            raise ForkedError(
                "a rule table cannot be used in a forked child",
                hint='use multiprocessing\'s "spawn" method, and a table of its own',
            )

    def __enter__(self) -> None:
        if os.getpid() != self._pid:
            self.check()
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()
