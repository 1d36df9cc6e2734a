"""What threads, lcores and processes share: rings, stacks and published arrays."""

from __future__ import annotations

import ast
import itertools
import os
import re
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from veridnet import processes
from veridnet._native import rcu as native_rcu
from veridnet._native import ring as native_ring
from veridnet._native import stack as native_stack
from veridnet._native.named import Named
from veridnet.eal import memory_available
from veridnet.errors import ClosedError, ConfigError, PoolError, StateError
from veridnet.runtime import Runtime, current

__all__ = ["Rcu", "Ring", "Stack"]

NAME = re.compile(r"[A-Za-z0-9_.-]{1,20}")
SIZE_MAX = 1 << 30

_serial = itertools.count()
_named: weakref.WeakValueDictionary[tuple[str, str], Any] = weakref.WeakValueDictionary()


def runtime() -> Runtime:
    """The open runtime: what it owns lies in its memory."""
    if (rt := current()) is None:
        raise ClosedError("no runtime is open", hint="use it inside `with veridnet.Runtime():`")
    return rt


def check_size(size: object, power: bool) -> int:
    """A number of elements."""
    if isinstance(size, bool) or not hasattr(size, "__index__"):
        raise ConfigError(f"size={size!r}: must be a whole number")
    n: int = size.__index__()
    if not 1 <= n <= SIZE_MAX:
        raise ConfigError(f"size={n}: must be from 1 to {SIZE_MAX}")
    if power and (n < 2 or n & (n - 1)):
        up = max(2, 1 << n.bit_length())
        raise ConfigError(
            f"size={n}: must be a power of 2 from 2 (and holds one element less)",
            hint=f"exact=True for {n} elements, or size={up}",
        )
    return n


def element_type(dtype: object) -> np.dtype[Any] | None:
    """A ring's dtype; None for mbufs."""
    if dtype is None or (isinstance(dtype, str) and dtype == "mbuf"):
        return None
    try:
        found: np.dtype[Any] = np.dtype(dtype)  # type: ignore[call-overload]
    except TypeError as e:
        raise ConfigError(f"dtype={dtype!r}: {e}") from None
    if found.hasobject or found.subdtype:
        raise ConfigError(f"dtype={dtype!r}: numbers or records of them, no objects or subarrays")
    if found.itemsize % 4 or not 4 <= found.itemsize <= 65536:
        raise ConfigError(
            f"dtype={dtype!r} has {found.itemsize} bytes: rte_ring takes multiples of 4, to 65536"
        )
    return found


def dtype_text(dtype: np.dtype[Any] | None) -> str:
    """A dtype as text that another process reads."""
    return "" if dtype is None else repr(np.lib.format.dtype_to_descr(dtype))


def room(rt: Runtime, what: str, size: int) -> int:
    """The socket on which so many bytes are to be had."""
    if size > memory_available():
        raise PoolError(f"{what} needs {size >> 20:,} MiB, {memory_available() >> 20:,} are there")
    return rt.reserve(size)


def claim(rt: Runtime, kind: str, name: str | None, about: str, esize: int) -> Named | None:
    """The place of a name that other processes find; None where there are none."""
    if name is None:
        return None
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ConfigError(f"name={name!r}: 1 to 20 of A-Z a-z 0-9 _ . -")
    other = _named.get((kind, name))
    if other is not None and not other.closed:
        raise ConfigError(f"there is already a {kind} named {name!r}")
    return Named.claim(kind, name, about, esize, processes.identity()) if rt.group else None


def find(
    cls: type[Any], kind: str, name: str, timeout: float | None, make: Callable[[Named], Any]
) -> Any:
    """The object of a name: this process's own, or attached to another's."""
    rt = runtime()
    end = time.monotonic() + native_ring.seconds_of(timeout)
    while True:
        known = _named.get((kind, name))
        if known is not None and not known.closed:
            if not isinstance(known, cls):
                raise ConfigError(f"{name!r} is a {type(known).__name__}")
            return known
        named = Named.find(kind, name, processes.identity()) if rt.group else None
        if named is not None:
            made = make(named)
            _named[kind, name] = made
            return made
        if time.monotonic() >= end:
            raise ConfigError(
                f"there is no {kind} named {name!r}",
                hint=f"the process that makes it: {cls.__name__}(..., name={name!r}), in a Runtime "
                "with shared= or attach=",
            )
        time.sleep(0.01)


def own_name(name: str | None, kind: str) -> str:
    """A name for DPDK, which no other object of any process has."""
    return (
        f"vn_{kind}{os.getpid()}_{next(_serial)}"
        if name is None
        else f"vn_{name[:16]}_{os.getpid() % 10000}"
    )


