"""`Trace`: what happened to single packets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from veridnet._native import headers as native
from veridnet.headers import interop

COLUMNS = ("eth_src", "eth_dst", "vlan_id", "ip_version", "ip_src", "ip_dst", "ip6_src_hi",
           "ip6_src_lo", "ip6_dst_hi", "ip6_dst_lo", "ip_proto", "ip_ttl", "l4_src",
           "l4_dst")  # fmt: skip


class Trace:
    """Packets followed through all stages. Printed, a paragraph for each.

    ``events`` has a dict for each step: packet, kind ("rx", "stage", "ended", "out", "ring",
    "from_ring"), stage (its number), port, length, reason, worker, tsc, bytes (the packet's first
    128 after it).
    """

    def __init__(
        self, events: Sequence[dict[str, Any]], names: dict[int, str], ports: Sequence[Any]
    ) -> None:
        self.events = list(events)
        self._names = names
        self._ports = list(ports)
        self._by_id = {p.port_number: p.name for p in ports}

    def __len__(self) -> int:
        return len({e["packet"] for e in self.events})

    def to_dict(self) -> list[dict[str, Any]]:
        """The events as plain JSON types; bytes are hexadecimal."""
        return [
            {**e, "bytes": e["bytes"].hex(), "kind_of_stage": self._names.get(e["stage"])}
            for e in self.events
        ]

    def _port(self, e: dict[str, Any]) -> str:
        if e["kind"] == "rx":
            i = e["port"]
            return self._ports[i].name if i is not None and i < len(self._ports) else "a ring"
        return str(self._by_id.get(e["port"], e["port"]))

    def __str__(self) -> str:
        lines: list[str] = []
        packet, before = 0, b""
        start = 0
        for e in self.events:
            if e["packet"] != packet:
                packet, start = e["packet"], e["tsc"]
                lines += ([""] if lines else []) + [f"packet {packet}"]
                before = b""
            name = self._names.get(e["stage"], "")
            match e["kind"]:
                case "rx":
                    what = f"received on {self._port(e)}, {e['length']} bytes: {show(e['bytes'])}"
                case "stage":
                    what = f"{name}: goes on" + changes(before, e["bytes"])
                case "ended" if e["reason"]:
                    what = f"{name or 'the end'}: dropped ({e['reason']})"
                case "ended":
                    what = f"{name}: done with it"
                case "out":
                    what = f"sent by {self._port(e)}, {e['length']} bytes" + changes(
                        before, e["bytes"]
                    )
                case "ring":
                    what = "put into a ring"
                case _:
                    what = "taken out of a ring"
            lines.append(f"  {e['tsc'] - start:>9} cycles  worker {e['worker']}  {what}")
            if e["bytes"]:
                before = e["bytes"]
        return "\n".join(lines) if lines else "no packet was traced"

    __repr__ = __str__


def columns(raw: bytes) -> dict[str, str]:
    """The headers of a packet's first bytes that say something, as text."""
    parsed = native.parse_frames([raw], list(COLUMNS))
    shown = {name: str(values[0]) for name, values in interop.texts(parsed).items()}
    return {name: text for name, text in shown.items() if text not in ("", "0", "0.0.0.0")}


def show(raw: bytes) -> str:
    """A packet in a line."""
    c = columns(raw)
    ends = []
    for way in ("src", "dst"):
        address = c.get(f"ip_{way}") or c.get(f"ip6_{way}")
        if "ip_version" in c:
            address = address or ("0.0.0.0" if c["ip_version"] == "4" else "::")
            port = c.get(f"l4_{way}", "0") if "l4_src" in c or "l4_dst" in c else ""
            if port:
                address = f"{address}:{port}" if "." in address else f"[{address}]:{port}"
        ends.append(address or c.get(f"eth_{way}", "?"))
    return " > ".join(ends)


def changes(before: bytes, after: bytes) -> str:
    """What differs, for people."""
    if not before or not after or before == after:
        return ""
    a, b = columns(before), columns(after)
    names = dict.fromkeys([*a, *b])
    told = [f"{k} {a.get(k, '0')} -> {b.get(k, '0')}" for k in names if a.get(k) != b.get(k)]
    return ", " + ("; ".join(told) or "bytes changed")
