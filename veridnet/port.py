"""A port of a runtime: `Port`."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

from veridnet._native import eal
from veridnet._native.burst import Burst
from veridnet._native.port import NativePort
from veridnet.addresses import mac_bytes
from veridnet.errors import ConfigError, PoolError, PortError
from veridnet.ports import PortKind, PortPlan

if TYPE_CHECKING:
    from veridnet.runtime import Runtime


class Port(NativePort):
    """An Ethernet port of a runtime; `Runtime.add_port` makes it.

    Attributes
    ----------
    name
        What the user calls it: its ``name=``, or its order.
    index
        Its order among the runtime's ports.
    kind
        "pcap", "tap", ...
    max_frame
        The longest frame, in bytes without FCS, that it sends; longer ones are dropped by name.
    details
        What is worth knowing of it: files, interface, trace length.
    warnings
        What the user should know; also logged when it was added.
    """

    def __new__(cls, device: str, *args: object) -> Self:
        return super().__new__(cls, device)

    def __init__(
        self, device: str, runtime: Runtime, kind: PortKind, plan: PortPlan, name: str, index: int
    ) -> None:
        self.runtime = runtime
        self.kind = kind.name
        self.bus = kind.bus
        self.plan = plan
        self.name = name
        self.index = index
        self.max_frame: int | None = None
        self.mtu_limit = 65535
        self._mac = ""
        self.details = plan.details
        self.warnings = plan.warnings
        self.problems: list[str] = []
        self._closer = 0

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self.n_rx_queues} queue(s)"
        return f"<Port {self.name} ({self.kind}), {state}>"

    @property
    def mtu(self) -> int:
        """The port's MTU in bytes: a frame without its header of 14 bytes.

        It can be set to anything up to what the port was added with (its buffers are for that).
        """
        if self.plan.iface_mtu is not None:
            return self.plan.iface_mtu
        return NativePort.mtu.__get__(self)  # type: ignore[no-any-return]

    @mtu.setter
    def mtu(self, value: int) -> None:
        if self.plan.iface_mtu is not None and value != self.plan.iface_mtu:
            raise ConfigError(
                f"port {self.name}: its MTU is that of its interface",
                hint=f"add it with mtu={value}",
            )
        if value > self.mtu_limit:
            raise ConfigError(
                f"port {self.name} was made for an MTU of at most {self.mtu_limit}",
                hint=f"add it with mtu={value}",
            )
        if self.plan.iface_mtu is None:
            NativePort.mtu.__set__(self, value)  # type: ignore[attr-defined]
        self.limit_frames()

    @property
    def mac(self) -> str:
        """The port's MAC address, as "02:00:00:00:00:01".

        A driver without an address of its own to set (pcap, ring) is given one here: it is what
        a forwarder writes as the source address.
        """
        return self._mac or str(NativePort.mac.__get__(self))

    @mac.setter
    def mac(self, value: str | bytes) -> None:
        text = mac_bytes(value).hex(":")
        if int(text[:2], 16) & 1 or text == "00:00:00:00:00:00":
            raise ConfigError(f"{text} is no address of a single station")
        try:
            NativePort.mac.__set__(self, value)  # type: ignore[attr-defined]
        except PortError as e:
            if e.errno != errno.EOPNOTSUPP:
                raise
            self._mac = text

    def limit_frames(self) -> None:
        """Sets the frame limit that follows from the kind and the MTU."""
        limit = self.plan.max_frame
        self.max_frame = limit(self) if callable(limit) else limit
        self.set_tx(max_frame=self.max_frame)

    @property
    def stats(self) -> dict[str, Any]:
        """The port's counters: see `counters`."""
        return self.counters()

    @property
    def receives(self) -> bool:
        """Can packets be received from it at all?"""
        return not self.plan.tx_only

    @property
    def finite(self) -> bool:
        """Does it read a trace that ends?"""
        return self.plan.records is not None

    def reconnect(self) -> bool:
        """Connects to the peer again if the connection is lost and the peer is there.

        Returns whether it did; the link may come up a moment later. Only a memif client connects,
        and not by itself: `veridnet l2fwd` calls this once a second. A forwarder that runs on the
        port goes on.
        """
        there = self.plan.peer_is_there
        if there is None or not self.disconnected or not there():
            return False
        try:
            self.restart()
        except PortError:  # it went again meanwhile
            return False
        return True

    def bursts(self, size: int = 256, queue: int = 0) -> Iterator[Burst]:
        """Receives until the port is exhausted: one Burst object, filled anew each time.

        Yields after every poll, whether or not it brought packets, so that the caller can do
        other work; a live port never ends. What the loop's body leaves in the burst makes the
        next poll raise BurstError.
        """
        burst = Burst(size)
        while not self.exhausted:
            self.rx(burst, queue)
            yield burst

    def close(self) -> None:  # type: ignore[override]
        """Stops and removes the port; its counters stay readable. May be called twice.

        From the beginning of it, other threads' calls are refused: closing always ends.
        """
        if not self.begin_close():
            while not self.closed and self._closer != threading.get_ident():
                time.sleep(0.001)
            return
        self._closer = threading.get_ident()
        try:
            while self.sending:
                # Another thread waits in tx, for at most the retry bound: it needs the GIL.
                time.sleep(0.001)
        except BaseException:
            self.resume()
            raise
        try:
            if self.plan.linger_s and self.counters()["tx_packets"]:
                time.sleep(self.plan.linger_s)
        finally:
            # What was sent to a ring and never received would keep its mbufs for ever.
            left = super().close(drain=self.kind == "ring")
            self._gone(left)

    def _gone(self, left: int) -> None:
        if self.kind == "ring":
            self.details["left_in_ring"] = left
            # The driver makes 16 rings and frees only those of its queues (22.11).
            for i in range(self.n_rx_queues, 16):
                eal.ring_free(f"ETH_RXTX{i}_{self.device}")
        self.finish()

    def finish(self) -> None:
        """Removes the device and gives back what the port held, whatever fails."""
        try:
            eal.hotplug_remove(self.bus, self.device)
        except PortError as e:
            self.problems.append(f"port {self.name}: {e}")
        if self.plan.on_close is not None:
            self.problems += self.plan.on_close(self)
        self.plan.resources.close()


def hint_for(error: PortError | PoolError) -> str:
    """What usually mends an error number."""
    if error.errno in (errno.EPERM, errno.EACCES) and os.geteuid() == 0:
        return ""
    return {
        errno.EPERM: "run it with sudo",
        errno.EACCES: "run it with sudo",
        errno.ENOMEM: "fewer or smaller mbufs, or more memory: veridnet doctor",
    }.get(error.errno or 0, "")
