"""What is in a capture: scan, and which captures a pcap port refuses."""

from __future__ import annotations

import os
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import veridnet as vn
from veridnet.pcap import scan


def test_scan(tmp_path, write_pcap, make_frames) -> None:
    frames = make_frames(5) + make_frames(1, 1514)
    found = scan(write_pcap(tmp_path / "x.pcap", frames, lengths={1: 100, 5: 9000}))
    assert found.path == str(tmp_path / "x.pcap")
    assert (found.linktype, found.linktype_name) == (1, "EN10MB")
    assert (found.records, found.bytes, found.max_length) == (6, 5 * 60 + 1514, 1514)
    assert found.cut.dtype == np.uint64
    assert found.cut.tolist() == [1, 5]
    assert (found.damaged, found.error) == (False, "")


def test_scan_of_every_shared_trace(shared_trace) -> None:
    """As capinfos, Wireshark's own tool, reads it."""
    if shutil.which("capinfos") is None:
        pytest.skip("capinfos is not installed")
    env = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}  # a sanitizer is for us
    done = subprocess.run(
        ["capinfos", "-Tmrcd", shared_trace], capture_output=True, text=True, timeout=30, env=env
    )
    if done.returncode != 0:
        pytest.skip(f"capinfos: {done.stderr}")
    _, records, total = done.stdout.strip().rsplit(",", 2)
    found = scan(shared_trace)
    if found.damaged:
        assert found.records < int(records)  # libpcap reads only as far as the first interface
    else:
        assert (found.records, found.bytes) == (int(records), int(total))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\0", "cannot be read as a capture"),
        (b"\xd4\xc3\xb2\xa1", "truncated"),
        (b"\xd4\xc3\xb2\xa1\2\0\4\0" + bytes(15), "truncated"),
        (b"hello, this is no capture at all", "unknown file format"),
        (bytes(4096), "unknown file format"),
        (b"\x0a\x0d\x0d\x0a" + bytes(100), "cannot be read as a capture"),
        (b"\x1f\x8b\x08" + bytes(100), "unknown file format"),
    ],
)
def test_no_capture(runtime, tmp_path, content: bytes, says: str) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(content)
    with pytest.raises(vn.CaptureError, match=says) as e:
        scan(path)
    assert str(path) in str(e.value)
    with pytest.raises(vn.CaptureError, match=says) as e:
        runtime.add_port("pcap", rx=path)
    assert str(path) in str(e.value)
    assert "/proc/" not in str(e.value)
    assert "\n" not in str(e.value)


def test_folders_and_absent_files(tmp_path) -> None:
    with pytest.raises(vn.CaptureError):
        scan(tmp_path)
    with pytest.raises(vn.CaptureError, match="No such file"):
        scan(tmp_path / "absent")
    with pytest.raises((ValueError, TypeError)):
        scan("nul\0.pcap")


