"""Boxes, grids, blocks and shares: what the whole pipeline cuts by."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcan.geometry import Block, Box, Grid, Triple, share

SIZES = st.integers(1, 7)
SHAPES = st.tuples(SIZES, SIZES, SIZES)


@st.composite
def boxes(draw: st.DrawFn, low: int = -3, high: int = 10) -> Box:
    """Any box with start <= stop, empty ones and ones that leave a volume too."""
    pairs = [sorted(draw(st.tuples(*[st.integers(low, high)] * 2))) for _ in range(3)]
    start, stop = zip(*pairs, strict=True)
    return Box(cast(Triple, start), cast(Triple, stop))


def voxels(box: Box) -> set[Triple]:
    ranges = [range(a, b) for a, b in zip(box.start, box.stop, strict=True)]
    return {(z, y, x) for z in ranges[0] for y in ranges[1] for x in ranges[2]}


@given(SHAPES, SHAPES)
def test_boxes_of_a_grid_are_disjoint_cover_the_volume_and_fit_the_step(
    shape: Triple, step: Triple
) -> None:
    grid = Grid(shape, step)
    times = np.zeros(shape, int)
    for box in grid:
        assert box.size > 0
        assert all(a % s == 0 for a, s in zip(box.start, step, strict=True))
        assert all(n <= s for n, s in zip(box.shape, step, strict=True))
        assert Box.whole(shape).contains(box)
        times[box.slices] += 1
    assert (times == 1).all()


@given(SHAPES, SHAPES)
def test_boxes_of_a_grid_are_counted_in_raster_order(shape: Triple, step: Triple) -> None:
    grid = Grid(shape, step)
    assert len(grid) == len(list(grid)) == np.prod(grid.counts)
    assert list(grid) == sorted(grid, key=lambda box: box.start)
    assert grid.at((0, 0, 0)).start == (0, 0, 0)
    assert grid.at(cast(Triple, tuple(n - 1 for n in grid.counts))).stop == shape


@given(SHAPES, SHAPES, boxes())
def test_touching_is_every_box_that_shares_a_voxel_and_no_other(
    shape: Triple, step: Triple, box: Box
) -> None:
    grid = Grid(shape, step)
    assert list(grid.touching(box)) == [b for b in grid if voxels(b) & voxels(box)]


@given(boxes(), boxes())
def test_intersection_and_containment_are_those_of_the_voxels(one: Box, other: Box) -> None:
    both = voxels(one) & voxels(other)
    assert voxels(one.intersect(other)) == both
    assert one.intersect(other).size == len(both)
    assert one.contains(other) == (voxels(other) <= voxels(one))


@given(boxes())
def test_a_key_names_its_box(box: Box) -> None:
    assert Box.parse(box.key) == box


@given(boxes(0, 6), st.tuples(SIZES, SIZES, SIZES))
def test_growing_adds_the_halo_on_both_sides(box: Box, halo: Triple) -> None:
    grown = box.grow(halo)
    for axis in range(3):
        assert grown.start[axis] == box.start[axis] - halo[axis]
        assert grown.stop[axis] == box.stop[axis] + halo[axis]


@given(SHAPES, boxes(0, 7), boxes(0, 7))
def test_within_indexes_the_same_voxels_as_the_whole(shape: Triple, inner: Box, outer: Box) -> None:
    outer = outer.intersect(Box.whole(shape))
    inner = inner.intersect(outer)
    if inner.size:
        whole = np.arange(np.prod(shape)).reshape(shape)
        assert (whole[outer.slices][inner.within(outer)] == whole[inner.slices]).all()
        assert whole[inner.slices].shape == inner.shape


def test_a_box_before_the_array_indexes_nothing() -> None:
    with pytest.raises(ValueError, match="-1:2"):
        _ = Box((0, -1, 0), (2, 2, 2)).slices
    with pytest.raises(ValueError, match="-2:1"):
        Box((0, 0, 0), (3, 3, 3)).within(Box((0, 2, 0), (5, 5, 5)))


@given(SHAPES, SHAPES, st.tuples(*[st.integers(0, 4)] * 3))
def test_blocks_read_their_halo_inside_the_volume(
    shape: Triple, step: Triple, halo: Triple
) -> None:
    for write in Grid(shape, step):
        block = Block.of(write, halo, shape)
        assert block.write == write
        assert voxels(block.read) == voxels(write.grow(halo)) & voxels(Box.whole(shape))


@given(st.integers(0, 60), st.integers(1, 20))
def test_shares_are_consecutive_and_differ_by_at_most_one(count: int, parts: int) -> None:
    dealt = [share(count, part, parts) for part in range(parts)]
    assert [i for part in dealt for i in part] == list(range(count))
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
