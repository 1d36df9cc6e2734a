"""Flow rules: match, priority, actions.

Names load at first use: reading rule files needs no engines.
"""

from __future__ import annotations

import typing

if typing.TYPE_CHECKING:
    from veridnet.rules.ageing import Expired
    from veridnet.rules.rule import Rule, RuleSet
    from veridnet.rules.table import FlowTable

__all__ = ["Expired", "FlowTable", "Rule", "RuleSet"]


def __getattr__(name: str) -> object:
    if name in ("Rule", "RuleSet"):
        from veridnet.rules import rule as home
    elif name in __all__:
        from veridnet.rules import table as home  # type: ignore[no-redef]
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(home, name)
