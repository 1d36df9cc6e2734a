"""The peer: dpdk-testpmd, one forwarding core, its rate read from its own statistics."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Sequence

from harness import WARMUP, bounded
from machine import BenchError, cpus

#: EAL's memory options by memory kind; 512 MiB in each.
MEMORY = {
    "hugepages": ("--in-memory", "-m", "512"),
    "no-huge": ("--no-huge", "--no-shconf", "-m", "512"),
}

TX_PPS = re.compile(r"Tx-pps:\s+(\d+)")


def testpmd(
    vdevs: Sequence[str],
    seconds: int,
    *,
    memory: str = "hugepages",
    burst: int = 32,
    start: str = "start",
) -> float:
    """Mpps that testpmd's macswap sends, all ports summed, over `seconds` after the warm-up.

    Its prompt is asked for the statistics after the warm-up and again at the end: what stands
    there is the rate since the question before. (With --stats-period its intervals are of one or
    of two seconds, as its own clock has it.)
    """
    if shutil.which("dpdk-testpmd") is None:
        raise BenchError("dpdk-testpmd is not installed (Debian: apt install dpdk-dev)")
    main, worker = cpus()
    # stdbuf: answers are wanted at once, not when a buffer is full.
    command = bounded("stdbuf", "-oL", "dpdk-testpmd", *MEMORY[memory], "--no-pci",
                      "--no-telemetry", "-l", f"{main},{worker}")  # fmt: skip
    for vdev in vdevs:
        command += ["--vdev", vdev]
    command += ["--", "-i", "--forward-mode=macswap", "--nb-cores=1", f"--burst={burst}"]
    command += ["--total-num-mbufs=16384"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace",
    ) as process:  # fmt: skip
        try:
            ask(process, f"{start}\nshow port stats all", len(vdevs))
            time.sleep(WARMUP)
            ask(process, "show port stats all", len(vdevs))
            time.sleep(seconds)
            rates = ask(process, "show port stats all", len(vdevs))
            process.communicate("quit\n")
        except BaseException:
            process.terminate()
            raise
    if sum(rates) == 0:
        raise BenchError(f"dpdk-testpmd sent nothing: {' '.join(command)}")
    return sum(rates) / 1e6


def ask(process: subprocess.Popen[str], command: str, ports: int) -> list[int]:
    """Types a command whose answer is the statistics of so many ports; their Tx-pps."""
    assert process.stdin is not None and process.stdout is not None
    rates: list[int] = []
    last = ""
    try:
        process.stdin.write(command + "\n")
        process.stdin.flush()
        while len(rates) < ports and (line := process.stdout.readline()):
            last = line.strip() or last
            if m := TX_PPS.search(line):
                rates.append(int(m[1]))
    except BrokenPipeError:
        pass
    if len(rates) < ports:
        raise BenchError(f"dpdk-testpmd ended early: {last}")
    return rates
