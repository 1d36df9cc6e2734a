"""Which CPU, which worker: what must hold on every machine."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest
from fake_machine import machine, topology
from hypothesis import given
from hypothesis import strategies as st

from veridnet.errors import ConfigError
from veridnet.placement import (
    Queue,
    assign,
    choose_cpus,
    explain,
    lcore_map,
    rebalance,
    worker_cpus,
)
from veridnet.topology import Topology

ONE_NODE = topology(nodes=1, cores=8, smt=1)
TWO_NODES = topology()  # cores 0-3 and 4-7, their second threads 8-15


def ports(*counts: int, nodes: tuple[int, ...] = ()) -> list[Queue]:
    """Queues: `counts` of each port."""
    return [
        Queue("abcdefgh"[i], q, nodes[i] if nodes else -1)
        for i, n in enumerate(counts)
        for q in range(n)
    ]


def totals(owner: list[int], load: list[float], n: int) -> list[float]:
    sums = [0.0] * n
    for k, cost in zip(owner, load, strict=True):
        sums[k] += cost
    return sums


machines = st.builds(
    topology,
    nodes=st.integers(1, 3), cores=st.sampled_from([1, 2, 4]), smt=st.integers(1, 2),
    isolated=st.sampled_from([(), (1,), (1, 2)]),
)  # fmt: skip


@st.composite
def situations(draw: Any) -> tuple[Topology, list[Queue], list[int]]:
    """A machine, queues, and the CPUs of workers."""
    top = draw(machines)
    counts = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    nodes = draw(st.lists(st.integers(-1, len(top.nodes)), min_size=5, max_size=5))
    cpus = draw(st.lists(st.sampled_from(top.usable), min_size=1, max_size=6, unique=True))
    return top, ports(*counts, nodes=tuple(nodes)), cpus


loads = st.floats(0, 1e6)

# -- choose_cpus ----------------------------------------------------------------------------------


def test_one_worker_for_each_queue() -> None:
    assert choose_cpus(ONE_NODE, ports(1, 1)) == [1, 2]
    assert choose_cpus(ONE_NODE, ports(4, 4)) == [1, 2, 3, 4, 5, 6, 7]  # 0 is the main thread's
    assert choose_cpus(ONE_NODE, ports(4, 4), 8) == [1, 2, 3, 4, 5, 6, 7, 0]
    assert choose_cpus(ONE_NODE, ports(1, 1), main=1) == [0, 2]
    assert choose_cpus(ONE_NODE, []) == [1]
    assert choose_cpus(topology(nodes=1, cores=1, smt=1), ports(2)) == [0]


def test_isolated_first() -> None:
    top = topology(nodes=1, cores=8, smt=1, isolated=(5, 6))
    assert choose_cpus(top, ports(3)) == [5, 6, 1]


def test_on_the_queues_nodes() -> None:
    assert choose_cpus(TWO_NODES, ports(2, nodes=(1,))) == [4, 5]
    assert choose_cpus(TWO_NODES, ports(1, 1, nodes=(1, 0))) == [1, 4]
    # Three queues here and one there: as many workers.
    assert sorted(choose_cpus(TWO_NODES, ports(3, 1, nodes=(0, 1)), 4)) == [1, 2, 3, 4]
    # Nobody knows where they are: beside the main thread, where the pools are.
    assert choose_cpus(TWO_NODES, ports(2), main=4) == [5, 6]
    # A worker that would get no queue is none that makes sense.
    assert choose_cpus(TWO_NODES, ports(8, nodes=(1,))) == [4, 5, 6, 7]


def test_isolated_ones_on_other_nodes() -> None:
    queues = ports(3, nodes=(1,))
    # On the node they are taken first, and the others of the node before those elsewhere.
    assert choose_cpus(topology(smt=1, isolated=(2, 5, 6)), queues) == [5, 6, 4]
    # None is on the node: isolated elsewhere is better, if they suffice.
    assert choose_cpus(topology(smt=1, isolated=(1, 2, 3)), queues) == [1, 2, 3]
    assert choose_cpus(topology(smt=1, isolated=(1, 2)), queues) == [4, 5, 6]


def test_a_core_each_while_there_are_cores() -> None:
    top = topology(nodes=1, cores=4, smt=2)  # 0-3, 4-7
    assert choose_cpus(top, ports(3)) == [1, 2, 3]
    assert choose_cpus(top, ports(8), 4) == [1, 2, 3, 4]  # 4 is on the main thread's core
    assert choose_cpus(top, ports(8), 5) == [1, 2, 3, 4, 5]
    assert choose_cpus(top, ports(8), 8)[-1] == 0


def test_too_many() -> None:
    with pytest.raises(ConfigError, match="9 workers are asked for") as e:
        choose_cpus(ONE_NODE, ports(1), 9)
    assert "at most 8 (CPUs 0-7)" in e.value.hint
    with pytest.raises(ConfigError, match="0 workers"):
        choose_cpus(ONE_NODE, ports(1), 0)


@given(situations(), st.integers(1, 12), st.booleans())
def test_choices(situation: Any, n: int, isolated_main: bool) -> None:
    top, queues, cpus = situation
    main = cpus[0] if isolated_main else None
    if n > len(top.usable):
        with pytest.raises(ConfigError):
            choose_cpus(top, queues, n, main=main)
        return
    chosen = choose_cpus(top, queues, n, main=main)
    assert len(chosen) == len(set(chosen)) == n and set(chosen) <= set(top.usable)
    if main in chosen:
        assert chosen[-1] == main and n == len(top.usable)
    # (The main thread's own CPU may be the only one left of a free core.)
    busy = Counter(top.cpu(c).siblings for c in chosen)
    free = [s for s in top.cores if s not in busy and set(s) - {main, 0}]
    assert not free or max(busy.values()) == 1
    auto = choose_cpus(top, queues, main=main)
    assert 1 <= len(auto) <= max(1, min(len(queues), len(top.usable) - 1))
    assert set(assign(top, queues, auto)) == set(range(len(auto)))


# -- assign ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [(1, 1), (2, 2), (4, 4), (3,), (1, 1, 1), (2, 2, 2)])
@pytest.mark.parametrize("n", [1, 2])
def test_queues_in_turn_on_one_node(counts: tuple[int, ...], n: int) -> None:
    queues = ports(*counts, nodes=(0,) * len(counts))
    turns = [(ord(q.port) - ord("a") + q.index) % n for q in queues]
    assert assign(ONE_NODE, queues, list(range(n))) == turns


def test_no_worker_idles_while_another_has_two() -> None:
    # In turn, workers would have 3 and 1, or 1, 2, 1 and 0.
    assert Counter(assign(ONE_NODE, ports(1, 2, 1), [0, 1])) == {0: 2, 1: 2}
    assert sorted(assign(ONE_NODE, ports(2, 2), [0, 1, 2, 3])) == [0, 1, 2, 3]


def test_on_the_queue_s_node() -> None:
    queues = ports(2, 2, nodes=(1, 0))
    assert assign(TWO_NODES, queues, [1, 2, 4, 5]) == [2, 3, 1, 0]
    # Node 1 has no worker: anyone.
    assert sorted(assign(TWO_NODES, queues, [1, 2])) == [0, 0, 1, 1]


def test_by_load() -> None:
    queues = ports(4)
    owner = assign(ONE_NODE, queues, [1, 2], load={0: 9, 1: 1, 2: 1, 3: 7})
    assert sorted(totals(owner, [9, 1, 1, 7], 2)) == [9, 9]


@given(situations(), st.booleans(), st.data())
def test_assignments(situation: Any, known: bool, data: st.DataObject) -> None:
    top, queues, cpus = situation
    some = st.dictionaries(st.integers(0, len(queues) - 1), loads)
    load = data.draw(some) if known else None
    owner = assign(top, queues, cpus, load=load)
    assert owner == assign(top, queues, cpus, load=load)
    assert len(owner) == len(queues) and all(0 <= k < len(cpus) for k in owner)
    for queue, k in zip(queues, owner, strict=True):
        here = {top.cpu(c).node for c in cpus}
        assert queue.node not in here or top.cpu(cpus[k]).node == queue.node
    if load is None and len({top.cpu(c).node for c in cpus}) == 1:
        count = Counter(owner)
        assert max(count.values()) - min(count[k] for k in range(len(cpus))) <= 1
        of_port = Counter((q.port, k) for q, k in zip(queues, owner, strict=True))
        for port in {q.port for q in queues}:
            n = sum(q.port == port for q in queues)
            assert max(v for (p, _), v in of_port.items() if p == port) <= -(-n // len(cpus))


def test_no_worker() -> None:
    with pytest.raises(ConfigError, match="no worker"):
        assign(ONE_NODE, ports(1), [])


# -- rebalance ------------------------------------------------------------------------------------


def test_to_an_idle_worker() -> None:
    assert rebalance(ONE_NODE, ports(3), [1, 2], [0, 0, 1], [60, 30, 0]) == [0, 1, 1]
    # One queue alone cannot be relieved.
    assert rebalance(ONE_NODE, ports(2), [1, 2], [0, 1], [100, 0]) == [0, 1]
    # An elephant stays; what would move it to and fro does not.
    assert rebalance(ONE_NODE, ports(2), [1, 2], [0, 0], [100, 10]) == [0, 0]
    assert rebalance(ONE_NODE, ports(2), [1, 2], [0, 0], [100, 10], threshold=0.05) == [0, 1]


def test_nothing_to_do() -> None:
    assert rebalance(ONE_NODE, ports(2), [1], [0, 0], [5, 5]) == [0, 0]
    assert rebalance(ONE_NODE, ports(2), [1, 2], [0, 0], [0, 0]) == [0, 0]
    assert rebalance(ONE_NODE, [], [1, 2], [], []) == []


def test_to_the_nearest() -> None:
    """Cores 0-1 and 2-3 share an L3, 4-7 are on another node, 8 is core 0's second thread."""
    queues, load = ports(2), [50.0, 50.0]
    assert rebalance(TWO_NODES, queues, [0, 4, 2, 1], [0, 0], load) == [3, 0]
    assert rebalance(TWO_NODES, queues, [0, 4, 2], [0, 0], load) == [2, 0]
    assert rebalance(TWO_NODES, queues, [0, 4], [0, 0], load) == [1, 0]
    # A queue that is at home is left there: the other goes.
    mixed = [Queue("a", 0, 0), Queue("b", 0, 1)]
    assert rebalance(TWO_NODES, mixed, [0, 1, 4], [0, 0], load) in ([0, 2], [1, 0])
    assert rebalance(TWO_NODES, mixed, [0, 4], [0, 0], load) == [0, 1]


