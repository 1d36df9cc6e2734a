"""A rule table in hands that slip: closed by many threads, forked, interrupted, used too late."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from forwarding import forwarder
from threaded import together

import veridnet as vn

RULES = [vn.Rule(f"l4_dst == {k}") for k in range(200)]


def test_closed_by_several_threads_while_in_use() -> None:
    """No closing that fails leaves a second keeper behind, nor a table that cannot be closed."""
    before = threading.active_count()
    for _ in range(5):
        table = vn.FlowTable(RULES)
        reader = table.native.lend_reader()
        errors = together(*[table.close] * 4, table.compile)
        assert [type(e) for e in errors] == [vn.StateError] * 4
        assert threading.active_count() <= before + 1
        table.add("l4_dst == 999")
        table.native.give_reader(reader)
        assert together(*[table.close] * 4) == []
        assert threading.active_count() == before


def test_closed_while_others_look_and_merge() -> None:
    headers = vn.Headers.from_arrays(l4_dst=np.arange(4096, dtype=np.uint16))

    def until_closed(body: Callable[[vn.FlowTable], Any]) -> Callable[[], None]:
        def run() -> None:
            while not table._closed:
                body(table)
                time.sleep(0.001)

        return run

    def close() -> None:
        time.sleep(0.02)
        while not table._closed:
            try:
                table.close()
            except vn.StateError:
                time.sleep(0)

    for _ in range(5):
        table = vn.FlowTable(RULES)
        errors = together(
            until_closed(lambda t: t.classify(headers)), until_closed(lambda t: t.wait(0.1)),
            until_closed(lambda t: t.update(RULES[:3], list(t._entries)[:3])),
            until_closed(lambda t: t.compile()), close, close,
        )  # fmt: skip
        assert {type(e) for e in errors} <= {vn.ClosedError}, errors


def test_a_frame_of_a_table_that_changes() -> None:
    pytest.importorskip("pandas")
    table = vn.FlowTable(RULES, merge="manual")
    counts = table.stats

    def slow() -> Any:
        out = counts()
        time.sleep(0.05)
        return out

    table.stats = slow  # type: ignore[method-assign]
    assert together(lambda: (time.sleep(0.02), table.remove(1)), table.to_pandas) == []
    table.close()


FORKED = """
    import os, sys, threading, time, warnings
    import veridnet as vn
    warnings.simplefilter("ignore")  # Python 3.12 on: fork with threads running
    table = vn.FlowTable([vn.Rule("l4_dst == 1")])
    held, go = threading.Event(), threading.Event()

    def hold():
        with table.transaction() as t:
            t.add("l4_dst == 2")
            held.set()
            go.wait()

    def child():
        uses = {"add": lambda: table.add(""), "remove": lambda: table.remove(0),
                "rules": table.rules, "stats": table.stats, "compile": table.compile,
                "expire": table.expire, "explain": lambda: table.explain({}),
                "transaction": lambda: table.transaction().__enter__(),
                "apply": lambda: table.apply(vn.Burst(1))}
        for name, use in uses.items():
            try:
                use()
            except vn.ForkedError:
                pass
            else:
                raise AssertionError(name)
        table.close()
        table.close()
        with vn.FlowTable([vn.Rule("")]) as own:
            assert len(own.rules()) == 1

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    if (pid := os.fork()) == 0:
        try:
            child()
            os._exit(0)
        finally:
            os._exit(1)
    until = time.monotonic() + 10
    while (done := os.waitpid(pid, os.WNOHANG))[0] == 0 and time.monotonic() < until:
        time.sleep(0.01)
    go.set()
    thread.join()
    if done[0] == 0:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    table.close()
    print("well" if done == (pid, 0) else done)
"""


def test_a_child_forked_in_the_middle_of_a_change(run_python: Any) -> None:
    """It waits for no lock that a thread of its parent's holds."""
    assert run_python(FORKED).stdout == "well\n"


