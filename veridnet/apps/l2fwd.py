"""The forwarder: DPDK's l2fwd, and a learning bridge, over any ports."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from veridnet._native import eal
from veridnet._native.stages import MAX_BURST
from veridnet.apps.rules_file import RulesFile
from veridnet.errors import ConfigError, VeridnetError
from veridnet.pipeline import Pipeline
from veridnet.pipeline.running import Stop
from veridnet.runtime import Port, Runtime

__all__ = ["L2fwd", "L2fwdOptions", "Result", "parse_portmap"]

#: What a profile's [l2fwd] table may hold, and of what type.
PROFILE_KEYS: dict[str, type] = {
    "learn": bool,
    "portmap": str,
    "mac_updating": bool,
    "burst": int,
    "tx_full": str,
    "age": float,
    "stations": int,
    "duration": float,
    "count": int,
    "until_idle": float,
    "stats_period": float,
    "rules": str,
    "offload": bool,
    "flow_cache": bool,
    "idle": str,
    "trace": int,
    "rebalance": float,
}


@dataclass(frozen=True)
class L2fwdOptions:
    """How to forward.

    Attributes
    ----------
    learn
        A learning bridge (IEEE 802.1D without spanning tree) instead of fixed pairs.
    portmap
        Pairs of ports (names or orders) that exchange their packets; None: 0<->1, 2<->3, ...,
        and an odd last port sends its packets back.
    mac_updating
        Fixed pairs: set the destination to 02:00:00:00:00:<port> and the source to the output
        port's own address, as DPDK's l2fwd does.
    burst
        Packets per burst, at most 512.
    workers
        Worker lcores.
    tx_full
        Packets that a port does not take: "retry" (bounded by the port's retry_us), or "drop".
    age, stations
        Bridge: seconds after which a silent station is forgotten; room of the station table.
    count
        Stop after so many received packets.
    rules
        A file of flow rules, or a FlowTable, asked first: what no action of theirs ends goes as
        without them. A file is reloaded when it changes.
    offload
        Rules that drop go into the ports, as far as these take them (rte_flow).
    flow_cache
        Packets of a flow find the rule that its last packet found (an exact-match cache of 2 MiB a
        worker, which rests while flows do not come again).
    """

    learn: bool = False
    portmap: Sequence[tuple[str, str]] | None = None
    mac_updating: bool = True
    burst: int = 32
    workers: int = 1
    tx_full: str = "retry"
    age: float = 300.0
    stations: int = 8192
    count: int | None = None
    rules: Any = None
    offload: bool = False
    flow_cache: bool = True
    idle: str = "busy"
    trace: int = 0
    rebalance: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.burst <= MAX_BURST:
            raise ConfigError(f"burst={self.burst}: must be from 1 to {MAX_BURST}")
        if self.tx_full not in ("retry", "drop"):
            raise ConfigError(f"tx_full={self.tx_full}: must be retry or drop")
        if not 1 <= self.age <= 1_000_000:
            raise ConfigError(f"age={self.age}: must be from 1 to 1000000 seconds")
        if not 8 <= self.stations <= 1 << 22:
            raise ConfigError(f"stations={self.stations}: must be from 8 to 4194304")
        if self.count is not None and self.count < 1:
            raise ConfigError(f"count={self.count}: must be at least 1")
        if self.learn and self.portmap:
            raise ConfigError("learn and portmap exclude each other: a bridge has no pairs")
        if self.offload and self.rules is None:
            raise ConfigError("offload: there are no rules", hint="--rules FILE, too")

    def check(self, names: Sequence[str]) -> None:
        """ConfigError unless these options fit ports of these names, in this order."""
        if not names:
            raise ConfigError("there are no ports to forward between")
        if self.learn and len(names) < 2:
            raise ConfigError("a bridge needs at least two ports")
        if self.portmap is not None:
            self.destinations(names)

    def destinations(self, names: Sequence[str]) -> list[int]:
        """For each port the index of the port that gets its packets."""
        n = len(names)
        if self.portmap is None:
            return [i ^ 1 if i ^ 1 < n else i for i in range(n)]
        out = [-1] * n
        for pair in self.portmap:
            a, b = (port_index(names, name) for name in pair)
            for x, y in ((a, b), (b, a)):
                if out[x] not in (-1, y):
                    raise ConfigError(f"portmap: port {names[x]} is mapped twice")
                out[x] = y
        if -1 in out:
            raise ConfigError(f"portmap: port {names[out.index(-1)]} is in no pair")
        return out


def port_index(names: Sequence[str], name: str) -> int:
    """The index of a port that is called by its name or its order."""
    if name in names:
        return names.index(name)
    if name.isdecimal() and int(name) < len(names):
        return int(name)
    raise ConfigError(f"portmap: there is no port {name!r}", hint=f"ports: {', '.join(names)}")


def parse_portmap(text: str) -> list[tuple[str, str]]:
    """Pairs from DPDK's notation: "(0,1)(2,3)", with or without commas between."""
    pairs = re.findall(r"\(\s*([^(),\s]+)\s*,\s*([^(),\s]+)\s*\)", text)
    rest = re.sub(r"\([^()]*\)|[,\s]", "", text)
    if rest or not pairs:
        raise ConfigError(f"portmap={text}: pairs are written as (0,1)(2,3)")
    return pairs


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


class L2fwd:
    """A forwarder over some ports of a runtime.

    >>> app = L2fwd(rt, [a, b], learn=True)                              # doctest: +SKIP
    >>> result = app.run(duration=10)                                    # doctest: +SKIP
    """

    def __init__(
        self,
        runtime: Runtime,
        ports: Sequence[Port],
        options: L2fwdOptions | None = None,
        **kwargs: Any,
    ) -> None:
        self.runtime = runtime
        self.ports = list(ports)
        self.options = options or L2fwdOptions(**kwargs)
        self.warnings: list[str] = []
        o = self.options
        o.check([p.name for p in self.ports])
        self.rules = (
            RulesFile(o.rules, [p.name for p in self.ports]) if o.rules is not None else None
        )
        try:
            self.running = runtime.prepare(
                self._pipeline(),
                lcores=o.workers,
                burst=o.burst,
                policy=o.tx_full,
                count=o.count,
                idle=o.idle,
                trace=o.trace,
                rebalance=o.rebalance,
            )
        except BaseException:
            self.close()
            raise

    def _pipeline(self) -> Pipeline:
        """What happens to packets."""
        o = self.options
        names = [p.name for p in self.ports]
        pipe = Pipeline(rx=[p for p in self.ports if p.receives], ports=self.ports)
        if self.rules is not None:
            if o.offload:
                self.rules.offload(self.ports)
            pipe = pipe.apply(self.rules.table, flow_cache=o.flow_cache)
        if o.learn:
            return pipe.bridge(stations=o.stations, age=o.age)
        to = o.destinations(names)
        if o.portmap is None and len(self.ports) % 2:
            self.warnings.append(
                f"odd number of ports: port {self.ports[-1].name} sends its packets back"
            )
        if o.mac_updating:
            pipe = pipe.set_macs({p: self._macs(d) for p, d in zip(self.ports, to, strict=True)})
        return pipe.forward({p: self.ports[d] for p, d in zip(self.ports, to, strict=True)})

    def _macs(self, destination: int) -> bytes:
        own = bytes.fromhex(self.ports[destination].mac.replace(":", ""))
        return bytes((2, 0, 0, 0, 0, destination & 0xFF)) + own

    def start(self) -> None:
        """Launches the loops."""
        self.running.start()

    def stop(self) -> None:
        """Stops the loops; what each had received is sent or dropped by name."""
        self.running.stop()

    def serve(self) -> None:
        """Lets ``veridnet rules watch`` see the rules' counters, until `close`.

        Where that cannot be, `warnings` says why.
        """
        if self.rules is not None:
            if warning := self.rules.serve("l2fwd", self.running.missed):
                self.warnings.append(warning)

    def close(self) -> None:
        """Frees the rules that came from a file. Only after `stop`; may be called twice."""
        if self.rules is not None:
            self.rules.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.close()

    def run(
        self,
        *,
        duration: float | None = None,
        until_idle: float | None = None,
        stop: Stop | None = None,
        tick: Callable[[L2fwd], None] | None = None,
        stats_period: float = 1.0,
    ) -> Result:
        """Forwards until something ends it, and returns the result.

        Parameters
        ----------
        duration
            Seconds, at most.
        until_idle
            End when nothing has been received for so many seconds.
        stop
            End when its ``is_set()`` is true: a threading.Event that another thread sets, or any
            flag that a signal handler sets. (It is never waited for: a handler that sets an Event
            in the thread that waits for it can hang.)
        tick
            Called every `stats_period` seconds.

        Without any of them it ends when the traces have ended and all is sent, or the count is
        reached; if there is neither a trace nor a count, never. A trace's end ends the run in
        any case, after `until_idle` where that is given.
        """
        self.start()
        try:
            reason = self.running.wait(
                duration=duration,
                until_idle=until_idle,
                stop=stop,
                tick=None if tick is None else lambda: tick(self),
                period=stats_period,
                look=None if self.rules is None else self.rules.look,
            )
        finally:
            self.stop()
        return self.result(reason)

    def snapshot(self) -> list[dict[str, Any]]:
        """The ports' counters now, one dict each."""
        return [{"name": p.name, "kind": p.kind, **p.counters()} for p in self.ports]

    def result(self, reason: str = "") -> Result:
        """What was done since the start."""
        totals = self.runtime.balance()
        ports = []
        for p in self.ports:
            entry: dict[str, Any] = {"index": p.index, "name": p.name, "kind": p.kind}
            entry |= p.counters()
            entry["details"] = dict(p.details)
            try:
                entry["mac"] = p.mac
                entry["max_frame"] = p.max_frame
                entry["pmd"] = p.pmd_stats()
            except VeridnetError:
                pass
            ports.append(entry)
        seconds = max(self.running.duration, 1e-9)
        tx_bytes = sum(p["tx_bytes"] for p in ports)
        stats = self.running.stats()
        bridges = self.running.bridges
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
                "balanced": totals.balanced,
                "rate": {
                    "rx_pps": totals.rx / seconds,
                    "tx_pps": totals.tx / seconds,
                    "tx_bps": tx_bytes * 8 / seconds,
                },
                "ended_by": reason,
                "mode": "bridge" if self.options.learn else "pairs",
                "bridge": bridges[0].counters() if bridges else {},
                "rules": self.rules and self.rules.report(self.running.missed()),
                "workers": stats.workers,
                "stages": stats.to_dict()["stages"],
                "lanes": stats.to_dict()["lanes"],
                "trace": self.running.trace().to_dict(),
                "memory": (memory := self.runtime.memory_report()),
                "memory_name": memory["name"],
                "dpdk": eal.version(),
                "warnings": self.warnings + [w for p in self.ports for w in p.warnings],
                "problems": [*self.runtime.problems, *(self.rules.problems if self.rules else ())],
            }
        )
