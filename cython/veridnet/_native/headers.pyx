"""Header columns: the memory that a burst is parsed into, and when it is parsed.

What the columns are called and mean is `veridnet.headers.fields`'s, told once by `define`.
"""

from cpython.object cimport PyObject_GenericGetAttr
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memchr, memcpy, memset

import numpy as np

from dpdk.mbuf cimport rte_mbuf
from kernels cimport vn
from veridnet._native.bpf cimport Bpf
from veridnet._native.burst cimport Burst
from veridnet._native.matchers cimport Program

from veridnet._native.burst import checked_mask
from veridnet.errors import ConfigError, StateError

cdef extern from * nogil:
    int ctz "__builtin_ctzll"(unsigned long long x)

# 2,048 bytes are parsed, and a packet inside another has 20 at least.
cdef int MOST_INNER = 102

cdef tuple _names = ()
cdef dict _index = {}             # name -> number of the column
cdef list _dtypes = []
cdef size_t _itemsize[128]
# What must be parsed for the columns that are not in the headers themselves.
cdef uint64_t _derived[2]
cdef uint64_t _writable[2]
cdef uint64_t _needs[128][2]
# Where the packets inside tunnels are.
cdef int inner_off = 0, inner_len = 0, inner_kind = 0
cdef uint64_t inner_bits[2]


def define(table, needs, writable) -> None:
    """Tells the columns.

    table: (name, dtype) of each in the kernel's order. needs: what derived ones are computed from.
    writable: names.
    """
    global _names, _dtypes, inner_off, inner_len, inner_kind
    cdef int i, k
    if len(table) != vn.VN_COLUMNS or vn.VN_COLUMNS > 128:
        raise ValueError(f"{len(table)} columns; the kernel has {vn.VN_COLUMNS}")
    _names = tuple(name for name, _ in table)
    _dtypes = [np.dtype(dtype) for _, dtype in table]
    memset(_derived, 0, sizeof(_derived))
    memset(_needs, 0, sizeof(_needs))
    memset(_writable, 0, sizeof(_writable))
    for i, name in enumerate(_names):
        _index[name] = i
        _itemsize[i] = _dtypes[i].itemsize
    inner_off, inner_len, inner_kind = (
        _index["inner_off"], _index["inner_len"], _index["inner_kind"])
    memset(inner_bits, 0, sizeof(inner_bits))
    for i in (inner_off, inner_len, inner_kind):
        inner_bits[i >> 6] |= bit_of(i)
    for name in writable:
        i = _index[name]
        _writable[i >> 6] |= bit_of(i)
    for name, others in needs.items():
        i = _index[name]
        _derived[i >> 6] |= bit_of(i)
        for other in others:
            k = _index[other]
            _needs[i][k >> 6] |= bit_of(k)


def columns_of() -> list:
    """(name, dtype) of each column, in the kernel's order."""
    return list(zip(_names, _dtypes, strict=True))


def simd_levels() -> list:
    """The SIMD levels that this CPU can run, the slowest first."""
    return [vn.vn_simd_names[i].decode() for i in range(vn.vn_simd_best() + 1)]


def simd_level() -> str:
    """The level in use."""
    return vn.vn_simd_names[vn.vn_simd_get()].decode()


def set_simd_level(str name) -> None:
    """Uses another level, for this process: for tests and measurements."""
    levels = simd_levels()
    if name not in levels:
        raise ValueError(f"this CPU has no level {name!r}; it has {', '.join(levels)}")
    vn.vn_simd_set(levels.index(name))


def set_rss_key(bytes key) -> None:
    """The key of flow_hash, 40 bytes, for this process: what the NIC has, to compute what it does.

    The default is that of the RSS specification, which DPDK's tests use.
    """
    if len(key) != 40:
        raise ValueError(f"an RSS key has 40 bytes, not {len(key)}")
    vn.vn_hash_set_key(<const uint8_t *><char *>key)


cdef inline uint64_t bit_of(int i) noexcept:
    return <uint64_t>1 << (i & 63)


cdef object first_rows(array, dict views, uint16_t n, bint writable):
    """A view of n rows, kept in `views`: making one costs 0.2 us."""
    if len(views) >= 1024:
        views.clear()
    view = array[:n]
    view.flags.writeable = writable
    views[n] = view
    return view


