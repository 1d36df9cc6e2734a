"""Compiled modules.

In a clone, the sources stand before the installed package on ``sys.path`` for ``python -c``, an
interactive python and programs in the clone's root. They have no compiled modules: those of the
installed package are taken.
"""

import os
import sys


def _compiled(folder: str) -> bool:
    return os.path.isdir(folder) and any(name.endswith(".so") for name in os.listdir(folder))


def _find() -> None:
    here = os.path.dirname(os.path.realpath(__file__))
    if _compiled(here):
        return
    for entry in sys.path:
        folder = os.path.realpath(os.path.join(entry, "veridnet", "_native"))
        if folder != here and _compiled(folder):
            __path__.append(folder)
            return
    raise ImportError(
        f"veridnet is imported from its sources, {os.path.dirname(here)}, and is not installed for "
        f"{sys.executable}: run scripts/setup, and use .venv/bin/python"
    )


_find()
