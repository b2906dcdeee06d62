"""Gaussian smoothing in integers: the levels that a watershed floods."""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from math import ceil, exp, floor, isfinite

import numpy as np
import numpy.typing as npt
from numba import njit

from dcan.errors import DcanError
from dcan.ops.frames import Levels, Membrane

ONE = 1 << 16
"""Sum of a kernel's weights."""
LEVELS = 256
"""Levels for each 1/255 of membrane probability."""
WIDEST = 32.0
"""Largest sigma, in pixels; beyond about 80 the rounded weights lose their shape."""


def reach(sigma: float) -> int:
    """How many pixels to each side smoothing sees: ceil(4 sigma).

    Raises DcanError for a sigma that is not in 0..32.
    """
    if not (isfinite(sigma) and 0 <= sigma <= WIDEST):
        raise DcanError(f"sigma {sigma} is not in 0..{WIDEST:g} pixels: choose one that is")
    return ceil(4 * sigma)


def kernel(sigma: float) -> npt.NDArray[np.int64]:
    """Weights of a Gaussian of `sigma` pixels: int64, 2 reach + 1 of them, sum 65536.

    With g(i) = exp(-i^2 / 2 sigma^2) and G the sum of g over -reach..reach, the weight at
    i != 0 is 65536 g(i) / G rounded half up; the centre takes what is left. Sigma 0 gives
    [65536]. All weights are >= 0. Raises DcanError as `reach` does.
    """
    radius = reach(sigma)
    side = [exp(-i * i / (2 * sigma * sigma)) for i in range(1, radius + 1)]
    total = 1 + 2 * sum(side)
    weights = [floor(ONE * g / total + 0.5) for g in side]
    return np.array([*weights[::-1], ONE - 2 * sum(weights), *weights], np.int64)


def reflection(size: int, margin: int) -> npt.NDArray[np.int64]:
    """Indices 0..size-1 that extend an axis by `margin` on both sides, half-sample symmetric.

    >>> reflection(3, 4).tolist()
    [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0]
    """
    index = np.arange(-margin, size + margin) % (2 * size)
    return np.minimum(index, 2 * size - 1 - index)


def smooth(membrane: Membrane, sigma: float) -> Levels:
    """256 times `membrane` smoothed along y, then x; rounded half up after each pass.

    `membrane`: uint8 (y, x), any size from 1 x 1. Returns uint16 (y, x), 0..65280, exact in
    integers. All four sides are half-sample symmetric reflections, repeated as needed: a
    block reads `reach(sigma)` pixels more wherever its section goes on, and crops them.
    Raises DcanError as `reach` does.
    """
    weights = kernel(sigma)
    radius = len(weights) // 2
    height, width = membrane.shape
    levels: Levels = _smooth(
        np.ascontiguousarray(membrane),
        weights[radius:].astype(np.uint32),
        reflection(height, radius),
        reflection(width, radius),
    )
    return levels


def depth_levels(depth: float) -> int:
    """`depth`, in 1/255 with one decimal, as levels: 256 depth rounded half up.

    Raises DcanError for a negative depth, one above 255, or one with more decimals.
    """
    if not (isfinite(depth) and 0 <= depth <= 255):
        raise DcanError(f"depth {depth} is not in 0..255 (units of 1/255): choose one that is")
    tenths = round(depth * 10)
    if abs(depth * 10 - tenths) > 1e-6:
        raise DcanError(f"depth {depth} has more than one decimal: round it, to {tenths / 10}")
    return (2 * LEVELS * tenths + 10) // 20


@njit(cache=True, nogil=True)
def _smooth(
    membrane: Membrane,
    half: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
) -> Levels:
    # uint32 holds every sum: weights are >= 0 and add up to 2^16, so the larger of the two
    # passes stays at 65280 * 2^16 + 2^15 < 2^32.
    height, width = membrane.shape
    radius = len(half) - 1
    result = np.empty((height, width), np.uint16)
    line = np.empty(width + 2 * radius, np.uint16)
    total = np.empty(width, np.uint32)
    for y in range(height):
        middle = membrane[y]
        for x in range(width):
            total[x] = half[0] * middle[x]
        for k in range(1, radius + 1):
            above, below = membrane[rows[y + radius - k]], membrane[rows[y + radius + k]]
            weight = half[k]
            for x in range(width):
                total[x] += weight * np.uint32(np.uint32(above[x]) + np.uint32(below[x]))
        # (256 t + 2^15) >> 16 without leaving 32 bits
        for x in range(width):
            line[radius + x] = (total[x] + np.uint32(128)) >> np.uint32(8)
        for x in range(radius):
            line[x] = line[radius + columns[x]]
            line[radius + width + x] = line[radius + columns[radius + width + x]]
        _along(line, half, total)
        for x in range(width):
            result[y, x] = (total[x] + np.uint32(1 << 15)) >> np.uint32(16)
    return result


@njit(cache=True, nogil=True)
def _along(line: Levels, half: npt.NDArray[np.uint32], total: npt.NDArray[np.uint32]) -> None:
    radius = len(half) - 1
    width = len(total)
    middle = line[radius:]
    for x in range(width):
        total[x] = half[0] * middle[x]
    for k in range(1, radius + 1):
        left, right = line[radius - k :], line[radius + k :]
        weight = half[k]
        for x in range(width):
            total[x] += weight * np.uint32(np.uint32(left[x]) + np.uint32(right[x]))
