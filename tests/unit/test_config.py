"""Port specs, raw --vdev words and TOML profiles."""

from __future__ import annotations

import contextlib
import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from veridnet.apps.l2fwd import PROFILE_KEYS
from veridnet.config import (
    PortSpec,
    RuntimeConfig,
    load_profile,
    parse_lcores,
    parse_port,
    parse_vdev,
)
from veridnet.errors import ConfigError
from veridnet.ports import KINDS
from veridnet.topology_read import usable_cpus

# -- KIND:key=value,... ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "options"),
    [
        ("ring", "ring", {}),
        ("ring:", "ring", {}),
        ("null:size=64", "null", {"size": "64"}),
        ("pcap:rx=in.pcap,tx=out.pcap", "pcap", {"rx": "in.pcap", "tx": "out.pcap"}),
        # A part without "=" belongs to the value before it; an escape does, too.
        ("pcap:rx=a,b.pcap,tx=c", "pcap", {"rx": "a,b.pcap", "tx": "c"}),
        ("pcap:rx=a,,b", "pcap", {"rx": "a,,b"}),
        (r"pcap:rx=a\,tx=b", "pcap", {"rx": "a,tx=b"}),
        (r"pcap:rx=a\\,tx=b", "pcap", {"rx": "a\\", "tx": "b"}),
        (r"pcap:rx=C:\x.pcap", "pcap", {"rx": r"C:\x.pcap"}),
        ("pcap:rx=a\\", "pcap", {"rx": "a\\"}),
        ("pcap:rx=k=v.pcap", "pcap", {"rx": "k=v.pcap"}),
        ("pcap:rx=/tmp/x:y.pcap", "pcap", {"rx": "/tmp/x:y.pcap"}),
        ("pcap:rx=a,B=c", "pcap", {"rx": "a,B=c"}),  # no key begins with a capital letter
        ("null: size=64", "null", {"size": "64"}),
        ("null:rx-desc=64", "null", {"rx_desc": "64"}),
        ("0000:03:00.0", "pci", {"address": "0000:03:00.0"}),
        ("03:00.1,queues=2", "pci", {"address": "03:00.1", "queues": "2"}),
        ("0000:03:00.0,devargs=a=1,2", "pci", {"address": "0000:03:00.0", "devargs": "a=1,2"}),
    ],
)
def test_parse_port(text: str, kind: str, options: dict[str, object]) -> None:
    assert parse_port(text) == PortSpec(kind, options)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "unknown kind of port ''"),
        ("pcpa:rx=x", "did you mean 'pcap'"),
        ("net_tap:iface=x", "did you mean 'tap'"),
        ("af-packet:iface=x", "did you mean 'af_packet'"),
        ("null:size=64,size=65", "size is given twice"),
        ("null:rx_desc=64,rx-desc=65", "rx_desc is given twice"),
        ("null:64", "'64' is not key=value"),
        ("pcap:=x", "'=x' is not key=value"),
        ("0000:03:00.9", "unknown kind of port '0000'"),
        ("0000:03:00.0;queues=2", "unknown kind of port"),
    ],
)
def test_parse_port_refuses(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as e:
        parse_port(text)
    assert says in str(e.value)
    assert "\n" not in str(e.value)


WORDS = st.text(st.sampled_from("pcatnulrxsize:=,\\0123. \n\t\0é_-"), max_size=40)


@given(st.one_of(WORDS, st.text(), st.builds("{}:{}".format, st.sampled_from([*KINDS]), WORDS)))
@example("pcap:rx=\ud800")
@example("0000:00:00.0,a\n=b")
def test_parse_port_never_fails_otherwise(text: str) -> None:
    try:
        spec = parse_port(text)
    except ConfigError:
        return
    assert spec.kind in KINDS
    with contextlib.suppress(ConfigError):
        KINDS[spec.kind].parse(spec.options)


@given(st.sampled_from(["rx", "tx", "name"]), st.text(min_size=1))
def test_every_value_can_be_written(key: str, value: str) -> None:
    escaped = value.replace("\\", "\\\\").replace(",", "\\,")
    assert parse_port(f"pcap:{key}={escaped}").options == {key: value}


@given(st.lists(st.text(st.characters(exclude_characters="=\\")), min_size=1))
def test_commas_in_a_value_stay(parts: list[str]) -> None:
    value = ",".join(parts)
    assert parse_port(f"pcap:rx={value}").options == {"rx": value}


# -- --vdev ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "options"),
    [
        ("net_null0,size=64", "null", {"size": "64"}),
        ("net_null0,no-rx=1", "null", {"no_rx": "1"}),
        ("net_pcap1,rx_pcap=a,tx_pcap=b", "pcap", {"rx": "a", "tx": "b"}),
        ("net_pcap0,rx_pcap=a,infinite_rx=1", "pcap", {"rx": "a", "infinite": "1"}),
        ("net_af_packet0,iface=e0,qpairs=2", "af_packet", {"iface": "e0", "queues": "2"}),
        ("net_memif,role=slave,socket-abstract=no", "memif", {"role": "client", "abstract": "no"}),
        ("net_virtio_user0,path=/x,queues=1", "vdev",
         {"device": "net_virtio_user0", "devargs": "path=/x,queues=1"}),
        ("net_ring0", "ring", {}),
        ("", "vdev", {"device": "", "devargs": None}),
    ],
)  # fmt: skip
def test_parse_vdev(text: str, kind: str, options: dict[str, object]) -> None:
    assert parse_vdev(text) == PortSpec(kind, options)


