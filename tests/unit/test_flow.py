"""rte_flow on ports that are there: they refuse, each in its way."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import pytest

from veridnet._native import flow
from veridnet.errors import ConfigError, FlowError
from veridnet.rules.offload import Entry, Offloaded, RteFlow

PATTERN = [("eth", {}), ("ipv4", {}), ("udp", {"dst": (53, 0xFFFF, None)})]
DROP = [("drop", None)]
RULE = Entry(0, 0, 0, ({"ip_proto": (255, 17, 17), "l4_dst": (0xFFFF, 53, 53)},), ("drop",))


def test_names_are_those_of_dpdk() -> None:
    for name in flow.items():
        assert flow.item_name(name).lower() == name
    for name in flow.ACTIONS:
        assert flow.action_name(name).lower() == name


def test_bytes_are_the_headers() -> None:
    (_, spec, last, mask), *_ = flow.layout(
        [("udp", {"src": (1, 0xFFFF, None), "dst": (80, 0xFFFF, 90)})]
    )
    assert spec == bytes((0, 1, 0, 80, 0, 0, 0, 0))
    assert last == bytes((0, 1, 0, 90, 0, 0, 0, 0))  # as spec where there is no range
    assert mask == bytes((255, 255, 255, 255, 0, 0, 0, 0))
    assert flow.layout([("ipv4", {})])[0][1:] == (None, None, None)


def test_what_cannot_be_said_is_one_line() -> None:
    for pattern, what in (
        ([("gre", {})], "no flow item 'gre'; there are eth, "),
        ([("udp", {"port": (1, 1, None)})], "flow item udp has no field 'port'"),
        ([("udp", {"dst": (1 << 16, 0xFFFF, None)})], "dst: 65536 does not fit 16 bits"),
    ):
        with pytest.raises(ConfigError, match=what):
            flow.layout(pattern)


@pytest.mark.parametrize("kind", ["null", "ring"])
def test_ports_without_flows_refuse(runtime: Any, kind: str) -> None:
    port = runtime.add_port(kind)
    for ask in (flow.validate, flow.create):
        with pytest.raises(FlowError, match=r"the flow: Function not implemented$") as caught:
            ask(port, PATTERN, DROP)
        assert caught.value.errno == 38
    with pytest.raises(FlowError, match="cannot be isolated"):
        flow.isolate(port, True)
    with Offloaded([RULE], port, RteFlow(), trust_port=False, queues=1) as off:
        status = off.status()[0]
    assert status.where == "software"
    assert any("Function not implemented" in why for why in status.reasons)
    port.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="a tap needs root")
def test_tap_says_yes_and_then_no(runtime: Any) -> None:
    port = runtime.add_port("tap", iface="vnflow0")
    flow.validate(port, PATTERN, DROP)
    with contextlib.suppress(FlowError):  # where the kernel has no flower
        made = flow.create(port, PATTERN, DROP)
        made.destroy()
        made.destroy()
        assert not made.alive
    with Offloaded([RULE], port, RteFlow(), trust_port=False, queues=1) as off:
        assert off.status()[0].where in ("software", "port", "part")
    port.close()
