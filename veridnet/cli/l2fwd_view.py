"""What l2fwd shows people, on stderr: the live table and the summary."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from veridnet._native.errors import drop_reasons
from veridnet.cli.common import si

if TYPE_CHECKING:
    from veridnet.apps.l2fwd import L2fwd


def console() -> Console:
    """stderr, as wide as the table needs where it is no terminal."""
    if sys.stderr.isatty():
        return Console(stderr=True, markup=False)
    return Console(stderr=True, markup=False, width=120, color_system=None)


def port_table(title: str | None = None) -> Table:
    """A table with the ports' columns."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("port", "kind"):
        table.add_column(name)
    for name in ("rx packets", "rx bytes", "tx packets", "tx bytes", "dropped"):
        table.add_column(name, justify="right")
    return table


def counts(p: dict[str, Any]) -> list[str]:
    """One port's cells."""
    numbers = (
        p["rx_packets"], p["rx_bytes"], p["tx_packets"], p["tx_bytes"], sum(p["drops"].values()),
    )  # fmt: skip
    return [p["name"], p["kind"], *(f"{n:,}" for n in numbers)]


class LiveTable(contextlib.AbstractContextManager["LiveTable"]):
    """The table that is redrawn while packets flow.

    On a terminal it stands in place, elsewhere one table is printed each period, if asked for.
    """

    def __init__(self, forwarder: L2fwd, period: float | None) -> None:
        self.forwarder = forwarder
        self.console = console()
        self.wanted = period is not None or self.console.is_terminal
        self.period = period or 1.0
        self.live: Live | None = None
        self.last: list[tuple[int, int]] = [(0, 0)] * len(forwarder.ports)
        self.at = time.monotonic()

    def __enter__(self) -> Self:
        if self.wanted and self.console.is_terminal:
            self.live = Live(console=self.console, auto_refresh=False, transient=True)
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()

    def update(self, forwarder: L2fwd) -> None:
        """Draws the table anew."""
        now = time.monotonic()
        seconds = max(now - self.at, 1e-9)
        self.at = now
        table = port_table()
        for name in ("rx pps", "tx pps", "tx bit/s"):
            table.add_column(name, justify="right")
        for i, p in enumerate(forwarder.snapshot()):
            rx, tx = self.last[i][0], self.last[i][1]
            sent = p["tx_bytes"]
            before = getattr(self, "_bytes", {}).get(i, 0)
            self._bytes = {**getattr(self, "_bytes", {}), i: sent}
            self.last[i] = (p["rx_packets"], p["tx_packets"])
            table.add_row(
                *counts(p),
                si((p["rx_packets"] - rx) / seconds),
                si((p["tx_packets"] - tx) / seconds),
                si((sent - before) * 8 / seconds),
            )
        if self.live is not None:
            self.live.update(table, refresh=True)
        else:
            self.console.print(table)


def print_summary(data: dict[str, Any]) -> None:
    """The end of a run, for people."""
    out = console()
    table = port_table()
    for p in data["ports"]:
        table.add_row(*counts(p))
    out.print()
    out.print(table)
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
    out.print(f"{equation}{'' if data['balanced'] else '   DOES NOT HOLD'}", highlight=False)
    memory = data["memory"]
    huge = ""
    if "huge_bytes" in memory:
        huge = f", {memory['huge_bytes'] / max(1, memory['heap_bytes']):.0%} of them huge"
    out.print(f"{data['dpdk']}, packet memory: {memory['name']}{huge}", highlight=False)
    for p in data["ports"]:
        if path := p["details"].get("tx_file"):
            out.print(f"output of port {p['name']}: {path}", highlight=False, soft_wrap=True)
    for problem in data["problems"]:
        out.print(f"problem: {problem}", style="bold red", highlight=False, soft_wrap=True)


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
