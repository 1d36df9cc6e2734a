"""pcap-filter's words, and the numbers behind them."""

from __future__ import annotations

#: EtherTypes that stand in a frame as they are.
ETHERTYPES = {
    "ip": 0x0800, "arp": 0x0806, "rarp": 0x8035, "ip6": 0x86DD, "decnet": 0x6003, "lat": 0x6004,
    "moprc": 0x6002, "mopdl": 0x6001, "sca": 0x6007, "loopback": 0x9000,
}  # fmt: skip

#: A protocol's word -> the kind of primitive, and its arguments: (IP version, number).
ABBREVIATIONS: dict[str, tuple[str, tuple[object, ...]]] = {
    **{word: ("ethertype", (number,)) for word, number in ETHERTYPES.items() if word != "loopback"},
    "tcp": ("protocol", ((4, 6), (6, 6))), "udp": ("protocol", ((4, 17), (6, 17))),
    "sctp": ("protocol", ((4, 132), (6, 132))), "icmp": ("protocol", ((4, 1),)),
    "icmp6": ("protocol", ((6, 58),)), "igmp": ("protocol", ((4, 2),)),
    "igrp": ("protocol", ((4, 9),)), "pim": ("protocol", ((4, 103), (6, 103))),
    "vrrp": ("protocol", ((4, 112),)), "carp": ("protocol", ((4, 112),)),
    "ah": ("protocol", ((4, 51), (6, 51))), "esp": ("protocol", ((4, 50), (6, 50))),
}  # fmt: skip

#: Words for Ethernet itself.
LINK = {"ether", "link", "ppp", "slip", "fddi", "tr", "wlan"}

#: Protocols over LLC and SNAP, which no column tells.
BYTES_ONLY = {"atalk", "aarp", "iso", "stp", "ipx", "netbeui", "esis", "es-is", "isis", "is-is",
              "l1", "l2", "iih", "lsp", "snp", "csnp", "psnp", "clnp"}  # fmt: skip

KINDS = ("host", "net", "port", "portrange")
AFTER = {"llc": ("i", "s", "u", "rr", "rnr", "rej", "ui", "ua", "disc", "dm", "sabme", "test",
                 "xid", "frmr")}  # fmt: skip

#: Words that mean nothing here -> what to write.
REFUSED = {
    "inbound": "in_port == 0", "outbound": "in_port == 0", "ifname": "in_port == 0",
    "on": "in_port == 0", "ifindex": "in_port == 0", "gateway": "ether host and not host",
    "type": "", "subtype": "", "dir": "", "lane": "", "metac": "", "vpi": "", "vci": "",
    "radio": "", "rset": "", "rulenum": "", "action": "", "byte": "ether[0] = 1",
}  # fmt: skip

#: Names for places and values in relations.
CONSTANTS = {
    "icmptype": 0, "icmpcode": 1, "icmp6type": 0, "icmp6code": 1, "tcpflags": 13,
    "icmp-echoreply": 0, "icmp-unreach": 3, "icmp-sourcequench": 4, "icmp-redirect": 5,
    "icmp-echo": 8, "icmp-routeradvert": 9, "icmp-routersolicit": 10, "icmp-timxceed": 11,
    "icmp-paramprob": 12, "icmp-tstamp": 13, "icmp-tstampreply": 14, "icmp-ireq": 15,
    "icmp-ireqreply": 16, "icmp-maskreq": 17, "icmp-maskreply": 18,
    "icmp6-destinationrunreach": 1, "icmp6-packettoobig": 2, "icmp6-timeexceeded": 3,
    "icmp6-parameterproblem": 4, "icmp6-echo": 128, "icmp6-echoreply": 129,
    "icmp6-multicastlistenerquery": 130, "icmp6-multicastlistenerreportv1": 131,
    "icmp6-multicastlistenerdone": 132, "icmp6-routersolicit": 133, "icmp6-routeradvert": 134,
    "icmp6-neighborsolicit": 135, "icmp6-neighboradvert": 136, "icmp6-redirect": 137,
    "icmp6-routerrenum": 138, "icmp6-nodeinformationquery": 139,
    "icmp6-nodeinformationresponse": 140, "icmp6-ineighbordiscoverysolicit": 141,
    "icmp6-ineighbordiscoveryadvert": 142, "icmp6-multicastlistenerreportv2": 143,
    "icmp6-homeagentdiscoveryrequest": 144, "icmp6-homeagentdiscoveryreply": 145,
    "icmp6-mobileprefixsolicit": 146, "icmp6-mobileprefixadvert": 147,
    "icmp6-certpathsolicit": 148, "icmp6-certpathadvert": 149,
    "icmp6-multicastrouteradvert": 151, "icmp6-multicastroutersolicit": 152,
    "icmp6-multicastrouterterm": 153,
    "tcp-fin": 1, "tcp-syn": 2, "tcp-rst": 4, "tcp-push": 8, "tcp-ack": 16, "tcp-urg": 32,
    "tcp-ece": 64, "tcp-cwr": 128,
}  # fmt: skip
