"""The runtime: EAL, the memory under the pools, and the ports."""

from __future__ import annotations

import atexit
import contextlib
import inspect
import itertools
import os
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from veridnet import dpdklog, hugepages
from veridnet._native import burst as native_burst
from veridnet._native import eal
from veridnet._native import rcu as native_rcu
from veridnet._native import ring as native_ring
from veridnet._native import stack as native_stack
from veridnet._native.memory import Mempool
from veridnet._native.port import NativePort
from veridnet.account import Totals
from veridnet.config import LOG_LEVELS, PortSpec, RuntimeConfig, parse_port, parse_vdev
from veridnet.eal import MEMORY_NAMES, start_eal
from veridnet.errors import (
    ClosedError,
    ConfigError,
    EalError,
    PoolError,
    PortError,
    StateError,
    VeridnetError,
)
from veridnet.group import Group
from veridnet.pipeline.pipeline import Pipeline
from veridnet.pipeline.running import Running, Stop
from veridnet.pipeline.stats import Stats
from veridnet.pools import Pools
from veridnet.port import Port, hint_for
from veridnet.ports import KINDS, PortKind, PortPlan

__all__ = ["Port", "Runtime", "Totals"]

#: What `Runtime.start` takes.
OPTIONS = tuple(inspect.signature(Running.__init__).parameters)[3:]

_current: Runtime | None = None
_serial = itertools.count()
_lock = threading.RLock()


def _close_at_exit() -> None:
    """Lcores must not run on while the interpreter is taken down."""
    if _current is not None:
        _current.close()


atexit.register(_close_at_exit)


