from math import exp

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter

from dcan.errors import DcanError
from dcan.ops.smoothing import depth_levels, kernel, reach, reflection, smooth

SIGMAS = (0.0, 0.3, 0.5, 1.0, 1.5, 2.0, 3.3)
IMAGES = st.tuples(st.integers(1, 20), st.integers(1, 20)).flatmap(lambda s: arrays(np.uint8, s))


def slow(membrane, sigma):
    """Both passes written out with numpy's own padding and 64-bit sums."""
    weights, radius = kernel(sigma), reach(sigma)
    levels = 256 * membrane.astype(np.int64)
    for axis in (0, 1):
        margin = [(radius, radius) if axis == a else (0, 0) for a in (0, 1)]
        windows = np.lib.stride_tricks.sliding_window_view(
            np.pad(levels, margin, mode="symmetric"), 2 * radius + 1, axis=axis
        )
        levels = ((windows * weights).sum(-1) + 32768) // 65536
    return levels


@pytest.mark.parametrize("sigma", [*SIGMAS, 0.1, 10.0, 32.0])
def test_kernel_is_a_symmetric_gaussian_that_sums_to_one(sigma):
    weights = kernel(sigma)
    radius = reach(sigma)
    assert weights.dtype == np.int64
    assert len(weights) == 2 * radius + 1
    assert weights.sum() == 65536
    assert (weights == weights[::-1]).all()
    assert (weights >= 0).all()
    g = np.array([exp(-i * i / (2 * sigma * sigma)) if i else 1 for i in range(radius + 1)])
    exact = 65536 * g / (2 * g.sum() - 1)
    assert np.abs(weights[radius + 1 :] - exact[1:]).max(initial=0) <= 0.5
    assert abs(weights[radius] - exact[0]) <= radius


def test_kernel_values_are_fixed():
    assert kernel(0).tolist() == [65536]
    assert kernel(1).tolist() == [9, 290, 3538, 15858, 26146, 15858, 3538, 290, 9]


@pytest.mark.parametrize("sigma", [-1, 33, float("nan"), float("inf")])
def test_a_sigma_out_of_range_is_refused(sigma):
    with pytest.raises(DcanError, match="sigma"):
        kernel(sigma)


@given(IMAGES, st.sampled_from(SIGMAS))
def test_smooth_is_the_slow_reference(membrane, sigma):
    levels = smooth(membrane, sigma)
    assert levels.dtype == np.uint16
    assert (levels == slow(membrane, sigma)).all()


@pytest.mark.parametrize("shape", [(1, 9000), (9000, 1)])
def test_halves_are_rounded_up_in_both_passes(shape):
    # the other axis is constant and so exact: one sum in 256 ends in a half
    membrane = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    assert (smooth(membrane, 1.0) == slow(membrane, 1.0)).all()


def test_smooth_is_a_gaussian():
    membrane = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    exact = 256 * gaussian_filter(membrane.astype(float), 2, mode="reflect", truncate=4)
    assert np.abs(smooth(membrane, 2) - exact).max() < 4


@pytest.mark.parametrize("sigma", [0.0, 0.3, 1.5, 32.0])
def test_the_highest_level_does_not_overflow(sigma):
    assert (smooth(np.full((5, 7), 255, np.uint8), sigma) == 65280).all()


@given(IMAGES, st.sampled_from(SIGMAS), st.data())
def test_a_window_with_its_reach_is_exact(membrane, sigma, data):
    radius = reach(sigma)
    cut = []
    for size in membrane.shape:
        start = data.draw(st.integers(0, size - 1))
        stop = data.draw(st.integers(start + 1, size))
        cut.append((start, stop, max(0, start - radius), min(size, stop + radius)))
    (y0, y1, ya, yb), (x0, x1, xa, xb) = cut
    part = smooth(membrane[ya:yb, xa:xb], sigma)[y0 - ya : y1 - ya, x0 - xa : x1 - xa]
    assert (part == smooth(membrane, sigma)[y0:y1, x0:x1]).all()


@given(st.integers(1, 9), st.integers(0, 40))
def test_reflection_is_numpys_symmetric_padding(size, margin):
    expected = np.pad(np.arange(size), margin, mode="symmetric")
    assert (reflection(size, margin) == expected).all()


def test_depth_levels_rounds_half_up_in_units_of_a_level():
    assert [depth_levels(d) for d in (0, 0.1, 0.2, 0.3, 0.5, 8, 255)] == [
        0,
        26,
        51,
        77,
        128,
        2048,
        65280,
    ]


@pytest.mark.parametrize("depth", [-1, 256, 0.25, float("nan")])
def test_a_depth_that_has_no_level_is_refused(depth):
    with pytest.raises(DcanError, match="depth"):
        depth_levels(depth)
