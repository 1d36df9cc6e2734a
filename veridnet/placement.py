"""Which CPU each lcore runs on, and which worker serves which receive queue.

All but the last two functions are pure: they look at a `Topology` and decide the same way every
time. A worker is known by its index in ``cpus``.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from veridnet.errors import ConfigError
from veridnet.topology import NEAR_NAMES, REMOTE, SAME_CORE, Topology, show_cpus
from veridnet.topology_read import usable_cpus as usable_cpus

__all__ = [
    "Queue", "assign", "choose_cpus", "explain", "keep_interrupts_off", "lcore_map", "rebalance",
]  # fmt: skip


@dataclass(frozen=True)
class Queue:
    """An RX queue of a port, and the port's NUMA node (-1: unknown)."""

    port: str
    index: int
    node: int = -1

    def __str__(self) -> str:
        return f"{self.port}.{self.index}"


def choose_cpus(
    topology: Topology,
    queues: Sequence[Queue],
    n: int | None = None,
    *,
    main: int | None = None,
    among: Sequence[int] | None = None,
) -> list[int]:
    """The CPUs of `n` busy workers, best first.

    One after the other, each the best of what is left: not the main thread's CPU; on a physical
    core without a busy worker; on a queue's node (where isolated CPUs suffice, and are on other
    nodes only, there); isolated; on the node that has the fewest workers for its queues (without
    known nodes: on the main thread's); not on the main thread's core; the lowest number.

    Parameters
    ----------
    n
        None for as many as make sense: a worker for each queue, at most every usable CPU but the
        main thread's, and none that `assign` would leave without a queue.
    main
        The main thread's CPU; None for the first that is not isolated.
    among
        The CPUs to choose from; None for all that this process may use.

    ConfigError where there are fewer CPUs than `n`.
    """
    usable = [c for c in topology.usable if among is None or c in among]
    auto = n is None
    if n is None:
        n = max(1, min(len(queues), len(usable) - 1))
    if n < 1:
        raise ConfigError(f"{n} workers: at least 1")
    if n > len(usable):
        raise ConfigError(
            f"{n} workers are asked for, and this process may use {len(usable)} CPU(s)",
            hint=f"at most {len(usable)} (CPUs {show_cpus(usable)}); veridnet topology shows them",
        )
    if main is None:
        main = next((c for c in usable if not topology.cpu(c).isolated), usable[0])
    at_main = topology.cpu(main if main in usable else usable[0])
    wanted = Counter(q.node for q in queues if q.node >= 0)
    isolated = [topology.cpu(c).node for c in usable if topology.cpu(c).isolated and c != main]
    only_isolated = len(isolated) >= n and not set(isolated) & set(wanted)
    chosen: list[int] = []

    def cost(c: int) -> tuple[float, ...]:
        cpu = topology.cpu(c)
        busy = any(c in topology.cpu(w).siblings for w in chosen)
        there = sum(topology.cpu(w).node == cpu.node for w in chosen)
        # Workers on the node for each of its queues: the node that is served worst comes first.
        if wanted:
            share = (there + 1) / wanted[cpu.node] if wanted[cpu.node] else math.inf
        else:
            share = cpu.node != at_main.node
        away = math.isinf(share) and not only_isolated
        return (c == main, busy, away, not cpu.isolated, share, c in at_main.siblings, c)

    for _ in range(n):
        chosen.append(min((c for c in usable if c not in chosen), key=cost))
    if auto and queues:
        serving = set(assign(topology, queues, chosen))
        chosen = [c for k, c in enumerate(chosen) if k in serving]
    return chosen


