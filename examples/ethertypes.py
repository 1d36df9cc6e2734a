"""Counts EtherTypes: a stage in Python, whose numpy reads the packets' own bytes.

    .venv/bin/python examples/ethertypes.py [IN.pcap]

Reads examples/demo.pcap if not told otherwise. Needs no root and no hugepages.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np

import veridnet as vn

NAMES = {0x0800: "IPv4", 0x0806: "ARP", 0x86DD: "IPv6", 0x8100: "802.1Q"}


def ether_types(burst: vn.Burst) -> np.ndarray:
    """Bytes 12 and 13 of each packet, as one array."""
    types = np.zeros(len(burst), np.uint16)
    for i, view in enumerate(burst):
        if len(view) >= 14:  # a capture may hold shorter frames
            types[i] = np.frombuffer(view, ">u2", count=1, offset=12)[0]
    return types  # the views end here: they must not outlive the stage


def main() -> None:
    parser = argparse.ArgumentParser(description="Counts the EtherTypes of a capture.")
    demo = Path(__file__).with_name("demo.pcap")
    parser.add_argument("capture", nargs="?", default=demo, metavar="IN.pcap")
    args = parser.parse_args()

    seen: Counter[int] = Counter()
    with vn.Runtime() as rt:
        port = rt.add_port("pcap", rx=args.capture)

        def count(burst: vn.Burst) -> None:
            values, counts = np.unique(ether_types(burst), return_counts=True)
            seen.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))

        pipe = vn.Pipeline(rx=[port]).stage(count, takes="burst").drop()
        rt.run(pipe, burst=256)
    for value, n in seen.most_common():
        # Below 0x600 it is a length (IEEE 802.3).
        print(f"{n:8,}  0x{value:04x}  {NAMES.get(value, 'length' if value < 0x600 else '')}")


if __name__ == "__main__":
    try:
        main()
    except vn.VeridnetError as e:
        sys.exit(f"ethertypes.py: error: {e}" + (f" [{e.hint}]" if e.hint else ""))
