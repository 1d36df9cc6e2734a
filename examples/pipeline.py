"""A pipeline: built-in stages and one in Python, its plan, and what each stage did.

    .venv/bin/python examples/pipeline.py [IN.pcap [OUT.pcap]]

Reads examples/demo.pcap and writes out.pcap if not told otherwise. Needs no root and no hugepages.
The same by the command, over any ports:

    .venv/bin/veridnet run examples/pipeline.py -p pcap:rx=IN.pcap -p pcap:tx=OUT.pcap
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import veridnet as vn


def old_flows(h: vn.Headers) -> np.ndarray:
    """A stage of one's own: columns in, a mask of what goes on out."""
    return (h.tcp_flags & (vn.SYN | vn.ACK)) != vn.SYN


def pipeline(ports: list[vn.Port]) -> vn.Pipeline:
    """What happens to packets from the first port, which leave by the last."""
    return (
        vn.Pipeline(rx=ports[:1], ports=ports)
        .filter("not arp", reason="no_arp")
        .stage(old_flows, reason="new_flow")
        .rewrite("dec_ttl", swap_macs=True)
        .forward(ports[-1])
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="A capture into another, through a pipeline.")
    demo = Path(__file__).with_name("demo.pcap")
    parser.add_argument("source", nargs="?", default=demo, metavar="IN.pcap")
    parser.add_argument("target", nargs="?", default="out.pcap", metavar="OUT.pcap")
    args = parser.parse_args()

    with vn.Runtime() as rt:
        a = rt.add_port("pcap", rx=args.source)
        b = rt.add_port("pcap", tx=args.target)
        pipe = pipeline([a, b])
        print(pipe.plan(), end="\n\n")
        running = rt.start(pipe, trace=1)
        running.wait()
        print(running.stop(), end="\n\n")
        print(running.trace())
    assert rt.balance().balanced, rt.balance()


if __name__ == "__main__":
    try:
        main()
    except vn.VeridnetError as e:
        sys.exit(f"pipeline.py: error: {e}" + (f" [{e.hint}]" if e.hint else ""))
