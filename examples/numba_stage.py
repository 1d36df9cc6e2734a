"""A stage compiled by numba: a loop over columns that runs without the GIL, with a state array.

    .venv/bin/python examples/numba_stage.py [IN.pcap]

Counts bytes by destination port and drops what goes to ports that had their share. Reads
examples/demo.pcap if not told otherwise. Needs numba (pip install numba), no root, no hugepages.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import veridnet as vn

SHARE = 40_000  # bytes
sent = np.zeros(65536, np.int64)  # all workers write into it


@vn.native_stage(sent=sent)
def fair(l4_dst, wire_len, keep, sent):
    for i in range(len(keep)):
        if sent[l4_dst[i]] + wire_len[i] > SHARE:
            keep[i] = False  # its columns stay readable: it is dropped when the stage is done
        else:
            sent[l4_dst[i]] += wire_len[i]


def main() -> None:
    parser = argparse.ArgumentParser(description="A stage that numba compiles.")
    demo = Path(__file__).with_name("demo.pcap")
    parser.add_argument("source", nargs="?", default=demo, metavar="IN.pcap")
    args = parser.parse_args()

    with vn.Runtime() as rt:
        a = rt.add_port("pcap", rx=args.source)
        b = rt.add_port("null", no_rx=True)
        pipe = vn.Pipeline(rx=[a]).filter("tcp or udp").stage(fair, reason="share").forward(b)
        print(rt.run(pipe), end="\n\n")
    for port in np.argsort(sent)[:-6:-1]:
        print(f"to port {port:<6}{sent[port]:>8,} bytes")


if __name__ == "__main__":
    try:
        main()
    except vn.VeridnetError as e:
        sys.exit(f"numba_stage.py: error: {e}" + (f" [{e.hint}]" if e.hint else ""))
