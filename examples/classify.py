"""Classifies a capture with numpy over header columns, in a stage: DNS, web, the rest.

    .venv/bin/python examples/classify.py [IN.pcap]

Reads examples/demo.pcap if not told otherwise. Needs no root and no hugepages.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np

import veridnet as vn


def main() -> None:
    parser = argparse.ArgumentParser(description="Classifies the packets of a capture.")
    demo = Path(__file__).with_name("demo.pcap")
    parser.add_argument("capture", nargs="?", default=demo, metavar="IN.pcap")
    args = parser.parse_args()

    packets: Counter[str] = Counter()
    bytes_: Counter[str] = Counter()
    with vn.Runtime() as rt:
        port = rt.add_port("pcap", rx=args.capture)

        def classify(h: vn.Headers) -> np.ndarray:
            """Called by a worker for each burst; what it returns False for is dropped."""
            dns = (h.ip_proto == vn.UDP) & ((h.l4_dst == 53) | (h.l4_src == 53))
            web = h.match("ip_proto == tcp and (l4_dst in {80, 443} or l4_src in {80, 443})")
            opens = (h.tcp_flags & (vn.SYN | vn.ACK)) == vn.SYN
            for name, mask in {
                "DNS": dns,
                "web": web,
                "other": ~(dns | web),
                "IPv6": h.ip_version == 6,
                "new TCP connections": opens,
                "wrong checksums": (h.ip_csum == 2) | (h.l4_csum == 2),
                "malformed": h.error != 0,
            }.items():
                packets[name] += int(np.count_nonzero(mask))
                bytes_[name] += int(h.wire_len[mask].sum())
            return ~dns

        pipe = vn.Pipeline(rx=[port]).stage(classify, reason="dns").drop()
        stats = rt.run(pipe, burst=256)  # 256 packets a call: numpy's cost is by the call
        print(f"{'':22}{'packets':>10}{'bytes':>14}")
        for name, n in packets.items():
            print(f"{name:22}{n:>10,}{bytes_[name]:>14,}")
        print(f"\n{stats}")


if __name__ == "__main__":
    try:
        main()
    except vn.VeridnetError as e:
        sys.exit(f"classify.py: error: {e}" + (f" [{e.hint}]" if e.hint else ""))
