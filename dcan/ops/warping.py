"""Warping error: what is left of truth's topology after moving its borders freely."""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

from dcan.errors import DcanError

RADIUS = 20
"""Half the side of the window, in pixels, in which a cut counts as a split."""

_OUTSIDE = -1


class Mistake(IntEnum):
    """What a proposal gets wrong at a pixel that warping cannot mend; 0 where nothing."""

    NONE = 0
    SPLIT = 1
    MERGE = 2
    HOLE_ADDITION = 3
    HOLE_DELETION = 4
    OBJECT_ADDITION = 5
    OBJECT_DELETION = 6


def simple_rings() -> NDArray[np.bool_]:
    """For each of 256 rings of neighbours, whether flipping the centre keeps the topology.

    Bit k is the k-th neighbour going round, the even ones 4-adjacent to the centre. Simple:
    exactly one 4-connected piece of the ring's foreground is 4-adjacent to the centre and
    its background is one 8-connected piece. Counted as Yokoi's crossing number (Yokoi,
    Toriwaki, Fukumura 1975).
    """
    ring = (np.arange(256)[:, None] >> np.arange(8)) & 1
    edge, corner, after = ring[:, ::2], ring[:, 1::2], np.roll(ring[:, ::2], -1, axis=1)
    return np.asarray((edge - edge * corner * after).sum(axis=1) == 1)


_SIMPLE = simple_rings()


def warp(
    truth: NDArray[np.bool_], proposal: NDArray[np.float32], threshold: float
) -> NDArray[np.bool_]:
    """Truth warped towards the proposal by flipping simple points only.

    Both (y, x); True and values > `threshold` (as float64) are neurite. Passes over the
    pixels where both differ flip those that are simple at their turn, in descending order
    of |proposal - threshold| (float32; equal ones x outer, y inner), until a pass flips none.
    Around the image lies membrane.

    Raises
    ------
    DcanError
        When shapes or types do not fit.

    Source: Jain et al., Boundary learning by optimization with topological constraints,
    CVPR 2010, section 3; order as in the ISBI 2012 challenge.
    """
    grid, _ = _warped(truth, proposal, threshold)
    return grid[1:-1, 1:-1].astype(np.bool_)


def mistakes(
    truth: NDArray[np.bool_], proposal: NDArray[np.float32], threshold: float
) -> NDArray[np.uint8]:
    """The `Mistake` at each pixel of a section: uint8, (y, x), 0 where warping mends all.

    Judged on warped truth (see `warp`) by u, the set of object labels (0 = membrane) among
    the pixel's 8 neighbours inside the image:

    - u = {0}: object deletion (neurite in truth) or addition (membrane);
    - one object: hole addition (neurite) or deletion (membrane);
    - two labels, membrane: hole addition;
    - two labels, neurite: split when without the pixel its neighbours fall into several
      objects of the window of `RADIUS` around it, else hole deletion;
    - more labels: split (neurite) or merge (membrane).

    Raises
    ------
    DcanError
        When shapes or types do not fit.
    """
    grid, left = _warped(truth, proposal, threshold)
    labels = np.full(grid.shape, _OUTSIDE, np.int32)
    labels[1:-1, 1:-1] = ndimage.label(grid[1:-1, 1:-1])[0]
    found = np.zeros(grid.shape, np.uint8)
    around = _around(grid.shape[1])
    _classify(grid.reshape(-1), labels.reshape(-1), left, around, found.reshape(-1))
    return found[1:-1, 1:-1]


