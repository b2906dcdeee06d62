import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dcan.geometry import Box
from dcan.ops.frames import Frame
from dcan.ops.watershed import descend, flood


@st.composite
def framed(draw):
    """The levels of a section, few or many, and a core in it."""
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    top = draw(st.sampled_from((0, 1, 3, 65280)))
    levels = draw(arrays(np.uint16, (height, width), elements=st.integers(0, top)))
    y0, x0 = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    y1, x1 = draw(st.integers(y0 + 1, height)), draw(st.integers(x0 + 1, width))
    return levels, Frame(Box((0, y0, x0), (1, y1, x1)), (1, height, width))


def neighbours(y, x, shape):
    for v, w in ((y - 1, x), (y, x - 1), (y, x + 1), (y + 1, x)):
        if 0 <= v < shape[0] and 0 <= w < shape[1]:
            yield v, w


def core_pixels(frame):
    (_, y0, x0), (_, y1, x1) = frame.core.start, frame.core.stop
    return {(y, x) for y in range(y0, y1) for x in range(x0, x1)}


def slow_flood(levels, frame):
    """Section-wide indices, one pixel at a time: minima, rim and saddles as dictionaries."""
    core, shape = core_pixels(frame), levels.shape

    def index(p):
        return p[0] * shape[1] + p[1]

    def order(p):
        return int(levels[p]), index(p)

    def end(p):
        while p in core:
            lowest = min([p, *neighbours(*p, shape)], key=order)
            if lowest == p:
                break
            p = lowest
        return p

    minima = {index(p): int(levels[p]) for p in core if end(p) == p}
    rim = {
        index(p): index(end(p)) for p in core if any(n not in core for n in neighbours(*p, shape))
    }
    saddles = {}
    pairs = [(p, q) for p in core for q in neighbours(*p, shape) if index(q) > index(p)]
    for p, q in pairs:
        pair = tuple(sorted((index(end(p)), index(end(q)))))
        level = max(int(levels[p]), int(levels[q]))
        saddles[pair] = min(level, saddles.get(pair, level))
    return minima, rim, {pair: level for pair, level in saddles.items() if pair[0] != pair[1]}


def window_of(levels, frame):
    _, ys, xs = frame.window.slices
    return levels[ys, xs]


@given(framed())
def test_ring_and_rim_are_what_touches_the_core(case):
    levels, frame = case
    core, shape = core_pixels(frame), levels.shape
    outside = {n for p in core for n in neighbours(*p, shape)} - core
    rim = {p for p in core if any(n not in core for n in neighbours(*p, shape))}
    assert frame.ring.tolist() == sorted(y * shape[1] + x for y, x in outside)
    assert frame.rim.tolist() == sorted(y * shape[1] + x for y, x in rim)


@given(framed())
def test_flood_is_the_slow_reference(case):
    levels, frame = case
    minima, rim, saddles = slow_flood(levels, frame)
    block = flood(window_of(levels, frame), frame)
    assert list(zip(block.minima.tolist(), block.depths.tolist(), strict=True)) == sorted(
        minima.items()
    )
    assert list(zip(block.rim.tolist(), block.ends.tolist(), strict=True)) == sorted(rim.items())
    rows = zip(block.a.tolist(), block.b.tolist(), block.saddles.tolist(), strict=True)
    assert list(rows) == [(a, b, level) for (a, b), level in sorted(saddles.items())]


@given(framed())
def test_every_core_pixel_has_a_terminal(case):
    levels, frame = case
    descent = descend(window_of(levels, frame), frame)
    y0, y1, x0, x1 = descent.core
    assert (descent.basins[y0:y1, x0:x1] >= 0).all()
    assert (np.diff(descent.terminals.astype(np.int64)) > 0).all()
    assert np.isin(frame.ring, descent.terminals).all()


def test_a_path_of_a_million_pixels_is_followed():
    levels = np.full((1001, 1001), 65280, np.uint16)
    levels[::2] = 1
    levels[1::4, -1] = levels[3::4, 0] = 1
    block = flood(levels, Frame.whole(1001, 1001))
    assert 0 in block.minima
    assert len(block.minima) < 1500


def test_the_tables_have_the_types_they_promise():
    block = flood(np.zeros((4, 4), np.uint16), Frame.whole(4, 4))
    assert [getattr(block, name).dtype for name in ("minima", "rim", "ends", "a", "b")] == [
        np.uint64
    ] * 5
    assert block.depths.dtype == block.saddles.dtype == np.uint16


def test_a_window_of_another_shape_is_a_defect():
    with pytest.raises(ValueError, match="shape"):
        flood(np.zeros((3, 4), np.uint16), Frame.whole(4, 4))


def test_a_window_that_an_int32_cannot_count_is_a_defect():
    levels = np.broadcast_to(np.uint16(0), (50000, 50000))
    with pytest.raises(ValueError, match="too large"):
        flood(levels, Frame.whole(50000, 50000))


def test_a_level_above_the_range_is_a_defect():
    with pytest.raises(ValueError, match="65535"):
        flood(np.full((2, 2), 65535, np.uint16), Frame.whole(2, 2))


@pytest.mark.parametrize("stop", [(1, 0, 3), (1, 3, 5)])
def test_a_core_outside_its_volume_is_a_defect(stop):
    with pytest.raises(ValueError, match="core"):
        Frame(Box((0, 0, 0), stop), (1, 4, 4))
