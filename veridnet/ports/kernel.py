"""Ports on the Linux stack: tap, af_packet, af_xdp."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from veridnet import netdev
from veridnet.errors import ConfigError, PortError
from veridnet.ports.base import ETH_HEADER, ETH_VLAN_HEADER, Key, PortKind, PortPlan

if TYPE_CHECKING:
    from veridnet.runtime import Port

CAP_NET_ADMIN, CAP_NET_RAW, CAP_IPC_LOCK, CAP_SYS_ADMIN = 12, 13, 14, 21


def has_capability(bit: int) -> bool:
    """Is the capability effective (capabilities(7))? By capget(2): /proc may be hidden."""
    header = struct.pack("Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    data = ctypes.create_string_buffer(24)
    if ctypes.CDLL(None).capget(header, data):
        return False
    low, _, _, high, _, _ = struct.unpack("6I", data.raw)
    return bool((low | high << 32) >> bit & 1)


def need_capability(kind: str, bit: int, name: str) -> None:
    """PortError unless the process has it."""
    if not has_capability(bit):
        raise PortError(
            f"{kind}: needs the capability {name}",
            hint='run it with sudo; see dpdk-config/host-setup.md, "Rights without root"',
        )


OFFLOADS_KEY = Key(
    "offloads",
    str,
    "off: turn off the interface's offloads that spoil raw frames, until the port closes",
    default="keep",
    choices=("keep", "off"),
)


def check_offloads(
    plan: PortPlan, dev: netdev.Netdev, values: dict[str, Any], spoiling: tuple[str, ...]
) -> None:
    """Turns spoiling offloads off if asked, else warns."""
    on = [o for o in dev.offloads if o in spoiling]
    if values["offloads"] == "off":
        done = netdev.offloads_off(dev.name, spoiling)
        if done:
            plan.resources.callback(netdev.offloads_on, dev.name, done)
            plan.details["offloads_turned_off"] = done
            if dev.driver == "veth":
                plan.warnings.append(
                    f"{dev.name}: offloads are off on this end of the veth pair; its other end "
                    f"needs the same: {netdev.ethtool_command('PEER', spoiling)}"
                )
    elif on:
        tags = " or lose their VLAN tags" if {"txvlan", "rxvlan"} & {*on} else ""
        plan.warnings.append(
            f"{dev.name}: offloads are on ({', '.join(on)}): frames may carry wrong checksums, be "
            f"joined{tags}, and TCP fails; mend: "
            f"{netdev.ethtool_command(dev.name, on)}{dev.peer_hint}, or offloads=off"
        )


def keep_promiscuous(plan: PortPlan, dev: netdev.Netdev) -> None:
    """Puts the flag back when the port has gone: the driver sets or clears it, and leaves it."""
    plan.resources.callback(quietly, netdev.set_promiscuous, dev.name, dev.promiscuous)


class Tap(PortKind):
    name = "tap"
    driver = "net_tap"
    summary = "a new interface of the Linux stack; the port is its other end"
    keys = (
        Key("iface", str, "name of the interface that is made (dtapN if not given)"),
        Key("remote", str, "kernel interface whose traffic is redirected here (needs tc)"),
        Key("persist", bool, "leave the interface behind", default=False),
    )
    unprivileged = False
    max_queues = 16

    def fill(self, plan: PortPlan, values: dict[str, Any]) -> None:
        need_capability("tap", CAP_NET_ADMIN, "cap_net_admin")
        if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            raise PortError("tap: /dev/net/tun is missing or not accessible",
                            hint="sudo modprobe tun")  # fmt: skip
        iface = values["iface"]
        if iface is not None:
            check_iface_name(iface)
            if iface in netdev.names():
                ours = netdev.get(iface).driver == "tun"
                raise PortError(
                    f"tap: an interface {iface!r} exists already",
                    hint=f"ip link del {iface}" if ours else "choose another name",
                )
        plan.devargs = self.devargs(values, "iface", "remote", "mac")
        if values["persist"]:
            plan.devargs["persist"] = ""
        plan.mac = None  # the driver gives it to the interface as well
        plan.interrupts = True
        # The driver holds one mbuf for each rx descriptor.
        plan.rx_desc = 256
        plan.scatter = True
        # Its own bound: MTU, header, FCS and one tag.
        plan.max_frame = lambda port: port.mtu + ETH_HEADER + 8
        plan.details["iface"] = iface
        if iface is None:
            plan.on_made = name_interface


def name_interface(port: Port) -> None:
    """Tells the name that the driver chose for the port's interface."""
    with contextlib.suppress(OSError):
        port.details["iface"] = socket.if_indextoname(port.info()["if_index"])


