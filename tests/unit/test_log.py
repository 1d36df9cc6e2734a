"""DPDK's log in Python's logging."""

from __future__ import annotations

import logging

import pytest

import veridnet as vn
from veridnet import dpdklog


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    dpdklog.start().sync(5)
    return [r.getMessage() for r in caplog.records if r.name == "veridnet.dpdk"]


def test_lines_arrive(caplog) -> None:
    caplog.set_level(logging.DEBUG, "veridnet.dpdk")
    with vn.Runtime(log_level="debug") as rt:
        with pytest.raises(vn.PortError):
            rt.add_vdev("net_nosuchdriver0")
        got = lines(caplog)
    assert any("net_nosuchdriver0" in line for line in got)
    assert all("\n" not in line for line in got)
    levels = {r.levelno for r in caplog.records if "net_nosuchdriver0" in r.getMessage()}
    assert logging.ERROR in levels


def test_the_level_is_the_runtime_s(caplog) -> None:
    caplog.set_level(logging.DEBUG, "veridnet.dpdk")
    with vn.Runtime(log_level="emergency") as rt, pytest.raises(vn.PortError):
        rt.add_vdev("net_nosuchdriver0")
    assert lines(caplog) == []
    with vn.Runtime(log_level="error") as rt, pytest.raises(vn.PortError):
        rt.add_vdev("net_nosuchdriver0")
    assert lines(caplog)


def test_an_error_carries_dpdk_s_words(runtime) -> None:
    with pytest.raises(vn.PortError) as e:
        runtime.add_vdev("net_bonding0,mode=99")
    text = str(e.value)
    assert "net_bonding0" in text
    assert "(" in text  # DPDK's own lines about it
    assert "\n" not in text


def test_lines_that_are_no_reason_are_left_out() -> None:
    """net_tap logs as errors what it does without, before the error that ends it."""
    log = dpdklog.start()
    log.sync(5)
    log.recent.clear()
    for text in (
        "tap_nl_dump_ext_ack(): Specified qdisc kind is unknown",
        "qdisc_create_multiq(): Could not add multiq qdisc (2): No such file or directory",
        "eth_dev_tap_create(): vt0: failed to create multiq qdisc.",
        "eth_dev_tap_create():  Disabling rte flow support: No such file or directory(2)",
        "Frame size (9018) > device max frame size (1522) for port_id 0",
    ):
        log.record(b"4" + text.encode())
    assert log.errors() == ["Frame size (9018) > device max frame size (1522) for port_id 0"]
    log.recent.clear()


def test_a_failing_handler_does_not_stop_the_log(run_python) -> None:
    done = run_python(
        """
        import logging
        import veridnet as vn
        from veridnet import dpdklog

        class Bad(logging.Handler):
            def emit(self, record):
                raise ValueError("no")

        seen = []
        class Good(logging.Handler):
            def emit(self, record):
                seen.append(record.getMessage())

        logger = logging.getLogger("veridnet.dpdk")
        logger.handlers = [Good(), Bad()]
        with vn.Runtime(log_level="debug") as rt:
            for i in range(3):
                try:
                    rt.add_vdev(f"net_nosuchdriver{i}")
                except vn.PortError:
                    pass
            dpdklog.start().sync(5)
        assert any("net_nosuchdriver2" in line for line in seen), seen
        """
    )
    assert done.stderr == ""


def test_nothing_goes_to_stdout_or_stderr(run_python) -> None:
    """Neither EAL's chatter nor a driver's, whether or not the program uses logging."""
    code = """
        import logging, sys
        if sys.argv[1] == "root":
            logging.basicConfig(filename="log.txt", level=logging.DEBUG)
        import veridnet as vn
        with vn.Runtime(log_level="debug") as rt:
            rt.add_port("ring").tx(vn.Burst.from_bytes([bytes(60)]))
            try:
                rt.add_vdev("net_nosuchdriver0")
            except vn.PortError:
                pass
        """
    for how in ("none", "root"):
        done = run_python(code, how)
        assert (done.stdout, done.stderr) == ("", "")


def test_warnings_about_ports_are_logged(runtime, caplog, tmp_path, write_pcap) -> None:
    path = write_pcap(tmp_path / "x.pcap", [bytes(60)] * 2, lengths={1: 100})
    with caplog.at_level(logging.WARNING, "veridnet"):
        port = runtime.add_port("pcap", rx=path)
    assert port.warnings == [r.getMessage() for r in caplog.records if r.name == "veridnet"]
    assert len(port.warnings) == 1
