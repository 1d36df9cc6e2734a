"""Headers as columns: a burst, or a capture, parsed as numpy arrays.

`Headers` says which columns to parse; `Columns` is what ``burst.headers`` gives; `HeaderTable`
holds columns that outlive their packets; `read` makes one of a capture. Every column is a row of
`veridnet.headers.fields`.
"""

import typing

if typing.TYPE_CHECKING:
    from veridnet._native.headers import (
        set_rss_key,
        set_simd_level,
        simd_level,
        simd_levels,
    )
    from veridnet.headers.capture import read, read_blocks
    from veridnet.headers.columns import Columns, Headers, HeaderTable
    from veridnet.headers.fields import ERRORS, FIELDS, GROUPS, Field
    from veridnet.headers.values import ip, ip_text, mac, mac_text

__all__ = [
    "ERRORS",
    "FIELDS",
    "GROUPS",
    "Columns",
    "Field",
    "HeaderTable",
    "Headers",
    "ip",
    "ip_text",
    "mac",
    "mac_text",
    "read",
    "read_blocks",
    "set_rss_key",
    "set_simd_level",
    "simd_level",
    "simd_levels",
]


def __getattr__(name: str) -> object:
    """The public names, all at the first one that is asked for.

    `veridnet headers` needs none of them, and would wait 0.1 s for numpy.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from veridnet._native import headers
    from veridnet.headers import capture, columns, fields, values

    homes = (headers, columns, fields, values, capture)
    globals().update(
        {n: getattr(next(home for home in homes if hasattr(home, n)), n) for n in __all__}
    )
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
