"""pcap-filter expressions as programs over packets' bytes, by libpcap."""

from libc.stdint cimport uint32_t

from kernels cimport vn

from veridnet.errors import ConfigError


cdef class Bpf:
    """A compiled pcap-filter expression.

    Parameters
    ----------
    text
        The expression, as tcpdump takes it. ConfigError says in libpcap's words what is wrong.

    Packets are Ethernet frames.
    """

    def __cinit__(self, str text not None):
        cdef char why[512]
        cdef bytes raw = text.encode()
        if b"\0" in raw:
            raise ConfigError(f"{text!r}: a NUL character")
        self.text = text
        self.program = vn.vn_bpf_compile(raw, why, sizeof(why))
        if self.program == NULL:
            raise ConfigError(f"{text!r}: {(<bytes>why).decode('utf-8', 'replace')}")

    def __dealloc__(self):
        vn.vn_bpf_free(self.program)

    def __reduce__(self):
        raise TypeError("a compiled filter cannot be pickled; its text can")

    def matches(self, frame not None, wire_len=None) -> bool:
        """Does it hold for a frame (bytes), which had `wire_len` bytes on the wire?"""
        cdef bytes raw = bytes(frame)
        cdef uint32_t length = <uint32_t>len(raw)
        return vn.vn_bpf_bytes(self.program, raw, length,
                               length if wire_len is None else <uint32_t>wire_len) != 0
