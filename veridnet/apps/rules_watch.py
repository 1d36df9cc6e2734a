"""The rates of a running table's rules, from two snapshots of `veridnet.rules.monitor`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from veridnet.errors import ConfigError, VeridnetError
from veridnet.rules import monitor

_WORDS = {"id", "name", "priority", "match", "actions"}


def find(which: str | None) -> str:
    """The socket to ask: a path, a process's number, the rule file it runs, or the only one."""
    if which and ("/" in which or which.endswith(".sock")) and not which.endswith(".toml"):
        return which
    paths = monitor.running()
    if which and which.isdigit():
        paths = [p for p in paths if p.endswith(f"rules-{which}.sock")]
    elif which:
        paths = [p for p in paths if _runs(p, which)]
    if not paths:
        of = f" of {which}" if which else ""
        raise ConfigError(f"no running program serves rules{of} in {monitor.folder()}",
                          hint="veridnet l2fwd --rules FILE; its user's, or as root")  # fmt: skip
    if len(paths) > 1:
        raise ConfigError(f"{len(paths)} programs serve rules", hint=f"name one: {' '.join(paths)}")
    return paths[0]


def _runs(path: str, file: str) -> bool:
    import os

    try:
        there = str(monitor.query(path).get("file", ""))
    except VeridnetError:  # it ends, or is none of ours
        return False
    return bool(there) and os.path.realpath(there) == os.path.realpath(file)


def ask(path: str) -> dict[str, Any]:
    """A snapshot of the program that serves `path`. VeridnetError says why there is none."""
    found = monitor.query(path)
    if not _is_snapshot(found):
        raise VeridnetError(f"{path}: its answer is no snapshot of rules")
    return found


def _is_snapshot(found: Mapping[str, Any]) -> bool:
    """Has it what readers of a snapshot rely on?"""
    rules, missed = found.get("rules"), found.get("missed", {"packets": 0, "bytes": 0})
    return (
        isinstance(found.get("pid"), int)
        and isinstance(found.get("seconds"), int | float)
        and isinstance(rules, list)
        and all(isinstance(rule, dict) and rule.keys() >= _WORDS for rule in rules)
        and all(
            isinstance(counted, dict)
            and all(isinstance(counted.get(key), int) for key in ("packets", "bytes"))
            for counted in [*rules, missed]
        )
    )


def with_rates(now: Mapping[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any]:
    """A snapshot with packets and bits a second, since the one before; 0 without that."""
    out = dict(now)
    seconds = now["seconds"] - before["seconds"] if before else 0.0
    old = {rule["id"]: rule for rule in before["rules"]} if before else {}
    out["rules"] = [rated(rule, old.get(rule["id"]), seconds) for rule in now["rules"]]
    if "missed" in now:
        out["missed"] = rated(now["missed"], before.get("missed") if before else None, seconds)
    return out


def rated(
    now: Mapping[str, Any], before: Mapping[str, Any] | None, seconds: float
) -> dict[str, Any]:
    """Counters with their rates."""
    packets = bits = 0.0
    if before is not None and seconds > 0:
        # Less than before: another rule has the id now.
        packets = max(now["packets"] - before["packets"], 0) / seconds
        bits = max(now["bytes"] - before["bytes"], 0) * 8 / seconds
    return {**now, "packets_per_second": packets, "bits_per_second": bits}
