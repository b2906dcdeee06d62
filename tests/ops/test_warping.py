from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from dcan.errors import DcanError
from dcan.ops.warping import Mistake, mistakes, simple_rings, warp

ROUND = [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)]
EIGHT = np.ones((3, 3))


def is_simple(patch):
    """By labelling the 3x3 ring: one foreground piece beside the centre, one background."""
    ring = patch.astype(bool)
    ring[1, 1] = False
    pieces, _ = ndimage.label(ring)
    beside = {int(pieces[1 + y, 1 + x]) for y, x in ROUND[::2]} - {0}
    ground = ~ring
    ground[1, 1] = False
    return len(beside) == 1 and ndimage.label(ground, EIGHT)[1] == 1


def slow_warp(truth, proposal, threshold):
    """All mismatches listed and sorted again before every pass."""
    grid = np.pad(truth, 1)
    values = np.pad(proposal, 1)
    height, width = values.shape
    before = None
    while True:
        differ = [
            (y, x)
            for x, y in product(range(width), range(height))
            if grid[y, x] != (float(values[y, x]) > threshold)
        ]
        if len(differ) in (0, before):
            return grid[1:-1, 1:-1]
        before = len(differ)
        differ.sort(key=lambda p: -abs(values[p] - np.float32(threshold)))
        for y, x in differ:
            if is_simple(grid[y - 1 : y + 2, x - 1 : x + 2]):
                grid[y, x] = not grid[y, x]


def neighbours(labels, y, x):
    height, width = labels.shape
    return {
        int(labels[y + dy, x + dx])
        for dy, dx in ROUND
        if 0 <= y + dy < height and 0 <= x + dx < width
    }


def slow_mistakes(truth, proposal, threshold):
    warped = slow_warp(truth, proposal, threshold)
    labels, _ = ndimage.label(warped)
    found = np.zeros(truth.shape, np.uint8)
    for y, x in np.argwhere(warped != (proposal.astype(np.float64) > threshold)):
        kinds, on = neighbours(labels, y, x), warped[y, x]
        if kinds in ({0}, set()):
            found[y, x] = Mistake.OBJECT_DELETION if on else Mistake.OBJECT_ADDITION
        elif len(kinds) == 1:
            found[y, x] = Mistake.HOLE_ADDITION if on else Mistake.HOLE_DELETION
        elif len(kinds) > 2:
            found[y, x] = Mistake.SPLIT if on else Mistake.MERGE
        elif not on:
            found[y, x] = Mistake.HOLE_ADDITION
        else:
            window = np.pad(warped, 20)[y : y + 41, x : x + 41].copy()
            window[20, 20] = False
            pieces = neighbours(ndimage.label(window)[0], 20, 20)
            found[y, x] = Mistake.SPLIT if len(pieces) > 2 else Mistake.HOLE_DELETION
    return found


def soft(mask, low=0.1, high=0.9):
    return np.where(mask, np.float32(high), np.float32(low))


@st.composite
def sections(draw):
    shape = draw(st.tuples(st.integers(1, 8), st.integers(1, 8)))
    truth = draw(arrays.arrays(np.bool_, shape))
    levels = draw(arrays.arrays(np.uint8, shape, elements=st.sampled_from([0, 51, 128, 178, 255])))
    return truth, levels.astype(np.float32) / np.float32(255)


def test_232_of_512_patterns_are_simple():
    table = simple_rings()
    simple = 0
    for code in range(512):
        patch = ((code >> np.arange(9)) & 1).reshape(3, 3)
        ring = sum(int(patch[1 + y, 1 + x]) << k for k, (y, x) in enumerate(ROUND))
        assert table[ring] == is_simple(patch)
        simple += is_simple(patch)
    assert simple == 232


@settings(max_examples=150, deadline=None)
@given(sections(), st.sampled_from([0.0, 0.2, 0.5, 0.7]))
def test_agrees_with_warping_pixel_by_pixel(pair, threshold):
    truth, proposal = pair
    assert (warp(truth, proposal, threshold) == slow_warp(truth, proposal, threshold)).all()
    found = mistakes(truth, proposal, threshold)
    assert (found == slow_mistakes(truth, proposal, threshold)).all()
    assert found.dtype == np.uint8


