"""Pipelines at random for `pipelines.traffic`, and what each of them must send: a model in Python.

A chain is a tuple of stages, each a tuple: ("filter", "keep" or "drop", dport), ("rewrite",),
("python", dport), ("mirror", port), ("tee", chain), ("split", ((dport, chain), ...), rest),
("by_rule", chain of rule 0, chain of none), ("apply",), ("forward", port), ("handoff", workers).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from pipelines import PORTS, in_order, number, through
from scapy.utils import RawPcapReader

import veridnet as vn

OUTS = (1, 2, 3)
#: Of apply stages; dport -> what becomes of it.
RULES = [vn.Rule("l4_dst == 80", ["forward 2"]), vn.Rule("l4_dst == 22", ["drop"]),
         vn.Rule("l4_dst == 443", ["mirror 3"]),
         vn.Rule("l4_dst == 9", ["forward 1,3"])]  # fmt: skip

dports = st.sampled_from([*PORTS, 0])
outs = st.sampled_from(OUTS)
ends = st.one_of(st.none(), outs.map(lambda k: ("forward", k)))
simple = st.one_of(
    st.tuples(st.just("filter"), st.sampled_from(["keep", "drop"]), dports),
    st.just(("rewrite",)),
    st.tuples(st.just("python"), dports),
    st.tuples(st.just("mirror"), outs),
    st.just(("apply",)),
)


def chain(stages: Any) -> Any:
    """Some stages, and perhaps an end; never nothing."""
    return st.tuples(st.lists(stages, max_size=3), ends).map(
        lambda x: (*x[0], *([x[1]] if x[1] else [])) or (("rewrite",),)
    )


def deeper(stages: Any) -> Any:
    inner = chain(stages)
    cases = st.lists(st.tuples(dports, inner), min_size=1, max_size=3, unique_by=lambda c: c[0])
    return st.one_of(
        simple,
        st.tuples(st.just("tee"), inner),
        st.tuples(st.just("split"), cases.map(tuple), st.one_of(st.none(), inner)),
        st.tuples(st.just("by_rule"), inner, inner),
    )


stages = st.recursive(simple, deeper, max_leaves=6)
handoffs = st.sampled_from([(), (), (("handoff", 1),), (("handoff", 2),)])
#: Whole pipelines: stages, perhaps a handoff, stages.
chains = st.tuples(st.lists(stages, max_size=3), handoffs, chain(stages)).map(
    lambda x: (*x[0], *x[1], *x[2])
)


def build(pipe: vn.Pipeline, chain: Sequence[Any], ports: Sequence[Any], table: Any) -> vn.Pipeline:
    """The pipeline of a chain."""
    for kind, *args in chain:
        match kind:
            case "filter" if args[0] == "keep":
                pipe = pipe.filter(f"l4_dst == {args[1]}")
            case "filter":
                pipe = pipe.drop(f"l4_dst == {args[1]}")
            case "rewrite":
                pipe = pipe.rewrite("dec_ttl", swap_macs=True)
            case "python":
                pipe = pipe.stage(lambda h, dport=args[0]: h.l4_dst != dport)
            case "mirror":
                pipe = pipe.mirror(ports[args[0]])
            case "tee":
                pipe = pipe.tee(build(vn.Pipeline(), args[0], ports, table))
            case "split":
                cases = {d: build(vn.Pipeline(), c, ports, table) for d, c in args[0]}
                rest = build(vn.Pipeline(), args[1], ports, table) if args[1] else None
                pipe = pipe.split(cases, column="l4_dst", rest=rest)
            case "by_rule":
                rule, none = (build(vn.Pipeline(), c, ports, table) for c in args)
                pipe = pipe.classify(table).split(rule={0: rule, None: none})
            case "apply":
                pipe = pipe.apply(table)
            case "forward":
                pipe = pipe.forward(ports[args[0]])
            case "handoff":
                pipe = pipe.handoff(args[0], ring=64)
    return pipe


def dport(raw: bytes) -> int:
    flow = number(raw)[0]
    return 0 if flow % 11 == 10 else PORTS[flow % len(PORTS)]


def model(chain: Sequence[Any], raw: bytes, sent: dict[int, list[tuple[int, int]]]) -> bool:
    """What a chain does with a packet: whether it goes on; what is sent is put into `sent`."""
    me, to = number(raw), dport(raw)
    for kind, *args in chain:
        match kind:
            case "filter":
                if (to == args[1]) != (args[0] == "keep"):
                    return False
            case "python":
                if to == args[0]:
                    return False
            case "mirror":
                sent[args[0]].append(me)
            case "tee":
                model(args[0], raw, sent)
            case "split":
                way = next((c for d, c in args[0] if d == to), args[1])
                if way is not None and not model(way, raw, sent):
                    return False
            case "by_rule":
                way = args[0] if to == 80 else args[1] if to not in (22, 443, 9) else None
                if way is not None and not model(way, raw, sent):
                    return False
            case "apply":
                for k in {80: (2,), 443: (3,), 9: (1, 3)}.get(to, ()):
                    sent[k].append(me)
                if to in (80, 22, 9):
                    return False
            case "forward":
                sent[args[0]].append(me)
                return False
    return True


def expected(chain: Sequence[Any], frames: Sequence[bytes]) -> dict[int, list[tuple[int, int]]]:
    """(flow, seq) of what each port sends, copies next to each other, in the order of arrival."""
    sent: dict[int, list[tuple[int, int]]] = {k: [] for k in OUTS}
    for raw in frames:
        model(chain, raw, sent)
    return sent


def frames_of(path: Path) -> list[bytes]:
    """The frames of a capture, by scapy."""
    with RawPcapReader(str(path)) as reader:  # type: ignore[call-overload]
        return [bytes(frame) for frame, _ in reader]


def check(chain: Sequence[Any], source: Path, frames: Sequence[bytes], **options: Any) -> None:
    """Runs a chain over a capture: nothing is lost, made up, or overtaken."""
    with vn.Runtime() as rt, vn.FlowTable(RULES) as table:
        paths, running, _ = through(
            rt, source.parent, source,
            lambda p: build(vn.Pipeline(rx=[p[0]], ports=p), chain, p, table),
            outs=3, **options,
        )  # fmt: skip
        totals = rt.balance()
    assert totals.rx == len(frames)
    assert totals.held == rt.mbufs_in_use() == 0
    for (port, wanted), path in zip(expected(chain, frames).items(), paths, strict=True):
        sent = [number(f) for f in frames_of(path)]
        assert sorted(sent) == sorted(wanted), (port, running.plan)
        if len(running.plan.workers) == 1:
            assert [seq for _, seq in sent] == [seq for _, seq in wanted], port
        # Elsewhere, a copy and what it is a copy of may take ways through different workers.
        copied = {flow for (flow, _), n in Counter(wanted).items() if n > 1}
        in_order(f for f in frames_of(path) if number(f)[0] not in copied)
