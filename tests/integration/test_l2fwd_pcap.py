"""`veridnet l2fwd` between captures, against scapy's and tshark's reading of both sides."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from captures import (
    cut_short,
    ethernet_traces,
    frame,
    frames,
    link_type,
    other_traces,
    tshark,
    write,
)
from running import l2fwd, veridnet

DEMO = Path(__file__).resolve().parent.parent.parent / "examples" / "demo.pcap"
EVERY_TRACE = [pytest.param(DEMO, id="demo.pcap"), *ethernet_traces()]


def rewritten(data: list[bytes], port: int, mac: str) -> list[bytes]:
    """What DPDK's l2fwd makes of frames that leave by that port (l2fwd_mac_updating)."""
    head = bytes((2, 0, 0, 0, 0, port)) + bytes.fromhex(mac.replace(":", ""))
    return [head + f[12:] for f in data]


def test_traces_are_there() -> None:
    """Neither list may be empty by mistake."""
    assert len(frames(DEMO)) > 1000 and link_type(DEMO) == 1
    assert len(EVERY_TRACE) > 1


@pytest.mark.parametrize("trace", EVERY_TRACE)
def test_every_frame_once_in_order_with_new_macs(trace: Path, tmp_path: Path) -> None:
    data = frames(trace)
    run = l2fwd("-p", f"pcap:rx={trace}", "-p", "pcap:tx=out.pcap", cwd=tmp_path)
    result = run.ok()
    assert result["drops"] == {}
    assert result["rx_packets"] == result["tx_packets"] == len(data)
    assert [p["rx_bytes"] for p in result["ports"]] == [sum(map(len, data)), 0]
    assert [p["tx_bytes"] for p in result["ports"]] == [0, sum(map(len, data))]
    assert result["ended_by"] == "end of trace"
    out = rewritten(data, 1, result["ports"][1]["mac"])
    assert frames(tmp_path / "out.pcap") == out
    seen = tshark(tmp_path / "out.pcap", "frame.len", "eth.dst")
    assert [int(n) for n, _ in seen] == [len(f) for f in data]
    assert {dst.split(",")[0] for _, dst in seen} == {"02:00:00:00:00:01"}


def test_no_mac_updating_changes_nothing(whole_trace: Path, tmp_path: Path) -> None:
    l2fwd("-p", f"pcap:rx={whole_trace}", "-p", "pcap:tx=out.pcap", "--no-mac-updating",
          cwd=tmp_path).ok()  # fmt: skip
    assert frames(tmp_path / "out.pcap") == frames(whole_trace)
    fields = ("frame.len", "eth.src", "eth.dst", "_ws.col.Protocol")
    assert tshark(tmp_path / "out.pcap", *fields) == tshark(whole_trace, *fields)


@pytest.mark.parametrize("trace", other_traces())
def test_what_is_no_ethernet_capture_is_refused(trace: Path, tmp_path: Path) -> None:
    run = l2fwd("-p", f"pcap:rx={trace}", "-p", "pcap:tx=out.pcap", cwd=tmp_path)
    assert run.code == 1
    run.one_line(trace.name)
    assert not (tmp_path / "out.pcap").exists()


def test_both_directions_and_four_ports(demo_pcap: Path, tmp_path: Path) -> None:
    """Pairs 0<->1 and 2<->3, each port with its own input and output."""
    whole = frames(demo_pcap)
    data = [whole[i::4] for i in range(4)]
    ports = []
    for i, part in enumerate(data):
        write(tmp_path / f"in{i}.pcap", part)
        ports += ["-p", f"pcap:rx=in{i}.pcap,tx=out{i}.pcap"]
    result = l2fwd(*ports, cwd=tmp_path).ok()
    assert result["mode"] == "pairs" and result["copies"] == 0
    for i, part in enumerate(data):
        to = i ^ 1
        assert frames(tmp_path / f"out{to}.pcap") == rewritten(part, to, result["ports"][to]["mac"])


