"""Plots of results, as SVG by gnuplot: what a lookup costs from 10 to 100,000 rules."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from machine import BenchError

SCRIPT = """
set terminal svg noenhanced size 760,460 font "sans-serif,13" background "white"
set logscale x
set xrange [8:130000]
set yrange [0:*]
set xlabel "rules (of ClassBench acl1)"
set ylabel "ns a lookup, one core"
set grid
set key top left
set format x "%.0s%c"
"""
COLOURS = ("#777777", "#0060ad", "#dd4400")


def growth(result: dict[str, Any], path: Path) -> bool:
    """Draws "rules-growth" of a result; False if it has none."""
    lines: dict[str, list[tuple[int, float, float, float]]] = {}
    for b in result["benchmarks"]:
        if b["name"] != "rules-growth":
            continue
        for f in b.get("figures", ()):
            if m := re.fullmatch(r"([\d,]+) rules: (.+)", f["label"]):
                row = (int(m[1].replace(",", "")), f["median"], f["min"], f["max"])
                lines.setdefault(m[2], []).append(row)
    if not lines:
        return False
    if shutil.which("gnuplot") is None:
        raise BenchError("gnuplot is not installed (Debian: apt install gnuplot-nox)")
    script, plots = SCRIPT, []
    for k, (name, rows) in enumerate(lines.items()):
        data = "\n".join(" ".join(f"{v:g}" for v in row) for row in sorted(rows))
        script += f"$d{k} << EOD\n{data}\nEOD\n"
        style = f'lw 2 lc rgb "{COLOURS[k % len(COLOURS)]}"'
        plots += [
            f'$d{k} using 1:2 with linespoints pt 7 ps 0.6 {style} title "{name}"',
            f"$d{k} using 1:2:3:4 with yerrorbars ps 0 {style} notitle",
        ]
    script += "plot " + ", ".join(plots) + "\n"
    done = subprocess.run(["gnuplot"], input=script, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise BenchError(f"gnuplot: {done.stderr.strip()}")
    path.write_text(done.stdout)
    return True
