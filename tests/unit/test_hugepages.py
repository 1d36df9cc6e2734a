"""Hugepages: the logic on machines that are not here, the real thing on a few pages of this one."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_machine import GIB, MIB, machine, write
from hypothesis import given
from hypothesis import strategies as st

from veridnet import hugepages, hugetlbfs, process_memory
from veridnet.errors import ConfigError, VeridnetError
from veridnet.hugepages import Machine, command, parse_size, release, reserve, show_size
from veridnet.topology_read import kilobytes

REAL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")


class Kernel(Machine):
    """A machine of two nodes whose kernel gives at most so many pages, more after compaction.

    Attributes
    ----------
    room, packed
        How many pages a node can have, before memory is compacted and after.
    written
        Every file that was written.
    """

    def __init__(self, root: Path, room: int = 10**6, packed: int = 10**6) -> None:
        super().__init__(machine(root))
        self.room, self.packed = room, packed
        self.used = self.resv = 0
        self.written: list[tuple[str, int]] = []
        self.other = 0  # pages that another process takes as soon as they are there
        write(root, {
            "proc/sys/vm/compact_memory": "", "proc/sys/vm/drop_caches": "",
            "sys/devices/system/node/node1/compact": "",
            "proc/buddyinfo": "Node 0, zone Normal 100 0 0 0 0 0 0 0 0 3 2\n"
                              "Node 1, zone Normal 0 0 0 0 0 0 0 0 0 1 0",
        })  # fmt: skip

    def write(self, name: str, value: int) -> None:
        self.written.append((name, value))
        if name.endswith(("compact_memory", "/compact")):
            self.room = self.packed
        if not name.endswith("nr_hugepages"):
            return
        now = self.number(name)
        count = min(value, max(now, self.room)) if value > now else max(value, self.used)
        self.used, self.other = min(count, self.used + self.other), 0
        folder = os.path.dirname(name)
        write(self.root, {
            name: count, f"{folder}/surplus_hugepages": count - value if value < count and
            count == self.used else 0, f"{folder}/free_hugepages": count - self.used,
        })  # fmt: skip

    def number(self, name: str) -> int:
        """What a file says."""
        return int((self.root / name).read_text())

    @property
    def compactions(self) -> int:
        """How often memory was compacted."""
        return sum(n.endswith(("compact_memory", "/compact")) for n, _ in self.written)


# -- reserve --------------------------------------------------------------------------------------


def test_reserve(tmp_path) -> None:
    kernel = Kernel(tmp_path)
    done = reserve(kernel, 64)
    assert (done.free, done.total, done.before, done.why) == (64, 64, 0, "") and done.complete
    assert kernel.written == [("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", 64)]
    # It is about what is free: nothing to do, then only what is missing.
    kernel.written.clear()
    assert reserve(kernel, 64).complete and reserve(kernel, 10).total == 64
    assert kernel.written == []
    kernel.used = 20
    write(tmp_path, {"sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages": 44})
    assert reserve(kernel, 64).total == 84
    # Pages that a mapping was promised are not free.
    write(tmp_path, {"sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages": 4})
    assert reserve(kernel, 64).total == 88


def test_reserve_on_a_node_and_of_a_size(tmp_path) -> None:
    kernel = Kernel(tmp_path)
    assert reserve(kernel, 2, size=GIB, node=1).complete
    assert kernel.written == [
        ("sys/devices/system/node/node1/hugepages/hugepages-1048576kB/nr_hugepages", 2)
    ]


def test_compaction_helps(tmp_path) -> None:
    kernel = Kernel(tmp_path, room=5, packed=100)
    done = reserve(kernel, 64)
    assert done.complete and kernel.compactions == 1
    assert not any("drop_caches" in n for n, _ in kernel.written)


def test_caches_are_dropped_only_if_asked(tmp_path) -> None:
    kernel = Kernel(tmp_path, room=5, packed=100)
    reserve(kernel, 64, drop_caches=True)
    names = [n for n, _ in kernel.written]
    assert names.index("proc/sys/vm/drop_caches") < names.index("proc/sys/vm/compact_memory")


def test_a_node_is_compacted_alone(tmp_path) -> None:
    kernel = Kernel(tmp_path, room=5, packed=100)
    reserve(kernel, 64, node=1)
    assert ("sys/devices/system/node/node1/compact", 1) in kernel.written


def test_some_but_not_all(tmp_path) -> None:
    kernel = Kernel(tmp_path, room=5, packed=9)
    done = reserve(kernel, 64)
    assert (done.free, done.total, done.complete) == (9, 9, False)
    assert done.why == "there is no more free memory"  # 14 pages' worth is less than the 55
    assert 1 <= kernel.compactions < hugepages.TRIES
    write(tmp_path, {"proc/buddyinfo": "Node 0, zone Normal 99999 0 0 0 0 0 0 0 0 3 2"})
    assert reserve(kernel, 64).why == (
        "memory is fragmented (202 pages' worth is free, 7 in one piece)"
    )


def test_all_or_none(tmp_path) -> None:
    kernel = Kernel(tmp_path, room=9, packed=9)
    assert reserve(kernel, 4, exact=True).total == 4
    with pytest.raises(
        VeridnetError, match="only 9 of 64 hugepages of 2M could be had, and none"
    ) as e:
        reserve(kernel, 64, exact=True)
    assert "--drop-caches" in e.value.hint and "hugepages=N" in e.value.hint
    assert kernel.of_size(2 * MIB).total == 4


def test_another_process_takes_them(tmp_path) -> None:
    kernel = Kernel(tmp_path)
    kernel.other = 30
    done = reserve(kernel, 64)
    assert done.free == 34 and not done.complete and done.why == "others took some meanwhile"


def test_too_much_for_the_machine(tmp_path) -> None:
    """8 GiB are available on two nodes: a tenth stays."""
    kernel = Kernel(tmp_path)
    with pytest.raises(
        ConfigError, match=r"9\.8 GiB more, and of the 8\.0 GiB available 7\.2"
    ) as e:
        reserve(kernel, 5000)
    assert e.value.hint == "at most 3686, or --force" and kernel.written == []
    assert reserve(kernel, 3686).complete
    with pytest.raises(ConfigError, match=r"of the 4.0 GiB available of node 1 3\.6"):
        reserve(kernel, 1900, node=1)
    with pytest.raises(ConfigError, match="8 hugepages of 1G"):
        reserve(Kernel(tmp_path / "b"), 8, size=GIB)
    assert reserve(Kernel(tmp_path / "c"), 5000, force=True).complete


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"n": 0}, "at least 1"), ({"n": -5}, "at least 1"),
        ({"n": 1, "node": 2}, "no NUMA node 2"), ({"n": 1, "node": -1}, "no NUMA node -1"),
        ({"n": 1, "size": 4 * MIB}, "no hugepages of 4M here: this machine has 2M and 1G"),
        ({"n": 10**30}, "GiB more"),
    ],
)  # fmt: skip
def test_what_cannot_be(tmp_path, kwargs: dict[str, int], says: str) -> None:
    kernel = Kernel(tmp_path)
    with pytest.raises(ConfigError, match=re.escape(says)):
        reserve(kernel, **kwargs)  # type: ignore[arg-type]
    assert kernel.written == []


def test_a_kernel_without(tmp_path) -> None:
    with pytest.raises(VeridnetError, match="this kernel shows no hugepages"):
        reserve(Machine(tmp_path), 1)


@pytest.mark.parametrize(
    ("code", "says"),
    [(errno.EACCES, "only root may"), (errno.EROFS, "Read-only"), (errno.EINVAL, "Invalid")],
)
def test_refused(tmp_path, monkeypatch, code: int, says: str) -> None:
    kernel = Kernel(tmp_path)

    def refuse(name: str, value: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(kernel, "write", refuse)
    with pytest.raises(VeridnetError, match=says) as e:
        reserve(kernel, 3, node=1)
    if code != errno.EINVAL:
        assert "hugepages reserve 3 --node 1" in e.value.hint


@given(st.integers(1, 60), st.integers(0, 60), st.integers(0, 60), st.integers(0, 40))
def test_never_takes_away(tmp_path_factory, n: int, room: int, more: int, used: int) -> None:
    kernel = Kernel(tmp_path_factory.mktemp("k"), room=room, packed=room + more)
    kernel.used = used
    folder = "sys/kernel/mm/hugepages/hugepages-2048kB"
    write(kernel.root, {f"{folder}/nr_hugepages": used + 5, f"{folder}/free_hugepages": 5})
    done = reserve(kernel, n)
    assert done.total >= used + 5 and done.free == kernel.of_size(2 * MIB).free
    assert done.complete == (done.free >= n) == (done.why == "")
    assert len(kernel.written) <= 3 * hugepages.TRIES


# -- release --------------------------------------------------------------------------------------


def test_release(tmp_path) -> None:
    kernel = Kernel(tmp_path)
    reserve(kernel, 64)
    reserve(kernel, 2, size=GIB)
    kernel.used = 10
    write(tmp_path, {"sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages": 54})
    (small,) = release(kernel, size=2 * MIB)
    assert (small[0].total, small[1].total, small[1].free) == (64, 10, 0)
    kernel.used = 0
    small, large = release(kernel)
    assert large[0].total == 2 and large[1].total == 0
    kernel.written.clear()
    release(kernel, size=GIB)
    assert kernel.written == []  # nothing to do
    with pytest.raises(ConfigError, match="no NUMA node 9"):
        release(kernel, node=9)


def test_release_all(tmp_path) -> None:
    """Those in use become surplus: the kernel frees them when their users end."""
    kernel = Kernel(tmp_path)
    reserve(kernel, 64)
    kernel.used = 10
    write(tmp_path, {"sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages": 54})
    ((_, after),) = release(kernel, size=2 * MIB, all=True)
    assert kernel.written[-1][1] == 0 and (after.total, after.surplus) == (10, 10)


# -- words, sizes, and what else there is to see --------------------------------------------------


@pytest.mark.parametrize(
    ("word", "size"),
    [("2M", 2 * MIB), ("2m", 2 * MIB), ("2MB", 2 * MIB), ("2MiB", 2 * MIB), ("1G", GIB),
     ("2048kB", 2 * MIB), ("1048576K", GIB), ("16G", 16 * GIB)],
)  # fmt: skip
def test_sizes(word: str, size: int) -> None:
    assert parse_size(word) == size and parse_size(show_size(size)) == size


@pytest.mark.parametrize("word", ["", "M", "2", "2T", "-2M", "0M", "x", "2 M M", "²M", "1.5G"])
def test_no_sizes(word: str) -> None:
    with pytest.raises(ConfigError, match="no size of hugepages"):
        parse_size(word)


def test_command_is_one_that_works() -> None:
    words = command("reserve", 8, "--size", "1G")
    assert words.endswith(" hugepages reserve 8 --size 1G")
    assert words.startswith("sudo ") == (os.geteuid() != 0)


def test_what_there_is_to_see(tmp_path) -> None:
    kernel = Kernel(tmp_path)
    write(tmp_path, {
        "proc/12/status": "Name:\tdpdk\nHugetlbPages:\t   4096 kB",
        "proc/13/status": "Name:\tsh\nHugetlbPages:\t      0 kB",
        "proc/self/mounts": "none /dev/huge\\040pages hugetlbfs rw,pagesize=1024M 0 0\n"
                            "x / ext4 rw 0 0",
        "dev/huge pages/rtemap_0": "x",
        "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never",
    })  # fmt: skip
    assert list(hugepages.users(kernel)) == [(12, "dpdk", 4 * MIB)]
    (found,) = hugetlbfs.mounts(kernel)
    assert (found.folder, found.size, found.files) == ("/dev/huge pages", GIB, 1)
    assert hugepages.thp(kernel)["enabled"] == "madvise"
    # 3 blocks of 2 MiB and 2 of 4 MiB, and 100 pages of 4 KiB that are no page of 2 MiB.
    assert kernel.buddies() == {0: (7, 7), 1: (1, 1)}


def test_fragmentation_against_the_free_memory() -> None:
    """All blocks together are what meminfo calls free, but for the pages on CPUs' lists."""
    at_most = sum(best for _, best in Machine().buddies().values()) * 2 * MIB
    free = sum(
        kilobytes(p.read_text(), "MemFree")
        for p in Path("/sys/devices/system/node").glob("node*/meminfo")
    )
    if not at_most or not free:
        pytest.skip("this kernel shows no buddies, or no nodes")
    assert 0.5 * free < at_most < 1.5 * free  # others take and give meanwhile