def quietly(function: Callable[..., object], *args: object) -> None:
    """Puts an interface back as it was; it may have gone."""
    with contextlib.suppress(PortError, OSError):
        function(*args)


def check_iface_name(name: str) -> None:
    """ConfigError unless the kernel takes the name."""
    if (
        not 1 <= len(name.encode()) <= 15
        or any(c in "/:%" or c.isspace() for c in name)
        or name in (".", "..")
    ):
        raise ConfigError(f"{name!r} is no interface name (at most 15 bytes, no / : % or spaces)")


def check_up(kind: str, dev: netdev.Netdev) -> None:
    """PortError unless the interface carries Ethernet and is up."""
    if not dev.ethernet and dev.name != "lo":
        raise PortError(f"{kind}: {dev.name} is not an Ethernet interface")
    if not dev.up:
        raise PortError(f"{kind}: {dev.name} is down", hint=f"ip link set {dev.name} up")


class AfPacket(PortKind):
    name = "af_packet"
    driver = "net_af_packet"
    summary = "an existing interface, by AF_PACKET with mapped rings"
    keys = (
        Key("iface", str, "the interface"),
        OFFLOADS_KEY,
        Key("framesz", int, "bytes of a ring slot; fitted to the MTU if not given",
            low=256, high=32768),
        Key("blocksz", int, "bytes of a ring block; fitted if not given", low=4096, high=1 << 22),
        Key("framecnt", int, "slots of a ring", default=512, low=16, high=65536),
        Key("qdisc_bypass", bool, "send past the interface's queueing discipline",
            default=False),
    )  # fmt: skip
    unprivileged = False
    max_queues = 16

    # What the kernel puts before a frame in a slot: TPACKET2_HDRLEN and its alignment.
    SLOT_OVERHEAD = 128
    # What one mbuf can take of a slot, as a power of two.
    LARGEST_SLOT = 32768

    def fill(self, plan: PortPlan, values: dict[str, Any]) -> None:
        if not values["iface"]:
            raise ConfigError("af_packet: give iface=NAME")
        need_capability("af_packet", CAP_NET_RAW, "cap_net_raw")
        need_capability("af_packet", CAP_NET_ADMIN, "cap_net_admin")
        dev = netdev.get(values["iface"])
        check_up("af_packet", dev)
        mtu = values["mtu"] or dev.mtu
        need = mtu + ETH_VLAN_HEADER + 4 + self.SLOT_OVERHEAD
        if need > self.LARGEST_SLOT:
            raise PortError(
                f"af_packet: {dev.name} has an MTU of {mtu}; a slot holds at most "
                f"{self.LARGEST_SLOT - ETH_VLAN_HEADER - 4 - self.SLOT_OVERHEAD}",
                hint=f"ip link set {dev.name} mtu 9000",
            )
        fitted = min(max(2048, 1 << (need - 1).bit_length()), self.LARGEST_SLOT)
        framesz = values["framesz"] or fitted
        if framesz < need:
            raise ConfigError(
                f"af_packet: framesz={framesz} would cut the frames of {dev.name} (MTU {mtu})",
                hint=f"framesz={fitted}, or leave it out",
            )
        blocksz = values["blocksz"] or max(4096, framesz)
        if blocksz % 4096 or blocksz % framesz:
            raise ConfigError(
                f"af_packet: blocksz={blocksz} must be a multiple of 4096 and of framesz={framesz}"
            )
        per_block = blocksz // framesz
        if values["framecnt"] % per_block:
            raise ConfigError(
                f"af_packet: framecnt={values['framecnt']} must be a multiple of {per_block} "
                f"(slots of a block)"
            )
        check_offloads(plan, dev, values, netdev.SPOILING)
        keep_promiscuous(plan, dev)
        plan.devargs = {
            "iface": dev.name,
            "framesz": str(framesz),
            "blocksz": str(blocksz),
            "framecnt": str(values["framecnt"]),
            "qpairs": str(values["queues"]),
        }
        if values["qdisc_bypass"]:
            plan.devargs["qdisc_bypass"] = "1"
        # The driver copies a whole slot into one mbuf, whatever the mbuf's size.
        plan.data_room = max(2048, framesz)
        # The kernel refuses a longer frame and then stalls the ring; a tag may come on top.
        plan.max_frame = lambda port: port.mtu + ETH_HEADER
        plan.vlan_extra = True
        plan.iface_mtu = mtu
        plan.mtu = None  # DPDK believes 1,500 of every one, and refuses more
        if mtu != dev.mtu:
            netdev.set_mtu(dev.name, mtu)
            plan.resources.callback(quietly, netdev.set_mtu, dev.name, dev.mtu)
        plan.details["iface"] = dev.name