def current() -> Runtime | None:
    """The runtime that is open."""
    return _current


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
        self.pipelines: list[Running] = []  # all but those that have ended before another came
        self._ended = Totals()  # what those counted, and who still has them
        self._ended_pipelines: weakref.WeakSet[Running] = weakref.WeakSet()
        self.problems: list[str] = []
        self.residue = 0  # mbufs that drivers never gave back (net_af_xdp's fill ring)
        self.closed = True
        self._pid = os.getpid()
        self._lifecycle = threading.RLock()  # ports do not come while all are going
        self._closing = False
        self._final: Totals | None = None
        global _current
        with _lock:
            if _current is not None:
                raise EalError("another Runtime is open in this process", hint="close it first")
            self._eal = start_eal(self.config)
            self._pools = Pools(self._eal, self.config)
            _current = self
        self.closed = False
        native_burst.account_reset()
        eal.log_level("", LOG_LEVELS[self.config.log_level])
        try:
            native_burst.set_default_pool(self._pools.make_default())
        except BaseException:
            self.close()
            raise

    @property
    def group(self) -> Group | None:
        """The processes that share this one's memory, and its place among them; None: none do."""
        return self._eal.group

    # -- memory -------------------------------------------------------------------------------

    @property
    def memory(self) -> str:
        """Which memory the pools have: "hugepages", "thp" or "4k"."""
        return self._eal.memory

    def memory_report(self) -> dict[str, Any]:
        """The memory kind, why it was chosen, and how much of it is on huge pages (bytes).

        Where hugepages did not suffice for every pool, ``name`` and ``pools`` (memory kind ->
        pools made) say what the others lie on, and the bytes are those of the others. ``nodes``
        says how many bytes of the pools lie on which NUMA node, where the kernel tells it.
        """
        return self._pools.report()

    def promote_memory(self) -> tuple[int, int]:
        """Makes huge pages of what is small in the heap of transparent huge pages, used or not.

        Returns how many bytes were huge before and are after; (0, 0) where there is no such heap.
        PoolError before Linux 6.1.
        """
        self._check()
        return self._pools.promote()

    def reserve(self, size: int) -> int:
        """Makes room for `size` bytes; returns the socket id to allocate them on (-1: any)."""
        return self._pools.reserve(size)

    def reserve_external(self, size: int) -> int:
        """As `reserve`, on transparent huge pages: for what no device reads."""
        return self._pools.external(size)

    def add_pool(
        self, mbufs: int, data_room: int = 2048, name: str = "", node: int | None = None
    ) -> Mempool:
        """A new pool of `mbufs` buffers for frames of up to `data_room` bytes each.

        It is closed with the runtime. PoolError where there is no memory for it. With memory
        "auto", a pool for which the free hugepages do not suffice is made on transparent huge
        pages, as if there were none, unless a port needs hugepages (a NIC, memif's zero_copy).

        With a NUMA ``node``, it lies there: hugepages must be free on it, other memory is taken
        from other nodes, too, if it is full (`Mempool.pages` tells). ConfigError for no such node.
        """
        self._check()
        return self._pools.add(mbufs, data_room, name, node)

    @property
    def pools(self) -> list[Mempool]:
        """All pools that were made, in order."""
        return self._pools.all

    @property
    def pool(self) -> Mempool:
        """The default pool: buffers of 2,048 bytes."""
        self._check()
        return self._pools.default

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
        if self.group is not None and not self.group.primary:
            raise ConfigError(
                "a secondary process makes no ports",
                hint="make them in the primary, and hand packets over by a Ring with a name",
            )
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
                    hint=f"{hugepages.command('reserve', 256)}, then start again",
                )
        if read & written:
            raise ConfigError("another port reads or writes the same file")
        self._pools.hugepages_only = any(
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
            shared = self._pools.shared(need, plan.data_room, info["numa_node"])
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
            interrupts=plan.interrupts,
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
            return self._pools.shared(0, 9216 if plan.data_room > 2048 else 2048).pool
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

    @property
    def worker_lcores(self) -> list[int]:
        """The id of each worker lcore: from 1, but in processes that share memory."""
        return [self._eal.first_lcore + 1 + i for i in range(len(self._eal.cpus))]

    def busy_lcores(self) -> set[int]:
        """Worker lcores that pipelines run on."""
        return {w.lcore for p in self.pipelines if p.running for w in p.plan.workers}

    def prepare(self, pipe: Pipeline, **options: Any) -> Running:
        """As `start`, and launches nothing yet: `Running.start` does."""
        self._check()
        self._forget_ended()
        unknown = [name for name in options if name not in OPTIONS]
        if unknown:
            raise ConfigError(f"a pipeline has no option {unknown[0]!r}",
                              hint=f"options: {', '.join(OPTIONS)}")  # fmt: skip
        running = Running(self, pipe, **options)
        self.pipelines.append(running)
        return running

    def _forget_ended(self) -> None:
        """Keeps of pipelines that have ended what they counted: their memory is their owner's."""
        for pipeline in [p for p in self.pipelines if p.ended]:
            self.pipelines.remove(pipeline)
            self._ended_pipelines.add(pipeline)
            count = pipeline.counters()
            self._ended.copies += count["copies"]
            self._ended.add_drops(count["drops"])

    def adopt(self, pipeline: Running) -> None:
        """A pipeline that had ended starts again."""
        self._check()
        if pipeline in self._ended_pipelines:
            self._ended_pipelines.discard(pipeline)
            self.pipelines.append(pipeline)
            count = pipeline.counters()
            self._ended.copies -= count["copies"]
            self._ended.add_drops({reason: -n for reason, n in count["drops"].items()})

    def start(self, pipe: Pipeline, **options: Any) -> Running:
        """Starts a pipeline on worker lcores.

        Parameters
        ----------
        lcores
            "auto" (one for each receive queue, as long as there are CPUs besides the main
            thread's), how many, or a list of CPUs. One copy runs for each share of the receive
            queues.
        distribute
            True: one worker receives, and deals flows out to the others. By default, where there
            are more workers than receive queues.
        burst
            Packets that a receive call asks for (1 to 512).
        count
            Packets to receive in all.
        idle
            "busy": workers poll, always. "adaptive": they sleep, longer and longer (2 to 200 us),
            after 2,000 polls without a packet. "sleep": they wait for interrupts where every port
            has them, else as adaptive, sooner.
        policy
            Of packets that a port does not take: "retry" (for a bounded time) or "drop".
        trace
            Packets that are followed through all stages: `Running.trace`.
        stats
            False: stages count only what the balance needs (they cost a percent or two).
        rebalance
            Seconds between looks whether queues should move to other workers (`Running.wait` does
            it).

        The ports cannot be used otherwise meanwhile. ConfigError or StateError where it cannot be.
        """
        running = self.prepare(pipe, **options)
        try:
            return running.start()
        except BaseException:
            self.pipelines.remove(running)
            raise

    def run(
        self,
        pipe: Pipeline,
        *,
        duration: float | None = None,
        until_idle: float | None = None,
        stop: Stop | None = None,
        **options: Any,
    ) -> Stats:
        """Runs a pipeline until something ends it, and returns what its stages did.

        `duration`, `until_idle` and `stop` as in `Running.wait`, the others as in `start`. Raises
        what a Python stage raises. Ctrl-C ends it, and all that came is worked off, as ever.
        """
        running = self.start(pipe, **options)
        try:
            running.wait(duration=duration, until_idle=until_idle, stop=stop)
        except BaseException:
            running.close()
            raise
        return running.stop()

    # -- accounts -----------------------------------------------------------------------------

    def balance(self) -> Totals:
        """What was counted so far, over all ports, pipelines and bursts.

        ``rx + generated + copies == tx + sum(drops) + held`` whenever nothing is in motion. Where
        processes share rings, ``handed_in`` stands on the left and ``handed_out`` on the right.
        """
        if self._final is not None:
            return self._final
        return self._totals()

    def _totals(self) -> Totals:
        own = native_burst.account_read()
        t = Totals(generated=own["generated"], copies=own["copies"])
        t.held = native_burst.held() + native_ring.held()
        t.handed_in, t.handed_out = own["handed_in"], own["handed_out"]
        t.add_drops(own["drops"])
        for port in self.ports:
            count = port.counters()
            t.rx += count["rx_packets"]
            t.tx += count["tx_packets"]
            t.add_drops(count["drops"])
        for pipeline in self.pipelines:
            count = pipeline.counters()
            t.copies += count["copies"]
            t.held += count["held"]
            t.handed_in += count["handed_in"]
            t.handed_out += count["handed_out"]
            t.add_drops(count["drops"])
        t.copies += self._ended.copies
        t.add_drops({reason: n for reason, n in self._ended.drops.items() if n})
        return t

    def mbufs_in_use(self) -> int:
        """Mbufs out of all pools of this runtime: 0 once it is closed and no view lives.

        A primary's pools are those of its secondaries, too; a secondary counts its own only.
        """
        return sum(p.in_use for p in self.pools if not p.attached)

    # -- life ---------------------------------------------------------------------------------

    def _check(self) -> None:
        if self.closed or self._closing:
            raise ClosedError("the runtime is closed")

    def close(self) -> None:
        """Stops pipelines, frees bursts, removes ports, frees pools; EAL stays.

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
        for pipeline in self.pipelines:
            pipeline.close()
        native_burst.set_default_pool(None)
        self.problems += native_ring.close_all()  # wakes who waits in one
        self.problems += native_rcu.close_all()
        native_stack.close_all()
        native_burst.close_all()
        for port in reversed(self.ports):
            try:
                port.close()
            except VeridnetError as e:
                self.problems.append(f"port {port.name}: {e}")
            self.problems += port.problems
        native_burst.close_all()  # what threads that were sending have kept
        self._final = self._totals()
        for pipeline in (*self.pipelines, *self._ended_pipelines):
            pipeline.release()
        self._pools.end_sharing()
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