def test_memory_of_a_process(tmp_path) -> None:
    write(tmp_path, {
        "proc/7/smaps_rollup": "Rss: 8192 kB\nAnonymous: 6144 kB\nAnonHugePages: 4096 kB\n"
                               "Shared_Hugetlb: 0 kB\nPrivate_Hugetlb: 2048 kB",
        "proc/7/numa_maps": "7f00 default anon=3 N0=2 N1=1 kernelpagesize_kB=4\n"
                            "7f40 default file=/anon_hugepage\\040(deleted) huge dirty=1 N1=1 "
                            "kernelpagesize_kB=2048",
    })  # fmt: skip
    report = process_memory.read(7, tmp_path)
    assert report["nodes"] == [
        {"node": 0, "page": 4096, "bytes": 8192}, {"node": 1, "page": 4096, "bytes": 4096},
        {"node": 1, "page": 2 * MIB, "bytes": 2 * MIB},
    ]  # fmt: skip
    assert report["transparent_bytes"] == 4 * MIB and report["hugetlb_bytes"] == 2 * MIB
    with pytest.raises(ConfigError, match="no process 8"):
        process_memory.read(8, tmp_path)


# -- this machine ---------------------------------------------------------------------------------


@pytest.fixture
def nobody_else() -> Iterator[int]:
    """The right to change the hugepages, and nobody beside; it puts back how many there were."""
    if os.geteuid() != 0 or not os.access(REAL / "nr_hugepages", os.W_OK):
        pytest.skip("no right to reserve hugepages")
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context((REAL / "nr_hugepages").open())
        fcntl.flock(lock, fcntl.LOCK_EX)  # as test_memory.py does
        before = int((REAL / "nr_hugepages").read_text())
        stack.callback((REAL / "nr_hugepages").write_text, str(before))
        yield before


