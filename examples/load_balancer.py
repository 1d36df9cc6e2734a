"""A load balancer: load_balancer.toml spreads requests over backends, and answers find back.

    .venv/bin/python examples/load_balancer.py [IN.pcap [OUT.pcap]]

Reads the clients' packets from examples/demo.pcap and writes what they get back into
answers.pcap if not told otherwise. The backends are played: a port of shared memory hands back
what was sent to them, and each request is turned round into an "answer". Needs no root and no
hugepages.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import veridnet as vn

HERE = Path(__file__).parent


PAIRS = (("eth_src", "eth_dst"), ("ip_src", "ip_dst"), ("ip6_src_hi", "ip6_dst_hi"),
         ("ip6_src_lo", "ip6_dst_lo"), ("l4_src", "l4_dst"))  # fmt: skip


def turn_round(h: vn.Headers) -> dict[str, np.ndarray]:
    """Makes requests into what comes back: sender and receiver change places; checksums follow."""
    swapped = [(a, getattr(h, b).copy()) for pair in PAIRS for a, b in (pair, pair[::-1])]
    return dict(swapped)


def main() -> None:
    parser = argparse.ArgumentParser(description="Spreads requests over backends, and back.")
    parser.add_argument("source", nargs="?", default=HERE / "demo.pcap", metavar="IN.pcap")
    parser.add_argument("target", nargs="?", default="answers.pcap", metavar="OUT.pcap")
    parser.add_argument("--rules", default=HERE / "load_balancer.toml", metavar="FILE")
    args = parser.parse_args()

    with vn.Runtime() as rt, vn.FlowTable.load(args.rules) as table:
        clients = rt.add_port("pcap", rx=args.source, tx=args.target)
        backends = rt.add_port("ring")  # what is sent to it is received from it
        ports = [clients, backends]  # in this order: "forward 0" and "forward 1"
        pipe = (
            vn.Pipeline(rx=ports)
            .split({"in_port == 1": vn.Pipeline().stage(turn_round)})  # the rest goes past it
            .apply(table)
        )
        rt.run(pipe, until_idle=0.2)  # the capture's end is not the end of the answers

        print(f"{'rule':14}{'packets':>10}{'bytes':>12}")
        for rule in table.stats():
            print(f"{rule['name']:14}{rule['packets']:>10,}{rule['bytes']:>12,}")
        balance = rt.balance()
        count = clients.stats
        print(f"\n{count['rx_packets']:,} packets from the clients, {count['tx_packets']:,} back")
        print(f"dropped: {balance.drops}")
    assert balance.balanced, balance


if __name__ == "__main__":
    try:
        main()
    except vn.VeridnetError as e:
        sys.exit(f"load_balancer.py: error: {e}" + (f" [{e.hint}]" if e.hint else ""))