def test_agrees_on_a_larger_section():
    random = np.random.default_rng(3)
    truth = ndimage.uniform_filter(random.random((48, 64)), 5) > 0.5
    proposal = ndimage.uniform_filter(random.random((48, 64)), 3).astype(np.float32)
    for threshold in (0.4, 0.5):
        found = mistakes(truth, proposal, threshold)
        assert (found == slow_mistakes(truth, proposal, threshold)).all()
        assert len(np.unique(found)) >= 5


@given(sections())
def test_warping_keeps_the_number_of_objects_and_holes(pair):
    truth, proposal = pair
    warped = warp(truth, proposal, 0.5)
    assert ndimage.label(warped)[1] == ndimage.label(truth)[1]
    outside = [ndimage.label(~np.pad(section, 1), EIGHT)[1] for section in (warped, truth)]
    assert outside[0] == outside[1]


def test_truth_against_itself_has_no_mistake():
    truth = np.random.default_rng(4).random((30, 40)) > 0.4
    assert not mistakes(truth, soft(truth), 0.5).any()


def test_a_moved_border_is_no_mistake():
    truth = np.zeros((12, 12), bool)
    truth[2:9, 2:6] = True
    assert not mistakes(truth, soft(np.roll(truth, 3, axis=1)), 0.5).any()


def test_a_value_is_neurite_as_float64_above_the_threshold():
    truth = np.zeros((3, 3), bool)
    lone = np.zeros((3, 3), np.float32)
    lone[1, 1] = 0.1
    assert mistakes(truth, lone, 0.1)[1, 1] == Mistake.OBJECT_ADDITION
    assert not mistakes(truth, lone, float(np.float32(0.1))).any()


def section(*rows):
    return np.array([[pixel == "#" for pixel in row] for row in rows])


@pytest.mark.parametrize(
    ("truth", "proposal", "mistake"),
    [
        (section(".....", ".###.", "....."), section(".....", ".#.#.", "....."), Mistake.SPLIT),
        (section(".....", ".#.#.", "....."), section(".....", ".###.", "....."), Mistake.MERGE),
        (section("###", "###", "###"), section("###", "#.#", "###"), Mistake.HOLE_ADDITION),
        (section("###", "#.#", "###"), section("###", "###", "###"), Mistake.HOLE_DELETION),
        (section("...", "...", "..."), section("...", ".#.", "..."), Mistake.OBJECT_ADDITION),
        (section("...", ".#.", "..."), section("...", "...", "..."), Mistake.OBJECT_DELETION),
    ],
)
def test_each_mistake_by_its_name(truth, proposal, mistake):
    found = mistakes(truth, soft(proposal), 0.5)
    assert np.unique(found[found != 0]).tolist() == [mistake]


@pytest.mark.parametrize(("depth", "mistake"), [(20, Mistake.HOLE_DELETION), (21, Mistake.SPLIT)])
def test_a_cut_is_a_split_when_its_sides_do_not_meet_within_the_radius(depth, mistake):
    ring = np.zeros((depth + 3, 11), bool)
    ring[1 : depth + 2, 1:10] = True
    ring[2 : depth + 1, 2:9] = False
    cut = ring.copy()
    cut[1, 5] = False
    found = mistakes(ring, soft(cut), 0.5)
    assert found[1, 5] == mistake
    assert np.count_nonzero(found) == 1


@pytest.mark.parametrize(
    ("truth", "proposal", "threshold"),
    [
        (np.zeros((2, 2, 2), bool), np.zeros((2, 2, 2), np.float32), 0.5),
        (np.zeros((2, 3), bool), np.zeros((3, 2), np.float32), 0.5),
        (np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.float32), 0.5),
        (np.zeros((2, 2), bool), np.zeros((2, 2), np.float64), 0.5),
        (np.zeros((2, 2), bool), np.zeros((2, 2), np.float32), -0.1),
        (np.zeros((2, 2), bool), np.zeros((2, 2), np.float32), float("nan")),
    ],
)
def test_what_does_not_fit_is_refused(truth, proposal, threshold):
    for call in (warp, mistakes):
        with pytest.raises(DcanError, match=r"warping takes|threshold"):
            call(truth, proposal, threshold)