def test_a_fifo_is_refused_and_not_waited_for(runtime, tmp_path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for options in ({"rx": fifo}, {"tx": fifo}):
        with pytest.raises(vn.PortError):
            runtime.add_port("pcap", **options)
    with pytest.raises(vn.CaptureError, match="not a regular file"):
        scan(fifo)


@pytest.mark.parametrize(
    ("linktype", "name"),
    [(0, "NULL"), (101, "RAW"), (113, "LINUX_SLL"), (105, "IEEE802_11"), (276, "LINUX_SLL2"),
     (60000, "60000")],
)  # fmt: skip
def test_other_link_types_are_refused(
    runtime, tmp_path, write_pcap, make_frames, linktype: int, name: str
) -> None:
    path = write_pcap(tmp_path / "x.pcap", make_frames(2), linktype=linktype)
    for options in ({}, {"infinite": True}):
        with pytest.raises(vn.CaptureError, match=f"link type is .*{name}.*not Ethernet") as e:
            runtime.add_port("pcap", rx=path, **options)
        assert bool(e.value.hint) == (linktype in (0, 101, 113, 276))
    assert runtime.ports == []


@pytest.mark.parametrize("cut_at", [1, 15, 16, 17, 75])
def test_truncated(runtime, tmp_path, write_pcap, make_frames, cut_at: int) -> None:
    """The file ends in its fourth record: the three before are received, and it is said."""
    path = write_pcap(tmp_path / "x.pcap", make_frames(4))
    path.write_bytes(path.read_bytes()[: 24 + 3 * 76 + cut_at])
    found = scan(path)
    assert (found.records, found.damaged) == (3, True)
    assert "truncated" in found.error
    port = runtime.add_port("pcap", rx=path)
    assert any("damaged after record 3" in w for w in port.warnings)
    got = []
    for burst in port.bursts(2):
        got += [burst.to_bytes(i) for i in range(len(burst))]
        burst.clear()
    assert got == make_frames(3)
    assert port.stats["pmd_lost"] == 0


def test_garbage_after_the_first_records(runtime, tmp_path, write_pcap, make_frames) -> None:
    path = write_pcap(tmp_path / "x.pcap", make_frames(3))
    with path.open("ab") as f:
        f.write(b"\xff" * 5000)
    port = runtime.add_port("pcap", rx=path)
    assert port.details["rx_records"] == 3
    assert port.warnings
    assert sum(len(b) + 0 * b.clear() for b in port.bursts()) == 3


def test_garbage_from_the_first_record(runtime, tmp_path, write_pcap) -> None:
    path = write_pcap(tmp_path / "x.pcap", [])
    with path.open("ab") as f:
        f.write(b"\xff" * 5000)
    with pytest.raises(vn.CaptureError, match="no readable frame"):
        runtime.add_port("pcap", rx=path)


def test_a_capture_without_frames(runtime, tmp_path, write_pcap) -> None:
    path = write_pcap(tmp_path / "x.pcap", [])
    port = runtime.add_port("pcap", rx=path)
    assert port.exhausted
    assert list(port.bursts()) == []
    with pytest.raises(vn.CaptureError, match="without frames"):
        runtime.add_port("pcap", rx=path, infinite=True)


def test_records_of_any_length(runtime, tmp_path, write_pcap) -> None:
    """Empty records and runts come in as they are; a port drops them by name."""
    frames = [b"", b"x", bytes(13), bytes(14), bytes(65535)]
    port = runtime.add_port("pcap", rx=write_pcap(tmp_path / "x.pcap", frames), tx=tmp_path / "y")
    burst = vn.Burst(8)
    assert port.rx(burst) == 5
    assert [burst.to_bytes(i) for i in range(5)] == frames
    assert bytes(burst[0]) == b""
    burst.swap_macs()
    assert port.tx(burst) == 1
    assert port.stats["drops"] == {"runt": 3, "too_long": 1}


def test_the_longest_frames_that_are_written_whole(
    runtime, tmp_path, write_pcap, frames_of
) -> None:
    """net_pcap would cut longer ones without a word."""
    frames = [b"%d" % n * n for n in (2048, 2049, 9018)] + [bytes(16128), bytes(16129)]
    frames = [f[:16128] for f in frames[:3]] + frames[3:]
    path = write_pcap(tmp_path / "x.pcap", frames)
    port = runtime.add_port("pcap", rx=path, tx=tmp_path / "y.pcap")
    burst = vn.Burst(8)
    port.rx(burst)
    assert port.tx(burst) == 4
    assert port.stats["drops"] == {"too_long": 1}
    port.close()
    assert frames_of(tmp_path / "y.pcap") == frames[:4]


def test_a_record_longer_than_a_frame(runtime, tmp_path, write_pcap) -> None:
    path = write_pcap(tmp_path / "x.pcap", [bytes(65536)])
    with pytest.raises(vn.CaptureError, match="record of 65,536 bytes"):
        runtime.add_port("pcap", rx=path)


# -- frames that the snapshot length has cut ------------------------------------------------------

CUT = {0: 61, 3: 1514, 4: 100, 9: 61}


@pytest.mark.parametrize("size", [1, 3, 32])
def test_cut_frames_are_dropped(runtime, tmp_path, write_pcap, make_frames, size: int) -> None:
    frames = make_frames(10)
    port = runtime.add_port("pcap", rx=write_pcap(tmp_path / "x.pcap", frames, lengths=CUT))
    assert "4 of 10 frames are cut" in port.warnings[0]
    got = []
    for burst in port.bursts(size):
        got += [burst.to_bytes(i) for i in range(len(burst))]
        burst.clear()
    assert got == [f for i, f in enumerate(frames) if i not in CUT]
    stats = port.stats
    assert (stats["rx_packets"], stats["rx_bytes"]) == (10, 600)
    assert stats["drops"] == {"capture_cut": 4}
    assert runtime.balance().balanced


def test_cut_frames_are_sent_if_asked(runtime, tmp_path, write_pcap, make_frames) -> None:
    frames = make_frames(10)
    path = write_pcap(tmp_path / "x.pcap", frames, lengths=CUT)
    port = runtime.add_port("pcap", rx=path, cut="send")
    assert port.warnings == []
    burst = vn.Burst(32)
    assert port.rx(burst) == 10
    assert [burst.to_bytes(i) for i in range(10)] == frames
    with pytest.raises(vn.CaptureError, match="infinite=on cannot leave out"):
        runtime.add_port("pcap", rx=path, infinite=True)
    endless = runtime.add_port("pcap", rx=path, infinite=True, cut="send")
    again = vn.Burst(32)
    assert endless.rx(again) > 0
    assert again.to_bytes(0) == frames[0]


# -- anything -------------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=100)
def test_a_spoiled_capture_never_gives_garbage(tmp_path_factory, write_pcap, data) -> None:
    """Whatever a byte of the file becomes: an error, or whole records of what libpcap reads."""
    path = write_pcap(tmp_path_factory.getbasetemp() / "spoiled.pcap", [bytes(60)] * 4)
    content = bytearray(path.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with vn.Runtime() as rt:
        try:
            port = rt.add_port("pcap", rx=path, cut="send")
        except vn.CaptureError:
            return
        total = 0
        for polls, burst in enumerate(port.bursts(3)):
            assert polls < 200
            total += int(burst.lengths.sum())
            burst.clear()
        found = scan(path)
        assert port.stats["rx_packets"] == found.records
        assert total == port.stats["rx_bytes"] == found.bytes
        assert rt.balance().balanced
