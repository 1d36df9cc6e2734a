"""What is in a capture file, read through once by libpcap (the reader that net_pcap uses)."""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

import numpy as np

from kernels cimport vn


def scan(str path) -> dict:
    """Reads a capture through, without the GIL.

    Returns a dict: ``linktype`` (LINKTYPE_ number, -1 if it is no capture), ``linktype_name``,
    ``snaplen``, ``records`` (whole ones, up to the first bad one), ``bytes``, ``max_caplen``,
    ``cut`` (uint64 array: the records that hold only the beginning of their frame), ``damaged``
    and ``error`` (libpcap's words, "" if all is well).
    """
    cdef vn.vn_capture c
    cdef bytes raw = path.encode("utf-8", "surrogateescape")
    cdef const char *p = raw
    cdef const char *name = NULL
    cdef uint64_t[::1] out
    with nogil:
        vn.vn_capture_scan(p, &c)
    cut = np.empty(c.n_cut, np.uint64)
    if c.n_cut:
        out = cut
        memcpy(&out[0], c.cut, c.n_cut * sizeof(uint64_t))
    if c.linktype >= 0:
        name = vn.vn_capture_linktype_name(c.linktype)
    result = {
        "linktype": c.linktype,
        "linktype_name": name.decode() if name != NULL else str(c.linktype),
        "snaplen": c.snaplen,
        "records": c.records,
        "bytes": c.bytes,
        "max_caplen": c.max_caplen,
        "cut": cut,
        "damaged": bool(c.damaged),
        "error": c.error.decode("utf-8", "replace"),
    }
    vn.vn_capture_free(&c)
    return result
