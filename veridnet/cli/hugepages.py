"""veridnet hugepages: what there is, reserve, mount, release."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape

from veridnet import hugepages, hugetlbfs, process_memory
from veridnet.cli import common
from veridnet.cli.topology import make_table
from veridnet.errors import ConfigError
from veridnet.hugepages import MIB, Machine, parse_size, show_size
from veridnet.topology_draw import size as people

DESCRIPTION = """\
Hugepages make packet memory fast, and NICs need them. Shows those that there are, per size and
NUMA node, who uses them, and how fragmented memory is; reserves, mounts and gives them back.
Veridnet itself needs no mount; other programs, and processes that share memory, do."""

EXAMPLES = """\
examples:
  veridnet hugepages                            the state (also: veridnet hugepages status)
  sudo veridnet hugepages reserve 256           256 of 2 MiB that are free
  sudo veridnet hugepages reserve 4 --size 1G --node 1 --exact
  sudo veridnet hugepages mount                 on /dev/hugepages
  sudo veridnet hugepages release               gives back all that are free
  veridnet hugepages status --pid 4711          on what pages the memory of a process lies
"""

RESERVE = """\
Makes sure that N hugepages are free: adds those that are missing, and never takes any away. Where
the kernel gives fewer, memory is compacted and it is asked again, three times at most. The exit
code is 0 if there are N, else 1. They are gone after a reboot: for good, vm.nr_hugepages in
/etc/sysctl.d, or hugepagesz= and hugepages= on the kernel's command line (best for 1G)."""

MOUNT = """\
Mounts hugetlbfs, which is made a folder's file system: for processes that share hugepages by
files, and for other programs."""

RELEASE = """\
Gives back the hugepages that are free, of all sizes. Those in use stay; with --all, they go when
their users end."""


def add_parser(sub: Any) -> None:
    """Adds the command."""
    p = sub.add_parser(
        "hugepages", help="hugepages: what there is, reserve, mount, release",
        description=DESCRIPTION, epilog=EXAMPLES,
    )  # fmt: skip
    p.set_defaults(run=status, pid=None)
    p.add_argument("--json", action="store_true", help="print as JSON")
    inner = p.add_subparsers(title="commands", dest="action", metavar="COMMAND")

    def add(name: str, help: str, run: Any, description: str = "") -> Any:
        q = inner.add_parser(name, help=help, description=description or help)
        q.set_defaults(run=run, command=f"hugepages {name}")
        q.add_argument("--json", action="store_true", help="print as JSON")
        return q

    def add_size(q: Any, default: str | None = "2M") -> None:
        q.add_argument("--size", default=default, metavar="SIZE",
                       help=f"2M or 1G ({default or 'all'})")  # fmt: skip

    def add_node(q: Any) -> None:
        q.add_argument("--node", type=common.number(int, "--node 1"), metavar="K",
                       help="on this NUMA node (where the kernel likes)")  # fmt: skip

    def add_dir(q: Any) -> None:
        q.add_argument("--dir", metavar="DIR", help="where (/dev/hugepages, /dev/hugepages1G)")

    q = add("status", "what there is, and who uses it", status)
    q.add_argument("--pid", type=common.number(int, "--pid 4711"), metavar="PID",
                   help="on what pages and nodes the memory of this process lies")  # fmt: skip
    q = add("reserve", "make sure that N are free", reserve, RESERVE)
    q.add_argument("n", type=common.number(int, "reserve 256"), metavar="N", help="how many")
    add_size(q)
    add_node(q)
    q.add_argument("--exact", action="store_true", help="all or none")
    q.add_argument("--drop-caches", action="store_true",
                   help="let the kernel forget cached files, where it gives too few")  # fmt: skip
    q.add_argument("--force", action="store_true",
                   help="even if that leaves the machine too little memory")  # fmt: skip
    q = add("mount", "mount hugetlbfs", mount, MOUNT)
    add_dir(q)
    add_size(q)
    q.add_argument("--user", default="", metavar="NAME", help="who owns it (root)")
    q = add("unmount", "unmount it", unmount)
    add_dir(q)
    add_size(q)
    q = add("release", "give back those that are free", release, RELEASE)
    add_size(q, None)
    add_node(q)
    q.add_argument("--all", action="store_true", help="also those in use, when their users end")


def reserve(args: argparse.Namespace) -> int:
    """veridnet hugepages reserve."""
    size = parse_size(args.size)
    done = hugepages.reserve(
        Machine(), args.n, size=size, node=args.node, exact=args.exact,
        drop_caches=args.drop_caches, force=args.force,
    )  # fmt: skip
    if args.json:
        print(json.dumps(asdict(done) | {"complete": done.complete}))
    else:
        more = done.total - done.before
        print(f"{done.free} hugepages of {show_size(size)} are free, {done.total} in all"
              + (f" ({more} more than before)" if more > 0 else ""))  # fmt: skip
    if done.complete:
        return 0
    print(f"veridnet {args.command}: error: {done.free} instead of {done.asked}: {done.why} "
          f"[mend: {hugepages.advice(size, args.drop_caches)}]", file=sys.stderr)  # fmt: skip
    return 1


