"""How a packet of a trace is shown."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from veridnet.pipeline.trace import changes, show

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
HEAD = Ether(src=A, dst=B)


@pytest.mark.parametrize(
    ("packet", "text"),
    [(HEAD / IP(src="192.0.2.1", dst="192.0.2.2") / UDP(sport=1, dport=53),
      "192.0.2.1:1 > 192.0.2.2:53"),
     (HEAD / IP(src="0.0.0.0", dst="192.0.2.2") / UDP(sport=0, dport=53),
      "0.0.0.0:0 > 192.0.2.2:53"),
     (HEAD / IP(src="192.0.2.1", dst="192.0.2.2", proto=1), "192.0.2.1 > 192.0.2.2"),
     (HEAD / IPv6(src="::", dst="ff02::16", nh=59), ":: > ff02::16"),
     (HEAD / IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(sport=7, dport=9),
      "[2001:db8::1]:7 > [2001:db8::2]:9"),
     (Ether(src=A, dst=B, type=0x88B5), f"{A} > {B}")],
)  # fmt: skip
def test_show(packet: Ether, text: str) -> None:
    assert show(bytes(packet)) == text


def test_show_takes_any_bytes() -> None:
    raw = bytes(HEAD / IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP())
    assert all(" > " in show(raw[:n]) for n in range(len(raw)))


def test_changes() -> None:
    before = bytes(HEAD / IP(ttl=9, src="192.0.2.1") / UDP(sport=0, dport=53))
    after = bytes(HEAD / IP(ttl=8, src="192.0.2.1") / UDP(sport=5, dport=53))
    assert changes(before, before) == changes(b"", after) == ""
    assert changes(before, after) == ", ip_ttl 9 -> 8; l4_src 0 -> 5"
