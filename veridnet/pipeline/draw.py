"""Plans as text, as Mermaid, and as Graphviz."""

from __future__ import annotations

from collections.abc import Sequence

from veridnet.pipeline.pipeline import Numbered
from veridnet.pipeline.plan import Plan
from veridnet.texts import table as text_table

Box = tuple[str, str]
Arrow = tuple[str, str, str]


def table(plan: Plan) -> str:
    """For a terminal."""
    rows = []
    for k, segment in enumerate(plan.segments):
        for top in segment:
            for n in top.walk():
                indent = "  " * len(n.path)
                if n.path and n is not top:
                    indent += f"[{n.path[-1]}] "
                who = [w.number for w in plan.workers if w.segment == k]
                gil = "takes" if n.stage.python else "-"
                rows.append([str(n.number), indent + n.stage.kind, n.stage.text,
                             ", ".join(map(str, who)), gil])  # fmt: skip
    lines = [text_table(["#", "stage", "what", "workers", "GIL"], rows), ""]
    where = [
        [str(w.number), str(w.lcore), str(w.cpu), ", ".join(x.text for x in w.lanes) or "-", w.why]
        for w in plan.workers
    ]
    lines.append(text_table(["worker", "lcore", "CPU", "from", "why"], where))
    lines += [
        f"link {x.number}: workers {', '.join(map(str, x.producers))} -> "
        f"{', '.join(map(str, x.consumers))} by rings of {x.size}; full: "
        + ("they wait" if x.full == "wait" else "ring_full")
        for x in plan.links
    ]
    return "\n".join([*lines, *plan.notes])


def escape(text: str) -> str:
    """Between double quotes."""
    return text.replace("\\", "/").replace('"', "'")


def chain_of(prefix: str, nodes: Sequence[Numbered]) -> tuple[list[Box], list[Arrow]]:
    """Boxes (id, text) and arrows (from, to, text) of a chain and its branches."""
    boxes: list[Box] = []
    arrows: list[Arrow] = []
    before: list[tuple[str, str]] = []
    for n in nodes:
        me = f"{prefix}s{n.number}"
        text = n.stage.kind + (f"\n{n.stage.text}" if n.stage.text else "")
        boxes.append((me, text))
        arrows += [(a, me, label) for a, label in before]
        before = [] if n.stage.ends else [(me, "")]
        for name, branch in n.branches:
            inner, more = chain_of(prefix, branch)
            boxes += inner
            arrows += more
            if branch:
                arrows.append((me, f"{prefix}s{branch[0].number}", name))
                if not branch[-1].stage.ends and n.stage.kind == "split":
                    before.append((f"{prefix}s{branch[-1].number}", "left"))
    return boxes, arrows


def _sources(plan: Plan) -> dict[str, str]:
    """Text -> id of what packets come from."""
    lanes = [x for w in plan.workers for x in w.lanes if not isinstance(x.source, int)]
    texts = dict.fromkeys(x.text for x in lanes)
    return {text: f"r{i}" for i, text in enumerate(texts)}


def mermaid(plan: Plan) -> str:
    """https://mermaid.js.org flowchart."""
    lines = ["flowchart LR"]
    sources = _sources(plan)
    lines += [f'  {id}(["{escape(text)}"])' for text, id in sources.items()]
    ends: list[str] = []
    for w in plan.workers:
        boxes, arrows = chain_of(f"w{w.number}", plan.segments[w.segment])
        lines.append(f'  subgraph w{w.number}["worker {w.number}: lcore {w.lcore}, CPU {w.cpu}"]')
        for id, text in boxes or [(f"w{w.number}end", "nothing")]:
            lines.append(f'    {id}["{escape(text).replace(chr(10), "<br>")}"]')
        for a, b, label in arrows:
            lines.append(f'    {a} -- "{escape(label)}" --> {b}' if label else f"    {a} --> {b}")
        lines.append("  end")
        first = boxes[0][0] if boxes else f"w{w.number}end"
        for lane in w.lanes:
            if isinstance(lane.source, int):
                for p in plan.links[lane.source].producers:
                    last = plan.segments[plan.workers[p].segment][-1]
                    ends.append(f'  w{p}s{last.number} == "ring" ==> {first}')
            else:
                ends.append(f"  {sources[lane.text]} --> {first}")
    return "\n".join([*lines, *ends]) + "\n"


def graphviz(plan: Plan) -> str:
    """https://graphviz.org: ``dot -Tsvg``."""
    lines = ["digraph pipeline {", "  rankdir=LR; node [shape=box, fontname=sans];"]
    sources = _sources(plan)
    lines += [f'  {id} [label="{escape(t)}", shape=ellipse];' for t, id in sources.items()]
    ends: list[str] = []
    for w in plan.workers:
        boxes, arrows = chain_of(f"w{w.number}", plan.segments[w.segment])
        lines.append(f"  subgraph cluster_w{w.number} {{")
        lines.append(f'    label="worker {w.number}: lcore {w.lcore}, CPU {w.cpu}";')
        for id, text in boxes or [(f"w{w.number}end", "nothing")]:
            lines.append(f'    {id} [label="{escape(text).replace(chr(10), chr(92) + "n")}"];')
        lines += [f'    {a} -> {b} [label="{escape(label)}"];' for a, b, label in arrows]
        lines.append("  }")
        first = boxes[0][0] if boxes else f"w{w.number}end"
        for lane in w.lanes:
            if isinstance(lane.source, int):
                for p in plan.links[lane.source].producers:
                    last = plan.segments[plan.workers[p].segment][-1]
                    ends.append(f'  w{p}s{last.number} -> {first} [label="ring", style=bold];')
            else:
                ends.append(f"  {sources[lane.text]} -> {first};")
    return "\n".join([*lines, *ends, "}"]) + "\n"