def release(args: argparse.Namespace) -> int:
    """veridnet hugepages release."""
    size = None if args.size is None else parse_size(args.size)
    done = hugepages.release(Machine(), size=size, node=args.node, all=args.all)
    if args.json:
        print(json.dumps([{"before": asdict(b), "after": asdict(a)} for b, a in done]))
        return 0
    for before, after in done:
        if before.total or size:
            rest = f", {after.total} stay in use" if after.total else ""
            print(f"{before.total - after.total} hugepages of {show_size(before.size)} given back"
                  + rest)  # fmt: skip
    if not any(b.total for b, _ in done) and not size:
        print("there are no hugepages to give back")
    return 0


def mount(args: argparse.Namespace) -> int:
    """veridnet hugepages mount."""
    size = parse_size(args.size)
    folder = args.dir or hugetlbfs.default_folder(size)
    new = hugetlbfs.mount(Machine(), folder, size, args.user)
    say(args, folder, f"{'mounted' if new else 'was mounted already'}: {folder}, pages of "
        f"{show_size(size)}", mounted=new)  # fmt: skip
    return 0


def unmount(args: argparse.Namespace) -> int:
    """veridnet hugepages unmount."""
    folder = args.dir or hugetlbfs.default_folder(parse_size(args.size))
    hugetlbfs.unmount(Machine(), folder)
    say(args, folder, f"unmounted: {folder}", mounted=False)
    return 0


def say(args: argparse.Namespace, folder: str, line: str, **values: object) -> None:
    """Prints what was done."""
    print(json.dumps({"dir": folder, **values}) if args.json else line)


def status(args: argparse.Namespace) -> int:
    """veridnet hugepages status."""
    if args.pid is not None:
        return status_of(args)
    machine = Machine()
    report = {
        "machine": [asdict(h) for h in machine.pages()],
        "nodes": {n: [asdict(h) for h in machine.pages(n)] for n in machine.nodes},
        "mounts": [asdict(m) for m in hugetlbfs.mounts(machine)],
        "users": [{"pid": p, "name": n, "bytes": b} for p, n, b in hugepages.users(machine)],
        "transparent": hugepages.thp(machine),
        "fragmentation": {
            n: {"at_once": a, "at_most": b} for n, (a, b) in machine.buddies().items()
        },
        "available_bytes": machine.available(),
        "spare_bytes": machine.spare(),
    }
    if args.json:
        print(json.dumps(report))
    else:
        show(machine, report)
    return 0


def show(machine: Machine, report: dict[str, Any]) -> None:
    """Prints the state as tables."""
    console = Console(width=None if common.stdout_is_terminal() else 140, highlight=False)
    table = make_table("hugepages", "node", "total", "free", "surplus", "reserved")
    for h in report["machine"]:
        values = (h["total"], h["free"], h["surplus"], h["reserved"])
        table.add_row(people(h["size"]), "all", *map(str, values))
        for n, sizes in report["nodes"].items():
            for k in sizes if len(report["nodes"]) > 1 else []:
                if k["size"] == h["size"]:
                    table.add_row("", str(n), str(k["total"]), str(k["free"]), str(k["surplus"]))
    console.print(table if report["machine"] else "this kernel has no hugepages")
    for m in report["mounts"]:
        held = f", {m['files']} files of {people(m['bytes'])}" if m["files"] else ""
        console.print(f"mounted: {escape(m['folder'])}, pages of {show_size(m['size'])}{held}")
    if not report["mounts"]:
        console.print("mounted: nowhere (veridnet needs no mount)")
    for u in report["users"]:
        console.print(f"used by: {u['pid']} {escape(u['name'])}, {people(u['bytes'])}")
    for n, f in report["fragmentation"].items():
        console.print(f"node {n}: {f['at_once']} more of 2 MiB lie free in one piece, at most "
                      f"{f['at_most']} after compaction")  # fmt: skip
    console.print(f"reserve takes at most {people(report['spare_bytes'])} of the "
                  f"{people(report['available_bytes'])} available")  # fmt: skip
    t = report["transparent"]
    console.print(
        f"transparent huge pages: {t['enabled'] or 'no support'}, defrag {t['defrag'] or '-'}, "
        f"khugepaged every {t['khugepaged_scan_ms'] / 1000:.3g} s; "
        f"{people(t['anonymous_bytes'])} on them"
        if t["enabled"]
        else "transparent huge pages: no support"
    )
    if not sum(h["total"] for h in report["machine"] if h["size"] == 2 * MIB):
        console.print(f"none is reserved: {hugepages.command('reserve', 256)}")


def status_of(args: argparse.Namespace) -> int:
    """veridnet hugepages status --pid."""
    if args.pid < 1:
        raise ConfigError(f"--pid {args.pid}: a number from 1")
    report = process_memory.read(args.pid)
    if args.json:
        print(json.dumps(report))
        return 0
    console = Console(width=None if common.stdout_is_terminal() else 140, highlight=False)
    table = make_table("node", "pages of", "memory")
    for row in report["nodes"]:
        table.add_row(str(row["node"]), people(row["page"]), people(row["bytes"]))
    console.print(table if report["nodes"] else "the kernel does not say on which nodes it lies")
    anonymous, huge = report["anonymous_bytes"], report["transparent_bytes"]
    console.print(f"anonymous memory: {people(anonymous)}, {people(huge)} of it on transparent "
                  f"huge pages; hugepages: {people(report['hugetlb_bytes'])}")  # fmt: skip
    return 0
