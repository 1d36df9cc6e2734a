"""Pipelines that go wrong: stages that raise, sleep, keep views, lie; arguments that are none."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pipelines import traffic, until

import veridnet as vn

P = vn.Pipeline
FRAMES = traffic(300)


@pytest.fixture
def ports(runtime: vn.Runtime) -> list[Any]:
    return [runtime.add_port("null"), runtime.add_port("null"), runtime.add_port("null")]


def usable(runtime: vn.Runtime, ports: list[Any]) -> None:
    """The ports and lcores can be used again."""
    burst = vn.Burst(64)
    assert ports[0].rx(burst) > 0
    burst.clear()
    runtime.run(P(rx=ports[:2]).forward(ports[2]), count=10)


# -- stages that raise ----------------------------------------------------------------------------


class OwnError(BaseException):
    pass


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt, SystemExit, OwnError])
@pytest.mark.parametrize("handoff", [False, True])
def test_what_a_stage_raises_reaches_the_caller(
    runtime: vn.Runtime, ports: list[Any], kind: type[BaseException], handoff: bool
) -> None:
    calls = 0

    def stage(h: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise kind("the fifth")

    pipe = P(rx=[ports[0]])
    pipe = pipe.handoff() if handoff else pipe
    with pytest.raises(kind, match="the fifth") as e:
        runtime.run(pipe.stage(stage, name="mine").forward(ports[1]), lcores=2 if handoff else 1)
    assert any("mine" in note for note in e.value.__notes__)
    totals = runtime.balance()
    assert totals.balanced
    assert totals.drops["stage_error"] >= 1
    assert totals.tx >= 4
    usable(runtime, ports)


def test_a_handle_raises_once(runtime: vn.Runtime, ports: list[Any]) -> None:
    def bad(h: Any) -> None:
        raise OwnError

    handle = runtime.start(P(rx=[ports[0]]).stage(bad).forward(ports[1]), lcores=1)
    until(lambda: handle.finished)
    assert handle.running
    with pytest.raises(vn.StateError, match="raised"):
        handle.swap(P(rx=[ports[0]]).forward(ports[1]))
    with pytest.raises(OwnError):
        handle.stop()
    assert not handle.running
    assert "stage_error" in str(handle.stop())
    with pytest.raises(OwnError), runtime.start(P(rx=[ports[0]]).stage(bad).drop()) as handle:
        until(lambda: handle.finished)
    usable(runtime, ports)


def returned(value: Callable[[int], Any]) -> Callable[[Any], Any]:
    return lambda h: value(len(h))


@pytest.mark.parametrize(
    ("value", "error", "match"),
    [(lambda n: 5, TypeError, "returned int"),
     (lambda n: "x", TypeError, "returned str"),
     (lambda n: [True] * n, TypeError, "returned list"),
     (lambda n: np.ones(n + 1, bool), TypeError, "shape"),
     (lambda n: np.ones((n, 1), bool), TypeError, "shape"),
     (lambda n: np.bool_(True), TypeError, "returned bool"),
     (lambda n: np.ones(n, np.float32), TypeError, "verdicts are integers"),
     (lambda n: np.ones(n, object), TypeError, "verdicts are integers"),
     (lambda n: np.full(n, -3), ValueError, "verdict -3"),
     (lambda n: np.full(n, 128), ValueError, "verdict 128"),
     (lambda n: np.full(n, 2**63, np.uint64), (ValueError, OverflowError), "verdict"),
     (lambda n: {"no_such": np.ones(n)}, (AttributeError, vn.ConfigError), "no_such"),
     (lambda n: {"wire_len": np.ones(n)}, (AttributeError, vn.ConfigError), "wire_len"),
     (lambda n: {"ip_ttl": np.ones(n + 3)}, ValueError, "shape"),
     (lambda n: {3: 4}, (TypeError, vn.ConfigError), "str")],
)  # fmt: skip
def test_what_a_stage_may_not_return(
    runtime: vn.Runtime, ports: list[Any], value: Any, error: Any, match: str
) -> None:
    with pytest.raises(error, match=match):
        runtime.run(P(rx=[ports[0]]).stage(returned(value)).forward(ports[1]), lcores=1)
    assert runtime.balance().balanced
    usable(runtime, ports)


@pytest.mark.parametrize(
    "value",
    [lambda n: np.ones(2 * n, bool)[::2], lambda n: np.full(n, vn.PASS, np.int8),
     lambda n: np.ones(n, np.uint8), lambda n: np.full(2 * n, 2, ">i4")[::2], lambda n: {}],
)  # fmt: skip
def test_what_a_stage_may_return(runtime: vn.Runtime, ports: list[Any], value: Any) -> None:
    """Strided, narrow and foreign arrays; an empty dict."""
    runtime.run(P(rx=[ports[0]], ports=ports).stage(returned(value)).forward(ports[1]), count=99)
    assert runtime.balance().tx == 99


def test_views_that_outlive_a_stage(runtime: vn.Runtime, ports: list[Any]) -> None:
    kept: list[Any] = []
    with pytest.raises(vn.ViewError, match="live on after it"):
        runtime.run(
            P(rx=[ports[0]]).stage(lambda b: kept.append(b[0]), takes="burst").forward(ports[1]),
            lcores=1,
        )
    assert kept
    assert bytes(kept[0]) == bytes(len(kept[0]))
    kept.clear()
    gc.collect()
    assert runtime.balance().balanced
    usable(runtime, ports)


def test_a_view_that_ends_in_time(runtime: vn.Runtime, ports: list[Any]) -> None:
    total = 0

    def look(burst: vn.Burst) -> None:
        nonlocal total
        with burst[0] as view:
            total += len(view)

    runtime.run(P(rx=[ports[0]]).stage(look, takes="burst").forward(ports[1]), count=320, burst=32)
    assert total >= 640


# -- stages that sleep ----------------------------------------------------------------------------


def test_a_sleeper_hurts_nobody_else(runtime: vn.Runtime, ports: list[Any]) -> None:
    """The other worker goes on; too short a timeout names the stage, and the call comes again."""
    if len(runtime.worker_cpus) < 2:
        pytest.skip("two CPUs are needed")
    asleep, wake = threading.Event(), threading.Event()

    def sleeper(h: Any) -> None:
        asleep.set()
        wake.wait(60)

    one = runtime.start(P(rx=[ports[0]]).stage(sleeper).drop(), lcores=1)
    other = runtime.start(P(rx=[ports[1]]).forward(ports[1]), lcores=1, idle="adaptive")
    try:
        assert asleep.wait(60)
        before = ports[1].counters()["tx_packets"]
        until(lambda: ports[1].counters()["tx_packets"] > before + 1000)
        for _ in range(2):
            with pytest.raises(vn.StateError, match=r"worker 0 .* Python stage 'sleeper'"):
                one.swap(P(rx=[ports[0]]).forward(ports[0]), timeout=0.05)
        assert one.running
        assert one.pipeline.stages[0].kind == "sleeper"
        wake.set()
        one.swap(P(rx=[ports[0]]).stage(sleeper).forward(ports[0]), timeout=60)
        before = ports[0].counters()["tx_packets"]
        until(lambda: ports[0].counters()["tx_packets"] > before)
        wake.clear()
        asleep.clear()
        assert asleep.wait(60)
        for _ in range(2):
            with pytest.raises(vn.StateError, match=r"does not stop: worker 0 .* 'sleeper'"):
                one.stop(timeout=0.05)
            with pytest.raises(vn.StateError):
                one.swap(P(rx=[ports[0]]).drop(), timeout=0.05)
    finally:
        wake.set()
        one.stop(60)
        other.stop(60)
    assert runtime.balance().balanced
    usable(runtime, ports)


# -- several of them ------------------------------------------------------------------------------


def test_two_pipelines(runtime: vn.Runtime, ports: list[Any]) -> None:
    a, b, c = ports
    with runtime.start(P(rx=[a]).forward(b), lcores=1, idle="adaptive") as first:
        busy = first.plan.workers[0].cpu
        for pipe in (P(rx=[a]).drop(), P(rx=[c]).forward(b), P(rx=[b]).drop()):
            with pytest.raises(vn.StateError, match="pipeline"):
                runtime.start(pipe, lcores=1)
        with pytest.raises(vn.ConfigError, match="free"):
            runtime.start(P(rx=[c]).drop(), lcores=[busy])
        with pytest.raises(vn.StateError, match="pipeline"):
            a.rx(vn.Burst(8))
        with pytest.raises(vn.StateError):
            b.tx(vn.Burst.from_bytes([bytes(60)]))
        with pytest.raises(vn.StateError):
            a.close()
        if len(runtime.worker_cpus) > 1:
            with runtime.start(P(rx=[c]).drop(), lcores=1, idle="adaptive") as second:
                assert second.plan.workers[0].cpu != busy
                until(lambda: c.counters()["rx_packets"] > 0)
                with pytest.raises(vn.StateError, match="pipeline"):
                    second.swap(P(rx=[a]).drop())
                assert second.running
        if len(runtime.worker_cpus) == 2:
            second = runtime.start(P(rx=[c]).drop(), lcores=1)
            with pytest.raises(vn.ConfigError, match="no worker lcore is free"):
                runtime.start(P(rx=[runtime.add_port("null")]).drop())
            second.stop()
        with pytest.raises(vn.StateError, match="already running"):
            first.start()
    usable(runtime, ports)


def test_a_table_runs_in_one_pipeline(runtime: vn.Runtime, ports: list[Any]) -> None:
    if len(runtime.worker_cpus) < 2:
        pytest.skip("two CPUs are needed")
    with vn.FlowTable([vn.Rule("ip", ["drop"])]) as table:
        with (
            runtime.start(P(rx=[ports[0]]).classify(table).drop(), lcores=1),
            pytest.raises(vn.StateError, match="table"),
        ):
            runtime.start(P(rx=[ports[2]]).classify(table).drop(), lcores=1)
        with runtime.start(P(rx=[ports[2]]).classify(table).drop(), lcores=1, idle="adaptive"):
            pass


def test_a_pipeline_on_a_second_runtime(runtime: vn.Runtime, ports: list[Any]) -> None:
    pipe = P(rx=[ports[0]]).forward(ports[1])
    handle = runtime.start(pipe, lcores=1)
    runtime.close()
    assert not handle.running
    handle.stop()
    assert handle.stats().by_stage()["packets_in"][0] >= 0
    with pytest.raises(vn.VeridnetError):
        handle.start()
    with vn.Runtime() as rt:
        for use in (lambda: rt.start(pipe), lambda: rt.run(pipe, count=1), lambda: handle.start(),
                    lambda: rt.start(P(rx=[rt.add_port("null")]).forward(ports[1]))):  # fmt: skip
            with pytest.raises(vn.VeridnetError):
                use()
        a = rt.add_port("null")
        rt.run(P(rx=[a]).forward(a), count=10)
        assert rt.balance().tx == 10


def test_a_handle_that_is_forgotten(runtime: vn.Runtime, ports: list[Any]) -> None:
    """It runs on; the runtime stops it."""
    runtime.start(P(rx=[ports[0]]).stage(lambda h: None).forward(ports[1]), lcores=1)
    gc.collect()
    before = ports[1].counters()["tx_packets"]
    until(lambda: ports[1].counters()["tx_packets"] > before)


def test_fork(run_python: Any) -> None:
    """A child can neither run nor stop its parent's pipeline, and ends."""
    run_python("""
        import os, veridnet as vn
        with vn.Runtime() as rt:
            a = rt.add_port("null")
            h = rt.start(vn.Pipeline(rx=[a]).stage(lambda h: None).drop(), lcores=1)
            pid = os.fork()
            if pid == 0:
                code = 0
                for use in (h.stop, lambda: h.swap(vn.Pipeline(rx=[a]).drop()), h.start,
                            lambda: rt.start(vn.Pipeline(rx=[a]).drop())):
                    try:
                        use()
                        code += 1
                    except vn.VeridnetError:
                        pass
                os._exit(code)
            assert os.waitpid(pid, 0)[1] == 0
            h.stop()
            assert rt.balance().balanced and rt.balance().rx > 0
    """)


