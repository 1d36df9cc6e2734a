"""A `Topology` as a picture: SVG, or Graphviz's text.

As hwloc's lstopo draws it: packages around nodes around L3 domains around cores around hardware
threads, the devices beside their node. Both take ``workers``, CPU -> a word to write on it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from veridnet.topology import Cpu, Device, Node, Topology, show_cpus

__all__ = ["dot", "svg"]

#: What a CPU is to this process -> (fill, what the legend says).
COLORS = {
    "worker": ("#f6b26b", "a worker runs here"),
    "isolated": ("#9fc5e8", "isolated, usable"),
    "usable": ("#b6d7a8", "usable by this process"),
    "not allowed": ("#dddddd", "not allowed (affinity, cpuset)"),
    "offline": ("#ffffff", "offline"),
}
PACKAGE, NODE, L3, CORE, MEMORY, DEVICE = (
    "#fafafa", "#f3efe2", "#e9e4f0", "#ffffff", "#f4cccc", "#fff2cc"
)  # fmt: skip
CHAR, LINE, PAD = 6.7, 15, 8  # of 11 px sans-serif, in px


def size(value: int) -> str:
    """Bytes for people: 32 MiB."""
    for bits, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if value >= 1 << bits:
            return f"{value / (1 << bits):.3g} {unit}"
    return f"{value} B"


def state(cpu: Cpu, workers: Mapping[int, str]) -> str:
    """Which of COLORS a CPU has."""
    if not cpu.online:
        return "offline"
    if cpu.id in workers:
        return "worker"
    if not cpu.allowed:
        return "not allowed"
    return "isolated" if cpu.isolated else "usable"


@dataclass
class Box:
    """A rectangle with a title, and others in it, `columns` in a row."""

    title: str
    fill: str
    children: list[Box] = field(default_factory=list)
    columns: int = 4
    note: str = ""  # shown where the pointer rests
    dashed: bool = False
    width: float = 0
    height: float = 0

    def rows(self) -> list[list[Box]]:
        """The children, row by row."""
        step = self.columns
        return [self.children[i : i + step] for i in range(0, len(self.children), step)]

    def measure(self) -> None:
        """Sets width and height, of this and of all below."""
        lines = self.title.split("\n")
        for c in self.children:
            c.measure()
        wide = [sum(c.width + PAD for c in row) - PAD for row in self.rows()]
        self.width = max([len(x) * CHAR for x in lines] + wide) + 2 * PAD
        high = sum(max(c.height for c in row) + PAD for row in self.rows())
        self.height = LINE * len(lines) + 2 * PAD + high - (0 if self.children else PAD / 2)

    def draw(self, x: float, y: float) -> list[str]:
        """The SVG elements."""
        dash = ' stroke-dasharray="3 3"' if self.dashed else ""
        note = f"<title>{escape(self.note)}</title>" if self.note else ""
        out = [
            f'<g>{note}<rect x="{x:.0f}" y="{y:.0f}" width="{self.width:.0f}" '
            f'height="{self.height:.0f}" rx="3" fill="{self.fill}" stroke="#555"{dash}/>'
        ]
        top = y + PAD
        for line in self.title.split("\n"):
            top += LINE
            out.append(f'<text x="{x + PAD:.0f}" y="{top - 4:.0f}">{escape(line)}</text>')
        top += PAD / 2
        for row in self.rows():
            left = x + PAD
            for c in row:
                out += c.draw(left, top)
                left += c.width + PAD
            top += max(c.height for c in row) + PAD
        return [*out, "</g>"]


def svg(topology: Topology, workers: Mapping[int, str] | None = None) -> str:
    """The picture as an SVG file's text."""
    box = machine_box(topology, workers or {})
    box.measure()
    used = dict.fromkeys(state(c, workers or {}) for c in topology.cpus)
    keys = [(color, text) for name, (color, text) in COLORS.items() if name in used]
    width = max(box.width, sum(len(t) * CHAR + 36 for _, t in keys)) + 2 * PAD
    height = box.height + 3 * PAD + LINE
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="white"/>',
        *box.draw(PAD, PAD),
    ]
    x, y = float(PAD), box.height + 2 * PAD
    for color, text in keys:
        out.append(
            f'<rect x="{x:.0f}" y="{y:.0f}" width="12" height="12" fill="{color}" stroke="#555"/>'
            f'<text x="{x + 17:.0f}" y="{y + 10:.0f}">{escape(text)}</text>'
        )
        x += len(text) * CHAR + 36
    return "\n".join([*out, "</svg>", ""])