cdef class HeaderStore:
    """The columns of one burst, or of the packets inside its tunnels.

    Parameters
    ----------
    capacity
        Rows.
    names
        The columns to parse, all at first use; None: those that are asked for, remembered for the
        bursts that follow.
    """

    def __cinit__(self, uint16_t capacity, names=None):
        cdef int i
        self.capacity = capacity
        self.arrays = [None] * vn.VN_COLUMNS
        self.views = [None] * vn.VN_COLUMNS
        self.matches = {}
        self.pinned = names is not None
        for name in names or ():
            i = _index[name]
            self.want[i >> 6] |= bit_of(i)

    cdef int start(self, Burst burst) except -1:
        """Rows are of this burst from now on."""
        if self.generation != burst.generation or self.n != burst.n:
            self.generation = burst.generation
            self.n = burst.n
            self.have[0] = self.have[1] = 0
        return 0

    cdef int allocate(self, int i) except -1:
        cdef uint8_t[::1] memory
        array = np.zeros(self.capacity, _dtypes[i])
        memory = array.view(np.uint8)
        if self.columns[i] != NULL:      # another thread was faster
            return 0
        self.arrays[i] = array
        self.views[i] = {}
        self.columns[i] = &memory[0]
        return 0

    cdef int fill(self, Burst burst, uint64_t lo, uint64_t hi) except -1:
        """Parses the columns of a set that are not parsed yet."""
        cdef uint64_t todo[2]
        cdef uint64_t derived[2]
        cdef uint64_t rest
        cdef int i, k
        todo[0] = lo & ~self.have[0]
        todo[1] = hi & ~self.have[1]
        for k in range(2):  # no-cython-lint
            rest = todo[k] & _derived[k]
            while rest:
                i = 64 * k + ctz(rest)
                rest &= rest - 1
                todo[0] |= _needs[i][0] & ~self.have[0]
                todo[1] |= _needs[i][1] & ~self.have[1]
        if self.outer is not None:
            self.outer.start(burst)
            self.outer.fill(burst, inner_bits[0], inner_bits[1])
        for k in range(2):
            rest = todo[k]
            while rest:
                i = 64 * k + ctz(rest)
                rest &= rest - 1
                if self.columns[i] == NULL:
                    self.allocate(i)
        # What allocates may run Python (the garbage collector's), and other threads. From here on
        # nothing does.
        if self.generation != burst.generation or self.n != burst.n or burst.busy:
            raise StateError("the burst changed while its headers were parsed",
                             hint="one thread at a time may use a burst")
        for k in range(2):
            derived[k] = todo[k] & _derived[k]
            todo[k] &= ~_derived[k]
            rest = derived[k]        # the others are made zero where they are parsed
            while rest:
                i = 64 * k + ctz(rest)
                rest &= rest - 1
                memset(self.columns[i], 0, self.n * _itemsize[i])
        if (todo[0] | todo[1]) and self.n:
            if self.outer is None:
                vn.vn_parse2(<vn.vn_columns *>self.columns, todo[0], todo[1], burst.pkts, self.n)
            else:
                self.parse_inner(burst, todo[0], todo[1])
        if (derived[0] | derived[1]) and self.n:
            vn.vn_derive2(<vn.vn_columns *>self.columns, derived[0], derived[1], burst.pkts,
                          self.n, self.base())
        for k in range(2):
            self.have[k] |= todo[k] | derived[k]
        return 0

    cdef void parse_inner(self, Burst burst, uint64_t lo, uint64_t hi) noexcept:
        cdef void **outer = self.outer.columns
        vn.vn_parse_inner2(<vn.vn_columns *>self.columns, lo, hi, burst.pkts, self.n,
                           <uint16_t *>outer[inner_off], <uint16_t *>outer[inner_len],
                           <uint8_t *>outer[inner_kind])

    cdef const uint16_t *base(self) noexcept:
        """Where the rows' packets begin in their mbufs; NULL: at the first byte."""
        if self.outer is None:
            return NULL
        return <const uint16_t *>self.outer.columns[inner_off]

    cdef int ask(self, Burst burst, uint64_t lo, uint64_t hi) except -1:
        """Makes columns be parsed: with all that this store parses, in one pass."""
        cdef uint64_t fresh[2]
        cdef int k
        fresh[0] = lo & ~self.want[0]
        fresh[1] = hi & ~self.want[1]
        if fresh[0] | fresh[1]:
            if self.pinned:
                k = 0 if fresh[0] else 1
                raise AttributeError(
                    f"{_names[64 * k + ctz(fresh[k])]} is not among the columns that were asked "
                    f"for: add it to Headers(...)")
            self.want[0] |= lo
            self.want[1] |= hi
        return self.fill(burst, self.want[0], self.want[1])

    cdef object column(self, Burst burst, int i):
        cdef int k = i >> 6
        cdef dict views
        if not self.have[k] & bit_of(i):
            self.ask(burst, 0 if k else bit_of(i), bit_of(i) if k else 0)
        views = <dict>self.views[i]
        view = views.get(self.n)
        if view is None:
            view = first_rows(self.arrays[i], views, self.n, _writable[k] & bit_of(i) != 0)
        return view

    cdef object match(self, Burst burst, Program program):
        """Which rows match: a bool array that the next run of the program overwrites."""
        cdef uint8_t[::1] memory
        cdef uint64_t *need = &program.need[0] if self.outer is not None else &program.need_all[0]
        if need[0] & ~self.have[0] or need[1] & ~self.have[1]:
            self.ask(burst, need[0], need[1])
        entry = self.matches.get(program)
        if entry is None:
            if len(self.matches) >= 1024:
                self.matches.clear()
            array = np.zeros(self.capacity, np.bool_)
            memory = array.view(np.uint8)
            entry = self.matches[program] = (array, {}, <size_t>&memory[0])
        view = (<dict>(<tuple>entry)[1]).get(self.n)
        if view is None:
            view = first_rows(entry[0], entry[1], self.n, True)
        if not program.leaves:
            vn.vn_match(<vn.vn_columns *>self.columns, program.steps, program.n_steps,
                        <uint8_t *><size_t>(<tuple>entry)[2], self.n)
        else:
            if self.outer is not None:
                needs_bytes(program, "the packets inside tunnels have columns only")
            self.run(burst, program, NULL, <uint8_t *><size_t>(<tuple>entry)[2])
        if program.doubt is not None and self.outer is None:
            self.decide(burst, program, <uint8_t *><size_t>(<tuple>entry)[2])
        return view

    cdef int run(self, Burst burst, Program program, const uint8_t *where, uint8_t *out) except -1:
        """Runs a program that has leaves; these for the rows of `where` only (NULL: all)."""
        cdef void *columns[128]
        cdef rte_mbuf **pkts = burst.pkts
        cdef rte_mbuf **chosen = NULL
        cdef uint8_t *said
        cdef uint16_t i, k, found = 0, n = self.n
        cdef size_t leaves = len(program.leaves)
        memcpy(columns, self.columns, sizeof(columns))
        # What the leaves say, and for `where` what they say of each row that is chosen.
        said = <uint8_t *>calloc((leaves + 1) * n + 1, 1)
        if where != NULL:
            chosen = <rte_mbuf **>malloc((n + 1) * sizeof(chosen[0]))
        if said == NULL or (where != NULL and chosen == NULL):
            free(said)
            free(chosen)
            raise MemoryError
        for i in range(n if where != NULL else 0):
            if where[i]:
                chosen[found] = pkts[i]
                found += 1
        for k in range(leaves):
            columns[vn.VN_COLUMNS + k] = said + k * n
            if where == NULL:
                vn.vn_bpf_run((<Bpf>program.leaves[k]).program, pkts, n, said + k * n)
                continue
            vn.vn_bpf_run((<Bpf>program.leaves[k]).program, chosen, found, said + leaves * n)
            found = 0
            for i in range(n):
                if where[i]:
                    said[k * n + i] = said[leaves * n + found]
                    found += 1
        vn.vn_match(<vn.vn_columns *>columns, program.steps, program.n_steps, out, n)
        free(said)
        free(chosen)
        return 0

    cdef int decide(self, Burst burst, Program program, uint8_t *out) except -1:
        """Asks the bytes of packets of which columns do not say enough: malformed ones, mostly."""
        cdef uint8_t *doubtful = <uint8_t *>malloc(2 * self.n + 1)
        cdef uint16_t i
        if doubtful == NULL:
            raise MemoryError
        try:
            vn.vn_match(<vn.vn_columns *>self.columns, program.doubt.steps, program.doubt.n_steps,
                        doubtful, self.n)
            if memchr(doubtful, 1, self.n) != NULL:
                self.run(burst, program.raw, doubtful, doubtful + self.n)
                for i in range(self.n):
                    if doubtful[i]:
                        out[i] = doubtful[self.n + i]
        finally:
            free(doubtful)
        return 0


