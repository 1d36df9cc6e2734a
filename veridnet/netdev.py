"""The kernel's network interfaces: what af_packet and af_xdp ports stand on, and doctor reports.

Offloads are read and set by the ethtool ioctl (ethtool(8), linux/ethtool.h).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path

from veridnet.errors import PortError

SYS_NET = Path("/sys/class/net")

SIOCETHTOOL = 0x8946
# Offload -> (ETHTOOL_G..., ETHTOOL_S...), by `ethtool -K`'s names.
OFFLOADS = {
    "rx": (0x14, 0x15),
    "tx": (0x16, 0x17),
    "tso": (0x1E, 0x1F),
    "gso": (0x23, 0x24),
    "gro": (0x2B, 0x2C),
}
#: Those that spoil raw frames: checksums left to hardware that is not there, and frames joined.
SPOILING = ("tx", "tso", "gso", "gro")


@dataclass(frozen=True)
class Netdev:
    """One kernel interface, as sysfs and ethtool show it."""

    name: str
    mtu: int
    up: bool
    driver: str
    mac: str
    speed_mbps: int = 0
    pci: str = ""
    offloads: tuple[str, ...] = field(default=())  # those of SPOILING that are on

    @property
    def ethernet(self) -> bool:
        """Does it carry Ethernet frames (ARPHRD_ETHER)?"""
        return read(SYS_NET / self.name / "type") == "1"

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
    base = SYS_NET / name
    device = base / "device"
    speed = read(base / "speed")
    return Netdev(
        name=name,
        mtu=int(read(base / "mtu", "1500") or 1500),
        up=bool(int(read(base / "flags", "0") or "0", 16) & 1),
        driver=os.path.basename(os.path.realpath(device / "driver"))
        if device.exists()
        else virtual_driver(name),
        mac=read(base / "address"),
        speed_mbps=int(speed) if speed.isdigit() else 0,
        pci=os.path.basename(os.path.realpath(device))
        if (device / "vendor").exists() and ":" in os.path.realpath(device)
        else "",
        offloads=tuple(o for o in SPOILING if offload(name, o)),
    )


def virtual_driver(name: str) -> str:
    """The driver of an interface without a device, as ethtool -i says it ("veth", "tun")."""
    # struct ethtool_drvinfo: cmd, driver[32], ... 196 bytes (ETHTOOL_GDRVINFO 0x03).
    try:
        info = ethtool(name, struct.pack("I", 0x03) + bytes(192))
    except OSError:
        return ""
    return info[4:36].split(b"\0", 1)[0].decode("ascii", "replace")


def ethtool(name: str, request: bytes) -> bytes:
    """One SIOCETHTOOL ioctl; returns the structure as the kernel filled it."""
    import ctypes

    buffer = ctypes.create_string_buffer(request, len(request))
    ifreq = struct.pack("16sP16x", name.encode(), ctypes.addressof(buffer))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, SIOCETHTOOL, ifreq)
    return buffer.raw


SIOCSIFMTU = 0x8922


def set_mtu(name: str, mtu: int) -> None:
    """Sets the interface's MTU; PortError where the kernel refuses."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            fcntl.ioctl(s, SIOCSIFMTU, struct.pack("16si12x", name.encode(), mtu))
    except OSError as e:
        raise PortError(f"cannot set the MTU of {name} to {mtu}", e.errno or 0) from None


def offload(name: str, which: str) -> bool:
    """Is the offload on? False where the kernel does not know it."""
    try:
        reply = ethtool(name, struct.pack("II", OFFLOADS[which][0], 0))
        return bool(struct.unpack("II", reply)[1])
    except OSError:
        return False


def offloads_off(name: str) -> list[str]:
    """Turns off what spoils raw frames; returns what was on. PortError where that is refused."""
    on = [o for o in SPOILING if offload(name, o)]
    for o in on:
        try:
            ethtool(name, struct.pack("II", OFFLOADS[o][1], 0))
        except OSError as e:
            if e.errno != errno.EOPNOTSUPP:
                raise PortError(
                    f"cannot turn off {o} of {name}",
                    e.errno or 0,
                    hint=f"sudo ethtool -K {name} {o} off",
                ) from None
    return on


def offloads_on(name: str, which: list[str]) -> None:
    """Turns offloads on again, as far as the interface is still there."""
    for o in which:
        with contextlib.suppress(OSError):
            ethtool(name, struct.pack("II", OFFLOADS[o][1], 1))


def ethtool_command(name: str, on: tuple[str, ...] | list[str] = SPOILING) -> str:
    """The command that turns those offloads off."""
    return f"ethtool -K {name} " + " ".join(f"{o} off" for o in on)
