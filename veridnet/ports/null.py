"""net_null: receives frames of zeros at memory speed, and frees what is sent."""

from __future__ import annotations

from typing import Any

from veridnet.ports.base import Key, PortKind, PortPlan


class Null(PortKind):
    name = "null"
    driver = "net_null"
    summary = "a source of frames of zeros, and a sink: for measuring"
    keys = (
        Key("size", int, "bytes of a received frame", default=64, low=14, high=16384),
        Key("copy", bool, "copy each frame (touches its bytes)", default=False),
        Key("no_rx", bool, "receive nothing: only a sink", default=False, dpdk="no-rx"),
    )
    max_queues = 64

    def fill(self, plan: PortPlan, values: dict[str, Any]) -> None:
        plan.devargs = self.devargs(values, "size", "copy", "no_rx")
        # The driver sets the length and never asks whether it fits.
        plan.data_room = max(2048, values["size"])