def test_as_few_as_help() -> None:
    # Eight equal queues on one of two workers: four go, not five.
    owner = rebalance(ONE_NODE, ports(8), [1, 2], [0] * 8, [10] * 8)
    assert Counter(owner) == {0: 4, 1: 4}
    # One of the big ones goes, and the crumbs stay.
    load = [40, 38, 1, 1]
    assert rebalance(ONE_NODE, ports(4), [1, 2], [0] * 4, load).count(1) == 1


@given(situations(), st.sampled_from([0.0, 0.05, 0.15, 0.5]), st.data())
def test_rebalances(situation: Any, threshold: float, data: st.DataObject) -> None:
    top, queues, cpus = situation
    n = len(cpus)
    some = st.lists(st.integers(0, n - 1), min_size=len(queues), max_size=len(queues))
    owner = data.draw(some)
    load = data.draw(st.lists(loads, min_size=len(queues), max_size=len(queues)))
    new = rebalance(top, queues, cpus, owner, load, threshold=threshold)
    assert len(new) == len(queues) and all(0 <= k < n for k in new)
    before, after = max(totals(owner, load, n)), max(totals(new, load, n))
    assert new == owner or after < before * (1 - threshold) * (1 + 1e-9)
    # Once is enough: nothing goes to and fro while the load is the same.
    if new != owner and threshold:
        assert rebalance(top, queues, cpus, new, load, threshold=threshold) == new