def test_json_fields(demo_pcap: Path, tmp_path: Path) -> None:
    run = l2fwd(
        "-p", f"pcap:rx={demo_pcap},name=in", "-p", "pcap:tx=out.pcap,name=out", cwd=tmp_path
    )
    result = run.ok()
    assert {"ports", "drops", "held", "duration_s", "balanced", "rx_packets", "tx_packets",
            "copies", "generated", "memory", "dpdk", "workers", "warnings",
            "problems"} <= set(result)  # fmt: skip
    assert result["balanced"] is True and result["held"] == 0 and 0 < result["duration_s"] < 5
    assert result["dpdk"].startswith("DPDK ")
    assert [p["name"] for p in result["ports"]] == ["in", "out"]
    for port in result["ports"]:
        assert {"rx_packets", "rx_bytes", "tx_packets", "tx_bytes", "drops"} <= set(port)
        assert all(isinstance(port[k], int) for k in ("rx_packets", "rx_bytes", "tx_packets"))
    # Everything for people is on stderr, and it says where the output lies.
    assert "out.pcap" in run.stderr and "1,795" in run.stderr


def test_without_json_stdout_is_empty(demo_pcap: Path, tmp_path: Path) -> None:
    run = veridnet("l2fwd", "-p", f"pcap:rx={demo_pcap}", "-p", "pcap:tx=o.pcap", cwd=tmp_path)
    assert (run.code, run.stdout) == (0, "") and "no drops" in run.stderr


def test_bridge_of_captures(demo_pcap: Path, tmp_path: Path) -> None:
    """With --learn: nothing rewritten, and all that was flooded or forwarded is accounted for."""
    result = l2fwd("--learn", "-p", f"pcap:rx={demo_pcap},tx=a.pcap", "-p", "pcap:tx=b.pcap",
                   "-p", "pcap:tx=c.pcap", cwd=tmp_path).ok()  # fmt: skip
    data = frames(demo_pcap)
    assert frames(tmp_path / "a.pcap") == []
    assert frames(tmp_path / "b.pcap") == frames(tmp_path / "c.pcap")
    out = frames(tmp_path / "b.pcap")
    assert result["copies"] == len(out) == len(data) - sum(result["drops"].values())
    # Both hosts of the trace are behind port 0: once learned, their frames stay there.
    assert result["drops"]["same_port"] > 0
    assert set(out) <= set(data)


