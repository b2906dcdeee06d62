"""The warping error as one writes it in plain Python, to be compared with: same mistakes.

Lists and loops over pixels, with the look-up table of simple points; connected components are
scipy's. A warping step is Jain et al. 2010, the kinds are those of `dcan.ops.warping.mistakes`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dcan.ops.warping import RADIUS, Mistake, simple_rings

ROUND = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))


def plain_mistakes(
    truth: NDArray[np.bool_], proposal: NDArray[np.float32], threshold: float
) -> NDArray[np.uint8]:
    """What `mistakes` gives, pixel by pixel."""
    grid = np.pad(truth, 1).astype(np.uint8).tolist()
    left = _warp(grid, proposal, threshold)
    warped = np.array(grid, bool)[1:-1, 1:-1]
    labels = ndimage.label(warped)[0].tolist()
    found = np.zeros(truth.shape, np.uint8)
    for y, x in left:
        found[y, x] = _kind(warped, labels, y, x)
    return found


def _warp(
    grid: list[list[int]], proposal: NDArray[np.float32], threshold: float
) -> list[tuple[int, int]]:
    """Flip simple points of the padded grid in place; returns the pixels that still differ."""
    simple = simple_rings().tolist()
    height, width = proposal.shape
    wanted = (proposal > np.float64(threshold)).astype(np.uint8).tolist()
    distance = np.abs(proposal - np.float32(threshold)).tolist()
    before = None
    while True:
        differ = [
            (y, x)
            for x in range(width)
            for y in range(height)
            if grid[y + 1][x + 1] != wanted[y][x]
        ]
        if len(differ) in (0, before):
            return differ
        before = len(differ)
        differ.sort(key=lambda pixel: -distance[pixel[0]][pixel[1]])
        for y, x in differ:
            ring = 0
            for k, (dy, dx) in enumerate(ROUND):
                ring |= grid[y + 1 + dy][x + 1 + dx] << k
            if simple[ring]:
                grid[y + 1][x + 1] = 1 - grid[y + 1][x + 1]


def _kind(warped: NDArray[np.bool_], labels: list[list[int]], y: int, x: int) -> Mistake:
    kinds, on = _around(labels, y, x), warped[y, x]
    if kinds <= {0}:
        return Mistake.OBJECT_DELETION if on else Mistake.OBJECT_ADDITION
    if len(kinds) == 1:
        return Mistake.HOLE_ADDITION if on else Mistake.HOLE_DELETION
    if len(kinds) > 2:
        return Mistake.SPLIT if on else Mistake.MERGE
    if not on:
        return Mistake.HOLE_ADDITION
    window = warped[max(0, y - RADIUS) : y + RADIUS + 1, max(0, x - RADIUS) : x + RADIUS + 1].copy()
    centre = min(y, RADIUS), min(x, RADIUS)
    window[centre] = False
    pieces = ndimage.label(np.pad(window, 1))[0].tolist()
    parted = len(_around(pieces, centre[0] + 1, centre[1] + 1)) > 2
    return Mistake.SPLIT if parted else Mistake.HOLE_DELETION


def _around(labels: list[list[Any]], y: int, x: int) -> set[int]:
    height, width = len(labels), len(labels[0])
    return {
        labels[y + dy][x + dx] for dy, dx in ROUND if 0 <= y + dy < height and 0 <= x + dx < width
    }
