from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dcan.geometry import Box
from dcan.ops import drift, phantom
from dcan.ops.drift import coarse, shift

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@given(SHAPES.flatmap(lambda s: arrays(np.uint8, s)), st.integers(1, 11))
def test_coarse_is_the_mean_of_each_cell_rounded_half_up(section, factor):
    result = coarse(section, factor)
    assert result.dtype == np.uint8
    assert result.shape == tuple(-(-n // factor) for n in section.shape)
    for (y, x), value in np.ndenumerate(result):
        cell = section[y * factor : (y + 1) * factor, x * factor : (x + 1) * factor]
        assert value == (Fraction(int(cell.sum()), cell.size) + Fraction(1, 2)) // 1


def windows(a, b, bound):
    """Every shift that may be found, with the pixels of both that lie on each other."""
    height, width = a.shape
    for dy in range(-min(bound, height // 2), min(bound, height // 2) + 1):
        for dx in range(-min(bound, width // 2), min(bound, width // 2) + 1):
            rows = slice(max(0, -dy), min(height, height - dy))
            columns = slice(max(0, -dx), min(width, width - dx))
            moved = (
                slice(rows.start + dy, rows.stop + dy),
                slice(columns.start + dx, columns.stop + dx),
            )
            yield (dy, dx), a[rows, columns].astype(object), b[moved].astype(object)


def slow_shift(a, b, bound):
    """The rule as it is stated, with fractions."""
    found = []
    for (dy, dx), p, q in windows(a, b, bound):
        n = p.size
        alike = n * (p * q).sum() - p.sum() * q.sum()
        spread = (n * (p * p).sum() - p.sum() ** 2) * (n * (q * q).sum() - q.sum() ** 2)
        score = Fraction(int(alike**2), int(spread)) if alike > 0 else Fraction(0)
        found.append((-score, dy * dy + dx * dx, dy, dx))
    return min(found)[2:]


def least_difference(a, b, bound):
    """Another measure of likeness, by trying every shift: the mean absolute difference."""
    costs = [
        (Fraction(int(np.abs(p - q).sum()), p.size), dy * dy + dx * dx, dy, dx)
        for (dy, dx), p, q in windows(a, b, bound)
    ]
    return min(costs)[2:]


@given(
    SHAPES.flatmap(lambda s: arrays(np.uint8, (2, *s), elements=st.sampled_from((0, 1, 2, 255)))),
    st.integers(0, 5),
)
def test_shift_is_the_slow_reference(pair, bound):
    assert shift(pair[0], pair[1], bound) == slow_shift(pair[0], pair[1], bound)


@given(st.integers(0, 2**32 - 1), st.integers(20, 60), st.integers(20, 60), st.integers(0, 12))
def test_tiles_add_up_to_the_section(seed, height, width, bound):
    a, b = np.random.default_rng(seed).integers(0, 3, (2, height, width), np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drift, "LEAST_TILE", 8)
        tiled = shift(a, b, bound)
    assert tiled == shift(a, b, bound)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=5)
def test_transforms_round_to_the_sums_of_products(seed):
    a, b = np.random.default_rng(seed).integers(250, 256, (2, 300, 290), np.uint8)
    sums = drift._products(a, b, 3, 5)
    for (dy, dx), p, q in windows(a, b, 5):
        if abs(dy) <= 3:
            assert sums[dy + 3, dx + 5] == (p * q).sum()


@pytest.mark.parametrize(("bound", "size"), [(3, (1100, 1300)), (512, (1030, 4200))])
def test_spectra_of_many_tiles_round_to_the_sums_of_products(bound, size):
    a, b = np.random.default_rng(bound).integers(250, 256, (2, *size), np.uint8)
    sums = drift._products(a, b, bound, bound)
    for dy, dx in ((0, 0), (-bound, bound), (1, -bound), (bound, 0)):
        rows, columns = (
            slice(max(0, -d), n - max(0, d)) for d, n in ((dy, size[0]), (dx, size[1]))
        )
        under = b[rows.start + dy : rows.stop + dy, columns.start + dx : columns.stop + dx]
        wanted = (a[rows, columns].astype(np.int64) * under).sum()
        assert sums[dy + bound, dx + bound] == wanted


def test_sums_have_no_bound():
    for sums in drift._window_sums(np.full((3, 4), 255, np.uint8), 1, 2):
        assert all(type(value) is int for value in sums)


@pytest.mark.parametrize("move", [(0, 0), (3, -2), (-4, 4), (0, 1)])
def test_a_moved_section_is_found(move):
    rng = np.random.default_rng(0)
    big = rng.integers(0, 256, (60, 70), np.uint8)
    dy, dx = move
    a, b = big[10:50, 10:60], big[10 - dy : 50 - dy, 10 - dx : 60 - dx]
    assert shift(a, b, 5) == move


def test_a_far_shift_is_found_under_noise():
    rng = np.random.default_rng(0)
    big = rng.integers(0, 200, (900, 900), np.uint8)
    a, b = big[150:750, 150:750], big[300:900, 20:620] + rng.integers(0, 55, (600, 600), np.uint8)
    assert shift(a, b, 256) == (-150, 130)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_drift_of_the_phantom_is_found_as_by_trying_every_shift(seed):
    shape = (3, 384, 384)
    maps = [phantom.membrane(shape, seed, Box((z, 0, 0), (z + 1, 384, 384)))[0] for z in range(3)]
    for z in range(2):
        true = np.subtract(phantom.drift(seed, z + 1), phantom.drift(seed, z))
        found = shift(maps[z], maps[z + 1], 4)
        assert np.abs(true - found).max() <= 1
        assert np.abs(np.subtract(found, least_difference(maps[z], maps[z + 1], 4))).max() <= 1


def test_of_equal_likeness_the_shortest_shift_wins():
    # the texture repeats along (2, -1): (2, 2) and (0, 3) fit alike
    texture = np.random.default_rng(0).integers(0, 256, 101).astype(np.uint8)
    ys, xs = np.mgrid[:12, :14]
    a, b = texture[(ys + 2 * xs + 6) % 101], texture[(ys + 2 * xs) % 101]
    assert shift(a, b, 3) == (2, 2)


@pytest.mark.parametrize("shape", [(8, 8), (1, 1), (1, 9), (5, 2)])
def test_without_texture_there_is_no_drift(shape):
    flat = np.full(shape, 7, np.uint8)
    textured = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    assert shift(flat, flat, 4) == (0, 0)
    assert shift(flat, textured, 4) == (0, 0)


def test_an_empty_margin_does_not_draw_the_sections_apart():
    rng = np.random.default_rng(0)
    big = np.zeros((80, 90), np.uint8)
    big[:, :60] = rng.integers(0, 256, (80, 60))
    noisy = (big // 2 + rng.integers(0, 128, big.shape)).astype(np.uint8)
    assert shift(big[5:75, 5:85], noisy[3:73, 6:86], 20) == (2, -1)


def test_sections_of_two_shapes_are_a_defect():
    with pytest.raises(ValueError, match="compared"):
        shift(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8), 1)
