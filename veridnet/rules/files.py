"""Rule files as text, whatever packs them."""

from __future__ import annotations

import gzip
import lzma
import os
import zlib

from veridnet.errors import ConfigError


def read_text(source: str | os.PathLike[str]) -> tuple[str, str]:
    """The text, and what errors call it.

    A str with a line break in it, or of nothing but spaces, is the text itself; any other is a
    path, whose file may be packed by xz or gzip. ConfigError if it cannot be read.
    """
    if isinstance(source, str) and ("\n" in source or not source.strip()):
        return source, ""
    path = os.fspath(source)
    try:
        with open(path, "rb") as f:
            data = f.read()
        if data.startswith(b"\xfd7zXZ\0"):
            data = lzma.decompress(data)
        elif data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
        return data.decode(), path
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not text (UTF-8)") from None
    except (lzma.LZMAError, EOFError, zlib.error, gzip.BadGzipFile) as e:
        raise ConfigError(f"{path}: damaged: {e}") from None
    except (OSError, ValueError) as e:
        raise ConfigError(f"{path}: {getattr(e, 'strerror', None) or e}") from None


def place(name: str, line: int) -> str:
    """Where an error is: ``rules.toml:12``, or ``line 12``."""
    return f"{name}:{line}" if name else f"line {line}"
