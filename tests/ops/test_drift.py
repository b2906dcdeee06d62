from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

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


@given(
    SHAPES.flatmap(lambda s: arrays(np.uint8, (2, *s), elements=st.integers(0, 3))),
    st.integers(0, 5),
)
def test_shift_is_the_slow_reference(pair, bound):
    a, b = pair.astype(int)
    height, width = a.shape
    rows = []
    for dy in range(-bound, bound + 1):
        for dx in range(-bound, bound + 1):
            if 2 * abs(dy) <= height and 2 * abs(dx) <= width:
                costs = [
                    abs(a[y, x] - b[y + dy, x + dx])
                    for y in range(height)
                    for x in range(width)
                    if 0 <= y + dy < height and 0 <= x + dx < width
                ]
                cost = Fraction(int(sum(costs)), len(costs))
                rows.append((cost, dy * dy + dx * dx, dy, dx))
    assert shift(pair[0], pair[1], bound) == min(rows)[2:]


@pytest.mark.parametrize("move", [(0, 0), (3, -2), (-4, 4), (0, 1)])
def test_a_moved_section_is_found(move):
    rng = np.random.default_rng(0)
    big = rng.integers(0, 256, (60, 70), np.uint8)
    dy, dx = move
    a, b = big[10:50, 10:60], big[10 - dy : 50 - dy, 10 - dx : 60 - dx]
    assert shift(a, b, 5) == move


def test_of_equal_costs_the_shortest_shift_wins():
    # the texture repeats along (2, -1): (2, 2) and (0, 3) fit alike
    texture = np.random.default_rng(0).integers(0, 256, 101).astype(np.uint8)
    ys, xs = np.mgrid[:12, :14]
    a, b = texture[(ys + 2 * xs + 6) % 101], texture[(ys + 2 * xs) % 101]
    assert shift(a, b, 3) == (2, 2)


def test_alike_everywhere_is_no_drift():
    flat = np.full((8, 8), 7, np.uint8)
    assert shift(flat, flat, 4) == (0, 0)


def test_sections_of_two_shapes_are_a_defect():
    with pytest.raises(ValueError, match="compared"):
        shift(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8), 1)
