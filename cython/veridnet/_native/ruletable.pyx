"""The flow-rule table's engines and versions: see cython/kernels/vn_rules.h.

`veridnet.rules` makes matches of text and keeps what people see; this holds what packets meet.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memset

from collections import deque

import numpy as np

from dpdk.mbuf cimport rte_mbuf
from kernels cimport vn
from veridnet._native.actions cimport ActionProgram
from veridnet._native.bpf cimport Bpf
from veridnet._native.errors cimport check_process
from veridnet._native.headers cimport ColumnsBase
from veridnet._native.matchers cimport Program

from veridnet._native import headers as native_headers
from veridnet.errors import ClosedError, PoolError, StateError

cdef extern from * nogil:
    int ctz "__builtin_ctzll"(unsigned long long x)

np_ndarray = np.ndarray
# (name, dtype) of each column, once the columns are known.
cdef list _columns = None

#: Engine -> its number in the kernel.
ENGINES = {"auto": 0, "acl": 1, "hash": 2, "fib": 3, "tuple": 4}
LEVELS = {"base": 0, "middle": 1}
MAX_PRIORITY = (1 << (64 - vn.VN_PLACE_BITS)) - 1
#: Ids of removed rules rest until so many are free: who still has one does not meet another rule.
RESTING = 1024
MAX_RULES = <uint32_t>vn.VN_COUNT_CHUNK * vn.VN_COUNT_CHUNKS


cdef class Match:
    """What a rule matches, as engines read it: immutable, and shared by rules.

    Parameters
    ----------
    boxes
        A list of boxes: ((column's number, its bytes, mask, lo, hi), ...) each, sorted by column.
    program
        Or a match program over columns and, by its leaves, bytes.
    """

    def __cinit__(self, list boxes=None, Program program=None):
        cdef size_t n = 0, at = 0
        cdef vn.vn_test *t
        cdef uint32_t k, i
        cdef int last
        cdef Bpf leaf
        if program is not None:
            self.program = program
            self.steps = program.steps
            self.n_steps = program.n_steps
            self.need[0] = program.need[0]
            self.need[1] = program.need[1]
            self.n_leaves = <uint32_t>len(program.leaves)
            self.leaves = <const vn.vn_bpf **>calloc(max(1, self.n_leaves), sizeof(void *))
            if self.leaves == NULL:
                raise MemoryError
            for k in range(self.n_leaves):
                leaf = program.leaves[k]
                self.leaves[k] = leaf.program
            return
        for box in boxes:
            n += len(box)
        self.tests = <vn.vn_test *>calloc(max(1, n), sizeof(vn.vn_test))
        self.boxes = <vn.vn_box *>calloc(max(1, len(boxes)), sizeof(vn.vn_box))
        if self.tests == NULL or self.boxes == NULL:
            raise MemoryError
        self.n_boxes = <uint32_t>len(boxes)
        for k, box in enumerate(boxes):
            self.boxes[k].tests = &self.tests[at]
            self.boxes[k].n = <uint32_t>len(box)
            last = -1
            for field, size, mask, lo, hi in box:
                t = &self.tests[at]
                t.field = field
                t.size = size
                t.mask = mask
                t.lo = lo
                t.span = hi - lo
                if not last < t.field < vn.VN_COLUMNS or t.size not in (1, 2, 4, 8):
                    raise ValueError(f"box {k} is wrong: {box}")
                if t.span and t.mask != (<uint64_t>-1 if t.size == 8
                                         else (<uint64_t>1 << (8 * t.size)) - 1):
                    raise ValueError(f"box {k} has a range with a mask: {box}")
                last = t.field
                i = t.field
                self.need[i >> 6] |= <uint64_t>1 << (i & 63)
                at += 1

    def __dealloc__(self):
        free(self.tests)
        free(self.boxes)
        free(self.leaves)

    @property
    def special(self) -> bool:
        """Is it a program, which is run for each burst, and not looked up?"""
        return self.steps != NULL

    @property
    def needs_packets(self) -> bool:
        """Does it read the packet's bytes?"""
        return self.n_leaves != 0


@cython.no_gc_clear     # __dealloc__ gives rules back
cdef class RuleTable:
    """Rules by id, for readers that never wait.

    One thread at a time may change it (the owner's lock); any may look.

    Parameters
    ----------
    default
        The actions of packets that no rule matches.
    """

    def __cinit__(self, ActionProgram default=None):
        self.ptr = vn.vn_rules_create()
        if self.ptr == NULL:
            raise MemoryError
        self.freed = deque()
        self.readers = list(range(vn.VN_READERS - 1, vn.VN_LCORE_READERS - 1, -1))
        self.before = {}
        self.before_default = []
        self.default = default
        if vn.vn_rules_set_none(self.ptr, NULL if default is None else default.ptr, False) < 0:
            raise MemoryError

    def __dealloc__(self):
        if (self.ptr != NULL and not vn.vn_forked and not self.in_use and not self.users
                and not (self.merging[0] or self.merging[1])):  # a child, forked in a merge
            self.empty()
        free(self.by_id)

    def __reduce__(self):
        raise TypeError("a rule table cannot be pickled; its rules can: write them to a file")

    cdef vn.vn_rules *check(self) except NULL:
        check_process()
        if self.ptr == NULL:
            raise ClosedError("the rule table was closed")
        return self.ptr

    cdef int make_room(self, uint32_t n) except -1:
        cdef vn.vn_rule **more
        cdef uint32_t room
        if n > MAX_RULES:
            raise PoolError(f"a table holds at most {MAX_RULES} rules")
        if n > self.room:
            room = max(n, min(2 * self.room, MAX_RULES), 64)
            more = <vn.vn_rule **>realloc(self.by_id, room * sizeof(vn.vn_rule *))
            if more == NULL:
                raise MemoryError
            memset(&more[self.room], 0, (room - self.room) * sizeof(vn.vn_rule *))
            self.by_id = more
            self.room = room
        if vn.vn_rules_room(self.ptr, n) < 0:
            raise MemoryError
        return 0

    cdef void collect(self):
        """Frees what no reader can see."""
        cdef vn.vn_rule *r = vn.vn_rules_collect(self.ptr)
        cdef vn.vn_rule *after
        while r != NULL:
            after = r.next
            Py_DECREF(<object>r.owner)
            free(r.nodes)
            free(r)
            r = after

    def new_ids(self, uint32_t n) -> list:
        """Ids for new rules, the smallest that never were first."""
        cdef vn.vn_rule_counts sums
        cdef uint32_t resting
        cdef int32_t i
        self.check()
        resting = <uint32_t>len(self.freed)
        n_old = min(n, max(0, resting - RESTING))
        self.make_room(self.n_ids + n - n_old)
        ids = [self.freed.popleft() for _ in range(n_old)]
        for i in ids:
            sums = vn.vn_rules_counts(self.ptr, i)
            self.before[i] = (sums.packets, sums.bytes)
        ids.extend(range(self.n_ids, self.n_ids + n - n_old))
        self.n_ids += n - n_old
        return ids

    def unused(self, list ids) -> None:
        """Gives ids back that no rule got."""
        cdef int32_t i
        for i in reversed(ids):
            if i == <int32_t>self.n_ids - 1:
                self.n_ids -= 1
            else:
                self.freed.append(i)

    def commit(self, list add, list remove, *default) -> None:
        """Removes and adds rules in one step for all readers.

        add: (id, priority, place, Match, ActionProgram or None) each, under an id of
        `new_ids`, or of a rule that is removed in the same step. remove: ids. default, if given:
        the ActionProgram (or None) of packets that no rule matches, in the same step. KeyError,
        MemoryError, and StateError where a reader does not see the change before: nothing has
        changed.
        """
        cdef uint32_t n_add = <uint32_t>len(add), n_remove = <uint32_t>len(remove), k
        cdef vn.vn_rule **rules
        cdef vn.vn_rule *r
        cdef Match m
        cdef ActionProgram actions
        cdef int32_t i
        cdef uint64_t priority, place
        cdef int rc = -1
        cdef bint given = False
        self.check()
        rules = <vn.vn_rule **>calloc(n_add + n_remove + 1, sizeof(vn.vn_rule *))
        if rules == NULL:
            raise MemoryError
        try:
            for k in range(n_remove):
                i = remove[k]
                if not 0 <= i < <int32_t>self.n_ids or self.by_id[i] == NULL:
                    raise KeyError(i)
                rules[n_add + k] = self.by_id[i]
            for k in range(n_add):
                i, priority, place, m, actions = <tuple>add[k]
                if not 0 <= i < <int32_t>self.n_ids or priority > MAX_PRIORITY:
                    raise ValueError(f"id {i}, priority {priority}")
                r = <vn.vn_rule *>calloc(1, sizeof(vn.vn_rule))
                if r == NULL:
                    raise MemoryError
                rules[k] = r
                r.id = i
                r.order = (priority << vn.VN_PLACE_BITS
                           | (((<uint64_t>1 << vn.VN_PLACE_BITS) - 2) - place))
                r.boxes = m.boxes
                r.n_boxes = m.n_boxes
                r.steps = m.steps
                r.n_steps = m.n_steps
                r.leaves = m.leaves
                r.n_leaves = m.n_leaves
                r.need[0] = m.need[0]
                r.need[1] = m.need[1]
                r.flags = vn.vn_act_code(NULL if actions is None else actions.ptr)
                r.actions = NULL if actions is None else actions.ptr
                both = (m, actions)
                Py_INCREF(both)
                r.owner = <void *>both
            if default:
                self.prepare_default(default[0])
            given = True
            rc = vn.vn_rules_commit(self.ptr, rules, n_add, rules + n_add, n_remove)
            if rc < 0:
                if default:
                    vn.vn_rules_keep_none(self.ptr)
                raise MemoryError("no memory for more rules")
            if default:
                self.default = default[0]
            for k in range(n_remove):
                self.by_id[<int32_t>remove[k]] = NULL
            for k in range(n_add):
                self.by_id[rules[k].id] = rules[k]
            for i in remove:
                if self.by_id[i] == NULL:
                    self.freed.append(i)
        finally:
            # What commit refuses comes back by collect; what it was never given is ours.
            for k in range(0 if given else n_add):
                if rules[k] != NULL:
                    if rules[k].owner != NULL:
                        Py_DECREF(<object>rules[k].owner)
                    free(rules[k])
            free(rules)
            self.collect()

    cdef int prepare_default(self, ActionProgram default) except -1:
        cdef int rc
        if self.ptr.none.since:
            with nogil:
                rc = vn.vn_rules_wait(self.ptr, 1000000)
            if rc < 0:
                raise StateError("a thread has looked at the rules for more than a second")
        self.before_default = [self.default, default]
        if vn.vn_rules_set_none(self.ptr, NULL if default is None else default.ptr, True) < 0:
            raise MemoryError
        return 0

    # -- looking --------------------------------------------------------------------------------

    cdef int take_reader(self) except -1:
        """A reader of this thread's own; the caller gives it back."""
        cdef int r
        self.check()
        if not self.readers:
            raise StateError("too many threads look at the rule table at the same time")
        r = self.readers.pop()
        if vn.vn_rules_register(self.ptr, r) < 0:
            self.readers.append(r)
            raise MemoryError
        self.in_use += 1
        return r

    def lend_reader(self) -> int:
        """A reader for longer than one call; `give_reader` takes it back."""
        return self.take_reader()

    def give_reader(self, int reader) -> None:
        """Takes a reader back that was lent."""
        if self.ptr != NULL:
            self.readers.append(reader)
        self.in_use -= 1

    def classify(self, ColumnsBase headers not None):
        """Ids of the winning rules: an int32 array of shape (packets,), -1 where none matches.

        The array is the burst's: valid as long as the columns, and overwritten by the next call.
        """
        cdef uint64_t need[2]
        cdef int32_t[::1] memory
        cdef int r = self.take_reader()
        cdef rte_mbuf **pkts
        try:
            headers.check()
            vn.vn_rules_online(self.ptr, r)
            vn.vn_rules_needs2(self.ptr, r, need)
            if need[0] & ~headers.store.have[0] or need[1] & ~headers.store.have[1]:
                headers.store.ask(headers.burst, need[0], need[1])
            entry = headers.store.matches.get(self)
            if entry is None:
                array = np.zeros(headers.store.capacity, np.int32)
                entry = headers.store.matches[self] = (array, {})
            view = (<dict>(<tuple>entry)[1]).get(headers.n)
            if view is None:
                view = (<tuple>entry)[1][headers.n] = (<tuple>entry)[0][:headers.n]
            if headers.n:
                memory = view
                pkts = headers.burst.pkts if headers.depth == 0 else NULL
                vn.vn_rules_ids(self.ptr, r, <vn.vn_columns *>headers.store.columns, pkts,
                                headers.n, &memory[0])
            return view
        finally:
            vn.vn_rules_offline(self.ptr, r)
            self.readers.append(r)
            self.in_use -= 1

    def classify_arrays(self, dict arrays, uint32_t rows, fill):
        """The same for columns that are no burst's: a new array of shape (rows,).

        fill(name) gives a column that `arrays` lacks, or raises.
        """
        cdef void *columns[128]
        cdef Py_buffer views[128]
        cdef int32_t[::1] result
        cdef uint64_t need[2]
        cdef uint64_t asked[2]
        cdef uint64_t rest
        cdef int r, i, k, n_views = 0
        global _columns
        if _columns is None:
            _columns = native_headers.columns_of()
        out = np.empty(rows, np.int32)
        r = self.take_reader()
        try:
            vn.vn_rules_online(self.ptr, r)
            vn.vn_rules_needs2(self.ptr, r, need)
            vn.vn_rules_asks(self.ptr, asked)   # of the same version, as nothing ran in between
            memset(columns, 0, sizeof(columns))
            for k in range(2):  # no-cython-lint
                rest = need[k]
                while rest:
                    i = 64 * k + ctz(rest)
                    rest &= rest - 1
                    name, dtype = <tuple>_columns[i]
                    array = arrays.get(name)
                    if array is None:
                        if asked[k] & <uint64_t>1 << (i & 63):
                            array = fill(name)
                        else:       # only what was removed asked for it
                            array = np.zeros(rows, dtype)
                    if type(array) is not np_ndarray or array.dtype is not dtype:
                        array = np.asarray(array, dtype)
                    PyObject_GetBuffer(np.ascontiguousarray(array), &views[n_views], PyBUF_SIMPLE)
                    n_views += 1
                    if views[n_views - 1].len != <Py_ssize_t>rows * <Py_ssize_t>dtype.itemsize:
                        raise ValueError(f"{name} has shape {array.shape}, not ({rows},)")
                    columns[i] = views[n_views - 1].buf
            if rows:
                result = out
                with nogil:
                    vn.vn_rules_ids(self.ptr, r, <vn.vn_columns *>columns, NULL, rows, &result[0])
            return out
        finally:
            for k in range(n_views):
                PyBuffer_Release(&views[k])
            vn.vn_rules_offline(self.ptr, r)
            self.readers.append(r)
            self.in_use -= 1

    def wait(self, double seconds=1.0) -> bool:
        """Waits until every reader sees what was committed; False: not in that time."""
        cdef int rc
        cdef uint64_t us = <uint64_t>(seconds * 1e6)
        self.check()
        self.in_use += 1        # nobody frees it meanwhile
        with nogil:
            rc = vn.vn_rules_wait(self.ptr, us)
        self.in_use -= 1
        self.collect()
        return rc == 0

    # -- merging --------------------------------------------------------------------------------

    def merge(self, str engine="auto", uint64_t max_bytes=0, *, str level="base", born=None,
              uint64_t least=0) -> None:
        """Builds a new base, or middle, and lets readers have it. Takes seconds for many rules.

        max_bytes: what building may take of the heap; 0: anything. level: "base", of all rules; or
        "middle", of those that are not in the base and have no fewer than `least` boxes together
        (else they stay in the delta). born: only rules until this version.

        Other threads may change the table meanwhile, and build the other level. PoolError where
        there is no memory for it: the table is then as it was.
        """
        cdef vn.vn_merge *m
        cdef char error[200]
        cdef int rc, ended, number = ENGINES[engine], at = LEVELS[level]
        cdef uint64_t until = <uint64_t>-1 if born is None else born
        self.check()
        if self.merging[at]:
            raise StateError("the rule table is being merged already")
        m = vn.vn_merge_begin(self.ptr, at, until, least)
        if m == NULL:
            raise MemoryError
        self.merging[at] = True
        error[0] = 0
        if not max_bytes:
            max_bytes = <uint64_t>-1
        with nogil:
            rc = vn.vn_merge_build(m, number, max_bytes, error, sizeof(error))
        ended = vn.vn_merge_end(self.ptr, m, rc == 0)
        self.merging[at] = False
        self.collect()
        if rc < 0:
            raise PoolError(error.decode(errors="replace"))
        if ended < 0:
            raise MemoryError

    def ripe(self, uint64_t born) -> int:
        """How many boxes a new middle would take from the delta: of rules until this version."""
        self.check()
        return vn.vn_rules_ripe(self.ptr, born)

    # -- facts ----------------------------------------------------------------------------------

    def counts(self, ids):
        """Packets and bytes of rules, summed over all readers: uint64 of shape (len(ids), 2)."""
        cdef uint64_t[:, ::1] out
        cdef vn.vn_rule_counts sums
        cdef int32_t i
        cdef Py_ssize_t k
        self.check()
        result = np.zeros((len(ids), 2), np.uint64)
        out = result
        for k in range(out.shape[0]):
            i = ids[k]
            if not 0 <= i < <int32_t>self.n_ids:
                raise KeyError(i)
            sums = vn.vn_rules_counts(self.ptr, i)
            packets, octets = self.before.get(i, (0, 0))
            out[k, 0] = sums.packets - <uint64_t>packets
            out[k, 1] = sums.bytes - <uint64_t>octets
        return result

    @property
    def version(self) -> int:
        """How many changes were committed."""
        return self.check().state.version

    def info(self) -> dict:
        """How it is made up: rules, boxes, engines, delta, garbage."""
        cdef vn.vn_rules_info_t i
        self.check()
        vn.vn_rules_read_info(self.ptr, &i)
        facts = <dict>i
        facts["engines"] = i.engines.decode()
        return facts

    def empty(self) -> None:
        """Removes all rules and frees everything: no reader may be there. May be called twice."""
        cdef vn.vn_merge *m
        cdef char error[200]
        cdef uint32_t i
        cdef int rc
        if self.ptr == NULL:
            return
        if self.in_use or self.users or self.merging[0] or self.merging[1]:
            raise StateError("the rule table is in use")
        check_process()
        remove = [i for i in range(self.n_ids) if self.by_id[i] != NULL]
        if remove:
            self.commit([], remove)
        # An empty base, and nothing beside it, at once: while others run, a reader may come.
        for level in range(2):
            m = vn.vn_merge_begin(self.ptr, level, <uint64_t>-1, 0)
            if m != NULL:
                rc = vn.vn_merge_build(m, ENGINES["tuple"], 0, error, sizeof(error))
                vn.vn_merge_end(self.ptr, m, rc == 0)
        while self.ptr.n_garbage:
            self.collect()
        self.collect()
        vn.vn_rules_free(self.ptr)
        self.ptr = NULL
