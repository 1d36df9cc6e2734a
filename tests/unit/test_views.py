"""Views of packet bytes: zero copy, and never dangling."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import veridnet as vn
from veridnet.apps.l2fwd import L2fwd


def test_a_view_is_no_copy(runtime, make_frames) -> None:
    frame = make_frames(1)[0]
    burst = vn.Burst.from_bytes([frame])
    view = burst.view(0, writable=True)
    assert (len(view), view.format, view.ndim, view.contiguous) == (60, "B", 1, True)
    array = np.frombuffer(view, np.uint8)
    view[0] = 0xAA
    assert array[0] == 0xAA
    array_w = np.asarray(view)
    array_w[1] = 0xBB
    assert burst.to_bytes(0) == b"\xaa\xbb" + frame[2:]
    assert bytes(burst[0]) == burst.to_bytes(0)
    del view, array, array_w


def test_views_are_read_only_unless_asked(runtime) -> None:
    burst = vn.Burst.from_bytes([bytes(60)])
    for view in (burst[0], burst.view(0), next(iter(burst))):
        assert view.readonly
        with pytest.raises(TypeError):
            view[0] = 1
        with pytest.raises((TypeError, BufferError)):
            view.cast("B")[0] = 1
    assert not burst.view(0, writable=True).readonly
    assert burst.views == 1  # the last of the loop
    del view
    assert burst.views == 0


def test_a_slice_is_a_list_of_views(runtime, make_frames) -> None:
    frames = make_frames(6)
    burst = vn.Burst.from_bytes(frames)
    for part in (slice(2, 5), slice(None), slice(-2, None), slice(None, None, -2), slice(9, 12)):
        views = burst[part]
        assert isinstance(views, list)
        assert [bytes(v) for v in views] == frames[part]
        assert burst.views == len(views)
    del views
    assert burst.views == 0
    assert bytes(burst[np.int64(-1)]) == frames[-1]
    for wrong in ("1", 1.5, None):
        with pytest.raises(TypeError, match="integer"):
            burst[wrong]
    with pytest.raises(IndexError):
        burst[6]


def test_tx_with_a_live_view_sends_nothing(runtime, ring, make_frames) -> None:
    burst = vn.Burst.from_bytes(make_frames(5))
    view = burst[3]
    for call in (
        lambda: ring.tx(burst), burst.swap_macs, lambda: burst.set_macs(dst="02:00:00:00:00:01"),
    ):  # fmt: skip
        with pytest.raises(vn.ViewError, match=r"1 view\(s\)") as e:
            call()
        assert isinstance(e.value, BufferError)
    assert len(burst) == 5
    assert [burst.to_bytes(i) for i in range(5)] == make_frames(5)
    assert ring.stats["tx_packets"] == 0
    assert ring.rx(vn.Burst(8)) == 0
    view.release()
    del view
    assert ring.tx(burst) == 5


def test_what_is_made_of_a_view_keeps_it(runtime, ring) -> None:
    burst = vn.Burst.from_bytes([bytes(60)])
    array = np.frombuffer(burst[0], np.uint8)[10:20]
    part = memoryview(array)
    assert burst.views == 1
    del array
    assert burst.views == 1
    with pytest.raises(vn.ViewError):
        ring.tx(burst)
    del part
    assert burst.views == 0
    assert ring.tx(burst) == 1


def test_views_of_one_packet_are_bounded(run_python) -> None:
    """An mbuf's reference count has 16 bits: it must not wrap to "free"."""
    run_python(
        """
        import veridnet as vn
        with vn.Runtime() as rt:
            burst = vn.Burst.from_bytes([bytes(range(60)), bytes(60)])
            views = []
            try:
                for _ in range(70_000):
                    views.append(burst[0])
            except vn.ViewError as e:
                assert "too many" in str(e)
            else:
                raise AssertionError("never refused")
            assert 60_000 < len(views) == burst.views
            last = views.pop()
            views.clear()
            assert rt.pool.in_use == 2 and burst.views == 1
            burst.clear()
            assert bytes(last) == bytes(range(60)) and rt.pool.in_use == 1
        del last
        assert rt.mbufs_in_use() == 0
        """
    )


