"""Numbers that headers hold, by the names that people use (IANA's protocol numbers, EtherTypes)."""

ICMP = 1
IGMP = 2
TCP = 6
UDP = 17
GRE = 47
ESP = 50
AH = 51
ICMPV6 = 58
SCTP = 132

ETH_IPV4 = 0x0800
ETH_ARP = 0x0806
ETH_IPV6 = 0x86DD

#: Bits of tcp_flags.
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))
