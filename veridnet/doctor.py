"""What works on this machine: each thing that veridnet stands on, found, judged, and mended."""

from __future__ import annotations

import ctypes
import glob
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from veridnet import hugepages, netdev
from veridnet._native import eal
from veridnet._native.burst import Burst
from veridnet.config import RuntimeConfig
from veridnet.eal import MEMORY_NAMES, THP_ENABLED, choose_memory, started, thp_enabled
from veridnet.errors import VeridnetError
from veridnet.ports import KINDS, PortKind
from veridnet.ports.kernel import (
    CAP_IPC_LOCK,
    CAP_NET_ADMIN,
    CAP_NET_RAW,
    CAP_SYS_ADMIN,
    has_capability,
)
from veridnet.ports.raw import BIFURCATED, SYS_PCI, USER_DRIVERS
from veridnet.runtime import Runtime

__all__ = ["Check", "Nic", "driver_folder", "driver_present", "examine", "nics"]

OK, FALLBACK, NO = "ok", "fallback", "no"
SYS_NODES = Path("/sys/devices/system/node")
SYS_HUGE = Path("/sys/kernel/mm/hugepages")


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Attributes
    ----------
    name
        What was looked at.
    status
        "ok"; "fallback": works in another way, or without this; "no": does not work.
    found
        What is there.
    mend
        The command that makes it ok, "" where there is none.
    """

    name: str
    status: str
    found: str
    mend: str = ""

    def to_dict(self) -> dict[str, str]:
        """The check as plain JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class Nic:
    """A network device on the PCI bus."""

    address: str
    device: str  # vendor:device
    driver: str
    numa_node: int
    interface: str
    iommu_group: str

    @property
    def reachable(self) -> bool:
        """Is it bound to a driver through which DPDK reaches it?"""
        return self.driver in USER_DRIVERS + BIFURCATED


def nics() -> list[Nic]:
    """The network devices on the PCI bus, and virtio ones (class 0x02....)."""
    found = []
    for path in sorted(SYS_PCI.glob("*")) if SYS_PCI.exists() else []:
        if not netdev.read(path / "class").startswith("0x02"):
            continue
        driver = path / "driver"
        group = path / "iommu_group"
        interfaces = sorted(p.name for p in path.glob("**/net/*") if p.parent.name == "net")
        vendor, device = (netdev.read(path / f, "0x????")[2:] for f in ("vendor", "device"))
        node = netdev.read(path / "numa_node", "-1")
        found.append(
            Nic(
                address=path.name,
                device=f"{vendor}:{device}",
                driver=os.path.basename(os.path.realpath(driver)) if driver.exists() else "",
                numa_node=int(node) if node.lstrip("-").isdigit() else -1,
                interface=interfaces[0] if interfaces else "",
                iommu_group=os.path.basename(os.path.realpath(group)) if group.exists() else "",
            )
        )
    return found


def driver_folder() -> Path | None:
    """Where DPDK's drivers lie: the folder that EAL loads them from. None if it is not found.

    It is beside librte_eal, and dladdr(3) says where that is: /proc/self/maps may be hidden.
    """
    info = (ctypes.c_char_p * 4)()  # Dl_info: the first of its four pointers is the file's name
    library = ctypes.CDLL(eal.__file__)
    if not ctypes.CDLL(None).dladdr(library.rte_eal_init, info) or not info[0]:
        return None
    folder = os.path.dirname(os.path.realpath(os.fsdecode(info[0])))
    folders = sorted(glob.glob(f"{glob.escape(folder)}/dpdk/pmds-*"))
    return Path(folders[0]) if folders else None


def driver_present(kind: PortKind) -> bool:
    """Is the driver of this kind of port installed?"""
    folder = driver_folder()
    if not kind.driver.startswith("net_"):
        return folder is not None
    return folder is not None and any(folder.glob(f"librte_{kind.driver}.so*"))


def examine(run: bool = True) -> list[Check]:
    """All checks, in the order in which things build on each other.

    With `run`, the last one starts EAL in this process and forwards packets through a ring.
    """
    checks = [
        *check_dpdk(), *check_cpu(), *check_memory(), *check_rights(), *check_kernel(),
        *check_nics(),
    ]  # fmt: skip
    if run:
        checks.append(check_run())
    return checks