def machine_box(topology: Topology, workers: Mapping[int, str]) -> Box:
    """The whole machine."""
    placed = {n.id for n in topology.nodes if n.cpus}
    box = Box(machine_title(topology), "white", columns=2)
    on = [c for c in topology.cpus if c.online]
    if nodes_span_packages(topology):
        for node in (n for n in topology.nodes if n.cpus):
            inside = [c for c in on if c.node == node.id]
            packages = [
                Box(f"package {p}", PACKAGE, cache_boxes(topology, cpus, workers))
                for p, cpus in grouped(inside, "package")
            ]
            box.children.append(node_box(topology, node, packages))
    else:
        for p, cpus in grouped(on, "package"):
            package = Box(f"package {p}" if p >= 0 else "package", PACKAGE, columns=2)
            for n, inside in grouped(cpus, "node"):
                node = next(x for x in topology.nodes if x.id == n)
                package.children.append(
                    node_box(topology, node, cache_boxes(topology, inside, workers))
                )
            box.children.append(package)
    # Memory without CPUs, devices of unknown nodes, and what is switched off.
    box.children += [node_box(topology, n, []) for n in topology.nodes if n.id not in placed]
    stray = devices_of(topology, -1)
    if stray:
        box.children.append(Box("node unknown", NODE, [device_box(d) for d in stray], columns=6))
    off = [c for c in topology.cpus if not c.online]
    if off:
        threads = [cpu_box(c, workers) for c in off]
        box.children.append(Box("offline", "white", threads, columns=16, dashed=True))
    return box


def machine_title(topology: Topology) -> str:
    """What stands above the whole."""
    memory = sum(n.memory for n in topology.nodes)
    usable = f"CPUs {show_cpus(topology.usable)} usable" if topology.usable else "no CPU usable"
    quota = "" if topology.quota is None else f", the cgroup gives {topology.quota:.3g} CPUs' time"
    return f"machine: {len(topology.cpus)} CPUs, {size(memory)}; {usable}{quota}"


def nodes_span_packages(topology: Topology) -> bool:
    """Is a node larger than a package (one node for all, in many virtual machines)?"""
    return any(len({topology.cpu(c).package for c in n.cpus}) > 1 for n in topology.nodes)


def grouped(cpus: Sequence[Cpu], by: str) -> list[tuple[int, list[Cpu]]]:
    """The CPUs by one of their fields, in its order."""
    groups: dict[int, list[Cpu]] = {}
    for c in cpus:
        groups.setdefault(getattr(c, by), []).append(c)
    return sorted(groups.items())


def devices_of(topology: Topology, node: int) -> list[Device]:
    """The devices beside a node; of one node that is all, also those that no node is told of."""
    alone = len(topology.nodes) == 1
    return [
        d
        for d in topology.devices
        if (d.node == node and not (alone and node < 0)) or (alone and d.node < 0 <= node)
    ]


