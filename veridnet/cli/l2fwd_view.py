"""What l2fwd and run show people, on stderr: the live table and the summary."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from veridnet._native.errors import drop_reasons
from veridnet.cli.common import si
from veridnet.texts import printable

if TYPE_CHECKING:
    from veridnet.apps.forwarding import App


def console() -> Console:
    """stderr, as wide as the table needs where it is no terminal."""
    if sys.stderr.isatty():
        return Console(stderr=True, markup=False)
    return Console(stderr=True, markup=False, width=120, color_system=None)


#: What the tables leave away, one after the other, until they fit: bytes in full (then as
#: 1.23 M), bytes at all, packets in full, the kind of port.
NARROWER = ("exact bytes", "bytes", "exact packets", "kind")


def port_table(
    out: Console, ports: Sequence[dict[str, Any]], rates: Sequence[tuple[float, float, float]] = ()
) -> Table:
    """The ports' counters (and rates), laid out so that a line of the terminal is enough."""
    unbounded = out.options.update(max_width=10_000)
    for n in range(len(NARROWER) + 1):
        table = lay_out(ports, rates, NARROWER[:n])
        if out.measure(table, options=unbounded).maximum <= out.width:
            break
    return table


def lay_out(
    ports: Sequence[dict[str, Any]],
    rates: Sequence[tuple[float, float, float]],
    without: Sequence[str],
) -> Table:
    """The table without some of what it could show."""

    def full(n: int) -> str:
        return f"{n:,}"

    packets = si if "exact packets" in without else full
    size = si if "exact bytes" in without else full
    columns: list[tuple[str, list[str]]] = [("port", [p["name"] for p in ports])]
    if "kind" not in without:
        columns.append(("kind", [p["kind"] for p in ports]))
    for way in ("rx", "tx"):
        columns.append((f"{way} packets", [packets(p[f"{way}_packets"]) for p in ports]))
        if "bytes" not in without:
            columns.append((f"{way} bytes", [size(p[f"{way}_bytes"]) for p in ports]))
    columns.append(("dropped", [packets(sum(p["drops"].values())) for p in ports]))
    names = ("rx pps", "tx pps", "tx bit/s") if rates else ()
    for name, values in zip(names, zip(*rates, strict=True), strict=True):
        columns.append((name, [si(v) for v in values]))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    # Should nothing help, the ports' names are cut.
    table.add_column("port", overflow="ellipsis")
    for name, _ in columns[1:]:
        table.add_column(name, justify="left" if name == "kind" else "right", no_wrap=True)
    for row in zip(*(cells for _, cells in columns), strict=True):
        table.add_row(*row)
    return table


class LiveTable(contextlib.AbstractContextManager["LiveTable"]):
    """The table that is redrawn while packets flow.

    On a terminal it stands in place, elsewhere one table is printed each period, if asked for.
    """

    def __init__(self, app: App, period: float | None) -> None:
        self.console = console()
        self.wanted = period is not None or self.console.is_terminal
        self.period = period or 1.0
        self.live: Live | None = None
        self.last: list[tuple[int, int, int]] = [(0, 0, 0)] * len(app.ports)
        self.at = time.monotonic()

    def __enter__(self) -> Self:
        if self.wanted and self.console.is_terminal:
            self.live = Live(console=self.console, auto_refresh=False, transient=True)
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()

    def update(self, app: App) -> None:
        """Draws the table anew."""
        now = time.monotonic()
        seconds = max(now - self.at, 1e-9)
        self.at = now
        ports = app.snapshot()
        counts = [(p["rx_packets"], p["tx_packets"], p["tx_bytes"] * 8) for p in ports]
        rates = [
            ((rx - rx0) / seconds, (tx - tx0) / seconds, (bits - bits0) / seconds)
            for (rx, tx, bits), (rx0, tx0, bits0) in zip(counts, self.last, strict=True)
        ]
        self.last = counts
        table = port_table(self.console, ports, rates)
        if self.live is not None:
            self.live.update(table, refresh=True)
        else:
            self.console.print(table)