def test_an_interrupt_undoes_a_change_or_comes_after_it() -> None:
    """Ctrl-C at any moment: the rules that people see are those that packets meet."""

    class Interrupt(BaseException):
        pass

    armed = False

    def handler(number: int, frame: Any) -> None:
        nonlocal armed
        if armed:
            armed = False
            raise Interrupt

    before = signal.signal(signal.SIGALRM, handler)
    table = vn.FlowTable(RULES, merge="manual")
    random = np.random.default_rng(5)
    interrupts = 0
    until = time.monotonic() + 1.5
    try:
        while time.monotonic() < until:
            try:
                armed = True
                signal.setitimer(signal.ITIMER_REAL, float(random.uniform(1e-6, 2e-3)))
                while armed:  # what a destructor raises is lost
                    table.update(RULES, list(table._entries)[:200])
            except Interrupt:
                interrupts += 1
            assert table.info()["rules"] == len(table)
            assert table._open is None
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupts > 20
    table.remove_rules(list(table._entries))
    assert table.info()["rules"] == 0
    table.close()


def test_a_transaction_that_has_ended() -> None:
    with vn.FlowTable() as table:
        with table.transaction() as change:
            rule = change.add("l4_dst == 1")
        for late in (lambda: change.add("l4_dst == 2"), lambda: change.remove(rule),
                     lambda: change.replace(rule, priority=1)):  # fmt: skip
            with pytest.raises(vn.StateError, match="has ended"):
                late()
        assert [id for id, _ in table.rules()] == [rule]


def test_rules_do_not_expire_in_a_transaction() -> None:
    with vn.FlowTable() as table:
        table._keeper.ending.set()  # time is the test's
        rule = table.add("", hard_timeout=0.01)
        with table.transaction() as change:
            change.remove(rule)
            with pytest.raises(vn.StateError, match="expire"):
                table.expire(time.monotonic() + 1)
        assert table.expire(time.monotonic() + 1) == []


def test_a_callback_that_fails_keeps_none_from_the_others() -> None:
    seen: list[int] = []

    def fail(expired: Any) -> None:
        seen.append(expired.id)
        raise SystemExit(3)

    with vn.FlowTable() as table:
        table.on_expire = fail
        ids = table.add_rules([vn.Rule("", hard_timeout=0.01)] * 3)
        deadline = time.monotonic() + 10
        while len(seen) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert seen == ids
        ids += table.add_rules([vn.Rule("", hard_timeout=0.01)])  # the thread goes on
        while len(seen) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert seen == ids


def test_no_thread_to_be_had(monkeypatch: Any) -> None:
    """The change is made, and told of; the next one tries again."""
    with vn.FlowTable() as table:
        with monkeypatch.context() as m:

            def start(thread: Any) -> None:
                raise RuntimeError("can't start new thread")

            m.setattr(threading.Thread, "start", start)
            assert table.add("l4_dst == 1", hard_timeout=0.01) == 0
            assert len(table) == 1
            assert "no thread" in table.problems[0]
        table.add("l4_dst == 2")
        deadline = time.monotonic() + 10
        while len(table) > 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(table) == 1


def test_a_forwarder_binds_its_table(runtime: Any) -> None:
    """Without that, its rules would count and do nothing."""
    ports = [runtime.add_port("ring") for _ in range(2)]
    with vn.FlowTable([vn.Rule("", ("drop mine",))]) as table:
        f = forwarder(runtime, ports, destinations=[1, 0], macs=[None] * 2, rules=table)
        ports[0].tx(vn.Burst.from_bytes([bytes(60)] * 4))
        f.start()
        deadline = time.monotonic() + 10
        while table.stats()["packets"].sum() < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        f.stop()
        assert runtime.balance().drops["mine"] == 4
        with pytest.raises(vn.ConfigError, match="cannot become"):
            forwarder(runtime, ports[::-1], destinations=[1, 0], macs=[None] * 2, rules=table)
        with pytest.raises(vn.ConfigError, match="no Python"):
            table.add("", ["python:os.getpid"])
