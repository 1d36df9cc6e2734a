"""Stages on two lcores, joined by a ring: one receives and filters, the other asks the rules.

    .venv/bin/python examples/handoff.py [IN.pcap [OUT.pcap]]

Reads examples/demo.pcap and writes out.pcap if not told otherwise. Needs no root and no hugepages.
On one CPU all of it runs on one lcore; the plan says so.
"""

import argparse
import sys
from pathlib import Path

import veridnet as vn

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description="A pipeline over two lcores.")
    parser.add_argument("source", nargs="?", default=HERE / "demo.pcap", metavar="IN.pcap")
    parser.add_argument("target", nargs="?", default="out.pcap", metavar="OUT.pcap")
    args = parser.parse_args()

    with vn.Runtime() as rt, vn.FlowTable.load(HERE / "firewall.toml") as table:
        a = rt.add_port("pcap", rx=args.source)
        b = rt.add_port("pcap", tx=args.target)
        pipe = (
            vn.Pipeline(rx=[a], ports=[a, b])
            .filter("not arp")
            .handoff(ring=1024, full="wait")  # from here on another lcore; "drop" never waits
            .apply(table)
            .forward(b)
        )
        # No more workers than CPUs. Of two, this thread shares one: so workers sleep when idle.
        lcores = min(2, len(rt.worker_cpus))
        print(pipe.plan(lcores=lcores), end="\n\n")
        print(rt.run(pipe, lcores=lcores, idle="adaptive"))


if __name__ == "__main__":
    try:
        main()
    except vn.VeridnetError as e:
        sys.exit(f"handoff.py: error: {e}" + (f" [{e.hint}]" if e.hint else ""))
