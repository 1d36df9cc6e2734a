"""The kernel's network interfaces: what af_packet and af_xdp ports stand on, and doctor reports.

All is read and set by ioctls (netdevice(7), linux/ethtool.h), which ask the network namespace that
the process is in. /sys/class/net is that of whoever mounted it: another one's, under nsenter --net.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from veridnet.errors import PortError

SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914
SIOCGIFMTU, SIOCSIFMTU = 0x8921, 0x8922
SIOCGIFHWADDR = 0x8927
SIOCETHTOOL = 0x8946
IFF_UP, IFF_PROMISC = 0x1, 0x100
ARPHRD_ETHER = 1
ETHTOOL_GSET, ETHTOOL_GDRVINFO, ETHTOOL_GCHANNELS = 0x01, 0x03, 0x3C

# Offload, by `ethtool -K`'s name -> (ETHTOOL_G..., ETHTOOL_S..., its bits of the value).
OFFLOADS = {
    "rx": (0x14, 0x15, 1),
    "tx": (0x16, 0x17, 1),
    "tso": (0x1E, 0x1F, 1),
    "gso": (0x23, 0x24, 1),
    "gro": (0x2B, 0x2C, 1),
    "txvlan": (0x25, 0x26, 1 << 7),  # ETHTOOL_GFLAGS, SFLAGS: ETH_FLAG_TXVLAN, RXVLAN
    "rxvlan": (0x25, 0x26, 1 << 8),
}
#: Those that spoil raw frames: checksums left to hardware that is not there, and frames joined.
SPOILING = ("tx", "tso", "gso", "gro")
#: Those that spoil them for XDP programs, which do not see a VLAN tag that is beside its frame.
SPOILING_XDP = (*SPOILING, "txvlan", "rxvlan")


@dataclass(frozen=True)
class Netdev:
    """One kernel interface, as the kernel and ethtool show it."""

    name: str
    mtu: int
    up: bool
    driver: str
    mac: str
    ethernet: bool = True  # it carries Ethernet frames (ARPHRD_ETHER)
    promiscuous: bool = False  # set by somebody; sockets that ask for it do not count
    speed_mbps: int = 0
    pci: str = ""
    offloads: tuple[str, ...] = field(default=())  # those of SPOILING_XDP that are on

    @property
    def peer_hint(self) -> str:
        """For a veth pair: the sentence about its other end."""
        return (
            " (and on the other end of the veth pair, wherever it is)"
            if self.driver == "veth"
            else ""
        )


def read(path: Path, default: str = "") -> str:
    """A sysfs file's text, or the default."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return default


def names() -> list[str]:
    """The interfaces of this network namespace."""
    return sorted(name for _, name in socket.if_nameindex())


def get(name: str) -> Netdev:
    """The interface; PortError if there is none of that name here."""
    if name not in names():
        raise PortError(
            f"there is no interface {name!r} in this network namespace",
            hint="ip link show (and ip netns exec NS for one in another namespace)",
        )
    try:
        family, address = struct.unpack("16xH6s", interface_request(SIOCGIFHWADDR, name)[:24])
        flags = interface_flags(name)
        (mtu,) = struct.unpack("16xi", interface_request(SIOCGIFMTU, name)[:20])
    except OSError as e:  # it has gone meanwhile
        raise PortError(f"cannot look at the interface {name}", e.errno or 0) from None
    driver, bus = driver_info(name)
    return Netdev(
        name=name,
        mtu=mtu,
        up=bool(flags & IFF_UP),
        driver=driver,
        mac=address.hex(":"),
        ethernet=family == ARPHRD_ETHER,
        promiscuous=bool(flags & IFF_PROMISC),
        speed_mbps=speed(name),
        pci=bus if ":" in bus else "",
        offloads=tuple(o for o in SPOILING_XDP if offload(name, o)),
    )


def interface_request(number: int, name: str, value: bytes = b"") -> bytes:
    """One ioctl with a struct ifreq: the name, then the value; returns it as the kernel left it."""
    ifreq = struct.pack("16s24s", os.fsencode(name), value)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        return fcntl.ioctl(s, number, ifreq)


def interface_flags(name: str) -> int:
    """The interface's IFF_... flags, the lower 16 bits. OSError where it is not there."""
    (flags,) = struct.unpack("16xH", interface_request(SIOCGIFFLAGS, name)[:18])
    return int(flags)


