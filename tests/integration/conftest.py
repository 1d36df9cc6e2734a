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

from netns import Lab, why_not  # noqa: E402


@cache
def reason_to_skip() -> str:
    return why_not()


@pytest.fixture(autouse=True)
def namespaces_work() -> None:
    """Skips where namespaces cannot be made."""
    if reason := reason_to_skip():
        pytest.skip(reason)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Namespaces and processes that end with the test."""
    lab = Lab(tmp_path)
    try:
        yield lab
    finally:
        lab.close()
