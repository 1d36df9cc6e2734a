"""The topology reader, against lscpu, and on machines that are not here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from fake_machine import GIB, MIB, machine, write
from hypothesis import given
from hypothesis import strategies as st

from veridnet.errors import ConfigError
from veridnet.topology import (
    REMOTE,
    SAME_CORE,
    SAME_CPU,
    SAME_L3,
    SAME_NODE,
    Topology,
    parse_cpus,
    show_cpus,
)
from veridnet.topology_read import usable_cpus


@given(st.sets(st.integers(0, 5000), max_size=40))
def test_lists_of_cpus(cpus: set[int]) -> None:
    assert parse_cpus(show_cpus(cpus)) == tuple(sorted(cpus))


def test_lists_of_cpus_of_the_kernel() -> None:
    assert parse_cpus("") == parse_cpus(" (null)\n") == parse_cpus("\n") == ()
    assert parse_cpus("0-3,8\n") == (0, 1, 2, 3, 8)
    assert parse_cpus("0-7:2/4") == (0, 1, 4, 5)


# -- this machine, as util-linux sees it ----------------------------------------------------------


def partition(keys: Iterable[tuple[int, object]]) -> set[frozenset[int]]:
    """Which CPUs have the same key: the numbers that programs give to things differ."""
    groups: dict[object, set[int]] = {}
    for cpu, key in keys:
        groups.setdefault(key, set()).add(cpu)
    return {frozenset(g) for g in groups.values()}


def test_against_lscpu() -> None:
    if shutil.which("lscpu") is None:
        pytest.skip("lscpu is not installed (util-linux)")
    out = subprocess.run(
        ["lscpu", "-J", "-a", "-e=CPU,NODE,SOCKET,CORE,CACHE,ONLINE"],
        capture_output=True, text=True, timeout=30, check=True,
    ).stdout  # fmt: skip
    theirs = json.loads(out)["cpus"]
    top = Topology.read()
    assert [c.id for c in top.cpus] == [int(t["cpu"]) for t in theirs]
    assert [c.online for c in top.cpus] == [t["online"] in (True, "yes") for t in theirs]
    here = [(c, t) for c, t in zip(top.cpus, theirs, strict=True) if c.online]
    if all(t["node"] is not None for _, t in here):
        assert [c.node for c, _ in here] == [int(t["node"]) for _, t in here]
    for ours, key in (("package", "socket"), ("siblings", "core")):
        assert partition((c.id, getattr(c, ours)) for c, _ in here) == partition(
            (c.id, t[key]) for c, t in here
        )
    name = next(iter(theirs[0].keys() & {k for k in theirs[0] if k.startswith("l1d")}), None)
    if name is None:
        assert not top.caches
        return
    levels = name.split(":")  # "l1d:l1i:l2:l3"
    for level in (1, 2, 3):
        at = next((i for i, x in enumerate(levels) if x in (f"l{level}", f"l{level}d")), None)
        mine = [(c.id, getattr(c, f"l{level}")) for c, _ in here]
        if at is None:
            assert {x for _, x in mine} == {-1}
        else:
            assert partition(mine) == partition((c.id, t[name].split(":")[at]) for c, t in here)


def test_sizes_against_lscpu() -> None:
    if shutil.which("lscpu") is None:
        pytest.skip("lscpu is not installed (util-linux)")
    done = subprocess.run(
        ["lscpu", "-J", "-B", "-C=NAME,ONE-SIZE,LEVEL,TYPE"], capture_output=True, text=True,
        timeout=30, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip("this lscpu has no -C")
    theirs = {
        (int(c["level"]), int(c["one-size"]))
        for c in json.loads(done.stdout or '{"caches": []}')["caches"]
        if c["type"] != "Instruction"
    }
    assert {(c.level, c.size) for c in Topology.read().caches} == theirs


def test_against_lstopo() -> None:
    if shutil.which("lstopo-no-graphics") is None:
        pytest.skip("hwloc is not installed")
    out = subprocess.run(
        ["lstopo-no-graphics", "--only", "core"], capture_output=True, text=True, timeout=30,
        check=True,
    ).stdout  # fmt: skip
    assert len(out.splitlines()) == len(Topology.read().cores)


def test_what_this_process_may_use() -> None:
    top = Topology.read()
    assert set(os.sched_getaffinity(0)) <= set(top.usable)
    assert list(top.usable) == usable_cpus()
    online = Path("/sys/devices/system/cpu/online")
    if online.exists():
        assert set(top.usable) <= set(parse_cpus(online.read_text()))


def test_narrowed_affinity(run_python) -> None:
    """taskset's word counts."""
    first = min(os.sched_getaffinity(0))
    done = run_python(
        f"""
        import os
        os.sched_setaffinity(0, [{first}])
        from veridnet import Topology
        print(Topology.read().usable)
        """
    )
    assert done.stdout == f"({first},)\n"


# -- others ---------------------------------------------------------------------------------------


