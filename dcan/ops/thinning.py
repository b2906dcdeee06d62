"""Border thinning: objects grown over the membrane until one-pixel dams part them."""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dcan.errors import DcanError

# States of a pixel without a label.
_DAM = 0
_OUTSIDE = -1
_MASK = -2
_QUEUED = -3


def thin(objects: NDArray[np.int32]) -> NDArray[np.int32]:
    """The objects of one section grown over its 0 pixels, parted by dams.

    `objects` is int32, (y, x), >= 0: labels of 4-connected objects, 0 = membrane. In the
    result 0 is a dam. Objects keep their labels and every pixel they have. A section without
    objects becomes one object, 1.

    The flooding depends on its order, which is part of the definition: pixels are queued x
    outer, y inner, and look at their neighbours (x-1, y), (x, y-1), (x+1, y), (x, y+1);
    whether a dam may still join an object hangs on one flag shared by the whole run.

    Raises
    ------
    DcanError
        When `objects` is not an int32 section.

    Source: Vincent and Soille 1991, algorithm 4.1, 4-connected, on an image with the levels
    0 (objects) and 255 (the rest).
    """
    if objects.ndim != 2 or objects.dtype != np.int32:
        raise DcanError(
            f"thinning got shape {objects.shape}, type {objects.dtype}: it takes the int32 labels "
            "of one section, axes (y, x)"
        )
    if not objects.any():
        return np.ones_like(objects)
    columns = np.ascontiguousarray(objects.T)
    grid = np.pad(np.where(columns > 0, columns, np.int32(_MASK)), 1, constant_values=_OUTSIDE)
    _flood(grid.reshape(-1), grid.shape[1])
    return np.ascontiguousarray(grid[1:-1, 1:-1].T)


@njit(cache=True, nogil=True)
def _flood(grid: NDArray[np.int32], stride: int) -> None:
    """Flood the MASK pixels of a padded grid, (x, y) in raster order, in place."""
    around = (-stride, -1, stride, 1)
    queue = np.empty(grid.size, np.int64)
    end = _queue_shores(grid, around, queue)
    start = 0
    dam_may_join = False
    while start < end:
        pixel = queue[start]
        start += 1
        own = grid[pixel]
        for step in around:
            other = grid[pixel + step]
            own, dam_may_join = _meet(own, other, dam_may_join)
            if other == _MASK:
                grid[pixel + step] = _QUEUED
                queue[end] = pixel + step
                end += 1
        grid[pixel] = own


@njit(cache=True, nogil=True)
def _queue_shores(
    grid: NDArray[np.int32], around: tuple[int, int, int, int], queue: NDArray[np.int64]
) -> int:
    """Queue the MASK pixels next to an object; returns their number."""
    end = 0
    for pixel in range(grid.size):
        if grid[pixel] != _MASK:
            continue
        shore = False
        for step in around:
            shore |= grid[pixel + step] > 0
        if shore:
            grid[pixel] = _QUEUED
            queue[end] = pixel
            end += 1
    return end


@njit(cache=True, nogil=True)
def _meet(own: int, other: int, dam_may_join: bool) -> tuple[int, bool]:
    """A queued pixel's label, and the flag, after a look at one neighbour."""
    if other > 0:
        if own == _QUEUED or (own == _DAM and dam_may_join):
            return other, dam_may_join
        if own > 0 and own != other:
            return _DAM, False
    elif other == _DAM and own == _QUEUED:
        return _DAM, True
    return own, dam_may_join
