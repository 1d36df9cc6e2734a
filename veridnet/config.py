"""What users write: port specs (``pcap:rx=in.pcap,tx=out.pcap``) and TOML profiles."""

from __future__ import annotations

import difflib
import operator
import os
import re
import socket
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from veridnet.errors import ConfigError
from veridnet.ports import KINDS, PCI_ADDRESS
from veridnet.topology_read import usable_cpus

__all__ = ["PortSpec", "Profile", "RuntimeConfig", "load_profile", "parse_port", "parse_vdev"]

MEMORY_KINDS = ("auto", "hugepages", "thp", "4k")
LOG_LEVELS = {
    "emergency": 1, "alert": 2, "critical": 3, "error": 4,
    "warning": 5, "notice": 6, "info": 7, "debug": 8,
}  # fmt: skip


#: What a profile's value must be, and one as it is written.
TOML_TYPES = {
    bool: ("true or false", "true"),
    int: ("a whole number", "32"),
    float: ("a number", "2.5"),
    str: ("text in quotes", '"..."'),
}


@dataclass(frozen=True)
class PortSpec:
    """One port as asked for: its kind, and the options of that kind."""

    kind: str
    options: dict[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        pairs = ",".join(f"{k}={v}" for k, v in self.options.items() if v is not None)
        return f"{self.kind}:{pairs}" if pairs else self.kind


@dataclass(frozen=True)
class RuntimeConfig:
    """How EAL starts, and the pools.

    Attributes
    ----------
    memory
        "hugepages", "thp" (transparent huge pages), "4k", or "auto": the first of these that is
        there.
    mbufs
        Mbufs of a pool (each port adds what its queues need).
    lcores
        CPUs of the worker lcores, one each; None for every CPU that the process may use.
    log_level
        Which of DPDK's log lines reach Python's logging: emergency .. debug.
    shared
        A name by which other processes attach to this one's memory: it is the primary. Needs
        hugepages and a hugetlbfs mount.
    attach
        The name of a primary: this process shares its memory, pools and named rings, as a
        secondary. It makes no ports.
    """

    memory: str = "auto"
    mbufs: int = 16383
    lcores: tuple[int, ...] | None = None
    log_level: str = "notice"
    shared: str | None = None
    attach: str | None = None

    def __post_init__(self) -> None:
        if self.memory not in MEMORY_KINDS:
            raise ConfigError(f"memory={self.memory!r}: must be one of {', '.join(MEMORY_KINDS)}")
        if not isinstance(self.mbufs, int) or not 512 <= self.mbufs <= 2**26:
            raise ConfigError(f"mbufs={self.mbufs!r}: must be a number from 512 to 67108864")
        if not isinstance(self.log_level, str) or self.log_level not in LOG_LEVELS:
            raise ConfigError(
                f"log_level={self.log_level!r}: must be one of {', '.join(LOG_LEVELS)}"
            )
        if self.shared is not None and self.attach is not None:
            raise ConfigError("shared and attach: a process is a primary or a secondary, not both")
        if self.group_name is not None and self.memory not in ("auto", "hugepages"):
            raise ConfigError(f"memory={self.memory!r}: processes share hugepages only")
        if self.lcores is not None:
            object.__setattr__(self, "lcores", parse_lcores(self.lcores))

    @property
    def group_name(self) -> str | None:
        """The name of the processes that share memory, if this one is to be one of them."""
        return self.shared if self.shared is not None else self.attach


def parse_lcores(value: object) -> tuple[int, ...]:
    """CPU numbers from "1,3-5" or a sequence, checked against what the process may use."""
    if isinstance(value, int):
        cpus: list[int] = [value]
    elif isinstance(value, str):
        cpus = []
        for part in value.split(","):
            m = re.fullmatch(r"\s*(\d{1,5})(?:\s*-\s*(\d{1,5}))?\s*", part)
            if m is None or (m[2] and int(m[2]) < int(m[1])):
                raise ConfigError(f"lcores={value}: a list of CPUs is written as 1,3-5")
            cpus += range(int(m[1]), int(m[2] or m[1]) + 1)
    else:
        try:
            cpus = [operator.index(c) for c in value]  # type: ignore[attr-defined]
        except TypeError:
            raise ConfigError(f"lcores={value!r}: a list of CPU numbers") from None
    allowed = usable_cpus()
    missing = [c for c in cpus if c not in allowed]
    if missing:
        raise ConfigError(
            f"lcores: CPU {missing[0]} is not there (this process may use "
            f"{', '.join(map(str, allowed))})"
        )
    if len(set(cpus)) != len(cpus):
        raise ConfigError("lcores: a CPU is named twice")
    if not cpus:
        raise ConfigError("lcores: no CPU is named")
    return tuple(cpus)


def parse_port(text: str) -> PortSpec:
    r"""A port spec: ``KIND[:key=value,...]`` or a PCI address with ``[,key=value,...]``.

    A comma in a value is written ``\,``; a part without ``=`` belongs to the value before it, so
    most paths need no escape.
    """
    if m := re.match(rf"({PCI_ADDRESS.pattern})(?:,(.*))?$", text):
        options = parse_options("pci", m[2] or "")
        return PortSpec("pci", {"address": m[1], **options})
    kind, _, rest = text.partition(":")
    kind = kind.strip()
    check_kind(kind)
    return PortSpec(kind, parse_options(kind, rest))


def check_kind(kind: str) -> None:
    """ConfigError unless there is such a kind of port."""
    if kind in KINDS:
        return
    near = difflib.get_close_matches(kind.removeprefix("net_").lower(), KINDS, 1)
    head, comma, rest = kind.partition(",")
    if comma and head in KINDS:
        near = [f"{head}:{rest}"]
    elif os.path.isfile(kind):
        near = [f"pcap:rx={kind}"]
    elif kind in (name for _, name in socket.if_nameindex()):
        near = [f"af_packet:iface={kind}"]
    raise ConfigError(
        f"unknown kind of port {kind!r}" + (f" (did you mean {near[0]!r}?)" if near else ""),
        hint=f"there are {', '.join(KINDS)}, and PCI addresses (0000:03:00.0)",
    )


def parse_options(kind: str, text: str) -> dict[str, object]:
    """``key=value,...`` with ``\\,`` and ``\\\\`` as escapes."""
    options: dict[str, object] = {}
    if not text:
        return options
    last = ""
    for part in split_commas(text):
        key, eq, value = part.partition("=")
        key = key.strip()
        if last == "devargs":  # DPDK's own words, to the end
            options[last] = f"{options[last]},{part}"
        elif eq and re.fullmatch(r"[a-z][a-z0-9_-]*", key):
            last = key.replace("-", "_")
            if last in options:
                raise ConfigError(f"{kind}: {last} is given twice")
            options[last] = value
        elif last:
            options[last] = f"{options[last]},{part}"
        else:
            first = next((k.name for k in KINDS[kind].keys if k.name in ("rx", "iface")), "")
            raise ConfigError(
                f"{kind}: {part!r} is not key=value"
                + (f" (did you mean '{kind}:{first}={part}'?)" if first else ""),
                hint=f"keys: {', '.join(KINDS[kind].all_keys())}",
            )
    return options


def split_commas(text: str) -> list[str]:
    r"""Splits at commas; ``\,`` and ``\\`` stand for themselves."""
    parts, now, escaped = [], "", False
    for c in text:
        if escaped:
            now += c if c in ",\\" else "\\" + c
            escaped = False
        elif c == "\\":
            escaped = True
        elif c == ",":
            parts.append(now)
            now = ""
        else:
            now += c
    return [*parts, now + ("\\" if escaped else "")]


def parse_vdev(text: str) -> PortSpec:
    """DPDK's own ``--vdev`` words: ``net_pcap0,rx_pcap=in.pcap,tx_pcap=out.pcap``.

    A driver that is also a kind gets that kind's checks; any other passes as it is.
    """
    device, _, rest = text.partition(",")
    driver = device.rstrip("0123456789")
    for kind in KINDS.values():
        if kind.driver == driver and driver.startswith("net_"):
            options = parse_options(kind.name, rest)
            renamed = {k.dpdk.replace("-", "_"): k.name for k in kind.keys if k.dpdk}
            renamed |= {"qpairs": "queues", "queue_count": "queues"}
            out = {renamed.get(k, k): v for k, v in options.items()}
            if kind.name == "memif" and out.get("role") in ("master", "slave"):
                out["role"] = {"master": "server", "slave": "client"}[str(out["role"])]
            return PortSpec(kind.name, out)
    return PortSpec("vdev", {"device": device, "devargs": rest or None})


@dataclass(frozen=True)
class Profile:
    """A TOML profile: ``[runtime]``, ``[[port]]`` tables and ``[l2fwd]``."""

    runtime: dict[str, Any] = field(default_factory=dict)
    ports: tuple[PortSpec, ...] = ()
    l2fwd: dict[str, Any] = field(default_factory=dict)


def load_profile(path: str | os.PathLike[str], l2fwd_keys: Mapping[str, type]) -> Profile:
    """Reads a profile; ConfigError names the key that is wrong, and what is allowed.

    Paths in it are relative to the current directory, as on the command line.
    """
    try:
        with open(path, "rb") as f:
            data = tomllib.load(f)
    except OSError as e:
        raise ConfigError(f"{path}: {e.strerror}") from None
    except (ValueError, RecursionError) as e:
        # Not only TOMLDecodeError: bytes that are no UTF-8, and numbers and nests without end.
        raise ConfigError(f"{path}: not TOML: {e}") from None
    check_keys(path, "", data, ("runtime", "port", "l2fwd"))
    runtime = table(path, "runtime", data.get("runtime", {}))
    check_keys(path, "runtime.", runtime, tuple(f.name for f in fields(RuntimeConfig)))
    l2fwd = table(path, "l2fwd", data.get("l2fwd", {}))
    check_keys(path, "l2fwd.", l2fwd, tuple(l2fwd_keys))
    for key, value in l2fwd.items():
        kind = l2fwd_keys[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            if kind is float and isinstance(value, int) and not isinstance(value, bool):
                continue
            what, example = TOML_TYPES[kind]
            raise ConfigError(
                f"{path}: [l2fwd] {key} = {value!r}: must be {what} (example: {key} = {example})"
            )
    ports = data.get("port", [])
    if not isinstance(ports, list):
        raise ConfigError(f"{path}: ports are written as [[port]], not [port]")
    specs = []
    for i, entry in enumerate(ports):
        entry = dict(table(path, f"port {i}", entry))
        kind = entry.pop("kind", None)
        if not isinstance(kind, str):
            raise ConfigError(f'{path}: port {i}: kind = "pcap" (or another) is missing')
        try:
            check_kind(kind)
            KINDS[kind].parse(entry)
        except ConfigError as e:
            raise ConfigError(f"{path}: port {i}: {e}", hint=e.hint) from None
        specs.append(PortSpec(kind, entry))
    return Profile(runtime, tuple(specs), l2fwd)


def table(path: object, name: str, value: object) -> dict[str, Any]:
    """The value, which must be a TOML table."""
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: {name} must be a table")
    return value


def check_keys(
    path: object, prefix: str, data: Mapping[str, object], known: tuple[str, ...]
) -> None:
    """ConfigError for a key that is not known."""
    for key in data:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            raise ConfigError(
                f"{path}: unknown key {prefix}{key}"
                + (f" (did you mean {near[0]}?)" if near else ""),
                hint=f"keys: {', '.join(known)}",
            )
