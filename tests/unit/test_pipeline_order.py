"""Order and loss: pipelines at random, in every arrangement, against a model in Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pipelines import traffic

FRAMES = 600
SETUP = f"""
import sys; sys.path[:0] = [{str(Path(__file__).parent.parent)!r}]
from many_lcores import pretend
pretend(4)
from pathlib import Path
from hypothesis import HealthCheck, given, settings, strategies as st
from pipelines import traffic
from random_pipelines import chains, check
FRAMES = traffic({FRAMES})
SOURCE = Path(sys.argv[1])
"""


@pytest.fixture
def run_order(run_python: Any, tmp_path: Path, write_pcap: Any) -> Callable[[str], None]:
    """Runs code after SETUP in a process with four worker lcores."""
    source = write_pcap(tmp_path / "in.pcap", traffic(FRAMES))
    return lambda code: run_python(SETUP + code, source, timeout=170)


@pytest.mark.parametrize("lcores", [1, 3])
def test_random_pipelines(run_order: Any, lcores: int) -> None:
    """Three workers: handoffs are real, and without one, flows are dealt out."""
    run_order(f"""
@settings(max_examples=40, deadline=None, database=None, derandomize=True,
          suppress_health_check=list(HealthCheck))
@given(chains, st.sampled_from([1, 7, 32, 100, 512]))
def test(chain, burst):
    check(chain, SOURCE, FRAMES, lcores={lcores}, burst=burst)
test()
""")


def test_more_copies_than_an_output_holds(run_order: Any) -> None:
    """A burst whose packets go to one port several times leaves it in order all the same."""
    run_order("""
for chain, burst in (
    ((("mirror", 1), ("forward", 1)), 512),
    ((("mirror", 1), ("mirror", 1), ("mirror", 1), ("forward", 1)), 256),
    ((("tee", (("forward", 1),)), ("forward", 1)), 512),
):
    check(chain, SOURCE, FRAMES, lcores=1, burst=burst)
""")
