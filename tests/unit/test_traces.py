"""Real traces through a Python loop: every frame once, in order, byte for byte."""

from __future__ import annotations

import shutil

import pytest
from scapy.utils import RawPcapReader

import veridnet as vn
from veridnet.pcap import scan


def forward(source, sink, size: int = 256, change=None) -> None:
    """The loop of the documentation."""
    burst = vn.Burst(size)
    while not source.exhausted:
        source.rx(burst)
        if change is not None:
            change(burst)
        sink.tx(burst)


def test_every_frame_once_in_order(runtime, tmp_path, shared_trace, frames_of) -> None:
    """Ethernet traces; any other is refused by its link type, or its first interface's."""
    out = tmp_path / "out.pcap"
    found = scan(shared_trace)
    if found.linktype != 1 or (found.damaged and not found.records):
        with pytest.raises(vn.CaptureError):
            runtime.add_port("pcap", rx=shared_trace, tx=out)
        assert not out.exists()
        return
    frames = frames_of(shared_trace)
    port = runtime.add_port("pcap", rx=shared_trace, tx=out, cut="send")
    forward(port, port)
    stats = port.stats
    runtime.close()
    if found.damaged:
        # libpcap goes no further than the first interface's frames.
        frames = frames[: found.records]
    assert frames_of(out) == frames
    assert stats["rx_packets"] == stats["tx_packets"] == len(frames)
    assert stats["rx_bytes"] == stats["tx_bytes"] == sum(map(len, frames))
    assert stats["drops"] == {}


def test_most_traces_are_ethernet(shared_traces) -> None:
    """The test above has something to do."""
    assert sum(scan(t).linktype == 1 and not scan(t).damaged for t in shared_traces) >= 15


def test_cut_frames_by_scapy_s_reading(runtime, tmp_path, demo_pcap, frames_of, write_pcap) -> None:
    """The demo trace with a snapshot length of 100: what scapy knows to be cut is left out."""
    frames = frames_of(demo_pcap)
    cut = {i: len(f) for i, f in enumerate(frames) if len(f) > 100}
    path = write_pcap(tmp_path / "snap.pcap", [f[:100] for f in frames], lengths=cut)
    with RawPcapReader(str(path)) as reader:
        whole = [frame for frame, meta in reader if meta.caplen == meta.wirelen]
    assert 0 < len(whole) < len(frames)
    port = runtime.add_port("pcap", rx=path, tx=tmp_path / "out.pcap")
    forward(port, port, 32)
    port.close()
    assert frames_of(tmp_path / "out.pcap") == whole
    assert port.stats["drops"] == {"capture_cut": len(frames) - len(whole)}
    everything = runtime.add_port("pcap", rx=path, tx=tmp_path / "all.pcap", cut="send")
    forward(everything, everything)
    everything.close()
    assert frames_of(tmp_path / "all.pcap") == frames_of(path)


@pytest.mark.parametrize("size", [1, 7, 32, 65535])
def test_the_demo_trace(runtime, tmp_path, demo_pcap, frames_of, size: int) -> None:
    a = runtime.add_port("pcap", rx=demo_pcap, tx=tmp_path / "a.pcap")
    b = runtime.add_port("pcap", tx=tmp_path / "b.pcap")
    forward(a, b, size, vn.Burst.swap_macs)
    runtime.close()
    frames = frames_of(demo_pcap)
    assert len(frames) > 100
    assert frames_of(tmp_path / "b.pcap") == [f[6:12] + f[:6] + f[12:] for f in frames]
    assert frames_of(tmp_path / "a.pcap") == []
    assert runtime.balance().tx == len(frames)


def test_bursts_is_the_same_loop(runtime, tmp_path, demo_pcap, frames_of) -> None:
    port = runtime.add_port("pcap", rx=demo_pcap, tx=tmp_path / "out.pcap")
    seen = set()
    for burst in port.bursts(100):
        seen.add(id(burst))
        port.tx(burst)
    port.close()
    assert frames_of(tmp_path / "out.pcap") == frames_of(demo_pcap)
    assert len(seen) == 1


@pytest.mark.parametrize("name", ["a,b.pcap", "a=b.pcap", "a b.pcap", "a[1].pcap", "ä\udc80.pcap"])
def test_any_path(runtime, tmp_path, demo_pcap, frames_of, name: str) -> None:
    source, out = tmp_path / name, tmp_path / f"out {name}"
    shutil.copy(demo_pcap, source)
    port = runtime.add_port("pcap", rx=source, tx=out)
    forward(port, port)
    port.close()
    assert frames_of(out) == frames_of(demo_pcap)


def test_the_same_trace_on_two_ports(runtime, tmp_path, demo_pcap, frames_of) -> None:
    a, b = (runtime.add_port("pcap", rx=demo_pcap) for _ in range(2))
    sink = runtime.add_port("pcap", tx=tmp_path / "out.pcap")
    for port in (a, b):
        forward(port, sink)
    sink.close()
    assert frames_of(tmp_path / "out.pcap") == frames_of(demo_pcap) * 2


def test_one_file_is_not_written_and_read(runtime, tmp_path, demo_pcap) -> None:
    source, out = tmp_path / "in.pcap", tmp_path / "out.pcap"
    shutil.copy(demo_pcap, source)
    with pytest.raises(vn.ConfigError, match="both read and written"):
        runtime.add_port("pcap", rx=source, tx=source)
    port = runtime.add_port("pcap", rx=source, tx=out)
    for options in ({"tx": source}, {"tx": out}, {"rx": out}):
        # (What is being written may be empty yet, which is said first.)
        with pytest.raises(vn.ConfigError, match=r"reads or writes the same file|is empty"):
            runtime.add_port("pcap", **options)
    assert scan(source).records == scan(demo_pcap).records
    forward(port, port)
    port.close()
    again = runtime.add_port("pcap", rx=out)  # now it may be read
    assert again.details["rx_records"] == scan(demo_pcap).records


def test_infinite(runtime, tmp_path, write_pcap, make_frames) -> None:
    frames = make_frames(5)
    port = runtime.add_port("pcap", rx=write_pcap(tmp_path / "x", frames), infinite=True)
    burst, got = vn.Burst(16), []
    for _ in range(10):
        port.rx(burst)
        got += [burst.to_bytes(i) for i in range(len(burst))]
        burst.clear()
    assert len(got) == 160
    assert got == [frames[i % 5] for i in range(160)]
    assert not port.exhausted
    assert not port.finite


def test_an_output_that_cannot_be_written_whole(run_python, demo_pcap) -> None:
    """net_pcap does not look whether its writes succeed: the size of the file tells."""
    done = run_python(
        """
        import resource, signal, sys
        import veridnet as vn
        with vn.Runtime() as rt:
            port = rt.add_port("pcap", rx=sys.argv[1], tx="out.pcap")
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
            for burst in port.bursts():
                port.tx(burst)
        assert rt.balance().balanced
        print(*rt.problems)
        """,
        demo_pcap,
    )
    assert "20,000 of" in done.stdout
    assert "out.pcap" in done.stdout
