"""What stands after host, net, port, portrange and proto: addresses, numbers, names, sets."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple, NoReturn

from veridnet.headers.match.columntests import ColumnTests, hints
from veridnet.headers.match.syntax import Neg, Prim, Syntax, join, level
from veridnet.headers.match.words import ETHERTYPES


class Qualifiers(NamedTuple):
    """pcap-filter's: protocol, direction and type; "" where there is none."""

    proto: str
    direction: str
    kind: str

    def __str__(self) -> str:
        return " ".join(filter(None, self))


NO_QUALIFIERS = Qualifiers("", "", "")
_V4_MASK = (1 << 32) - 1
_OVER_LLC = ("aarp", "atalk", "iso", "stp", "ipx", "netbeui")
_PORTED = {"tcp": 6, "udp": 17, "sctp": 132}


class Ids(ColumnTests):
    """The grammar's part of ids."""

    in_set = False  # between braces

    def is_id(self) -> bool:
        kind, text, _ = self.token
        return kind in ("number", "ip4", "net", "ip6", "mac", "word", "escaped", "set") or \
            text in ("{", "(", "!")  # fmt: skip

    def ids(self, q: Qualifiers) -> Syntax:
        """One id, the contrary of one, several in parentheses, or a set."""
        if self.take("not", "!"):
            return Neg(self.ids(q))
        if self.take("("):
            parts, words = [self.ids(q)], []
            while word := self.take("and", "&&", "or", "||"):
                words.append("and" if word in ("and", "&&") else "or")
                parts.append(self.ids(q))
            self.need(")")
            node = level(parts, words)
            assert not isinstance(node, int)
            return node
        if self.take("{"):
            self.in_set = True
            members = [self.set_or_id(q)]
            while self.take(","):
                members.append(self.set_or_id(q))
            self.need("}")
            self.in_set = False
            return join("or", [one for several in members for one in several])
        return join("or", self.set_or_id(q))

    def set_or_id(self, q: Qualifiers) -> list[Syntax]:
        if self.token.kind != "set":
            return [self.id(q)]
        out: list[Syntax] = []
        for inner in self.named_set():
            assert isinstance(inner, Ids)
            out.append(inner.id(q))
            inner.whole_member()
        return list(dict.fromkeys(out))

    def id(self, q: Qualifiers) -> Prim:
        kind = q.kind or "host"
        if kind in ("port", "portrange"):
            return self.port(q)
        if kind in ("proto", "protochain"):
            return self.proto(q)
        return self.host(q)

    def wrong(self, what: str, hint: str = "") -> NoReturn:
        kind, text, at = self.token
        if kind == "word":
            better = hints().instead(self.text[at:])
            hint = hint or better
        self.fail(at, f"{what} is expected, not {text}", hint)

    # -- addresses -------------------------------------------------------------------------------

    def host(self, q: Qualifiers) -> Prim:
        kind, text, at = self.token
        if kind == "end" and q.direction:
            self.fail(at, f"{q} of what?",
                      f"{q} host 10.0.0.1, or a column: ip_{q.direction[:3]}")  # fmt: skip
        network = q.kind == "net"
        what = "a network" if network else "an address"
        if kind in ("word", "escaped"):
            self.fail(at, f"{what} is expected, not the name {text}: no name server is asked",
                      "write its number: host 10.0.0.1, net 10.0.0.0/24")  # fmt: skip
        if kind == "mac":
            if q.proto != "ether":
                self.fail(at, f"{text} is a MAC address", f"write ether {q.direction} host {text}")
            self.at += 1
            number = self.address("mac", text, at)
            dotted = ":".join(f"{number:012x}"[k : k + 2] for k in range(0, 12, 2))
            return Prim("mac", (q.direction, number), f"ether {q.direction} host {dotted}", at)
        if kind == "ip6":
            return self.host6(q)
        if kind not in ("ip4", "net", "number"):
            self.wrong(what)
        if q.proto not in ("", "ip", "arp", "rarp"):
            self.fail(at, f"{q.proto} is no qualifier of an IPv4 address",
                      f"{q.proto} and {q._replace(proto='')} {text}")  # fmt: skip
        if kind == "number" and not network:
            self.fail(at, f"{what} is expected, not {text}", f"{q.direction} port {text}?".strip())
        self.at += 1
        return self.host4(q, text, at)

    def host4(self, q: Qualifiers, text: str, at: int) -> Prim:
        octets = text.split(".")
        if any(not octet.isdigit() or int(octet) > 255 for octet in octets):
            self.fail(at, f"{text!r} is not an IP address")
        size = 8 * len(octets)
        number = int.from_bytes(bytes(map(int, octets)), "big") << (32 - size)
        mask = _V4_MASK & ~((1 << (32 - size)) - 1)
        where = at
        if self.take("/"):
            kind, length, where = self.token
            if kind != "number" or not length.isdigit() or int(length) > 32:
                self.fail(where, f"a prefix length from 0 to 32 is expected, not {length}")
            self.at += 1
            mask = _V4_MASK & ~((1 << (32 - int(length))) - 1)
        elif self.take("mask", "netmask"):
            kind, given, where = self.token
            if kind != "ip4":
                self.wrong("a mask, as 255.255.0.0,")
            mask = self.address("ip4", given, where)
            self.at += 1
        if where != at and q.kind != "net":
            self.fail(at, f"{text} with a mask is a network",
                      f"write {q._replace(kind='net')} {self.since(at)}")  # fmt: skip
        if number & ~mask:
            hint = ""
            if (mask ^ _V4_MASK) & ((mask ^ _V4_MASK) + 1) == 0:  # a prefix
                net = ipaddress.IPv4Address(number & mask)
                hint = f"write {net}/{mask.bit_count()}"
            self.fail(at, f"{self.since(at)} has bits beyond its length", hint)
        address = f"{ipaddress.IPv4Address(number)}"
        said = f"host {address}" if mask == _V4_MASK else \
            f"net {address} mask {ipaddress.IPv4Address(mask)}"  # fmt: skip
        head = " ".join(filter(None, (q.proto, q.direction)))
        args = (q.proto, q.direction, ((number, mask),))
        return Prim("host4", args, f"{head} {said}".strip(), at)

    def host6(self, q: Qualifiers) -> Prim:
        _, text, at = self.token
        if q.proto not in ("", "ip6"):
            self.fail(at, f"{q.proto} is no qualifier of an IPv6 address",
                      f"ip6 {q.direction} host {text}" if q.proto in ("ip", "arp", "rarp") else
                      f"{q.proto} and {q._replace(proto='')} {text}")  # fmt: skip
        self.at += 1
        lo = self.address("ip6", text, at)
        length, rest = 128, 0
        if self.take("/"):
            if q.kind != "net":
                self.fail(at, f"{text} with a length is a network",
                          f"write {q._replace(kind='net')} {text}")  # fmt: skip
            rest = self.prefix_rest(128, lo, "ip6", text, at)
            length = 128 - rest.bit_length()
        address = ipaddress.IPv6Address(lo)
        said = f"host {address}" if length == 128 else f"net {address}/{length}"
        return Prim("host6", (q.direction, ((lo, lo | rest),)), f"ip6 {q.direction} {said}", at)

    # -- ports -----------------------------------------------------------------------------------

    def port(self, q: Qualifiers) -> Prim:
        at = self.token.at
        if q.proto not in ("", *_PORTED):
            self.fail(at, f"{q.proto} has no ports; tcp, udp and sctp have")
        first, last, protos = self.port_bounds(q)
        if q.proto:
            if protos and _PORTED[q.proto] not in protos:
                name = {6: "tcp", 17: "udp", 132: "sctp"}[protos[0]]
                self.fail(at, f"{self.since(at)} is a port of {name}, not of {q.proto}",
                          f"write {q} {first}")  # fmt: skip
            protos = (_PORTED[q.proto],)
        names = {number: name for name, number in _PORTED.items()}
        # (As the user says it: libpcap's optimizer may know of a port what it does not of a range.)
        one = first == last and q.kind == "port"
        said = f"port {first}" if one else f"portrange {first}-{last}"
        head = names[protos[0]] if len(protos) == 1 else ""
        text = " ".join(filter(None, (head, q.direction, said)))
        args = (protos or tuple(_PORTED.values()), q.direction, ((first, last),))
        return Prim("port", args, text, at)

    def port_bounds(self, q: Qualifiers) -> tuple[int, int, tuple[int, ...]]:
        """First and last port, and of which protocols the name is; () of all."""
        kind, text, at = self.token
        if kind in ("word", "escaped") and q.kind == "portrange" and "-" in text:
            low, _, high = text.partition("-")
            try:
                first, some = self.service(low, at)
                last, _ = self.service(high, at)
            except ValueError:
                self.fail(at, f"{text!r} are no services", "numbers: portrange 80-90")
            self.at += 1
            return min(first, last), max(first, last), some
        first, protos = self.one_port()
        last = first
        ranges = q.kind == "portrange" or self.in_set or self.place
        if self.take("..") or (ranges and self.take("-")):
            last, _ = self.one_port()
            if q.kind == "portrange":
                first, last = min(first, last), max(first, last)
        elif q.kind == "port" and self.token.text == "-" and self.ahead().kind == "number":
            self.fail(self.token.at, "a range of ports",
                      f"write portrange {first}-{self.ahead().text}")  # fmt: skip
        if last < first:
            self.fail(at, f"the range {first}..{last} is empty")
        return first, last, protos

    def one_port(self) -> tuple[int, tuple[int, ...]]:
        kind, text, at = self.token
        if kind == "number":
            try:
                number = int(text, 0)
            except ValueError:
                self.fail(at, f"{text!r} is not a number")
            if number > 65535:
                self.fail(at, f"{text} does not fit a port, which has 16 bits")
            self.at += 1
            return number, ()
        if kind not in ("word", "escaped"):
            self.wrong("a port")
        try:
            found = self.service(text, at)
        except ValueError:
            self.fail(at, f"there is no service {text!r}", "write the port's number")
        self.at += 1
        return found

    def service(self, name: str, at: int) -> tuple[int, tuple[int, ...]]:
        """A service's port, and of which protocols it is one, as libpcap asks /etc/services."""
        import socket

        if name.isdigit():
            return int(name), ()
        found: dict[int, int] = {}
        for proto, number in (("tcp", 6), ("udp", 17)):
            try:
                found[number] = socket.getservbyname(name, proto)
            except OSError:
                continue
        if not found:
            raise ValueError(name)
        if len(set(found.values())) == 2:
            self.fail(at, f"{name} is tcp's port {found[6]} and udp's {found[17]}",
                      "write the number")  # fmt: skip
        port = next(iter(found.values()))
        return port, () if len(found) == 2 else tuple(found)

    # -- protocols -------------------------------------------------------------------------------

    def proto(self, q: Qualifiers) -> Prim:
        at = self.token.at
        if q.proto not in ("", "ip", "ip6", "ether"):
            self.fail(at, f"there is no {q.proto} {q.kind}", "ip proto, ip6 proto, ether proto")
        if q.proto == "ether":
            if q.kind == "protochain":
                self.fail(at, "there is no ether protochain")
            return self.ether_proto()
        number = self.protocol_number()
        versions = {"": (4, 6), "ip": (4,), "ip6": (6,)}[q.proto]
        text = f"{q} {number}"
        if q.kind == "protochain":
            return Prim("bytes", (), text, at)
        return Prim("protocol", tuple((version, number) for version in versions), text, at)

    def protocol_number(self) -> int:
        kind, text, at = self.token
        if kind == "number":
            number = int(text, 0)
            if number > 255:
                self.fail(at, f"{text} does not fit a protocol's number, which has 8 bits")
            self.at += 1
            return number
        if kind not in ("word", "escaped"):
            self.wrong("a protocol")
        import socket

        name = {"icmp6": "ipv6-icmp", "icmpv6": "ipv6-icmp"}.get(text.lower(), text.lower())
        try:
            number = socket.getprotobyname(name)
        except OSError:
            self.fail(at, f"there is no protocol {text!r}", "write its number")
        self.at += 1
        return number

    def ether_proto(self) -> Prim:
        kind, text, at = self.token
        if kind == "number":
            number = int(text, 0)
            if number > 0xFFFF:
                self.fail(at, f"{text} does not fit an EtherType, which has 16 bits")
            self.at += 1
            return Prim("ethertype", (number,), f"ether proto {number:#x}", at)
        name = {"ipv4": "ip", "ipv6": "ip6"}.get(text.lower(), text.lower())
        if kind not in ("word", "escaped") or name not in (*ETHERTYPES, *_OVER_LLC):
            self.fail(at, f"there is no EtherType {text!r}", "write its number: ether proto 0x88cc")
        self.at += 1
        if name in _OVER_LLC:
            return Prim("bytes", (), f"ether proto \\{name}", at)
        return Prim("ethertype", (ETHERTYPES[name],), f"ether proto {ETHERTYPES[name]:#x}", at)
