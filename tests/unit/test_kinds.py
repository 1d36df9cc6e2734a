"""Port kinds: their keys, and the plans that they make. Nothing here starts EAL."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veridnet import placement
from veridnet.errors import ConfigError, PortError, VeridnetError
from veridnet.ports import COMMON_KEYS, KINDS, PCI_ADDRESS, Key
from veridnet.ports.base import PortPlan

# -- one key --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "parsed"),
    [("1", True), ("on", True), ("Yes", True), (True, True), (1, True),
     ("0", False), ("off", False), ("FALSE", False), (False, False), (0, False)],
)  # fmt: skip
def test_bool(value: object, parsed: bool) -> None:
    assert Key("k", bool, "").parse(value) is parsed


@pytest.mark.parametrize("value", ["", "2", "maybe", 2, None, []])
def test_bool_refuses(value: object) -> None:
    with pytest.raises(ConfigError, match=r"k=.*: must be"):
        Key("k", bool, "").parse(value)


@pytest.mark.parametrize(("value", "parsed"), [("64", 64), ("0x40", 64), (64, 64), ("-1", -1)])
def test_int(value: object, parsed: int) -> None:
    assert Key("k", int, "").parse(value) == parsed


@pytest.mark.parametrize("value", ["", "x", "1.5", 1.5, True, 3, 10, "9" * 5000, None, [5]])
def test_int_refuses(value: object) -> None:
    with pytest.raises(ConfigError, match=r"k=.*: must be"):
        Key("k", int, "", low=4, high=9).parse(value)


def test_choices() -> None:
    key = Key("cut", str, "", choices=("drop", "send"))
    assert key.parse("send") == "send"
    with pytest.raises(ConfigError, match="cut=x: must be one of drop, send"):
        key.parse("x")


@pytest.mark.parametrize("value", ["", "a\0b", None, ["a"], {}])
def test_text_refuses(value: object) -> None:
    with pytest.raises(ConfigError, match="k="):
        Key("k", str, "").parse(value)


@given(
    st.sampled_from([*KINDS]),
    st.dictionaries(
        st.sampled_from(sorted({k for kind in KINDS.values() for k in kind.all_keys()})),
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
        max_size=4,
    ),
)
def test_parse_never_fails_otherwise(kind: str, options: dict[str, object]) -> None:
    with contextlib.suppress(ConfigError):
        values = KINDS[kind].parse(options)
        assert set(values) == set(KINDS[kind].all_keys())


# -- a kind ---------------------------------------------------------------------------------------


def test_unknown_key_names_the_near_one() -> None:
    with pytest.raises(ConfigError, match=r"null: unknown key 'sise'.*did you mean 'size'") as e:
        KINDS["null"].parse({"sise": "64"})
    assert "size" in e.value.hint
    with pytest.raises(ConfigError, match="unknown key 'rx'"):
        KINDS["null"].parse({"rx": "x"})


def test_defaults_stand_for_what_is_not_given() -> None:
    values = KINDS["null"].parse({"size": None})
    assert values["size"] == 64
    assert values["queues"] == 1
    assert values["promiscuous"] is True
    assert values["policy"] == "retry"


def test_queues_are_bounded_by_the_kind() -> None:
    with pytest.raises(ConfigError, match="pcap: queues=2: this kind has at most 1"):
        KINDS["pcap"].parse({"queues": 2})


@pytest.mark.parametrize("kind", [*KINDS])
def test_every_kind_documents_its_keys(kind: str) -> None:
    k = KINDS[kind]
    assert k.name == kind
    assert k.summary
    assert k.driver
    names = [key.name for key in (*k.keys, *COMMON_KEYS)]
    assert len(set(names)) == len(names), "a key of its own has a common key's name"
    assert all(key.help for key in k.all_keys().values())


@pytest.mark.parametrize("value", ["a,b", "a=b", "[a]", "a\nb"])
def test_what_dpdk_cannot_take_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="DPDK cannot take"):
        KINDS["memif"].plan({"secret": value})


def test_null_plan_has_room_for_its_frames() -> None:
    assert KINDS["null"].plan({"size": 9000}).data_room == 9000
    assert KINDS["null"].plan({}).data_room == 2048


@pytest.mark.parametrize(
    "plan",
    [
        lambda keys: KINDS["memif"].plan({"abstract": True, **keys}),
        lambda keys: KINDS["vdev"].plan(
            {
                "device": "net_memif0",
                "devargs": ",".join(f"{k}={v}" for k, v in keys.items()) or None,
            }
        ),
    ],
)
def test_a_memif_frame_is_one_buffer_and_one_mbuf(plan: Callable[..., PortPlan]) -> None:
    for keys, frame, room in (({}, 2048, 2048), ({"bsize": 9216}, 9216, 9216),
                              ({"bsize": 512}, 512, 2048)):  # fmt: skip
        made = plan(keys)
        assert (made.max_frame, made.data_room, made.direct, made.guarded) == (
            frame, room, True, True
        )  # fmt: skip


# -- pcap: its files ------------------------------------------------------------------------------


def test_pcap_needs_a_file(tmp_path, write_pcap) -> None:
    with pytest.raises(ConfigError, match="give rx=FILE, tx=FILE or both"):
        KINDS["pcap"].plan({})
    with pytest.raises(ConfigError, match="infinite=on needs rx"):
        KINDS["pcap"].plan({"tx": str(tmp_path / "x"), "infinite": "on"})
    with pytest.raises(PortError, match=r"cannot open .*absent: No such file"):
        KINDS["pcap"].plan({"rx": str(tmp_path / "absent")})
    with pytest.raises(PortError, match=r"cannot open .*No such file"):
        KINDS["pcap"].plan({"tx": str(tmp_path / "no" / "such" / "folder")})


def test_pcap_refuses_what_is_no_file(tmp_path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for rx in (tmp_path, fifo, "/dev/null", "/dev/zero"):
        with pytest.raises(PortError, match="not a regular file"):
            KINDS["pcap"].plan({"rx": str(rx)})
    for tx in (tmp_path, fifo, "/dev/full"):
        with pytest.raises(PortError, match="pcap: "):
            KINDS["pcap"].plan({"tx": str(tx)})
    KINDS["pcap"].plan({"tx": "/dev/null"}).resources.close()


def test_pcap_same_file_read_and_written(tmp_path, write_pcap, make_frames) -> None:
    path = write_pcap(tmp_path / "x.pcap", make_frames(3))
    content = path.read_bytes()
    (tmp_path / "symbolic").symlink_to(path)
    os.link(path, tmp_path / "hard")
    for name in ("x.pcap", "symbolic", "hard", "./x.pcap"):
        with pytest.raises(ConfigError, match="both read and written"):
            KINDS["pcap"].plan({"rx": str(path), "tx": f"{tmp_path}/{name}"})
    assert path.read_bytes() == content


@pytest.mark.skipif(os.geteuid() != 0, reason="file modes mean something to other users only")
def test_pcap_no_permission(write_pcap, make_frames) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = write_pcap(Path(folder) / "x.pcap", make_frames(1))
        path.chmod(0)
        os.seteuid(65534)
        try:
            for options in ({"rx": str(path)}, {"tx": str(path)}, {"tx": f"{folder}/new.pcap"}):
                with pytest.raises(PortError, match="Permission denied"):
                    KINDS["pcap"].plan(options)
        finally:
            os.seteuid(0)


def test_pcap_plan_keeps_no_file_open_when_it_fails(tmp_path, write_pcap) -> None:
    path = write_pcap(tmp_path / "x.pcap", [bytes(60)], linktype=113)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(VeridnetError):
            KINDS["pcap"].plan({"rx": str(path)})
    assert len(os.listdir("/proc/self/fd")) == before


# -- placement and addresses ----------------------------------------------------------------------


def test_main_lcore_floats_and_workers_are_pinned() -> None:
    allowed = sorted(os.sched_getaffinity(0))
    everywhere = ",".join(map(str, allowed))
    cpus = placement.worker_cpus(None)
    text = placement.lcore_map(cpus)
    assert cpus == allowed[:127]
    assert text.split(")")[0] == f"0@({everywhere}"
    cpus = placement.worker_cpus((allowed[-1],))
    text = placement.lcore_map(cpus)
    assert (text, cpus) == (f"0@({everywhere}),1@{allowed[-1]}", [allowed[-1]])


@pytest.mark.parametrize(
    ("text", "is_address"),
    [("0000:03:00.0", True), ("03:00.0", True), ("10000:e1:00.7", True), ("0000:03:00.8", False),
     ("0000:03:00", False), ("3:0.0", False), ("0000-03-00.0", False)],
)  # fmt: skip
def test_pci_addresses(text: str, is_address: bool) -> None:
    assert bool(PCI_ADDRESS.fullmatch(text)) is is_address
