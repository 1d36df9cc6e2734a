"""What more cores would do: a cost model fed with measured cycles, and a simulation of queues.

The model takes a pipeline's costs as they were measured on one worker (`Costs`), and gives the
rate that N workers and M ports would reach (`predict`). It knows what bounds a forwarder: cycles
of each segment, how unevenly flows fall on queues, the ports' line rates, and what workers take
from each other. `simulate` is a worker's receive ring in discrete time: loss and waiting at a load.

What it does not know: caches that more flows no longer fit in, memory bandwidth, and PCIe.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from veridnet.errors import ConfigError

#: Bytes on the wire besides the frame: FCS, preamble, start of frame, inter-frame gap.
WIRE_EXTRA = 24
#: TSC cycles that a hop through a ring costs each side for a packet, in bursts of 32, where none
#: were measured (`veridnet ring bench`).
RING_CYCLES = 12.0
#: Workers, ports, queues and flows that a question may have.
MOST = 1 << 32


@dataclass(frozen=True)
class Costs:
    """What packets cost one worker, in TSC cycles.

    Attributes
    ----------
    total
        A packet, from receiving to sending, all in: the rate's inverse when the worker is busy.
    stages
        (name, cycles a packet) of the stages, as sampled; the rest of `total` is receiving,
        sending and the loop.
    hz
        Cycles a second.
    per_burst
        The part of a burst's cost that does not depend on its size.
    crosstalk
        The fraction of its rate that each further worker takes from a worker: 0 if they share
        nothing. Two measured rates give it (`with_crosstalk`).
    """

    total: float
    hz: float
    stages: tuple[tuple[str, float], ...] = ()
    per_burst: float = 0.0
    crosstalk: float = 0.0

    def __post_init__(self) -> None:
        if not (
            0 < self.total < math.inf and 0 < self.hz < math.inf
            and self.per_burst >= 0 and self.crosstalk >= 0
        ):  # fmt: skip
            raise ConfigError(f"costs are above 0: {self}")

    @classmethod
    def from_result(cls, result: Mapping[str, Any], hz: float) -> Costs:
        """From what ``veridnet l2fwd --json`` (or run) printed.

        ConfigError unless its workers were busy: a forwarder that waits for packets tells nothing
        of its limit.
        """
        try:
            return cls._from_result(result, hz)
        except ConfigError:
            raise  # is a ValueError, too
        except (KeyError, TypeError, ValueError, ArithmeticError) as e:
            raise ConfigError(f"this is no result of a run: {type(e).__name__}: {e}",
                              hint="veridnet l2fwd ... --json >result.json") from None  # fmt: skip

    @classmethod
    def _from_result(cls, result: Mapping[str, Any], hz: float) -> Costs:
        workers = result["workers"]
        busy = sum(w["busy_passes"] for w in workers) / max(1, sum(w["passes"] for w in workers))
        packets, seconds = result["rx_packets"], result["duration_s"]
        stages = result["stages"]
        if packets < 100_000 or busy < 0.9:
            why = (
                f"{packets:,} packets are too few"
                if packets < 100_000
                else f"the workers were busy in {busy:.0%} of their passes only"
            )
            raise ConfigError(
                f"{why}: that says nothing of what they could do",
                hint="measure under full load: null or ring ports, or a generator that is faster",
            )
        serving = sum(1 for w in workers if w["busy_passes"])
        timed: dict[int, list[float]] = {}
        names = {}
        for s in stages:
            entry = timed.setdefault(s["stage"], [0.0, 0.0])
            entry[0] += s["timed_cycles"]
            entry[1] += s["timed_packets"]
            names[s["stage"]] = s["kind"]
        return cls(
            total=hz * seconds * serving / packets,
            hz=hz,
            stages=tuple((names[k], c / n) for k, (c, n) in sorted(timed.items()) if n),
        )

    def with_crosstalk(self, workers: int, mpps: float) -> Costs:
        """Fitted to the rate of so many workers, besides that of one."""
        if workers < 2:
            raise ConfigError("crosstalk shows between two workers")
        alone = self.hz / self.total / 1e6
        lost = max(0.0, 1 - mpps / (workers * alone))
        return replace(self, crosstalk=lost / (workers - 1))


@dataclass(frozen=True)
class Prediction:
    """What so many workers and ports do.

    `bound`: "cores", "line rate", "receiver" or "stages after a handoff". `utilization`: of a
    worker, at that rate.
    """

    workers: int
    ports: int
    mpps: float
    bound: str
    utilization: float
    share: float  # of the busiest queue

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return dict(self.__dict__)


def line_rate(bits: float, size: int) -> float:
    """Packets a second of a link, for frames of `size` bytes (with FCS)."""
    return bits / 8 / (size + WIRE_EXTRA - 4)


def busiest_share(queues: int, flows: int | None) -> float:
    """The expected share of packets on the busiest of `queues`, if equal flows fall at random.

    1 / queues for many flows. (Balls into bins: the mean, and about sqrt(2 ln q) deviations.)
    """
    if queues <= 1:
        return 1.0
    if flows is None:
        return 1.0 / queues
    mean = flows / queues
    most = mean + math.sqrt(2 * mean * math.log(queues) * (1 - 1 / queues))
    return min(1.0, max(1.0 / flows, most / flows))


def predict(
    costs: Costs,
    workers: int,
    ports: int,
    *,
    queues: int | None = None,
    line: float | None = None,
    size: int = 64,
    flows: int | None = None,
    distribute: bool = False,
    handoff: float | None = None,
    ring_cycles: float = RING_CYCLES,
) -> Prediction:
    """The rate of so many workers, all ports summed.

    Parameters
    ----------
    queues
        Receive queues in all; one for each worker where not given.
    line, size
        Bits a second of each port, and bytes of a frame with FCS; None: no bound.
    flows
        Equal flows that fall on the queues by their hash; None: as many as it takes.
    distribute
        One worker receives and deals flows out to the others by rings.
    handoff
        The fraction of `total` that is done after a handoff, by half of the workers.
    """
    if workers < 1 or ports < 1:
        raise ConfigError("at least one worker and one port")
    if max(workers, ports, queues or 1, flows or 1) > MOST:
        raise ConfigError(f"workers, ports, queues and flows: at most {MOST:,} each")
    if (queues is not None and queues < 1) or (flows is not None and flows < 1):
        raise ConfigError(f"queues={queues}, flows={flows}: at least one of each")
    if size < 1:
        raise ConfigError(f"size={size}: bytes of a frame, at least 1")
    each = costs.hz / costs.total
    slowed = 1 / (1 + costs.crosstalk * (workers - 1)) if costs.crosstalk else 1.0
    queues = workers if queues is None else queues
    serving = min(workers, queues)
    if distribute and workers > 1:
        own = sum(c for _, c in costs.stages)
        io = max(costs.total - own, costs.total * 0.1)
        dealt = costs.hz / (io / 2 + ring_cycles + RING_CYCLES)  # receive, hash, put
        rest = (workers - 1) * costs.hz / (own + io / 2 + ring_cycles)
        share = busiest_share(workers - 1, flows)
        rest *= 1 / (share * (workers - 1))
        rate, bound = min((dealt, "receiver"), (rest, "cores"))
        rate *= slowed
    elif handoff is not None and workers > 1:
        first = max(1, workers - workers // 2)
        before = first * costs.hz / (costs.total * (1 - handoff) + ring_cycles)
        after = (workers - first) * costs.hz / (costs.total * handoff + ring_cycles)
        share = 1 / first
        rate, bound = min((before, "cores"), (after, "stages after a handoff"))
        rate *= slowed
    else:
        share = busiest_share(queues, flows)
        # Whoever has the busiest queue is full first.
        per_worker = share * math.ceil(queues / serving)
        rate, bound = each * slowed / max(per_worker, 1 / serving), "cores"
    if line is not None and (limit := ports * line_rate(line, size)) < rate:
        used = limit / rate
        return Prediction(workers, ports, limit / 1e6, "line rate", used, share)
    return Prediction(workers, ports, rate / 1e6, bound, 1.0, share)


@dataclass(frozen=True)
class Queueing:
    """A worker's queue at a load: loss (a fraction), waiting times in us, mean burst."""

    load: float
    loss: float
    mean_us: float
    p99_us: float
    burst: float

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return dict(self.__dict__)


