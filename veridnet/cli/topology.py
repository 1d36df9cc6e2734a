"""veridnet topology: CPUs, caches, NUMA nodes and devices, as a table and as a picture."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from veridnet.cli import common
from veridnet.errors import ConfigError, VeridnetError
from veridnet.placement import Queue, choose_cpus
from veridnet.topology import Topology, show_cpus
from veridnet.topology_draw import size

DESCRIPTION = """\
Shows what placement goes by: packages, NUMA nodes and their memory, caches, cores and their
hardware threads, which CPUs are isolated and which this process may use, the devices' nodes;
and in which order workers take the CPUs. Needs no rights, and starts nothing."""

EXAMPLES = """\
examples:
  veridnet topology
  veridnet topology --svg machine.svg           a picture, for a browser
  veridnet topology --dot - | dot -Tpdf > m.pdf the same for Graphviz
  veridnet topology --json | jq '.cpus[] | select(.isolated)'
  veridnet topology --workers 4 --node 1        where 4 workers for a NIC on node 1 would go
"""


def add_parser(sub: Any) -> None:
    """Adds the command."""
    p = sub.add_parser(
        "topology",
        help="CPUs, caches, NUMA nodes and devices, and where workers go",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    p.add_argument(
        "-w", "--workers", type=common.number(int, "--workers 4"), metavar="N",
        help="how many workers to place (all usable CPUs)",
    )  # fmt: skip
    p.add_argument(
        "--node", type=common.number(int, "--node 1"), metavar="K",
        help="the NUMA node of the port that they serve",
    )  # fmt: skip
    p.add_argument("--svg", metavar="FILE", help="write a picture (-: standard output)")
    p.add_argument("--dot", metavar="FILE", help="write it as Graphviz text (-: standard output)")
    p.add_argument("--json", action="store_true", help="print as JSON")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    top = Topology.read()
    order = workers(top, args)
    marks = {c: f"worker {k}" for k, c in enumerate(order)} if args.workers else {}
    for path, draw in ((args.svg, top.svg), (args.dot, top.dot)):
        if path:
            save(path, draw(marks))
    if args.json:
        print(json.dumps(top.to_dict() | {"workers": order}))
    elif not (args.svg or args.dot):
        show(top, order, args.node)
    return 0


def workers(top: Topology, args: argparse.Namespace) -> list[int]:
    """The CPUs of the workers that were asked for; of all, in their order, by default."""
    if args.node is not None and args.node not in (known := [n.id for n in top.nodes]):
        raise ConfigError(f"--node {args.node}: there is no such node",
                          hint=f"nodes: {', '.join(map(str, known))}")  # fmt: skip
    n = len(top.usable) if args.workers is None else args.workers
    queues = [] if args.node is None else [Queue("port", q, args.node) for q in range(n)]
    return choose_cpus(top, queues, n)


def save(path: str, text: str) -> None:
    """Writes a picture."""
    if path == "-":
        sys.stdout.write(text)
        return
    try:
        Path(path).write_text(text)
    except OSError as e:
        raise VeridnetError(f"{path}: cannot be written ({e.strerror})") from None


def show(top: Topology, order: list[int], node: int | None) -> None:
    """Prints the tables."""
    console = Console(width=None if common.stdout_is_terminal() else 140, highlight=False)
    caches = len({c.l3 for c in top.cpus if c.l3 >= 0})
    console.print(
        f"{len(top.cpus)} CPUs, {len(top.cores)} cores, {len(top.packages)} package(s), "
        f"{len(top.nodes)} NUMA node(s), {caches} L3 cache(s)"
    )
    console.print()
    table = make_table("CPU", "core", "beside", "L2", "L3", "node", "package", "")
    for c in top.cpus:
        others = show_cpus(s for s in c.siblings if s != c.id)
        marks = [
            word
            for word, on in (
                ("offline", not c.online),
                ("isolated", c.isolated),
                ("nohz_full", c.nohz_full),
                ("not allowed", c.online and not c.allowed),
            )
            if on
        ]
        numbers = (c.l2, c.l3, c.node, c.package)
        table.add_row(str(c.id), dash(c.core), others, *map(dash, numbers), ", ".join(marks))
    console.print(table)
    console.print()
    table = make_table("node", "CPUs", "memory", "free", "hugepages free", "distances")
    for n in top.nodes:
        huge = "; ".join(f"{size(h.size)}: {h.free} of {h.total}" for h in n.hugepages)
        far = " ".join(f"{m}:{d}" for m, d in n.distances.items())
        table.add_row(str(n.id), show_cpus(n.cpus), size(n.memory), size(n.free), huge, far)
    console.print(table)
    if top.devices:
        console.print()
        table = make_table("device", "kind", "node", "interfaces", "driver")
        for d in top.devices:
            names = ", ".join(d.interfaces)
            table.add_row(*map(escape, (d.name, d.kind, dash(d.node), names, d.driver)))
        console.print(table)
    console.print()
    beside = "" if node is None else f" for a port on node {node}"
    console.print(f"workers{beside} take CPUs {', '.join(map(str, order))}, in this order")
    if top.quota is not None and top.quota < len(top.usable):
        console.print(
            f"[yellow]the cgroup gives the time of {top.quota:.3g} CPUs: more busy workers than "
            "that are stopped for parts of every period[/]"
        )


def make_table(*names: str) -> Table:
    """A table without lines."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def dash(number: int) -> str:
    """A number; nothing for -1."""
    return "-" if number < 0 else str(number)
