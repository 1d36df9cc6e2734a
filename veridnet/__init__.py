"""veridnet: packet processing on DPDK whose program is Python."""

import typing

from veridnet._version import __version__

if typing.TYPE_CHECKING:
    from veridnet._native.burst import Burst
    from veridnet._native.errors import drop_reasons
    from veridnet._native.memory import Mempool
    from veridnet._native.pystage import DROP, PASS
    from veridnet.errors import (
        BurstError,
        CaptureError,
        ClosedError,
        ConfigError,
        DpdkError,
        EalError,
        FlowError,
        ForkedError,
        PoolError,
        PortError,
        StateError,
        VeridnetError,
        ViewError,
    )
    from veridnet.headers import Headers, HeaderTable
    from veridnet.headers.constants import (
        ACK,
        AH,
        CWR,
        ECE,
        ESP,
        ETH_ARP,
        ETH_IPV4,
        ETH_IPV6,
        FIN,
        GRE,
        ICMP,
        ICMPV6,
        IGMP,
        PSH,
        RST,
        SCTP,
        SYN,
        TCP,
        UDP,
        URG,
    )
    from veridnet.headers.values import ip, mac
    from veridnet.pipeline import NativeStage, Pipeline, Plan, Running, Stats, native_stage
    from veridnet.rings import Rcu, Ring, Stack
    from veridnet.rules import FlowTable, Rule
    from veridnet.runtime import Port, Runtime
    from veridnet.topology import Topology

__all__ = [
    "ACK",
    "AH",
    "CWR",
    "DROP",
    "ECE",
    "ESP",
    "ETH_ARP",
    "ETH_IPV4",
    "ETH_IPV6",
    "FIN",
    "GRE",
    "ICMP",
    "ICMPV6",
    "IGMP",
    "PASS",
    "PSH",
    "RST",
    "SCTP",
    "SYN",
    "TCP",
    "UDP",
    "URG",
    "Burst",
    "BurstError",
    "CaptureError",
    "ClosedError",
    "ConfigError",
    "DpdkError",
    "EalError",
    "FlowError",
    "FlowTable",
    "ForkedError",
    "HeaderTable",
    "Headers",
    "Mempool",
    "NativeStage",
    "Pipeline",
    "Plan",
    "PoolError",
    "Port",
    "PortError",
    "Rcu",
    "Ring",
    "Rule",
    "Running",
    "Runtime",
    "Stack",
    "StateError",
    "Stats",
    "Topology",
    "VeridnetError",
    "ViewError",
    "__version__",
    "drop_reasons",
    "ip",
    "mac",
    "native_stage",
]


def __getattr__(name: str) -> object:
    """The public names, all at the first one that is asked for.

    Loading numpy and DPDK takes 0.2 s, in which the command must already take a Ctrl-C.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from veridnet._native import burst, memory, pystage  # first: it says what is missing
    from veridnet import errors, headers, pipeline, rings, rules, runtime, topology  # isort: skip
    from veridnet._native import errors as reasons
    from veridnet.headers import constants

    homes = (errors, runtime, burst, memory, reasons, headers, constants, rules, topology,
             pipeline, pystage, rings)  # fmt: skip
    public = set(__all__) - {"__version__"}
    globals().update(
        {n: getattr(next(home for home in homes if hasattr(home, n)), n) for n in public}
    )
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
