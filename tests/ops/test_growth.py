"""Growth: the rule, pixel by pixel; and that blocks in any order give what one section gives."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dcan.geometry import Box, Grid
from dcan.ops.frames import Frame
from dcan.ops.growth import RimGrowth, grow, rim_growth, settle
from dcan.ops.sections import Fusion, grown, segment
from tests.ops.test_blockwise import STEPS, masks, membranes, read, spiral

KINDS = st.sampled_from(("none", "few", "some", "most", "all", "patches"))
NO_RING = np.empty(0, np.uint64)


def slow(levels, labels, tissue=None):
    """Each pixel walked over the whole section, as the rule is stated."""
    height, width = levels.shape
    result = np.zeros_like(labels)
    if tissue is None:
        tissue = np.ones(levels.shape, bool)
    for y in range(height):
        for x in range(width):
            at = (y, x)
            while labels[at] == 0 and tissue[at]:
                near = [
                    at,
                    *((at[0] + dy, at[1] + dx) for dy, dx in ((-1, 0), (0, -1), (0, 1), (1, 0))),
                ]
                near = [(a, b) for a, b in near if 0 <= a < height and 0 <= b < width]
                least = min(near, key=lambda p: (levels[p], p[0] * width + p[1]))
                if least == at:
                    break
                at = least
            result[y, x] = labels[at]
    return result


def labelled(shape, kind, seed):
    """Labels of any form: they need not be segments of the map."""
    rng = np.random.default_rng(seed)
    if kind == "patches":
        size = int(rng.integers(1, 6))
        ys, xs = np.mgrid[: shape[0], : shape[1]]
        patch = ys // size * 100 + xs // size
        return np.where(rng.random(10_000)[patch] < 0.3, patch + 1, 0).astype(np.uint64)
    share = {"none": 0, "few": 0.02, "some": 0.2, "most": 0.9, "all": 1}[kind]
    names = rng.integers(1, 2**63, shape, np.uint64)
    return np.where(rng.random(shape) < share, names, np.uint64(0))


def windowed(levels, labels, frame):
    return levels[frame.window.slices[1:]], labels[frame.core.slices[1:]], frame


def here(tissue, frame):
    return None if tissue is None else tissue[frame.core.slices[1:]]


def blockwise(levels, labels, step, random, tissue=None):
    shape = (1, *levels.shape)
    step = tuple(max(s, n // 8) for s, n in zip(step, levels.shape, strict=True))
    frames = [Frame(box, shape) for box in Grid(shape, (1, *step))]
    random.shuffle(frames)
    rings = settle(
        [rim_growth(*windowed(levels, labels, frame), here(tissue, frame)) for frame in frames]
    )
    random.shuffle(both := list(zip(frames, rings, strict=True)))
    result = np.full(levels.shape, 2**64 - 1, np.uint64)
    for frame, ring in both:
        core = here(tissue, frame)
        result[frame.core.slices[1:]] = grow(*windowed(levels, labels, frame), ring, core)
    return result


def check(levels, labels, step, random, tissue=None):
    whole = grow(levels, labels, Frame.whole(*levels.shape), NO_RING, tissue)
    assert whole.dtype == np.uint64
    assert (whole == slow(levels, labels, tissue)).all()
    assert (blockwise(levels, labels, step, random, tissue) == whole).all()


@settings(max_examples=500)
@given(membranes(), masks(), KINDS, STEPS, st.integers(0, 999), st.randoms(use_true_random=False))
def test_blocks_grow_what_the_rule_says(membrane, mask, kind, step, seed, random):
    tissue, labels = mask(membrane.shape), labelled(membrane.shape, kind, seed)
    if tissue is not None:
        membrane, labels = np.where(tissue, membrane, 255), np.where(tissue, labels, 0)
    check(membrane.astype(np.uint16) * 256, labels.astype(np.uint64), step, random, tissue)


@settings(max_examples=200)
@given(membranes(), STEPS, st.sampled_from((0, 2, 9, 40)), st.randoms(use_true_random=False))
def test_blocks_grow_segments(membrane, step, min_size, random):
    fusion = Fusion(1.0, 3.0, 700, 300, min_size)
    whole = segment(membrane, fusion)
    shape = (1, *membrane.shape)
    for box in Grid(
        shape, (1, *(max(s, n // 8) for s, n in zip(step, membrane.shape, strict=True)))
    ):
        # the levels that a block computes for itself are those that the check cuts out
        frame = Frame(box, shape)
        assert (read(membrane, frame, 1.0) == whole.levels[frame.window.slices[1:]]).all()
    assert (grown(whole) == slow(whole.levels, whole.labels)).all()
    assert (blockwise(whole.levels, whole.labels, step, random) == grown(whole)).all()


@pytest.mark.parametrize("turn", [-1, 0, 1, 7])
@pytest.mark.parametrize("step", [(1, 1), (3, 5), (64, 2), (7, 64)])
@pytest.mark.parametrize("ends", ["both", "none"])
def test_a_path_through_many_blocks_is_followed(turn, step, ends):
    levels = spiral(21, 25, turn).astype(np.uint16) * 256
    labels = np.zeros(levels.shape, np.uint64)
    if ends == "both":
        labels[0, 0] = 5
        labels[10, 10:14] = 9
    check(levels, labels, step, Random(0))


@given(arrays(np.uint16, st.tuples(st.just(1), st.integers(1, 30))), st.integers(1, 7))
def test_one_row_is_grown(levels, step):
    levels = levels % 65280
    labels = labelled(levels.shape, "few", int(levels.sum()))
    check(levels, labels, (1, step), Random(1))
    check(np.ascontiguousarray(levels.T), np.ascontiguousarray(labels.T), (step, 1), Random(2))


def row(*values):
    return np.array([values], np.uint16)


def test_a_label_is_taken_from_below_never_from_above():
    labels = np.array([[0, 0, 7, 0, 0, 8, 0]], np.uint64)
    levels = row(3, 4, 5, 6, 1, 2, 2)
    # 6 goes down to 1, a minimum without a label; on the plateau the lower index is smaller
    assert grow(levels, labels, Frame.whole(1, 7), NO_RING).tolist() == [[0, 0, 7, 0, 0, 8, 8]]


def test_growth_neither_fills_nor_crosses_what_has_no_tissue():
    labels = np.array([[4, 0, 0, 0, 0]], np.uint64)
    tissue = np.array([[True, True, False, True, True]])
    levels, whole = row(1, 2, 3, 4, 5), Frame.whole(1, 5)
    assert grow(levels, labels, whole, NO_RING).tolist() == [[4, 4, 4, 4, 4]]
    assert grow(levels, labels, whole, NO_RING, tissue).tolist() == [[4, 4, 0, 0, 0]]
    with pytest.raises(ValueError, match="tissue has shape"):
        grow(levels, labels, whole, NO_RING, tissue[:, 1:])


def test_a_label_stays_and_stops_paths():
    labels = np.array([[4, 5, 0, 6]], np.uint64)
    assert grow(row(1, 2, 3, 4), labels, Frame.whole(1, 4), NO_RING).tolist() == [[4, 5, 5, 6]]


def test_growth_of_what_is_grown_is_itself():
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 50, (30, 40), np.uint16)
    labels = labelled(levels.shape, "few", 3)
    whole = Frame.whole(30, 40)
    once = grow(levels, labels, whole, NO_RING)
    assert (once > 0).sum() > (labels > 0).sum() > 0
    assert (once[labels > 0] == labels[labels > 0]).all()
    assert (grow(levels, once, whole, NO_RING) == once).all()


def halves():
    """A row that falls from left to right through two blocks."""
    levels = row(*range(9, 1, -1))
    labels = np.array([[0, 0, 0, 0, 0, 0, 0, 3]], np.uint64)
    frames = [Frame(Box((0, 0, a), (1, 1, b)), (1, 1, 8)) for a, b in ((0, 3), (3, 5), (5, 8))]
    return levels, labels, frames


def test_a_missing_block_is_noticed():
    levels, labels, frames = halves()
    tables = [rim_growth(*windowed(levels, labels, frame)) for frame in frames]
    assert settle(tables)[0].tolist() == [3]
    for k in range(3):
        with pytest.raises(ValueError, match=r"pixel \d is in no table: a block"):
            settle(tables[:k] + tables[k + 1 :])


def test_a_circle_is_refused():
    _, _, frames = halves()
    zero = np.zeros(2, np.uint64)
    tables = [
        RimGrowth(frames[0], np.array([3], np.uint64), zero[:1]),
        RimGrowth(frames[1], np.array([2, 5], np.uint64), zero),
        RimGrowth(frames[2], np.array([5], np.uint64), zero[:1]),
    ]
    with pytest.raises(ValueError, match="in a circle"):
        settle(tables)


def test_other_shapes_are_refused():
    levels, labels, frames = halves()
    good = windowed(levels, labels, frames[1])
    for bad in ((levels, *good[1:]), (good[0], labels, good[2])):
        with pytest.raises(ValueError, match="shape"):
            rim_growth(*bad)
    with pytest.raises(ValueError, match="ring of 2"):
        grow(*good, NO_RING)
    with pytest.raises(ValueError, match="65535"):
        rim_growth(good[0] + np.uint16(65530), *good[1:])
