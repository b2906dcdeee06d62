"""Saddles between basins: a table that blocks, and then sections, reduce by minimum."""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from dcan.ops.frames import Levels, Numbers


def least_saddles(
    low: Numbers, high: Numbers, saddles: Levels, count: int
) -> tuple[Numbers, Numbers, Levels]:
    """Each pair (low, high) of basins 0..count-1 once, sorted, with its least saddle.

    `low`, `high` int32 and `saddles` uint16 in any order, which plays no part.
    """
    result: tuple[Numbers, Numbers, Levels] = _least_saddles(low, high, saddles, count)
    return result


@njit(cache=True, nogil=True)
def _least_saddles(
    low: Numbers, high: Numbers, saddles: Levels, count: int
) -> tuple[Numbers, Numbers, Levels]:
    # sorted by counting, first by the higher basin, then by the lower: linear for any input
    order = _stable_order(high, np.arange(len(high)), count)
    order = _stable_order(low, order, count)
    low, high, saddles = low[order], high[order], saddles[order]
    kept = -1
    for i in range(len(low)):
        if kept >= 0 and low[kept] == low[i] and high[kept] == high[i]:
            saddles[kept] = min(saddles[kept], saddles[i])
        else:
            kept += 1
            low[kept], high[kept], saddles[kept] = low[i], high[i], saddles[i]
    return low[: kept + 1].copy(), high[: kept + 1].copy(), saddles[: kept + 1].copy()


@njit(cache=True, nogil=True)
def _stable_order(keys: Numbers, order: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    places = np.zeros(count + 1, np.int64)
    for key in keys:
        places[key + 1] += 1
    for key in range(count):
        places[key + 1] += places[key]
    result = np.empty(len(order), np.int64)
    for i in order:
        result[places[keys[i]]] = i
        places[keys[i]] += 1
    return result
