"""`Stats`: what a pipeline did, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from veridnet.texts import table

if TYPE_CHECKING:
    import pandas

#: Bursts of how many packets a column of the histogram counts.
BURST_SIZES = ("1", "2-3", "4-7", "8-15", "16-31", "32-63", "64-127", "128-255", "256-511", "512")

STAGE_DTYPE = np.dtype(
    [("worker", np.int32), ("stage", np.int32), ("bursts", np.uint64), ("packets_in", np.uint64),
     ("packets_out", np.uint64), ("copies", np.uint64), ("dropped", np.uint64),
     ("timed_packets", np.uint64), ("timed_cycles", np.uint64),
     ("cycles_per_packet", np.float64)]
)  # fmt: skip
LANE_DTYPE = np.dtype(
    [("worker", np.int32), ("lane", np.int32), ("packets", np.uint64),
     ("cycles_per_packet", np.float64), ("ring", np.int64), ("bursts", np.uint64, (10,))]
)  # fmt: skip


@dataclass(frozen=True)
class Stats:
    """What was counted until now; packets, TSC cycles. One burst in 16 is timed.

    Attributes
    ----------
    stages
        Structured array, a row for each stage of each worker (`STAGE_DTYPE`). Packets that go on
        are `packets_out`; the others were sent, dropped (`drops`), or went into a branch or ring.
        `cycles_per_packet` is what was measured, nan before the first timed burst; a stage with
        branches has theirs in it.
    lanes
        Structured array, a row for each source of packets of each worker: packets, cycles a
        packet from receiving to sending, how many packets its ring holds now (-1: it is no ring),
        and how many bursts had 1, 2-3, 4-7, ... 512 packets (`BURST_SIZES`).
    names
        Stage number -> (kind, what it does).
    drops
        Stage number -> reason -> packets.
    workers
        A dict each: lcore, cpu, passes, busy_passes, sleeps.
    """

    stages: NDArray[Any]
    lanes: NDArray[Any]
    names: dict[int, tuple[str, str]]
    drops: dict[int, dict[str, int]]
    workers: list[dict[str, Any]]
    sources: list[str] = field(default_factory=list)

    def by_stage(self) -> NDArray[Any]:
        """The stages, all workers' together."""
        numbers = sorted(set(self.stages["stage"].tolist()))
        out = np.zeros(len(numbers), STAGE_DTYPE)
        for row, number in zip(out, numbers, strict=True):
            mine = self.stages[self.stages["stage"] == number]
            row["worker"], row["stage"] = -1, number
            for name in ("bursts", "packets_in", "packets_out", "copies", "dropped",
                         "timed_packets", "timed_cycles"):  # fmt: skip
                row[name] = mine[name].sum()
            row["cycles_per_packet"] = ratio(row["timed_cycles"], row["timed_packets"])
        return out

    def to_numpy(self) -> NDArray[Any]:
        """The stages."""
        return self.stages.copy()

    def to_pandas(self) -> pandas.DataFrame:
        """The stages as a DataFrame, with their kinds. Needs pandas."""
        import pandas

        frame = pandas.DataFrame(self.stages)
        frame.insert(2, "kind", [self.names[n][0] for n in self.stages["stage"].tolist()])
        return frame

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON types."""
        stages = []
        for row in self.stages:
            entry: dict[str, Any] = {name: row[name].item() for name in STAGE_DTYPE.names or ()}
            if entry["cycles_per_packet"] != entry["cycles_per_packet"]:
                entry["cycles_per_packet"] = None
            entry["kind"] = self.names[entry["stage"]][0]
            stages.append(entry)
        lanes = []
        for source, row in zip(self.sources, self.lanes, strict=True):
            cost = row["cycles_per_packet"].item()
            lanes.append({
                "from": source, "worker": row["worker"].item(), "packets": row["packets"].item(),
                "cycles_per_packet": None if cost != cost else cost, "ring": row["ring"].item(),
                "bursts": dict(zip(BURST_SIZES, row["bursts"].tolist(), strict=True)),
            })  # fmt: skip
        return {
            "stages": stages, "lanes": lanes, "workers": self.workers,
            "drops": {self.names[n][0] + f" #{n}": d for n, d in self.drops.items()},
        }  # fmt: skip

    def __str__(self) -> str:
        rows = []
        for row in self.by_stage():
            number = int(row["stage"])
            kind, text = self.names[number]
            if number == max(self.names) and not row["packets_in"] and not row["dropped"]:
                continue  # nothing reached the end
            lost = ", ".join(f"{n:,} {r}" for r, n in self.drops.get(number, {}).items())
            cost = row["cycles_per_packet"]
            rows.append([
                str(number), kind, text[:40], f"{row['packets_in']:,}", f"{row['packets_out']:,}",
                "-" if cost != cost else f"{cost:.1f}", lost or "-",
            ])  # fmt: skip
        return table(["#", "stage", "", "in", "on", "cycles/packet", "drops"], rows)

    __repr__ = __str__


def ratio(a: Any, b: Any) -> float:
    """a / b, nan where b is 0."""
    return float(a) / float(b) if b else float("nan")


def collect(
    stages: Sequence[dict[str, Any]], lanes: Sequence[dict[str, Any]]
) -> tuple[NDArray[Any], NDArray[Any], dict[int, dict[str, int]]]:
    """The native counters as arrays, and drops by stage."""
    stages = sorted(stages, key=lambda s: (s["worker"], s["stage"]))
    out = np.zeros(len(stages), STAGE_DTYPE)
    drops: dict[int, dict[str, int]] = {}
    for row, s in zip(out, stages, strict=True):
        lost = sum(s["drops"].values())
        row["worker"], row["stage"], row["bursts"] = s["worker"], s["stage"], s["bursts"]
        row["packets_in"], row["packets_out"] = s["in"], s["out"]
        row["copies"], row["dropped"] = s["copies"], lost
        row["timed_packets"], row["timed_cycles"] = s["timed"], s["cycles"]
        row["cycles_per_packet"] = ratio(s["cycles"], s["timed"])
        mine = drops.setdefault(s["stage"], {})
        for reason, n in s["drops"].items():
            mine[reason] = mine.get(reason, 0) + n
    out.sort(order=["worker", "stage"])
    sources = np.zeros(len(lanes), LANE_DTYPE)
    for row, s in zip(sources, lanes, strict=True):
        row["worker"], row["lane"], row["packets"] = s["worker"], s["lane"], s["packets"]
        row["cycles_per_packet"] = ratio(s["cycles"], s["timed"])
        row["ring"] = -1 if s["ring"] is None else s["ring"]
        row["bursts"] = s["bursts"]
    return out, sources, {n: d for n, d in drops.items() if d}