def assign(
    topology: Topology,
    queues: Sequence[Queue],
    cpus: Sequence[int],
    *,
    load: Mapping[int, float] | None = None,
) -> list[int]:
    """The worker of each queue: on the queue's node where one is, balanced, deterministic.

    Queues of one port go to different workers. Where every worker may serve every queue and no
    load is known, queue q of the i-th port goes to worker (i + q) mod n, unless that gives one
    worker two queues more than another.

    Parameters
    ----------
    load
        What each queue (by its position) costs, in any unit; balanced by count without. A queue
        that is not in it counts as the mean of those that are.
    """
    if not cpus:
        raise ConfigError("no worker is there to serve queues")
    places = [candidates(topology, q, cpus) for q in queues]
    ports = {name: i for i, name in enumerate(dict.fromkeys(q.port for q in queues))}
    if load is None and all(len(p) == len(cpus) for p in places):
        turns = [(ports[q.port] + q.index) % len(cpus) for q in queues]
        counts = [turns.count(k) for k in range(len(cpus))]
        if max(counts) - min(counts) < 2:
            return turns
    mean = sum(load.values()) / len(load) if load else 1.0
    cost = [(load or {}).get(i, mean) for i in range(len(queues))]
    total = [0.0] * len(cpus)
    of_port: Counter[tuple[str, int]] = Counter()
    owner = [0] * len(queues)
    # Those with the least choice first, then the heaviest.
    for i in sorted(range(len(queues)), key=lambda i: (len(places[i]), -cost[i], i)):
        queue, place = queues[i], places[i]
        first = ports[queue.port] + queue.index

        def rank(at: int) -> tuple[float, ...]:
            k, same = place[at], of_port[queue.port, place[at]]  # noqa: B023
            turn = (at - first) % len(place)  # noqa: B023
            return (total[k], same, turn) if load else (same, total[k], turn)

        k = place[min(range(len(place)), key=rank)]
        owner[i] = k
        total[k] += cost[i]
        of_port[queue.port, k] += 1
    return owner


def candidates(topology: Topology, queue: Queue, cpus: Sequence[int]) -> list[int]:
    """The workers that may serve a queue: those on its node, all where there is none."""
    on_node = [k for k, c in enumerate(cpus) if topology.cpu(c).node == queue.node]
    return on_node or list(range(len(cpus)))


def rebalance(
    topology: Topology,
    queues: Sequence[Queue],
    cpus: Sequence[int],
    owner: Sequence[int],
    load: Sequence[float],
    *,
    threshold: float = 0.15,
) -> list[int]:
    """New owners of the queues, after what each cost (`load`, any unit).

    Queues go from the most loaded worker to less loaded ones: the nearest of those that help at
    least half as much as the best (a queue stays on its port's node, then the target shares the
    core, L2, L3 or node), in as few moves as help. `owner` comes back unchanged unless the most
    loaded worker's load falls by more than `threshold` (a fraction of it): a queue that moves
    finds cold caches, and one that moves to and fro finds them always.
    """
    now = list(owner)
    total = [0.0] * len(cpus)
    for k, cost in zip(now, load, strict=True):
        total[k] += cost
    before = max(total, default=0.0)
    if before <= 0 or len(cpus) < 2:
        return now
    steps = [(before, list(now))]
    for _ in queues:
        hot = total.index(max(total))
        move = best_move(topology, queues, cpus, now, load, total, hot)
        if move is None:
            break
        i, k = move
        total[hot] -= load[i]
        total[k] += load[i]
        now[i] = k
        steps.append((max(total), list(now)))
    least = min(most for most, _ in steps)
    for most, owners in steps:
        # What the steps after this one would win does not pay for itself (nor would a next call).
        if before - most > threshold * before and most - least <= threshold * most:
            return owners
    return list(owner)


def best_move(
    topology: Topology,
    queues: Sequence[Queue],
    cpus: Sequence[int],
    owner: Sequence[int],
    load: Sequence[float],
    total: Sequence[float],
    hot: int,
) -> tuple[int, int] | None:
    """(queue, worker): the nearest move that relieves the worker `hot` well; None: none does."""
    moves = []
    for i, queue in enumerate(queues):
        if owner[i] != hot or load[i] <= 0:
            continue
        for k, cpu in enumerate(cpus):
            gain = total[hot] - max(total[hot] - load[i], total[k] + load[i])
            # (Beyond rounding: a + b - b need not be a.)
            if k == hot or gain <= 1e-9 * total[hot]:
                continue
            nodes = topology.cpu(cpus[hot]).node, topology.cpu(cpu).node
            leaves = queue.node == nodes[0] != nodes[1]
            near = topology.near(cpus[hot], cpu)
            far = topology.distance(*nodes) if near == REMOTE else 0
            comes = near == REMOTE and queue.node == nodes[1]  # home: as good as beside
            moves.append((leaves, 0 if comes else near, far, -gain, load[i], i, k))
    if not moves:
        return None
    most = max(-m[3] for m in moves)
    best = min(m for m in moves if -m[3] >= most / 2)
    return best[-2], best[-1]