def test_paths_that_device_arguments_cannot_hold(demo_pcap: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a,b=c [d]"
    folder.mkdir()
    source = folder / "in,x=y.pcap"
    source.write_bytes(demo_pcap.read_bytes())
    escaped = str(source).replace(",", "\\,")
    l2fwd("-p", f"pcap:rx={escaped},tx=back.pcap", "-p", "pcap:tx=a\\,b=c [d]/out,1.pcap",
          "--no-mac-updating", cwd=tmp_path).ok()  # fmt: skip
    assert frames(folder / "out,1.pcap") == frames(demo_pcap)


def test_frames_that_the_capture_cut(demo_pcap: Path, tmp_path: Path) -> None:
    """A capture's cut frames are dropped by name, or sent as they are on request."""
    short = cut_short(demo_pcap, tmp_path / "short.pcap", 200)
    whole = [f for f in frames(demo_pcap) if len(f) <= 200]
    args = ("-p", "pcap:rx=short.pcap", "-p", "pcap:tx=out.pcap", "--no-mac-updating")
    result = l2fwd(*args, cwd=tmp_path).ok()
    assert frames(tmp_path / "out.pcap") == whole
    assert result["drops"] == {"capture_cut": len(frames(demo_pcap)) - len(whole)}
    assert any("snapshot length" in w for w in result["warnings"])
    args = ("-p", "pcap:rx=short.pcap,cut=send", *args[2:])
    assert l2fwd(*args, cwd=tmp_path).ok()["drops"] == {}
    assert frames(tmp_path / "out.pcap") == frames(short)


def test_a_truncated_file_gives_its_whole_records(demo_pcap: Path, tmp_path: Path) -> None:
    (tmp_path / "torn.pcap").write_bytes(demo_pcap.read_bytes()[:-10])
    run = l2fwd("-p", "pcap:rx=torn.pcap", "-p", "pcap:tx=out.pcap", "--no-mac-updating",
                cwd=tmp_path)  # fmt: skip
    result = run.ok()
    assert frames(tmp_path / "out.pcap") == frames(demo_pcap)[:-1]
    assert any("damaged" in w for w in result["warnings"]) and "damaged" in run.stderr


def test_runts_never_reach_the_wire(tmp_path: Path) -> None:
    good = frame("02:00:00:00:00:aa", "02:00:00:00:00:bb", "good")
    write(tmp_path / "in.pcap", [good[:1], good, good[:13], good[:14]])
    for extra in ((), ("--no-mac-updating",), ("--learn",)):
        result = l2fwd("-p", "pcap:rx=in.pcap", "-p", "pcap:tx=out.pcap", *extra,
                       cwd=tmp_path).ok()  # fmt: skip
        assert result["drops"] == {"runt": 2}
        assert [f[12:] for f in frames(tmp_path / "out.pcap")] == [good[12:], good[12:14]]


def test_a_capture_without_frames(tmp_path: Path) -> None:
    write(tmp_path / "none.pcap", [])
    result = l2fwd("-p", "pcap:rx=none.pcap", "-p", "pcap:tx=out.pcap", cwd=tmp_path).ok()
    assert result["rx_packets"] == 0 and frames(tmp_path / "out.pcap") == []


def test_frames_longer_than_a_buffer(tmp_path: Path) -> None:
    """Jumbo frames cross as chains of buffers; what net_pcap would cut is dropped by name."""
    sizes = (2047, 2048, 2049, 4096, 9018, 16128, 16129, 40000, 65535)
    data = [frame("02:00:00:00:00:aa", "02:00:00:00:00:bb", str(n), n) for n in sizes]
    write(tmp_path / "in.pcap", data)
    for extra in ((), ("--learn",)):
        result = l2fwd("-p", "pcap:rx=in.pcap", "-p", "pcap:tx=out.pcap", "--no-mac-updating",
                       *extra, cwd=tmp_path).ok()  # fmt: skip
        assert frames(tmp_path / "out.pcap") == data[:6]
        assert result["drops"] == {"too_long": 3}


def test_rewriting_does_not_touch_what_a_bridge_shares(tmp_path: Path) -> None:
    """Floods to several captures carry the same bytes, whatever the lengths."""
    data = [frame("ff:ff:ff:ff:ff:ff", f"02:00:00:00:01:{i:02x}", str(i), 60 + 37 * i)
            for i in range(40)]  # fmt: skip
    write(tmp_path / "in.pcap", data)
    result = l2fwd("--learn", "-p", "pcap:rx=in.pcap", *(w for i in range(6)
                   for w in ("-p", f"pcap:tx=o{i}.pcap")), cwd=tmp_path).ok()  # fmt: skip
    assert result["copies"] == 5 * len(data)
    for i in range(6):
        assert frames(tmp_path / f"o{i}.pcap") == data


@pytest.mark.parametrize("order", ["<", ">"])
def test_either_byte_order_and_nanoseconds(order: str, tmp_path: Path) -> None:
    data = [frame("02:00:00:00:00:aa", "02:00:00:00:00:bb", str(i)) for i in range(3)]
    for magic in (0xA1B2C3D4, 0xA1B23C4D):
        head = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, 1)
        body = b"".join(struct.pack(f"{order}4I", 1, 2, len(f), len(f)) + f for f in data)
        (tmp_path / "in.pcap").write_bytes(head + body)
        l2fwd("-p", "pcap:rx=in.pcap", "-p", "pcap:tx=out.pcap", "--no-mac-updating",
              cwd=tmp_path).ok()  # fmt: skip
        assert frames(tmp_path / "out.pcap") == data
