"""DPDK's l2fwd, and a learning bridge, over any ports."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from veridnet.apps.forwarding import App, Result, RunOptions
from veridnet.apps.rules_file import RulesFile
from veridnet.errors import ConfigError
from veridnet.pipeline import Pipeline
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
class L2fwdOptions(RunOptions):
    """How to forward; also what `RunOptions` has.

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
    age, stations
        Bridge: seconds after which a silent station is forgotten; room of the station table.
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
    age: float = 300.0
    stations: int = 8192
    rules: Any = None
    offload: bool = False
    flow_cache: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.age <= 1_000_000:
            raise ConfigError(f"age={self.age}: must be from 1 to 1000000 seconds")
        if not 8 <= self.stations <= 1 << 22:
            raise ConfigError(f"stations={self.stations}: must be from 8 to 4194304")
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


class L2fwd(App):
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
        super().__init__(runtime, ports)
        self.options = options or L2fwdOptions(**kwargs)
        o = self.options
        o.check([p.name for p in self.ports])
        self.rules = (
            RulesFile(o.rules, [p.name for p in self.ports]) if o.rules is not None else None
        )
        try:
            self.running = o.prepare(runtime, self._pipeline())
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

    def serve(self) -> None:
        """Lets ``veridnet rules watch`` see the rules' counters, until `close`.

        Where that cannot be, `warnings` says why.
        """
        if self.rules is not None and (w := self.rules.serve("l2fwd", self.running.missed)):
            self.warnings.append(w)

    def close(self) -> None:
        """Frees the rules that came from a file. Only after `stop`; may be called twice."""
        if self.rules is not None:
            self.rules.close()

    def look(self, now: float) -> None:
        """Reloads the rules' file when it has changed."""
        if self.rules is not None:
            self.rules.look(now)

    def problems(self) -> list[str]:
        """The runtime's, and reloads that failed."""
        return [*super().problems(), *(self.rules.problems if self.rules else ())]

    def result(self, reason: str = "") -> Result:
        """What was done since the start."""
        data = super().result(reason).to_dict()
        data["mode"] = "bridge" if self.options.learn else "pairs"
        data["rules"] = self.rules and self.rules.report(self.running.missed())
        return Result(data)
