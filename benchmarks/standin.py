"""What has the interface of `veridnet.FlowTable` and is rte_acl: to try rules.py without one.

Updates do nothing but count. VN_STANDIN=1 chooses it. To be deleted with the first table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import acl
import classbench


class FlowTable:
    """Only what rules.py calls."""

    def __init__(self, filters: Any, rt: Any) -> None:
        self.filters = filters
        self.next = len(filters)
        self.added: list[int] = []
        self.acl = acl.Acl([filters], socket=rt.reserve(acl.ROOM))
        self.all = -1  # a rule that all packets match

    @classmethod
    def load(cls, path: Path, format: str, rt: Any) -> FlowTable:
        """A ClassBench file."""
        return cls(classbench.parse(Path(path).read_text()), rt)

    def add(self, match: object, priority: int = 0) -> int:
        """An id."""
        rule, self.next = self.next, self.next + 1
        if priority >= 1000:
            self.all = rule
        return rule

    def remove(self, rule: int) -> None:
        """Nothing."""
        if rule == self.all:
            self.all = -1

    def classify(self, h: Any) -> Any:
        """Winners."""
        import numpy as np

        trace = np.empty(len(h), classbench.HEADER)
        for ours, name in (("src", "ip_src"), ("dst", "ip_dst"), ("sport", "l4_src"),
                           ("dport", "l4_dst"), ("proto", "ip_proto")):  # fmt: skip
            trace[ours] = getattr(h, name)
        winners = np.empty(len(h), "i4")
        self.acl.classify(acl.keys(trace), winners)
        if self.all >= 0:
            winners[:] = self.all
        return winners
