"""MAC addresses as people write them: the one place where they are read."""

from __future__ import annotations

import re
from typing import SupportsBytes

from veridnet.errors import ConfigError

_TEXT = re.compile(r"[0-9a-fA-F]{1,2}([:-])(?:[0-9a-fA-F]{1,2}\1){4}[0-9a-fA-F]{1,2}")


def mac_bytes(mac: str | bytes | bytearray | memoryview | SupportsBytes) -> bytes:
    """The 6 bytes of a MAC address given as bytes, or as text: 02:00:00:00:00:01, or with dashes.

    ConfigError if it is none.
    """
    if not isinstance(mac, str):
        if isinstance(mac, int):  # bytes(6) would be six zeros
            raise ConfigError(f"not a MAC address, which is text or 6 bytes: {mac!r}")
        raw = bytes(mac)
        if len(raw) != 6:
            raise ConfigError(f"not a MAC address, which has 6 bytes: {mac!r}")
        return raw
    if not _TEXT.fullmatch(mac):
        raise ConfigError(f"not a MAC address: {mac!r}", hint="as 02:00:00:00:00:01")
    return bytes(int(part, 16) for part in re.split("[:-]", mac))
