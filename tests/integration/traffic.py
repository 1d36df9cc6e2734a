#!/usr/bin/env python3
"""Run inside a namespace by the tests: TCP with a hash at each end, and VLAN tags.

    traffic.py receive ADDRESS PORT           accept one connection; print bytes and SHA-256
    traffic.py send ADDRESS PORT BYTES        send random bytes; print bytes and SHA-256
    traffic.py tag DEV VID...                 everything that DEV sends carries the tags (outermost
                                              last), and it takes only frames that carry them

`tag` is for kernels without 802.1Q interfaces: two eBPF programs of a few instructions on DEV's tcx
hooks (Linux 6.6), pushing and popping at the kernel's speed for as long as this runs. "ready" on
stdout says that it is in place.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import platform
import random
import signal
import socket
import struct
import sys

BPF_PROG_LOAD, BPF_LINK_CREATE = 5, 28
SCHED_CLS, TCX_INGRESS, TCX_EGRESS = 3, 46, 47
VLAN_PUSH, VLAN_POP = 18, 19  # bpf_skb_vlan_push, bpf_skb_vlan_pop
VLAN_TCI = 24  # its place in struct __sk_buff
TCX_PASS, TCX_DROP = 0, 2
SYS_BPF = {"x86_64": 321, "aarch64": 280}


def family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def receive(address: str, port: str) -> dict[str, object]:
    digest, total = hashlib.sha256(), 0
    with socket.socket(family(address)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, int(port)))
        server.listen(1)
        server.settimeout(60)
        connection, _ = server.accept()
        buffer = bytearray(1 << 20)
        with connection:
            connection.settimeout(60)
            while n := connection.recv_into(buffer):
                digest.update(memoryview(buffer)[:n])
                total += n
    return {"bytes": total, "sha256": digest.hexdigest()}


def send(address: str, port: str, size: str) -> dict[str, object]:
    digest, left, source = hashlib.sha256(), int(size), random.Random(port)
    with socket.create_connection((address, int(port)), timeout=20) as connection:
        while left:
            block = source.randbytes(min(left, 1 << 20))
            connection.sendall(block)
            digest.update(block)
            left -= len(block)
    return {"bytes": int(size), "sha256": digest.hexdigest()}


def bpf(command: int, attributes: bytes) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    fd = libc.syscall(SYS_BPF[platform.machine()], command, buffer, len(attributes))
    if fd < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"bpf({command}): {os.strerror(error)}")
    return int(fd)


def instruction(code: int, dst: int = 0, src: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhi", code, src << 4 | dst, offset, value)


def load(program: list[bytes]) -> int:
    code = ctypes.create_string_buffer(b"".join(program))
    licence = ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack(
        "IIQQ", SCHED_CLS, len(program), ctypes.addressof(code), ctypes.addressof(licence)
    )
    return bpf(BPF_PROG_LOAD, attributes.ljust(128, b"\0"))


def push(vids: list[int]) -> int:
    """r6 = skb; for each vid: bpf_skb_vlan_push(r6, htons(0x8100), vid); pass."""
    program = [instruction(0xBF, 6, 1)]
    for vid in vids:
        program += [
            instruction(0xBF, 1, 6),
            instruction(0xB7, 2, value=socket.htons(0x8100)),
            instruction(0xB7, 3, value=vid),
            instruction(0x85, value=VLAN_PUSH),
        ]
    return load([*program, instruction(0xB7, 0, value=TCX_PASS), instruction(0x95)])


def pop(vids: list[int]) -> int:
    """r6 = skb; outermost first: drop unless skb->vlan_tci is the vid, bpf_skb_vlan_pop(r6)."""
    program = [instruction(0xBF, 6, 1)]
    for i, vid in enumerate(reversed(vids)):
        program += [
            instruction(0x61, 2, 6, VLAN_TCI),
            instruction(0x55, 2, 0, 4 * (len(vids) - i), vid),  # to the drop
            instruction(0xBF, 1, 6),
            instruction(0x85, value=VLAN_POP),
        ]
    program += [instruction(0xB7, 0, value=TCX_PASS), instruction(0x95)]
    return load([*program, instruction(0xB7, 0, value=TCX_DROP), instruction(0x95)])


def tag(dev: str, *vids: str) -> None:
    numbers = [int(v) for v in vids]
    index = socket.if_nametoindex(dev)
    links = []
    for program, hook in ((push(numbers), TCX_EGRESS), (pop(numbers), TCX_INGRESS)):
        attributes = struct.pack("4I", program, index, hook, 0)
        links.append(bpf(BPF_LINK_CREATE, attributes.ljust(64, b"\0")))
    print("ready", flush=True)
    signal.alarm(300)
    signal.pause()


if __name__ == "__main__":
    result = {"receive": receive, "send": send, "tag": tag}[sys.argv[1]](*sys.argv[2:])
    print(json.dumps(result))