def free_now() -> int:
    return int((REAL / "free_hugepages").read_text()) - int((REAL / "resv_hugepages").read_text())


def test_reserve_and_release_here(veridnet_cli, nobody_else: int) -> None:
    want = free_now() + 3
    done = veridnet_cli("hugepages", "reserve", want, "--json")
    if done.returncode == 1:
        pytest.skip(f"the kernel has no room for hugepages: {done.stderr}")
    assert done.returncode == 0 and done.json["complete"] and done.json["free"] >= want
    # What the kernel says, in a file that veridnet did not read for this.
    assert kilobytes(Path("/proc/meminfo").read_text(), "Hugetlb") >= want << 11
    status = veridnet_cli("hugepages", "status", "--json").json
    assert next(h for h in status["machine"] if h["size"] == 2 * MIB)["free"] >= 3
    assert veridnet_cli("hugepages", "reserve", want).stdout.startswith(f"{want} hugepages of 2M")
    done = veridnet_cli("hugepages", "release", "--size", "2M")
    assert done.returncode == 0 and "given back" in done.stdout
    assert free_now() == 0


def test_users_here(run_python, nobody_else: int) -> None:
    if not reserve(Machine(), free_now() + 2).complete:
        pytest.skip("the kernel has no room for hugepages")
    done = run_python(
        """
        import mmap, os
        from veridnet.hugepages import Machine, users
        from veridnet import process_memory
        m = mmap.mmap(-1, 2 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)  # MAP_HUGETLB
        m[0] = 1
        print([b for p, _, b in users(Machine()) if p == os.getpid()])
        report = process_memory.read()
        huge = [r["bytes"] for r in report["nodes"] if r["page"] == 2 << 20]
        print(report["hugetlb_bytes"], huge)
        """
    )
    assert done.stdout == f"[{2 * MIB}]\n{2 * MIB} [{2 * MIB}]\n"


