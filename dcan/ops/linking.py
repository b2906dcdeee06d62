"""Segments of different sections that may be one neurite: overlaps, and candidates for links."""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from dcan.ops.stitching import Names, Segments

Counts = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int64]

NEVER = 1001
"""Thousandths: more of a branch than there is, so that none is linked."""


@dataclass(frozen=True, slots=True)
class Linking:
    """When segments of two sections are one neurite.

    `iou`: least intersection over union of two that are each other's best, thousandths.
    `containment`: least share of a branch that lies in the segment it joins, thousandths,
    `NEVER` for no branches. `beside`: most sections through which two neurites that a branch
    unites may run side by side.
    """

    iou: int
    containment: int
    beside: int


@dataclass(frozen=True, slots=True, eq=False)
class Overlaps:
    """How many pixels segments of two sections share.

    `a`, `b`: uint64, the segment in the lower and in the higher section, never 0; `count`:
    int64, pixels, above 0. Sorted by (a, b), each pair once.
    """

    a: Names
    b: Names
    count: Counts


def overlaps(a: Names, b: Names, offset: tuple[int, int] = (0, 0)) -> Overlaps:
    """The pixels that segments share where a[y, x] lies on b[y + oy, x + ox].

    `a`, `b`: uint64 (y, x), of any shapes; 0 and what lies outside `b` count for nothing.
    For a block, `a` is its core and `b` must hold all of the other section that lies on it:
    the tables of all blocks then add up to that of the section.
    """
    oy, ox = offset
    y0, x0 = max(0, -oy), max(0, -ox)
    y1, x1 = min(a.shape[0], b.shape[0] - oy), min(a.shape[1], b.shape[1] - ox)
    if y1 <= y0 or x1 <= x0:
        return add([])
    rows = _runs(a[y0:y1, x0:x1], b[y0 + oy : y1 + oy, x0 + ox : x1 + ox])
    return add([Overlaps(*rows)])


def add(tables: Iterable[Overlaps]) -> Overlaps:
    """The sum of tables in any order; rows of a table need not be sorted or distinct."""
    parts = list(tables)
    none = np.empty(0, np.uint64)
    a = np.concatenate([none, *(part.a for part in parts)])
    b = np.concatenate([none, *(part.b for part in parts)])
    count = np.concatenate([none.astype(np.int64), *(part.count for part in parts)])
    order = np.lexsort((b, a))
    a, b, count = a[order], b[order], count[order]
    new = np.ones(len(a), np.bool_)
    new[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    starts = np.flatnonzero(new)
    total = np.add.reduceat(count, starts) if len(starts) else count
    return Overlaps(a[starts], b[starts], total)


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Pairs of segments of two sections that may be one neurite: the edges of a graph.

    `a`, `b`: uint64, the segment in the lower and in the higher section; `shared`: int64,
    pixels; `mutual`: bool, whether they are each other's best, else one is a branch.
    """

    a: Names
    b: Names
    shared: Counts
    mutual: npt.NDArray[np.bool_]


def candidates(segments: Segments, table: Overlaps, linking: Linking) -> Candidates:
    """The pairs of `table` that may be one neurite, in its order.

    `table`: the overlaps of one pair of sections; `segments` holds at least all its names.
    Two that have the greatest IoU for each other are mutual when it reaches `linking.iou`.
    Of any other two the smaller, of equal ones that of the higher section, is a branch of the
    larger when it is in no mutual pair of the table and at least `linking.containment` of it
    lies in the larger. Ratios are compared exactly, up to 10^9 pixels; ties go to the lower
    name. Raises ValueError for a name that `segments` lacks.
    """
    size_a, size_b = _sizes(segments, table.a), _sizes(segments, table.b)
    names_a, a = np.unique(table.a, return_inverse=True)
    names_b, b = np.unique(table.b, return_inverse=True)
    count, union = table.count, size_a + size_b - table.count
    best_a = _greatest(a, count, union, len(names_a))
    best_b = _greatest(b, count, union, len(names_b))
    rows = np.arange(len(count))
    mutual = (best_a[a] == rows) & (best_b[b] == rows) & (1000 * count >= linking.iou * union)

    free_a, free_b = np.ones(len(names_a), np.bool_), np.ones(len(names_b), np.bool_)
    free_a[a[mutual]] = False
    free_b[b[mutual]] = False
    free = np.where(size_a < size_b, free_a[a], free_b[b])
    branch = free & (1000 * count >= linking.containment * np.minimum(size_a, size_b))
    kept = mutual | branch
    return Candidates(table.a[kept], table.b[kept], count[kept], mutual[kept])


def places(names: Names, wanted: Names) -> Indices:
    """Where `wanted` stand in `names`, uint64, sorted. Raises ValueError for one that does not."""
    places = np.searchsorted(names, wanted)
    missing = np.append(names, np.uint64(0))[places] != wanted
    if missing.any():
        raise ValueError(f"segment {wanted[missing][0]} is in no table of segments")
    return places.astype(np.int64)


def _sizes(segments: Segments, names: Names) -> Counts:
    return segments.sizes[places(segments.names, names)]


@njit(cache=True, nogil=True)
def _runs(a: Names, b: Names) -> tuple[Names, Names, Counts]:
    """Each run of one pair along a row, 0 left out."""
    height, width = a.shape
    size = 0
    for y in range(height):
        for x in range(width):
            new = x == 0 or a[y, x] != a[y, x - 1] or b[y, x] != b[y, x - 1]
            size += new and a[y, x] != 0 and b[y, x] != 0
    low, high = np.empty(size, np.uint64), np.empty(size, np.uint64)
    count = np.zeros(size, np.int64)
    k = -1
    for y in range(height):
        for x in range(width):
            if a[y, x] == 0 or b[y, x] == 0:
                continue
            if x == 0 or a[y, x] != a[y, x - 1] or b[y, x] != b[y, x - 1]:
                k += 1
                low[k], high[k] = a[y, x], b[y, x]
            count[k] += 1
    return low, high, count


@njit(cache=True, nogil=True)
def _greatest(group: Indices, numerator: Counts, denominator: Counts, groups: int) -> Indices:
    """The first row of greatest ratio in each of 0..groups-1, -1 for one without rows."""
    best = np.full(groups, -1, np.int64)
    for row in range(len(group)):
        rival = best[group[row]]
        if rival < 0 or (numerator[row] * denominator[rival] > numerator[rival] * denominator[row]):
            best[group[row]] = row
    return best
