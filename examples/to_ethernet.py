"""A capture without Ethernet headers, made into one that pcap ports can send.

    .venv/bin/python examples/to_ethernet.py IN OUT

Reads pcap, and pcapng of any interfaces: frames of Ethernet are kept as they are, packets of raw
IP, Linux cooked captures (SLL, SLL2) and BSD loopback get an Ethernet header with made-up
addresses, others are left out and counted. Needs scapy.
"""

import argparse
import sys
from collections import Counter
from itertools import chain

try:
    from scapy.error import Scapy_Exception
    from scapy.utils import PcapWriter, RawPcapNgReader, RawPcapReader
except ImportError:
    sys.exit("to_ethernet.py: error: scapy is missing: .venv/bin/pip install scapy")

MACS = bytes.fromhex("020000000002 020000000001")
ETHERNET, NULL, RAW, LOOP, SLL, IPV4, IPV6, SLL2 = 1, 0, 101, 108, 113, 228, 229, 276


def with_ip_header(packet: bytes) -> bytes | None:
    """An Ethernet header for an IP packet, by its version."""
    ethertype = {4: b"\x08\x00", 6: b"\x86\xdd"}.get(packet[0] >> 4 if packet else 0)
    return MACS + ethertype + packet if ethertype else None


def to_ethernet(linktype: int, packet: bytes) -> bytes | None:
    """The frame, or None for a packet that has no place on an Ethernet (pcap-linktype(7))."""
    if linktype == ETHERNET:
        return packet
    if linktype in (RAW, IPV4, IPV6, 12, 14):
        return with_ip_header(packet)
    if linktype in (NULL, LOOP):
        return with_ip_header(packet[4:])
    # Of cooked captures only those of Ethernet-like interfaces have an EtherType (ARPHRD 1, 772).
    if linktype == SLL and packet[2:4] in (b"\0\x01", b"\x03\x04"):
        return MACS + packet[14:16] + packet[16:]
    if linktype == SLL2 and packet[8:10] in (b"\0\x01", b"\x03\x04"):
        return MACS + packet[0:2] + packet[20:]
    return None


def records(path: str):
    """(link type, bytes, seconds, microseconds) of each record."""
    reader = RawPcapReader(path)  # a RawPcapNgReader if it is pcapng
    for packet, meta in reader:
        if isinstance(reader, RawPcapNgReader):
            ticks = (meta.tshigh or 0) << 32 | (meta.tslow or 0)
            second, rest = divmod(ticks, int(meta.tsresol or 1_000_000))
            yield meta.linktype, packet, second, rest * 1_000_000 // int(meta.tsresol or 1_000_000)
        else:
            micro = meta.usec // 1000 if reader.nano else meta.usec
            yield reader.linktype, packet, meta.sec, micro


def main() -> None:
    parser = argparse.ArgumentParser(description="Gives a capture's packets Ethernet headers.")
    parser.add_argument("source", metavar="IN", help="pcap or pcapng")
    parser.add_argument("target", metavar="OUT", help="pcap, of Ethernet frames")
    args = parser.parse_args()
    source = records(args.source)
    first = next(source, None)  # before the output is opened: the input may be no capture
    left_out: Counter[int] = Counter()
    kept = 0
    with PcapWriter(args.target, linktype=ETHERNET) as out:
        out.write_header(None)
        for linktype, packet, second, micro in chain([first] if first else [], source):
            frame = to_ethernet(linktype, packet)
            if frame is None:
                left_out[linktype] += 1
            else:
                out.write_packet(frame, sec=second, usec=micro)
                kept += 1
    print(f"{kept} frames -> {args.target}")
    for linktype, n in left_out.items():
        print(f"{n} packets of link type {linktype} left out")


if __name__ == "__main__":
    try:
        main()
    except (OSError, Scapy_Exception) as e:
        sys.exit(f"to_ethernet.py: error: {e}")
