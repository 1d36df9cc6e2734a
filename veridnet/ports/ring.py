"""net_ring: what is sent to the port is received from it, through an rte_ring in memory."""

from __future__ import annotations

from typing import Any

from veridnet.ports.base import PortKind, PortPlan


class Ring(PortKind):
    name = "ring"
    driver = "net_ring"
    summary = "a loop in memory: what is sent to it is received from it"
    max_queues = 16

    def fill(self, plan: PortPlan, values: dict[str, Any]) -> None:
        plan.marks = True
