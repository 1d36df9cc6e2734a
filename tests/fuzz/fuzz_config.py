"""Atheris target: whatever a user writes as a port spec, a list of CPUs, a port map or a profile,
the answer is a result or a VeridnetError, never another exception. Run by scripts/fuzz.

The first byte of an input chooses what the rest, as text, is read as.
"""

import os
import sys

import atheris

with atheris.instrument_imports(include=["veridnet"]):
    from veridnet.apps.l2fwd import PROFILE_KEYS, parse_portmap
    from veridnet.config import (
        PortSpec,
        RuntimeConfig,
        load_profile,
        parse_lcores,
        parse_port,
        parse_vdev,
    )
    from veridnet.errors import VeridnetError
    from veridnet.ports import KINDS

FILE = os.memfd_create("profile")


def check(spec: PortSpec) -> None:
    """The options of a spec become values of their keys' types."""
    kind = KINDS[spec.kind]
    keys = kind.all_keys()
    for name, value in kind.parse(spec.options).items():
        assert value is None or isinstance(value, keys[name].type), (spec, name, value)


def profile(data: bytes) -> None:
    """The text as a TOML profile."""
    os.ftruncate(FILE, 0)
    os.pwrite(FILE, data, 0)
    found = load_profile(f"/proc/self/fd/{FILE}", PROFILE_KEYS)
    for spec in found.ports:
        check(spec)
    if "portmap" in found.l2fwd:
        parse_portmap(found.l2fwd["portmap"])
    RuntimeConfig(**found.runtime)


def one_input(data: bytes) -> None:
    """What libFuzzer calls."""
    text = data[1:].decode("utf-8", "surrogateescape")
    try:
        match data[0] % 5 if data else 0:
            case 0:
                check(parse_port(text))
            case 1:
                check(parse_vdev(text))
            case 2:
                parse_lcores(text)
            case 3:
                parse_portmap(text)
            case 4:
                profile(data[1:])
    except VeridnetError:
        pass


atheris.Setup(sys.argv, one_input)
atheris.Fuzz()
