"""Contour, fusion and local segments of one block of a section.

p_f = w_f p_w + (1 - w_f) p, a pixel is inside a segment where p_f < t; p_w is the contour of
the watershed, p the membrane. Source: Chen et al. 2016, post-processing.
"""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from dcan.errors import DcanError
from dcan.ops.frames import Core, Frame, Labels, Levels, Mask, Membrane, Numbers, Pixels
from dcan.ops.merging import Regions
from dcan.ops.watershed import Descent, descend

Sizes = npt.NDArray[np.int64]


class Faces(NamedTuple):
    """Labels along the four sides of a core, uint32: by x north and south, by y west and east."""

    north: Labels
    south: Labels
    west: Labels
    east: Labels


@dataclass(frozen=True, slots=True, eq=False)
class FusedSection:
    """One block of one section, fused and labelled by itself; arrays (y, x) of the core.

    `contour`, `inside`: bool. `labels`: uint32, 1..n in raster order of the segments' first
    pixels, 0 not inside. `sizes`: int64 (n,), pixels. `first`: uint64 (n,), first pixel.
    """

    contour: Mask
    inside: Mask
    labels: Labels
    sizes: Sizes
    first: Pixels
    faces: Faces


def inside_table(w_f: int, t: int) -> Mask:
    """Whether a pixel with contour c and membrane u is inside: bool (2, 256), at [c, u].

    `w_f`, `t`: thousandths, 0..1000. Decided in integers:
    (w_f 255 c + (1000 - w_f) u) 1000 < t 255 1000. Raises DcanError out of range.
    """
    for name, value in (("w_f", w_f), ("t", t)):
        if not 0 <= value <= 1000:
            raise DcanError(f"{name} {value}/1000 is not in 0..1: choose one that is")
    return _fused_levels(w_f) < t * 255


def fused_map(membrane: Membrane, contour: Mask, w_f: int) -> npt.NDArray[np.float32]:
    """p_f of each pixel: float32, the shape of `membrane` (uint8) and `contour` (bool), 0..1.

    1 is membrane. `w_f`: thousandths; each value is the float32 nearest to the exact one.
    """
    table = (_fused_levels(w_f) / 255000).astype(np.float32)
    result: npt.NDArray[np.float32] = table[contour.view(np.uint8), membrane]
    return result


def fuse(
    levels: Levels,
    membrane: Membrane,
    frame: Frame,
    regions: Regions,
    inside: Mask,
    tissue: Mask | None = None,
) -> FusedSection:
    """Contour, inside and local segments of a block.

    `levels`: uint16, exact on `frame.window`. `membrane`: uint8 on the core. `regions`: at
    least the terminals of its `Flood`. `inside`: `inside_table`. `tissue`: bool on the core, where
    a pixel may be inside; None: everywhere. Segments are 4-connected. Raises ValueError for
    another shape or a missing key.
    """
    return label(contour(descend(levels, frame), regions), membrane, frame, inside, tissue)


def label(
    edge: Mask, membrane: Membrane, frame: Frame, inside: Mask, tissue: Mask | None = None
) -> FusedSection:
    """The part of `fuse` that follows the contour `edge`: bool on the core."""
    frame.check(edge, frame.core, "contour")
    frame.check(membrane, frame.core, "membrane")
    within = pixels_inside(edge, membrane, inside, tissue)
    labels, sizes, first = components(within)
    y, x = np.divmod(first, labels.shape[1])
    _, y0, x0 = frame.core.start
    faces = Faces(labels[0].copy(), labels[-1].copy(), labels[:, 0].copy(), labels[:, -1].copy())
    pixels = ((y + y0) * frame.width + (x + x0)).astype(np.uint64)
    return FusedSection(edge, within, labels, sizes, pixels, faces)


def pixels_inside(edge: Mask, membrane: Membrane, inside: Mask, tissue: Mask | None = None) -> Mask:
    """Which pixels are inside a segment: bool (y, x); arguments as of `fuse` and `label`.

    Without tissue a pixel is outside, whatever its membrane: w_f > 1 - t lets 255 in. Raises
    ValueError for tissue of another shape.
    """
    within: Mask = _within(edge, membrane, inside)
    if tissue is None:
        return within
    if tissue.shape != within.shape:
        raise ValueError(f"tissue has shape {tissue.shape}, the membrane {within.shape}")
    return within & tissue


def contour(descent: Descent, regions: Regions) -> Mask:
    """p_w on the core: bool (y, x).

    Of two 4-adjacent pixels in different regions the greater by (level, index) is on the
    contour, so no two regions touch 4-connectedly off it.
    """
    names = regions.of(descent.terminals)
    edge: Mask = _contour(descent.levels, descent.basins, names, descent.core)
    return edge


