"""The results as tables: plain for the terminal, markdown for the README."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

BEGIN = "<!-- results: written by run.py --markdown, do not edit -->"
END = "<!-- end of results -->"

Row = Sequence[str]


def number(value: float) -> str:
    """Three or four significant digits."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def verdict(entry: dict[str, Any]) -> str:
    """Is the bar met? "" where there is none."""
    return "" if entry["bar"] is None else ("yes" if entry["met"] else "NO")


def ratio_rows(result: dict[str, Any]) -> Iterator[Row]:
    """A row for each ratio of each case."""
    yield ("benchmark", "case", "veridnet", "peer", "Mpps", "ratio", "quartiles", "min..max",
           "bar", "met")  # fmt: skip
    for b in result["benchmarks"]:
        for case in b.get("cases", ()):
            for r in case["ratios"]:
                over, under = case["mpps"][r["over"]], case["mpps"][r["under"]]
                ours = r["over"].partition(", ")[2] or "loop"
                yield (
                    b["name"],
                    case["label"] + ("" if ours == "loop" else f" ({ours})"),
                    number(over["median"]),
                    r["under"],
                    number(under["median"]),
                    f"{r['median']:.3f}",
                    f"{r['q1']:.3f}..{r['q3']:.3f}",
                    f"{r['min']:.3f}..{r['max']:.3f}",
                    "" if r["bar"] is None else f">= {r['bar']:g}",
                    verdict(r),
                )


def figure_rows(result: dict[str, Any]) -> Iterator[Row]:
    """A row for each figure without a peer."""
    yield ("benchmark", "figure", "median", "unit", "min..max", "bar", "met")
    for b in result["benchmarks"]:
        for f in b.get("figures", ()):
            yield (
                b["name"],
                f["label"],
                number(f["median"]),
                f["unit"],
                f"{number(f['min'])}..{number(f['max'])}",
                "" if f["bar"] is None else f"<= {f['bar']:g}",
                verdict(f),
            )


def about(result: dict[str, Any]) -> list[str]:
    """The machine and the run, in lines."""
    m, u = result["machine"], result["usage"]
    kind = "virtual machine" if m["virtual"] else "bare metal"
    runs: dict[tuple[str, str], list[str]] = {}
    for b in result["benchmarks"]:
        runs.setdefault((b["started"].partition(" ")[0], b["commit"]), []).append(b["name"])
    return [
        f"{result['started']}, {u['seconds'] / 60:.0f} minutes, {result['rounds']} rounds, "
        f"windows of {result['seconds']} s (frame sizes: 1 s)",
        *(f"{when}, commit {what}: {', '.join(names)}" for (when, what), names in runs.items()),
        f"{m['cpu']}, {m['cpus']} CPUs, {m['mhz']} MHz, {kind}, governor {m['governor']}, "
        f"{m['memory_gib']} GiB",
        f"Linux {m['kernel']}, transparent huge pages {m['thp']}, "
        f"{m['hugepages_before']} hugepages reserved before the run",
        f"DPDK {m['dpdk'] or 'unknown'}, testpmd {m['testpmd'] or 'unknown'}, Python {m['python']}",
        f"load average at the start {m['load_at_start']:.2f}; during the run steal time "
        f"{u['steal_percent']} % and other processes {u['others_percent']} % of one CPU",
    ]


def aligned(rows: list[Row]) -> str:
    """Rows in columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def tables(result: dict[str, Any]) -> list[list[Row]]:
    """The tables that have rows."""
    found = [list(ratio_rows(result)), list(figure_rows(result))]
    return [rows for rows in found if len(rows) > 1]


def failures(result: dict[str, Any]) -> list[str]:
    """What could not be run."""
    return [f"{b['name']}: not run: {b['error']}" for b in result["benchmarks"] if "error" in b]


def plain(result: dict[str, Any]) -> str:
    """For the terminal."""
    parts = [aligned(rows) for rows in tables(result)]
    parts += ["\n".join([*about(result), *failures(result)])]
    return "\n\n".join(parts)


def markdown(result: dict[str, Any]) -> str:
    """For the README."""
    parts = ["\n".join(f"- {line}" for line in about(result))]
    for rows in tables(result):
        lines = [f"| {' | '.join(row)} |" for row in rows]
        lines.insert(1, "|" + " --- |" * len(rows[0]))
        parts.append("\n".join(lines))
    if failed := failures(result):
        parts.append("\n".join(f"- {line}" for line in failed))
    notes = [f"- {b['name']}: {n}" for b in result["benchmarks"] for n in b["notes"]]
    if notes:
        parts.append("\n".join(notes))
    return "\n\n".join(parts)


def replace_between_markers(path: Path, text: str) -> None:
    """Puts the text between the two markers of the file."""
    head, found, rest = path.read_text().partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not found or not end:
        raise SystemExit(f"{path} lacks the line {BEGIN if not found else END}")
    path.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}")
