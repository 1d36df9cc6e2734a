"""veridnet ports: what ports there can be on this machine, and what each can do."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from veridnet import doctor, netdev
from veridnet.cli import common
from veridnet.config import check_kind
from veridnet.errors import VeridnetError
from veridnet.ports import KINDS, PortKind
from veridnet.ports.kernel import CAP_NET_ADMIN, has_capability
from veridnet.runtime import Runtime

DESCRIPTION = """\
Lists the kinds of ports and whether each works here, the interfaces of the kernel that af_packet
and af_xdp ports can use, and the NICs on the PCI bus. With a KIND: its keys. With --port:
makes that port, and says what it can do."""

EXAMPLES = """\
examples:
  veridnet ports
  veridnet ports pcap                   the keys of pcap ports
  veridnet ports --port tap:iface=vtap0 make it, look at it, remove it
  veridnet ports --json
"""


def add_parser(sub: Any) -> None:
    """Adds the command."""
    p = sub.add_parser(
        "ports",
        help="what ports there can be, and their keys",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    p.add_argument("kind", nargs="?", metavar="KIND", help=", ".join(KINDS))
    common.add_port_options(p)
    p.add_argument("--json", action="store_true", help="print as JSON")
    common.add_runtime_options(p)
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    common.setup_logging(args.verbose)
    if args.kind:
        check_kind(args.kind)
        data: dict[str, Any] = {"kind": kind_dict(KINDS[args.kind]), "keys": keys(args.kind)}
        show = show_keys
    elif args.ports or args.config:
        data, show = probe(args), show_probe
    else:
        data, show = inventory(), show_inventory
    if args.json:
        print(json.dumps(data))
    else:
        show(data, Console(width=None if common.stdout_is_terminal() else 140, highlight=False))
    return 0


def kind_dict(kind: PortKind) -> dict[str, Any]:
    """A kind as plain JSON types."""
    present = doctor.driver_present(kind)
    allowed = kind.unprivileged or has_capability(CAP_NET_ADMIN)
    return {
        "kind": kind.name,
        "driver": kind.driver,
        "summary": kind.summary,
        "max_queues": kind.max_queues,
        "unprivileged": kind.unprivileged,
        "works": present and allowed,
        "why_not": "" if present and allowed else "driver missing" if not present else "needs root",
    }


def keys(kind: str) -> list[dict[str, Any]]:
    """A kind's keys as plain JSON types."""
    return [
        {
            "key": k.name,
            "values": "|".join(k.choices) or {bool: "on|off", int: "number"}.get(k.type, "text"),
            "range": f"from 1 to {KINDS[kind].max_queues}"
            if k.name == "queues"
            else k.range().strip(),
            "default": k.default,
            "help": k.help,
        }
        for k in KINDS[kind].all_keys().values()
    ]


def inventory() -> dict[str, Any]:
    """Kinds, kernel interfaces and NICs."""
    interfaces = []
    for name in netdev.names():
        dev = netdev.get(name)
        if dev.ethernet:
            interfaces.append(asdict(dev))
    return {
        "kinds": [kind_dict(k) for k in KINDS.values()],
        "interfaces": interfaces,
        "nics": [{**asdict(n), "reachable": n.reachable} for n in doctor.nics()],
    }


def probe(args: argparse.Namespace) -> dict[str, Any]:
    """What the given ports can do, by making them."""
    from veridnet.apps.l2fwd import PROFILE_KEYS
    from veridnet.cli.forwarding import config

    profile = common.read_profile(args.config, PROFILE_KEYS)
    ports = []
    with Runtime(config(args, profile.runtime)) as rt:
        for spec in common.chosen_ports(args, profile):
            port = rt.add_port(spec)
            info = port.info()
            entry = {"name": port.name, "kind": port.kind, "mac": port.mac, "mtu": port.mtu}
            entry |= {"max_frame": port.max_frame, "promiscuous": port.promiscuous}
            entry |= {"queues": port.n_rx_queues, "finite": port.finite, "link": port.link()}
            try:
                entry["xstats"] = len(port.xstats())
            except VeridnetError:
                entry["xstats"] = 0
            ports.append({**entry, "info": info, "details": port.details,
                          "warnings": port.warnings})  # fmt: skip
    return {"ports": ports}


def table(*columns: str) -> Table:
    """A plain table."""
    t = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        t.add_column(name, overflow="fold")
    return t


def show_keys(data: dict[str, Any], console: Console) -> None:
    """The keys of one kind."""
    kind = data["kind"]
    console.print(f"{kind['kind']} ({kind['driver']}): {kind['summary']}")
    t = table("key", "values", "default", "meaning")
    for k in data["keys"]:
        values = f"{k['values']} {k['range']}".strip()
        default = k["default"]
        if isinstance(default, bool):
            default = "on" if default else "off"
        t.add_row(k["key"], values, "" if default is None else str(default), k["help"])
    console.print(t)


def show_inventory(data: dict[str, Any], console: Console) -> None:
    """Kinds, interfaces and NICs."""
    t = table("kind", "here", "queues", "what it is")
    for k in data["kinds"]:
        here = "[green]yes[/]" if k["works"] else f"[red]no: {k['why_not']}[/]"
        t.add_row(k["kind"], here, str(k["max_queues"]), k["summary"])
    console.print(t)
    console.print()
    if data["interfaces"]:
        t = table("interface", "driver", "state", "MTU", "MAC", "offloads on")
        for i in data["interfaces"]:
            t.add_row(i["name"], i["driver"], "up" if i["up"] else "down", str(i["mtu"]), i["mac"],
                      " ".join(i["offloads"]) or "-")  # fmt: skip
        console.print(t)
    else:
        console.print("no Ethernet interfaces in this network namespace")
    console.print()
    if data["nics"]:
        t = table("PCI address", "device", "driver", "NUMA", "interface", "for DPDK")
        for n in data["nics"]:
            t.add_row(
                n["address"],
                n["device"],
                n["driver"] or "-",
                str(n["numa_node"]),
                n["interface"] or "-",
                "yes" if n["reachable"] else "no: the kernel has it",
            )
        console.print(t)
    else:
        console.print("no NICs on the PCI bus")
    console.print(
        "\nkeys of a kind: veridnet ports KIND; what a port can do: veridnet ports --port SPEC"
    )


def show_probe(data: dict[str, Any], console: Console) -> None:
    """What the ports can do."""
    for p in data["ports"]:
        t = table(f"port {p['name']}", p["kind"])
        for k in ("mac", "mtu", "max_frame", "promiscuous", "queues", "finite", "xstats"):
            t.add_row(k, str(p[k]))
        t.add_row("link", "up" if p["link"]["up"] else "down")
        t.add_row(
            "speed", f"{p['link']['speed_mbps']:,} Mbit/s" if p["link"]["speed_mbps"] else "-"
        )
        for k, v in (p["info"] | p["details"]).items():
            t.add_row(k, hex(v) if k.endswith("capa") else escape(str(v)))
        for w in p["warnings"]:
            t.add_row("[yellow]warning[/]", escape(w))
        console.print(t)
        console.print()