cdef int needs_bytes(Program program, str why) except -1:
    """ConfigError: a program has leaves, and there are no packets."""
    what = program.leaves[0].text
    raise ConfigError(f"{what!r} asks for bytes that no column holds; {why}",
                      hint="match it on a burst, or write a comparison of columns: "
                           "veridnet headers --columns")


cdef dict _programs = {}          # text -> Program
cdef object _compile = None
cdef object _no_column = None


def set_language(compile, no_column) -> None:
    """Who makes programs of match expressions, and who says what is wrong with a column's name."""
    global _compile, _no_column
    _compile = compile
    _no_column = no_column


cdef Program program_of(text):
    if type(text) is not str:
        if not isinstance(text, str):
            raise TypeError(f"a match expression is text, not {type(text).__name__}")
        text = str.__str__(text)         # numpy's, or another kind of str with a hash of its own
    program = _programs.get(text)
    if program is None:
        program = _compile(text)
        if len(_programs) >= 4096:
            _programs.clear()
        _programs[text] = program
    return program


def match_arrays(text, dict arrays, uint32_t rows):
    """Which rows of columns that are no burst's match: a new bool array of shape (rows,)."""
    cdef void *columns[128]
    cdef const uint8_t[::1] memory
    cdef uint8_t[::1] result
    cdef Program program = program_of(text)
    cdef int i
    if program.leaves:
        needs_bytes(program, "here are columns only")
    keep = []
    memset(columns, 0, sizeof(columns))
    for i, name in enumerate(_names):
        if not program.need[i >> 6] & bit_of(i):
            continue
        if name not in arrays:
            raise AttributeError(f"this table has no {name}; it has {', '.join(arrays)}")
        array = np.ascontiguousarray(arrays[name], _dtypes[i])
        if array.shape != (rows,):
            raise ValueError(f"{name} has shape {array.shape}, not ({rows},)")
        keep.append(array)
        if rows:
            memory = array.view(np.uint8)
            columns[i] = <void *>&memory[0]
    out = np.zeros(rows, np.bool_)
    if rows:
        result = out.view(np.uint8)
        vn.vn_match(<vn.vn_columns *>columns, program.steps, program.n_steps, &result[0], rows)
    return out


