"""Two threads and a ring: one receives a capture, the other counts by limits that are published.

    .venv/bin/python examples/rings.py [IN.pcap]

Reads examples/demo.pcap if not told otherwise. Needs no root and no hugepages. Between processes it
is the same, with names: Runtime(shared="lab") here, Runtime(attach="lab") and Ring.attach there.
"""

import argparse
import sys
import threading
from pathlib import Path

import numpy as np

import veridnet as vn


def count(ring: vn.Ring, limit: vn.Rcu, done: threading.Event, found: dict[str, int]) -> None:
    """Sorts packets by length, until the ring is empty and no more will come."""
    burst = vn.Burst(256)
    while True:
        last = done.is_set()  # before the look, or a packet could come in between
        if ring.get(burst, timeout=0.05):
            with limit.read() as now:
                short = int((burst.lengths <= now[0]).sum())
            found["short"] += short
            found["long"] += len(burst) - short
            burst.clear()
        elif last:
            return


def main() -> None:
    parser = argparse.ArgumentParser(description="Packets from one thread to another by a ring.")
    demo = Path(__file__).with_name("demo.pcap")
    parser.add_argument("source", nargs="?", default=demo, metavar="IN.pcap")
    args = parser.parse_args()

    found = {"short": 0, "long": 0}
    with vn.Runtime() as rt:
        port = rt.add_port("pcap", rx=args.source)
        ring = vn.Ring(512, mode="spsc")
        limit = vn.Rcu(np.array([64]))
        done = threading.Event()
        consumer = threading.Thread(target=count, args=(ring, limit, done, found))
        consumer.start()
        try:
            burst = vn.Burst(256)
            while not port.exhausted:
                port.rx(burst)
                while burst:  # the consumer is slower: wait for it rather than drop
                    ring.put(burst, timeout=1)
                if port.stats["rx_packets"] > 500:
                    limit.publish([128])  # from now on; the consumer never waits
        finally:
            done.set()
            consumer.join()

    print(f"{sum(found.values())} packets through the ring: "
          f"{found['short']} short, {found['long']} long")  # fmt: skip
    assert rt.balance().balanced, rt.balance()


if __name__ == "__main__":
    try:
        main()
    except vn.VeridnetError as e:
        sys.exit(f"rings.py: error: {e}" + (f" [{e.hint}]" if e.hint else ""))