def _warped(
    truth: NDArray[np.bool_], proposal: NDArray[np.float32], threshold: float
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Warped truth, padded by 1, and the flat indices of the pixels that still differ."""
    _check(truth, proposal, threshold)
    height, width = truth.shape
    grid = np.zeros((height + 2, width + 2), np.uint8)
    grid[1:-1, 1:-1] = truth
    differ = (proposal > np.float64(threshold)) != truth
    x, y = divmod(np.flatnonzero(differ.T), height)
    distance = np.abs(proposal[y, x] - np.float32(threshold))
    order = ((y + 1) * grid.shape[1] + x + 1)[_descending(distance)]
    left: NDArray[np.int64] = _flip_simple(grid.reshape(-1), order, _around(grid.shape[1]), _SIMPLE)
    return grid, left


def _descending(values: NDArray[np.float32]) -> NDArray[np.intp]:
    """Stable order of values >= 0: by their bits in two halves, which NumPy sorts by radix."""
    bits = ~values.view(np.uint32)
    return np.lexsort((bits.astype(np.uint16), (bits >> 16).astype(np.uint16)))


def _check(truth: NDArray[np.bool_], proposal: NDArray[np.float32], threshold: float) -> None:
    shapes_fit = truth.ndim == 2 and truth.shape == proposal.shape
    if not shapes_fit or truth.dtype != np.bool_ or proposal.dtype != np.float32:
        raise DcanError(
            f"truth is {truth.dtype} {truth.shape} and the proposal {proposal.dtype} "
            f"{proposal.shape}: warping takes bool and float32, (y, x), equal shapes; convert them"
        )
    if not threshold >= 0:
        raise DcanError(
            f"threshold {threshold}: the 0 around the image must not exceed it; give 0 or more"
        )


def _around(stride: int) -> NDArray[np.int64]:
    """Flat steps to the 8 neighbours going round, the 4-adjacent ones at even places."""
    y: NDArray[np.int64] = np.array([-1, -1, 0, 1, 1, 1, 0, -1])
    x: NDArray[np.int64] = np.array([0, 1, 1, 1, 0, -1, -1, -1])
    return y * stride + x


@njit(cache=True, nogil=True)
def _flip_simple(
    grid: NDArray[np.uint8],
    order: NDArray[np.int64],
    around: NDArray[np.int64],
    simple: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Flip simple pixels of `order` in passes, in place; those never flipped are returned.

    A flipped pixel agrees and never comes back, so every pass keeps the first one's order.
    """
    left = order.copy()
    count = -1
    kept = left.size
    while kept != count:
        count = kept
        kept = 0
        for place in range(count):
            pixel = left[place]
            ring = 0
            for k in range(8):
                ring |= int(grid[pixel + around[k]]) << k
            if simple[ring]:
                grid[pixel] = 1 - grid[pixel]
            else:
                left[kept] = pixel
                kept += 1
    return left[:kept]


@njit(cache=True, nogil=True)
def _classify(
    grid: NDArray[np.uint8],
    labels: NDArray[np.int32],
    left: NDArray[np.int64],
    around: NDArray[np.int64],
    found: NDArray[np.uint8],
) -> None:
    """Write the `Mistake` of each pixel of `left` into `found`."""
    visit = np.zeros(grid.size, np.int32)
    for place in range(left.size):
        pixel = left[place]
        on = grid[pixel] != 0
        kinds, objects = _kinds(labels, pixel, around)
        if objects == 0:
            found[pixel] = Mistake.OBJECT_DELETION if on else Mistake.OBJECT_ADDITION
        elif kinds == 1:
            found[pixel] = Mistake.HOLE_ADDITION if on else Mistake.HOLE_DELETION
        elif kinds > 2:
            found[pixel] = Mistake.SPLIT if on else Mistake.MERGE
        elif not on:
            found[pixel] = Mistake.HOLE_ADDITION
        elif _is_cut(grid, pixel, around, visit, place + 1):
            found[pixel] = Mistake.SPLIT
        else:
            found[pixel] = Mistake.HOLE_DELETION


@njit(cache=True, nogil=True)
def _kinds(labels: NDArray[np.int32], pixel: int, around: NDArray[np.int64]) -> tuple[int, int]:
    """Distinct labels among the neighbours inside the image (`_OUTSIDE` elsewhere): all, not 0."""
    kinds = 0
    objects = 0
    for k in range(8):
        label = labels[pixel + around[k]]
        new = label != _OUTSIDE
        for earlier in range(k):
            if labels[pixel + around[earlier]] == label:
                new = False
        if new:
            kinds += 1
            objects += label > 0
    return kinds, objects


@njit(cache=True, nogil=True)
def _is_cut(
    grid: NDArray[np.uint8],
    centre: int,
    around: NDArray[np.int64],
    visit: NDArray[np.int32],
    mark: int,
) -> bool:
    """Whether the neighbours' foreground is in pieces in the window without its centre.

    Floods from one neighbour, 4-connected; `visit` holds `mark` where this call has been.
    """
    stride = around[4]
    y, x = centre // stride, centre % stride
    stack = np.empty((2 * RADIUS + 1) ** 2, np.int64)
    visit[centre] = mark
    size = 0
    for k in range(8):
        if size == 0 and grid[centre + around[k]] != 0:
            stack[0] = centre + around[k]
            visit[stack[0]] = mark
            size = 1
    while size > 0:
        size -= 1
        pixel = stack[size]
        for k in range(0, 8, 2):
            other = pixel + around[k]
            near = abs(other // stride - y) <= RADIUS and abs(other % stride - x) <= RADIUS
            if near and grid[other] != 0 and visit[other] != mark:
                visit[other] = mark
                stack[size] = other
                size += 1
    for k in range(8):
        other = centre + around[k]
        if grid[other] != 0 and visit[other] != mark:
            return True
    return False
