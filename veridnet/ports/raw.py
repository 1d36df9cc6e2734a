"""Ports by DPDK's own words: a PCI address, or the device arguments of any virtual driver."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from veridnet.errors import ConfigError, PortError
from veridnet.ports.base import ETH_VLAN_HEADER, Key, PortKind, PortPlan
from veridnet.ports.memif import one_buffer_a_frame

PCI_ADDRESS = re.compile(r"(?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]")
SYS_PCI = Path("/sys/bus/pci/devices")

#: Kernel drivers through which DPDK reaches a NIC that stays bound to them.
BIFURCATED = ("mlx4_core", "mlx5_core", "mana")
USER_DRIVERS = ("vfio-pci", "uio_pci_generic", "igb_uio")


class Pci(PortKind):
    name = "pci"
    driver = "pci"
    summary = "a NIC, by its PCI address (0000:03:00.0)"
    keys = (
        Key("address", str, "its PCI address"),
        Key("devargs", str, "further device arguments of its driver, key=value,...; put it last"),
    )
    unprivileged = False
    max_queues = 64
    bus = "pci"

    def fill(self, plan: PortPlan, values: dict[str, Any]) -> None:
        address = values["address"] or ""
        if not PCI_ADDRESS.fullmatch(address):
            raise ConfigError(f"{address!r} is no PCI address (0000:03:00.0)")
        if address.count(":") == 1:
            address = "0000:" + address
        device = SYS_PCI / address.lower()
        if not device.exists():
            raise PortError(
                f"there is no PCI device {address}", hint="veridnet ports, or dpdk-devbind.py -s"
            )
        link = device / "driver"
        bound = os.path.basename(os.path.realpath(link)) if link.exists() else ""
        if bound not in USER_DRIVERS + BIFURCATED:
            raise PortError(
                f"{address} is bound to {bound or 'no driver'}, DPDK cannot reach it",
                hint=f"if the machine itself does not need it: sudo modprobe vfio-pci; "
                f"sudo dpdk-devbind.py --bind=vfio-pci {address}",
            )
        plan.device = address
        if values["devargs"]:
            plan.raw_args = values["devargs"]
        plan.needs_hugepages = True
        plan.scatter = True
        plan.max_frame = lambda port: port.mtu + ETH_VLAN_HEADER
        plan.details["pci"] = address


class Vdev(PortKind):
    """Any virtual driver, its arguments passed on as they are."""

    name = "vdev"
    driver = "vdev"
    summary = "any virtual driver of DPDK, by its own device arguments"
    keys = (
        Key("device", str, "driver and number: net_virtio_user0"),
        Key("devargs", str, "its arguments, key=value,...; put it last"),
    )
    max_queues = 64

    def fill(self, plan: PortPlan, values: dict[str, Any]) -> None:
        device = values["device"] or ""
        if not re.fullmatch(r"[a-z][a-z0-9_]*", device) or len(device) > 60:
            raise ConfigError(f"{device!r} is no device name (net_virtio_user0)")
        if not device.startswith(("net_", "eth_", "virtio_user")):
            raise ConfigError(f"{device!r} is no network device: its name begins with net_")
        plan.device = device
        if device.startswith("net_memif"):
            plan.guarded = True
            given = re.search(r"(?:^|,)bsize=(\d{1,5})(?:,|$)", values["devargs"] or "")
            one_buffer_a_frame(plan, min(int(given[1]), 65407) if given else 2048)
        if values["devargs"]:
            plan.raw_args = values["devargs"]
        plan.hugepages_if_any = True  # virtio-user and vhost share them by file descriptor
        plan.scatter = True
