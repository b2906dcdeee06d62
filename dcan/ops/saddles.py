"""Saddles between basins: a table that blocks, and then sections, reduce by minimum."""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from dcan.ops.frames import Core, Levels, Numbers

SHORT = 16
"""Pairs that are sorted by insertion; longer rows of the table are left to argsort."""


def least_saddles(
    low: Numbers, high: Numbers, saddles: Levels, count: int
) -> tuple[Numbers, Numbers, Levels]:
    """Each pair (low, high) of basins 0..count-1 once, sorted, with its least saddle.

    `low`, `high` int32 and `saddles` uint16 in any order, which plays no part.
    """
    result: tuple[Numbers, Numbers, Levels] = _reduce(low, high, saddles, count)
    return result


def touching_saddles(
    levels: Levels, basins: Numbers, core: Core, count: int
) -> tuple[Numbers, Numbers, Levels]:
    """As `least_saddles`, of all 4-adjacent pixels of `core` and those right of and below it.

    `levels` uint16 and `basins` int32, 0..count-1 or -1 for none, as of a `Descent`; `core`:
    first and end row, first and end column.
    """
    result: tuple[Numbers, Numbers, Levels] = _reduce(*_touching(levels, basins, core), count)
    return result


@njit(cache=True, nogil=True)
def _touching(levels: Levels, basins: Numbers, core: Core) -> tuple[Numbers, Numbers, Levels]:
    """Lower and higher basin, and the greater level, of 4-adjacent pixels in two basins.

    Two basins often touch along a run of pixels of one row: it is one entry, its least.
    """
    y0, y1, x0, x1 = core
    row = 2 * (x1 - x0)  # entries of a row, at most
    size = row + (y1 - y0) * (x1 - x0) // 8
    low, high = np.empty(size, np.int32), np.empty(size, np.int32)
    saddles = np.empty(size, np.uint16)
    count = 0
    for y in range(y0, y1):
        if count + row > size:
            size *= 2
            low, high = _longer(low, size), _longer(high, size)
            saddles = _longer(saddles, size)
        here, below = basins[y], basins[y + 1]
        level, under = levels[y], levels[y + 1]
        run, a_of_run, b_of_run = 0, np.int32(-1), np.int32(-1)
        for x in range(x0, x1):
            a = here[x]
            b = here[x + 1]
            if b != a and b >= 0:
                low[count], high[count] = min(a, b), max(a, b)
                saddles[count] = max(level[x], level[x + 1])
                count += 1
            b = below[x]
            if b != a and b >= 0:
                saddle = max(level[x], under[x])
                if a == a_of_run and b == b_of_run:
                    saddles[run] = min(saddles[run], saddle)
                else:
                    run, a_of_run, b_of_run = count, a, b
                    low[count], high[count] = min(a, b), max(a, b)
                    saddles[count] = saddle
                    count += 1
    return low[:count], high[:count], saddles[:count]


@njit(cache=True, nogil=True)
def _longer(array: npt.NDArray[np.generic], size: int) -> npt.NDArray[np.generic]:
    result = np.empty(size, array.dtype)
    result[: len(array)] = array
    return result


@njit(cache=True, nogil=True)
def _reduce(
    low: Numbers, high: Numbers, saddles: Levels, count: int
) -> tuple[Numbers, Numbers, Levels]:
    ends, others, values = _by_low(low, high, saddles, count)
    lower, higher = np.empty(len(others), np.int32), np.empty(len(others), np.int32)
    least = np.empty(len(others), np.uint16)
    place = np.full(count, -1, np.int64)  # of a higher basin, where the present row has it
    kept = 0
    for basin in range(count):
        first = kept
        for i in range(ends[basin - 1] if basin else 0, ends[basin]):
            other = others[i]
            if place[other] >= first:
                least[place[other]] = min(least[place[other]], values[i])
            else:
                place[other] = kept
                lower[kept], higher[kept], least[kept] = basin, other, values[i]
                kept += 1
        _sort(higher[first:kept], least[first:kept])
    return lower[:kept].copy(), higher[:kept].copy(), least[:kept].copy()


@njit(cache=True, nogil=True)
def _by_low(
    low: Numbers, high: Numbers, saddles: Levels, count: int
) -> tuple[npt.NDArray[np.int64], Numbers, Levels]:
    """The entries in the order of `low`, sorted by counting; the end of each basin's."""
    places = np.zeros(count + 1, np.int64)
    for basin in low:
        places[basin + 1] += 1
    for basin in range(count):
        places[basin + 1] += places[basin]
    others, values = np.empty(len(low), np.int32), np.empty(len(low), np.uint16)
    for i in range(len(low)):
        k = places[low[i]]
        others[k], values[k] = high[i], saddles[i]
        places[low[i]] = k + 1
    return places[:count], others, values


@njit(cache=True, nogil=True)
def _sort(keys: Numbers, values: Levels) -> None:
    """Sort a few keys, each once, in place, and their values with them."""
    if len(keys) > SHORT:
        order = np.argsort(keys)
        keys[:], values[:] = keys[order], values[order]
        return
    for i in range(1, len(keys)):
        key, value = keys[i], values[i]
        j = i
        while j > 0 and keys[j - 1] > key:
            keys[j], values[j] = keys[j - 1], values[j - 1]
            j -= 1
        keys[j], values[j] = key, value