def print_summary(data: dict[str, Any], tables: str = "") -> None:
    """The end of a run, for people; with tables of what the stages did."""
    out = console()
    out.print()
    out.print(port_table(out, data["ports"]))
    out.print()
    meanings = drop_reasons()
    if data["drops"]:
        out.print("drops by reason")
        for reason, n in sorted(data["drops"].items(), key=lambda kv: -kv[1]):
            out.print(f"  {reason:18} {n:>12,}   {meanings.get(reason, '')}", highlight=False)
    else:
        out.print("no drops")
    lost = {p["name"]: loss for p in data["ports"] if (loss := pmd_losses(p))}
    for name, loss in lost.items():
        text = ", ".join(f"{k} {v:,}" for k, v in loss.items())
        out.print(f"port {name}: its driver reports {text}", highlight=False)
    if data["bridge"]:
        b = data["bridge"]
        out.print(
            f"bridge: {b['stations']:,} stations ({b['learned']:,} learned, {b['moved']:,} moved, "
            f"{b['aged']:,} aged, {b['table_full']:,} not learned), {data['copies']:,} copies",
            highlight=False,
        )
    if data.get("rules"):
        print_rules(out, data["rules"])
    if tables:
        out.print(f"\n{tables}\n", highlight=False, soft_wrap=True)
    if data["moves"]:
        out.print(f"receive queues moved to other workers: {data['moves']:,}", highlight=False)
    rate = data["rate"]
    out.print(
        f"{data['duration_s']:.3f} s, ended by: {data['ended_by']}; sent "
        f"{si(rate['tx_pps'])} packets/s, {si(rate['tx_bps'])} bit/s",
        highlight=False,
    )
    equation = (
        f"rx {data['rx_packets']:,} + generated {data['generated']:,} + copies "
        f"{data['copies']:,} = tx {data['tx_packets']:,} + drops "
        f"{sum(data['drops'].values()):,} + held {data['held']:,}"
    )
    if data["handed_in"] or data["handed_out"]:
        equation = equation.replace(" = ", f" + handed_in {data['handed_in']:,} = ")
        equation += f" + handed_out {data['handed_out']:,}"
    out.print(f"{equation}{'' if data['balanced'] else '   DOES NOT HOLD'}", highlight=False)
    memory = data["memory"]
    huge = ""
    if "huge_bytes" in memory:
        huge = f", {memory['huge_bytes'] / max(1, memory['heap_bytes']):.0%} of them huge"
    if len(nodes := memory.get("nodes", {})) > 1:
        huge += ", " + ", ".join(f"{b >> 20} MiB on node {n}" for n, b in nodes.items())
    out.print(f"{data['dpdk']}, packet memory: {memory['name']}{huge}", highlight=False)
    for p in data["ports"]:
        if path := p["details"].get("tx_file"):
            out.print(f"output of port {p['name']}: {path}", highlight=False, soft_wrap=True)
    for problem in data["problems"]:
        out.print(f"problem: {problem}", style="bold red", highlight=False, soft_wrap=True)


#: So many rules the summary shows; --json has them all.
RULES_SHOWN = 20


def print_rules(out: Console, report: dict[str, Any]) -> None:
    """The rules that hit most, and what none matched."""
    rows = sorted(report["rules"], key=lambda row: -row["packets"])
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("rule", justify="right", no_wrap=True)
    table.add_column("name", overflow="ellipsis")
    table.add_column("packets", justify="right", no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    for row in rows[:RULES_SHOWN]:
        table.add_row(
            str(row["id"]), printable(row["name"]), f"{row['packets']:,}", f"{row['bytes']:,}"
        )  # fmt: skip
    missed = report["missed"]
    table.add_row("", "(no rule)", f"{missed['packets']:,}", f"{missed['bytes']:,}")
    out.print()
    out.print(table)
    if len(rows) > RULES_SHOWN:
        out.print(f"... and {len(rows) - RULES_SHOWN:,} rules more: --json", highlight=False)
    if report["reloads"]:
        out.print(f"rules reloaded {report['reloads']:,} times", highlight=False)
    for port in report["offload"]:
        print_offload(out, port)
    out.print()


def print_offload(out: Console, port: dict[str, Any]) -> None:
    """What is in a port, and the first reason why the rest is not."""
    text = f"port {port['port']}: {port['in_port']:,} of {port['rules']:,} rules are in the port"
    if port["in_part"]:
        text += f", {port['in_part']:,} in part"
    if port["flows"]:
        dropped = port["dropped"]["packets"]
        text += f" ({port['flows']:,} flows), which dropped {dropped:,} packets by itself"
    for reason, n in list(port["reasons"].items())[:1]:
        text += f"; of {n:,} it says: {reason}"
    out.print(text, highlight=False, soft_wrap=True)


def pmd_losses(port: dict[str, Any]) -> dict[str, int]:
    """What a driver says that it lost itself, where that is not in our own count."""
    pmd = port.get("pmd", {})
    names = ("imissed", "rx_nombuf", "ierrors", "oerrors")
    # net_tap and net_pcap count a packet that we try again, or drop as tx_full, as an error.
    losses = {k: pmd[k] for k in names if pmd.get(k)}
    retried = port["retries"] or port["drops"].get("tx_full")
    if retried:
        losses.pop("oerrors", None)
    return losses