class Ring(native_ring.Ring):
    """A lock-free queue between threads, lcores and processes (rte_ring).

    Parameters
    ----------
    size
        A power of 2; the ring holds one element less (DPDK's way). With ``exact``, any number, and
        it holds as many.
    name
        By which other processes find it (`attach`), where the runtime is shared.
    mode
        Who may use it at once: "mpmc" many producers and consumers, "spsc" one of each, "spmc",
        "mpsc"; "rts" and "hts" as "mpmc", for threads that are preempted (DPDK Programmer's Guide,
        "Ring Library"). The ring does not find out whether you keep to it.
    dtype
        None or "mbuf": packets. Else what an element is: np.uint64, np.uint32, a record dtype; a
        multiple of 4 bytes.
    exact
        See `size`.
    socket
        NUMA node of its memory; where the runtime's pools are if not given.

    `put` and `get` are DPDK's *burst* calls: as many elements as fit (are there), from the front
    of what is given, and they return how many. With ``bulk=True`` all or nothing. ``timeout=``
    waits (seconds; None for ever, 0 not at all): a put until all are in, a get until there is at
    least one, with bulk until there are all. A wait that ends returns what was moved.

    Packets: ``ring.put(burst)`` moves packets out of a `Burst` (those that do not fit stay in it),
    ``ring.get(burst)`` appends to one; ``n`` limits both. A ring owns its packets:
    `Runtime.balance` counts them as held, closing frees them as drops "closed". With a name in a
    shared runtime, what is put is handed over (``handed_out``), and what is got comes in
    (``handed_in``), in whichever process that is.

    Values: ``ring.put(array)`` (a number, a sequence or an array, copied in), ``ring.get(n)``
    returns a new array of up to n, ``ring.get(out)`` fills one and returns how many.
    ``with ring.reserve(n) as (a, b)`` and ``with ring.peek(n) as (a, b)`` are zero-copy, in modes
    with one producer (consumer) or "hts": the n elements in place, as two arrays, the second not
    empty where the ring's end lies between them; both empty if there is no room. They are put
    (got) at the end of the block, none of them if it raises, the first k after ``finish(k)``. The
    arrays are read-only after it; an array or view made of them that lives on raises ViewError,
    nothing is put, and that end of the ring stays reserved until it is gone.

    ``len(ring)``, ``free``, ``capacity``, ``full``, ``empty`` are a moment's, if others use it.
    """

    def __init__(
        self, size: int, *, name: str | None = None, mode: str = "mpmc", dtype: object = None,
        exact: bool = False, socket: int | None = None,
    ) -> None:  # fmt: skip
        n = check_size(size, not exact)
        if mode not in native_ring.MODES:
            raise ConfigError(f"mode={mode!r}: must be one of {', '.join(native_ring.MODES)}")
        element = element_type(dtype)
        rt = runtime()
        esize = 8 if element is None else element.itemsize
        slots = 1 << n.bit_length() if exact else n
        need = slots * esize + (1 << 16)
        at = room(rt, f"a ring of {n} elements", need)
        named = claim(rt, "ring", name, f"{mode}|{dtype_text(element)}", esize)
        super().__init__(
            n, mode=mode, dtype=element, exact=exact, socket=at if socket is None else socket,
            name=own_name(name, "ring"), named=named,
        )  # fmt: skip
        if name is not None:
            _named["ring", name] = self

    @classmethod
    def attach(cls, name: str, *, dtype: object = "any", timeout: float | None = 0.0) -> Self:
        """The ring of that name, which another process has made (or this one).

        ``dtype`` given, it must be that; ``timeout`` waits for the ring to appear. ConfigError if
        there is none.
        """

        def make(named: Named) -> Any:
            mode, _, text = named.about.partition("|")
            element = np.lib.format.descr_to_dtype(ast.literal_eval(text)) if text else None
            self = cls.__new__(cls)
            native_ring.Ring.__init__(self, mode=mode, dtype=element, name=name, named=named)
            return self

        ring: Self = find(cls, "ring", name, timeout, make)
        if dtype != "any" and element_type(dtype) != ring.dtype:
            what = "packets" if ring.dtype is None else ring.dtype
            raise ConfigError(f"ring {name!r} is of {what}, not of {dtype}")
        return ring


class Stack(native_stack.Stack):
    """A last-in, first-out list of numbers between threads, lcores and processes (rte_stack).

    Parameters
    ----------
    size
        The most elements that it holds.
    name
        By which other processes find it (`attach`), where the runtime is shared.
    lock_free
        False: with a spinlock, which is faster alone and which a killed process keeps for ever.

    Elements are from 0 to 2**64 - 1. `push` and `pop` move all or nothing.
    """

    def __init__(
        self, size: int, *, name: str | None = None, lock_free: bool = True,
        socket: int | None = None,
    ) -> None:  # fmt: skip
        n = check_size(size, False)
        rt = runtime()
        at = room(rt, f"a stack of {n} elements", n * 24 + (1 << 18))
        named = claim(rt, "stack", name, "lf" if lock_free else "std", 8)
        super().__init__(
            n, lock_free=lock_free, socket=at if socket is None else socket,
            name=own_name(name, "stk"), named=named,
        )  # fmt: skip
        if name is not None:
            _named["stack", name] = self

    @classmethod
    def attach(cls, name: str, *, timeout: float | None = 0.0) -> Self:
        """The stack of that name, which another process has made (or this one)."""

        def make(named: Named) -> Any:
            self = cls.__new__(cls)
            native_stack.Stack.__init__(self, lock_free=named.about == "lf", name=name, named=named)
            return self

        found: Self = find(cls, "stack", name, timeout, make)
        return found


