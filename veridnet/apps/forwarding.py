"""What runs a pipeline over some ports and says what it did: l2fwd, and programs of the user's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from veridnet._native import eal
from veridnet._native.stages import MAX_BURST
from veridnet._native.worker import IDLE
from veridnet.errors import ConfigError, VeridnetError
from veridnet.pipeline import Pipeline
from veridnet.pipeline.running import Running, Stop
from veridnet.runtime import Port, Runtime

__all__ = ["App", "Result", "RunOptions"]


@dataclass(frozen=True)
class RunOptions:
    """How a pipeline runs: see `Runtime.start`.

    Attributes
    ----------
    burst
        Packets per burst, at most 512.
    workers
        Worker lcores, or their CPUs in order, or "auto": one for each receive queue, as long as
        there are CPUs.
    tx_full
        Packets that a port does not take: "retry" (bounded by the port's retry_us), or "drop".
    count
        Stop after so many received packets.
    idle
        What workers do while no packets come: "busy", "adaptive" or "sleep".
    trace
        So many packets are followed through all stages.
    rebalance
        Seconds between looks whether receive queues should move to other workers.
    """

    burst: int = 32
    workers: int | str | Sequence[int] = 1
    tx_full: str = "retry"
    count: int | None = None
    idle: str = "busy"
    trace: int = 0
    rebalance: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.burst <= MAX_BURST:
            raise ConfigError(f"burst={self.burst}: must be from 1 to {MAX_BURST}")
        if self.tx_full not in ("retry", "drop"):
            raise ConfigError(f"tx_full={self.tx_full}: must be retry or drop")
        if self.count is not None and self.count < 1:
            raise ConfigError(f"count={self.count}: must be at least 1")
        if self.idle not in IDLE:
            raise ConfigError(f"idle={self.idle}: must be {', '.join(IDLE)}")
        if not 0 <= self.trace <= 10_000:
            raise ConfigError(f"trace={self.trace}: must be from 0 to 10000 packets")
        if self.rebalance is not None and not 0.01 <= self.rebalance <= 3600:
            raise ConfigError(f"rebalance={self.rebalance}: must be from 0.01 to 3600 seconds")

    def prepare(self, runtime: Runtime, pipe: Pipeline) -> Running:
        """The pipeline, ready to start."""
        return runtime.prepare(
            pipe, lcores=self.workers, burst=self.burst, policy=self.tx_full, count=self.count,
            idle=self.idle, trace=self.trace, rebalance=self.rebalance,
        )  # fmt: skip


@dataclass(frozen=True)
class Result:
    """What a run did; `to_dict` is what ``--json`` prints."""

    data: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.data[name]
        except KeyError:
            raise AttributeError(name) from None

    def to_dict(self) -> dict[str, Any]:
        """The result as plain JSON types."""
        return self.data


class App:
    """A pipeline over ports of a runtime; `running` is set by who inherits it.

    Attributes
    ----------
    running
        The pipeline, prepared.
    warnings
        For the user.
    """

    running: Running

    def __init__(self, runtime: Runtime, ports: Sequence[Port]) -> None:
        self.runtime = runtime
        self.ports = list(ports)
        self.warnings: list[str] = []

    def start(self) -> None:
        """Launches the loops."""
        self.running.start()

    def stop(self) -> None:
        """Stops the loops; what each had received is sent or dropped by name."""
        self.running.stop()

    def close(self) -> None:
        """Frees what it made besides the pipeline. Only after `stop`; may be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.close()

    def look(self, now: float) -> None:
        """Called often while it runs, with time.monotonic()."""

    def run(
        self,
        *,
        duration: float | None = None,
        until_idle: float | None = None,
        stop: Stop | None = None,
        tick: Callable[[Self], None] | None = None,
        stats_period: float = 1.0,
    ) -> Result:
        """Forwards until something ends it, and returns the result.

        Parameters
        ----------
        duration, until_idle, stop
            What ends it: see `Running.wait`.
        tick
            Called every `stats_period` seconds.
        """
        self.start()
        try:
            reason = self.running.wait(
                duration=duration,
                until_idle=until_idle,
                stop=stop,
                tick=None if tick is None else lambda: tick(self),
                period=stats_period,
                look=self.look,
            )
        finally:
            self.stop()
        return self.result(reason)

    def snapshot(self) -> list[dict[str, Any]]:
        """The ports' counters now, one dict each."""
        return [{"name": p.name, "kind": p.kind, **p.counters()} for p in self.ports]

    def problems(self) -> list[str]:
        """What went wrong: empty, or the command ends with 1."""
        return list(self.runtime.problems)

    def result(self, reason: str = "") -> Result:
        """What was done since the start."""
        totals = self.runtime.balance()
        ports = [describe(p) for p in self.ports]
        seconds = max(self.running.duration, 1e-9)
        stats = self.running.stats().to_dict()
        bridges = self.running.bridges
        memory = self.runtime.memory_report()
        return Result(
            {
                "ports": ports,
                "drops": totals.drops,
                "held": totals.held,
                "duration_s": self.running.duration,
                "rx_packets": totals.rx,
                "tx_packets": totals.tx,
                "generated": totals.generated,
                "copies": totals.copies,
                "handed_in": totals.handed_in,
                "handed_out": totals.handed_out,
                "balanced": totals.balanced,
                "rate": {
                    "rx_pps": totals.rx / seconds,
                    "tx_pps": totals.tx / seconds,
                    "tx_bps": sum(p["tx_bytes"] for p in ports) * 8 / seconds,
                },
                "ended_by": reason,
                "bridge": bridges[0].counters() if bridges else {},
                "rules": None,
                "plan": self.running.plan.to_dict(),
                "workers": stats["workers"],
                "stages": stats["stages"],
                "stage_drops": stats["drops"],
                "lanes": stats["lanes"],
                "moves": self.running.moves,
                "trace": self.running.trace().to_dict(),
                "memory": memory,
                "memory_name": memory["name"],
                "tsc_hz": eal.tsc_hz(),
                "dpdk": eal.version(),
                "warnings": self.warnings + [w for p in self.ports for w in p.warnings],
                "problems": self.problems(),
            }
        )


def describe(port: Port) -> dict[str, Any]:
    """A port and its counters, as plain JSON types."""
    entry: dict[str, Any] = {"index": port.index, "name": port.name, "kind": port.kind}
    entry |= port.counters()
    entry["details"] = dict(port.details)
    try:
        entry["mac"] = port.mac
        entry["max_frame"] = port.max_frame
        entry["pmd"] = port.pmd_stats()
    except VeridnetError:
        pass
    return entry