cdef class ColumnsBase:
    """The columns of the packets that a burst holds: see `veridnet.headers.Columns`."""

    def __cinit__(self, Burst burst not None, int depth=0):
        cdef HeaderStore store
        burst.check_idle()
        if not 0 <= depth <= MOST_INNER:
            raise ConfigError(f"headers.inner goes at most {MOST_INNER} deep: no packet that is "
                              "parsed has more tunnels")
        names = None if burst.plan is None else burst.plan.names
        if burst.header_store is None:
            burst.header_store = HeaderStore(burst.capacity, names)
        store = <HeaderStore>burst.header_store
        store.start(burst)
        for _ in range(depth):
            if store.inner is None:
                store.inner = HeaderStore(burst.capacity, names)
                store.inner.outer = store
            store = store.inner
            store.start(burst)
        self.burst = burst
        self.store = store
        self.depth = depth
        # The store's, not the burst's: another thread may have changed that meanwhile.
        self.generation = store.generation
        self.n = store.n

    def __reduce__(self):
        raise TypeError("header columns are views of a burst; copy() can be pickled")

    cdef int check(self) except -1:
        self.burst.check_idle()
        if self.generation != self.burst.generation or self.n != self.burst.n:
            raise StateError(
                "these columns belong to packets that the burst no longer holds",
                hint="take burst.headers after each rx; headers.copy() keeps columns")
        return 0

    def __getattribute__(self, name):
        i = _index.get(name)
        if i is None:
            try:
                return PyObject_GenericGetAttr(self, name)
            except AttributeError:
                # (A __getattr__ in Python would say it too, and cost each column 40 ns.)
                if _no_column is None or hasattr(type(self), name):
                    raise
                raise AttributeError(_no_column(name)) from None
        if self.burst is None or self.generation != self.burst.generation \
                or self.n != self.burst.n or self.burst.busy or vn.vn_forked:
            self.check()
        return self.store.column(self.burst, i)

    def __len__(self) -> int:
        return self.n

    def match(self, text):
        """Which packets match an expression: a bool array of shape (packets,).

        ``h.match("ip_proto == udp and l4_dst in {53, 5353}")`` is what numpy comparisons of the
        columns say, compiled once into one pass: see `veridnet.headers.match` for the grammar.
        The array is the burst's: valid as long as the columns, and overwritten when the same
        expression is matched again. ConfigError says at which column the text is wrong.
        """
        cdef Program program = program_of(text)      # may run Python: before the checks
        if self.generation != self.burst.generation or self.n != self.burst.n \
                or self.burst.busy or vn.vn_forked:
            self.check()
        return self.store.match(self.burst, program)

    def parsed(self) -> list:
        """Names of the columns that are parsed for this burst."""
        cdef int i
        self.check()
        return [name for i, name in enumerate(_names) if self.store.have[i >> 6] & bit_of(i)]

    def asked(self) -> list:
        """Names of the columns that are parsed for each burst."""
        cdef int i
        return [name for i, name in enumerate(_names) if self.store.want[i >> 6] & bit_of(i)]

    def write(self, *names, mask=None) -> int:
        """Writes columns back into the packets: those given, or all writable ones that were read.

        Parameters
        ----------
        names
            Columns (``field.writable`` in `veridnet.headers.FIELDS`).
        mask
            bool array of shape (packets,): only these rows.

        The IPv4, TCP, UDP and ICMPv6 checksums follow incrementally (RFC 1624): a right one stays
        right, a wrong one wrong. SCTP's is computed anew. A packet without a field's header stays
        as it is there; a shared packet is copied first (PoolError if there is no mbuf).

        Returns how many packets were changed. The columns are parsed anew at the next use.
        """
        cdef uint64_t fields[2]
        cdef const uint8_t[::1] rows
        cdef uint16_t changed
        cdef int i, k
        self.check()
        if self.depth:
            raise StateError("the packets inside tunnels cannot be written",
                             hint="write to burst.headers")
        fields[0] = fields[1] = 0
        for name in names:
            i = _index.get(name, -1)
            if i < 0 or not _writable[i >> 6] & bit_of(i):
                known = [n for k, n in enumerate(_names) if _writable[k >> 6] & bit_of(k)]
                raise ValueError(f"{name!r} is not a column that can be written; there are "
                                 f"{', '.join(known)}")
            if not self.store.have[i >> 6] & bit_of(i):
                raise ValueError(f"{name} was not read or set, so there is nothing to write")
            fields[i >> 6] |= bit_of(i)
        if not names:
            for k in range(2):
                fields[k] = self.store.have[k] & _writable[k]
        if mask is not None:
            rows = checked_mask(mask, self.burst).view(np.uint8)
        self.check()      # the mask and the names may have run Python
        for k in range(2):
            fields[k] &= self.store.have[k]
        if self.n == 0:
            return 0
        self.burst.own(rows if mask is not None else None, 0, 0)
        changed = vn.vn_write2(<vn.vn_columns *>self.store.columns, fields[0], fields[1],
                               self.burst.pkts, self.n, NULL if mask is None else &rows[0])
        self._forget()
        return changed

    def _apart(self):
        """The same packets' columns in memory of their own: any may be read, none is learned."""
        cdef ColumnsBase other = type(self)(self.burst, 0)
        cdef HeaderStore store = HeaderStore(self.burst.capacity)
        self.check()
        store.outer = self.store.outer
        store.start(self.burst)
        other.store = store
        other.depth = self.depth
        return other

    def _forget(self) -> None:
        """The packets' headers have changed: parse again at the next use."""
        cdef HeaderStore store = <HeaderStore>self.burst.header_store
        while store is not None:
            store.have[0] = store.have[1] = 0
            store = store.inner


