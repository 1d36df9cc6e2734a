"""`Plan`: which worker does what, and why. Drawn by `veridnet.pipeline.draw`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from veridnet.pipeline.pipeline import Numbered, Pipeline
from veridnet.pipeline.stages import name_of


@dataclass(frozen=True)
class Lane:
    """Where a worker's packets come from: a port's receive queue, or a ring."""

    source: Any  # Port, Ring, or the Link's number
    queue: int = 0

    @property
    def text(self) -> str:
        if isinstance(self.source, int):
            return f"ring of link {self.source}"
        return name_of(self.source) + (f" queue {self.queue}" if self.is_port else " (ring)")

    @property
    def is_port(self) -> bool:
        """Is it a port's queue?"""
        return hasattr(self.source, "n_rx_queues")


@dataclass(frozen=True)
class WorkerPlan:
    """One lcore."""

    number: int
    lcore: int
    cpu: int
    segment: int
    lanes: tuple[Lane, ...]
    why: str = ""


@dataclass(frozen=True)
class Link:
    """Rings from the workers of a segment to those of the next, one for each of these."""

    number: int
    size: int
    full: str
    producers: tuple[int, ...]
    consumers: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """What will run where. Printed, it is a table.

    Attributes
    ----------
    segments
        The pipeline's stages, cut at handoffs.
    workers, links
        In order of their numbers.
    notes
        What was decided, and why.
    """

    pipeline: Pipeline
    segments: tuple[tuple[Numbered, ...], ...]
    workers: tuple[WorkerPlan, ...]
    links: tuple[Link, ...]
    notes: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain JSON types."""
        return {
            "stages": [
                {"stage": n.number, "kind": n.stage.kind, "text": n.stage.text,
                 "branch": list(n.path), "segment": k, "python": n.stage.python}
                for k, segment in enumerate(self.segments) for x in segment for n in x.walk()
            ],
            "workers": [
                {"worker": w.number, "lcore": w.lcore, "cpu": w.cpu, "segment": w.segment,
                 "from": [lane.text for lane in w.lanes], "why": w.why}
                for w in self.workers
            ],
            "links": [
                {"link": x.number, "ring": x.size, "full": x.full, "from": list(x.producers),
                 "to": list(x.consumers)}
                for x in self.links
            ],
            "notes": list(self.notes),
        }  # fmt: skip

    def to_mermaid(self) -> str:
        """The plan as a Mermaid flowchart: GitHub and most editors draw it."""
        from veridnet.pipeline import draw

        return draw.mermaid(self)

    def to_graphviz(self) -> str:
        """The plan in Graphviz' language: ``dot -Tsvg``."""
        from veridnet.pipeline import draw

        return draw.graphviz(self)

    def __str__(self) -> str:
        from veridnet.pipeline import draw

        return draw.table(self)

    __repr__ = __str__