class Rcu(native_rcu.Rcu):
    """An array that one publishes, whole, and others read without waiting (rte_rcu_qsbr).

    Parameters
    ----------
    value
        The first version: an array of any shape, of numbers or records. It is copied.
    name
        By which other processes find it (`attach`), where the runtime is shared.
    readers
        The most threads, over all processes, that have read and live.

    >>> limits = vn.Rcu(np.array([10, 20]))                             # doctest: +SKIP
    >>> with limits.read() as now:                                      # in any thread
    ...     use(now)
    >>> limits.publish(np.array([11, 22]))                              # when it returns, no reader
    ...                                                                 # stands on the old one

    A reader sees one version to the end of its block, whatever is published meanwhile, and never
    waits. The array may be kept beyond it: a snapshot, which keeps its memory. Only the process
    that made it publishes; its dtype stays, the shape may change.
    """

    def __init__(self, value: object, *, name: str | None = None, readers: int = 64) -> None:
        array = np.asarray(value)
        if array.dtype.hasobject:
            raise ConfigError(f"an array of {array.dtype}: numbers or records, no objects")
        rt = runtime()
        named = claim(rt, "rcu", name, dtype_text(array.dtype), array.dtype.itemsize)
        super().__init__(
            dtype=array.dtype, readers=readers, name=name or f"rcu{next(_serial)}", named=named,
            process=processes.identity(),
        )  # fmt: skip
        self._here = threading.local()
        self._writing = threading.Lock()
        self.show(np.ascontiguousarray(array).reshape(array.shape))
        if name is not None:
            _named["rcu", name] = self

    @classmethod
    def attach(cls, name: str, *, timeout: float | None = 0.0) -> Self:
        """The Rcu of that name, which another process has made (or this one), to read."""

        def make(named: Named) -> Any:
            self = cls.__new__(cls)
            native_rcu.Rcu.__init__(
                self, dtype=np.lib.format.descr_to_dtype(ast.literal_eval(named.about)),
                name=name, named=named, process=processes.identity(),
            )  # fmt: skip
            self._here = threading.local()
            self._writing = threading.Lock()
            return self

        found: Self = find(cls, "rcu", name, timeout, make)
        return found

    def publish(self, value: object, *, wait: bool = True, timeout: float | None = 10.0) -> None:
        """Makes `value` (copied) what readers see from now on.

        Returns when no reader stands on the version before; with ``wait=False`` at once, and that
        version's memory is freed by a later publish. After ``timeout`` seconds (None: never)
        StateError names the readers that still stand there: the new version is published all the
        same, and the old one stays until they leave, or are forgotten (`forget`).
        """
        array = np.asarray(value)
        if array.dtype != self.dtype:
            if not np.can_cast(array.dtype, self.dtype, "same_kind"):
                raise TypeError(f"the Rcu is of {self.dtype}, not {array.dtype}")
            array = array.astype(self.dtype)
        native_ring.seconds_of(timeout)
        reader = getattr(self._here, "reader", None)
        if wait and reader is not None and reader.depth:
            raise StateError("publish inside this thread's own read would wait for itself",
                             hint="leave the read first, or wait=False")  # fmt: skip
        with self._writing:
            token = self.show(np.ascontiguousarray(array).reshape(array.shape))
        began = time.monotonic()
        if not wait or self.wait(token, timeout):
            return
        late = self.behind(token)
        if not late:
            return
        names = "; ".join(self._who(r) for r in late)
        raise StateError(
            f"{len(late)} reader(s) have not left their read for {time.monotonic() - began:.1f} s: "
            f"{names}",
            hint="the value is published; rcu.forget(n) takes out a reader that has ended"
            if any(not r["alive"] for r in late)
            else "the value is published; let them leave, or wait=False",
        )

    def _who(self, r: dict[str, Any]) -> str:
        where = "" if r["process"] == os.getpid() else f" of process {r['process']}"
        return f"reader {r['reader']}, thread {r['name']!r} ({r['thread']}){where}" + (
            "" if r["alive"] else ", which has ended"
        )

    def read(self) -> native_rcu.Reader:
        """``with rcu.read() as array``: the current version, read-only; never waits.

        The thread becomes a reader with its first call, and ceases to be with its end.
        """
        reader: native_rcu.Reader | None = getattr(self._here, "reader", None)
        if reader is None:
            reader = self._here.reader = native_rcu.Reader(self)
        return reader

    @property
    def value(self) -> np.ndarray[Any, Any]:
        """The current version: a snapshot, read-only."""
        with self.read() as array:
            return array
