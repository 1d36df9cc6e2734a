"""`Running`: a pipeline that runs."""

from __future__ import annotations

import contextlib
import operator
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self

from veridnet import placement
from veridnet._native.worker import Engine
from veridnet.errors import ConfigError, StateError
from veridnet.pipeline import arrange as arranging
from veridnet.pipeline.pipeline import Pipeline, check_whole
from veridnet.pipeline.plan import Plan
from veridnet.pipeline.shared import Shared
from veridnet.pipeline.stats import Stats, collect
from veridnet.pipeline.trace import Trace
from veridnet.topology import Topology

if TYPE_CHECKING:
    from veridnet.runtime import Runtime

#: How often ports that lost their peer try to get it back, seconds.
RECONNECT_S = 1.0


class Stop(Protocol):
    """What ends a run: a threading.Event, or any flag."""

    def is_set(self) -> bool:
        """Is it time?"""


def check_pipeline(pipe: Any) -> None:
    """ConfigError unless it is one."""
    if not isinstance(pipe, Pipeline):
        raise ConfigError(f"{pipe!r} is no pipeline", hint="vn.Pipeline(rx=[a]).forward(b)")


class Running:
    """A started pipeline: `Runtime.start` makes it. A context manager, which stops it.

    Attributes
    ----------
    pipeline, plan
        What runs, and where.
    """

    def __init__(
        self,
        runtime: Runtime,
        pipe: Pipeline,
        *,
        lcores: Any = "auto",
        distribute: bool | None = None,
        burst: int = 32,
        count: int | None = None,
        idle: str = "busy",
        policy: str = "retry",
        trace: int = 0,
        stats: bool = True,
        rebalance: float | None = None,
    ) -> None:
        if policy not in ("retry", "drop"):
            raise ConfigError(f"policy={policy!r}: must be retry or drop")
        check_pipeline(pipe)
        if not isinstance(idle, str):
            raise ConfigError(f"idle={idle!r}: busy, adaptive or sleep")
        check_whole("burst", burst, 1, 512)
        check_whole("trace", trace, 0, 10000)
        if count is not None:
            check_whole("count", count, 1, (1 << 63) - 1)
        if rebalance is not None and (
            not isinstance(rebalance, (int, float)) or not 0.01 <= rebalance <= 3600
        ):
            raise ConfigError(f"rebalance={rebalance!r}: from 0.01 to 3600 seconds")
        self.runtime = runtime
        self.pipeline = pipe
        self.plan = arranging.arrange(runtime, pipe, lcores=lcores, distribute=distribute)
        self._distribute = distribute
        self._policy = policy
        self._idle = idle
        self._engine = Engine(
            [w.lcore for w in self.plan.workers],
            burst=burst,
            count=-1 if count is None else count,
            idle=idle,
            trace=trace,
            stats=stats,
        )
        self._lock = threading.RLock()
        self._shared: Shared
        self._programs, self._wires, self._shared = self._build(self.plan)
        self._engine.wire(self._programs, self._wires)
        self._now = self.plan, self._programs  # set at once: `_look`
        self._raised = False
        self._count = count
        self._received_before = 0
        self._main: tuple[int, set[int]] | None = None
        self._rebalance_every = rebalance
        self._next_rebalance = 0.0
        # The last look's (packets, time) of each queue, and whose counters they were.
        self._load_before: tuple[Any, list[tuple[int, float]]] = (None, [])
        self.started_at = 0.0
        self.duration = 0.0
        self.moves = 0  # queues that the rebalancer has moved

    @contextlib.contextmanager
    def _turn(self, timeout: float) -> Iterator[None]:
        """One thread at a time stops, swaps or moves; who waits for that has a timeout, too."""
        if not self._lock.acquire(timeout=max(0.0, min(timeout, threading.TIMEOUT_MAX))):
            raise StateError(f"another thread stops or swaps the pipeline, for {timeout:g} s now",
                             hint="call it again")  # fmt: skip
        try:
            yield
        finally:
            self._lock.release()

    def _build(self, plan: Plan, shared: Shared | None = None) -> Any:
        return arranging.build(
            self.runtime, plan, self._engine.errors, policy=self._policy,
            sleep=self._idle == "sleep", shared=shared,
        )  # fmt: skip

    # -- life ---------------------------------------------------------------------------------

    def start(self) -> Self:
        """Launches the workers. (`Runtime.start` has done it.)"""
        with self._lock:
            self.runtime.adopt(self)
            cpus = [w.cpu for w in self.plan.workers]
            placement.keep_interrupts_off(cpus)
            self._received_before = self.received()
            self._raised = False
            self._engine.start(self._programs)
            self._keep_main_off(cpus)
            self.started_at = time.monotonic()
            self._next_rebalance = self.started_at + (self._rebalance_every or 0)
        return self

    def _keep_main_off(self, cpus: Sequence[int]) -> None:
        """The calling thread, and those that it starts, use other CPUs than the workers, if any."""
        before = os.sched_getaffinity(0)
        others = before - set(cpus)
        if others and others != before:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(0, others)
                self._main = (threading.get_native_id(), before)

    def stop(self, timeout: float = 10.0) -> Stats:
        """Stops receiving, works off what rings hold, and returns the statistics.

        Raises what a Python stage raised; StateError if a worker does not come back in `timeout`
        seconds (a stage that sleeps): it names it, and can be called again. May be called twice.
        """
        with self._turn(timeout):
            if self._engine.running:
                self._engine.stop(timeout)
                self.duration = time.monotonic() - self.started_at
                self._restore_main()
        self.check()
        return self.stats()

    def _restore_main(self) -> None:
        if self._main is not None:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(*self._main)
            self._main = None

    def close(self, timeout: float = 10.0) -> None:
        """As `stop`; raises nothing that a stage has raised."""
        with self._turn(timeout):
            self._raised = True
            self.stop(timeout)

    def release(self) -> None:
        """Frees bridges' tables; the counters stay. Only when it has stopped."""
        for bridge in self._shared.bridges:
            bridge.release()

    def check(self) -> None:
        """Raises what a Python stage has raised, once."""
        errors = self._engine.errors
        if errors and not self._raised:
            self._raised = True
            stage, error = errors[0]
            error.add_note(f"(raised in stage {stage} of a pipeline)")
            raise error

    def swap(self, pipe: Pipeline, timeout: float = 10.0) -> Plan:
        """Goes on with another pipeline, between two bursts, on the same lcores.

        No packet is lost, duplicated or overtaken: workers finish what they have, rings between
        them are worked off, and packets wait meanwhile where they come from. Returns the new plan.
        ConfigError or StateError, and the old one runs on, if the new one cannot be.
        """
        check_pipeline(pipe)
        with self._turn(timeout):
            plan = arranging.arrange(
                self.runtime, pipe, lcores=[w.cpu for w in self.plan.workers],
                distribute=self._distribute,
                fixed=[w.lcore for w in self.plan.workers],
            )  # fmt: skip
            self._swap(plan, timeout)
            return plan

    def _swap(self, plan: Plan, timeout: float, kept: Shared | None = None) -> None:
        programs, wires, shared = self._build(plan, kept)
        self._engine.wire(programs, wires)
        old = self._shared
        self._engine.swap(programs, timeout)
        self._now = plan, programs
        self._programs, self._wires, self._shared = programs, wires, shared
        self.plan, self.pipeline = plan, plan.pipeline
        for bridge in old.bridges if shared is not old else ():
            bridge.release()
        self._load_before = (None, [])

    def move(self, owners: Sequence[int], timeout: float = 10.0) -> Plan:
        """Gives receive queues to other workers: owners[i] has the i-th queue of the plan.

        As `swap`: without loss, and without reordering. Bridges and buckets stay as they are.
        """
        if (
            isinstance(owners, (str, bytes))
            or not isinstance(owners, Sequence)
            or not all(isinstance(n, int) for n in owners)
        ):
            raise ConfigError(f"move: {owners!r}: the number of a worker for each receive queue",
                              hint="running.move([0, 1])")  # fmt: skip
        with self._turn(timeout):
            plan = arranging.arrange(
                self.runtime, self.pipeline, lcores=[w.cpu for w in self.plan.workers],
                distribute=self._distribute, owners=owners,
                fixed=[w.lcore for w in self.plan.workers],
            )  # fmt: skip
            before = self.owners()
            self._swap(plan, timeout, self._shared)
            self.moves += sum(a != b for a, b in zip(before, owners, strict=True))
            return plan

    # -- balance ------------------------------------------------------------------------------

    def owners(self) -> list[int]:
        """The worker of each receive queue, in the order of ``pipe.rx``."""
        plan = self.plan
        of = {(id(lane.source), lane.queue): w.number
              for w in plan.workers for lane in w.lanes if lane.is_port}  # fmt: skip
        return [
            of[id(port), q]
            for port in plan.pipeline.rx if hasattr(port, "n_rx_queues")
            for q in range(port.n_rx_queues)
        ]  # fmt: skip

    def loads(self) -> list[float]:
        """How much each receive queue occupied its worker since the last call: 0 to 1.

        Packets times cycles a packet, of the bursts that were timed, over the time.
        """
        loads: list[float] = self._look(self._loads)
        return loads

    def _loads(self, plan: Plan) -> list[float]:
        from veridnet._native import actions

        programs = self._engine.programs
        by_worker: list[list[dict[str, Any]]] = [[] for _ in plan.workers]
        for entry in self._engine.lanes():
            by_worker[entry["worker"]].append(entry)
        of = {}
        for w, entries in zip(plan.workers, by_worker, strict=True):
            for lane, entry in zip(w.lanes, entries, strict=True):
                of[id(lane.source), lane.queue] = entry
        now = time.monotonic()
        loads, seen = [], []
        queues = [(p, q) for p in plan.pipeline.rx if hasattr(p, "n_rx_queues")
                  for q in range(p.n_rx_queues)]  # fmt: skip
        of_whom, before = self._load_before
        if of_whom is not programs:
            before = [(0, self.started_at)] * len(queues)
        for (port, q), (packets, at) in zip(queues, before, strict=True):
            e = of[id(port), q]
            cost = e["cycles"] / e["timed"] if e["timed"] else 0.0
            cycles = max(now - at, 1e-6) * actions.tsc_hz()
            loads.append((e["packets"] - packets) * cost / cycles)
            seen.append((e["packets"], now))
        self._load_before = (programs, seen)
        return loads

    def _look(self, read: Callable[[Plan], Any]) -> Any:
        """What `read` makes of the plan and the counters of its programs.

        Another thread may swap both meanwhile, one just after the other; then it reads again.
        """
        for _ in range(100):
            (plan, programs), current = self._now, self._engine.programs
            if not current or all(map(operator.is_, current, programs)):
                try:
                    result = read(plan)
                except Exception:
                    if self._engine.programs is current:
                        raise
                else:
                    if self._engine.programs is current:
                        return result
            time.sleep(0.0001)
        return read(self.plan)

    def rebalance(self, threshold: float = 0.15) -> bool:
        """Moves receive queues from loaded workers to idle ones, near ones first.

        Returns whether any was moved. `loads` of the time since the last call decide.
        """
        with self._lock:
            if not self.running or self._engine.failed:
                return False
            queues = self.plan.options["queues"]
            receiving = [w for w in self.plan.workers if w.segment == 0]
            if len(receiving) < 2 or not queues:
                return False
            before = self.owners()
            after = placement.rebalance(
                Topology.read(), queues, [w.cpu for w in receiving], before, self.loads(),
                threshold=threshold,
            )  # fmt: skip
            if list(after) == before:
                return False
            self.move(after)
            return True

    # -- waiting ------------------------------------------------------------------------------

    def wait(
        self,
        *,
        duration: float | None = None,
        until_idle: float | None = None,
        stop: Stop | None = None,
        tick: Callable[[], None] | None = None,
        period: float = 1.0,
        look: Callable[[float], None] | None = None,
    ) -> str:
        """Waits until something ends the run, and says what: it is still to be stopped.

        Parameters
        ----------
        duration
            Seconds, at most.
        until_idle
            End when nothing has been received for so many seconds.
        stop
            End when its ``is_set()`` is true: a threading.Event that another thread sets, or any
            flag that a signal handler sets. (It is never waited for: a handler that sets an Event
            in the thread that waits for it can hang.)
        tick
            Called every `period` seconds.
        look
            Called often, with time.monotonic().

        Without any of them it ends when the traces have ended and all is through, or the count is
        reached; if there is neither a trace nor a count, never. A trace's end ends the run in
        any case, after `until_idle` where that is given. So does a stage that raises.
        """
        seen, seen_at = -1, self.started_at
        next_tick = self.started_at + period
        next_look = self.started_at + RECONNECT_S
        engine = self._engine
        while stop is None or not stop.is_set():
            # What the loops did before this look at the counters is what the look shows.
            ended = self.traces_ended() or engine.finished
            now = time.monotonic()
            total = self.received()
            if engine.failed:
                return "a stage raised"
            if not engine.running:
                return "stopped"
            if total != seen:
                seen, seen_at = total, now
            if until_idle is not None and now - seen_at >= until_idle:
                return "idle"
            if ended and until_idle is None:
                return "end of trace"
            if self._count is not None and total - self._received_before >= self._count:
                return "count reached"
            if duration is not None and now - self.started_at >= duration:
                return "duration over"
            if now >= next_look:
                for port in self._shared.ports:
                    port.reconnect()
                next_look = now + RECONNECT_S
            if self._rebalance_every is not None and now >= self._next_rebalance:
                with contextlib.suppress(StateError):  # a worker that sleeps: the next time
                    self.rebalance()
                self._next_rebalance = time.monotonic() + self._rebalance_every
            if look is not None:
                look(now)
            if tick is not None and now >= next_tick:
                tick()
                next_tick = max(next_tick + period, now)
            left = duration - (now - self.started_at) if duration is not None else 1.0
            # Short runs are noticed soon; long ones cost little.
            pause = 0.002 if now - self.started_at < 0.25 else 0.02
            time.sleep(min(pause, max(left, 0.0)))
        return "stopped"

    def received(self) -> int:
        """Packets that its ports have received so far."""
        return sum(p.counters()["rx_packets"] for p in self._shared.ports)

    def traces_ended(self) -> bool:
        """Does at least one port read a trace, and have all such traces ended?"""
        finite = [p for p in self._shared.ports if p.receives and p.finite]
        return bool(finite) and all(p.exhausted for p in finite)

    # -- what it did --------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Has it not been stopped?"""
        return self._engine.running

    @property
    def ended(self) -> bool:
        """Has it been started, and stopped?"""
        return self.started_at > 0 and not self._engine.running

    @property
    def finished(self) -> bool:
        """Have all its workers come to an end by themselves (traces ended, a stage raised)?"""
        return self._engine.finished

    @property
    def errors(self) -> list[tuple[str, BaseException]]:
        """(stage, exception) of what Python stages have raised."""
        return list(self._engine.errors)

    @property
    def budget(self) -> int:
        """Packets that it may still receive; negative: no limit."""
        return self._engine.budget

    @property
    def ports(self) -> list[Any]:
        """Its ports, by number."""
        return list(self._shared.ports)

    @property
    def bridges(self) -> list[Any]:
        """The tables of its bridge stages (`veridnet._native.stages.Bridge`)."""
        return list(self._shared.bridges)

    def counters(self) -> dict[str, Any]:
        """``copies``, ``drops`` (reason -> packets) that are no port's, ``held`` in rings."""
        return self._engine.counters()

    def missed(self) -> tuple[int, int]:
        """(packets, bytes) that no rule matched."""
        return self._engine.missed()

    def passes(self) -> list[tuple[int, int, int]]:
        """For each worker (passes over its lanes, those that received something, sleeps)."""
        return self._engine.passes()

    def stats(self) -> Stats:
        """What each stage and each worker did until now."""
        stats: Stats = self._look(self._stats)
        return stats

    def _stats(self, plan: Plan) -> Stats:
        stages, lanes, drops = collect(self._engine.stages(), self._engine.lanes())
        nodes = [n for segment in plan.segments for x in segment for n in x.walk()]
        names = {n.number: (n.stage.kind, n.stage.text) for n in nodes}
        names[max(names, default=-1) + 1] = ("(end)", "what reached the end")
        workers = [
            {"worker": w.number, "lcore": w.lcore, "cpu": w.cpu, "passes": total,
             "busy_passes": busy, "sleeps": sleeps}
            for w, (total, busy, sleeps) in zip(plan.workers, self.passes(), strict=True)
        ]  # fmt: skip
        sources = [lane.text for w in plan.workers for lane in w.lanes]
        return Stats(stages, lanes, names, drops, workers, sources)

    def trace(self) -> Trace:
        """What happened to the packets that ``trace=`` follows, stage by stage."""
        trace: Trace = self._look(self._trace)
        return trace

    def _trace(self, plan: Plan) -> Trace:
        nodes = [n for segment in plan.segments for x in segment for n in x.walk()]
        names = {n.number: n.stage.kind for n in nodes}
        return Trace(self._engine.trace(), names, self._shared.ports)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.close()
        else:
            self.stop()

    def __repr__(self) -> str:
        state = "running" if self.running else "stopped"
        return f"<{state} pipeline: {self.pipeline!r}>"

    def __reduce__(self) -> Any:
        raise TypeError("a running pipeline is of its process and cannot be pickled")
