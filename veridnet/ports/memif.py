"""net_memif: packets between two processes through shared memory."""

from __future__ import annotations

import errno
import os
import socket
import stat
from typing import Any

from veridnet.errors import ConfigError, PortError
from veridnet.ports.base import Key, PortKind, PortPlan


class Memif(PortKind):
    name = "memif"
    driver = "net_memif"
    summary = "another process (DPDK, VPP) on this machine, through shared memory"
    keys = (
        Key("role", str, "which end this is", default="client", choices=("server", "client")),
        Key("id", int, "number of the interface on its socket", default=0, low=0, high=65535),
        Key("socket", str, "path of the control socket (at most 107 bytes)",
            default="/run/memif.sock"),
        Key("abstract", bool, "an abstract socket instead of a file", default=False,
            dpdk="socket-abstract"),
        Key("bsize", int, "bytes of a buffer, and so of the longest frame; the same at both ends",
            default=2048, low=256, high=65407),
        Key("rsize", int, "log2 of the slots of a ring", default=10, low=4, high=14),
        Key("zero_copy", bool, "zero copy (client only; needs hugepages)", default=False,
            dpdk="zero-copy"),
        Key("secret", str, "password, at most 24 characters"),
    )  # fmt: skip
    max_queues = 16

    def fill(self, plan: PortPlan, values: dict[str, Any]) -> None:
        if not values["abstract"]:
            # The driver refuses a path without a folder.
            values["socket"] = os.path.abspath(values["socket"])
        path = values["socket"]
        if len(os.fsencode(path)) > 107:
            raise ConfigError(f"memif: socket={path}: longer than 107 bytes")
        if not values["abstract"]:
            folder = os.path.dirname(os.path.abspath(path))
            if not os.path.isdir(folder):
                raise PortError(f"memif: socket={path}: there is no folder {folder}")
            if values["role"] == "server" and not os.access(folder, os.W_OK):
                raise PortError(f"memif: socket={path}: cannot be made in {folder}")
            if values["role"] == "server":
                remove_dead_socket(path)
                _served.add(path)
        if values["secret"] and len(values["secret"].encode()) > 24:
            raise ConfigError("memif: secret= has at most 24 bytes")
        plan.devargs = self.devargs(
            values, "role", "id", "socket", "bsize", "rsize", "mac", "secret"
        )
        # The driver's default is an abstract socket: both must be said.
        plan.devargs["socket-abstract"] = "yes" if values["abstract"] else "no"
        if values["zero_copy"]:
            if values["role"] != "client":
                raise ConfigError("memif: zero_copy=on is for role=client")
            plan.devargs["zero-copy"] = "yes"
            plan.needs_hugepages = True
        plan.mac = None
        plan.rx_desc = plan.tx_desc = 1 << values["rsize"]
        one_buffer_a_frame(plan, values["bsize"])
        plan.details["socket"] = path
        plan.guarded = True
        if values["role"] == "client":
            plan.peer_is_there = lambda: is_served(path, values["abstract"])
        # Closing takes the shared memory away, with what the peer has not read yet.
        plan.linger_s = 0.1


def one_buffer_a_frame(plan: PortPlan, bsize: int) -> None:
    """No frame is spread over several of the ring's buffers, nor over several mbufs.

    net_memif (22.11 to 24.11) never clears the flag that chains one buffer to the next: after a
    round of the ring the peer follows stale ones, and it may use one slot more than are free.
    """
    plan.max_frame = bsize
    plan.data_room = max(2048, bsize)
    plan.direct = True


#: Flag in /proc/net/unix of a socket that listens (__SO_ACCEPTCON).
LISTENS = 0x10000

#: Sockets that this process serves, or has served: net_memif leaves the listener open.
_served: set[str] = set()


def remove_dead_socket(path: str) -> None:
    """A server that died left its socket's file, which would be in the way of a new one."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise PortError(f"memif: socket={path} is there, and no socket")
    except FileNotFoundError:
        return
    error = knock(path)
    if error == errno.ECONNREFUSED:
        os.unlink(path)
    elif error == errno.EPROTOTYPE:
        if path not in _served:  # several ports of one process share a socket
            raise PortError(f"memif: socket={path}: another process serves it")
    elif error:
        raise PortError(f"memif: socket={path}: {os.strerror(error)}", error)


def knock(path: str) -> int:
    """The error of connecting to a socket file: EPROTOTYPE if a memif server lives there.

    With a stream socket on purpose: the server's is of another type, so that it never sees us.
    One that accepts a peer and loses it at once can panic in its error path (22.11, 24.11).
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.settimeout(0.5)
        return s.connect_ex(path)


def is_served(path: str, abstract: bool) -> bool:
    """Does a process listen on the control socket?"""
    if not abstract:
        return knock(path) == errno.EPROTOTYPE
    # Sockets without a file are told apart by type as well: no other finds the server's.
    with open("/proc/net/unix", errors="surrogateescape") as f:
        rows = [line.rstrip("\n").split(None, 7) for line in f][1:]
    return any(r[7:] == [f"@{path}"] and int(r[3], 16) & LISTENS for r in rows)
