"""A capture into another, one loop in Python: rx, change, tx.

    .venv/bin/python examples/forward.py [IN.pcap [OUT.pcap]]

Reads examples/demo.pcap and writes out.pcap if not told otherwise. Needs no root and no hugepages.
"""

import sys
from pathlib import Path

import veridnet as vn

source = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("demo.pcap")
target = sys.argv[2] if len(sys.argv) > 2 else "out.pcap"

with vn.Runtime() as rt:
    a = rt.add_port("pcap", rx=source)
    b = rt.add_port("pcap", tx=target)
    burst = vn.Burst(256)
    while not a.exhausted:  # receiving nothing is not the end: a live port is never exhausted
        a.rx(burst)
        burst.set_macs(dst="02:00:00:00:00:01", src=b.mac)
        b.tx(burst)

    sent = b.stats
    print(f"{sent['tx_packets']} packets, {sent['tx_bytes']} bytes -> {target}")

# The packets that went in are those that came out, or were dropped for a reason.
assert rt.balance().balanced, rt.balance()
