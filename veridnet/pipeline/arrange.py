"""From a pipeline to a plan: how many workers, on which CPUs, with which queues and rings.

Run to completion on one core; one copy for each share of the receive queues on many; where the
queues are fewer than the workers, one receives and deals flows out; and stages after a handoff on
cores of their own. And from a plan to the workers' programs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from veridnet import placement
from veridnet._native.stages import Program, WorkerRing
from veridnet.errors import ClosedError, ConfigError, VeridnetError
from veridnet.pipeline.pipeline import Numbered, Pipeline
from veridnet.pipeline.plan import Lane, Link, Plan, WorkerPlan
from veridnet.pipeline.shared import Shared, Worker
from veridnet.pipeline.stages import Handoff, ToPort, ToRing
from veridnet.topology import Topology

RING = 1024


def arrange(
    runtime: Any,
    pipe: Pipeline,
    *,
    lcores: Any = "auto",
    distribute: bool | None = None,
    owners: Sequence[int] | None = None,
    fixed: Sequence[int] | None = None,
) -> Plan:
    """The plan of a pipeline on a runtime.

    Parameters
    ----------
    lcores
        "auto", how many workers, or on which CPUs.
    distribute
        True: one worker receives and deals flows out to the others. None: where there are more
        workers than receive queues.
    owners
        For each receive queue, in order, the worker that has it (a rebalancer's).
    fixed
        The lcores of a plan that runs: the new one has the same.
    """
    topology = Topology.read()
    notes: list[str] = []
    if not pipe.rx:
        raise ConfigError("the pipeline receives from nowhere", hint="Pipeline(rx=[port, ...])")
    nodes = pipe.numbered()
    check(runtime, pipe)
    segments = cut(nodes)
    handoffs = [x for s in segments[:-1] if isinstance(x := s[-1].stage, Handoff)]
    queues = [
        (port, q) for port in pipe.rx if hasattr(port, "n_rx_queues")
        for q in range(port.n_rx_queues)
    ]  # fmt: skip
    rings = [r for r in pipe.rx if not hasattr(r, "n_rx_queues")]
    sources = len(queues) + len(rings)
    known = [placement.Queue(p.name, q, node_of(p)) for p, q in queues]
    free = dict(zip(runtime.worker_cpus, runtime.worker_lcores, strict=True))
    if fixed is not None:
        on = dict(zip(runtime.worker_lcores, runtime.worker_cpus, strict=True))
        cpus = [on[lcore] for lcore in fixed]
    else:
        for busy in runtime.busy_lcores():
            free = {cpu: lcore for cpu, lcore in free.items() if lcore != busy}
        least = 2 if distribute and not handoffs else 1
        cpus = choose(topology, known, sources, handoffs, lcores, free, notes, least)
    later = sum(h.workers for h in handoffs)
    if later and len(cpus) <= later:
        notes.append(
            f"handoffs ask for {later + 1} workers and there are {len(cpus)}: "
            "their stages run where the others do"
        )
        segments, handoffs, later = [join(segments)], [], 0
    first = len(cpus) - later
    dealt = False
    if distribute is None:
        distribute = not handoffs and 1 <= sources < first
    if distribute and first > 1 and not handoffs:
        deal = Handoff(first - 1, RING, "wait")
        at = max(n.number for node in nodes for n in node.walk()) + 2 if nodes else 1
        segments = [(Numbered(at, (), deal, ()),), segments[0]]
        handoffs, later, first, dealt = [deal], first - 1, 1, True
        notes.append(
            f"{sources} receive queue(s) for {len(cpus)} workers: worker 0 receives and deals "
            "flows out to the others; each flow keeps its order"
        )
    elif distribute and first == 1:
        notes.append("distribute: there is one worker, and nobody to deal flows out to")
    elif first > sources:
        notes.append(f"{sources} receive queue(s): {first - sources} worker(s) have nothing to do")
    workers, links = seat(
        topology, known, queues, rings, cpus, free, first, handoffs, owners, fixed, notes
    )
    return Plan(
        pipe, tuple(segments), tuple(workers), tuple(links), tuple(notes),
        {"distribute": dealt, "queues": known},
    )  # fmt: skip


def check(runtime: Any, pipe: Pipeline) -> None:
    """ConfigError if a stage names a port that the pipeline does not have."""
    rings = [r for r in pipe.rx if not hasattr(r, "n_rx_queues")]
    shared = Shared(runtime, pipe.all_ports(), rings, [])
    for node in pipe.flat():
        inputs = [a for a, _ in node.stage.pairs] if isinstance(node.stage, ToPort) else []
        for port in (*inputs, *node.stage.outputs()):
            shared.number(port)


def cut(nodes: Sequence[Numbered]) -> list[tuple[Numbered, ...]]:
    """Stages, up to and with each handoff."""
    segments: list[tuple[Numbered, ...]] = []
    now: list[Numbered] = []
    for node in nodes:
        now.append(node)
        if isinstance(node.stage, Handoff):
            segments.append(tuple(now))
            now = []
    return [*segments, tuple(now)]


def join(segments: Sequence[tuple[Numbered, ...]]) -> tuple[Numbered, ...]:
    """Without the handoffs."""
    return tuple(n for s in segments for n in s if not isinstance(n.stage, Handoff))


def node_of(port: Any) -> int:
    """A port's NUMA node, -1 for none that is known."""
    try:
        return int(port.info()["numa_node"])
    except VeridnetError:
        return -1


def choose(
    topology: Topology,
    queues: Sequence[placement.Queue],
    sources: int,
    handoffs: Sequence[Handoff],
    lcores: Any,
    free: dict[int, int],
    notes: list[str],
    least: int = 1,
) -> list[int]:
    """The CPUs of the workers, in the order of the workers."""
    if not free:
        raise ConfigError("no worker lcore is free: other pipelines run on all of them",
                          hint="stop one, or give the Runtime more CPUs: lcores=")  # fmt: skip
    later = sum(h.workers for h in handoffs)
    if isinstance(lcores, (list, tuple)):
        for cpu in lcores:
            if cpu not in free:
                raise ConfigError(f"lcores: CPU {cpu} has no free worker lcore",
                                  hint=f"CPUs: {', '.join(map(str, free))}")  # fmt: skip
        if len(set(lcores)) != len(lcores) or not lcores:
            raise ConfigError("lcores: each CPU once, and one at least")
        return list(lcores)
    if isinstance(lcores, bool) or not (lcores == "auto" or isinstance(lcores, int)):
        raise ConfigError(f"lcores={lcores!r}: auto, a number of workers, or a list of CPUs")
    if lcores == "auto":
        most = max(1, len(free) - 1)
        want = max(least, min(sources, most - later)) + later
        if want > len(free):
            want = len(free)
        elif want > most:
            notes.append("the main thread shares a worker's CPU: there are no others")
        notes.append(f"auto: {want} worker(s) for {sources} receive queue(s) on {len(free)} CPU(s)")
    else:
        want = lcores
        if not 1 <= want <= len(free):
            raise ConfigError(
                f"{want} worker lcores are asked for, there are {len(free)} free",
                hint="lcores= of the Runtime names the CPUs of the workers",
            )
    allowed = [c for c in free if c in topology.usable]
    if len(allowed) < want:
        return list(free)[:want]
    return placement.choose_cpus(topology, queues, want, among=allowed)


def seat(
    topology: Topology,
    known: Sequence[placement.Queue],
    queues: Sequence[tuple[Any, int]],
    rings: Sequence[Any],
    cpus: Sequence[int],
    free: dict[int, int],
    first: int,
    handoffs: Sequence[Handoff],
    owners: Sequence[int] | None,
    fixed: Sequence[int] | None,
    notes: list[str],
) -> tuple[list[WorkerPlan], list[Link]]:
    """Workers with their queues and rings, and the links between segments."""
    head = list(cpus[:first])
    if owners is None:
        owners = placement.assign(topology, known, head) if known else []
    elif len(owners) != len(queues) or not all(0 <= k < first for k in owners):
        raise ConfigError(f"owners: a worker below {first} for each of {len(queues)} queues")
    lanes: list[list[Lane]] = [[] for _ in cpus]
    for (port, q), k in zip(queues, owners, strict=True):
        lanes[k].append(Lane(port, q))
    for i, ring in enumerate(rings):
        lanes[(len(queues) + i) % first].append(Lane(ring))
    reasons = placement.explain(topology, known, head, owners) if known else []
    links, at, producers = [], first, tuple(range(first))
    for number, handoff in enumerate(handoffs):
        consumers = tuple(range(at, at + handoff.workers))
        links.append(Link(number, handoff.size, handoff.full, producers, consumers))
        for k in consumers:
            lanes[k].append(Lane(number))
        at += handoff.workers
        producers = consumers
    segment_of = {k: i + 1 for i, link in enumerate(links) for k in link.consumers}
    workers = []
    for k, cpu in enumerate(cpus):
        lcore = fixed[k] if fixed is not None else free[cpu]
        why = reasons[k] if k < len(reasons) else "the stages after a handoff"
        workers.append(WorkerPlan(k, lcore, cpu, segment_of.get(k, 0), tuple(lanes[k]), why))
    return workers, links


def build(
    runtime: Any,
    plan: Plan,
    errors: list[Any],
    *,
    policy: str = "retry",
    sleep: bool = False,
    shared: Shared | None = None,
) -> tuple[list[Program], list[dict[int, list[int]]], Shared]:
    """The native programs of a plan, and whose rings their lanes read.

    `shared`: of the programs before, if only queues move: stages keep what they have learned.
    """
    pipe = plan.pipeline
    ports = pipe.all_ports()
    for port in ports:
        if not hasattr(port, "n_rx_queues"):
            raise ConfigError(f"the pipeline has no port {port!r}")
        if port.closed:
            raise ClosedError(f"port {port.name} is closed")
        if port.runtime is not runtime:
            raise ConfigError(f"port {port.name} is another runtime's")
    rings = [r for r in pipe.rx if not hasattr(r, "n_rx_queues")]
    if shared is None:
        shared = Shared(runtime, ports, rings, errors)
        shared.segments = [shared.prepare(segment) for segment in plan.segments]
    segments = shared.segments
    nodes = [n for segment in plan.segments for x in segment for n in x.walk()]
    # Which stage is not known to keep a burst's order within each output?
    ordered = any(n.stage.orders for n in nodes)
    senders = spread(plan, ports, nodes)
    links = {
        link.number: [
            WorkerRing(link.size, len(link.producers) > 1, runtime.reserve(link.size * 16 + 4096))
            for _ in link.consumers
        ]
        for link in plan.links
    }
    copy_pool = max((p.pool for p in ports), key=lambda p: p.data_room) if ports else None
    if any(p.plan.own_pool for p in ports):
        copy_pool = runtime.pool  # never the pool that a receive ring feeds on
    end = max((n.number for n in nodes), default=-1) + 1
    programs, wiring = [], []
    for w in plan.workers:
        out = next((x for x in plan.links if w.number in x.producers), None)
        sinks = [(ring, wait, True) for ring, wait in shared.sinks]
        first = len(sinks)
        if out is not None:
            sinks += [(ring, out.full == "wait", False) for ring in links[out.number]]
        me = Worker(w.number, first, len(sinks) - first)
        lanes: list[Any] = []
        wires: dict[int, list[int]] = {}
        for i, lane in enumerate(w.lanes):
            if lane.is_port:
                number = shared.number(lane.source)
                intr = sleep and lane.source.plan.interrupts
                lanes.append((lane.source, lane.queue, number, intr))
            elif isinstance(lane.source, int):
                link = plan.links[lane.source]
                lanes.append((links[lane.source][link.consumers.index(w.number)], None))
                wires[i] = list(link.producers)
            else:
                lanes.append((lane.source, shared.number(lane.source)))
        programs.append(
            Program(
                ports,
                [senders.get((i, w.number), 0) for i in range(len(ports))],
                lanes,
                sinks,
                [make(me) for make in segments[w.segment]],
                reader=w.number,
                copy_pool=copy_pool,
                policy=policy,
                end=end,
                ordered=ordered,
                copies=any(n.stage.copies for n in nodes),
            )
        )
        wiring.append(wires)
    return programs, wiring, shared


def spread(plan: Plan, ports: Sequence[Any], nodes: Sequence[Numbered]) -> dict[Any, int]:
    """(port's number, worker) -> tx queue: of its own where there are enough."""
    sends = [
        any(not isinstance(n.stage, (Handoff, ToRing)) for n in segment)
        for segment in plan.segments
    ]
    sending = [w.number for w in plan.workers if w.lanes and sends[w.segment]]
    # What can name any port, and any queue of it.
    anywhere = any(n.stage.kind == "apply" for n in nodes)
    queue_of = {}
    for i, port in enumerate(ports):
        if len(sending) > port.n_tx_queues or (anywhere and len(sending) > 1):
            port.set_tx(shared=True)
        for at, k in enumerate(sending):
            queue_of[i, k] = at % port.n_tx_queues
    return queue_of
