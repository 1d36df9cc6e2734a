"""The flow-rule table: `FlowTable`."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from veridnet._native.actions import ActionProgram
from veridnet._native.burst import Burst
from veridnet._native.ruletable import ENGINES, RuleTable
from veridnet.eal import eal_runs
from veridnet.errors import ClosedError, ConfigError, PoolError, StateError, VeridnetError
from veridnet.headers.columns import Columns, HeaderTable
from veridnet.rules import actions, memory
from veridnet.rules.ageing import Expired, overdue
from veridnet.rules.boxes import boxes
from veridnet.rules.compile import Cache, Programs
from veridnet.rules.fill import plain_column
from veridnet.rules.keeper import Keeper
from veridnet.rules.lock import OwnLock
from veridnet.rules.reload import make_it
from veridnet.rules.rule import Rule, RuleSet, tree
from veridnet.rules.runner import Runner
from veridnet.rules.transaction import Entry, Transaction

if TYPE_CHECKING:
    import pandas

    from veridnet.rules.conflicts import Conflict
    from veridnet.rules.explain import Explanation
    from veridnet.rules.offload import Entry as FlowEntry
    from veridnet.rules.offload import Offloaded
    from veridnet.runtime import Port

#: What `FlowTable.stats` gives of each rule.
STATS = np.dtype(
    [("id", np.int32), ("priority", np.uint32), ("name", object), ("packets", np.uint64),
     ("bytes", np.uint64)]
)  # fmt: skip

T = TypeVar("T")


class FlowTable:
    """Rules of match, priority and actions; which wins for each packet, while rules change.

    Parameters
    ----------
    rules
        Rules to begin with; their ids count from 0.
    default
        Actions of packets that no rule matches; (): they go as if there were no table.
    sets
        Named sets for ``@name`` in matches: name -> members.
    meters
        Named meters for ``meter NAME``: name -> parameters.
    ports
        Names of the ports that actions send to, in order. Not given: they become known by the
        first `apply`, or by the forwarder that gets the table.
    engine
        What looks rules up: "auto" (rte_hash where all rules are exact values, rte_fib where they
        are prefixes of an address, rte_acl for the rest; "tuple" while no Runtime was opened),
        "acl", "hash", "fib" (where it fits, else "acl"), or "tuple" (tuple space search: slower,
        needs no DPDK memory, and updates never rebuild).
    merge
        "auto": a thread builds a new base when enough has changed. "manual": `compile` does.
    max_memory
        Bytes that building engines may take, at most. Not given: 16 KiB a rule, at least 256 MiB,
        but never more than half of the memory that is available.

    The larger priority wins; among equals the rule that was added earlier (`replace` keeps its
    place). Any thread may change the table and any may look; readers never wait and see every
    change or transaction whole. Counters are per rule: they count what `apply` and forwarders
    did, and survive every change of other rules.
    """

    def __init__(
        self,
        rules: Iterable[Rule] = (),
        *,
        default: Sequence[str] = (),
        sets: Mapping[str, tuple[str, ...]] | None = None,
        meters: Mapping[str, Mapping[str, Any]] | None = None,
        ports: Sequence[str] | None = None,
        engine: str = "auto",
        merge: str = "auto",
        max_memory: int | None = None,
    ) -> None:
        if engine not in ENGINES:
            raise ConfigError(f"engine={engine!r}: {', '.join(ENGINES)}")
        if merge not in ("auto", "manual"):
            raise ConfigError(f"merge={merge!r}: auto or manual")
        if max_memory is not None and max_memory < 1 << 20:
            raise ConfigError(f"max_memory={max_memory}: at least 1048576 bytes")
        self.engine = engine
        self.max_memory = max_memory
        self.problems: list[str] = []
        self.on_expire: Callable[[Expired], None] | None = None
        self._native = RuleTable()
        self._lock = OwnLock()
        self._entries: dict[int, Entry] = {}
        self._places = 0
        self._reading_bytes = 0  # rules that do
        self._sets = dict(sets or {})
        self._meters = dict(meters or {})
        self._default = tuple(default)
        self._matches = Cache(self._sets)
        self._programs = Programs(self._meters, self._default)
        self._open: Transaction | None = None
        self._closed = False
        self._timed: dict[int, tuple[int, float]] = {}  # id -> packets, and when they were new
        self._keeper = Keeper(weakref.ref(self), automatic=merge == "auto")
        self._runners = threading.local()
        self._offloads: list[Offloaded] = []
        if ports is not None:
            self.bind(ports)
        if rules := list(rules):
            self.add_rules(rules)

    # -- files ----------------------------------------------------------------------------------

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], format: str | None = None, **options: Any
    ) -> FlowTable:
        """A table of a file's rules: their ids count from 0, in its order.

        Parameters
        ----------
        path
            The file.
        format
            "toml", "testpmd" or "classbench"; None: as its name and contents say.
        options
            As for `FlowTable`.

        ConfigError says which rule is wrong, and where.
        """
        from veridnet.rules import formats

        return cls._of(formats.load(path, format), f"{os.fspath(path)}: ", options)

    @classmethod
    def of(cls, rules: RuleSet, **options: Any) -> FlowTable:
        """A table of a `RuleSet`: its rules' ids count from 0. Options: as for `FlowTable`."""
        return cls._of(rules, "", options)

    @classmethod
    def _of(cls, rules: RuleSet, prefix: str, options: dict[str, Any]) -> FlowTable:
        table = cls(default=rules.default, sets=rules.sets, meters=rules.meters, **options)
        try:
            table._try(rules, prefix)
            table.add_rules(rules.rules)
        except BaseException:
            table.close()
            raise
        return table

    def _try(self, rules: RuleSet, prefix: str = "") -> None:
        """Compiles all rules; ConfigError says which is wrong."""
        for number, rule in enumerate(rules.rules):
            try:
                self._matches(rule.match)
                self._compile(rule)
            except ConfigError as e:
                raise ConfigError(f"{prefix}{rules.label(number)}: {e}", hint=e.hint) from None

    def reload(self, path: str | os.PathLike[str], format: str | None = None) -> dict[str, int]:
        """Makes the table what a file says, in one step for its readers.

        Rules that are as they were (same name, match, priority, actions, timeouts) keep their ids,
        counters and age, also where their place in the file, or a set or a meter that they name,
        has changed. Meters that are as they were go on with what they have measured. Returns how
        many were ``kept``, ``added`` and ``removed``. On an error the table stays as it is.
        """
        from veridnet.rules import formats

        given = formats.load(path, format)
        with self._lock:
            self._check()
            before = (self._sets, self._meters, self._default, self._matches, self._programs)
            try:
                return make_it(self, given)
            except BaseException as e:
                (self._sets, self._meters, self._default, self._matches, self._programs) = before
                if isinstance(e, ConfigError):
                    raise ConfigError(f"{os.fspath(path)}: {e}", hint=e.hint) from None
                raise

    # -- changing -------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Changes that readers see all at once: ``with table.transaction() as t: t.add(...)``.

        The table's own methods may be used in the block, too. An exception in it undoes all.
        Other threads that change the table wait meanwhile.
        """
        with self._lock:
            self._check()
            if self._open is not None:
                raise StateError("a transaction is open already")
            change = Transaction(self)
            try:
                self._open = change
                yield change
                change.commit()
            except BaseException:
                change.roll_back()
                raise
            finally:
                self._open = None
                change.ended = True

    def _change(self, step: Callable[[Transaction], T]) -> T:
        """One change: in the transaction that is open, or in one of its own."""
        with self._lock:  # (plainly, not by transaction(): this is what many small updates cost)
            if self._open is not None:
                return step(self._open)
            self._check()
            change = Transaction(self)
            try:
                self._open = change
                result = step(change)
                change.commit()
                return result
            except BaseException:
                change.roll_back()
                raise
            finally:
                self._open = None
                change.ended = True

    def add(self, match: str | Rule = "", actions: Sequence[str] = (), **options: Any) -> int:
        """Adds a rule; returns its id.

        Parameters
        ----------
        match
            A match expression ("" matches all), or a whole `Rule`.
        actions
            Action texts, in order.
        options
            ``priority``, ``name``, ``idle_timeout``, ``hard_timeout``: see `Rule`.

        ConfigError says what is wrong with it. Readers see it when this returns.
        """
        return self._change(lambda change: change.add(match, actions, **options))

    def add_rules(self, rules: Iterable[Rule]) -> list[int]:
        """Adds rules in one step; returns their ids."""
        return self._change(lambda change: change.add_rules(rules))

    def remove(self, id: int) -> None:
        """Removes a rule. KeyError if there is none of that id."""
        self._change(lambda change: change.remove(id))

    def remove_rules(self, ids: Iterable[int]) -> None:
        """Removes rules in one step."""
        self.update(remove=ids)

    def replace(self, id: int, **changes: Any) -> None:
        """Changes a rule in one step: ``table.replace(3, actions=["drop"])``.

        It keeps its id, its counters, and its place among equals.
        """
        self._change(lambda change: change.replace(id, **changes))

    def update(self, add: Iterable[Rule] = (), remove: Iterable[int] = ()) -> list[int]:
        """Removes and adds rules in one step; returns the ids of the added ones."""

        def step(change: Transaction) -> list[int]:
            for id in remove:
                change.remove(id)
            return change.add_rules(add)

        return self._change(step)

    def _compile(self, rule: Rule) -> ActionProgram | None:
        return self._programs(rule.actions)

    def _changed(self, change: Transaction) -> None:
        for id, old in change.gone.items():
            new = change.now.get(id)
            if new is None or new.added != old.added:
                self._timed.pop(id, None)
        for id, entry in change.now.items():
            if entry.rule.idle_timeout or entry.rule.hard_timeout:
                self._timed.setdefault(id, (-1, entry.added))
        self._keeper.wake(bool(self._timed))

    # -- actions --------------------------------------------------------------------------------

    def bind(self, ports: Sequence[str]) -> None:
        """Tells the names of the ports that actions send to, in order. ConfigError if one lacks.

        A table is bound once; again to the same names does nothing.
        """
        names = [str(name) for name in ports]
        with self._lock:
            self._check()
            if self._programs.ports == names:
                return
            if self._programs.ports is not None:
                raise ConfigError(
                    f"the rules' ports are {', '.join(self._programs.ports)}; "
                    f"they cannot become {', '.join(names)}",
                    hint="use one table for each set of ports",
                )
            bound = Programs(self._meters, self._default, names, native=self._programs.native)
            with self.transaction() as change:
                change.default = (bound.default,)
                change.gone = dict(self._entries)
                change.now = {
                    e.id: replace(e, owner=bound(e.rule.actions)) for e in self._entries.values()
                }
            self._programs = bound

    def require_native(self) -> None:
        """Refuses actions that need Python from now on: forwarders' loops run without."""
        with self._lock:
            programs = [e.owner for e in self._entries.values() if e.owner is not None]
            default = self._programs.default
            actions.check_native([*programs, *([default] if default is not None else [])])
            self._programs.native = True

    def apply(self, burst: Burst, ports: Sequence[Port] = (), *, policy: str = "retry") -> Burst:
        """Does to each packet of a burst what its rule says; returns the burst with what is left.

        Parameters
        ----------
        burst
            The packets. Those that no action ends (no rule, or one without forward or drop) stay,
            in order.
        ports
            Where rules send: by their place here, or by name.
        policy
            Of packets that a port does not take: "retry" (for a bounded time) or "drop".

        Packets and bytes of each hit are counted. Each thread may call it, with a burst of its
        own. ViewError, before anything is done, while views of the packets live.
        """
        key = (*map(id, ports), policy)
        runners: dict[Any, Runner] = self._runners.__dict__
        runner = runners.get(key)
        if runner is None:
            self.bind([port.name for port in ports])
            runner = runners[key] = Runner(self._native, ports, policy)
        return runner.run(burst)

    @property
    def native(self) -> RuleTable:
        """The native table, as forwarders take it."""
        self._check()
        return self._native

    def offload(self, port: Port, **options: Any) -> Offloaded:
        """Puts into a port what it takes of the rules: see `veridnet.rules.offload.offload`."""
        from veridnet.rules.offload import offload

        with self._lock:
            self._check()
            made = offload(self, port, **options)
            self._offloads.append(made)
            return made

    def entries(self) -> list[FlowEntry]:
        """The rules as `veridnet.rules.offload` sees them."""
        with self._lock:
            there = sorted(self._entries.values(), key=lambda e: (-e.rule.priority, e.place))
            return [self._flow(e) for e in there]

    def _flow(self, e: Entry) -> FlowEntry:
        from veridnet.rules.offload import Entry as Flow

        found = boxes(tree(e.rule.match, self._sets))
        return Flow(e.id, e.rule.priority, e.place, None if found is None else tuple(found),
                    e.rule.actions, e.rule.idle_timeout)  # fmt: skip

    @contextmanager
    def _offloads_follow(self, change: Transaction) -> Iterator[None]:
        """What ports hold is right before the change that the block makes, and after it."""
        active = [off for off in self._offloads if not off.released]
        if active:
            changes: dict[int, FlowEntry | None] = dict.fromkeys(change.gone)
            changes |= {id: self._flow(e) for id, e in change.now.items()}
        asked = []
        try:
            for off in active:
                asked.append(off)
                off.prepare(changes)
            yield
        except BaseException:
            for off in asked:
                off.cancel()
            raise
        for off in active:
            try:
                off.finish()
            except VeridnetError as e:  # software does without
                self.problems.append(f"offload: {e}")
        for off in self._offloads:
            for id in change.gone:
                if id not in change.now:
                    off.forget(id)

    # -- looking --------------------------------------------------------------------------------

    def classify(self, packets: Burst | Columns | HeaderTable) -> NDArray[np.int32]:
        """The id of the rule that wins for each packet: int32 of shape (packets,), -1 for none.

        For a burst, or its headers, the array is the burst's: valid as long as its columns, and
        overwritten when it is classified again. For a `HeaderTable` it is a new one; columns of
        plain packets that it lacks (no tags, no fragments, ...) are assumed, and a ConfigError
        names what is missing.
        """
        if isinstance(packets, Burst):
            packets = packets.headers
        if isinstance(packets, HeaderTable):
            columns, rows = packets._columns, len(packets)
            if self._reading_bytes:
                raise ConfigError("a rule reads bytes that no column has: classify bursts")
            found: NDArray[np.int32] = self._native.classify_arrays(
                columns, rows, lambda name: plain_column(name, columns, rows)
            )
            return found
        if not isinstance(packets, Columns):
            raise TypeError(
                f"classify takes a burst, its headers, or a table of columns "
                f"(Headers.from_arrays), not {type(packets).__name__}"
            )
        if packets.depth and self._reading_bytes:
            raise ConfigError("a rule reads bytes of the packet, and these are of one inside it")
        return self._native.classify(packets)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, id: int) -> Rule:
        """A rule by its id; KeyError if there is none."""
        return self._entries[id].rule

    def __contains__(self, id: object) -> bool:
        return id in self._entries

    def rules(self) -> list[tuple[int, Rule]]:
        """(id, rule) of all, in the order in which they win."""
        with self._lock:
            entries = sorted(self._entries.values(), key=lambda e: (-e.rule.priority, e.place))
        return [(e.id, e.rule) for e in entries]

    def find(self, name: str) -> int:
        """The id of the first rule of a name; KeyError if there is none."""
        for id, rule in self.rules():
            if rule.name == name:
                return id
        raise KeyError(f"there is no rule named {name!r}")

    def ruleset(self) -> RuleSet:
        """All rules, in the order in which they were added, as a file holds them."""
        with self._lock:
            entries = sorted(self._entries.values(), key=lambda e: e.place)
        return RuleSet(tuple(e.rule for e in entries), self._default, self._sets, self._meters)

    def stats(self) -> NDArray[np.void]:
        """Packets and bytes of each rule, by id: a structured array of `STATS`.

        With those that ports dropped by themselves (`offload`).
        """
        with self._lock:
            self._check()
            entries = [self._entries[id] for id in sorted(self._entries)]
            ids = [e.id for e in entries]
            counts = self._native.counts(ids)
            for off in self._offloads:
                dropped = off.counters()
                for row, id in enumerate(ids):
                    if id in dropped:
                        counts[row] += np.array(dropped[id], np.uint64)
        out = np.zeros(len(ids), STATS)
        out["id"] = ids
        out["priority"] = [e.rule.priority for e in entries]
        out["name"] = [e.rule.name for e in entries]
        out["packets"] = counts[:, 0]
        out["bytes"] = counts[:, 1]
        return out

    def to_pandas(self) -> pandas.DataFrame:
        """The rules and their counters as a DataFrame, by id. Needs pandas."""
        from veridnet.headers import interop

        pandas = interop.need("pandas", "pandas")
        with self._lock:
            frame = pandas.DataFrame.from_records(self.stats(), index="id")
            frame.insert(2, "match", [self._entries[id].rule.match for id in frame.index])
        return frame

    def info(self) -> dict[str, Any]:
        """How the table is made up: engines, boxes, the delta, what waits to be freed."""
        return self._native.info()

    def explain(self, packet: Any, *, in_port: int = 0) -> Explanation:
        """Which rules match a packet, which wins, and why: see `veridnet.rules.explain`."""
        from veridnet.rules.explain import explain

        with self._lock:
            rules, sets, default = self.rules(), self._sets, self._default
        return explain(rules, packet, in_port=in_port, sets=sets, default=default)

    def conflicts(self) -> list[Conflict]:
        """Rules that others hide: see `veridnet.rules.conflicts`."""
        from veridnet.rules.conflicts import conflicts

        with self._lock:
            rules, sets = self.rules(), self._sets
        return conflicts(rules, sets=sets)

    # -- engines --------------------------------------------------------------------------------

    def compile(self) -> None:
        """Builds the engines for all rules now, if any has changed since they were built.

        Lookups and changes go on meanwhile. Takes seconds for tens of thousands of rules.
        PoolError: they do not fit the memory allowed.
        """
        self._check()
        if self._keeper.due(self):
            self._keeper.merge_now()

    @property
    def merging(self) -> bool:
        """Does a thread build new engines by itself? May be set: False waits for its last merge."""
        return self._keeper.automatic

    @merging.setter
    def merging(self, value: bool) -> None:
        with self._lock:
            self._check()
            self._keeper.automatic = bool(value)
            self._keeper.wake(bool(self._timed))
        if not value:
            self._keeper.pause()

    def settle(self, seconds: float = 60.0) -> bool:
        """Waits until the merges that are due have ended; False: not in that time."""
        return self._keeper.settle(seconds)

    def wait(self, seconds: float = 1.0) -> bool:
        """Waits until all readers see what was changed; False: not in that time."""
        return bool(self._native.wait(seconds))

    def _merge(self) -> None:
        limit = self.max_memory or memory.build_limit(len(self))
        try:
            self._native.merge(self._engine_now(), limit)
        except PoolError as e:
            raise PoolError(
                f"{len(self):,} rules, at most {limit >> 20:,} MiB: {e}",
                hint='FlowTable(max_memory=...), or engine="tuple", which builds nothing',
            ) from None

    def _merge_middle(self, born: int | None, least: int, share: int) -> None:
        limit = (self.max_memory or memory.build_limit(len(self))) // share
        self._native.merge(self._engine_now(), limit, level="middle", born=born, least=least)

    def _engine_now(self) -> str:
        return self.engine if eal_runs() else "tuple"

    def expire(self, now: float | None = None) -> list[Expired]:
        """Removes the rules whose timeouts have passed (by `time.monotonic`), and returns them.

        A thread calls it by itself, ten times a second; then each goes to ``on_expire``. What that
        raises is raised when it has got them all. StateError in a transaction.
        """
        with self._lock:
            self._check()
            if self._open is not None:
                raise StateError("a transaction is open: rules cannot expire in it")
            out = overdue(self, time.monotonic() if now is None else now)
            if out:
                self.remove_rules(e.id for e in out)
        failed: BaseException | None = None
        for expired in out:
            if self.on_expire is not None:
                try:
                    self.on_expire(expired)
                except BaseException as e:
                    failed = failed or e
        if failed is not None:
            raise failed
        return out

    # -- life -----------------------------------------------------------------------------------

    def _check(self) -> None:
        self._lock.check()
        if self._closed:
            raise ClosedError("the rule table was closed")

    def close(self) -> None:
        """Frees the table, when a merge that is under way has ended.

        StateError while a forwarder, another thread that looks, or a transaction uses it: the table
        then goes on. May be called twice.
        """
        if self._closed:
            return
        if self._lock.forked:  # the parent's, who may have been changing it
            self._closed = True
            return
        if self._open is not None:
            raise StateError("a transaction is open: the table cannot be closed in it")
        with self._keeper.still(), self._lock:  # no merge nor change is under way, and none begins
            if self._closed:
                return
            self._runners = threading.local()  # with them go the readers that they have
            self._native.empty()
            for off in self._offloads:
                off.release()
            self._entries.clear()
            self._closed = True
        self._keeper.stop()  # without the lock, for which it may wait

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._closed:
            return "<FlowTable, closed>"
        engines = self.info()["engines"] or "tuple"
        return f"<FlowTable of {len(self)} rules, {engines}>"