def test_a_view_outlives_clear(runtime, make_frames) -> None:
    frames = make_frames(3)
    burst = vn.Burst.from_bytes(frames)
    view = burst[1]
    assert burst.clear() == 3
    assert burst.views == 0
    assert runtime.pool.in_use == 1
    # Nothing else gets the mbuf while the view lives.
    others = [vn.Burst.from_bytes([b"\xff" * 60] * 256) for _ in range(20)]
    assert bytes(view) == frames[1]
    del others, view
    assert runtime.pool.in_use == 0


def test_a_view_outlives_its_burst(runtime, make_frames) -> None:
    view = vn.Burst.from_bytes(make_frames(1)).view(0)
    gc.collect()
    assert bytes(view) == make_frames(1)[0]
    assert runtime.balance().drops in ({"collected": 1}, {})
    del view
    gc.collect()
    assert runtime.mbufs_in_use() == 0


def test_old_views_do_not_hold_a_later_burst(runtime, ring, make_frames) -> None:
    burst = vn.Burst.from_bytes(make_frames(2))
    old = burst[0]
    burst.clear()
    ring.tx(vn.Burst.from_bytes(make_frames(4, 80)))
    assert ring.rx(burst) == 2
    assert burst.views == 0
    new = burst[0]
    assert burst.views == 1
    del old
    assert burst.views == 1
    del new
    assert ring.tx(burst) == 2


def test_a_view_outlives_the_runtime(make_frames) -> None:
    rt = vn.Runtime()
    pool = rt.pool
    burst = vn.Burst.from_bytes(make_frames(3))
    views = [burst[2], burst.view(0, writable=True)]
    rt.close()
    assert pool.closed
    assert rt.mbufs_in_use() == 2
    assert bytes(views[0]) == make_frames(3)[2]
    views[1][0] = 1
    with vn.Runtime() as other:
        assert bytes(views[0]) == make_frames(3)[2]
        assert other.mbufs_in_use() == 0
    views.pop()
    assert rt.mbufs_in_use() == 1
    views.pop()
    assert rt.mbufs_in_use() == 0
    with pytest.raises(vn.ClosedError):
        _ = pool.available


def test_a_closed_pool_is_freed_with_its_last_view(runtime) -> None:
    """Its memory comes back: otherwise this would need 5 GB."""
    for _ in range(40):
        pool = runtime.add_pool(511, data_room=65000, name="again")
        view = vn.Burst.from_bytes([bytes(60)], pool)[0]
        pool.close()
        runtime.pools.remove(pool)
        del view


def test_reference_cycle_through_a_view(run_python) -> None:
    """The collector may clear a view before the burst of the same cycle."""
    run_python(
        """
        import gc
        import veridnet as vn

        class Named(vn.Burst):
            pass

        with vn.Runtime() as rt:
            ring = rt.add_port("ring")
            for order in range(20):
                ring.tx(vn.Burst.from_bytes([bytes(60)] * 4))
                burst = Named(16)
                ring.rx(burst)
                burst.view_of_itself = burst.view(0)
                # Puts the view's object before the others in the collector's list.
                first = [burst.view_of_itself.obj] if order % 2 else None
                del burst
                gc.collect()
                del first
                gc.collect()
            assert rt.pool.in_use == 0, rt.pool
            assert rt.balance().balanced
        """
    )


def test_a_view_cannot_be_made_by_hand(run_python) -> None:
    run_python(
        """
        import veridnet as vn
        with vn.Runtime():
            kind = type(vn.Burst.from_bytes([bytes(60)])[0].obj)
            try:
                memoryview(kind())
            except (BufferError, TypeError):
                pass
            else:
                raise AssertionError("a view of nothing")
        """
    )


# -- shared packets -------------------------------------------------------------------------------


