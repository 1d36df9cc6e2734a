"""Rule files as text, whatever packs them."""

from __future__ import annotations

import gzip
import lzma
import os
import stat
import zlib
from typing import Any

from veridnet.errors import ConfigError

#: Bytes of a rule file, unpacked: acl1 with 100,000 rules has 8 MB.
MOST = 256 << 20


def read_text(source: str | os.PathLike[str]) -> tuple[str, str]:
    """The text, and what errors call it.

    A str with a line break in it, or of nothing but spaces, is the text itself; any other is a
    path, whose file may be packed by xz or gzip. ConfigError if it cannot be read.
    """
    if isinstance(source, str) and ("\n" in source or not source.strip()):
        return source, ""
    path = os.fspath(source)
    try:
        # A FIFO that nobody writes would be waited for; a device may have no end.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ConfigError(f"{path}: is no regular file", hint="write the rules to a file")
        with open(path, "rb") as raw:
            head = raw.read(6)
        unpack: Any = open
        if head == b"\xfd7zXZ\0":
            unpack = lzma.open
        elif head.startswith(b"\x1f\x8b"):
            unpack = gzip.open
        with unpack(path, "rb") as f:
            data: bytes = f.read(MOST + 1)
        if len(data) > MOST:
            raise ConfigError(f"{path}: more than {MOST >> 20} MiB of rules")
        return data.decode(), path
    except ConfigError:
        raise
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not text (UTF-8)") from None
    except (lzma.LZMAError, EOFError, zlib.error, gzip.BadGzipFile) as e:
        raise ConfigError(f"{path}: damaged: {e}") from None
    except (OSError, ValueError) as e:
        raise ConfigError(f"{path}: {getattr(e, 'strerror', None) or e}") from None


def place(name: str, line: int) -> str:
    """Where an error is: ``rules.toml:12``, or ``line 12``."""
    return f"{name}:{line}" if name else f"line {line}"
