"""What pages the memory lies on, told and promoted; where pools lie is in test_memory.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from veridnet.eal import thp_enabled
from veridnet.hugepages import Machine

needs_thp = pytest.mark.skipif(not thp_enabled(), reason="transparent huge pages are disabled here")


@needs_thp
def test_what_is_small_is_promoted(run_python) -> None:
    """A heap that was filled while the process had no transparent huge pages (prctl(2))."""
    done = run_python(
        """
        import ctypes, sys
        import veridnet as vn
        prctl = ctypes.CDLL(None).prctl
        assert prctl(41, 1, 0, 0, 0) == 0  # PR_SET_THP_DISABLE
        with vn.Runtime(memory="thp", mbufs=8191) as rt:
            small = rt.memory_report()
            assert small["huge_bytes"] == 0, small
            frames = [bytes([i]) * 200 for i in range(100)]
            burst = vn.Burst.from_bytes(frames)
            assert prctl(41, 0, 0, 0, 0) == 0
            try:
                before, after = rt.promote_memory()
            except vn.PoolError as e:
                print("before Linux 6.1?", e)
                sys.exit(3)
            assert before == 0 and after == rt.memory_report()["huge_bytes"], (before, after)
            assert [bytes(v) for v in burst] == frames
            print(after / small["heap_bytes"])
            assert rt.promote_memory() == (after, after)
            burst.clear()
        """,
        check=False,
    )
    if done.returncode == 3:
        pytest.skip(done.stdout)
    assert done.returncode == 0, done.stderr
    # (On a machine whose memory is fragmented it may be less.)
    at_once = sum(now for now, _ in Machine().buddies().values())
    assert float(done.stdout) > (0.9 if at_once > 64 else 0)


def test_nothing_to_promote(run_python) -> None:
    done = run_python(
        """
        import veridnet as vn
        with vn.Runtime(memory="4k", mbufs=1023) as rt:
            print(rt.promote_memory())
        try:
            rt.promote_memory()
        except vn.ClosedError:
            print("closed")
        """
    )
    assert done.stdout == "(0, 0)\nclosed\n"


def test_the_process_is_told_from_outside(veridnet_cli, run_python) -> None:
    """`status --pid` of a process with pools, against its own count."""
    if not Path("/proc/self/numa_maps").exists():
        pytest.skip("this kernel has no numa_maps")
    done = run_python(
        """
        import json, os, subprocess, sys
        import veridnet as vn
        with vn.Runtime(memory="4k", mbufs=8191) as rt:
            out = subprocess.run([sys.executable, "-P", "-m", "veridnet", "hugepages", "status",
                                  "--pid", str(os.getpid()), "--json"],
                                 capture_output=True, text=True, check=True).stdout
            theirs, ours = json.loads(out), rt.memory_report().get("nodes", {})
            for node, size in ours.items():
                if node >= 0:
                    assert sum(r["bytes"] for r in theirs["nodes"] if r["node"] == node) >= size
            assert theirs["resident_bytes"] > sum(ours.values())
            assert theirs["hugetlb_bytes"] == 0
        """
    )
    assert done.returncode == 0