def flooded(runtime, frames: list[bytes]) -> tuple[vn.Burst, vn.Burst]:
    """Two bursts whose packets share their bytes: a bridge's clones, and their originals."""
    source, a, b = (runtime.add_port("ring") for _ in range(3))
    source.tx(vn.Burst.from_bytes(frames))
    L2fwd(runtime, [source, a, b], learn=True, count=len(frames)).run(duration=10)
    bursts = vn.Burst(64), vn.Burst(64)
    assert a.rx(bursts[0]) == b.rx(bursts[1]) == len(frames)
    return bursts


@pytest.mark.parametrize("size", [60, 5000])
@pytest.mark.parametrize("first", [0, 1])
def test_writing_to_a_shared_packet_copies_it(runtime, make_frames, size: int, first: int) -> None:
    frames = make_frames(3, size)
    pair = flooded(runtime, frames)
    one, other = pair[first], pair[1 - first]
    for burst in pair:
        assert [burst.to_bytes(i) for i in range(3)] == frames
    view = one.view(1, writable=True)
    view[:6] = b"\xee" * 6
    assert one.to_bytes(1) == b"\xee" * 6 + frames[1][6:]
    assert other.to_bytes(1) == frames[1]
    del view
    one.swap_macs()
    one.set_macs(dst="0a:0b:0c:0d:0e:0f")
    assert [other.to_bytes(i) for i in range(3)] == frames
    assert one.to_bytes(0) == bytes.fromhex("0a0b0c0d0e0f") + frames[0][:6] + frames[0][12:]
    for burst in pair:
        burst.clear()
    assert runtime.balance().balanced
    assert runtime.balance().copies == 3


def test_a_shared_packet_with_a_view_is_not_copied_behind_it(runtime, make_frames) -> None:
    one, _other = flooded(runtime, make_frames(2))
    view = one[0]
    with pytest.raises(vn.ViewError, match="shared and has live views"):
        one.view(0, writable=True)
    assert bytes(view) == make_frames(2)[0]
    # A packet that is the burst's alone may have several views, writable ones too.
    own = vn.Burst.from_bytes([bytes(60)])
    views = [own.view(0), own.view(0, writable=True), own.view(0, writable=True)]
    views[1][0] = 9
    assert views[0][0] == views[2][0] == 9
    del view, views


def test_no_mbuf_for_the_copy(runtime, make_frames, empty_pool) -> None:
    one, other = flooded(runtime, make_frames(2))
    hold = empty_pool(runtime.pool)
    for write in (lambda: one.view(0, writable=True), one.swap_macs, other.swap_macs):
        with pytest.raises(vn.PoolError, match="no free mbuf for a copy"):
            write()
    assert len(one) == len(other) == 2
    assert runtime.balance().balanced
    hold.clear()
    one.swap_macs()
    assert other.to_bytes(0) == make_frames(2)[0]


def test_a_rewrite_that_fails_changes_nothing(runtime, make_frames, empty_pool) -> None:
    """Packets that are the burst's own come first, one that is shared last."""
    source, a, b = (runtime.add_port("ring") for _ in range(3))
    frames = make_frames(4)
    b.tx(vn.Burst.from_bytes(frames[:3]))
    source.tx(vn.Burst.from_bytes(frames[3:]))
    L2fwd(runtime, [source, a, b], learn=True, count=1).run(duration=10)
    burst, other = vn.Burst(8), vn.Burst(8)
    assert (b.rx(burst), a.rx(other)) == (4, 1)
    hold = empty_pool(runtime.pool)
    with pytest.raises(vn.PoolError):
        burst.swap_macs()
    assert [burst.to_bytes(i) for i in range(4)] == frames
    hold.clear()
    burst.swap_macs()
    assert [burst.to_bytes(i) for i in range(4)] == [f[6:12] + f[:6] + f[12:] for f in frames]
    assert other.to_bytes(0) == frames[3]
    assert b.stats["rx_bytes"] == 240