def simulate(
    costs: Costs,
    load: float,
    *,
    ring: int = 1024,
    burst: int = 32,
    packets: int = 200_000,
    poisson: bool = True,
    seed: int = 1,
) -> Queueing:
    """A receive ring that one worker polls, packet by packet, at a load.

    A poll takes up to `burst` packets, and its cost is `per_burst` and the rest by packet.
    Arrivals are Poisson, or evenly spaced. What finds the ring full is lost.
    """
    if not 0 < load <= 4 or ring < 1 or burst < 1 or packets < 100:
        raise ConfigError("load in (0, 4], ring and burst from 1, packets from 100")
    each = costs.total / costs.hz
    fixed = costs.per_burst / costs.hz
    slope = max(each - fixed / burst, each * 0.01)
    gap = each / load
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(gap, packets) if poisson else np.full(packets, gap)
    arrivals = np.cumsum(gaps)
    waits = np.empty(packets)
    waiting: list[float] = []  # arrival times of what is in the ring, oldest first
    head = done = lost = at = polls = 0
    now = 0.0
    times = arrivals.tolist()
    while done + lost < packets:
        while at < packets and times[at] <= now:
            if len(waiting) - head < ring:
                waiting.append(times[at])
            else:
                lost += 1
            at += 1
        here = min(burst, len(waiting) - head)
        if here == 0:
            if at >= packets:
                break
            now = times[at]
            continue
        end = now + fixed + slope * here
        for i in range(head, head + here):
            waits[done] = end - waiting[i]
            done += 1
        head += here
        polls += 1
        if head > 65536:
            del waiting[:head]
            head = 0
        now = end
    kept = waits[:done] * 1e6
    return Queueing(load, lost / packets, float(kept.mean()), float(np.percentile(kept, 99)),
                    done / max(1, polls))  # fmt: skip


def table(costs: Costs, workers: Sequence[int], ports: int, **options: Any) -> list[Prediction]:
    """Predictions for several numbers of workers."""
    return [predict(costs, n, ports, **options) for n in workers]
