"""The match language: pcap-filter(7) and comparisons of columns, in one grammar.

::

    tcp dst port 443 and src net 10.0.0.0/8 and ip_ttl < 5
    ip_proto == udp and l4_dst in {53, 5353}
    src host @bad or tcp[tcpflags] & tcp-syn != 0

A text becomes a tree (`parse`) of tests: is (column & mask) in lo..hi? What no column says becomes
a `Bpf` leaf, which needs a packet's bytes. `compile` makes a program of it, over columns.
docs/match.md has the whole language.
"""

from veridnet.headers.match import sets
from veridnet.headers.match.columntests import NAMES
from veridnet.headers.match.program import Meaning, compile, meaning, of_tree, parse
from veridnet.headers.match.tree import And, Bpf, Node, Not, Or, Test, columns, leaves

__all__ = [
    "NAMES", "And", "Bpf", "Meaning", "Node", "Not", "Or", "Test", "columns", "compile", "leaves",
    "meaning", "of_tree", "parse", "sets",
]  # fmt: skip
