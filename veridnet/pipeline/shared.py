"""What the workers of a pipeline share while it is built: numbers of ports, rings, bridges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from veridnet._native.stages import Bridge
from veridnet.errors import ConfigError, PoolError
from veridnet.pipeline.pipeline import Numbered
from veridnet.pipeline.stages import Maker

MIB = 1 << 20


@dataclass(frozen=True)
class Worker:
    """What differs from worker to worker."""

    number: int
    handoff_first: int = 0  # its outputs by rings to the next workers
    handoff_n: int = 0


class Shared:
    """Made once for each start or swap; holds what the native programs point to.

    Attributes
    ----------
    ports, rings
        By number: rings that are inputs have the numbers after the ports.
    sinks
        (ring, wait) of the program's rings that stages put into.
    errors
        (stage, exception) of Python stages.
    """

    def __init__(
        self, runtime: Any, ports: Sequence[Any], rings: Sequence[Any], errors: list[Any]
    ) -> None:
        self.runtime = runtime
        self.ports = list(ports)
        self.rings = list(rings)
        self.names = [port.name for port in ports]
        self.errors = errors
        self.sinks: list[tuple[Any, bool]] = []
        self.bridges: list[Bridge] = []
        self.segments: list[list[Maker]] = []  # what makes each segment's stages
        self._made: dict[int, list[list[Maker]]] = {}

    @property
    def n_inputs(self) -> int:
        """Numbers of inputs that are given out."""
        return len(self.ports) + len(self.rings)

    def number(self, port: Any) -> int:
        """The number of a port (or its name or order), or of a ring that is an input."""
        for i, known in enumerate([*self.ports, *self.rings]):
            if port is known or (isinstance(port, str) and known.name == port):
                return i
        if isinstance(port, (int, str)) and str(port).isdecimal() and int(port) < len(self.ports):
            return int(port)
        name = getattr(port, "name", port)
        raise ConfigError(
            f"the pipeline has no port {name!r}", hint=f"its ports: {', '.join(self.names)}"
        )

    def sink(self, ring: Any, wait: bool) -> int:
        """The number of a ring's output."""
        for i, (known, waits) in enumerate(self.sinks):
            if known is ring and waits == wait:
                return i
        self.sinks.append((ring, wait))
        return len(self.sinks) - 1

    def bridge(self, stations: int, age: float) -> Bridge:
        """A new table of stations."""
        room = stations * 256 + 2 * MIB
        try:
            made = Bridge(stations, age, self.runtime.reserve(room))
        except PoolError:
            if self.runtime.memory != "hugepages" or self.runtime.config.memory != "auto":
                raise
            # No device ever reads a bridge's table.
            made = Bridge(stations, age, self.runtime.reserve_external(room))
        self.bridges.append(made)
        return made

    def prepare(self, chain: Sequence[Numbered]) -> list[Maker]:
        """Makers for a chain, branches first."""
        makers = []
        for node in chain:
            self._made[node.number] = [self.prepare(branch) for _, branch in node.branches]
            makers.append(node.stage.prepare(self, node.number))
        return makers

    def branches(self, number: int) -> list[list[Maker]]:
        """The makers of a stage's branches."""
        return self._made[number]
