"""Every error that veridnet raises.

::

    VeridnetError(Exception)
    +-- ConfigError(ValueError)         what the user asked for cannot be: a port spec, a profile,
    |   |                               an option
    |   +-- CaptureError                a file is no capture, or not one of Ethernet frames
    +-- StateError(RuntimeError)        used in a way its state forbids
    |   +-- ClosedError                 after close()
    |   +-- ForkedError                 in a forked child
    |   +-- BurstError                  a burst holds packets (or none) where it must not
    |   +-- EalError                    EAL cannot start, or has started with other settings
    +-- ViewError(BufferError)          views of packet bytes are alive
    +-- DpdkError(OSError)              a DPDK call failed; ``errno`` says how
        +-- PoolError(MemoryError)      no memory for a pool, or no free mbuf
        +-- PortError                   a port cannot be made, configured or started
        +-- FlowError                   a port does not take, count or destroy a flow (rte_flow)

The text of an error says what and why; ``hint`` says what mends it ("" where nothing is known); a
traceback shows it below the text.
"""

from __future__ import annotations

import os
from typing import Any

__all__ = [
    "BurstError",
    "CaptureError",
    "ClosedError",
    "ConfigError",
    "DpdkError",
    "EalError",
    "FlowError",
    "ForkedError",
    "PoolError",
    "PortError",
    "StateError",
    "VeridnetError",
    "ViewError",
]


class VeridnetError(Exception):
    """The root of all errors of veridnet."""

    hint: str = ""

    def __init__(self, *args: object, hint: str = "") -> None:
        super().__init__(*args)
        if hint:
            self.hint = hint
            self.add_note(f"hint: {hint}")  # a traceback shows it


class ConfigError(VeridnetError, ValueError):
    """What was asked for cannot be: a port spec, a profile, an option."""


class CaptureError(ConfigError):
    """A file is no capture, or not one of Ethernet frames."""


class StateError(VeridnetError, RuntimeError):
    """An object was used in a way that its state forbids."""


class ClosedError(StateError):
    """An object was used after it was closed."""


class ForkedError(StateError):
    """DPDK's objects cannot be used in a forked child (they share the parent's memory).

    Start child processes with the *spawn* method, and each its own Runtime.
    """


class BurstError(StateError):
    """A burst holds packets where it must hold none, or the other way round."""


class EalError(StateError):
    """EAL cannot start, or has already started with other settings."""


class ViewError(VeridnetError, BufferError):
    """Views of packet bytes are alive, so the packets cannot be sent or moved."""


class DpdkError(VeridnetError, OSError):
    """A DPDK call failed.

    ``errno`` is the (positive) error number and ``strerror`` its text, as for any OSError.
    """

    def __init__(self, what: str, errno: int = 0, *, hint: str = "") -> None:
        VeridnetError.__init__(self, what, hint=hint)
        self.errno = errno or None
        self.strerror = os.strerror(errno) if errno else None
        self.what = what

    def __str__(self) -> str:
        return f"{self.what}: {self.strerror}" if self.errno else self.what

    def __reduce__(self) -> tuple[Any, ...]:
        # OSError keeps errno where pickle does not look.
        return type(self), (self.what, self.errno or 0), dict(self.__dict__)


class PoolError(DpdkError, MemoryError):
    """There is no memory for a pool, or no free mbuf in it."""


class PortError(DpdkError):
    """A port cannot be made, configured or started."""


class FlowError(DpdkError):
    """A port does not take, count or destroy a flow (rte_flow).

    ``cause`` says what of the flow it refuses: "item vlan", "action", "priority"; "" if unknown.
    """

    cause: str = ""
