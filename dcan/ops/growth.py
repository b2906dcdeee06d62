"""Growth of labels over a section: a pixel without one takes that of the pixel it descends to.

The order of pixels is that of the watershed, (level, index). A path is followed from block to
block by tables of their rims, as the descent to minima is.
"""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from dcan.ops.frames import Core, Frame, Levels, Mask, Numbers, Pixels
from dcan.ops.stitching import Names
from dcan.ops.watershed import LARGEST, OUTSIDE, core_of

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class RimGrowth:
    """What the other blocks of a section must know of the growth in one block.

    For each pixel of `frame.rim`, in its order: `ends`, uint64, the ring pixel where its path
    leaves the block, or the rim pixel itself when it does not; `names`, uint64, the label that
    it comes to inside the block, 0 for none.
    """

    frame: Frame
    ends: Pixels
    names: Names


def grow(
    levels: Levels, labels: Names, frame: Frame, ring: Names, tissue: Mask | None = None
) -> Names:
    """The labels of a block, grown: uint64 (y, x) of the core.

    `levels`: uint16, exact on `frame.window`. `labels`: uint64 on the core, 0 none; one that is
    there stays. `ring`: uint64, what each pixel of `frame.ring` grows to, in its order; see
    `settle`. From a pixel without a label the path goes to the smallest 4-neighbour by
    (level, index) while that is smaller; the first labelled pixel on it gives the label, and
    a path that ends at a minimum without one gives 0. `tissue`: bool on the core, None:
    everywhere; a path that comes to a pixel without it ends there, with 0. Raises ValueError for
    other shapes.
    """
    padded, known, ends = _prepared(levels, labels, frame, tissue)
    if len(ring) != len(frame.ring):
        raise ValueError(f"{len(ring)} names for a ring of {len(frame.ring)} pixels")
    known.ravel()[_places(frame.ring, frame)] = ring
    grown: Names = _grow(padded, known, ends, core_of(frame))
    return grown


def rim_growth(
    levels: Levels, labels: Names, frame: Frame, tissue: Mask | None = None
) -> RimGrowth:
    """What the rim of a block grows to, as far as the block knows; arguments as of `grow`."""
    padded, known, ends = _prepared(levels, labels, frame, tissue)
    rim = frame.rim
    last = _ends(padded, known, ends, _places(rim, frame))
    y, x = np.divmod(last, padded.shape[1])
    y0, y1, x0, x1 = core_of(frame)
    leaves = (y < y0) | (y >= y1) | (x < x0) | (x >= x1)
    _, top, left = frame.window.start
    pixels = ((y + (top - 1)) * frame.width + (x + (left - 1))).astype(np.uint64)
    return RimGrowth(frame, np.where(leaves, pixels, rim), known.ravel()[last])


def settle(blocks: Sequence[RimGrowth]) -> list[Names]:
    """What the ring of each block grows to: uint64, in the order of `blocks` and `frame.ring`.

    `blocks`: all blocks of one section, cut by one grid, in any order. Raises ValueError for
    tables that lead nowhere: a block is missing, or they are not of one map.
    """
    rim = np.concatenate([block.frame.rim for block in blocks])
    order = np.argsort(rim)
    rim = rim[order]
    ends = np.concatenate([block.ends for block in blocks])[order]
    names = np.concatenate([block.names for block in blocks])[order]
    names = names[_last(rim, ends)]
    return [names[_find(rim, block.frame.ring)] for block in blocks]


def _last(rim: Pixels, ends: Pixels) -> Indices:
    """Index of the rim pixel that each chain of `ends` comes to rest at, by pointer jumping.

    Each round doubles the part of a chain that is known, so the longest possible one is known
    after log2 of their number.
    """
    settled = ends == rim
    onward = _find(rim, ends)
    for _ in range(len(rim).bit_length() + 1):
        if settled[onward].all():
            return onward
        onward = onward[onward]
    raise ValueError("rim tables lead in a circle: they are not of one map")


