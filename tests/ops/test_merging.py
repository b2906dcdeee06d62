import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import generate_binary_structure, label
from skimage.measure import label as plateaus
from skimage.morphology import reconstruction

from dcan.geometry import Box, Grid
from dcan.ops.frames import Frame
from dcan.ops.fusion import region_image
from dcan.ops.merging import merge
from dcan.ops.watershed import Flood, descend, flood, tables

LEVELS = st.tuples(st.integers(1, 12), st.integers(1, 12), st.sampled_from((1, 4, 200))).flatmap(
    lambda s: arrays(np.uint16, s[:2], elements=st.integers(0, s[2]))
)
DEPTHS = st.sampled_from((0, 1, 2, 3, 5, 60, 300))
CROSS = generate_binary_structure(2, 1)


def whole(levels, depth):
    """Name of each pixel's region."""
    descent = descend(levels, Frame.whole(*levels.shape))
    return region_image(descent, merge([tables(descent)], depth))


def slow_regions(levels, depth):
    """One dictionary of pixels; each rule as it is stated."""
    width = levels.shape[1]
    order = {y * width + x: (int(level), y * width + x) for (y, x), level in np.ndenumerate(levels)}

    def near(i):
        beside = [i - 1] * (i % width > 0) + [i + 1] * (i % width < width - 1)
        return [j for j in (i - width, *beside, i + width) if j in order]

    basin = {}
    for i in sorted(order, key=order.get):
        lowest = min([i, *near(i)], key=order.get)
        basin[i] = i if lowest == i else basin[lowest]
    saddles = {}
    for i in order:
        for j in near(i):
            pair = tuple(sorted((basin[i], basin[j])))
            level = max(order[i][0], order[j][0])
            saddles[pair] = min(level, saddles.get(pair, level))
    region = {m: m for m in basin.values()}
    for level, a, b in sorted((level, *pair) for pair, level in saddles.items()):
        deeper, shallower = sorted((region[a], region[b]), key=order.get)
        if deeper != shallower and level - order[shallower][0] < depth:
            region = {m: deeper if r == shallower else r for m, r in region.items()}
    return np.array([region[basin[i]] for i in sorted(order)]).reshape(levels.shape)


def minima_of_the_filtered(levels, height):
    """Regional minima of the h-minima filtered map, each with a number; 0 elsewhere."""
    signed = levels.astype(np.int64)
    filtered = signed
    if height:
        filtered = reconstruction(signed + height, signed, "erosion", CROSS).astype(np.int64)
    numbers = plateaus(filtered, connectivity=1, background=-1)
    padded = np.pad(filtered, 1, constant_values=1 << 40)
    low = np.ones(levels.shape, bool)
    for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        beside = np.roll(padded, (dy, dx), (0, 1))[1:-1, 1:-1]
        low &= beside >= filtered
    spoiled = np.unique(numbers[~low])
    return np.where(np.isin(numbers, spoiled), 0, numbers)


@given(LEVELS, DEPTHS)
def test_regions_are_the_slow_reference(levels, depth):
    assert (whole(levels, depth) == slow_regions(levels, depth)).all()


@given(LEVELS, st.sampled_from((1, 2, 3, 5, 60)))
def test_depth_is_the_h_minima_filter(levels, depth):
    regions = whole(levels, depth)
    minima = minima_of_the_filtered(levels, depth - 1)
    # one region for each minimum of the filtered map, and its deepest pixel lies in it
    assert len(np.unique(regions)) == len(np.unique(minima[minima > 0]))
    names = np.unique(regions).astype(np.int64)
    assert len(np.unique(minima.ravel()[names])) == len(names)
    assert (minima.ravel()[names] > 0).all()


@given(LEVELS, DEPTHS)
def test_a_region_is_connected_and_named_by_its_deepest_pixel(levels, depth):
    regions = whole(levels, depth)
    for name in np.unique(regions):
        region = regions == name
        assert label(region, CROSS)[1] == 1
        assert np.flatnonzero(region)[np.argmin(levels[region])] == name


def test_the_condition_is_strict():
    levels = np.array([[0, 9, 4, 9, 4]], np.uint16)
    assert whole(levels, 5).tolist() == [[0, 0, 2, 2, 4]]
    assert whole(levels, 6).tolist() == [[0, 0, 0, 0, 0]]


def test_the_components_minimum_counts_not_the_basins():
    # joined with 0 the middle basin is deep, so the saddle of 7 parts it from the last
    assert whole(np.array([[0, 5, 4, 7, 1]], np.uint16), 6).tolist() == [[0, 0, 0, 4, 4]]
    assert whole(np.array([[0, 5, 4, 7, 2]], np.uint16), 6).tolist() == [[0, 0, 0, 0, 0]]


def test_equal_saddles_are_gone_through_by_their_basins():
    # both saddles are 5; the first joins the middle basin to 0, and parts it from 4
    assert whole(np.array([[0, 5, 4, 5, 1]], np.uint16), 3).tolist() == [[0, 0, 0, 4, 4]]


def test_the_lower_index_names_a_tie():
    assert whole(np.array([[3, 5, 3]], np.uint16), 3).tolist() == [[0, 0, 0]]
    # the pair of basins (0, 2) joins the components of 6 and 2, both of level 0
    levels = np.array([[3, 5, 0], [4, 9, 9], [0, 9, 9]], np.uint16)
    assert (whole(levels, 10) == 2).all()


def test_keys_are_all_minima_and_all_rim_pixels():
    levels = np.random.default_rng(1).integers(0, 50, (9, 11)).astype(np.uint16)
    frames = [Frame(box, (1, 9, 11)) for box in Grid((1, 9, 11), (1, 4, 5))]
    floods = [flood(levels[frame.window.slices[1:]], frame) for frame in frames]
    regions = merge(floods, 10)
    keys = {int(k) for block in floods for k in (*block.minima, *block.rim)}
    assert regions.keys.tolist() == sorted(keys)
    assert regions.keys.dtype == regions.names.dtype == np.uint64
    image = whole(levels, 10).ravel()
    assert (regions.names == image[regions.keys]).all()
    assert regions.count == len(np.unique(image)) < len(np.unique(whole(levels, 0)))
    for block, frame in zip(floods, frames, strict=True):
        part = regions.select(block.terminals)
        assert part.keys.tolist() == sorted({*block.minima.tolist(), *frame.ring.tolist()})
        assert (part.names == image[part.keys]).all()


def test_a_missing_block_is_a_defect():
    levels = np.arange(16, 0, -1).reshape(4, 4).astype(np.uint16)
    frame = Frame(Box((0, 0, 0), (1, 2, 4)), (1, 4, 4))
    part = flood(levels[:3], frame)
    with pytest.raises(ValueError, match="missing"):
        merge([part], 0)


def test_an_unknown_key_is_a_defect():
    regions = merge([flood(np.zeros((2, 2), np.uint16), Frame.whole(2, 2))], 0)
    with pytest.raises(ValueError, match="pixel 3"):
        regions.of(np.array([3], np.uint64))


def test_tables_that_lead_in_a_circle_are_refused() -> None:
    pairs, levels = np.empty(0, np.int32), np.empty(0, np.uint16)
    one, two, both = (np.array(pixels, np.uint64) for pixels in ([1], [2], [2, 9]))
    minimum = np.array([False, True])
    west = Flood(both, minimum, np.zeros(1, np.uint16), one, two, pairs, pairs, levels)
    east = Flood(one, minimum[:1], levels, two, one, pairs, pairs, levels)
    with pytest.raises(ValueError, match="circle"):
        merge([west, east], 0)
