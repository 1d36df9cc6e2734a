"""Headers as columns: a burst, parsed once, as numpy arrays.

`Headers` says which columns to parse; `Columns` is what ``burst.headers`` gives; `HeaderTable`
holds columns that outlive their packets. Every column is a row of `veridnet.headers.fields`.
"""

from veridnet._native.headers import set_rss_key, set_simd_level, simd_level, simd_levels
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
    "set_rss_key",
    "set_simd_level",
    "simd_level",
    "simd_levels",
]
