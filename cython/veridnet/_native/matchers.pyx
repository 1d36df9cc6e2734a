"""Compiled match expressions: `veridnet.headers.match` makes them, header columns run them."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from kernels cimport vn

OPS = {"push": vn.VN_MATCH_PUSH, "and": vn.VN_MATCH_AND, "or": vn.VN_MATCH_OR,
       "not": vn.VN_MATCH_NOT, "join_and": vn.VN_MATCH_JOIN_AND, "join_or": vn.VN_MATCH_JOIN_OR}
#: Values at the same time, of nested parentheses.
DEPTH = vn.VN_MATCH_DEPTH


cdef class Program:
    """A program of tests, in postfix order.

    Parameters
    ----------
    text
        What it was made from.
    steps
        (op, column's number, mask, lo, hi, negated) each: is (column & mask) in lo..hi? The ops
        "not", "join_and" and "join_or" test nothing.
    """

    def __cinit__(self, str text, list steps):
        cdef vn.vn_match_step *s
        cdef int depth = 0, k
        self.text = text
        self.n_steps = <uint32_t>len(steps)
        self.steps = <vn.vn_match_step *>calloc(max(1, len(steps)), sizeof(vn.vn_match_step))
        if self.steps == NULL:
            raise MemoryError
        for k, (op, field, mask, lo, hi, negated) in enumerate(steps):
            s = &self.steps[k]
            s.op = OPS[op]
            depth += (op == "push") - (op in ("join_and", "join_or"))
            if not 1 <= depth <= vn.VN_MATCH_DEPTH or not 0 <= field < vn.VN_COLUMNS or hi < lo:
                raise ValueError(f"step {k} of a match program is wrong")
            if op in ("push", "and", "or"):
                s.field = field
                s.mask = mask
                s.lo = lo
                s.span = hi - lo
                s.negated = negated
                self.need[field >> 6] |= <uint64_t>1 << (field & 63)
        if depth != 1:
            raise ValueError("a match program leaves one value")

    def __dealloc__(self):
        free(self.steps)

    def __reduce__(self):
        raise TypeError("a compiled match cannot be pickled; its text can")
