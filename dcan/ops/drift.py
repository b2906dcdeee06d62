"""Drift between sections: the integer shift under which two of them look most alike."""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy import fft

from dcan.ops.frames import Membrane

Sums = npt.NDArray[np.int64]
LEAST_TILE = 256  # pixels a side: below, the margins of tiles are most of the work
ADDED = 16  # tiles whose spectra are added before they are transformed back


def coarse(section: Membrane, factor: int) -> Membrane:
    """Mean of each `factor` x `factor` cell, rounded half up: uint8 (ceil(y/f), ceil(x/f)).

    Cells start at the array's first pixel; the last ones hold what is left. A block that
    starts at a multiple of `factor` and ends at one, or with the section, makes the cells of
    the whole section.
    """
    cells: Membrane = np.empty(tuple(-(-size // factor) for size in section.shape), np.uint8)
    _means(np.ascontiguousarray(section), factor, cells)
    return cells


@njit(cache=True, nogil=True)
def _means(section: Membrane, factor: int, cells: Membrane) -> None:
    height, width = section.shape
    for row in range(cells.shape[0]):
        top, bottom = row * factor, min(row * factor + factor, height)
        for column in range(cells.shape[1]):
            left, right = column * factor, min(column * factor + factor, width)
            total = 0
            for y in range(top, bottom):
                for x in range(left, right):
                    total += section[y, x]
            count = (bottom - top) * (right - left)
            cells[row, column] = (2 * total + count) // (2 * count)


def shift(a: Membrane, b: Membrane, bound: int) -> tuple[int, int]:
    """(dy, dx) for which b[y + dy, x + dx] looks most like a[y, x].

    Both uint8 (y, x) of one shape; |dy|, |dx| <= `bound`, and no more than half the section on
    that axis. The greatest correlation coefficient over the pixels where both are there wins;
    one below 0, or with a constant, counts as 0. Of equal ones the smallest dy^2 + dx^2 wins,
    then the smallest (dy, dx). All shifts are compared, in integers: exact up to 10^13 pixels.
    Memory: about 10 bytes a pixel beside `a` and `b`, and 1 KB a shift. Raises ValueError when
    the shapes differ.

    Source: Lewis 1995, Fast normalized cross-correlation.
    """
    if a.shape != b.shape:
        raise ValueError(f"sections of {a.shape} and {b.shape} cannot be compared")
    tall, wide = (min(bound, size // 2) for size in a.shape)
    dy, dx = (axis.ravel() for axis in np.mgrid[-tall : tall + 1, -wide : wide + 1])
    n = ((a.shape[0] - np.abs(dy)) * (a.shape[1] - np.abs(dx))).astype(object)
    sum_a, square_a = _window_sums(a, tall, wide)
    # the window of b under a shift is that of a under the opposite one
    sum_b, square_b = (sums[::-1] for sums in _window_sums(b, tall, wide))
    alike = n * _products(a, b, tall, wide).ravel() - sum_a * sum_b
    spread = (n * square_a - sum_a**2) * (n * square_b - sum_b**2)
    best, most, least = (0, 0), 0, 1
    for k in np.lexsort((dx, dy, dy * dy + dx * dx)).tolist():
        if alike[k] > 0 and alike[k] ** 2 * least > most * spread[k]:
            best, most, least = (int(dy[k]), int(dx[k])), alike[k] ** 2, spread[k]
    return best


def _window_sums(
    section: Membrane, tall: int, wide: int
) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.object_]]:
    """Sum and sum of squares of the pixels that lie on the other section under each shift.

    Python integers, for dy in -tall..tall, dx in -wide..wide, in raster order.
    """
    edges, windows = [], []
    for size, reach in zip(section.shape, (tall, wide), strict=True):
        moved = np.arange(-reach, reach + 1)
        starts, stops = np.maximum(0, -moved), size - np.maximum(0, moved)
        edges.append(np.union1d(starts, stops))
        windows.append((np.searchsorted(edges[-1], starts), np.searchsorted(edges[-1], stops)))
    (top, bottom), (left, right) = windows
    found = []
    for values in (section, section.astype(np.uint16) ** 2):
        sums = np.add.reduceat(values, edges[0][:-1], axis=0, dtype=np.int64)
        sums = np.add.reduceat(sums, edges[1][:-1], axis=1)
        total = np.pad(sums.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
        rows = total[bottom] - total[top]
        found.append((rows[:, right] - rows[:, left]).ravel().astype(object))
    return found[0], found[1]


def _products(a: Membrane, b: Membrane, tall: int, wide: int) -> Sums:
    """Sum of a[y, x] b[y + dy, x + dx] under each shift: (2 tall + 1, 2 wide + 1).

    By Fourier transforms of tiles, added as spectra and rounded to the integers that their sums
    are: in double precision the products of a tile are off by less than 0.01, those of `ADDED`
    tiles by less than 0.16.
    """
    height, width = a.shape
    side = min(max(LEAST_TILE, 2 * tall, 2 * wide), 4 * LEAST_TILE)
    size = tuple(fft.next_fast_len(side + 2 * reach, real=True) for reach in (tall, wide))
    sums = np.zeros((2 * tall + 1, 2 * wide + 1), np.int64)
    tiles = list(product(range(0, height, side), range(0, width, side)))
    for first in range(0, len(tiles), ADDED):
        spectrum = np.zeros((size[0], size[1] // 2 + 1), np.complex128)
        for y, x in tiles[first : first + ADDED]:
            top, left = max(0, y - tall), max(0, x - wide)
            under = np.zeros(size)
            part = b[top : y + side + tall, left : x + side + wide]
            under[top - y + tall :, left - x + wide :][: part.shape[0], : part.shape[1]] = part
            tile = fft.rfft2(a[y : y + side, x : x + side].astype(np.float64), size)
            spectrum += tile.conj() * fft.rfft2(under)
        found = fft.irfft2(spectrum, size)
        sums += np.rint(found[: 2 * tall + 1, : 2 * wide + 1]).astype(np.int64)
    return sums
