import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcan.errors import DcanError
from dcan.geometry import Box, Grid
from dcan.net.windows import check_grid, window


@given(
    st.tuples(st.integers(1, 2), st.integers(1, 30), st.integers(1, 30)),
    st.sampled_from([8, 16, 24]),
    st.sampled_from([0, 8, 16, 48]),
)
@settings(max_examples=50, deadline=None)
def test_windows_are_cut_from_the_padded_section(
    shape: tuple[int, int, int], tile: int, halo: int
) -> None:
    volume = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    boxes: list[Box] = []

    def read(box: Box) -> np.ndarray:
        assert Box.whole(shape).contains(box)
        boxes.append(box)
        return volume[box.slices]

    pad = [(0, 0), *((halo, halo + tile) for _ in range(2))]
    padded = np.pad(volume, pad, mode="symmetric")
    side = tile + 2 * halo
    for box in Grid(shape, (1, tile, tile)):
        found = window(read, shape, box, tile, halo)
        z, y, x = box.start
        assert found.dtype == volume.dtype
        assert np.array_equal(found, padded[z, y : y + side, x : x + side])
        corners = np.unravel_index([found.min(), found.max()], shape)
        (z, d), (y, h), (x, w) = (axis.tolist() for axis in corners)
        assert boxes.pop() == Box((z, y, x), (d + 1, h + 1, w + 1))
    assert not boxes


@pytest.mark.parametrize("key", ["0:2,0:8,0:8", "0:1,0:9,0:8", "0:1,8:8,0:8"])
def test_a_box_that_is_no_tile_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="not a tile"):
        window(lambda box: np.zeros(box.shape), (2, 20, 20), Box.parse(key), 8, 8)


def test_a_short_read_is_an_error_not_data() -> None:
    with pytest.raises(ValueError, match="read as shape"):
        window(lambda box: np.zeros((1, 2, 2)), (1, 20, 20), Box.parse("0:1,0:8,0:8"), 8, 8)


@pytest.mark.parametrize(
    ("tile", "halo", "named"), [(12, 64, "tile is 12"), (0, 64, "tile"), (16, 60, "halo is 60")]
)
def test_a_grid_off_the_pools_is_refused(tile: int, halo: int, named: str) -> None:
    with pytest.raises(DcanError, match=named):
        check_grid(tile, halo, 54, 8)


def test_a_halo_below_the_reach_is_refused_with_the_least_that_serves() -> None:
    with pytest.raises(DcanError, match="give 56 or more"):
        check_grid(16, 48, 54, 8)
    check_grid(16, 56, 54, 8)
