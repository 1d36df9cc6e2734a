"""The runtime: EAL, the memory under the pools, and the ports."""

from __future__ import annotations

import atexit
import collections
import contextlib
import errno
import itertools
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from veridnet import dpdklog, placement
from veridnet._native import burst as native_burst
from veridnet._native import eal
from veridnet._native.burst import Burst
from veridnet._native.memory import HEADROOM, Heap, Mempool, hugepages_probe
from veridnet._native.port import NativePort
from veridnet._native.worker import Forwarder
from veridnet.addresses import mac_bytes
from veridnet.config import LOG_LEVELS, PortSpec, RuntimeConfig, parse_port, parse_vdev
from veridnet.errors import (
    ClosedError,
    ConfigError,
    EalError,
    PoolError,
    PortError,
    StateError,
    VeridnetError,
)
from veridnet.ports import KINDS, PortKind, PortPlan

__all__ = ["Port", "Runtime"]

MIB = 1 << 20
HUGE_PAGE = 2 * MIB
THP_ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")

MEMORY_NAMES = {
    "hugepages": "hugepages (2 MiB)",
    "thp": "transparent huge pages",
    "4k": "4 KiB pages",
}


@dataclass
class Eal:
    """EAL as it started in this process; it cannot be started again."""

    memory: str
    why: str  # what was probed, for people
    lcores: str
    cpus: list[int]
    heap: Heap | None = None


_eal: Eal | None = None
_current: Runtime | None = None
_serial = itertools.count()
_lock = threading.RLock()


def _close_at_exit() -> None:
    """Lcores must not run on while the interpreter is taken down."""
    if _current is not None:
        _current.close()


atexit.register(_close_at_exit)


