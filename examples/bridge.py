"""A learning bridge between two new interfaces of the Linux stack.

    sudo .venv/bin/python examples/bridge.py [SECONDS]

Makes vtap0 and vtap1 and bridges them until Ctrl-C, or for so many seconds. Needs root
(cap_net_admin).
"""

import argparse
import signal
import sys
import threading

import veridnet as vn

TRY = """\
vtap0 and vtap1 are bridged. In another terminal, two hosts that reach each other through them:

    for i in 0 1; do
        sudo ip netns add host$i
        sudo ip link set vtap$i netns host$i
        sudo ip -n host$i addr add 192.0.2.1$i/24 dev vtap$i
        sudo ip -n host$i link set vtap$i up
    done
    sudo ip netns exec host0 ping -c 3 192.0.2.11
    sudo ip netns del host0; sudo ip netns del host1

Ctrl-C ends it."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Bridges the new interfaces vtap0 and vtap1.")
    parser.add_argument(
        "seconds", nargs="?", type=float, metavar="SECONDS", help="until Ctrl-C if not given"
    )
    args = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stop.set())

    with vn.Runtime() as rt:
        ports = [rt.add_port("tap", iface=name) for name in ("vtap0", "vtap1")]
        print(TRY, flush=True)
        with rt.start(vn.Pipeline(rx=ports).bridge(), idle="adaptive") as running:
            running.wait(duration=args.seconds, stop=stop)
            for mac, port, age in running.bridges[0].stations():
                print(f"{mac} is behind {ports[port].details['iface']}, seen {age:.0f} s ago")
        balance = rt.balance()
        print(f"{balance.tx} packets sent, drops: {balance.drops or 'none'}")


if __name__ == "__main__":
    try:
        main()
    except vn.VeridnetError as e:
        sys.exit(f"bridge.py: error: {e}" + (f" [{e.hint}]" if e.hint else ""))
