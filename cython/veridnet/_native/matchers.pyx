"""Compiled match expressions: `veridnet.headers.match` makes them, header columns run them."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from kernels cimport vn
from veridnet._native.bpf cimport Bpf

OPS = {"push": vn.VN_MATCH_PUSH, "and": vn.VN_MATCH_AND, "or": vn.VN_MATCH_OR,
       "not": vn.VN_MATCH_NOT, "join_and": vn.VN_MATCH_JOIN_AND, "join_or": vn.VN_MATCH_JOIN_OR}
#: Values at the same time, of nested parentheses.
DEPTH = vn.VN_MATCH_DEPTH
#: Header columns; what leaves say comes behind them.
COLUMNS = vn.VN_COLUMNS


cdef class Program:
    """A program of tests, in postfix order.

    Parameters
    ----------
    text
        What it was made from.
    steps
        (op, column's number, mask, lo, hi, negated) each: is (column & mask) in lo..hi? The ops
        "not", "join_and" and "join_or" test nothing.
    leaves
        `veridnet._native.bpf.Bpf` each: what they say of a packet is column COLUMNS + their place.
        With leaves, there must be packets, not only columns.
    doubt, raw
        Programs. Where there are packets, `raw` decides the rows for which `doubt` holds.
    """

    def __cinit__(self, str text, list steps, tuple leaves=(), Program doubt=None,
                  Program raw=None):
        cdef vn.vn_match_step *s
        cdef int depth = 0, k
        if (doubt is None) != (raw is None) or vn.VN_COLUMNS + len(leaves) > 128:
            raise ValueError("doubt and raw go together, and there are 40 leaves at most")
        if not all(isinstance(leaf, Bpf) for leaf in leaves):
            raise TypeError("leaves are Bpf")
        self.text = text
        self.leaves = leaves
        self.doubt = doubt
        self.raw = raw
        self.n_steps = <uint32_t>len(steps)
        self.steps = <vn.vn_match_step *>calloc(max(1, len(steps)), sizeof(vn.vn_match_step))
        if self.steps == NULL:
            raise MemoryError
        for k, (op, field, mask, lo, hi, negated) in enumerate(steps):
            s = &self.steps[k]
            s.op = OPS[op]
            depth += (op == "push") - (op in ("join_and", "join_or"))
            if not 1 <= depth <= vn.VN_MATCH_DEPTH or hi < lo \
                    or not 0 <= field < vn.VN_COLUMNS + len(leaves):
                raise ValueError(f"step {k} of a match program is wrong")
            if op in ("push", "and", "or"):
                s.field = field
                s.mask = mask
                s.lo = lo
                s.span = hi - lo
                s.negated = negated
                if field < vn.VN_COLUMNS and mask:
                    self.need[field >> 6] |= <uint64_t>1 << (field & 63)
        if depth != 1:
            raise ValueError("a match program leaves one value")
        for k in range(2):
            self.need_all[k] = self.need[k]
            if doubt is not None:
                self.need_all[k] |= doubt.need[k] | raw.need[k]

    def __dealloc__(self):
        free(self.steps)

    def __reduce__(self):
        raise TypeError("a compiled match cannot be pickled; its text can")
