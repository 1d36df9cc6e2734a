"""A firewall: the rules of firewall.toml decide what passes from a capture into another.

    .venv/bin/python examples/firewall.py [IN.pcap [OUT.pcap]]

Reads examples/demo.pcap and writes passed.pcap if not told otherwise. Needs no root and no
hugepages. The same rules from the command line: veridnet l2fwd --rules examples/firewall.toml
"""

import argparse
import sys
from pathlib import Path

import veridnet as vn

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description="Lets through what firewall.toml allows.")
    parser.add_argument("source", nargs="?", default=HERE / "demo.pcap", metavar="IN.pcap")
    parser.add_argument("target", nargs="?", default="passed.pcap", metavar="OUT.pcap")
    parser.add_argument("--rules", default=HERE / "firewall.toml", metavar="FILE")
    args = parser.parse_args()

    with vn.Runtime() as rt, vn.FlowTable.load(args.rules) as table:
        a = rt.add_port("pcap", rx=args.source)
        b = rt.add_port("pcap", tx=args.target)
        # What no rule ends goes on, to b. The rules may change while it runs.
        rt.run(vn.Pipeline(rx=[a], ports=[a, b]).apply(table).forward(b))

        print(f"{'rule':14}{'packets':>10}{'bytes':>12}")
        for rule in table.stats():
            print(f"{rule['name']:14}{rule['packets']:>10,}{rule['bytes']:>12,}")
        balance = rt.balance()
        print(f"\nreceived {a.stats['rx_packets']:,}, passed {b.stats['tx_packets']:,}; dropped:")
        for reason, packets in balance.drops.items():
            print(f"{reason:14}{packets:>10,}")
    # The packets that went in are those that came out, or were dropped for a reason.
    assert balance.balanced, balance


if __name__ == "__main__":
    try:
        main()
    except vn.VeridnetError as e:
        sys.exit(f"firewall.py: error: {e}" + (f" [{e.hint}]" if e.hint else ""))