def check_dpdk() -> Iterator[Check]:
    version = eal.version()
    yield Check("DPDK", OK, version.removeprefix("DPDK "))
    if not os.access("/proc/self/maps", os.R_OK):
        yield Check("/proc", FALLBACK, "/proc/self cannot be read: what is found there is missing "
                    "here, and EAL's threads stay where they are",
                    "sudo mount -t proc proc /proc")  # fmt: skip
    wanted = [k for k in KINDS.values() if k.driver.startswith("net_")]
    missing = [k for k in wanted if not driver_present(k)]
    if driver_folder() is None:
        yield Check("drivers", NO, "DPDK's driver folder was not found", "apt-get install dpdk")
    elif missing:
        yield Check(
            "drivers", FALLBACK, f"missing: {', '.join(k.driver for k in missing)}",
            "apt-get install dpdk",
        )  # fmt: skip
    else:
        yield Check("drivers", OK, ", ".join(k.name for k in wanted))


def check_cpu() -> Iterator[Check]:
    cpus = sorted(os.sched_getaffinity(0))
    isolated = netdev.read(Path("/sys/devices/system/cpu/isolated")) or "none"
    found = f"{len(cpus)} usable ({', '.join(map(str, cpus[:16]))}); isolated: {isolated}"
    if len(cpus) == 1:
        yield Check("CPUs", FALLBACK, found + "; a worker shares its CPU with Python")
    else:
        yield Check("CPUs", OK, found)
    flags = set(netdev.read(Path("/proc/cpuinfo")).partition("flags")[2].partition("\n")[0].split())
    level = next(
        (
            name
            for name, need in (("AVX-512", "avx512bw"), ("AVX2", "avx2"), ("SSE4.2", "sse4_2"))
            if need in flags
        ),
        os.uname().machine,
    )
    yield Check("SIMD", OK if level.startswith("AVX") else FALLBACK, level)
    nodes = sorted(p.name for p in SYS_NODES.glob("node[0-9]*"))
    yield Check("NUMA", OK, f"{max(1, len(nodes))} node(s)")


def check_memory() -> Iterator[Check]:
    sizes = []
    for path in sorted(SYS_HUGE.glob("hugepages-*")):
        size = path.name.removeprefix("hugepages-").removesuffix("kB")
        total, free = netdev.read(path / "nr_hugepages"), netdev.read(path / "free_hugepages")
        sizes.append(f"{int(size) >> 10} MiB: {free} of {total} free")
    kind, why = memory_choice()
    yield Check(
        "hugepages", OK if kind == "hugepages" else FALLBACK, "; ".join(sizes) or "no support",
        "" if kind == "hugepages" else hugepages.command("reserve", 256),
    )  # fmt: skip
    setting = re.search(r"\[(\w+)\]", netdev.read(THP_ENABLED))
    yield Check(
        "transparent huge pages", OK if thp_enabled() else FALLBACK,
        setting[1] if setting else "no support",
        "" if thp_enabled() else f"echo madvise | sudo tee {THP_ENABLED}",
    )  # fmt: skip
    found = f"{MEMORY_NAMES[kind]} ({why})"
    if kind == "hugepages":
        rest = MEMORY_NAMES["thp" if thp_enabled() else "4k"]
        found += f"; pools for which they do not suffice: {rest}"
    yield Check("packet memory", OK if kind != "4k" else FALLBACK, found)


def memory_choice() -> tuple[str, str]:
    """What a Runtime() would use, and why."""
    if (running := started()) is not None:
        return running.memory, running.why
    return choose_memory(RuntimeConfig())