# -- words ----------------------------------------------------------------------------------------


def test_explanations() -> None:
    queues = [Queue("a", 0, 0), Queue("b", 0, 1), Queue("b", 1, 1)]
    lines = explain(TWO_NODES, queues, [1, 9, 4], [0, 1, 2])
    assert len(lines) == 3
    assert lines[0].startswith("worker 0 on CPU 1 (node 0, L3 0, core 1): rx a.0; ")
    assert "the same core as worker 1" in lines[0] and "on the node of a.0" in lines[0]
    assert "b.0 is on node 1, whose workers are busier: its packets cross nodes" in lines[1]
    assert "no other worker on its core" in lines[2] and "on the node of b.1" in lines[2]
    (line,) = explain(topology(1, 4, 1, (2,)), [Queue("a", 0)], [2], [0])
    assert line == (
        "worker 0 on CPU 2 (node 0, L3 2, core 2): rx a.0; isolated: nothing else runs there; "
        "queues in turn: one of each port to each worker"
    )
    assert "no queue" in explain(ONE_NODE, ports(1), [1, 2], [0])[1]


@given(situations())
def test_every_queue_is_explained_once(situation: Any) -> None:
    top, queues, cpus = situation
    lines = explain(top, queues, cpus, assign(top, queues, cpus))
    assert len(lines) == len(cpus)
    served = [w for x in lines for w in x.split(": rx ")[1].split("; ")[0].split(", ") if w != "-"]
    assert sorted(served) == sorted(map(str, queues))


# -- lcores ---------------------------------------------------------------------------------------


def test_lcore_map() -> None:
    main = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    assert lcore_map([1, 0]) == f"0@({main}),1@1,2@0"
    assert lcore_map([1], 32) == f"32@({main}),33@1"
    assert worker_cpus((1, 0)) == [1, 0]
    assert set(worker_cpus(None)) >= os.sched_getaffinity(0)


def test_read_and_chosen(tmp_path) -> None:
    """From files to CPUs: two NICs, isolated CPUs on either node."""
    root = machine(tmp_path, isolated=[2, 3, 6, 7], nics={"0000:01:00.0": 0, "0000:81:00.0": 1})
    top = Topology.read(root)
    queues = [Queue(a, q, top.node_of(a)) for a in ("0000:01:00.0", "0000:81:00.0") for q in (0, 1)]
    cpus = choose_cpus(top, queues)
    assert cpus == [2, 6, 3, 7]
    owner = assign(top, queues, cpus)
    assert [top.cpu(cpus[k]).node for k in owner] == [0, 0, 1, 1] and len(set(owner)) == 4
