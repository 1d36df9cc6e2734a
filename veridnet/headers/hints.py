"""What to write instead, for those who begin with tcpdump's or Wireshark's filters.

Match expressions (`veridnet.headers.match`) know columns only. Who writes ``tcp port 80``,
``udp.dstport == 53`` or ``host 10.0.0.1`` gets an error, and from here the expression that says it.
"""

from __future__ import annotations

import re
import socket

from veridnet.headers.text import TSHARK

_MULTICAST = "eth_dst & 0x010000000000"

#: Words with which tcpdump's filters and Wireshark's begin -> what says the same.
WORDS = {
    "ip": "ip_version == 4", "ip4": "ip_version == 4", "ipv4": "ip_version == 4",
    "ip6": "ip_version == 6", "ipv6": "ip_version == 6",
    "arp": "ethertype == arp", "vlan": "vlan_depth", "mpls": "mpls_depth",
    "icmp6": "ip_proto == icmpv6",
    **{name: f"ip_proto == {name}"
       for name in ("tcp", "udp", "sctp", "icmp", "icmpv6", "igmp", "gre", "esp", "ah")},
    "dns": "l4_src == 53 or l4_dst == 53", "http": "l4_src == 80 or l4_dst == 80",
    "tls": "l4_src == 443 or l4_dst == 443", "ssh": "l4_src == 22 or l4_dst == 22",
    "frag": "frag", "fragment": "frag", "broadcast": "eth_dst == ff:ff:ff:ff:ff:ff",
    "multicast": _MULTICAST, "vxlan": "tunnel == 2", "geneve": "tunnel == 3", "gtp": "tunnel == 4",
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
_PRIMITIVE = re.compile(
    r"""(?:(?P<proto>tcp|udp|sctp|ip6?|arp|ether)\s+)?
        (?:(?P<dir>src|dst)(?:\s+(?P<or>or|and)\s+dst)?\s+)?
        (?:(?P<what>host|net|portrange|port)\s+)?
        (?P<value>\d[\w.:/-]*|[0-9a-fA-F]*:[\w.:/-]*)""",
    re.VERBOSE | re.IGNORECASE,
)
_NUMBER = r"\s+(0x[0-9a-fA-F]+|\d+)\b"


def instead(text: str) -> str:
    """What says the same as the filter with which a text begins; "" where nothing is known."""
    low = text.lower()
    if re.match(r"(frame\.)?number\b", low):
        return "not a header: veridnet headers FILE --count 100"
    if found := re.match(r"(?:(src|dst)\s+)?net\s+(\d+(?:\.\d+){0,2})(?![\w.:/])", low):
        parts = found[2].split(".")
        net = ".".join([*parts, "0", "0", "0"][:4]) + f"/{8 * len(parts)}"
        return f"ip_{found[1]} == {net}" if found[1] else f"ip_src == {net} or ip_dst == {net}"
    if found := re.match(r"[a-z_][\w]*(?:\.\w+)+", low):
        return _field(found.group(), low[found.end() :])
    if re.match(r"(tcp|udp|ip6?|icmp6?|ether)\s*\[", low):
        if re.match(r"tcp\s*\[\s*(tcpflags|13)", low):
            return "tcp_flags & syn"
        return "a column in place of bytes: veridnet headers --columns"
    if found := re.match("vlan" + _NUMBER, low):
        return f"vlan_id == {found.group(1)}"
    if found := re.match("mpls" + _NUMBER, low):
        return f"mpls_label == {found.group(1)}"
    if found := re.match("(less|greater)" + _NUMBER, low):
        return f"wire_len {'<=' if found.group(1) == 'less' else '>='} {found.group(2)}"
    if found := re.match(r"ether\s+proto\s+(\\?\w+)", low):
        return f"ethertype == {_plain(found.group(1))}"
    if found := re.match(r"(?:ip6?\s+)?proto\s+(\\?\w+)", low):
        return f"ip_proto == {_plain(found.group(1))}"
    if found := re.match(r"ether\s+(broadcast|multicast)", low):
        return WORDS[found.group(1)]
    found = _PRIMITIVE.match(low)
    if found and (found["proto"] or found["dir"] or found["what"]):
        return _primitive(found)
    words = low.split()[:3]
    if words and words[0] in ("src", "dst", "host", "net", "port", "portrange", *_PORTS):
        if port := next((w for w in words if w.startswith("port")), ""):
            service = words[words.index(port) + 1 :]
            return f"a port's number: l4_dst == {_service(service[0] if service else '') or 80}"
        if words[0] not in _PORTS:
            return "addresses are numbers: " + (
                "ip_src == 10.0.0.1" if words[0] == "src" else "ip_dst == 10.0.0.0/24"
            )
    found = re.match(r"\w+", low)
    if found and (column := NAMES_OF.get(found.group())) and found.group() not in WORDS:
        return column + _compared(low[found.end() :])
    return WORDS.get(found.group(), "") if found else ""


def for_value(word: str) -> str:
    """A word that is no value."""
    low = word.lower()
    if low in ("ip", "ip4", "ip6", "icmp6"):
        return f"write {_plain(low.replace('ip4', 'ip'))}"
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


def _primitive(found: re.Match[str]) -> str:
    """One of tcpdump's: [protocol] [src|dst] [host|net|port|portrange] value."""
    value, what = found["value"], found["what"] or ""
    if what.startswith("port"):
        ends, only = ("l4_src", "l4_dst"), ""
        if found["proto"] in _PORTS:
            only = f"ip_proto == {found['proto']} and "
        test = f"== {value}"
        if what == "portrange":
            test = f"in {value.replace('-', '..')}"
    else:
        only = ""
        mac = re.fullmatch(r"[0-9a-f]{1,2}(?:[:-][0-9a-f]{1,2}){5}", value)
        if mac or found["proto"] == "ether":
            ends = ("eth_src", "eth_dst")
        elif found["proto"] == "arp":
            ends = ("arp_spa", "arp_tpa")
        elif ":" in value:
            ends = ("ip6_src", "ip6_dst")
        elif "." in value:
            ends = ("ip_src", "ip_dst")
        else:
            return ""
        test = f"== {value}"
    if found["dir"] and not found["or"]:
        return f"{only}{ends[found['dir'] == 'dst']} {test}"
    word = found["or"] or "or"
    pair = f"{ends[0]} {test} {word} {ends[1]} {test}"
    return f"{only}({pair})" if only else pair


#: What people write that no token begins with -> what is meant.
SIGNS = {
    '"': "no quotes: ip_src == 10.0.0.1", "'": "no quotes: ip_src == 10.0.0.1",
    "[": "a set has braces: l4_dst in {80, 443}", "-": "a range is first..last: l4_dst in 80..90",
    "|": "'or' joins tests; bits are one number: tcp_flags & 0x12",
    "^": "xor is not known: and, or, not are",
    "*": "a prefix is address/length: ip_src == 10.0.0.0/8",
    "\\": "names have no backslash: ip_proto == tcp",
}  # fmt: skip
