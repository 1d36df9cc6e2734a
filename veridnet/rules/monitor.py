"""The counters of a running table, for others on the machine: a Unix socket.

A process that forwards serves `Monitor`; ``veridnet rules watch`` asks. Each connection gets one
JSON object on one line, and is closed. The socket is its owner's only (mode 0600).

The object: ``{"program": "l2fwd", "pid": 7, "file": "rules.toml", "seconds": 12.3, "rules":
[{"id": 0, "name": "web", "priority": 100, "match": "...", "actions": [...], "packets": 5, "bytes":
300}, ...], "missed": {"packets": 1, "bytes": 60}}``; ``seconds`` is a clock for rates, and missed
is what no rule matched. More keys may come.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import socketserver
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from veridnet.errors import ConfigError, StateError, VeridnetError

#: A reader that is slower than this many seconds is left.
PATIENCE = 2.0
#: Seconds after which a socket that nobody listens to is one that a killed process left.
OLD = 60.0
#: Bytes of an answer: 300,000 rules have 60 MB.
MOST = 1 << 30


def folder() -> str:
    """Where sockets are: /run/veridnet for root, else in the user's runtime folder."""
    if os.geteuid() == 0:
        return "/run/veridnet"
    base = os.environ.get("XDG_RUNTIME_DIR") or ""
    if base and os.path.isdir(base):
        return os.path.join(base, "veridnet")
    return os.path.join(tempfile.gettempdir(), f"veridnet-{os.geteuid()}")


def default_path() -> str:
    """The socket of a process like this one: rules-PID.sock in `folder`."""
    return os.path.join(folder(), f"rules-{os.getpid()}.sock")


def running() -> list[str]:
    """The sockets of all processes that serve one here, by age; those left by dead ones are not."""
    try:
        names = os.listdir(folder())
    except OSError:
        return []
    paths = [os.path.join(folder(), name) for name in names]
    alive = [p for p in paths if p.endswith(".sock") and _answers(p)]
    return sorted(alive, key=_age)


def _age(path: str) -> float:
    try:
        return os.stat(path).st_ctime
    except OSError:  # it ended meanwhile
        return 0.0


def _sweep() -> None:
    """Removes the sockets of processes that were killed."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder()):
            path = os.path.join(folder(), name)
            # (A young one may be about to listen.)
            if name.endswith(".sock") and time.time() - _age(path) > OLD and _refuses(path):
                os.unlink(path)


def _refuses(path: str) -> bool:
    """Is it a socket that nobody listens to?"""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.settimeout(0)
        return s.connect_ex(path) == errno.ECONNREFUSED


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.settimeout(PATIENCE)
        try:
            s.connect(path)
        except OSError:
            return False
    return True


def query(path: str, timeout: float = 5.0) -> dict[str, Any]:
    """One snapshot of the process that serves `path`. VeridnetError says why there is none."""
    data = bytearray()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            until = time.monotonic() + timeout
            s.settimeout(timeout)
            s.connect(path)
            while part := s.recv(1 << 16):
                data += part
                if len(data) > MOST or time.monotonic() > until:
                    raise TimeoutError
        found = json.loads(data)
    except (FileNotFoundError, ConnectionRefusedError):
        raise VeridnetError(f"{path}: no program serves its rules there") from None
    except TimeoutError:
        raise VeridnetError(f"{path}: no answer in {timeout:g} s") from None
    except (ValueError, RecursionError):
        raise VeridnetError(f"{path}: the program ended while it answered") from None
    except OSError as e:
        raise VeridnetError(f"{path}: {e.strerror}") from None
    if not isinstance(found, dict):
        raise VeridnetError(f"{path}: its answer is no object")
    if "error" in found:
        raise VeridnetError(f"{path}: {found['error']}")
    return found


class Monitor:
    """Serves snapshots while it is open: a ``with`` block, or until `close`.

    Parameters
    ----------
    snapshot
        Makes one; it runs in the monitor's thread, of which there is one: not often, and not on
        the data path.
    path
        The socket; None: `default_path`. One that a dead process left is replaced.

    ConfigError if the socket cannot be made, or another process serves it.
    """

    def __init__(self, snapshot: Callable[[], Mapping[str, Any]], path: str | None = None) -> None:
        self.path = path or default_path()
        self._began = time.monotonic()
        if path is None:
            _own_folder(folder())
            _sweep()
        if os.path.lexists(self.path):
            if not stat.S_ISSOCK(os.lstat(self.path).st_mode):
                raise ConfigError(f"{self.path}: is there, and is no socket")
            if _answers(self.path):
                raise ConfigError(f"{self.path}: another program serves it")
            os.unlink(self.path)
        monitor = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request.settimeout(PATIENCE)
                with contextlib.suppress(OSError):  # the reader has gone
                    self.request.sendall(monitor._answer(snapshot))

        class Server(socketserver.UnixStreamServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a reader's trouble is not the forwarder's

        before = os.umask(0o177)
        try:
            self._server = Server(self.path, Handler)
        except OSError as e:
            raise ConfigError(f"{self.path}: {e.strerror or e}") from None
        finally:
            os.umask(before)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="veridnet-rules", daemon=True
        )
        self._open = True
        self._thread.start()

    def _answer(self, snapshot: Callable[[], Mapping[str, Any]]) -> bytes:
        try:
            whole = {
                "pid": os.getpid(), "seconds": time.monotonic() - self._began, **snapshot()
            }  # fmt: skip
            return json.dumps(whole).encode() + b"\n"
        except Exception as e:  # the reader is told; the forwarder goes on
            return json.dumps({"error": f"{type(e).__name__}: {e}"}).encode() + b"\n"

    def close(self) -> None:
        """Ends the thread and removes the socket. More calls do nothing."""
        if not self._open:
            return
        self._open = False
        if threading.current_thread() is self._thread:
            raise StateError("a snapshot cannot close its monitor")
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        with contextlib.suppress(OSError):
            os.unlink(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


def _own_folder(path: str) -> None:
    """Makes the folder of sockets; one that another user owns could be a trap."""
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as e:
        raise ConfigError(f"{path}: {e.strerror}") from None
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise ConfigError(f"{path}: is not a folder of this user's")


def table_snapshot(table: Any, **more: Any) -> dict[str, Any]:
    """A snapshot of a FlowTable (its ``rules()`` and ``stats()``), and what else the caller has."""
    counted = {int(row["id"]): row for row in table.stats()}
    rules = []
    for number, rule in table.rules():
        row = counted.get(number)
        rules.append({
            "id": number, "name": rule.name, "priority": rule.priority, "match": rule.match,
            "actions": list(rule.actions),
            "packets": int(row["packets"]) if row is not None else 0,
            "bytes": int(row["bytes"]) if row is not None else 0,
        })  # fmt: skip
    return {**more, "rules": rules}
