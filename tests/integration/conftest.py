"""What the integration tests share. They need root and network namespaces, else they skip."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.append(str(HERE))

from captures import whole  # noqa: E402
from netns import Lab, why_not  # noqa: E402


@cache
def reason_to_skip() -> str:
    return why_not()


@pytest.fixture(autouse=True)
def namespaces_work() -> None:
    """Skips where namespaces cannot be made."""
    if reason := reason_to_skip():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def whole_trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packets of all Ethernet traces in one capture: see `captures.whole`."""
    return whole(tmp_path_factory.mktemp("captures") / "whole.pcap")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Namespaces and processes that end with the test."""
    lab = Lab(tmp_path)
    try:
        yield lab
    finally:
        lab.close()