def test_mount_and_unmount_here(run_python, tmp_path, nobody_else: int) -> None:
    """In a mount namespace of its own."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed (util-linux)")
    code = """
        import os, subprocess, sys
        def cli(*words, code=0):
            done = subprocess.run([sys.executable, "-P", "-m", "veridnet", "hugepages", *words],
                                  capture_output=True, text=True)
            assert done.returncode == code, (words, done)
            assert done.stderr.count("\\n") == (code != 0), done.stderr
            return done.stdout + done.stderr
        at = os.path.abspath("huge pages")
        assert cli("mount", "--dir", at).startswith("mounted: ")
        assert "was mounted already" in cli("mount", "--dir", at)
        assert "pages of 2M are mounted there" in cli("mount", "--dir", at, "--size", "1G", code=2)
        assert f"mounted: {at}, pages of 2M" in cli("status")
        assert os.statvfs(at).f_bsize == 2 << 20
        with open(f"{at}/x", "w"):
            assert "end who uses it" in cli("unmount", "--dir", at, code=1)
        assert cli("unmount", "--dir", at) == f"unmounted: {at}\\n"
        assert "no hugetlbfs is mounted there" in cli("unmount", "--dir", at, code=2)
        os.makedirs("full/of")
        assert "is not empty" in cli("mount", "--dir", "full", code=2)
        assert "no such user" in cli("mount", "--dir", at, "--user", "nobody at all", code=2)
        cli("mount", "--dir", at, "--user", "nobody")
        assert os.stat(at).st_uid == 65534
    """
    run_python(code, prefix=["unshare", "-m", "--propagation", "private"])


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["reserve"], 2, "the following arguments are required: N"),
        (["reserve", "many"], 2, "not a whole number"),
        (["reserve", "-3"], 2, "at least 1"),
        (["reserve", "1", "--size", "3X"], 2, "no size of hugepages"),
        (["reserve", "1", "--size", "3M"], 2, "no hugepages of 3M here"),
        (["reserve", "1", "--node", "99"], 2, "no NUMA node 99"),
        (["reserve", "100000000"], 2, "--force"),
        (["release", "--node", "99"], 2, "no NUMA node 99"),
        (["status", "--pid", "999999999"], 2, "there is no process 999999999"),
        (["status", "--pid", "0"], 2, "a number from 1"),
        (["resrve"], 2, "did you mean"),
    ],
)
def test_errors(veridnet_cli, args: list[str], code: int, says: str) -> None:
    done = veridnet_cli("hugepages", *args)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr and done.stderr.count("\n") == 1


def test_unprivileged(tmp_path) -> None:
    """One line with the command that works, and exit code 1."""
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed (util-linux)")
    lower = [] if os.geteuid() else [
        "setpriv", "--bounding-set=-all", "--inh-caps=-all", "--reuid=65534", "--regid=65534",
        "--clear-groups",
    ]  # fmt: skip
    done = subprocess.run(
        [*lower, sys.executable, "-P", "-m", "veridnet", "hugepages", "reserve", "999"],
        capture_output=True, text=True, timeout=60, cwd="/",
    )  # fmt: skip
    if "No module named" in done.stderr or "Permission denied" in done.stderr:
        pytest.skip("another user cannot reach this Python's environment")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "only root may change" in done.stderr
    assert re.search(r"\[mend: sudo \S.* hugepages reserve 999\]", done.stderr)


def test_status(veridnet_cli) -> None:
    done = veridnet_cli("hugepages")
    assert done.returncode == 0 and not done.stderr and "transparent huge pages" in done.stdout
    report = veridnet_cli("hugepages", "--json").json
    assert {"machine", "nodes", "mounts", "users", "transparent", "fragmentation"} <= set(report)
    own = veridnet_cli("hugepages", "status", "--pid", os.getpid(), "--json").json
    assert own["resident_bytes"] > 10 * MIB