def explain(
    topology: Topology, queues: Sequence[Queue], cpus: Sequence[int], owner: Sequence[int]
) -> list[str]:
    """A line for each worker: where it runs, what it serves, and why."""
    return [explain_one(topology, queues, cpus, owner, k) for k in range(len(cpus))]


def explain_one(
    topology: Topology,
    queues: Sequence[Queue],
    cpus: Sequence[int],
    owner: Sequence[int],
    worker: int,
) -> str:
    """`explain`'s line of one worker."""
    cpu = topology.cpu(cpus[worker])
    where = [f"node {cpu.node}", f"L3 {cpu.l3}" if cpu.l3 >= 0 else "", f"core {cpu.siblings[0]}"]
    mine = [q for q, k in zip(queues, owner, strict=True) if k == worker]
    why = ["isolated: nothing else runs there"] if cpu.isolated else []
    sharing = [k for k, c in enumerate(cpus) if k != worker and c in cpu.siblings]
    if sharing:
        why.append(f"{NEAR_NAMES[SAME_CORE]} as worker {', '.join(map(str, sharing))}: "
                   "no core was free")  # fmt: skip
    elif len(cpu.siblings) > 1:
        why.append("no other worker on its core")
    if not mine:
        why.append("no queue: there are fewer than workers, or the others' node has them")
    several = len({n.id for n in topology.nodes}) > 1
    home = [q for q in mine if q.node == cpu.node]
    away = [q for q in mine if q.node >= 0 and q.node != cpu.node]
    if several and home:
        why.append(f"on the node of {', '.join(map(str, home))}")
    for q in away:
        there = any(topology.cpu(c).node == q.node for c in cpus)
        why.append(f"{q} is on node {q.node}, "
                   + ("whose workers are busier" if there else "where no worker is")
                   + ": its packets cross nodes")  # fmt: skip
    if mine and not (several and (home or away)):
        why.append("queues in turn: one of each port to each worker")
    rx = ", ".join(map(str, mine)) or "-"
    return f"worker {worker} on CPU {cpu.id} ({', '.join(filter(None, where))}): rx {rx}; " + (
        "; ".join(why)
    )


def worker_cpus(workers: tuple[int, ...] | None, most: int = 127) -> list[int]:
    """The CPU of each worker lcore."""
    return list(workers) if workers is not None else usable_cpus()[:most]


def lcore_map(cpus: list[int], first: int = 0) -> str:
    """EAL's ``--lcores`` text: lcore `first` is the main one, first + 1 + i runs on entry i.

    The main lcore is Python's main thread: it floats over every CPU that the process may
    use, since EAL would otherwise pin it, and every thread and process started later with it.
    """
    allowed = sorted(os.sched_getaffinity(0))
    main = ",".join(map(str, allowed))
    parts = [f"{first}@({main})"] + [f"{first + 1 + i}@{cpu}" for i, cpu in enumerate(cpus)]
    return ",".join(parts)


#: EAL's interrupt thread, as 22.11 and 24.11 name it.
INTERRUPT_THREADS = ("eal-intr-thread", "dpdk-intr")


def keep_interrupts_off(cpus: Iterable[int]) -> None:
    """Keeps EAL's interrupt thread off the workers' CPUs, where there are others.

    net_memif takes its shared memory away in that thread when a peer goes. A worker that was
    preempted by it in the middle of a burst would go on in memory that is gone; one that runs
    beside it has long left the burst.
    """
    others = os.sched_getaffinity(0) - set(cpus)
    if not others:
        return
    tasks: list[Path] = []
    with contextlib.suppress(OSError):  # /proc may be hidden
        tasks = list(Path("/proc/self/task").iterdir())
    for task in tasks:
        with contextlib.suppress(OSError):
            if (task / "comm").read_text().strip() in INTERRUPT_THREADS:
                os.sched_setaffinity(int(task.name), others)
