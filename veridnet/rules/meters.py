"""Meters that rules share by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from veridnet._native.actions import Meter
from veridnet.errors import ConfigError
from veridnet.rules.units import rate, size

_METERS = {"srtcm": ("cir", "cbs", "ebs"), "trtcm": ("cir", "pir", "cbs", "pbs")}


def make_meter(name: str, parameters: Mapping[str, Any]) -> Meter:
    """A meter of parameters as rule files have them.

    ``type`` is "srtcm" (cir, cbs, ebs) or "trtcm" (cir, pir, cbs, pbs). A rate is bytes a second,
    or text as "10mbit"; a burst is bytes, or text as "64k". Metered are the bytes after the
    Ethernet header and VLAN tags.
    """
    given = dict(parameters)
    kind = given.pop("type", "trtcm" if "pir" in given else "srtcm")
    if kind not in _METERS:
        raise ConfigError(f"meter {name}: type is srtcm or trtcm, not {kind!r}")
    values = {}
    for key in _METERS[kind]:
        if key not in given:
            raise ConfigError(f"meter {name}: {key} is missing",
                              hint=f"a {kind} has {', '.join(_METERS[kind])}")  # fmt: skip
        value = given.pop(key)
        try:
            values[key] = _meter_rate(value) if key in ("cir", "pir") else size(value)
        except ValueError as e:
            raise ConfigError(f"meter {name}: {key}: {e}", hint="as 10mbit, or 64k") from None
    if given:
        raise ConfigError(f"meter {name}: {next(iter(given))} is not expected",
                          hint=f"a {kind} has {', '.join(_METERS[kind])}")  # fmt: skip
    if values["cir"] == 0 or values.get("pir", values["cir"]) < values["cir"]:
        raise ConfigError(f"meter {name}: cir is above 0, and pir is at least cir")
    if kind == "srtcm" and not values["cbs"] + values["ebs"]:
        raise ConfigError(f"meter {name}: cbs or ebs is above 0 (RFC 2697)")
    if kind == "trtcm" and not (values["cbs"] and values["pbs"]):
        raise ConfigError(f"meter {name}: cbs and pbs are above 0 (RFC 2698)")
    return Meter(kind, **values)


def _meter_rate(value: Any) -> int:
    if isinstance(value, str):
        packets, per_second = rate(value)
        if packets:
            raise ValueError("a meter's rate is of bytes, not packets")
        return per_second
    return size(value)


def make_meters(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Meter]:
    """Name -> meter, of a rule file's meters."""
    return {name: make_meter(name, parameters) for name, parameters in tables.items()}
