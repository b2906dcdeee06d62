"""Drift between sections: the integer shift under which two of them look most alike."""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np
from numba import njit

from dcan.ops.frames import Membrane


def coarse(section: Membrane, factor: int) -> Membrane:
    """Mean of each `factor` x `factor` cell, rounded half up: uint8 (ceil(y/f), ceil(x/f)).

    Cells start at the array's first pixel; the last ones hold what is left. A block that
    starts at a multiple of `factor` and ends at one, or with the section, makes the cells of
    the whole section.
    """
    height, width = section.shape
    rows, columns = np.arange(0, height, factor), np.arange(0, width, factor)
    sums = np.add.reduceat(section, rows, axis=0, dtype=np.int64)
    sums = np.add.reduceat(sums, columns, axis=1)
    counts = np.outer(np.diff(rows, append=height), np.diff(columns, append=width))
    means: Membrane = ((2 * sums + counts) // (2 * counts)).astype(np.uint8)
    return means


def shift(a: Membrane, b: Membrane, bound: int) -> tuple[int, int]:
    """(dy, dx) for which b[y + dy, x + dx] looks most like a[y, x].

    Both uint8 (y, x) of one shape. The cost is the mean of |a - b| where both are there,
    compared exactly; |dy|, |dx| <= `bound`, and no more than half the section on that axis.
    Of equal costs the smallest dy^2 + dx^2 wins, then the smallest (dy, dx). Exact up to
    10^8 pixels. Raises ValueError when the shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"sections of {a.shape} and {b.shape} cannot be compared")
    height, width = a.shape
    tall, wide = min(bound, height // 2), min(bound, width // 2)
    shifts = [(dy, dx) for dy in range(-tall, tall + 1) for dx in range(-wide, wide + 1)]
    shifts.sort(key=lambda s: (s[0] ** 2 + s[1] ** 2, s))
    best, least, most = (0, 0), 1, 0
    for dy, dx in shifts:
        count = (height - abs(dy)) * (width - abs(dx))
        cost = int(_difference(a, b, dy, dx))
        if most == 0 or cost * most < least * count:
            best, least, most = (dy, dx), cost, count
    return best


@njit(cache=True, nogil=True)
def _difference(a: Membrane, b: Membrane, dy: int, dx: int) -> int:
    height, width = a.shape
    total = 0
    first = max(0, -dx)
    size = width - abs(dx)
    for y in range(max(0, -dy), min(height, height - dy)):
        left, right = a[y, first : first + size], b[y + dy, first + dx : first + dx + size]
        for x in range(size):
            total += max(left[x], right[x]) - min(left[x], right[x])
    return total
