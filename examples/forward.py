"""A capture into another: a pipeline receives, changes and sends.

    .venv/bin/python examples/forward.py [IN.pcap [OUT.pcap]]

Reads examples/demo.pcap and writes out.pcap if not told otherwise. Needs no root and no hugepages.
"""

import argparse
import sys
from pathlib import Path

import veridnet as vn


def main() -> None:
    parser = argparse.ArgumentParser(description="A capture into another, with other MACs.")
    demo = Path(__file__).with_name("demo.pcap")
    parser.add_argument("source", nargs="?", default=demo, metavar="IN.pcap")
    parser.add_argument("target", nargs="?", default="out.pcap", metavar="OUT.pcap")
    args = parser.parse_args()

    with vn.Runtime() as rt:
        a = rt.add_port("pcap", rx=args.source)
        b = rt.add_port("pcap", tx=args.target)
        pipe = vn.Pipeline(rx=[a]).rewrite(eth_dst="02:00:00:00:00:01", eth_src=b.mac).forward(b)
        print(rt.run(pipe))  # until the capture has ended; with live ports, until Ctrl-C

        sent = b.stats
        print(f"{sent['tx_packets']} packets, {sent['tx_bytes']} bytes -> {args.target}")

    # The packets that went in are those that came out, or were dropped for a reason.
    assert rt.balance().balanced, rt.balance()


if __name__ == "__main__":
    try:
        main()
    except vn.VeridnetError as e:
        sys.exit(f"forward.py: error: {e}" + (f" [{e.hint}]" if e.hint else ""))
