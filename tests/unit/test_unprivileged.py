"""An unprivileged user with no capabilities: pcap, null, ring and memif ports."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

NOBODY = 65534
CODE = """
    import os, sys
    import veridnet as vn
    from veridnet.ports.kernel import has_capability
    assert os.getuid() == os.geteuid() == os.getgid() == 65534
    assert not any(has_capability(bit) for bit in range(40))
    with vn.Runtime() as rt:
        rx = rt.add_port("pcap", rx=sys.argv[1], tx="out.pcap")
        null = rt.add_port("null")
        ring = rt.add_port("ring")
        memif = [rt.add_port("memif", socket="m.sock", role=r) for r in ("server", "client")]
        burst = vn.Burst(32)
        while not rx.exhausted:
            rx.rx(burst)
            ring.tx(burst)
            ring.rx(burst)
            rx.tx(burst)
        null.rx(burst)
        null.tx(burst)
        for kind, options in (("tap", {"iface": "vnt0"}), ("af_packet", {"iface": "lo"})):
            try:
                rt.add_port(kind, **options)
            except vn.PortError as e:
                assert "capability" in str(e) and "sudo" in e.hint, e
            else:
                raise AssertionError(f"{kind} without capabilities?")
        pipe = vn.Pipeline(rx=[null]).rewrite(swap_macs=True).forward(null)
        rt.run(pipe, count=100000)
        # memif: two ends in one process need the main thread only for their handshake.
        import time
        end = time.monotonic() + 5
        while not all(m.link()["up"] for m in memif) and time.monotonic() < end:
            time.sleep(0.01)
        if all(m.link()["up"] for m in memif):
            assert memif[1].tx(vn.Burst.from_bytes([b"m" * 100])) == 1
            while not memif[0].rx(burst) and time.monotonic() < end:
                time.sleep(0.01)
            assert burst.to_bytes(0) == b"m" * 100
            burst.clear()
            print("memif")
    assert rt.balance().balanced and rt.mbufs_in_use() == 0 and not rt.problems, rt.problems
    print(rt.memory)
"""


@pytest.fixture
def as_nobody(run_python) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs code as the user nobody, in a folder of its own. Where that user cannot reach this
    Python's environment, it is bind-mounted to where it can, in a mount namespace of its own."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed (util-linux)")
    drop = [
        "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
        "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--no-new-privs",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as base:
        os.chmod(base, 0o755)
        home = Path(base) / "home"
        home.mkdir()
        os.chown(home, NOBODY, NOBODY)
        python, prefix = sys.executable, list(drop)

        def reachable() -> bool:
            done = run_python(
                "import veridnet", prefix=prefix, python=python, cwd=home, check=False
            )
            return done.returncode == 0

        if not reachable():
            env = Path(base) / "env"
            env.mkdir()
            python = str(env / Path(sys.executable).relative_to(sys.prefix))
            prefix = ["unshare", "-m", "sh", "-c", 'mount --bind "$0" "$1" && shift && exec "$@"',
                      sys.prefix, env, *drop]  # fmt: skip
            if not reachable():
                pytest.skip("this Python's environment cannot be mounted for another user")

        def run(code: str, *args: object) -> subprocess.CompletedProcess[str]:
            return run_python(code, *args, prefix=prefix, python=python, cwd=home)

        yield run


def test_ports_without_privileges(as_nobody, demo_pcap) -> None:
    with tempfile.NamedTemporaryFile(suffix=".pcap") as copy:
        copy.write(demo_pcap.read_bytes())
        copy.flush()
        os.chmod(copy.name, 0o644)
        done = as_nobody(CODE, copy.name)
    assert done.stdout in (f"memif\n{m}\n" for m in ("hugepages", "thp", "4k"))
    assert done.stderr == ""
