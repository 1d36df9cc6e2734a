"""Packet bytes without a copy: memoryviews, numpy, scapy, and what a view forbids.

    .venv/bin/python examples/views.py [IN.pcap]

Reads examples/demo.pcap if not told otherwise. Needs no root; scapy (pip install scapy) for its
last part.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import veridnet as vn


def main() -> None:
    parser = argparse.ArgumentParser(description="Packet bytes without a copy.")
    demo = Path(__file__).with_name("demo.pcap")
    parser.add_argument("capture", nargs="?", default=demo, metavar="IN.pcap")
    args = parser.parse_args()

    with vn.Runtime() as rt:
        port = rt.add_port("pcap", rx=args.capture)
        sink = rt.add_port("null", no_rx=True)
        burst = vn.Burst(32)
        port.rx(burst)
        print(burst, "lengths:", burst.lengths[:6])

        # burst[i] is a memoryview of the packet's own bytes; numpy looks at the same ones.
        view = burst[0]
        frame = np.frombuffer(view, np.uint8)
        print("destination:", bytes(view[:6]).hex(":"), "EtherType: 0x" + bytes(view[12:14]).hex())

        # While a view lives, its packet can neither be sent nor freed.
        try:
            sink.tx(burst)
        except BufferError as e:
            print("tx:", e)
        del view, frame

        # A view to write into, if it is asked for.
        with burst.view(0, writable=True) as bytes_of_packet:
            bytes_of_packet[0:6] = bytes.fromhex("020000000001")
        print("rewritten:", burst.to_bytes(0)[:6].hex(":"))

        # scapy gets a copy, and its packets become a burst again.
        try:
            packet = burst.to_scapy(0)
        except ImportError:
            print("scapy is not installed")
        else:
            print("scapy:", packet.summary())
            made = vn.Burst.from_bytes([packet, packet])
            print("sent:", sink.tx(made), "made ones and", sink.tx(burst), "received ones")
        burst.clear()


if __name__ == "__main__":
    try:
        main()
    except vn.VeridnetError as e:
        sys.exit(f"views.py: error: {e}" + (f" [{e.hint}]" if e.hint else ""))