def pool_bytes(mbufs: int, data_room: int) -> int:
    """Memory that a pool takes, generously: elements, its ring, and the lcores' caches."""
    element = -(-(data_room + HEADROOM + 128 + 64) // 64) * 64 + 64
    return mbufs * (element + 16) + 4 * MIB


def hugepages_needed(mbufs: int) -> int:
    """Hugepages of 2 MiB for a pool of so many mbufs, and for what DPDK needs itself."""
    return -(-(pool_bytes(mbufs, 2048) + 32 * MIB) // HUGE_PAGE)


def memory_available() -> int:
    """Bytes that can still be had without swapping (MemAvailable)."""
    with contextlib.suppress(OSError), open("/proc/meminfo") as f:
        for line in f:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return 1 << 62


def eal_runs() -> bool:
    """Has EAL started in this process? It then runs to the process's end."""
    return _eal is not None


def thp_enabled() -> bool:
    """Does the kernel give transparent huge pages to who asks for them?"""
    try:
        return "[never]" not in THP_ENABLED.read_text()
    except OSError:
        return False


def choose_memory(config: RuntimeConfig) -> tuple[str, str]:
    """The memory kind for a config, by probing, and why. EAL must not have started."""
    pages = hugepages_needed(config.mbufs)
    if config.memory in ("auto", "hugepages"):
        rc = hugepages_probe(pages, HUGE_PAGE)
        if rc == 0:
            return "hugepages", f"{pages} free hugepages were there"
        if config.memory == "hugepages":
            raise EalError(
                f"{pages} hugepages of 2 MiB are not free ({os.strerror(-rc)})",
                hint=f"echo {pages + 64} | sudo tee /proc/sys/vm/nr_hugepages, or memory auto",
            )
    if config.memory in ("auto", "thp"):
        if thp_enabled():
            return "thp", f"no {pages} free hugepages"
        if config.memory == "thp":
            raise EalError(
                "transparent huge pages are disabled",
                hint=f"echo madvise | sudo tee {THP_ENABLED}",
            )
    return "4k", "neither hugepages nor transparent huge pages"


def start_eal(config: RuntimeConfig) -> Eal:
    """Starts EAL, or returns the one that has started if its settings serve."""
    global _eal
    lcores, cpus = placement.lcore_map(config.lcores)
    if _eal is not None:
        if config.memory not in ("auto", _eal.memory):
            raise EalError(
                f"EAL has started with {MEMORY_NAMES[_eal.memory]} and cannot start again",
                hint="one process, one memory kind: use another process",
            )
        if config.lcores is not None and cpus != _eal.cpus:
            raise EalError(
                f"EAL has started with workers on CPUs {_eal.cpus} and cannot start again",
                hint="one process, one set of lcores: use another process",
            )
        return _eal
    if eal.started():
        raise EalError("EAL did not start earlier in this process and cannot be started again",
                       hint="start a new process")  # fmt: skip
    memory, why = choose_memory(config)
    args = ["veridnet", "--lcores", lcores, "--main-lcore", "0", "--no-telemetry"]
    # An allowed PCI device that does not exist: NICs are taken only when add_port names them.
    args += ["-a", "0000:00:00.0"] if Path("/sys/bus/pci").exists() else ["--no-pci"]
    if memory == "hugepages":
        args += ["--in-memory"]
    else:
        # Untouched pages of EAL's own memory cost nothing; in "4k" the pools live in it too.
        size = 4096 if memory == "4k" else 256
        args += ["--no-huge", "--no-shconf", "-m", str(size)]
    log = dpdklog.start()
    eal.log_level("", LOG_LEVELS[config.log_level])
    args += ["--log-level", str(LOG_LEVELS[config.log_level])]
    # EAL aborts where it cannot make a pipe.
    need, spare = 16 + 4 * (len(cpus) + 1), []
    try:
        spare += [os.dup(log.write_fd) for _ in range(need)]
    except OSError:
        raise EalError(f"EAL needs {need} free file descriptors", hint="ulimit -n 1024") from None
    finally:
        for fd in spare:
            os.close(fd)
    if not os.path.isdir("/sys/devices/system/cpu"):
        raise EalError("/sys is not mounted, and EAL reads the CPUs there")
    try:
        eal.init(args)
    except EalError as e:
        detail = "; ".join(log.errors()[-2:])
        raise EalError(f"{e}: {detail}" if detail else str(e)) from None
    _eal = Eal(memory, why, lcores, cpus)
    return _eal


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


@dataclass
class SharedPool:
    """A pool that several ports share, and how many mbufs their queues can hold of it."""

    pool: Mempool
    reserved: int = 0

    def give_back(self, need: int) -> None:
        """A port has gone."""
        self.reserved -= need


@dataclass
class Totals:
    """Everything that was counted: see `Runtime.balance`."""

    rx: int = 0
    generated: int = 0
    copies: int = 0
    tx: int = 0
    drops: dict[str, int] = field(default_factory=dict)
    held: int = 0

    @property
    def balanced(self) -> bool:
        """rx + generated + copies == tx + drops + held."""
        into = self.rx + self.generated + self.copies
        return into == self.tx + sum(self.drops.values()) + self.held

    def add_drops(self, drops: Mapping[str, int]) -> None:
        for reason, n in drops.items():
            self.drops[reason] = self.drops.get(reason, 0) + n


class Runtime:
    """EAL, pools and ports; a context manager.

    Parameters are those of `RuntimeConfig`, or one ready ``config``. EAL starts once per process:
    `close` ends ports and pools and keeps it, and a later Runtime uses it again if its settings
    are the same (``memory``, ``lcores``), else EalError. One Runtime is open at a time.

    >>> with Runtime() as rt:                                            # doctest: +SKIP
    ...     a = rt.add_port("pcap", rx="in.pcap")
    """

    def __init__(self, config: RuntimeConfig | None = None, **options: Any) -> None:
        if hasattr(self, "_pid"):
            raise StateError("a Runtime is made once; make another after closing this one")
        if config is not None and options:
            raise ConfigError("give a config or single options, not both")
        try:
            self.config = config or RuntimeConfig(**options)
        except TypeError as e:
            raise ConfigError(str(e).replace("RuntimeConfig.__init__()", "Runtime()")) from None
        self.ports: list[Port] = []
        self.forwarders: list[Forwarder] = []
        self.pools: list[Mempool] = []
        self.problems: list[str] = []
        self.residue = 0  # mbufs that drivers never gave back (net_af_xdp's fill ring)
        self.closed = True
        self._pid = os.getpid()
        self._lifecycle = threading.RLock()  # ports do not come while all are going
        self._closing = False
        self._shared: dict[int, list[SharedPool]] = {}
        self._hugepages_only = False  # a port's device, or its peer, reads the buffers themselves
        self._final: Totals | None = None
        global _current
        with _lock:
            if _current is not None:
                raise EalError("another Runtime is open in this process", hint="close it first")
            self._eal = start_eal(self.config)
            _current = self
        self.closed = False
        native_burst.account_reset()
        eal.log_level("", LOG_LEVELS[self.config.log_level])
        try:
            native_burst.set_default_pool(self._shared_pool(0, 2048).pool)
        except BaseException:
            self.close()
            raise

    # -- memory -------------------------------------------------------------------------------

    @property
    def memory(self) -> str:
        """Which memory the pools have: "hugepages", "thp" or "4k"."""
        return self._eal.memory

    def memory_report(self) -> dict[str, Any]:
        """The memory kind, why it was chosen, and how much of it is on huge pages (bytes).

        Where hugepages did not suffice for every pool, ``name`` and ``pools`` (memory kind ->
        pools made) say what the others lie on, and the bytes are those of the others.
        """
        name, why = MEMORY_NAMES[self.memory], self._eal.why
        pools = dict(collections.Counter(p.memory for p in self.pools))
        for other in pools.keys() - {self.memory}:
            name += f" and, for {pools[other]} of {len(self.pools)} pools, {MEMORY_NAMES[other]}"
            why += ", and too few for every pool"
        report: dict[str, Any] = {"kind": self.memory, "name": name, "why": why, "pools": pools}
        # The heap outlives a runtime: it may be there, and not be this one's.
        if self._eal.heap is not None and pools.keys() != {"hugepages"}:
            report["heap_bytes"] = self._eal.heap.total_bytes
            report["huge_bytes"] = self._eal.heap.huge_bytes
        return report

    def reserve(self, size: int) -> int:
        """Makes room for `size` bytes; returns the socket id to allocate them on (-1: any)."""
        return self._external(size) if self.memory == "thp" else -1

    def _external(self, size: int) -> int:
        """Makes room on the external heap; returns its socket id."""
        if self._eal.heap is None:
            self._eal.heap = Heap("veridnet")
        if self._eal.heap.free_bytes < size:
            self._eal.heap.grow(size)
        return self._eal.heap.socket

    def add_pool(self, mbufs: int, data_room: int = 2048, name: str = "") -> Mempool:
        """A new pool of `mbufs` buffers for frames of up to `data_room` bytes each.

        It is closed with the runtime. PoolError where there is no memory for it. With memory
        "auto", a pool for which the free hugepages do not suffice is made on transparent huge
        pages, as if there were none, unless a port needs hugepages (a NIC, memif's zero_copy).
        """
        self._check()
        name = name or f"vn_pool{next(_serial)}"
        try:
            pool = self._make_pool(name, mbufs, data_room, self.memory)
        except PoolError as first:
            if not self._may_leave_hugepages:
                raise
            try:
                pool = self._make_pool(name, mbufs, data_room, "thp" if thp_enabled() else "4k")
            except PoolError:
                raise first from None
        self.pools.append(pool)
        return pool

    @property
    def _may_leave_hugepages(self) -> bool:
        """May a pool lie elsewhere, where hugepages do not suffice?"""
        return (
            self.memory == "hugepages" and self.config.memory == "auto" and not self._hugepages_only
        )

    def _make_pool(self, name: str, mbufs: int, data_room: int, memory: str) -> Mempool:
        size = pool_bytes(mbufs, data_room)
        if memory != "hugepages" and size > (free := memory_available()):
            # Asking the kernel for it would end in its OOM killer, not in an error.
            raise PoolError(
                f"a pool of {mbufs} mbufs needs {size // MIB:,} MiB, {free // MIB:,} are available",
                hint="fewer mbufs (mbufs=8191)",
            )
        try:
            external = memory == "thp" or memory != self.memory
            return Mempool(
                name,
                mbufs,
                data_room=data_room,
                socket=self._external(size) if external else -1,
                cache=512,
                memory=memory,
            )
        except PoolError as e:
            raise PoolError(
                f"{e.what} ({size // MIB} MiB of {MEMORY_NAMES[memory]})",
                e.errno or 0,
                hint="fewer mbufs (mbufs=8191)"
                + (
                    f", or: echo {size // HUGE_PAGE * 2 + 64} | sudo tee /proc/sys/vm/nr_hugepages"
                    if memory == "hugepages"
                    else ""
                ),
            ) from None

    def _shared_pool(self, need: int, data_room: int) -> SharedPool:
        """A shared pool whose buffers are that large, with `need` more mbufs to spare."""
        pools = self._shared.setdefault(data_room, [])
        for shared in pools:
            if shared.reserved + need + 4096 <= max(shared.pool.size, 4096):
                shared.reserved += need
                return shared
        pool = self.add_pool(max(self.config.mbufs, need + 8191), data_room)
        pools.append(SharedPool(pool, need))
        return pools[-1]

    @property
    def pool(self) -> Mempool:
        """The default pool: buffers of 2,048 bytes."""
        self._check()
        return self._shared[2048][0].pool

    # -- ports --------------------------------------------------------------------------------

    def add_port(self, kind: str | PortSpec, **options: object) -> Port:
        """Makes, configures and starts a port.

        Parameters
        ----------
        kind
            "pcap", "tap", "null", "ring", "af_packet", "af_xdp", "memif", a PCI address, a whole
            spec as on the command line ("tap:iface=vtap0"), or a PortSpec.
        options
            The kind's keys (``veridnet ports`` lists them) and the common ones: name, mac, mtu,
            queues, promiscuous, rx_desc, tx_desc, policy, retry_us. Paths may be Path objects.

        Raises ConfigError for options that cannot be, PortError where the system refuses; then
        nothing is left behind.
        """
        if isinstance(kind, PortSpec):
            spec = kind
        elif ":" in kind:
            spec = parse_port(kind)
        else:
            spec = PortSpec(kind)
            if kind not in KINDS:
                parse_port(kind)  # raises, and says what there is
        given = {k: os.fspath(v) if isinstance(v, os.PathLike) else v for k, v in options.items()}
        return self.add_ports([PortSpec(spec.kind, {**spec.options, **given})])[0]

    def add_ports(self, specs: Sequence[PortSpec]) -> list[Port]:
        """Several ports, all or none: each is checked before the first is made.

        So a capture that is to be written is not touched when another port's options are wrong.
        """
        with self._lifecycle:
            self._check()
            return self._add_ports(specs)

    def _add_ports(self, specs: Sequence[PortSpec]) -> list[Port]:
        ports: list[Port] = []
        with contextlib.ExitStack() as undo:
            plans = []
            for spec in specs:
                plan = KINDS[spec.kind].plan(spec.options)
                undo.callback(plan.resources.close)
                for path in plan.made:
                    undo.callback(Path(path).unlink, missing_ok=True)
                plans.append(plan)
            self._check_together(specs, plans)
            for spec, plan in zip(specs, plans, strict=True):
                with contextlib.ExitStack() as undo_one:
                    port = self._make(KINDS[spec.kind], plan, spec, undo_one)
                    undo_one.pop_all()
                undo.callback(self._take_back, port)
                ports.append(port)
            undo.pop_all()
        return ports

    def _take_back(self, port: Port) -> None:
        """Undoes a port whose companions could not be made."""
        self.ports.remove(port)
        with contextlib.suppress(VeridnetError):
            port.close()

    def _check_together(self, specs: Sequence[PortSpec], plans: Sequence[PortPlan]) -> None:
        """What no port can know by itself: names, files of others, memory."""
        names = {p.name for p in self.ports if not p.closed}
        open_ports = [p.plan for p in self.ports if not p.closed]
        read = {f for plan in open_ports for f in plan.inputs}
        written = {f for plan in open_ports for f in plan.outputs}
        for i, (spec, plan) in enumerate(zip(specs, plans, strict=True)):
            name = str(spec.options.get("name") or len(self.ports) + i)
            if name in names:
                raise ConfigError(f"there is already a port named {name!r}")
            names.add(name)
            if set(plan.outputs) & written:
                raise ConfigError(f"{spec}: another port reads or writes the same file")
            read |= set(plan.inputs)
            written |= set(plan.outputs)
            elsewhere = next(
                (p.memory for p in self.pools if p.memory != "hugepages" and not p.closed), None
            )
            if elsewhere and (
                plan.needs_hugepages or (plan.hugepages_if_any and self.memory == "hugepages")
            ):
                raise PortError(
                    f"{spec.kind}: needs hugepages, and "
                    f"{'the' if self.memory == elsewhere else 'some'} pools are on "
                    f"{MEMORY_NAMES[elsewhere]}",
                    hint="echo 256 | sudo tee /proc/sys/vm/nr_hugepages, then start again",
                )
        if read & written:
            raise ConfigError("another port reads or writes the same file")
        self._hugepages_only = any(
            p.needs_hugepages or p.hugepages_if_any for p in (*open_ports, *plans)
        )

    def add_vdev(self, text: str) -> Port:
        """A port by DPDK's own words, as after ``--vdev``: "net_null0,size=64"."""
        return self.add_port(parse_vdev(text))

    def _make(
        self, kind: PortKind, plan: PortPlan, spec: PortSpec, undo: contextlib.ExitStack
    ) -> Port:
        index = len(self.ports)
        name = str(spec.options.get("name") or index)
        log = dpdklog.start()
        log.sync()
        log.recent.clear()
        try:
            device = plan.device or f"{kind.driver}{next(_serial)}"
            args = ",".join(f"{k}={v}" if v else k for k, v in plan.devargs.items())
            args = ",".join(filter(None, (args, plan.raw_args)))
            eal.hotplug_add(kind.bus, device, args)
            undo.callback(self._forget_device, kind.bus, device)
            port = Port(device, self, kind, plan, name, index)
            undo.callback(NativePort.close, port)
            self._configure(port, plan)
            if plan.on_made is not None:
                plan.on_made(port)
        except (PortError, PoolError) as e:
            detail = "; ".join(log.errors()[-2:])
            text = f"{spec}: {e.what}"
            if "Failed to connect socket" in detail:
                raise PortError(
                    f"{spec}: nobody listens on its socket",
                    hint="start the side with role=server first",
                ) from None
            if "failed to parse device" in detail:
                text = f"{spec}: DPDK has no driver for {device}, or it is not installed"
            elif detail:
                text += f" ({detail})"
            raise type(e)(text, e.errno or 0, hint=e.hint or hint_for(e)) from None
        self.ports.append(port)
        for warning in plan.warnings:
            dpdklog.logger.parent.warning("%s", warning)  # type: ignore[union-attr]
        return port

    @staticmethod
    def _forget_device(bus: str, device: str) -> None:
        with contextlib.suppress(VeridnetError):
            eal.hotplug_remove(bus, device)

    def _configure(self, port: Port, plan: PortPlan) -> None:
        info = port.info()
        queues = min(plan.queues, info["max_rx_queues"] or 1, info["max_tx_queues"] or 1)
        if queues < plan.queues:
            raise PortError(f"the device has at most {queues} queue(s), not {plan.queues}")
        if (
            plan.mtu is not None
            and plan.mtu + 18 > plan.data_room
            and not (plan.scatter and info["scatter"])
        ):
            plan.data_room = plan.mtu + 18
        need = queues * (plan.rx_desc + plan.tx_desc)
        if plan.own_pool:
            pool = self.add_pool(plan.own_pool, plan.data_room)
            pool.residue = plan.residue
            if not plan.residue:
                plan.resources.callback(pool.close)
        else:
            shared = self._shared_pool(need, plan.data_room)
            plan.resources.callback(shared.give_back, need)
            pool = shared.pool
        copies = self._copy_pool(plan, pool)
        port.configure(
            pool,
            copies,
            rx_queues=queues,
            tx_queues=queues,
            rx_desc=plan.rx_desc,
            tx_desc=plan.tx_desc,
            scatter=plan.scatter,
        )
        if plan.mtu is not None and plan.mtu != port.mtu:
            port.mtu = plan.mtu
        if plan.mac is not None:
            port.mac = plan.mac
        port.mtu_limit = max(port.mtu, plan.mtu or 0)
        port.limit_frames()
        port.set_tx(
            rx_only=plan.rx_only,
            direct=plan.direct,
            vlan_extra=plan.vlan_extra,
            policy=plan.policy,
            retry_s=None if plan.retry_us is None else plan.retry_us / 1e6,
        )
        port.describe_headers(port.index, plan.time_unit, plan.marks)
        if plan.guarded:
            port.guard()
        if plan.records is not None:
            port.set_trace(plan.records, plan.cut)
        port.start()
        if plan.promiscuous and not port.promiscuous:
            # Drivers without a MAC filter have nothing to switch.
            with contextlib.suppress(PortError):
                port.promiscuous = True

    def _copy_pool(self, plan: PortPlan, pool: Mempool) -> Mempool:
        """Where copies for this port come from: never the pool that its receive ring feeds on."""
        if plan.direct and plan.own_pool:
            return self._shared_pool(0, 9216 if plan.data_room > 2048 else 2048).pool
        return pool

    def port(self, name: str | int) -> Port:
        """The port of that name or order; of those that have been closed, the last."""
        named = [p for p in self.ports if p.name == str(name)]
        if named:
            return next((p for p in named if not p.closed), named[-1])
        if str(name).isdecimal() and int(name) < len(self.ports):
            return self.ports[int(name)]
        raise ConfigError(
            f"there is no port {name!r}", hint=f"ports: {', '.join(p.name for p in self.ports)}"
        )

    # -- workers ------------------------------------------------------------------------------

    @property
    def worker_cpus(self) -> list[int]:
        """The CPU of each worker lcore; lcore i + 1 is entry i."""
        return list(self._eal.cpus)

    def forwarder(self, ports: list[Port], workers: int = 1, **options: Any) -> Forwarder:
        """A Forwarder (see there) over `ports` on the first `workers` worker lcores.

        ``rules=`` a FlowTable: its rules are asked first, and name ports by their index here.
        """
        self._check()
        if not 1 <= workers <= len(self._eal.cpus):
            raise ConfigError(
                f"{workers} worker lcores are asked for, there are {len(self._eal.cpus)}",
                hint="lcores= names the CPUs of the workers",
            )
        if (rules := options.get("rules")) is not None:
            # A FlowTable, or the native table itself.
            options["rules"] = getattr(rules, "native", rules)
        placement.keep_interrupts_off(self._eal.cpus[:workers])
        bridging = options.get("destinations") is None
        room = options.get("stations", 8192) * 256 + 2 * MIB if bridging else 0

        def make(socket: int) -> Forwarder:
            return Forwarder(
                ports,
                list(range(1, workers + 1)),
                receive=[p.receives for p in ports],
                copy_pool=self.pool
                if bridging
                else max((p.pool for p in ports), key=lambda p: p.data_room),
                socket=socket,
                **options,
            )

        try:
            forwarder = make(self.reserve(room))
        except PoolError:
            if self.memory != "hugepages" or self.config.memory != "auto":
                raise
            forwarder = make(self._external(room))  # no device ever reads a bridge's table
        self.forwarders.append(forwarder)
        return forwarder

    # -- accounts -----------------------------------------------------------------------------

    def balance(self) -> Totals:
        """What was counted so far, over all ports, forwarders and bursts.

        ``rx + generated + copies == tx + sum(drops) + held`` whenever nothing is in motion.
        """
        if self._final is not None:
            return self._final
        return self._totals()

    def _totals(self) -> Totals:
        own = native_burst.account_read()
        t = Totals(generated=own["generated"], copies=own["copies"], held=native_burst.held())
        t.add_drops(own["drops"])
        for port in self.ports:
            count = port.counters()
            t.rx += count["rx_packets"]
            t.tx += count["tx_packets"]
            t.add_drops(count["drops"])
        for forwarder in self.forwarders:
            count = forwarder.counters()
            t.copies += count["copies"]
            t.add_drops(count["drops"])
        return t

    def mbufs_in_use(self) -> int:
        """Mbufs out of all pools of this runtime: 0 once it is closed and no view lives."""
        return sum(p.in_use for p in self.pools)

    # -- life ---------------------------------------------------------------------------------

    def _check(self) -> None:
        if self.closed or self._closing:
            raise ClosedError("the runtime is closed")

    def close(self) -> None:
        """Stops forwarders, frees bursts, removes ports, frees pools; EAL stays.

        Packets that bursts still hold are freed and counted as drops "closed". Views of packet
        bytes stay readable: the pool under them goes when the last view does. What went wrong
        while closing (an incomplete capture file) stands in `problems`. May be called twice.
        """
        if self.closed:
            return
        if os.getpid() != self._pid:
            # A forked child has nothing of its own to close.
            self.closed = True
            return
        with self._lifecycle:
            if self.closed or self._closing:
                return
            self._closing = True
        try:
            self._close()
        finally:
            self._closing = False

    def _close(self) -> None:
        global _current
        for forwarder in self.forwarders:
            forwarder.stop()
        native_burst.set_default_pool(None)
        native_burst.close_all()
        for port in reversed(self.ports):
            try:
                port.close()
            except VeridnetError as e:
                self.problems.append(f"port {port.name}: {e}")
            self.problems += port.problems
        native_burst.close_all()  # what threads that were sending have kept
        self._final = self._totals()
        for forwarder in self.forwarders:
            forwarder.release()
        for pool in self.pools:
            self.residue += pool.in_use if pool.residue else 0
            pool.close()
        self.closed = True
        with _lock:
            if _current is self:
                _current = None

    def __reduce__(self) -> Any:
        raise TypeError("a Runtime is of its process and cannot be copied")

    def __enter__(self) -> Self:
        self._check()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{len(self.ports)} port(s)"
        return f"<Runtime on {MEMORY_NAMES[self.memory]}, {state}>"


def hint_for(error: PortError | PoolError) -> str:
    """What usually mends an error number."""
    if error.errno in (errno.EPERM, errno.EACCES) and os.geteuid() == 0:
        return ""
    return {
        errno.EPERM: "run it with sudo",
        errno.EACCES: "run it with sudo",
        errno.ENOMEM: "fewer or smaller mbufs, or more memory: veridnet doctor",
    }.get(error.errno or 0, "")
