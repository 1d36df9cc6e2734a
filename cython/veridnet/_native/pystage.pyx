"""Stages that are Python functions: a worker's batch as a Burst, and back.

A worker that has such stages keeps its PyThreadState: taking the GIL for a burst then costs 50 ns
where nobody else holds it, against 8 us for a new state each time.
"""

from cpython.buffer cimport PyBUF_ND, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t
from libc.string cimport memcpy

import os

import numpy as np

from kernels cimport vn
from veridnet._native.burst cimport Burst, drop_code
from veridnet._native.memory cimport mbuf_returned

import veridnet.headers.columns  # no-cython-lint  it tells bursts their columns
from veridnet.errors import ConfigError, ViewError

cdef extern from "Python.h" nogil:
    ctypedef struct PyThreadState:
        pass
    ctypedef enum PyGILState_STATE:
        pass
    PyGILState_STATE PyGILState_Ensure()
    void PyGILState_Release(PyGILState_STATE state)
    PyThreadState *PyEval_SaveThread()
    void PyEval_RestoreThread(PyThreadState *state)

PASS = vn.VN_VERDICT_PASS
DROP = vn.VN_VERDICT_DROP

cdef enum:
    HEADERS
    HEADERS_AND_RULES
    BURST

WANTS = {"headers": HEADERS, "headers+rules": HEADERS_AND_RULES, "burst": BURST}


cdef void python_enter(vn.vn_worker *w) noexcept nogil:
    w.python_state = <int>PyGILState_Ensure()
    w.python = PyEval_SaveThread()


cdef void python_leave(vn.vn_worker *w) noexcept nogil:
    PyEval_RestoreThread(<PyThreadState *>w.python)
    PyGILState_Release(<PyGILState_STATE>w.python_state)
    w.python = NULL


cdef void python_stage(vn.vn_stage *s, vn.vn_worker *w, vn.vn_batch *b) noexcept nogil:
    vn.vn_batch_settle(b)
    w.at_stage = <uint16_t>(s.number + 1)
    with gil:
        try:
            (<PyStage>s.arg).call(s, w, b)
        except BaseException as e:
            failed(<PyStage>s.arg, e, s, w, b)
    w.at_stage = 0


cdef void end_child(str name, str what):
    """Ends a child that a function forked and let return: it has neither lcores nor packets."""
    try:
        os.write(2, f"veridnet: a child that stage {name} forked {what} instead of ending by "
                    "itself (os._exit)\n".encode())
    finally:
        os._exit(1)


cdef int failed(PyStage stage, object error, vn.vn_stage *s, vn.vn_worker *w,
                vn.vn_batch *b) except -1:
    if vn.vn_forked:
        end_child(stage.name, f"raised {type(error).__name__}")
    stage.errors.append((stage.name, error))
    try:
        if stage.lent:              # else what it returned was wrong, and the packets are back
            stage.take_back(b)
    except BaseException as e:
        stage.errors.append((stage.name, e))
    vn.vn_worker_fail(w, s, b)
    return 0