def node_box(topology: Topology, node: Node, children: list[Box]) -> Box:
    """A node: its memory, what is in it, and its devices."""
    memory = f"memory {size(node.memory)}, {size(node.free)} free"
    for h in node.hugepages:
        if h.total:
            memory += f"\n{size(h.size)} hugepages: {h.free} of {h.total} free"
    far = ", ".join(f"{d} to node {n}" for n, d in node.distances.items() if n != node.id)
    parts = [Box(memory, MEMORY, note=f"distance {far}" if far else "")]
    if children:
        parts.append(Box("", NODE, children, columns=4) if len(children) > 1 else children[0])
    if devices := devices_of(topology, node.id):
        parts.append(Box("devices", NODE, [device_box(d) for d in devices], columns=4))
    return Box(f"node {node.id}", NODE, parts, columns=1)


def device_box(device: Device) -> Box:
    """A device."""
    return Box("\n".join(device_lines(device)), DEVICE, note=device.driver)


def device_lines(device: Device) -> list[str]:
    """What is written on a device."""
    interfaces = [i for i in device.interfaces if i != device.name]
    return [" ".join([device.kind, *interfaces]), device.name]


def cache_boxes(topology: Topology, cpus: Sequence[Cpu], workers: Mapping[int, str]) -> list[Box]:
    """The L3 domains among some CPUs; their cores alone where no L3 is known."""
    boxes = []
    for number, inside in grouped(cpus, "l3"):
        cores = core_boxes(topology, inside, workers)
        cache = topology.cache(3, number)
        if cache is None:
            boxes += cores
        else:
            columns = 4 if len(cores) <= 16 else 8
            boxes.append(Box(f"L3 {number}: {size(cache.size)}", L3, cores, columns=columns))
    return boxes


def core_boxes(topology: Topology, cpus: Sequence[Cpu], workers: Mapping[int, str]) -> list[Box]:
    """The physical cores among some CPUs."""
    boxes = []
    for threads in sorted({c.siblings for c in cpus}):
        one = topology.cpu(threads[0])
        l2 = topology.cache(2, one.l2)
        boxes.append(
            Box(
                f"core {one.core if one.core >= 0 else one.id}",
                CORE,
                [cpu_box(topology.cpu(t), workers) for t in threads],
                note=f"L2 {size(l2.size)}" if l2 else "",
            )
        )
    return boxes


def cpu_box(cpu: Cpu, workers: Mapping[int, str]) -> Box:
    """A hardware thread."""
    word = workers.get(cpu.id)
    kind = state(cpu, workers)
    marks = [COLORS[kind][1]] + ["nohz_full"] * cpu.nohz_full
    title = f"CPU {cpu.id}" + (f"\n{word}" if word else "")
    return Box(title, COLORS[kind][0], note=", ".join(marks), dashed=not cpu.online)


def dot(topology: Topology, workers: Mapping[int, str] | None = None) -> str:
    """The picture in Graphviz's language: ``veridnet topology --dot - | dot -Tpdf``."""
    box = machine_box(topology, workers or {})
    serial = itertools.count()
    lines = ["graph topology {",
             # osage fits clusters into each other, row by row, in the order of sortv.
             '  graph [layout=osage, pack=8, style=filled, fontname="sans-serif", fontsize=11,'
             " labeljust=l];",
             '  node [shape=box, style=filled, fontname="sans-serif", fontsize=10];']  # fmt: skip

    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'

    def put(b: Box, depth: int, order: int) -> None:
        """Writes a box and what is in it."""
        at, number = "  " * depth, next(serial)
        look = f"label={quoted(b.title)}, fillcolor={quoted(b.fill)}, sortv={order + 1}"
        if not b.children:
            style = ', style="filled,dashed"' if b.dashed else ""
            lines.append(f"{at}n{number} [{look}{style}];")
            return
        lines.append(f"{at}subgraph cluster_{number} {{")
        lines.append(f'{at}  graph [{look}, packmode="array_ut{b.columns}"];')
        for i, c in enumerate(b.children):
            put(c, depth + 1, i)
        lines.append(f"{at}}}")

    put(box, 1, 0)
    return "\n".join([*lines, "}", ""])
