"""The flow-rule table against raw rte_acl, in one process, on the same ClassBench rules and keys.

Lookups are timed by the CPU time of their thread, in turn. Making keys of columns is in our time;
rte_acl finds its keys made.
"""

from __future__ import annotations

import contextlib
import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import acl
import classbench
from harness import WARMUP, Benchmark, Figure, Settings, child
from machine import BenchError, cpus

SETS = ("acl1_1k", "fw1_1k", "ipc1_1k", "acl1_10k", "fw1_10k", "ipc1_10k")
LARGE = ("acl1_100k", "fw1_100k")
SIZES = (10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)
#: Rules in the delta.
DELTA = 1000
#: Headers of a trace that are forwarded: net_pcap keeps an mbuf for each, and these stay in cache.
HEADERS = 512
#: Lookups of one timed turn, about.
TURN = 200_000
TURNS = 15

# -- What is asked of the table: the only lines that know its interface -------------------------


def load(path: Path) -> Any:
    """A table of a ClassBench file, its engines built: its ids are places in the file."""
    from veridnet import FlowTable

    table = FlowTable.load(path, format="classbench")
    table.compile()
    return table


def hold(table: Any) -> None:
    """Keeps what is added from now on in the delta: no merge in the background."""
    table.merging = False


def settle(table: Any) -> None:
    """Waits until the merges have ended and what they replaced is freed."""
    if not table.settle(120):
        raise BenchError("the merges have not ended after 120 s")


def l2fwd(rt: Any, ports: Sequence[Any], table: Any, cache: bool = True) -> Any:
    """`veridnet l2fwd --rules`; without a table, l2fwd as ever."""
    from veridnet.apps.l2fwd import L2fwd

    return L2fwd(rt, ports, burst=32, rules=table, flow_cache=cache)


def columns(trace: Any) -> Any:
    """A header trace as a table of columns."""
    import numpy as np

    import veridnet as vn

    return vn.Headers.from_arrays(
        ip_version=np.full(len(trace), 4, "u1"),
        ip_proto=trace["proto"], ip_src=trace["src"], ip_dst=trace["dst"],
        l4_src=trace["sport"], l4_dst=trace["dport"],
    )  # fmt: skip


def match(row: Any) -> str:
    """A filter in the match language."""
    src, dst, src_len, dst_len, proto, mask, s_lo, s_hi, d_lo, d_hi, _ = row.tolist()
    tests = ["ip_version == 4"]
    for name, value, length in (("ip_src", src, src_len), ("ip_dst", dst, dst_len)):
        if length:
            quad = ".".join(str(value >> k & 255) for k in (24, 16, 8, 0))
            tests.append(f"{name} in {quad}/{length}")
    for name, lo, hi in (("l4_src", s_lo, s_hi), ("l4_dst", d_lo, d_hi)):
        if (lo, hi) != (0, 0xFFFF):
            tests.append(f"{name} in {lo}..{hi}")
    if mask:
        tests.append(f"ip_proto == {proto}")
    return " and ".join(tests)


# -- In the child -------------------------------------------------------------------------------


@contextlib.contextmanager
def rule_file(name: str, places: Sequence[int] | None = None) -> Iterator[Path]:
    """The set, or those of its lines, as a plain file."""
    lines = classbench.text(name).splitlines()
    if places is not None:
        lines = [lines[k] for k in places]
    with tempfile.NamedTemporaryFile("w", prefix="vnbench", suffix=".rules") as f:
        f.write("\n".join(lines) + "\n")
        f.flush()
        yield Path(f.name)