def test_two_sockets_with_smt(tmp_path) -> None:
    top = Topology.read(machine(tmp_path, nics={"0000:81:00.0": 1}))
    assert [c.id for c in top.cpus] == list(range(16))
    assert top.packages == (0, 1) and top.smt
    assert top.cores == tuple((c, c + 8) for c in range(8))
    assert [n.cpus for n in top.nodes] == [(0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15)]
    assert top.nodes[1].distances == {0: 21, 1: 10} and top.distance(0, 1) == 21
    assert top.nodes[0].memory == 16 * GIB and top.nodes[0].hugepages[0].size == 2 * MIB
    assert {c.level for c in top.caches} == {1, 2, 3}
    assert top.cache(3, top.cpu(0).l3).cpus == (0, 1, 8, 9)  # type: ignore[union-attr]
    near = [top.near(0, c) for c in (0, 8, 1, 9, 2, 4, 12)]
    assert near == [SAME_CPU, SAME_CORE, SAME_L3, SAME_L3, SAME_NODE, REMOTE, REMOTE]
    assert top.node_of("0000:81:00.0") == top.node_of("eth0") == 1
    assert top.node_of("nothing") == -1
    json.dumps(top.to_dict())
    with pytest.raises(ConfigError, match="no CPU 99"):
        top.cpu(99)


def test_isolated_cpus_are_usable_though_the_affinity_lacks_them(tmp_path) -> None:
    top = Topology.read(machine(tmp_path, smt=1, isolated=[2, 3]))
    assert top.usable == tuple(range(8))
    assert [c.id for c in top.cpus if c.isolated] == [2, 3] == [
        c.id for c in top.cpus if c.nohz_full
    ]  # fmt: skip
    assert usable_cpus(tmp_path) == list(range(8))


def test_isolated_cpus_that_somebody_took_away(tmp_path) -> None:
    root = machine(tmp_path / "a", smt=1, isolated=[2, 3], allowed=[0, 1])
    assert Topology.read(root).usable == (0, 1)
    root = machine(tmp_path / "b", smt=1, isolated=[2, 3], allowed=[0, 1])
    write(root, {"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/cpuset.cpus.effective": "0-2"})
    assert Topology.read(root).usable == (0, 1, 2)


def test_cgroup_quota(tmp_path) -> None:
    root = machine(tmp_path)
    assert Topology.read(root).quota is None
    write(root, {
        "proc/self/cgroup": "0::/a/b",
        "sys/fs/cgroup/a/cpu.max": "150000 100000", "sys/fs/cgroup/a/b/cpu.max": "max 100000",
    })  # fmt: skip
    assert Topology.read(root).quota == 1.5
    write(root, {
        "proc/self/cgroup": "4:cpu,cpuacct:/x", "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": -1,
        "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": 100000,
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": 50000,
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": 100000,
    })  # fmt: skip
    assert Topology.read(root).quota == 0.5


def test_offline_cpus(tmp_path) -> None:
    top = Topology.read(machine(tmp_path, offline=[8, 15]))
    assert [c.id for c in top.cpus if not c.online] == [8, 15]
    assert not {8, 15} & set(top.usable)
    assert top.cpu(0).siblings == (0,) and top.cpu(1).siblings == (1, 9)
    assert not {8, 15} & {c for n in top.nodes for c in n.cpus}


def test_a_partial_sys(tmp_path) -> None:
    """Neither topology, nor caches, nor nodes: a container, or an odd kernel."""
    write(tmp_path, {
        "sys/devices/system/cpu/online": "0-3",
        "proc/meminfo": "MemTotal: 1024 kB\nMemFree: 512 kB",
    })  # fmt: skip
    top = Topology.read(tmp_path)
    assert top.usable == (0, 1, 2, 3)
    assert [(c.package, c.core, c.node, c.siblings, c.l3) for c in top.cpus[:2]] == [
        (-1, -1, 0, (0,), -1), (-1, -1, 0, (1,), -1),
    ]  # fmt: skip
    (node,) = top.nodes
    assert (node.id, node.cpus, node.memory, node.free) == (0, (0, 1, 2, 3), MIB, MIB // 2)
    assert top.caches == top.devices == () and not top.smt
    assert top.near(0, 1) == SAME_NODE


def test_no_sys_at_all(tmp_path) -> None:
    with pytest.raises(ConfigError, match="no CPUs"):
        Topology.read(tmp_path)
    write(tmp_path, {"proc/cpuinfo": "processor\t: 0\nmodel name\t: x\n\nprocessor\t: 1"})
    assert Topology.read(tmp_path).usable == (0, 1)


def test_caches_without_ids(tmp_path) -> None:
    root = machine(tmp_path)
    for path in root.glob("sys/devices/system/cpu/cpu*/cache/index*/id"):
        path.unlink()
    top = Topology.read(root)
    assert top.near(0, 1) == SAME_L3 and top.near(0, 2) == SAME_NODE and top.near(0, 8) == SAME_CORE


def test_a_node_of_memory_alone(tmp_path) -> None:
    """CXL and high-bandwidth memory."""
    root = machine(tmp_path)
    write(root, {
        "sys/devices/system/node/node2/cpulist": "",
        "sys/devices/system/node/node2/meminfo": "Node 2 MemTotal: 1024 kB",
        "sys/devices/system/node/node2/distance": "14 24 10",
    })  # fmt: skip
    top = Topology.read(root)
    assert top.nodes[2].cpus == () and top.nodes[2].memory == MIB and top.distance(2, 1) == 24
    assert len(top.usable) == 16
