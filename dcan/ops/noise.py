"""Randomness as a function of position: integer hashes and polynomials, no generator, no state.

A value depends on its key and coordinates alone, so any part of a volume can be made by itself.
Only integers, sums, products and quotients in a fixed order are used: no transcendental
function, whose last bit may depend on where in a vector it falls.
"""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint64]
Grain = npt.NDArray[np.float32]

_GOLDEN = 0x9E3779B97F4A7C15
_WORD = (1 << 64) - 1
_Z, _Y, _X = np.uint64(_GOLDEN), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_HALF, _MOST, _QUARTER = np.uint64(32), np.uint64(29), np.uint64(16)
_LOW = np.uint64(0xFFFF)
_SPREAD = 37837.0
"""Standard deviation of the sum of four numbers, each uniform in 0..65535."""


def streams(seed: int, count: int) -> Hashes:
    """Keys of `count` independent streams; `seed` is any integer, taken modulo 2^64."""
    start = np.array([(seed + (index + 1) * _GOLDEN) & _WORD for index in range(count)], np.uint64)
    return hashes(start, 0, 0, 0)


def hashes(
    key: Hashes | np.uint64,
    z: npt.ArrayLike,
    y: npt.ArrayLike,
    x: npt.ArrayLike,
) -> Hashes:
    """Hash of each integer point (z, y, x) under `key`, broadcast against each other: uint64.

    Source: the finaliser of SplitMix64 (Steele, Lea, Flood 2014, doi:10.1145/2660193.2660195).
    """
    zs, ys, xs = (np.atleast_1d(np.asarray(c, np.int64)).view(np.uint64) for c in (z, y, x))
    h = key + zs * _Z + ys * _Y + xs * _X
    h = (h ^ (h >> _HALF)) * _FIRST
    h = (h ^ (h >> _MOST)) * _SECOND
    return cast(Hashes, h ^ (h >> _HALF))


def parts(h: Hashes) -> tuple[Floats, Floats, Floats, Floats]:
    """Four independent values in [0, 1) of each hash, from sixteen bits each."""
    low, second, third, high = ((h >> np.uint64(s)) & _LOW for s in (0, 16, 32, 48))
    return low / 65536.0, second / 65536.0, third / 65536.0, high / 65536.0


def curves(
    key: np.uint64, t: float, y: npt.ArrayLike, x: npt.ArrayLike
) -> tuple[Floats, Floats, Floats, Floats]:
    """Four smooth functions of t in [-1, 1] for each lattice point (y, x): cubic B-splines.

    Control points are +-[0.5, 1) at integer t, so no slope exceeds 1.5.
    """
    knot = int(t // 1.0)
    f = t - knot
    g = 1.0 - f
    weights = (g * g * g, 3 * f * f * f - 6 * f * f + 4, 3 * g * g * g - 6 * g * g + 4, f * f * f)
    sums: list[Floats] = [np.zeros(1)] * 4
    for step, weight in enumerate(weights):
        for line, value in enumerate(parts(hashes(key, knot + step, y, x))):
            point = np.where(value < 0.5, value - 1.0, value)
            sums[line] = sums[line] + point * (weight / 6.0)
    return sums[0], sums[1], sums[2], sums[3]


def relief(key: np.uint64, z: float, ys: Floats, xs: Floats) -> Floats:
    """Smooth random field in [-1, 1) at (z, ys[i], xs[j]): float64 (i, j), both sorted.

    Values of the integer lattice, each plane between two of them cubic with zero slope there.
    """
    (kz, fz), (ky, fy), (kx, fx) = (_cell(np.asarray(c, np.float64)) for c in (z, ys, xs))
    rows = np.arange(ky[0], ky[-1] + 2)[:, None]
    columns = np.arange(kx[0], kx[-1] + 2)
    below, above = (parts(hashes(key, kz + step, rows, columns))[0] for step in (0, 1))
    plane = below + (above - below) * fz
    j = kx - kx[0]
    plane = plane[:, j] + (plane[:, j + 1] - plane[:, j]) * fx
    i = ky - ky[0]
    return cast(Floats, 2.0 * (plane[i] + (plane[i + 1] - plane[i]) * fy[:, None]) - 1.0)


def _cell(c: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
    knot = np.floor(c)
    f = c - knot
    return knot.astype(np.int64), f * f * (3.0 - 2.0 * f)


def grain(key: np.uint64, z: int, start: tuple[int, int], shape: tuple[int, int]) -> Grain:
    """Roughly normal noise of a section, mean 0, variance 1, float32 (y, x) from `start`.

    White noise (sums of four uniform values) under a separable kernel 1, 2, 2, 1: neighbours
    correlate by 0.8, 0.4 and 0.1 at distances 1, 2 and 3, about as in sections imaged at 4 nm.
    """
    white = np.empty((shape[0] + 3, shape[1] + 3), np.int32)
    plane = np.uint64((int(key) + z * _GOLDEN) & _WORD)
    _fill_white(plane, start[0], start[1], white)
    rows = white[:, :-3] + white[:, 3:] + 2 * (white[:, 1:-2] + white[:, 2:-1])
    total = rows[:-3] + rows[3:] + 2 * (rows[1:-2] + rows[2:-1])
    return cast(Grain, total.astype(np.float32) * np.float32(0.1 / _SPREAD))


@njit(cache=True, nogil=True)
def _fill_white(key: np.uint64, y0: int, x0: int, out: npt.NDArray[np.int32]) -> None:
    for i in range(out.shape[0]):
        row = key + np.uint64(y0 + i) * _Y
        for j in range(out.shape[1]):
            h = row + np.uint64(x0 + j) * _X
            h = (h ^ (h >> _HALF)) * _FIRST
            h = (h ^ (h >> _MOST)) * _SECOND
            h = h ^ (h >> _HALF)
            total = (h & _LOW) + ((h >> _QUARTER) & _LOW) + ((h >> _HALF) & _LOW)
            total += h >> np.uint64(48)
            out[i, j] = np.int32(np.int64(total) - 131070)