# -- arguments ------------------------------------------------------------------------------------


def none(h: Any) -> None:
    """A stage."""


BAD: dict[str, Callable[[Any], Any]] = {
    "rx a number": lambda a: P(rx=[5]), "rx a text": lambda a: P(rx="0"),
    "rx none": lambda a: P(rx=None), "rx twice": lambda a: P(rx=[a, a]),
    "ports a number": lambda a: P(rx=[a], ports=[5]), "ports alone": lambda a: P(rx=[a], ports=5),
    "parse nothing": lambda a: P(rx=[a]).parse(), "parse": lambda a: P(rx=[a]).parse("nothing"),
    "parse 5": lambda a: P(rx=[a]).parse(5),
    "filter": lambda a: P(rx=[a]).filter("l4_dst =="), "filter 5": lambda a: P(rx=[a]).filter(5),
    "filter none": lambda a: P(rx=[a]).filter(None), "filter empty": lambda a: P(rx=[a]).filter(""),
    "reason": lambda a: P(rx=[a]).filter("ip", reason="two words"),
    "reason 5": lambda a: P(rx=[a]).drop(reason=5), "drop 5": lambda a: P(rx=[a]).drop(5),
    "classify": lambda a: P(rx=[a]).classify([]), "apply": lambda a: P(rx=[a]).apply(None),
    "rewrite nothing": lambda a: P(rx=[a]).rewrite(), "rewrite": lambda a: P(rx=[a]).rewrite("x"),
    "rewrite drop": lambda a: P(rx=[a]).rewrite("drop"),
    "rewrite 5": lambda a: P(rx=[a]).rewrite(5),
    "rewrite column": lambda a: P(rx=[a]).rewrite(no_such=1),
    "rewrite value": lambda a: P(rx=[a]).rewrite(ip_ttl=300),
    "rewrite mac": lambda a: P(rx=[a]).rewrite(eth_dst="xx"),
    "rewrite mac 5": lambda a: P(rx=[a]).rewrite(eth_dst=5),
    "set_macs": lambda a: P(rx=[a]).set_macs({a: bytes(6)}),
    "set_macs 5": lambda a: P(rx=[a]).set_macs(5),
    "set_macs none": lambda a: P(rx=[a]).set_macs({}),
    "meter": lambda a: P(rx=[a]).meter(), "meter 5": lambda a: P(rx=[a]).meter(5),
    "meter x": lambda a: P(rx=[a]).meter(cir=1, x=2),
    "meter text": lambda a: P(rx=[a]).meter(cir="1", cbs=2, ebs=3),
    "meter low": lambda a: P(rx=[a]).meter(cir=-1, cbs=2, ebs=3),
    "limit": lambda a: P(rx=[a]).limit("fast"), "limit 5": lambda a: P(rx=[a]).limit(5),
    "mirror": lambda a: P(rx=[a]).mirror(None), "mirror x": lambda a: P(rx=[a]).mirror("x").plan(),
    "mirror -1": lambda a: P(rx=[a]).mirror(-1).plan(),
    "sample": lambda a: P(rx=[a]).sample(0, a), "sample x": lambda a: P(rx=[a]).sample("x", a),
    "sample true": lambda a: P(rx=[a]).sample(True, a),
    "sample to": lambda a: P(rx=[a]).sample(2, None),
    "sample big": lambda a: P(rx=[a]).sample(1 << 40, a),
    "tee": lambda a: P(rx=[a]).tee(5), "tee rx": lambda a: P(rx=[a]).tee(P(rx=[a]).drop()),
    "tee empty": lambda a: P(rx=[a]).tee(P()),
    "split": lambda a: P(rx=[a]).split(), "split none": lambda a: P(rx=[a]).split({}),
    "split 5": lambda a: P(rx=[a]).split({5: P().drop()}), "split x": lambda a: P(rx=[a]).split(5),
    "split branch": lambda a: P(rx=[a]).split({"ip": 5}),
    "split column": lambda a: P(rx=[a]).split({1: P().drop()}, column="no_such"),
    "split column 5": lambda a: P(rx=[a]).split({1: P().drop()}, column=5),
    "split rule": lambda a: P(rx=[a]).split(rule={1: P().drop()}),
    "split rest": lambda a: P(rx=[a]).split({"ip": P().drop()}, rest=5),
    "split both": lambda a: P(rx=[a]).split({"ip": P().drop()}, rule={1: P().drop()}),
    "split id": lambda a: P(rx=[a]).classify(vn.FlowTable()).split(rule={"x": P().drop()}),
    "split rules": lambda a: P(rx=[a]).classify(vn.FlowTable()).split(rule=[1]),
    "split many": lambda a: P(rx=[a]).classify(vn.FlowTable()).split(rule={1 << 40: P().drop()}),
    "stage": lambda a: P(rx=[a]).stage(5), "takes": lambda a: P(rx=[a]).stage(none, takes="x"),
    "stage name": lambda a: P(rx=[a]).stage(none, name=5),
    "stage headers": lambda a: P(rx=[a]).stage(none, headers=5),
    "handoff 0": lambda a: P(rx=[a]).handoff(0), "handoff x": lambda a: P(rx=[a]).handoff("x"),
    "handoff ring": lambda a: P(rx=[a]).handoff(ring=100),
    "handoff full": lambda a: P(rx=[a]).handoff(full="x"),
    "handoff true": lambda a: P(rx=[a]).handoff(True),
    "handoff branch": lambda a: P().handoff(), "bridge branch": lambda a: P().bridge(),
    "forward": lambda a: P(rx=[a]).forward(None), "forward none": lambda a: P(rx=[a]).forward({}),
    "forward x": lambda a: P(rx=[a]).forward("x").plan(),
    "forward map": lambda a: P(rx=[a]).forward({a: None}),
    "forward 99": lambda a: a.runtime.start(P(rx=[a]).forward(99)),
    "forward from": lambda a: a.runtime.start(P(rx=[a]).forward({"x": a})),
    "bridge": lambda a: a.runtime.start(P(rx=[a]).bridge(stations=1)),
    "bridge age": lambda a: a.runtime.start(P(rx=[a]).bridge(age=-1)),
    "bridge text": lambda a: a.runtime.start(P(rx=[a]).bridge(stations="x")),
    "to_ring": lambda a: P(rx=[a]).to_ring(5),
    "rx numbers": lambda a: P(rx=[vn.Ring(64, dtype=np.uint32)]),
    "to_ring numbers": lambda a: P(rx=[a]).to_ring(vn.Ring(64, dtype=np.uint64)),
    "after the end": lambda a: P(rx=[a]).drop().filter("ip"),
    "nothing": lambda a: a.runtime.start(P()), "branch": lambda a: a.runtime.start(P().forward(a)),
    "lcores 0": lambda a: a.runtime.start(P(rx=[a]), lcores=0),
    "lcores x": lambda a: a.runtime.start(P(rx=[a]), lcores="x"),
    "lcores []": lambda a: a.runtime.start(P(rx=[a]), lcores=[]),
    "lcores 999": lambda a: a.runtime.start(P(rx=[a]), lcores=[999]),
    "burst": lambda a: a.runtime.start(P(rx=[a]), burst=0),
    "burst x": lambda a: a.runtime.start(P(rx=[a]), burst="x"),
    "count": lambda a: a.runtime.start(P(rx=[a]), count=0),
    "count x": lambda a: a.runtime.start(P(rx=[a]), count="x"),
    "idle": lambda a: a.runtime.start(P(rx=[a]), idle="lazy"),
    "policy": lambda a: a.runtime.start(P(rx=[a]), policy="x"),
    "trace": lambda a: a.runtime.start(P(rx=[a]), trace=-1),
    "trace big": lambda a: a.runtime.start(P(rx=[a]), trace=1 << 30),
    "rebalance": lambda a: a.runtime.start(P(rx=[a]), rebalance=0),
    "no option": lambda a: a.runtime.start(P(rx=[a]), nothing=1),
    "no pipeline": lambda a: a.runtime.start(5),
    "native column": lambda a: vn.native_stage(1, columns=["no_such"]),
    "native writes": lambda a: vn.native_stage(1, columns=["l4_dst"], writes=["ip_ttl"]),
    "native both": lambda a: vn.native_stage(1, columns=["l4_dst"], verdict=True, keep=True),
    "native 5.0": lambda a: vn.native_stage(5.0),
    "native null": lambda a: vn.native_stage(0, columns=["l4_dst"]),
    "native state": lambda a: vn.native_stage(1, columns=["l4_dst"], s=[1]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_arguments_that_are_none(runtime: vn.Runtime, case: str) -> None:
    port = runtime.add_port("null")
    with pytest.raises(vn.ConfigError) as e:
        BAD[case](port)
    assert str(e.value)
    assert not any(p.running for p in runtime.pipelines)
    runtime.run(P(rx=[port]).drop(), count=1)


def test_native_stages_that_cannot_be_compiled(runtime: vn.Runtime) -> None:
    pytest.importorskip("numba")
    port = runtime.add_port("null")

    @vn.native_stage
    def bad(l4_dst: Any, keep: Any) -> None:
        keep[:] = l4_dst.no_such_thing

    with pytest.raises(vn.ConfigError, match="cannot be compiled"):
        runtime.start(P(rx=[port]).stage(bad).drop())
    runtime.run(P(rx=[port]).drop(), count=1, idle="adaptive")


def test_two_threads_stop_it(runtime: vn.Runtime, ports: list[Any]) -> None:
    """Each waits no longer than its own timeout."""
    inside, go_on = threading.Event(), threading.Event()

    def stage(h: Any) -> None:
        inside.set()
        go_on.wait(20)

    handle = runtime.start(P(rx=[ports[0]]).stage(stage).forward(ports[1]), lcores=1)
    assert inside.wait(10)
    other = threading.Thread(target=handle.stop, args=(20,))
    other.start()
    with pytest.raises(vn.StateError, match=r"another thread|does not stop"):
        handle.stop(0.1)
    go_on.set()
    other.join()
    assert not handle.running
    usable(runtime, ports)


def test_statistics_while_another_thread_swaps(runtime: vn.Runtime, ports: list[Any]) -> None:
    """A swap changes programs and plan one after the other: what is read belongs together."""
    a, b, _ = ports
    one = P(rx=[a], ports=[a, b]).forward(b)
    two = P(rx=[a, b]).filter("wire_len > 0").tee(P().forward(a)).forward({a: b, b: a})
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    wrong: list[str] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            for read in (handle.stats, handle.loads, handle.owners, handle.trace):
                try:
                    str(read())
                except Exception as e:
                    wrong.append(repr(e))

    try:
        with runtime.start(one, lcores=1) as handle:
            thread = threading.Thread(target=look)
            thread.start()
            for _ in range(100):
                handle.swap(two)
                handle.swap(one)
            ended.set()
            thread.join()
    finally:
        ended.set()
        sys.setswitchinterval(interval)
    assert not wrong


def test_the_rebalancer_goes_on_when_a_worker_is_late(
    runtime: vn.Runtime, ports: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(self: Any) -> bool:
        raise vn.StateError("the pipeline cannot be swapped: worker 0 is late")

    monkeypatch.setattr(vn.Running, "rebalance", late)
    stats = runtime.run(P(rx=[ports[0]]).forward(ports[1]), duration=0.2, rebalance=0.01)
    assert stats.workers[0]["passes"]


@pytest.mark.parametrize(
    "make",
    [lambda: vn.native_stage(4096, columns=3), lambda: vn.native_stage(4096, columns="ip_ttl"),
     lambda: vn.native_stage(writes=3)(lambda ip_ttl: None), lambda: vn.native_stage(int),
     lambda: vn.native_stage(z=np.frombuffer(b"12345678", np.int64))(lambda ip_ttl, z: None)],
)  # fmt: skip
def test_what_is_no_native_stage(make: Callable[[], Any]) -> None:
    with pytest.raises(vn.ConfigError):
        make()


def test_what_a_running_pipeline_refuses(runtime: vn.Runtime, ports: list[Any]) -> None:
    pipe = P(rx=[ports[0]]).forward(ports[1])
    with pytest.raises(vn.ConfigError, match="idle=3"):
        runtime.start(pipe, idle=3)  # type: ignore[arg-type]
    with pytest.raises(vn.ConfigError, match="meter"):
        pipe = P(rx=[ports[0]]).meter(cir=float("nan"), cbs=1, ebs=0)  # type: ignore[arg-type]
    with runtime.start(pipe, lcores=1) as handle:
        for wrong in (None, 3, "x", [pipe]):
            with pytest.raises(vn.ConfigError, match="no pipeline"):
                handle.swap(wrong)  # type: ignore[arg-type]
        for owners in (None, 3, "0", ["0"], [None]):
            with pytest.raises(vn.ConfigError, match="move"):
                handle.move(owners)  # type: ignore[arg-type]
    assert runtime.balance().balanced


def test_a_child_that_a_stage_forks_ends(run_python: Any) -> None:
    """It has neither lcores nor packets of its own: it must not go on in the loop."""
    run_python("""
        import os
        import veridnet as vn
        children = []

        def stage(h):
            if not children:
                pid = os.fork()
                if pid == 0:
                    return
                children.append(pid)

        with vn.Runtime() as rt:
            a, b = rt.add_port("null"), rt.add_port("null")
            rt.run(vn.Pipeline(rx=[a]).stage(stage).forward(b), count=1000)
            assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 1
            assert rt.balance().balanced
        assert rt.mbufs_in_use() == 0
    """)


def test_a_stage_cannot_stop_its_own_pipeline(runtime: vn.Runtime, ports: list[Any]) -> None:
    running: list[vn.Running] = []

    def stage(h: Any) -> None:
        if running:
            running[0].stop()

    running.append(runtime.start(P(rx=[ports[0]]).stage(stage).forward(ports[1])))
    until(lambda: running[0].finished)
    with pytest.raises(vn.StateError, match="wait for itself"):
        running[0].stop()
    usable(runtime, ports)
