"""Captures as columns, and columns as text. Neither EAL nor numpy is needed."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memset

from kernels cimport vn
from veridnet._native.matchers cimport Program

from veridnet.errors import CaptureError

cdef extern from "vn_fields.h" nogil:
    const uint8_t vn_field_size[]

KINDS = {"number": vn.VN_TEXT_NUMBER, "hex": vn.VN_TEXT_HEX, "mac": vn.VN_TEXT_MAC,
         "ip4": vn.VN_TEXT_IP4, "ip6": vn.VN_TEXT_IP6, "time": vn.VN_TEXT_TIME,
         "name": vn.VN_TEXT_NAME, "row": vn.VN_TEXT_ROW}


cdef class Reader:
    """A capture that is read into columns, block by block.

    Parameters
    ----------
    fd
        The open capture: a file, or a pipe. The reader owns it.
    columns
        Numbers of the columns to parse. What derived ones need must be among them.
    derived
        Those of them that are computed from others.
    rows
        Rows of a block.

    CaptureError, with libpcap's words, if it is no capture.
    """

    cdef vn.vn_table *table
    cdef void *columns[128]       # struct vn_columns
    cdef uint64_t want[2]
    cdef uint64_t derived[2]
    cdef uint8_t *mask
    cdef bint masked              # `mask` holds: else all rows are selected
    cdef readonly uint32_t rows   # of a block
    cdef readonly uint32_t n      # ... that are there
    cdef readonly uint32_t selected
    cdef readonly uint64_t records  # read so far, this block's too
    cdef bint reading

    def __cinit__(self, int fd, columns, derived, uint32_t rows):
        cdef char error[vn.VN_CAPTURE_ERRBUF]
        cdef int i
        # First of all: it owns the descriptor.
        with nogil:
            self.table = vn.vn_table_open(fd, error)
        PyErr_CheckSignals()
        if self.table == NULL:
            raise CaptureError((<bytes>error).decode("utf-8", "replace"))
        if not rows:
            raise ValueError("a block has at least one row")
        self.rows = rows
        for i in columns:
            if not 0 <= i < vn.VN_COLUMNS:
                raise ValueError(f"there is no column {i}")
            if self.columns[i] == NULL:
                self.columns[i] = calloc(rows, vn_field_size[i])
                if self.columns[i] == NULL:
                    raise MemoryError
            self.want[i >> 6] |= <uint64_t>1 << (i & 63)
        for i in derived:
            if not 0 <= i < vn.VN_COLUMNS or self.columns[i] == NULL:
                raise ValueError(f"column {i} is derived, and not among those to parse")
            self.derived[i >> 6] |= <uint64_t>1 << (i & 63)
        self.mask = <uint8_t *>calloc(rows, 1)
        if self.mask == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef int i
        vn.vn_table_close(self.table)
        for i in range(128):
            free(self.columns[i])
        free(self.mask)

    def __reduce__(self):
        raise TypeError("an open capture cannot be pickled")

    @property
    def linktype(self) -> int:
        """libpcap's number (DLT_) of the link type."""
        return vn.vn_table_linktype(self.table)

    @property
    def linktype_name(self) -> str:
        """Its name, or the number as text."""
        cdef const char *name = vn.vn_capture_linktype_name(self.linktype)
        return name.decode() if name != NULL else str(self.linktype)

    @property
    def readable(self) -> bool:
        """Can packets of this link type be parsed?"""
        return vn.vn_table_readable(self.table)

    @property
    def error(self) -> str:
        """Why reading ended before the file's end, in libpcap's words; "": it did not."""
        cdef const char *text = vn.vn_table_error(self.table)
        return text.decode("utf-8", "replace") if text != NULL else ""

    def read(self) -> int:
        """The next block, without the GIL: its rows, 0 at the end. All of them are selected."""
        cdef uint32_t n
        if self.reading:
            raise RuntimeError("another thread reads this capture")
        self.reading = True
        try:
            with nogil:
                n = vn.vn_table_read2(self.table, <vn.vn_columns *>self.columns, self.want[0],
                                      self.want[1], self.derived[0], self.derived[1], self.rows)
            self.n = self.selected = n
            self.records += n
            self.masked = False
        finally:
            self.reading = False
        PyErr_CheckSignals()
        return n

    cdef int need(self, Program program) except -1:
        cdef int i
        for i in range(128):
            if program.need[i >> 6] >> (i & 63) & 1 and self.columns[i] == NULL:
                raise ValueError(f"{program.text!r} needs column {i}, which is not parsed")
        return 0

    def select(self, Program program, limit=None) -> int:
        """Selects the block's rows that match (None: all), at most `limit`; how many these are."""
        cdef uint64_t most = self.n if limit is None else min(<object>limit, <object>self.n)
        cdef uint32_t i, found = 0
        if program is None:
            memset(self.mask, 1, self.n)
        else:
            self.need(program)
            with nogil:
                vn.vn_match(<vn.vn_columns *>self.columns, program.steps, program.n_steps,
                            self.mask, self.n)
        for i in range(self.n):
            self.mask[i] &= found < most
            found += self.mask[i]
        self.masked = True
        self.selected = found
        return found

    def column(self, int i) -> bytes:
        """The bytes of a column's rows: a copy."""
        if not 0 <= i < vn.VN_COLUMNS or self.columns[i] == NULL:
            raise ValueError(f"column {i} is not parsed")
        return PyBytes_FromStringAndSize(<char *>self.columns[i],
                                         <Py_ssize_t>self.n * vn_field_size[i])

    def chosen(self) -> bytes | None:
        """The mask of the selected rows, a byte each: a copy; None: all are."""
        if not self.masked:
            return None
        return PyBytes_FromStringAndSize(<char *>self.mask, self.n)

    def matches(self, Program program not None) -> bytes:
        """Which rows match, a byte each; the selection stays."""
        self.need(program)
        out = PyBytes_FromStringAndSize(NULL, self.n)
        vn.vn_match(<vn.vn_columns *>self.columns, program.steps, program.n_steps,
                    <uint8_t *>PyBytes_AS_STRING(out), self.n)
        return out

    def text(self, Format form not None) -> bytes:
        """The selected rows as text."""
        cdef uint32_t i, k, last, at = 0, step = 1024
        cdef size_t used = 0, room = 0
        cdef char *grown
        cdef const uint8_t *mask = self.mask if self.masked else NULL
        cdef uint64_t base = self.records - self.n + 1
        for k in range(form.n_cells):
            for i in (form.cells[k].field, form.cells[k].low):
                if form.cells[k].kind != vn.VN_TEXT_ROW and self.columns[i] == NULL:
                    raise ValueError(f"column {i} is not parsed")
        for k in range(form.n_shown):
            self.need(<Program>form.programs[k])
        form.resize(self.rows)
        with nogil:
            for k in range(form.n_shown):
                vn.vn_match(<vn.vn_columns *>self.columns, form.steps[k], form.n_steps[k],
                            form.shown + <size_t>k * self.rows, self.n)
            while at < self.n:
                last = self.n if self.n - at < step else at + step
                room = used + step * form.room
                if room > form.size:
                    grown = <char *>realloc(form.out, room + room // 2)
                    if grown == NULL:
                        with gil:
                            raise MemoryError
                    form.out = grown
                    form.size = room + room // 2
                used += vn.vn_text(<vn.vn_columns *>self.columns, form.cells, form.n_cells, mask,
                                   at, last, base, form.out + used)
                at = last
        PyErr_CheckSignals()
        return PyBytes_FromStringAndSize(form.out, used)


cdef class Format:
    """How rows are written.

    Parameters
    ----------
    cells
        (kind, column, lower half, digits, width, where, before, after, none) each. kind: see
        `KINDS`. where: number in `shown` of the program whose rows have the value, -1 for all.
        before, after: bytes around the value; none: in place of all three where there is none.
    shown
        Programs.
    names
        What the kind "name" writes for 0, 1, ...: bytes.
    """

    cdef vn.vn_cell *cells
    cdef vn.vn_word *words
    cdef uint32_t n_cells
    cdef list programs
    cdef uint32_t n_shown
    cdef const vn.vn_match_step **steps
    cdef uint32_t *n_steps
    cdef int *where
    cdef uint8_t *shown           # n_shown masks of `mask_rows` rows
    cdef uint32_t mask_rows
    cdef char *out
    cdef size_t size              # of `out`
    cdef size_t room              # for a row
    cdef object keep

    def __cinit__(self, list cells, list shown, list names):
        cdef vn.vn_cell *cell
        cdef Program program
        cdef int k
        self.keep = (cells, names)
        self.programs = shown
        self.n_cells = <uint32_t>len(cells)
        self.n_shown = <uint32_t>len(shown)
        self.cells = <vn.vn_cell *>PyMem_Calloc(max(1, len(cells)), sizeof(vn.vn_cell))
        self.where = <int *>PyMem_Calloc(max(1, len(cells)), sizeof(int))
        self.words = <vn.vn_word *>PyMem_Calloc(max(1, len(names)), sizeof(vn.vn_word))
        self.steps = <const vn.vn_match_step **>PyMem_Calloc(max(1, len(shown)), sizeof(void *))
        self.n_steps = <uint32_t *>PyMem_Calloc(max(1, len(shown)), sizeof(uint32_t))
        if self.cells == NULL or self.where == NULL or self.words == NULL or self.steps == NULL \
                or self.n_steps == NULL:
            raise MemoryError
        for k in range(len(names)):
            set_word(&self.words[k], names[k])
        for k in range(len(shown)):
            program = <Program?>shown[k]
            self.steps[k] = program.steps
            self.n_steps[k] = program.n_steps
        for k, (kind, field, low, digits, width, where, before, after, none) in enumerate(cells):
            cell = &self.cells[k]
            if not (0 <= field < vn.VN_COLUMNS and 0 <= low < vn.VN_COLUMNS
                    and 0 <= digits <= 16 and -1 <= where < len(shown)):
                raise ValueError(f"cell {k} of a format is wrong")
            cell.kind = KINDS[kind]
            cell.field = field
            cell.low = low
            cell.digits = digits
            cell.width = width
            set_word(&cell.before, before)
            set_word(&cell.after, after)
            set_word(&cell.none, none)
            if cell.kind == vn.VN_TEXT_NAME:
                cell.names = self.words
                cell.n_names = <uint16_t>len(names)
            self.where[k] = where
        self.room = vn.vn_text_room(self.cells, self.n_cells)

    def __dealloc__(self):
        PyMem_Free(self.cells)
        PyMem_Free(self.where)
        PyMem_Free(self.words)
        PyMem_Free(self.steps)
        PyMem_Free(self.n_steps)
        free(self.shown)
        free(self.out)

    def __reduce__(self):
        raise TypeError("a format cannot be pickled")

    cdef int resize(self, uint32_t rows) except -1:
        """Room for the masks of blocks of so many rows."""
        cdef uint32_t k
        if rows == self.mask_rows or not self.n_shown:
            return 0
        free(self.shown)
        self.mask_rows = 0
        self.shown = <uint8_t *>calloc(<size_t>rows * self.n_shown, 1)
        if self.shown == NULL:
            raise MemoryError
        self.mask_rows = rows
        for k in range(self.n_cells):
            if self.where[k] >= 0:
                self.cells[k].shown = self.shown + <size_t>self.where[k] * rows
        return 0


cdef int set_word(vn.vn_word *word, bytes text) except -1:
    """The bytes must outlive the word."""
    word.text = <const char *>text
    word.len = <uint32_t>len(text)
    return 0