def sample(name: str, n: int) -> list[int]:
    """n places of the set, evenly spread."""
    total = len(classbench.filters(name))
    return [k * total // n for k in range(min(n, total))]


def in_turn(ways: dict[str, Callable[[], float]], turns: int = TURNS) -> dict[str, list[float]]:
    """Each way's samples, the order reversed from turn to turn; the first turn is not counted."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name in list(ways) if turn % 2 else reversed(ways):
            value = ways[name]()
            if turn:
                found[name].append(value)
    return found


def run_child(settings: dict[str, Any]) -> dict[str, Any]:
    """In the child: one of the measurements."""
    from veridnet import Runtime

    mode = {"classify": classify, "updates": updates, "forward": forward}[settings["mode"]]
    main, worker = cpus()
    os.sched_setaffinity(0, {worker})  # looks up there, as the other benchmarks forward
    settings = settings | {"main": main, "worker": worker}
    memory, mbufs = settings.get("memory", "thp"), settings.get("mbufs", 512)
    with Runtime(memory=memory, mbufs=mbufs, lcores=(worker,)) as rt:
        return mode(rt, settings)


def classify(rt: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """Lookups of the trace: rte_acl by bursts of 256 and 32, ours in one call and by 256."""
    import numpy as np

    name, delta = settings["set"], settings.get("delta", 0)
    filters, trace = classbench.filters(name), classbench.headers(name)
    places = sample(name, settings["rules"]) if settings.get("rules") else None
    if places is not None:
        filters = filters[places].copy()
        filters["place"] = np.arange(len(filters))
    raw = acl.Acl([filters], socket=rt.reserve(acl.ROOM))
    data, winners = acl.keys(trace), np.empty(len(trace), "i4")
    raw.classify(data, winners)
    with rule_file(name, places) as path:
        table = load(path)
    whole = columns(trace)
    bursts = [columns(trace[k : k + 256]) for k in range(0, len(trace), 256)]
    if delta:
        hold(table)
        winners = add_delta(rt, table, filters, delta, data)
        if settings["level"] == "middle":  # as the table does by itself, a moment later
            table.native.merge("auto", level="middle")
    check(table.classify(whole), winners, f"{name}, {delta} rules in the delta")
    passes = max(1, TURN // len(trace))
    scratch = np.empty_like(winners)

    def one_call() -> float:
        start = time.thread_time_ns()
        for _ in range(passes):
            table.classify(whole)
        return (time.thread_time_ns() - start) / passes / len(trace)

    def in_bursts() -> float:
        start = time.thread_time_ns()
        for _ in range(passes):
            for burst in bursts:
                table.classify(burst)
        return (time.thread_time_ns() - start) / passes / len(trace)

    found: dict[str, Any] = in_turn({
        "raw": lambda: raw.classify(data, scratch, 256, passes),
        "raw32": lambda: raw.classify(data, scratch, 32, passes),
        "ours": one_call,
        "bursts": in_bursts,
    })  # fmt: skip
    found = {way: statistics.median(values) for way, values in found.items()}
    raw.close()
    return found | {"algorithm": raw.algorithm}


def add_delta(rt: Any, table: Any, filters: Any, n: int, data: Any) -> Any:
    """Adds n filters of the set once more, before all others; the winners to be expected."""
    import numpy as np

    extra = filters[np.linspace(0, len(filters) - 1, n).astype("i8")]
    ids = [table.add(match(row), priority=1) for row in extra]
    both = np.concatenate([extra, filters])
    both["place"] = np.arange(len(both))
    expected = np.empty(len(data), "i4")
    raw = acl.Acl([both], socket=rt.reserve(acl.ROOM))
    raw.classify(data, expected)
    raw.close()
    named = np.concatenate([np.array(ids, "i4"), np.arange(len(filters), dtype="i4"), [-1]])
    return named[expected].astype("i4")


def check(found: Any, expected: Any, what: str) -> None:
    """Both must have found the same winners, or the comparison says nothing."""
    import numpy as np

    if wrong := int(np.count_nonzero(found != expected)):
        k = int(np.flatnonzero(found != expected)[0])
        raise BenchError(
            f"{what}: {wrong} winners of {len(expected)} differ; header {k}: "
            f"{found[k]}, rte_acl: {expected[k]}"
        )


@contextlib.contextmanager
def forwarder(rt: Any, settings: dict[str, Any], table: Any) -> Iterator[Callable[[], int]]:
    """Forwards the trace on the second CPU; a function that says how many packets so far."""
    os.sched_setaffinity(0, {settings["main"]})
    trace = classbench.headers(settings["set"])
    with tempfile.TemporaryDirectory(prefix="vnbench") as folder:
        path = Path(folder) / "trace.pcap"
        classbench.write_pcap(path, trace[: settings.get("headers") or HEADERS])
        ports = [rt.add_port(f"pcap:rx={path},infinite=on"), rt.add_port("null:no_rx=on")]
        app = l2fwd(rt, ports, table, settings.get("flow_cache", True))
        app.start()
        try:
            yield lambda: int(ports[1].counters()["tx_packets"])
        finally:
            app.stop()
        result = app.result()
        if not result.balanced or result.drops:
            raise BenchError(f"drops or a wrong balance: {result.to_dict()}")


def rate(count: Callable[[], int], seconds: float, work: Callable[[float], Any]) -> Any:
    """Packets a second while `work(seconds)` runs on this thread; and what that returned."""
    start, before = time.perf_counter(), count()
    result = work(seconds)
    return (count() - before) / (time.perf_counter() - start), result


def forward(rt: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """ns that a packet takes, forwarded with the set's rules or without any."""
    table = None
    if settings["rules"]:
        with rule_file(settings["set"]) as path:
            table = load(path)
    with forwarder(rt, settings, table) as count:
        time.sleep(WARMUP)
        pps, _ = rate(count, settings["seconds"], time.sleep)
    if pps == 0:
        raise BenchError("nothing was sent")
    return {"ns": 1e9 / pps}


class Reader(threading.Thread):
    """Classifies a block on its CPU until it is told to end: when has it seen a rule?"""

    def __init__(self, table: Any, block: Any, cpu: int) -> None:
        super().__init__(daemon=True)
        self.table, self.block, self.cpu = table, block, cpu
        self.ending = False
        self.watch: int | None = None
        self.seen = 0

    def run(self) -> None:
        os.sched_setaffinity(0, {self.cpu})  # of this thread
        while not self.ending:
            found = self.table.classify(self.block)
            if self.watch is not None and found[0] == self.watch:
                self.seen = time.perf_counter_ns()
                self.watch = None


def updates(rt: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """A writer on the first CPU, l2fwd on the second: rates, loss, latency, one-way adds.

    The reader is native: a Python thread that classifies would wait for the GIL, which the writer
    has. What l2fwd loses a packet is held against what a lookup takes in all.
    """
    seconds = float(settings["seconds"])
    with rule_file(settings["set"]) as path:
        table = load(path)
    made = texts(DELTA)
    found: dict[str, Any] = {}
    with forwarder(rt, settings, table) as count:
        time.sleep(WARMUP)
        paired(table, made, 0.5)
        resident = acl.status("VmRSS")
        alone, _ = rate(count, seconds, time.sleep)
        busy, done = rate(count, seconds, lambda s: paired(table, made, s))
        again, _ = rate(count, seconds, time.sleep)
        found["updates"] = done / seconds
        found["loss"] = 1 - busy / ((alone + again) / 2)
        found["forwarded"] = alone
        found["grown"] = (acl.status("VmRSS") - resident) / done
    block = columns(classbench.headers(settings["set"])[:256])
    found["latency"] = latencies(table, block, settings["worker"], 200)
    found |= one_way(table, settings.get("adds", 20_000))
    return found


def texts(n: int) -> list[str]:
    """n matches of random five-tuples, as texts."""
    r = random.Random(1)
    return [
        f"ip_version == 4 and ip_proto == 6 and ip_src == 10.{k >> 16}.{k >> 8 & 255}.{k & 255} "
        f"and ip_dst in 172.16.{r.randrange(256)}.0/24 and l4_dst == {r.randrange(65536)}"
        for k in range(n)
    ]


def paired(table: Any, made: Sequence[Any], seconds: float) -> int:
    """Adds and removes in turn, half a delta of rules at a time; how many updates."""
    live: list[int] = []
    done = 0
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        live += [table.add(each, priority=1) for each in made[: DELTA // 2]]
        for rule in live:
            table.remove(rule)
        done += 2 * len(live)
        live.clear()
    return done


def latencies(table: Any, block: Any, cpu: int, n: int) -> float:
    """Microseconds from the call of `add` until a lookup has seen the rule: the median of n."""
    reader = Reader(table, block, cpu)
    reader.start()
    samples = []
    rule_of_all = "ip_version == 4"
    try:
        for _ in range(n):
            time.sleep(0.002)
            reader.seen = 0
            start = time.perf_counter_ns()
            rule = table.add(rule_of_all, priority=1000)
            reader.watch = rule
            deadline = time.perf_counter() + 2
            while not reader.seen:
                time.sleep(0.0002)  # the reader takes the time, not this thread
                if time.perf_counter() > deadline:
                    raise BenchError("no lookup has seen an added rule for 2 s")
            samples.append((reader.seen - start) / 1000)
            table.remove(rule)
    finally:
        reader.ending = True
        reader.join(10)
    return statistics.median(samples)


def one_way(table: Any, n: int) -> dict[str, float]:
    """n adds that stay: adds a second until all are merged, and the CPU time of the merges."""
    made = texts(n)
    start, cpu, own = time.perf_counter(), time.process_time(), time.thread_time()
    for text in made:
        table.add(text, priority=1)
    added = time.perf_counter() - start
    settle(table)
    spent = time.perf_counter() - start
    merges = (time.process_time() - cpu) - (time.thread_time() - own)
    return {"adds": n / added, "adds_merged": n / spent, "merge_cpu": merges}


# -- Figures ------------------------------------------------------------------------------------


def rounds(settings: Settings, given: dict[str, Any], most: int = 99) -> dict[str, list[float]]:
    """The child's figures, of one process a round."""
    samples = [child("rules", given, patience=300) for _ in range(min(settings.rounds, most))]
    return {k: [s[k] for s in samples] for k, v in samples[0].items() if not isinstance(v, str)}


def compare(label: str, found: dict[str, list[float]], bar: float | None) -> list[Figure]:
    """Both sides and the ratio."""
    ratio = [a / b for a, b in zip(found["ours"], found["raw"], strict=True)]
    return [
        Figure(f"{label}: rte_acl, burst 256", "ns", found["raw"]),
        Figure(f"{label}: rte_acl, burst 32", "ns", found["raw32"]),
        Figure(f"{label}: classify", "ns", found["ours"]),
        Figure(f"{label}: classify, a call for 256", "ns", found["bursts"]),
        Figure(f"{label}: classify of rte_acl's time", "ratio", ratio, bar),
    ]


def classify_figures(settings: Settings) -> list[Figure]:
    """1,000 and 10,000 rules, an empty delta and a full one."""
    figures = []
    for name in SETS:
        for level, delta, bar in (("", 0, 1.15), ("middle", DELTA, 1.5), ("delta", DELTA, None)):
            given = {"mode": "classify", "set": name, "delta": delta, "level": level}
            what = f"{delta:,} more in the {level}" if delta else "nothing changed"
            figures += compare(f"{name}, {what}", rounds(settings, given), bar)
    return figures


def large_figures(settings: Settings) -> list[Figure]:
    """100,000 rules: no less than 0.8 of rte_acl's rate."""
    figures = []
    for name in LARGE:
        found = rounds(settings, {"mode": "classify", "set": name}, 3)
        figures += compare(name, found, 1 / 0.8)
    return figures


def growth_figures(settings: Settings) -> list[Figure]:
    """From 10 to 100,000 rules of one set; plot.py draws it."""
    figures = []
    for n in SIZES:
        found = rounds(settings, {"mode": "classify", "set": "acl1_100k", "rules": n}, 3)
        figures.append(Figure(f"{n:,} rules: rte_acl", "ns", found["raw"]))
        figures.append(Figure(f"{n:,} rules: classify", "ns", found["ours"]))
    return figures


def update_figures(settings: Settings) -> list[Figure]:
    """A table of 10,000 rules that changes while it is read."""
    given = {"mode": "updates", "set": "acl1_10k", "seconds": settings.seconds, "mbufs": 16383}
    found = rounds(settings, given)
    return [
        Figure("time of an update (paired adds and removes)", "us",
               [1e6 / v for v in found["updates"]], 10),
        Figure("paired updates a second", "1/s", found["updates"]),
        Figure("forwarding without updates", "Mpps", [v / 1e6 for v in found["forwarded"]]),
        Figure("  lost with them", "%", [100 * v for v in found["loss"]], 15),
        Figure("resident memory growth per update", "bytes", found["grown"], 0.5),
        Figure("from add until a lookup has seen it, median", "us", found["latency"], 1000),
        Figure("one-way adds a second, 20,000 rules", "1/s", found["adds"]),
        Figure("  until all are merged", "1/s", found["adds_merged"]),
        Figure("  CPU time of the merges", "s", found["merge_cpu"]),
    ]  # fmt: skip


def forwarding(
    name: str,
    rules: bool,
    seconds: int,
    *,
    headers: int = 0,
    memory: str = "thp",
    cache: bool = True,
) -> dict[str, float]:
    """{"ns": a packet}: the trace from net_pcap to net_null, with its rules or without."""
    return child("rules", {
        "mode": "forward", "set": name, "rules": rules, "seconds": seconds, "headers": headers,
        "memory": memory, "mbufs": 16383, "flow_cache": cache,
    })  # fmt: skip


def forward_figures(settings: Settings) -> list[Figure]:
    """With rules, against the sum of plain forwarding, the parse and raw rte_acl."""
    import headers

    parse = next(
        f for f in headers.parse_figures(Settings(3, 1))
        if f.label.startswith("five-tuple") and f.label.endswith("cached") and f.bar
    )  # fmt: skip
    parse_ns = statistics.median(parse.samples)
    figures = [Figure("the parse of a five-tuple", "ns", parse.samples)]
    for name in ("acl1_1k", "acl1_10k"):
        plain, raw, ours, each = [], [], [], []
        for _ in range(settings.rounds):
            plain.append(forwarding(name, False, settings.seconds)["ns"])
            raw.append(child("acl", {"set": name, "headers": HEADERS})["ns32"])
            ours.append(forwarding(name, True, settings.seconds)["ns"])
            each.append(forwarding(name, True, settings.seconds, cache=False)["ns"])
        parts = [p + parse_ns + r for p, r in zip(plain, raw, strict=True)]
        figures += [
            Figure(f"{name}: l2fwd without rules", "ns", plain),
            Figure(f"{name}: rte_acl, burst 32", "ns", raw),
            Figure(f"{name}: l2fwd with rules", "ns", ours),
            Figure(
                f"{name}: of the sum of those and the parse",
                "ratio",
                [o / s for o, s in zip(ours, parts, strict=True)],
                1.15,
            ),
            Figure(f"{name}: l2fwd with rules, no flow cache", "ns", each),
            Figure(
                f"{name}: of the sum", "ratio", [o / s for o, s in zip(each, parts, strict=True)]
            ),
        ]
    return figures


BENCHMARKS = [
    Benchmark(
        "rules-classify", "lookups of 1,000 and 10,000 rules against rte_acl, ns a packet",
        figures=classify_figures,
        notes=["classify reads columns; rte_acl's keys are made before the clock starts"],
    ),
    Benchmark(
        "rules-large", "lookups of 100,000 rules against rte_acl", figures=large_figures
    ),
    Benchmark(
        "rules-growth", "lookups of 10 to 100,000 rules of acl1", figures=growth_figures
    ),
    Benchmark(
        "rules-updates", "a table of 10,000 rules that changes while it is read",
        figures=update_figures,
        notes=["the writer is a Python thread on the first CPU, l2fwd forwards on the second"],
    ),
    Benchmark(
        "rules-forward", "forwarding by rules, ns a packet, net_pcap (infinite_rx) to net_null",
        figures=forward_figures,
    ),
]  # fmt: skip
