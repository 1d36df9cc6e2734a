"""net_pcap: receives from a capture, sends into a capture.

The files are opened here and handed to the driver as /proc/self/fd/N: paths with characters that
DPDK's argument parser cannot take work, and what was checked is what is used.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from veridnet.errors import CaptureError, ConfigError, PortError
from veridnet.pcap import CONVERTIBLE, TO_ETHERNET, Capture, scan
from veridnet.ports.base import Key, PortKind, PortPlan

if TYPE_CHECKING:
    from veridnet.runtime import Port

#: libpcap's classic file: bytes of the file header and of a record's header.
FILE_HEADER, RECORD_HEADER = 24, 16
#: Longer frames of several mbuf segments net_pcap cuts without a word when it writes them
#: (RTE_ETH_PCAP_SNAPLEN).
LONGEST_WRITTEN = 16128


class Pcap(PortKind):
    name = "pcap"
    driver = "net_pcap"
    has_mtu = False
    summary = "receives from one capture file, sends into another"
    keys = (
        Key("rx", str, "capture to receive from (pcap, or pcapng of one interface)",
            dpdk="rx_pcap", unicode=False),
        Key("tx", str, "capture to write what is sent to", dpdk="tx_pcap", unicode=False),
        Key("infinite", bool, "receive the capture again and again, from memory", default=False,
            dpdk="infinite_rx"),
        Key("cut", str, "frames that the capture holds only the beginning of",
            default="drop", choices=("drop", "send")),
    )  # fmt: skip

    def fill(self, plan: PortPlan, values: dict[str, Any]) -> None:
        rx, tx = values["rx"], values["tx"]
        if not rx and not tx:
            raise ConfigError("pcap: give rx=FILE, tx=FILE or both")
        if values["infinite"] and not rx:
            raise ConfigError("pcap: infinite=on needs rx=FILE")
        if rx:
            self.fill_rx(plan, rx, values)
        else:
            plan.tx_only = True
            plan.records = 0
        if tx:
            self.fill_tx(plan, tx)
        else:
            plan.rx_only = True
        plan.max_frame = LONGEST_WRITTEN

    def fill_rx(self, plan: PortPlan, path: str, values: dict[str, Any]) -> None:
        fd = open_file(plan, path, os.O_RDONLY)
        inside = f"/proc/self/fd/{fd}"
        capture = scan(inside, shown=path)
        check_ethernet(capture)
        st = os.fstat(fd)
        plan.inputs.append((st.st_dev, st.st_ino))
        plan.details["rx_file"] = path
        plan.details["rx_records"] = capture.records
        plan.devargs["rx_pcap"] = inside
        plan.time_unit = 1000  # net_pcap gives microseconds
        if capture.damaged:
            plan.details["rx_damaged"] = capture.error
            plan.warnings.append(
                f"{path}: damaged after record {capture.records} ({capture.error}); "
                f"the records before are used"
            )
        if capture.max_length > LONGEST_WRITTEN:
            plan.warnings.append(
                f"{path}: has frames of up to {capture.max_length:,} bytes; pcap outputs take "
                f"{LONGEST_WRITTEN:,} and drop longer ones as too_long"
            )
        if values["infinite"]:
            if len(capture.cut) and values["cut"] == "drop":
                raise CaptureError(
                    f"{path}: {len(capture.cut)} frames are cut by the snapshot length, which "
                    f"infinite=on cannot leave out",
                    hint="cut=send to use them as they are",
                )
            if capture.records == 0:
                raise CaptureError(f"{path}: infinite=on of a capture without frames")
            plan.devargs["infinite_rx"] = "1"
            # The driver keeps the whole capture in mbufs, beside those in flight.
            plan.own_pool = capture.records + 4096
            plan.data_room = max(2048, capture.max_length)
            if plan.data_room > 65407:
                raise CaptureError(
                    f"{path}: infinite=on of a record of {capture.max_length:,} bytes; at most "
                    "65,407 fit into an mbuf"
                )
            return
        plan.records = capture.records
        if values["cut"] == "drop" and len(capture.cut):
            plan.cut = capture.cut
            plan.warnings.append(
                f"{path}: {len(capture.cut)} of {capture.records} frames are cut by the "
                f"snapshot length; dropped as capture_cut (cut=send sends them as they are)"
            )

    def fill_tx(self, plan: PortPlan, path: str) -> None:
        created = not os.path.lexists(path)
        # O_NONBLOCK: a FIFO without a reader is an error here, not a hang.
        fd = open_file(plan, path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK)
        st = os.fstat(fd)
        regular = stat.S_ISREG(st.st_mode)
        if not regular and os.path.realpath(path) != os.devnull:
            raise PortError(f"pcap: tx={path} is not a regular file")
        if (st.st_dev, st.st_ino) in plan.inputs:
            raise ConfigError(f"pcap: {path} is both read and written")
        if regular:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ConfigError(
                    f"pcap: tx={path}: another port or process reads or writes the same file"
                ) from None
            plan.outputs.append((st.st_dev, st.st_ino))
        plan.details["tx_file"] = path
        plan.devargs["tx_pcap"] = f"/proc/self/fd/{fd}"

        def finish(port: Port) -> Iterable[str]:
            """The driver never says that a write failed: the size of the file does."""
            if not regular:
                return
            count = port.counters()
            want = FILE_HEADER + RECORD_HEADER * count["tx_packets"] + count["tx_bytes"]
            have = os.fstat(fd).st_size
            if have < want:
                yield (
                    f"{path}: {have:,} of {want:,} bytes were written (is the disk full?); "
                    f"the capture is incomplete"
                )

        plan.on_close = finish
        if created:
            plan.made.append(path)


def open_file(plan: PortPlan, path: str, flags: int) -> int:
    """Opens a file for the life of the port; the error names the path."""
    if not os.path.isdir("/proc/self/fd"):
        raise PortError(
            "pcap: /proc/self/fd is not there, by which the driver gets its files",
            hint="sudo mount -t proc proc /proc",
        )
    if flags & os.O_ACCMODE == os.O_RDONLY and Path(path).exists() and not Path(path).is_file():
        raise PortError(f"pcap: rx={path} is not a regular file")
    try:
        fd = os.open(path, flags | os.O_CLOEXEC, 0o644)
    except (OSError, ValueError) as e:
        reason = e.strerror if isinstance(e, OSError) and e.strerror else str(e)
        raise PortError(f"pcap: cannot open {path}: {reason}") from None
    plan.resources.callback(os.close, fd)
    return fd


def check_ethernet(capture: Capture) -> None:
    """Only Ethernet frames go onto an Ethernet port."""
    if capture.damaged and capture.records == 0:
        hint = TO_ETHERNET if "first interface" in capture.error else ""
        raise CaptureError(f"{capture.path}: no readable frame: {capture.error}", hint=hint)
    if capture.linktype != 1:
        raise CaptureError(
            f"{capture.path}: its link type is {capture.linktype_name}, not Ethernet (EN10MB)",
            hint=TO_ETHERNET if capture.linktype in CONVERTIBLE else "",
        )
    if capture.max_length > 65535:
        raise CaptureError(
            f"{capture.path}: has a record of {capture.max_length:,} bytes; a frame has at most "
            "65,535"
        )
