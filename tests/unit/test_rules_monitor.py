"""Counters over a Unix socket."""

import contextlib
import os
import socket
import stat
import threading
import time

import numpy as np
import pytest

import veridnet as vn
from veridnet.apps import rules_watch
from veridnet.rules import monitor
from veridnet.rules.rule import Rule


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "m.sock")


def test_answers(path):
    counts = iter(range(100))
    with monitor.Monitor(lambda: {"rules": [{"id": next(counts)}]}, path):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        first, second = monitor.query(path), monitor.query(path)
        assert (first["rules"], second["rules"]) == ([{"id": 0}], [{"id": 1}])
        assert first["pid"] == os.getpid()
        assert second["seconds"] > first["seconds"]
        with pytest.raises(vn.ConfigError, match="another program serves it"):
            monitor.Monitor(dict, path)
    assert not os.path.exists(path)
    with pytest.raises(vn.VeridnetError, match="no program serves"):
        monitor.query(path)


def test_what_a_dead_process_left_is_replaced(path):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path)
    with monitor.Monitor(dict, path) as m:
        assert "pid" in monitor.query(path)
        m.close()
        m.close()


def test_a_file_is_not_replaced(path):
    with open(path, "w"):
        pass
    with pytest.raises(vn.ConfigError, match="is no socket"):
        monitor.Monitor(dict, path)
    with pytest.raises(vn.ConfigError, match="Not a directory"):
        monitor.Monitor(dict, path + "/none/x.sock")


def test_a_mistake_is_told_and_the_server_goes_on(path):
    answers = [lambda: 1 / 0, dict]
    with monitor.Monitor(lambda: answers.pop(0)(), path):
        with pytest.raises(vn.VeridnetError, match="ZeroDivisionError: division by zero"):
            monitor.query(path)
        assert "pid" in monitor.query(path)


def test_a_slow_reader_is_left(path, monkeypatch):
    monkeypatch.setattr(monitor, "PATIENCE", 0.5)
    with (
        monitor.Monitor(lambda: {"text": "x" * (1 << 24)}, path),
        socket.socket(socket.AF_UNIX) as s,
    ):
        s.connect(path)  # and reads nothing
        assert len(monitor.query(path)["text"]) == 1 << 24


def test_running(tmp_path, monkeypatch):
    monkeypatch.setattr(monitor, "folder", lambda: str(tmp_path / "run"))
    assert monitor.running() == []
    with monitor.Monitor(dict) as m:
        assert (
            m.path == monitor.default_path() == str(tmp_path / "run" / f"rules-{os.getpid()}.sock")
        )
        assert monitor.running() == [m.path]
        assert stat.S_IMODE(os.stat(tmp_path / "run").st_mode) == 0o700
    assert monitor.running() == []
    assert not [t for t in threading.enumerate() if t.name == "veridnet-rules"]


class Table:
    """As FlowTable."""

    def rules(self):
        return [(3, Rule("l4_dst == 80", ("drop",), 5, "web")), (1, Rule(""))]

    def stats(self):
        dtype = [("id", "i4"), ("priority", "u4"), ("packets", "u8"), ("bytes", "u8")]
        return np.array([(1, 0, 7, 420), (3, 5, 2, 128)], dtype)


def test_what_killed_processes_left_is_swept(tmp_path, monkeypatch):
    """Sockets that nobody listens to go when the next one comes; young ones, and others, stay."""
    monkeypatch.setattr(monitor, "folder", lambda: str(tmp_path / "run"))
    (tmp_path / "run").mkdir(mode=0o700)
    left, live = str(tmp_path / "run/rules-1.sock"), str(tmp_path / "run/rules-2.sock")
    (tmp_path / "run/other.sock").write_text("a file")
    for path in (left, live):
        s = socket.socket(socket.AF_UNIX)
        s.bind(path)
        if path == left:
            s.close()
        else:
            s.listen()
            listening = s
    with monitor.Monitor(dict):
        assert os.path.exists(left), "it is young"
    monkeypatch.setattr(monitor, "OLD", -1.0)
    with monitor.Monitor(dict) as mine:
        assert sorted(os.listdir(tmp_path / "run")) == sorted(
            ["other.sock", "rules-2.sock", os.path.basename(mine.path)]
        )
    listening.close()


def test_table_snapshot():
    found = monitor.table_snapshot(Table(), program="l2fwd")
    assert found["program"] == "l2fwd"
    assert [(r["id"], r["packets"], r["bytes"]) for r in found["rules"]] == [
        (3, 2, 128),
        (1, 7, 420),
    ]
    assert found["rules"][0]["actions"] == ["drop"]


RULE = {"id": 0, "name": "", "priority": 0, "match": "", "actions": [], "packets": 0, "bytes": 0}


@pytest.mark.parametrize(
    "answer",
    [{}, {"rules": 5}, {"rules": [{"id": 1}]}, {"rules": [{**RULE, "bytes": "x"}]},
     {"rules": [RULE], "missed": 3}, {"rules": [RULE], "seconds": "x"}],
)  # fmt: skip
def test_what_is_no_snapshot(path, answer):
    with (
        monitor.Monitor(lambda: answer, path),
        pytest.raises(vn.VeridnetError, match="is no snapshot of rules"),
    ):
        rules_watch.ask(path)


@pytest.mark.parametrize("kind", ["much", "long", "deep"])
def test_answers_without_end(path, monkeypatch, kind):
    monkeypatch.setattr(monitor, "MOST", 1 << (20 if kind == "much" else 40))

    def serve():
        made, _ = listener.accept()
        with made, contextlib.suppress(OSError):
            while kind != "deep":
                made.sendall(b"[" * (1 if kind == "long" else 1 << 16))
                time.sleep(0.001)
            made.sendall(b"[" * 200_000)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(vn.VeridnetError, match=r"no answer in|ended while"):
            monitor.query(path, 0.3 if kind == "long" else 5)
        thread.join()


def test_another_program_that_does_not_answer_is_no_hindrance(tmp_path, monkeypatch):
    monkeypatch.setattr(monitor, "folder", lambda: str(tmp_path))
    one = str(tmp_path / "rules-1.sock")
    with (
        monitor.Monitor(lambda: 1 / 0, str(tmp_path / "rules-2.sock")),
        monitor.Monitor(lambda: {"file": "/r.toml"}, one),
    ):
        assert rules_watch.find("/r.toml") == one
