"""`veridnet headers --stats`: how many packets, of which protocols, with which errors."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from veridnet._native.table import Reader
from veridnet.headers.fields import BY_NAME, ERRORS
from veridnet.headers.source import INDEX

ETHERTYPES = {0x0800: "IPv4", 0x0806: "ARP", 0x86DD: "IPv6", 0x8863: "PPPoE discovery",
              0x8864: "PPPoE", 0x88CC: "LLDP", 0x888E: "802.1X", 0: "no EtherType"}  # fmt: skip
PROTOCOLS = {1: "ICMP", 2: "IGMP", 4: "IPv4 in IP", 6: "TCP", 17: "UDP", 41: "IPv6 in IP",
             47: "GRE", 50: "ESP", 51: "AH", 58: "ICMPv6", 89: "OSPF", 132: "SCTP"}  # fmt: skip


class Stats:
    """Counts, block by block."""

    COLUMNS = ("wire_len", "rx_time", "ethertype", "ip_version", "ip_proto", "vlan_depth", "error")

    def __init__(self) -> None:
        self.packets = self.bytes = self.tagged = 0
        self.first = self.last = 0
        self.layers: dict[tuple[str, str], list[int]] = {}
        self.errors = np.zeros(256, np.int64)

    def add(self, reader: Reader) -> None:
        """The selected rows of the reader's block."""
        mask = reader.chosen()
        keep = slice(None) if mask is None else np.frombuffer(mask, np.bool_)
        c = {
            name: np.frombuffer(reader.column(INDEX[name]), BY_NAME[name].dtype)[keep]
            for name in self.COLUMNS
        }
        size, times = c["wire_len"].astype(np.int64), c["rx_time"]
        lo, hi = int(times.min()), int(times.max())
        self.first = min(self.first, lo) if self.packets else lo
        self.last = max(self.last, hi)
        self.packets += len(size)
        self.bytes += int(size.sum())
        self.tagged += int(np.count_nonzero(c["vlan_depth"]))
        self.errors += np.bincount(c["error"], minlength=256)
        # Raw IP has no EtherType; an IP header speaks for itself.
        kinds = c["ethertype"].copy()
        kinds[(c["ip_version"] == 4) & (kinds == 0)] = 0x0800
        kinds[(c["ip_version"] == 6) & (kinds == 0)] = 0x86DD
        self.count("ethertype", kinds, size, ETHERTYPES, "0x{:04x}")
        ip = c["ip_version"] != 0
        self.count("IP protocol", c["ip_proto"][ip], size[ip], PROTOCOLS, "{}")

    def count(self, layer: str, values: Any, size: Any, names: dict[int, str], other: str) -> None:
        """Packets and bytes of each value."""
        found, where = np.unique(values, return_inverse=True)
        packets = np.bincount(where, minlength=len(found))
        total = np.bincount(where, size, minlength=len(found))
        for value, n, b in zip(found.tolist(), packets.tolist(), total.tolist(), strict=True):
            entry = self.layers.setdefault((layer, names.get(value, other.format(value))), [0, 0])
            entry[0] += n
            entry[1] += int(b)

    @property
    def seconds(self) -> float:
        """From the first packet to the last."""
        return (self.last - self.first) / 1e9

    def data(self) -> dict[str, Any]:
        """Everything, as JSON types."""

        def part(layer: str) -> dict[str, dict[str, int]]:
            rows = [(name, n, b) for (of, name), (n, b) in self.layers.items() if of == layer]
            rows.sort(key=lambda row: -row[1])
            return {name: {"packets": n, "bytes": b} for name, n, b in rows}

        return {
            "packets": self.packets,
            "bytes": self.bytes,
            "seconds": self.seconds,
            "vlan_tagged": self.tagged,
            "ethertypes": part("ethertype"),
            "ip_protocols": part("IP protocol"),
            "errors": {
                ERRORS[i][0] if i < len(ERRORS) else str(i): int(self.errors[i])
                for i in np.flatnonzero(self.errors).tolist()
                if i
            },
        }

    def json(self) -> str:
        """One JSON object."""
        return json.dumps(self.data()) + "\n"

    def table(self) -> str:
        """For reading."""
        d = self.data()
        lines = [
            f"{d['packets']:,} packets, {d['bytes']:,} bytes in {d['seconds']:.6f} s; "
            f"{d['vlan_tagged']:,} with VLAN tags"
        ]
        for key, title in (("ethertypes", "EtherType"), ("ip_protocols", "IP protocol")):
            if d[key]:
                lines += ["", f"{title:<20}{'packets':>14}{'bytes':>18}"]
                lines += [f"{name:<20}{v['packets']:>14,}{v['bytes']:>18,}"
                          for name, v in d[key].items()]  # fmt: skip
        meanings = dict(ERRORS)
        lines += ["", f"{'error':<20}{'packets':>14}" if d["errors"] else "no errors"]
        lines += [f"{name:<20}{n:>14,}  {meanings.get(name, '')}"
                  for name, n in d["errors"].items()]  # fmt: skip
        return "\n".join(lines) + "\n"