def _find(rim: Pixels, pixels: Pixels) -> Indices:
    """Place of each pixel in the sorted rim pixels of a section."""
    places = np.searchsorted(rim, pixels)
    known = np.append(rim, np.iinfo(np.uint64).max)[places] == pixels
    if not known.all():
        pixel = pixels[~known][0]
        raise ValueError(f"pixel {pixel} is in no table: a block of the section is missing")
    return places.astype(np.int64)


def _prepared(
    levels: Levels, labels: Names, frame: Frame, tissue: Mask | None
) -> tuple[Levels, Names, Numbers]:
    """Levels and labels on the window grown by one pixel; where paths end, as far as known.

    Ends are flat indices, 0 not known: a path that comes to the ring ends there, and so does one
    that comes to a pixel of the core without tissue.
    """
    frame.check(levels, frame.window, "levels")
    frame.check(labels, frame.core, "labels")
    if (levels.shape[0] + 2) * (levels.shape[1] + 2) > LARGEST:
        raise ValueError(f"a window of {levels.shape} is too large: cut the section into blocks")
    if int(levels.max(initial=0)) >= OUTSIDE:
        raise ValueError(f"a level of {OUTSIDE} is above the range of a smoothed map")
    padded = np.pad(levels, 1, constant_values=OUTSIDE)
    y0, y1, x0, x1 = core_of(frame)
    known = np.zeros(padded.shape, np.uint64)
    known[y0:y1, x0:x1] = labels
    ends = np.zeros(padded.shape, np.int32)
    ring = _places(frame.ring, frame)
    ends.ravel()[ring] = ring
    if tissue is not None:
        frame.check(tissue, frame.core, "tissue")
        without = np.zeros(padded.shape, np.bool_)
        without[y0:y1, x0:x1] = ~tissue
        outside = np.flatnonzero(without)
        ends.ravel()[outside] = outside
    return padded, known, ends


def _places(pixels: Pixels, frame: Frame) -> Indices:
    """Flat indices, in the window grown by one pixel, of pixels of the section."""
    window = frame.window
    _, top, left = window.start
    y, x = np.divmod(pixels.astype(np.int64), frame.width)
    places: Indices = (y - (top - 1)) * (window.shape[2] + 2) + (x - (left - 1))
    return places


@njit(cache=True, nogil=True)
def _grow(levels: Levels, known: Names, ends: Numbers, core: Core) -> Names:
    y0, y1, x0, x1 = core
    width = levels.shape[1]
    flat, names, last = levels.ravel(), known.ravel(), ends.ravel()
    grown = np.empty((y1 - y0, x1 - x0), np.uint64)
    for y in range(y0, y1):
        for x in range(x0, x1):
            i = y * width + x
            if names[i] == 0:
                i = _follow(flat, names, last, width, i)
            grown[y - y0, x - x0] = names[i]
    return grown


@njit(cache=True, nogil=True)
def _ends(levels: Levels, known: Names, ends: Numbers, pixels: Indices) -> Indices:
    """Flat index of the pixel that the path from each of `pixels` ends at."""
    width = levels.shape[1]
    flat, names, last = levels.ravel(), known.ravel(), ends.ravel()
    result = np.empty(len(pixels), np.int64)
    for k in range(len(pixels)):
        result[k] = _follow(flat, names, last, width, pixels[k])
    return result


@njit(cache=True, nogil=True)
def _follow(levels: Levels, known: Names, ends: Numbers, width: int, i: int) -> int:
    """Where the path from pixel i ends; `ends` learns it for every pixel of the path.

    While it is being followed, a pixel holds minus the next one.
    """
    j = i
    while ends[j] == 0 and known[j] == 0:
        below = _smallest(levels, width, j)
        if below == j:
            ends[j] = j
        else:
            ends[j] = -below
            j = below
    end = ends[j] if ends[j] > 0 else j
    while i != j:
        onward = -ends[i]
        ends[i] = end
        i = onward
    return end


@njit(cache=True, nogil=True)
def _smallest(levels: Levels, width: int, i: int) -> int:
    """The smallest by (level, index) of a pixel and its 4-neighbours."""
    # in the order of their indices, so that the first keeps a tie
    least = i - width
    for j in (i - 1, i, i + 1, i + width):
        if levels[j] < levels[least]:
            least = j
    return least