def region_image(descent: Descent, regions: Regions) -> Pixels:
    """Name of the region of each pixel of the core: uint64 (y, x)."""
    y0, y1, x0, x1 = descent.core
    return regions.of(descent.terminals)[descent.basins[y0:y1, x0:x1]]


def components(inside: Mask) -> tuple[Labels, Sizes, npt.NDArray[np.int64]]:
    """4-connected components of `inside`, bool (y, x).

    Returns labels (uint32, 1..n in raster order of the first pixels, 0 outside), sizes
    (int64, pixels) and first pixels (int64, flat indices).
    """
    result: tuple[Labels, Sizes, Sizes] = _components(np.ascontiguousarray(inside))
    return result


def _fused_levels(w_f: int) -> npt.NDArray[np.int64]:
    """255000 p_f for each contour and membrane value: int64 (2, 256)."""
    contours, membranes = np.arange(2)[:, None], np.arange(256)[None, :]
    return w_f * 255 * contours + (1000 - w_f) * membranes


@njit(cache=True, nogil=True)
def _within(edge: Mask, membrane: Membrane, inside: Mask) -> Mask:
    result = np.empty(edge.shape, np.bool_)
    off, on = inside[0], inside[1]
    for y in range(edge.shape[0]):
        for x in range(edge.shape[1]):
            u = membrane[y, x]
            result[y, x] = on[u] if edge[y, x] else off[u]
    return result


@njit(cache=True, nogil=True)
def _contour(levels: Levels, basins: Numbers, names: Pixels, core: Core) -> Mask:
    # outside the window the level is above all others: nothing is greater than it
    y0, y1, x0, x1 = core
    result = np.empty((y1 - y0, x1 - x0), np.bool_)
    regions = np.zeros((3, levels.shape[1]), np.uint64)  # of three rows, in turns
    _name(basins[y0 - 1], names, regions[(y0 - 1) % 3])
    _name(basins[y0], names, regions[y0 % 3])
    for y in range(y0, y1):
        _name(basins[y + 1], names, regions[(y + 1) % 3])
        own, above, below = levels[y], levels[y - 1], levels[y + 1]
        north, here, south = regions[(y - 1) % 3], regions[y % 3], regions[(y + 1) % 3]
        for x in range(x0, x1):
            up = (here[x] != north[x]) & (own[x] >= above[x])
            left = (here[x] != here[x - 1]) & (own[x] >= own[x - 1])
            right = (here[x] != here[x + 1]) & (own[x] > own[x + 1])
            down = (here[x] != south[x]) & (own[x] > below[x])
            result[y - y0, x - x0] = up | left | right | down
    return result


@njit(cache=True, nogil=True)
def _name(basins: Numbers, names: Pixels, regions: Pixels) -> None:
    for x in range(len(basins)):
        if basins[x] >= 0:
            regions[x] = names[basins[x]]


@njit(cache=True, nogil=True)
def _components(inside: Mask) -> tuple[Labels, Sizes, npt.NDArray[np.int64]]:
    height, width = inside.shape
    labels = np.zeros((height, width), np.uint32)
    parent = np.zeros((height * width + 1) // 2 + 1, np.uint32)
    starts = np.empty(len(parent), np.int64)
    count = 0
    for y in range(height):
        for x in range(width):
            if not inside[y, x]:
                continue
            up = labels[y - 1, x] if y > 0 else np.uint32(0)
            left = labels[y, x - 1] if x > 0 else np.uint32(0)
            if up == 0 and left == 0:
                count += 1
                parent[count] = count
                starts[count] = y * width + x
                labels[y, x] = count
            elif up * left > 0 and up != left:
                labels[y, x] = _unite(parent, up, left)
            else:
                labels[y, x] = max(up, left)
    count = _renumber(labels, parent[: count + 1], starts)
    sizes = np.zeros(count + 1, np.int64)
    for row in labels:
        for x in range(width):
            sizes[row[x]] += 1
    return labels, sizes[1:], starts[:count].copy()


@njit(cache=True, nogil=True)
def _unite(parent: Labels, a: int, b: int) -> int:
    """The least provisional label of the component that holds a and b."""
    while parent[a] != a:
        parent[a] = parent[parent[a]]
        a = parent[a]
    while parent[b] != b:
        parent[b] = parent[parent[b]]
        b = parent[b]
    least = min(a, b)
    parent[max(a, b)] = least
    return least


@njit(cache=True, nogil=True)
def _renumber(labels: Labels, parent: Labels, starts: npt.NDArray[np.int64]) -> int:
    """Number the components by their first pixels, in place; how many there are."""
    # provisional labels are in raster order and a parent is less than its children
    number = np.zeros(len(parent), np.uint32)
    count = 0
    for k in range(1, len(parent)):
        if parent[k] == k:
            starts[count] = starts[k]
            count += 1
            number[k] = count
        else:
            number[k] = number[parent[k]]
    for row in labels:
        for x in range(len(row)):
            row[x] = number[row[x]]
    return count
