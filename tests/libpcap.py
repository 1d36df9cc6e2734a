"""libpcap's own compiler and interpreter, by ctypes: the oracle of the match language."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Sequence

_LIB = ctypes.CDLL(ctypes.util.find_library("pcap") or "libpcap.so.0.8")


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint), ("instructions", ctypes.c_void_p)]


class _Header(ctypes.Structure):
    _fields_ = [("sec", ctypes.c_long), ("usec", ctypes.c_long), ("caplen", ctypes.c_uint32),
                ("len", ctypes.c_uint32)]  # fmt: skip


_LIB.pcap_open_dead.restype = ctypes.c_void_p
_LIB.pcap_geterr.argtypes = [ctypes.c_void_p]
_LIB.pcap_geterr.restype = ctypes.c_char_p
_LIB.pcap_close.argtypes = [ctypes.c_void_p]
_LIB.pcap_compile.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int,
                              ctypes.c_uint32]  # fmt: skip
_LIB.pcap_offline_filter.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p]
_LIB.pcap_freecode.argtypes = [ctypes.c_void_p]
ETHERNET = 1
UNKNOWN_MASK = 0xFFFFFFFF


class PcapError(Exception):
    """libpcap refuses an expression."""


def pcap_filter(text: str, frames: Sequence[bytes], *, optimize: int = 1) -> list[bool]:
    """Which frames an expression matches, each captured whole. PcapError if it is none."""
    dead = _LIB.pcap_open_dead(ETHERNET, 262144)
    program, header = _Program(), _Header()
    try:
        done = _LIB.pcap_compile(dead, ctypes.byref(program), text.encode(), optimize, UNKNOWN_MASK)
        if done != 0:
            why = _LIB.pcap_geterr(dead).decode()
            if "rejects all packets" in why:
                return [False] * len(frames)
            raise PcapError(why)
        out = []
        run, p, h = _LIB.pcap_offline_filter, ctypes.byref(program), ctypes.byref(header)
        for frame in frames:
            header.caplen = header.len = len(frame)
            out.append(run(p, h, frame) != 0)
        _LIB.pcap_freecode(p)
        return out
    finally:
        _LIB.pcap_close(dead)
