"""The pictures of a topology, and the command that makes them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from xml.etree import ElementTree

import pytest
from fake_machine import machine, topology, write

from veridnet.topology import Topology
from veridnet.topology_draw import dot, svg

SVG = "{http://www.w3.org/2000/svg}"
SHAPES = [(1, 1, 1), (1, 8, 2), (2, 4, 2), (4, 16, 2)]


def rectangles(text: str) -> list[tuple[str, tuple[float, float, float, float]]]:
    """(title, x, y, right, bottom) of all boxes, from the groups that nest in the file."""
    found = []
    for g in ElementTree.fromstring(text).iter(f"{SVG}g"):
        rect, label = g.find(f"{SVG}rect"), g.find(f"{SVG}text")
        assert rect is not None and label is not None
        x, y, w, h = (float(rect.attrib[k]) for k in ("x", "y", "width", "height"))
        found.append((label.text or "", (x, y, x + w, y + h)))
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_every_cpu_is_drawn_once_and_in_its_place(shape: tuple[int, int, int]) -> None:
    top = topology(*shape)
    text = svg(top, {top.usable[-1]: "worker 0"})
    boxes = rectangles(text)
    counts = Counter(title for title, _ in boxes if title.startswith("CPU "))
    assert counts == {f"CPU {c.id}": 1 for c in top.cpus}
    assert text.count("worker 0") == 1 and "a worker runs here" in text
    root = ElementTree.fromstring(text)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    where = dict(boxes)
    for title, (x, y, right, bottom) in boxes:
        assert 0 <= x < right <= width and 0 <= y < bottom <= height, title
    for c in top.cpus:
        x, y, right, bottom = where[f"CPU {c.id}"]
        left, up, to, down = where[f"node {c.node}"]
        assert left <= x and up <= y and right <= to and bottom <= down
    cpus = [box for title, box in boxes if title.startswith("CPU ")]
    for i, a in enumerate(cpus):
        for b in cpus[:i]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (a, b)


@pytest.mark.parametrize("shape", SHAPES)
def test_graphviz_takes_it(shape: tuple[int, int, int]) -> None:
    if shutil.which("dot") is None:
        pytest.skip("Graphviz is not installed")
    top = topology(*shape)
    done = subprocess.run(["dot", "-Tplain"], input=dot(top), capture_output=True, text=True,
                          timeout=60, check=True)  # fmt: skip
    assert not done.stderr
    drawn = re.findall(r'^node \S+ \S+ \S+ \S+ \S+ "CPU (\d+)"', done.stdout, re.MULTILINE)
    assert sorted(map(int, drawn)) == [c.id for c in top.cpus]


def test_methods() -> None:
    top = topology()
    assert top.svg({1: "x"}) == svg(top, {1: "x"}) and top.dot({1: "x"}) == dot(top, {1: "x"})
    assert top._repr_svg_() == svg(top)  # what a notebook shows


def test_what_stands_beside(tmp_path) -> None:
    root = machine(tmp_path, nics={"0000:01:00.0": 1, "0000:02:00.0": -1}, offline=[15],
                   isolated=[2], allowed=[0, 1, 3])  # fmt: skip
    write(root, {"sys/devices/system/node/node2/cpulist": "",
                 "sys/devices/system/node/node2/meminfo": "Node 2 MemTotal: 4096 kB"})  # fmt: skip
    for text in (svg(Topology.read(root)), dot(Topology.read(root))):
        for word in ("network eth0", "node unknown", "network eth1", "offline", "node 2",
                     "memory 4 MiB"):  # fmt: skip
            assert word in text, word
    assert "not allowed (affinity, cpuset)" in svg(Topology.read(root))


def test_one_node_of_two_packages(tmp_path) -> None:
    """As virtual machines have it; and devices of no node are that one's."""
    root = machine(tmp_path, nics={"0000:01:00.0": -1})
    shutil.rmtree(root / "sys/devices/system/node")
    text = svg(Topology.read(root))
    titles = [t for t, _ in rectangles(text)]
    assert titles.count("node 0") == 1 and {"package 0", "package 1", "devices"} <= set(titles)
    assert "node unknown" not in titles


def test_names_cannot_break_it(tmp_path) -> None:
    root = machine(tmp_path, nodes=1)
    write(root, {'sys/class/net/a"<&b/device/numa_node': 0})
    top = Topology.read(root)
    assert top.devices[0].name == 'a"<&b'
    ElementTree.fromstring(svg(top))
    if shutil.which("dot"):
        subprocess.run(["dot", "-Tplain"], input=dot(top), text=True, check=True, timeout=60,
                       stdout=subprocess.DEVNULL)  # fmt: skip


# -- the command ----------------------------------------------------------------------------------


def test_command(veridnet_cli) -> None:
    top = Topology.read()
    done = veridnet_cli("topology")
    assert done.returncode == 0 and not done.stderr
    assert f"{len(top.cpus)} CPUs, {len(top.cores)} cores" in done.stdout
    done = veridnet_cli("topology", "--json")
    assert [c["id"] for c in done.json["cpus"]] == [c.id for c in top.cpus]
    assert sorted(done.json["workers"]) == list(top.usable)
    assert len(veridnet_cli("topology", "--json", "--workers", "1").json["workers"]) == 1


def test_pictures(veridnet_cli, tmp_path) -> None:
    done = veridnet_cli("topology", "--svg", "a.svg", "--dot", "-", "--workers", 1)
    assert done.returncode == 0 and done.stdout.startswith("graph topology {")
    assert "worker 0" in (tmp_path / "a.svg").read_text()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--workers", "5000"], "5000 workers are asked for"),
        (["--workers", "x"], "not a whole number"),
        (["--workers", "0"], "at least 1"),
        (["--node", "77"], "there is no such node"),
        (["--svg", "no/where.svg"], "cannot be written (No such file or directory)"),
    ],
)
def test_errors(veridnet_cli, args: list[str], says: str) -> None:
    done = veridnet_cli("topology", *args)
    assert done.returncode == (1 if "--svg" in args else 2)
    assert not done.stdout and says in done.stderr and done.stderr.count("\n") == 1