@given(st.one_of(st.text(), st.builds("net_{}0,{}".format, st.sampled_from([*KINDS]), WORDS)))
def test_parse_vdev_never_fails_otherwise(text: str) -> None:
    with contextlib.suppress(ConfigError):
        spec = parse_vdev(text)
        KINDS[spec.kind].parse(spec.options)


# -- runtime settings -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"memory": "huge"}, {"memory": []}, {"memory": None},
        {"mbufs": 511}, {"mbufs": 2**26 + 1}, {"mbufs": "4096"}, {"mbufs": 4096.0},
        {"log_level": "loud"}, {"log_level": []}, {"log_level": 7},
        {"lcores": ""}, {"lcores": []}, {"lcores": "x"}, {"lcores": "3-1"}, {"lcores": [4096]},
        {"lcores": "0,0"}, {"lcores": -1}, {"lcores": [None]}, {"lcores": [float("inf")]},
        {"lcores": [0.5]}, {"lcores": 1.5}, {"lcores": {}},
    ],
    ids=str,
)  # fmt: skip
def test_runtime_config_refuses(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        RuntimeConfig(**options)  # type: ignore[arg-type]


def test_lcores() -> None:
    allowed = sorted(os.sched_getaffinity(0))
    first = allowed[0]
    assert parse_lcores(first) == (first,)
    assert parse_lcores(str(first)) == (first,)
    assert parse_lcores(f" {first} ") == (first,)
    assert parse_lcores(allowed) == tuple(allowed)
    assert RuntimeConfig(lcores=allowed[:1]).lcores == (first,)  # type: ignore[arg-type]
    if allowed == list(range(len(allowed))) and len(allowed) > 1:
        assert parse_lcores(f"0-{len(allowed) - 1}") == tuple(allowed)


@given(st.one_of(st.text(st.sampled_from("0123456789,- x")), st.lists(st.integers()), st.none()))
def test_lcores_never_fail_otherwise(value: object) -> None:
    with contextlib.suppress(ConfigError):
        assert set(parse_lcores(value)) <= set(usable_cpus())


# -- profiles -------------------------------------------------------------------------------------


def test_profile(tmp_path) -> None:
    file = tmp_path / "p.toml"
    file.write_text(
        """
        [runtime]
        memory = "auto"
        mbufs = 8191
        [[port]]
        kind = "pcap"
        rx = "a,b=c.pcap"
        cut = "send"
        [[port]]
        kind = "null"
        size = 128
        promiscuous = false
        [l2fwd]
        learn = true
        age = 30
        """
    )
    profile = load_profile(file, PROFILE_KEYS)
    assert profile.runtime == {"memory": "auto", "mbufs": 8191}
    assert profile.ports == (
        PortSpec("pcap", {"rx": "a,b=c.pcap", "cut": "send"}),
        PortSpec("null", {"size": 128, "promiscuous": False}),
    )
    assert profile.l2fwd == {"learn": True, "age": 30}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x", "not TOML"),
        ("a = " + "[" * 5000, "not TOML"),
        ("a = " + "1" * 5000, "not TOML"),
        ("port = 1", "[[port]]"),
        ("[port]\nkind = 'null'", "[[port]]"),
        ("[[port]]\nsize = 64", "port 0: kind"),
        ("[[port]]\nkind = 'nul'", "did you mean 'null'"),
        ("[[port]]\nkind = 'null'\nsise = 64", "did you mean 'size'"),
        ("[[port]]\nkind = 'null'\nsize = 9", "must be a number from 14"),
        ("[[port]]\nkind = 'null'\nsize = true", "must be a number"),
        ("[[port]]\nkind = 'pcap'\nrx = ['a']", "rx"),
        ("[runtime]\nmemroy = '4k'", "did you mean memory"),
        ("[runtimes]\n", "did you mean runtime"),
        ("runtime = 1", "runtime must be a table"),
        ("[l2fwd]\nlearn = 1", "[l2fwd] learn = 1: must be true or false (example: learn = true)"),
        (
            "[l2fwd]\nburst = true",
            "[l2fwd] burst = True: must be a whole number (example: burst = 32)",
        ),
        ("[l2fwd]\nage = 'x'", "[l2fwd] age = 'x': must be a number (example: age = 2.5)"),
        ("[l2fwd]\nlern = true", "did you mean learn"),
    ],
)
def test_profile_refuses(tmp_path, text: str, says: str) -> None:
    file = tmp_path / "p.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as e:
        load_profile(file, PROFILE_KEYS)
    assert says in str(e.value)
    assert str(file) in str(e.value)


def test_profile_that_cannot_be_read(tmp_path) -> None:
    (tmp_path / "latin1.toml").write_bytes(b"a = '\xe9'")
    for path in (tmp_path, tmp_path / "absent", tmp_path / "latin1.toml", "nul\0.toml"):
        with pytest.raises(ConfigError):
            load_profile(path, PROFILE_KEYS)


@given(
    st.one_of(st.binary(), st.text(st.sampled_from("[]portkindnul=.'\"\n1 #{}")).map(str.encode))
)
def test_profile_never_fails_otherwise(tmp_path_factory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzz.toml"
    file.write_bytes(data)
    with contextlib.suppress(ConfigError):
        load_profile(file, PROFILE_KEYS)
