"""pcap-filter expressions: what libpcap says of them, h.match must say."""

from __future__ import annotations

EXPRESSIONS = r"""
ip
ip6
arp
rarp
tcp
udp
sctp
icmp
icmp6
igmp
igrp
pim
vrrp
carp
ah
esp
not ip
not tcp
not arp
vlan
vlan 1
vlan 10
vlan and ip
vlan and tcp
vlan 10 and ip
vlan and vlan
vlan and vlan 20
vlan or ip
ip6 or (src port 53) or (vlan) or ip or (src portrange 0-17)
port 53 or vlan or port 80
ip or vlan
not vlan
not vlan and ip
vlan 1 or vlan 2
vlan and arp
vlan and host 10.0.0.1
vlan and not ip
vlan and (tcp or udp)
mpls
mpls and ip
mpls 16
mpls and mpls
mpls and tcp port 80
mpls and not ip
pppoes
pppoed
pppoes and ip
geneve
host 10.0.0.1
src host 10.0.0.1
dst host 192.168.1.1
net 10.0.0.0/8
net 192.168
net 10
src net 192.168.0.0/16
dst net 172.16.0.0/12
net 192.168.0.0 mask 255.255.0.0
net 0.0.0.1 mask 0.0.0.255
ip host 10.0.0.1
arp host 10.0.0.1
rarp host 10.0.0.1
ip src net 10.0.0.0/8
arp net 192.168.0.0/16
not net 10.0.0.0/8
net fe80::/10
ip6 host ::1
ip6 src net 2001::/16
dst net ff00::/8
host 2001:6f8:102d:0:2d0:9ff:fee3:e8de
port 80
port 53
port 443
tcp port 80
udp port 53
src port 53
tcp dst port 80
udp src port 53
src and dst port 53
src or dst port 53
dst and src port 137
portrange 1-1023
tcp portrange 80-443
portrange 1000-500
not port 80
not tcp port 80
port 80 or 443
tcp port 80 or 443
port 80 or port 53
tcp port http
port domain
port ntp
tcp port (80 or 443)
port not 80
host 10.0.0.1 or 192.168.1.1
sctp port 80
port 80 and not host 10.0.0.1
tcp or udp and port 53
tcp or (udp and port 53)
tcp and port 80 or udp
not tcp or udp
not (tcp or udp)
not tcp and not udp
ether host 00:00:00:00:00:00
ether src 00:d0:09:e3:e8:de
ether dst ff:ff:ff:ff:ff:ff
ether broadcast
ether multicast
broadcast
multicast
ip multicast
ip6 multicast
not multicast
ether proto 0x0800
ether proto \arp
ether proto \ip
ether proto 0x86dd
ether proto 0x8100
igmp[0] = 500
not ether[60] = 500
not ip[20] = 300
ip or (ip6[40] = 0) and not (ip[1] & 0xf = 17)
ether proto 0x88cc
ether proto 0x42
ether proto 1500
ether proto 1501
ip proto 6
ip proto \udp
ip proto 47
ip6 proto 6
ip6 proto 44
ip6 proto 0
ip6 proto 58
proto 17
proto 51
proto 0
ip proto \icmp or \igmp
ip protochain 6
ip6 protochain 17
stp
iso
ipx
netbeui
atalk
aarp
decnet
lat
moprc
mopdl
sca
llc
isis
less 64
less 100
greater 1000
len > 60
len <= 60
len = 60
len != 60
not len < 100
less 60 or tcp
ip[0] = 0x45
ip[0] & 0xf != 5
ip[0] & 0xf > 5
ip[0] >> 4 = 4
ip[1] = 0
ip[1] & 0xfc != 0
ip[2:2] > 500
ip[2:2] < 41
ip[6] & 0x40 != 0
ip[6:2] & 0x1fff != 0
ip[6:2] & 0x3fff != 0
ip[6:2] & 0x2000 = 0
ip[8] < 64
ip[8] = 128
ip[8] >= 64
ip[9] = 6
ip[9] != 6
ip[10:2] = 0
ip[12] = 10
ip[12:4] = 0x0a000001
ip[16] >= 224
ip[19] = 255
ip[13:2] = 0
not ip[8] < 64
ip[20:2] = 80
ip[0:4] = 0
ip6[6] = 58
ip6[7] = 255
ip6[7] < 65
ip6[0] = 0x60
ip6[8:4] = 0xfe800000
ip6[8] = 0x20
ip6[24] = 0xff
ip6[40] = 128
ip6[4:2] > 1000
ip6[0:4] & 0xfffff = 0
tcp[tcpflags] & tcp-syn != 0
tcp[tcpflags] & (tcp-syn|tcp-fin) != 0
tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn
tcp[13] = 2
tcp[13] = 0x12
tcp[13] & 7 != 0
tcp[13] != 16
tcp[0:2] = 80
tcp[2:2] < 1024
tcp[4:4] > 1000000
tcp[14:2] = 0
tcp[12] >> 4 > 5
tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420
tcp[20:4] = 0x47455420
not tcp[20:4] = 0x47455420
tcp port 80 and tcp[20:4] = 0x47455420
tcp[20:4] = 0x47455420 or udp
udp[4:2] > 100
udp[0:2] = 53
udp[6:2] = 0
udp[8:2] = 0
not udp[8:2] = 0
icmp[icmptype] = icmp-echo
icmp[icmptype] != icmp-echo and icmp[icmptype] != icmp-echoreply
icmp[0] = 3
icmp[icmpcode] = 1
icmp[4:2] = 0
icmp6[icmp6type] = icmp6-echo
icmp6[0] = 135
icmp6[icmp6type] = icmp6-neighborsolicit
arp[6:2] = 1
arp[6:2] = 2
arp[7] = 1
arp[14:4] = 0xc0a80001
arp[0:2] = 1
ether[0] & 1 = 0
ether[0] & 1 != 0
ether[0:4] = 0xffffffff
ether[6:2] = 0
ether[12:2] = 0x800
ether[12:2] > 0x600
ether[5] = 1
ether[4:4] = 0
ether[100] = 5 or tcp
not ether[100] = 5
ether[20:4] = ether[30:4]
ip[8] + 1 > 64
ip[2:2] - 20 > 100
(ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2) != 0
5 < ip[8]
(ip[8]) < 64
((ip[8] & 0x3f)) = 0
ip and tcp and port 80
ip and arp
tcp and icmp
icmp or igmp or arp
src 10.0.0.1
dst 192.168.1.1
src net 10.0.0.0/8 and dst net 192.168.0.0/16
tcp dst port 443 and src net 10.0.0.0/8
(tcp[tcpflags] & tcp-ack != 0) and port 80
udp and not port 53 and not port 123
not (udp port 53 or tcp port 80)
ip6 and tcp
ip6 and udp port 53
ip6 and not icmp6
igmp[0] = 0x16
vlan and ip[8] = 64
vlan and tcp[13] = 2
vlan and ether[0] & 1 = 0
vlan and len > 64
(vlan and ip) or ip
(vlan and ip6) or arp
ip and vlan
tcp port 80 and vlan
ip host 10.0.0.1 and not udp
net 224.0.0.0/4
ip6 host fe80::1 or ip host 10.0.0.1
dst portrange 1024-65535
ether[ether[0] - 1] = 5
ip[ip[0] - 70] = 0
ether[len - 4 : 4] = 0
ip[8] << ip[9] > 5
ip[2:2] / ip[8] > 5
ip[2:2] % 7 = 3
ip[8] ^ 0xff = 0x7f
ip[8] | 1 = 65
- ip[8] < 0xffffffc0
tcp[ip[0] & 0xf] = 0
tcp[4:4] & 0x80000000 != 0
ip[12:4] & 0xff000000 = 0x0a000000
ip[12:4] >= 0xc0a80000 and ip[12:4] <= 0xc0a8ffff
ip[14:4] & 0xffff0000 = 0
ip[6] & 0xe0 = 0x40
ip[6:1] & 0xff = 0x40
ip6[1] & 0xf0 = 0
ip6[22:2] = 1
ip6[38:2] = 1
0xf & ip[0] = 5
5 + ip[8] > 10
not 0xf & ip[0] = 5
""".strip().split("\n")

#: What libpcap does not take either, on Ethernet and without a name server.
REFUSED = """
ether host 10.0.0.1
gateway foo
ip broadcast
port 70000
tcp host 10.0.0.1
vlan 4096
tcp[0:3] = 1
port 80 and
net 10.0.0.1/8
ip6 host 10.0.0.1
mpls and vlan
mpls and arp
foo
src
ip[0] = 1 2
arp multicast
udp proto 5
""".strip().split("\n")
