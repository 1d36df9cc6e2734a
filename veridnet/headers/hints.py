"""What to write instead, for those who begin with Wireshark's filters.

Match expressions (`veridnet.headers.match`) know tcpdump's filters and columns. Who writes
``udp.dstport == 53`` gets an error, and from here the expression that says it.
"""

from __future__ import annotations

import re
import socket

from veridnet.headers.text import TSHARK

#: Words with which people's filters begin, and that are no primitives -> what says the same.
WORDS = {
    "ip4": "ip_version == 4", "ipv4": "ip_version == 4", "ipv6": "ip_version == 6",
    "icmpv6": "ip_proto == icmpv6", "gre": "ip_proto == gre",
    "dns": "l4_src == 53 or l4_dst == 53", "http": "l4_src == 80 or l4_dst == 80",
    "tls": "l4_src == 443 or l4_dst == 443", "ssh": "l4_src == 22 or l4_dst == 22",
    "fragment": "frag", "vxlan": "tunnel == 2", "geneve": "tunnel == 3", "gtp": "tunnel == 4",
}  # fmt: skip

#: Wireshark's fields that are no one column of ours.
FIELDS_OF_TWO = {
    "ip.addr": ("ip_src", "ip_dst"), "ipv6.addr": ("ip6_src", "ip6_dst"),
    "eth.addr": ("eth_src", "eth_dst"), "tcp.port": ("l4_src", "l4_dst"),
    "udp.port": ("l4_src", "l4_dst"), "sctp.port": ("l4_src", "l4_dst"),
}  # fmt: skip

#: Other names that people know, from Wireshark, scapy and the socket interface -> our column.
NAMES_OF = {
    "eth.type": "ethertype", "tcp.ack": "tcp_ack", "tcp.seq": "tcp_seq", "frame.time": "rx_time",
    "tcp.window_size": "tcp_window", "sport": "l4_src", "dport": "l4_dst", "src_port": "l4_src",
    "dst_port": "l4_dst", "tcp_dport": "l4_dst", "udp_dport": "l4_dst", "tcp_sport": "l4_src",
    "udp_sport": "l4_src", "tcp_dst": "l4_dst", "udp_dst": "l4_dst", "tcp_src": "l4_src",
    "udp_src": "l4_src", "saddr": "ip_src", "daddr": "ip_dst", "src_ip": "ip_src",
    "dst_ip": "ip_dst", "src_mac": "eth_src", "dst_mac": "eth_dst", "proto": "ip_proto",
    "ttl": "ip_ttl", "hlim": "ip_ttl", "flags": "tcp_flags", "length": "wire_len",
    "len": "wire_len", "eth_type": "ethertype", "ether_type": "ethertype", "vlan": "vlan_id",
    "time": "rx_time", "timestamp": "rx_time", "pkt_len": "wire_len", "frame_len": "wire_len",
    "vid": "vlan_id", "hash": "flow_hash", "rss": "flow_hash", "rss_hash": "flow_hash",
}  # fmt: skip
_PORTS = ("tcp", "udp", "sctp")
_COMPARED = r"\s*(?P<rest>(?:==|=|!=|<=?|>=?|eq\b|ne\b|in\b|not in\b)\s*(?:\{[^}]*\}|[^\s()]+))"


def instead(text: str) -> str:
    """What says the same as the filter with which a text begins; "" where nothing is known."""
    low = text.lower()
    if re.match(r"(frame\.)?number\b", low):
        return "not a header: veridnet headers FILE --count 100"
    if found := re.match(r"[a-z_][\w]*(?:\.\w+)+", low):
        return _field(found.group(), low[found.end() :])
    found = re.match(r"\w+", low)
    if found and (column := NAMES_OF.get(found.group())) and found.group() not in WORDS:
        return column + _compared(low[found.end() :])
    return WORDS.get(found.group(), "") if found else ""


def for_value(word: str) -> str:
    """A word that is no value."""
    low = word.lower()
    if low in ("ip", "ip4", "ip6", "icmp6"):
        return f"write {_plain(low.replace('ip4', 'ip'))}"
    if low in ("[", "-", "|", "^", "*"):
        return SIGNS[low]
    if low in ("{", "("):
        return SIGNS["["] + "; bits are one number: tcp_flags & 0x12"
    if low in ("true", "false"):
        return "1, 0, or the column alone"
    number = _service(low)
    return f"ports are numbers: {low} is {number}" if number else ""


def _service(name: str) -> int:
    """The port of a service by its name; 0: there is none."""
    try:
        return socket.getservbyname(name)
    except OSError:
        return 0


#: Wireshark's words for comparisons.
_SIGN = {"ne": "!=", "gt": ">", "lt": "<", "ge": ">=", "le": "<="}


def for_operator(word: str) -> str:
    """What stands where and, or, or the end is expected."""
    low = word.lower()
    if low in ("eq", "is"):
        return "write =="
    if low in _SIGN:
        return f"write {_SIGN[low]}"
    if low == ",":
        return SIGNS["["]
    return SIGNS.get(low[:1], "")


def _plain(name: str) -> str:
    name = name.lstrip("\\")
    return {"icmp6": "icmpv6", "ip": "ipv4", "ip6": "ipv6"}.get(name, name)


def _compared(after: str) -> str:
    """The comparison after a field, in our words; "" if there is none."""
    found = re.match(_COMPARED, after)
    if not found:
        return ""
    rest = re.sub(r"^(eq|ne)\b", lambda m: "==" if m[1] == "eq" else "!=", found["rest"])
    return " " + rest


def _field(name: str, after: str) -> str:
    """One of Wireshark's fields."""
    proto = name.partition(".")[0]
    only = f"ip_proto == {proto} and " if proto in _PORTS else ""
    if found := re.match(r"tcp\.flags\.(\w+)", name):
        bit = {"push": "psh", "reset": "rst"}.get(found.group(1), found.group(1))
        no = "not " if re.match(r"\s*(==?|eq)\s*(0|false)\b", after) else ""
        return f"{no}tcp_flags & {bit}"
    rest = _compared(after)
    if name == "ip.checksum.status" or name.endswith(".checksum.status"):
        return "ip_csum == 2" if proto == "ip" else f"{only}l4_csum == 2"
    if both := FIELDS_OF_TWO.get(name):
        if not rest:
            rest = " == ..."
        word = "and" if rest.startswith(" !=") else "or"
        pair = f"{both[0]}{rest} {word} {both[1]}{rest}"
        return f"{only}({pair})" if only else pair
    column = NAMES_OF.get(name) or TSHARK.get(name, "")
    if column == "number" or not column:
        return ""
    if column.startswith("l4_") or column.endswith("_csum"):
        return f"{only}{column}{rest}"
    return f"{column}{rest}"


#: What people write that no token begins with -> what is meant.
SIGNS = {
    '"': "no quotes: ip_src == 10.0.0.1", "'": "no quotes: ip_src == 10.0.0.1",
    "[": "a set has braces: l4_dst in {80, 443}", "-": "a range is first..last: l4_dst in 80..90",
    "|": "'or' joins tests; bits are one number: tcp_flags & 0x12",
    "^": "xor is not known: and, or, not are",
    "*": "a prefix is address/length: ip_src == 10.0.0.0/8",
    "\\": "a backslash comes before a name: ip proto \\tcp",
}  # fmt: skip
