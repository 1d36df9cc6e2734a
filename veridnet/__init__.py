"""veridnet: packet processing on DPDK whose program is Python."""

from veridnet._native.burst import Burst
from veridnet._native.errors import drop_reasons
from veridnet._native.memory import Mempool
from veridnet._version import __version__
from veridnet.errors import (
    BurstError,
    CaptureError,
    ClosedError,
    ConfigError,
    DpdkError,
    EalError,
    ForkedError,
    PoolError,
    PortError,
    StateError,
    VeridnetError,
    ViewError,
)
from veridnet.headers import Headers
from veridnet.runtime import Port, Runtime

__all__ = [
    "Burst",
    "BurstError",
    "CaptureError",
    "ClosedError",
    "ConfigError",
    "DpdkError",
    "EalError",
    "ForkedError",
    "Headers",
    "Mempool",
    "PoolError",
    "Port",
    "PortError",
    "Runtime",
    "StateError",
    "VeridnetError",
    "ViewError",
    "__version__",
    "drop_reasons",
]