class AfXdp(PortKind):
    name = "af_xdp"
    driver = "net_af_xdp"
    summary = "an existing interface, by AF_XDP sockets"
    keys = (
        Key("iface", str, "the interface"),
        OFFLOADS_KEY,
        Key("start_queue", int, "first of the interface's queues", default=0, low=0, high=1023),
        Key("force_copy", bool, "copy mode even where zero copy is possible", default=False),
        Key("busy_budget", int, "busy-poll budget; 0 for none", low=0, high=65535),
        Key("xdp_prog", str, "XDP program to load instead of the default"),
    )
    unprivileged = False
    max_queues = 64

    def fill(self, plan: PortPlan, values: dict[str, Any]) -> None:
        if not values["iface"]:
            raise ConfigError("af_xdp: give iface=NAME")
        for bit, name in (
            (CAP_NET_ADMIN, "cap_net_admin"), (CAP_NET_RAW, "cap_net_raw"),
            (CAP_SYS_ADMIN, "cap_sys_admin"), (CAP_IPC_LOCK, "cap_ipc_lock"),
        ):  # fmt: skip
            need_capability("af_xdp", bit, name)
        dev = netdev.get(values["iface"])
        check_up("af_xdp", dev)
        have = netdev.rx_queues(dev.name)
        if values["start_queue"] + values["queues"] > have:
            raise ConfigError(
                f"af_xdp: {dev.name} has {have} rx queue(s); queues={values['queues']} from "
                f"start_queue={values['start_queue']} do not fit"
            )
        quiet_libraries()
        # A second one would take the first one's XDP program away, and then fail. The lock is
        # this network namespace's, and dies with the process.
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        plan.resources.callback(lock.close)
        try:
            lock.bind(f"\0veridnet-af_xdp-{socket.if_nametoindex(dev.name)}")
        except OSError:
            raise PortError(f"af_xdp: another port or process uses {dev.name}") from None
        check_offloads(plan, dev, values, netdev.SPOILING_XDP)
        keep_promiscuous(plan, dev)
        plan.devargs = self.devargs(
            values, "iface", "start_queue", "force_copy", "busy_budget", "xdp_prog"
        )
        plan.devargs["queue_count"] = str(values["queues"])
        # Its umem is the first chunk of its rx pool, of 2,048-byte frames: a pool of its own.
        plan.own_pool = 16384 * values["queues"]
        plan.residue = True
        plan.data_room = 2048
        plan.rx_desc = plan.tx_desc = 2048
        # Reads one segment of its own pool or copies the first segment of any other.
        plan.direct = True
        plan.max_frame = lambda port: min(port_limit(port), port.mtu + ETH_VLAN_HEADER, 2048)
        plan.details["iface"] = dev.name
        plan.iface_mtu = values["mtu"] or dev.mtu
        plan.mtu = None
        if plan.iface_mtu != dev.mtu:
            netdev.set_mtu(dev.name, plan.iface_mtu)
            plan.resources.callback(quietly, netdev.set_mtu, dev.name, dev.mtu)
        if plan.iface_mtu + ETH_VLAN_HEADER > 2048:
            plan.warnings.append(
                f"{dev.name}: its MTU is {plan.iface_mtu}, af_xdp takes frames of at most 2,048 "
                f"bytes; longer ones are dropped (ip link set {dev.name} mtu 1500)"
            )


def quiet_libraries() -> None:
    """libbpf and libxdp, which the driver has loaded, print to stderr unless told not to."""
    for library, function in (
        ("libbpf.so.1", "libbpf_set_print"),
        ("libxdp.so.1", "libxdp_set_print"),
    ):
        with contextlib.suppress(OSError, AttributeError):
            getattr(ctypes.CDLL(library, mode=os.RTLD_NOLOAD | os.RTLD_NOW), function)(None)


def port_limit(port: Port) -> int:
    """The longest frame that the driver says it takes."""
    return int(port.info()["max_rx_pktlen"])
