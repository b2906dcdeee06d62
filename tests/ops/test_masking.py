"""Masks coarser than their volume: which fit, and that any box sees the same of one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcan.geometry import Box, Grid
from dcan.ops.masking import factors, spread, under

SIZES = st.integers(1, 60)


@given(st.tuples(SIZES, SIZES, SIZES), st.integers(1, 20))
def test_the_factor_that_made_a_mask_is_among_those_that_fit(shape, k):
    mask = (shape[0], -(-shape[1] // k), -(-shape[2] // k))
    found = factors(shape, mask)
    sides = [(n, m) for n, m in zip(shape[1:], mask[1:], strict=True)]
    fitting = [f for f in range(1, 80) if all(-(-n // f) == m for n, m in sides)]
    if mask[1:] == (1, 1):
        assert list(found) == [max(shape[1:])]
    else:
        assert list(found) == fitting
        assert k in found


@pytest.mark.parametrize("mask", [(2, 32, 64), (4, 64, 64), (3, 65, 65), (3, 32, 33), (3, 64, 32)])
def test_other_shapes_fit_nothing(mask):
    assert not factors((3, 64, 64), mask)


@given(st.tuples(st.integers(1, 3), SIZES, SIZES), st.integers(1, 9), st.data())
def test_boxes_of_a_volume_see_one_mask(shape, k, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    mask = rng.integers(0, 3, (shape[0], -(-shape[1] // k), -(-shape[2] // k)), np.uint8)
    whole = np.kron(mask > 0, np.ones((1, k, k), bool))[:, : shape[1], : shape[2]]
    step = data.draw(st.tuples(st.integers(1, 3), st.integers(7, 60), st.integers(7, 60)))
    for box in Grid(shape, step):
        found = spread(mask[under(box, k).slices], box, k)
        assert found.dtype == np.bool_
        assert (found == whole[box.slices]).all()


def test_a_mask_of_another_box_is_refused():
    with pytest.raises(ValueError, match=r"does not lie over box 0:1,0:4,0:4: \(1, 2, 2\)"):
        spread(np.ones((1, 2, 3), bool), Box((0, 0, 0), (1, 4, 4)), 2)
