"""Ctrl-C while the command starts: no traceback."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time

import pytest
from running import COMMAND

#: Sends itself SIGINT when the module named first is imported, then runs the command.
INTERRUPTED = """
import os, signal, sys
name, *sys.argv[1:] = sys.argv[1:]
class Finder:
    def find_spec(self, module, path=None, target=None):
        if module == name:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
finder = Finder()
sys.meta_path.insert(0, finder)
from veridnet.cli import main
assert finder in sys.meta_path, "loaded before main"
code = main()
sys.exit(code if finder not in sys.meta_path else "not imported")
"""


#: A frame in a module of ours that is not on the way to `main`.
OURS = r"site-packages/veridnet/(?!__init__|__main__|_version|cli/__init__)|cli/.*, in main"


@pytest.mark.parametrize(
    "module", ["argparse", "numpy", "rich.console", "veridnet.runtime", "veridnet.cli.commands"]
)
def test_while_modules_are_loaded(module: str) -> None:
    """In `main`, which must load all of these: exit code 130, and nothing printed."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", INTERRUPTED, module, "l2fwd", "-p", "null"],
        capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_at_any_time() -> None:
    """0.01 s to 0.3 s after the start; all but Python's own start is ours."""
    for delay in [*(n / 100 for n in range(1, 13)), 0.15, 0.2, 0.25, 0.3]:
        process = subprocess.Popen(
            [*COMMAND, "l2fwd", "-p", "null", "-p", "null", "--duration", "3", "--json"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        if process.returncode in (0, 130):
            assert "Traceback" not in err
            assert (process.returncode == 0) == bool(out)
        else:  # Python itself was starting, and on the way to our main at most
            assert not re.search(OURS, err), (delay, err)
            assert not out