def parse_frames(list frames, names=None, int start=vn.VN_START_ETH) -> dict:
    """Columns of frames that are bytes and in no mbuf: {name: array of len(frames)}.

    `start` says what each begins with: 1 Ethernet, 4 IPv4, 6 IPv6. Derived columns are not there.
    """
    cdef void *columns[128]
    cdef uint64_t lo = 0, hi = 0
    cdef uint8_t[::1] memory
    cdef bytes raw
    cdef int i
    cdef uint32_t row
    out = {}
    memset(columns, 0, sizeof(columns))
    for name in _names if names is None else names:
        i = _index[name]
        if _derived[i >> 6] & bit_of(i):
            continue
        out[name] = np.zeros(len(frames), _dtypes[i])
        if frames:
            memory = out[name].view(np.uint8)
            columns[i] = &memory[0]
        if i < 64:
            lo |= bit_of(i)
        else:
            hi |= bit_of(i)
    if "in_port" in out:
        out["in_port"][:] = 65535        # no port received them
    for row, raw in enumerate(frames):
        vn.vn_parse_bytes2(<vn.vn_columns *>columns, row, lo, hi, <const uint8_t *><char *>raw, 0,
                           <uint32_t>len(raw), <uint32_t>len(raw), <vn.vn_start>start)
    return out