def driver_info(name: str) -> tuple[str, str]:
    """An interface's driver and its place on the bus, as ethtool -i says them ("veth", "")."""
    # struct ethtool_drvinfo: cmd, driver[32], version[32], fw_version[32], bus_info[32], ...
    try:
        info = ethtool(name, struct.pack("I192x", ETHTOOL_GDRVINFO))
    except OSError:
        return "", ""
    driver, bus = (info[at : at + 32].split(b"\0", 1)[0] for at in (4, 100))
    return driver.decode("ascii", "replace"), bus.decode("ascii", "replace")


def speed(name: str) -> int:
    """The link's speed in Mbit/s; 0 where it is not known."""
    # struct ethtool_cmd: speed at 12, its upper half at 28.
    try:
        low, high = struct.unpack("12xH14xH", ethtool(name, struct.pack("I40x", ETHTOOL_GSET))[:30])
    except OSError:
        return 0
    mbps = int(high << 16 | low)
    return 0 if mbps in (0xFFFF, 0xFFFFFFFF) else mbps


def rx_queues(name: str) -> int:
    """How many receive queues the interface has; 1 where its driver does not say (as DPDK does)."""
    # struct ethtool_channels: cmd, max_{rx,tx,other,combined}, {rx,tx,other,combined}_count.
    try:
        counts = struct.unpack("9I", ethtool(name, struct.pack("I32x", ETHTOOL_GCHANNELS)))
    except OSError:
        return 1
    return max(1, int(counts[5]) + int(counts[8]))


def ethtool(name: str, request: bytes) -> bytes:
    """One SIOCETHTOOL ioctl; returns the structure as the kernel filled it."""
    buffer = ctypes.create_string_buffer(request, len(request))
    interface_request(SIOCETHTOOL, name, struct.pack("P", ctypes.addressof(buffer)))
    return buffer.raw


def set_mtu(name: str, mtu: int) -> None:
    """Sets the interface's MTU; PortError where the kernel refuses."""
    try:
        interface_request(SIOCSIFMTU, name, struct.pack("i", mtu))
    except OSError as e:
        raise PortError(f"cannot set the MTU of {name} to {mtu}", e.errno or 0) from None


def set_promiscuous(name: str, on: bool) -> None:
    """Sets the interface's promiscuous flag. OSError where the kernel refuses."""
    flags = interface_flags(name)
    new = flags | IFF_PROMISC if on else flags & ~IFF_PROMISC
    if new != flags:
        interface_request(SIOCSIFFLAGS, name, struct.pack("H", new))


def offload(name: str, which: str) -> bool:
    """Is the offload on? False where the kernel does not know it."""
    get, _, bits = OFFLOADS[which]
    try:
        return bool(struct.unpack("II", ethtool(name, struct.pack("II", get, 0)))[1] & bits)
    except OSError:
        return False


def set_offload(name: str, which: str, on: bool) -> None:
    """Turns one offload on or off. OSError where the kernel refuses."""
    get, set_, bits = OFFLOADS[which]
    value = struct.unpack("II", ethtool(name, struct.pack("II", get, 0)))[1]
    value = value | bits if on else value & ~bits
    ethtool(name, struct.pack("II", set_, value))


def offloads_off(name: str, which: Iterable[str] = SPOILING) -> list[str]:
    """Turns off what spoils raw frames; returns what that was. PortError where it is refused."""
    on = [o for o in which if offload(name, o)]
    for o in on:
        try:
            set_offload(name, o, False)
        except OSError as e:
            if e.errno != errno.EOPNOTSUPP:  # of some drivers it is fixed
                offloads_on(name, on)
                raise PortError(
                    f"cannot turn off {o} of {name}",
                    e.errno or 0,
                    hint=f"sudo ethtool -K {name} {o} off",
                ) from None
    return [o for o in on if not offload(name, o)]


def offloads_on(name: str, which: list[str]) -> None:
    """Turns offloads on again, as far as the interface is still there."""
    for o in which:
        with contextlib.suppress(OSError):
            set_offload(name, o, True)


def ethtool_command(name: str, on: Sequence[str] = SPOILING) -> str:
    """The command that turns those offloads off."""
    return f"ethtool -K {name} " + " ".join(f"{o} off" for o in on)