def check_rights() -> Iterator[Check]:
    yield Check("user", OK, f"uid {os.geteuid()}")
    needs = (
        (CAP_NET_ADMIN, "cap_net_admin", "tap, af_packet and af_xdp ports"),
        (CAP_NET_RAW, "cap_net_raw", "af_packet and af_xdp ports"),
        (CAP_IPC_LOCK, "cap_ipc_lock", "af_xdp ports, NICs through vfio"),
        (CAP_SYS_ADMIN, "cap_sys_admin", "af_xdp ports"),
    )
    missing = [(name, what) for bit, name, what in needs if not has_capability(bit)]
    if missing:
        lacking = "; ".join(f"{name} ({what})" for name, what in missing)
        yield Check("capabilities", FALLBACK, f"missing: {lacking}; pcap, null, ring and memif "
                    "ports need none", "sudo veridnet ...")  # fmt: skip
    else:
        yield Check("capabilities", OK, ", ".join(name for _, name, _ in needs))


def check_kernel() -> Iterator[Check]:
    tun = os.access("/dev/net/tun", os.R_OK | os.W_OK)
    mend = "" if has_capability(CAP_NET_ADMIN) else "run with sudo"
    mend = mend if tun else "sudo modprobe tun"
    yield Check(
        "tap ports", OK if tun and has_capability(CAP_NET_ADMIN) else NO,
        "/dev/net/tun is missing or not accessible"
        if not tun
        else "/dev/net/tun"
        if has_capability(CAP_NET_ADMIN)
        else "/dev/net/tun is there, cap_net_admin is missing",
        mend,
    )  # fmt: skip
    for name, family, needs in (
        ("af_packet ports", socket.AF_PACKET, (CAP_NET_RAW, CAP_NET_ADMIN)),
        ("af_xdp ports", 44, (CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN, CAP_IPC_LOCK)),
    ):
        try:
            socket.socket(family, socket.SOCK_RAW, 0).close()
            good = all(has_capability(bit) for bit in needs)
            yield Check(name, OK if good else NO, "the kernel has the socket",
                        "" if good else "run with sudo")  # fmt: skip
        except OSError as e:
            yield Check(
                name,
                NO,
                f"no socket: {e.strerror}",
                "run with sudo" if isinstance(e, PermissionError) else "a kernel with XDP sockets",
            )


def check_nics() -> Iterator[Check]:
    groups = Path("/sys/kernel/iommu_groups")
    iommu = groups.exists() and any(groups.iterdir())
    yield Check(
        "IOMMU", OK if iommu else FALLBACK, "on" if iommu else "off: NICs need vfio without IOMMU",
        "" if iommu else "intel_iommu=on iommu=pt (or amd_iommu=on) on the kernel command line",
    )  # fmt: skip
    vfio = Path("/dev/vfio/vfio").exists()
    yield Check(
        "vfio", OK if vfio else FALLBACK, "/dev/vfio/vfio" if vfio else "not loaded (NICs need it)",
        "" if vfio else "sudo modprobe vfio-pci",
    )  # fmt: skip
    found = nics()
    ready = [n.address for n in found if n.reachable]
    if ready:
        yield Check("NICs", OK, f"ready for DPDK: {', '.join(ready)}")
    elif found:
        text = ", ".join(f"{n.address} ({n.driver or 'no driver'})" for n in found)
        # Not one of these addresses: the command would cut the machine off its network.
        yield Check("NICs", FALLBACK, f"bound to the kernel: {text}",
                    "for a NIC that the machine itself does not need: "
                    "sudo dpdk-devbind.py --bind=vfio-pci ADDRESS")  # fmt: skip
    else:
        yield Check("NICs", FALLBACK, "none on the PCI bus; virtual devices work without")


def check_run() -> Check:
    """Starts EAL and sends packets through a ring: the proof."""
    try:
        with Runtime() as rt:
            port = rt.add_port("ring")
            sent = port.tx(Burst.from_bytes([bytes(64)] * 32))
            burst = Burst(32)
            got = port.rx(burst)
            burst.clear()
        good = sent == got == 32 and rt.balance().balanced and rt.mbufs_in_use() == 0
        text = f"{got} of {sent} packets through a ring"
        return Check("self-test", OK if good else NO, text)
    except VeridnetError as e:
        return Check("self-test", NO, str(e), e.hint)


def summary(checks: list[Check]) -> dict[str, Any]:
    """The report as plain JSON types."""
    return {
        "checks": [c.to_dict() for c in checks],
        "works": not any(c.status == NO and c.name in ("self-test", "drivers") for c in checks),
    }