cdef class PyStage:
    """A function that gets the columns of each burst, and says what becomes of its packets.

    Parameters
    ----------
    function
        See `veridnet.Pipeline.stage`.
    name
        For errors and statistics.
    wants
        "headers": function(headers); "headers+rules": function(headers, ids); "burst":
        function(burst).
    reason
        Under which packets are dropped.
    errors
        (name, exception) of what it raised is put there.
    """

    def __cinit__(self, function, str name, *, str wants="headers", str reason="filtered",
                  list errors not None, headers=None):
        if not callable(function):
            raise ConfigError(f"a stage is a function, not {function!r}")
        if wants not in WANTS:
            raise ConfigError(f"takes={wants!r}: a stage takes {', '.join(WANTS)}")
        self.function = function
        self.name = name
        self.wants = WANTS[wants]
        self.reason = drop_code(reason)
        self.errors = errors
        self.burst = Burst(vn.VN_MAX_BURST, headers)
        self.rules = np.full(vn.VN_MAX_BURST, -1, np.int32)
        self.rule_views = {}

    def __reduce__(self):
        raise TypeError("a stage of a running pipeline cannot be pickled")

    cdef int call(self, vn.vn_stage *s, vn.vn_worker *w, vn.vn_batch *b) except -1:
        cdef Burst burst = self.burst
        cdef int32_t[::1] ids
        memcpy(burst.pkts, b.pkts, b.n * sizeof(b.pkts[0]))
        burst.n = b.n
        self.lent = True
        burst.generation += 1
        burst.sized = False
        if self.wants == HEADERS:
            result = self.function(burst.headers)
        elif self.wants == BURST:
            result = self.function(burst)
        else:
            ids = self.rules
            vn.vn_batch_rules(b, &ids[0])
            view = self.rule_views.get(b.n)
            if view is None:
                view = self.rule_views[b.n] = self.rules[:b.n]
            result = self.function(burst.headers, view)
        if vn.vn_forked:
            end_child(self.name, "returned")
        if result is not None and type(result) is dict:
            self.write(<dict>result)
            result = None
        if burst.n_views:
            raise ViewError(
                f"stage {self.name}: {burst.n_views} view(s) of the packets live on after it",
                hint="delete the views (and arrays made of them), or copy with to_bytes()")
        self.take_back(b)
        if result is not None:
            self.answer(result, s, w, b)
        return 0

    cdef int take_back(self, vn.vn_batch *b) except -1:
        """The burst's packets are the batch's again; which of them, if the function took some."""
        cdef Burst burst = self.burst
        cdef uint16_t i, k = 0
        if burst.n == b.n:
            memcpy(b.pkts, burst.pkts, b.n * sizeof(b.pkts[0]))
        else:
            for i in range(burst.n):
                while k < b.n and b.pkts[k] != burst.pkts[i]:
                    k += 1
                b.rows[i] = b.rows[k] if k < b.n else i
                b.hit[i] = b.hit[k] if k < b.n else NULL
                k += 1
            memcpy(b.pkts, burst.pkts, burst.n * sizeof(b.pkts[0]))
            b.n = burst.n
        vn.vn_batch_changed_but_rules(b)
        self.lent = False
        burst.origin = NULL
        burst.forget()
        mbuf_returned()
        return 0

    def write(self, dict columns) -> None:
        """Writes columns that the function returned."""
        headers = self.burst.headers
        for name, value in columns.items():
            setattr(headers, name, value)
        if columns:
            headers.write(*columns)

    cdef int answer(self, object result, vn.vn_stage *s, vn.vn_worker *w,
                    vn.vn_batch *b) except -1:
        """A mask or a verdict array."""
        cdef Py_buffer view
        cdef uint16_t i, n = b.n
        cdef const uint8_t *mask
        if not isinstance(result, np.ndarray):
            raise TypeError(
                f"stage {self.name} returned {type(result).__name__}; it may return None, a bool "
                "array (what goes on), an integer array of verdicts, or a dict of columns to write")
        if result.ndim != 1 or result.shape[0] != n:
            raise TypeError(f"stage {self.name} returned an array of shape {result.shape}; a row "
                            f"a packet is ({n},)")
        if result.dtype.kind == "b":
            if not result.flags.c_contiguous:
                result = np.ascontiguousarray(result)
            PyObject_GetBuffer(result, &view, PyBUF_ND)
            mask = <const uint8_t *>view.buf
            for i in range(n):
                self.keep[i] = mask[i] != 0
            PyBuffer_Release(&view)
            vn.vn_batch_keep(b, self.keep, &s.count, self.reason)
            return 0
        if result.dtype.kind not in "iu":
            raise TypeError(f"stage {self.name} returned {result.dtype}; verdicts are integers")
        self.verdicts(result)
        vn.vn_batch_verdict(b, self.verdict, &w.outs, &s.count, self.reason)
        return 0

    def verdicts(self, result) -> None:
        """Takes an array of verdicts over."""
        cdef int16_t[::1] own = <int16_t[:512]>self.verdict
        cdef const int64_t[::1] given = np.ascontiguousarray(result, np.int64)
        cdef Py_ssize_t i
        for i in range(given.shape[0]):
            if not vn.VN_VERDICT_DROP <= given[i] < vn.VN_OUT_PORTS:
                raise ValueError(f"stage {self.name}: verdict {given[i]} of packet {i} is none: a "
                                 f"port's number, PASS ({PASS}) or DROP ({DROP})")
            own[i] = <int16_t>given[i]
