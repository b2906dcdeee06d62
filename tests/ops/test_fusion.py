from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import label as scipy_label

from dcan.errors import DcanError
from dcan.geometry import Box
from dcan.ops.frames import Frame
from dcan.ops.fusion import components, contour, fuse, fused_map, inside_table, region_image
from dcan.ops.merging import merge
from dcan.ops.watershed import descend, flood, tables

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12))
LEVELS = SHAPES.flatmap(lambda s: arrays(np.uint16, s, elements=st.integers(0, 4)))
MASKS = SHAPES.flatmap(lambda s: arrays(np.bool_, s))
THOUSANDTHS = st.integers(0, 1000)


def exact(contour_value, membrane, w_f):
    w = Fraction(w_f, 1000)
    return w * contour_value + (1 - w) * Fraction(membrane, 255)


@given(THOUSANDTHS, THOUSANDTHS)
def test_inside_table_is_exact(w_f, t):
    table = inside_table(w_f, t)
    assert table.shape == (2, 256)
    for c in (0, 1):
        for u in range(256):
            assert table[c, u] == (exact(c, u, w_f) < Fraction(t, 1000))


def test_inside_table_decides_what_floats_cannot():
    # 0.7 x 0 + 0.3 x 255/255 is 0.3 and not less; in floats 1 - 0.7 is more than 0.3
    assert not inside_table(700, 300)[0, 255]
    assert inside_table(700, 301)[0, 255]
    assert not inside_table(800, 200)[0, 255]


@given(st.integers(1, 1000), THOUSANDTHS)
def test_a_contour_is_out_when_w_f_reaches_t(w_f, t):
    assert not (w_f >= t and inside_table(w_f, t)[1].any())


@pytest.mark.parametrize(("w_f", "t"), [(-1, 0), (0, 1001), (1001, 0), (0, -1)])
def test_values_out_of_range_are_refused(w_f, t):
    with pytest.raises(DcanError, match="not in"):
        inside_table(w_f, t)


@given(THOUSANDTHS)
def test_fused_map_is_the_nearest_float32(w_f):
    membrane = np.tile(np.arange(256, dtype=np.uint8), (2, 1))
    edge = np.repeat([[False], [True]], 256, axis=1)
    result = fused_map(membrane, edge, w_f)
    assert result.dtype == np.float32
    for c in (0, 1):
        assert result[c].tolist() == [np.float32(float(exact(c, u, w_f))) for u in range(256)]


@given(MASKS)
def test_components_are_scipys(inside):
    labels, sizes, first = components(inside)
    expected, count = scipy_label(inside)
    assert labels.dtype == np.uint32
    assert len(sizes) == len(first) == count
    assert (labels == expected).all()
    assert sizes.tolist() == np.bincount(expected.ravel(), minlength=count + 1)[1:].tolist()
    assert first.tolist() == [int(np.flatnonzero(expected == k)[0]) for k in range(1, count + 1)]


def test_components_of_larger_masks_are_scipys():
    rng = np.random.default_rng(0)
    for share in (0.1, 0.4, 0.6, 0.9):
        inside = rng.random((200, 300)) < share
        assert (components(inside)[0] == scipy_label(inside)[0]).all()


@given(LEVELS, st.sampled_from((0, 1, 2, 3)))
def test_the_greater_of_two_pixels_in_different_regions_is_on_the_contour(levels, depth):
    descent = descend(levels, Frame.whole(*levels.shape))
    regions = merge([tables(descent)], depth)
    edge, image = contour(descent, regions), region_image(descent, regions)
    height, width = levels.shape
    expected = np.zeros(levels.shape, bool)
    for y in range(height):
        for x in range(width):
            for v, w in ((y, x + 1), (y + 1, x)):
                if v < height and w < width and image[y, x] != image[v, w]:
                    greater = (y, x) if levels[y, x] > levels[v, w] else (v, w)
                    expected[greater] = True
    assert (edge == expected).all()
    parts, count = scipy_label(~edge)
    assert all(len(np.unique(image[parts == k])) == 1 for k in range(1, count + 1))


def test_fuse_describes_its_block():
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 60000, (10, 12)).astype(np.uint16)
    membrane = rng.integers(0, 256, (10, 12), np.uint8)
    shape = (3, 10, 12)
    regions = merge([flood(levels, Frame.whole(10, 12))], 0)
    frame = Frame(Box((0, 3, 4), (3, 8, 9)), shape)
    # what the section in one piece does not know: where ring pixels go
    image = region_image(descend(levels, Frame.whole(10, 12)), regions).ravel()
    keys = np.arange(120, dtype=np.uint64)
    known = type(regions)(keys, image)
    table = inside_table(300, 500)
    fused = fuse(levels[2:9, 3:10], membrane[3:8, 4:9], frame, known, table)
    whole = fuse(levels, membrane, Frame.whole(10, 12), regions, table)
    assert (fused.contour == whole.contour[3:8, 4:9]).all()
    assert (fused.inside == whole.inside[3:8, 4:9]).all()
    assert (fused.labels == scipy_label(fused.inside)[0]).all()
    for k, pixel in enumerate(fused.first, start=1):
        y, x = divmod(int(pixel), 12)
        assert fused.labels[y - 3, x - 4] == k
    faces = fused.faces
    assert (faces.north == fused.labels[0]).all()
    assert (faces.south == fused.labels[-1]).all()
    assert (faces.west == fused.labels[:, 0]).all()
    assert (faces.east == fused.labels[:, -1]).all()
    assert (fused.labels.dtype, fused.sizes.dtype, fused.first.dtype) == (
        np.uint32,
        np.int64,
        np.uint64,
    )


def test_a_membrane_of_another_shape_is_a_defect():
    levels = np.zeros((4, 4), np.uint16)
    frame = Frame.whole(4, 4)
    regions = merge([flood(levels, frame)], 0)
    with pytest.raises(ValueError, match="membrane"):
        fuse(levels, np.zeros((3, 4), np.uint8), frame, regions, inside_table(0, 1000))
