"""Where the neurites of the phantom run: sites of a jittered lattice, and their centres by section.

A site is one neurite passing through the sections, or a branching one: two centres of one
name, between which a third, thin neurite comes and goes. Positions are in tissue
coordinates, (y, x) in pixels before drift.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from dcan.errors import DcanError
from dcan.geometry import Triple
from dcan.ops.noise import Floats, Hashes, curves, hashes, parts

PITCH = 34
"""Distance of lattice sites, in pixels."""
MARGIN = 8
"""Lattice cells before and after the volume: what is outside shapes what is inside."""
STREAMS = 4
"""Keys that a layout uses: place, life, path, mitochondria."""

_SLOTS = 3
_SHORTEST = 9
_ABSENT = 3
_CLEARANCE = 8.0
_PATH = 8.0
_WANDER = 5.0

Integers = npt.NDArray[np.int64]
Names = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True, eq=False)
class Sites:
    """The lattice sites of a window, arrays (y, x) over it; `gy`, `gx` are their indices.

    `radius` in pixels; `alive` excludes sites that a larger neighbour would swallow in some
    section, so that every neurite owns the pixel at its own centre and is connected in 3-D.
    `reach` is half the distance of the two centres of a branching neurite, else 0.
    """

    counts: tuple[int, int]
    gy: Integers
    gx: Integers
    y: Floats
    x: Floats
    radius: Floats
    reach: Floats
    alive: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Centres:
    """The centres of one section, in raster order of their sites, three at most to a site.

    `place`: float64 (n, 3), y, x and radius. `names`: uint32, > 0, the neurite's id.
    `start`: int64 (rows, columns + 1), where each lattice cell's centres begin; the window's
    first cell is `corner`. `traits`: float64 (n, 2), brightness in [-1, 1) and density of
    vesicles. `mitochondria`: float64 (n, 2, 6), y, x, unit vector y, x and reciprocal
    semi-axes along and across it; 0 along where there is none.
    """

    corner: tuple[int, int]
    start: Integers
    place: Floats
    names: Names
    traits: Floats
    mitochondria: Floats


def lattice(shape: Triple) -> tuple[int, int]:
    """Number of sites along y and x for a volume of `shape`.

    Raises DcanError for a shape whose neurites cannot be numbered in uint32.
    """
    if min(shape) < 1:
        raise DcanError(f"phantom shape {shape} has an empty axis: give at least 1 on each")
    rows, columns = (-(-n // PITCH) + 2 * MARGIN for n in shape[1:])
    lives = shape[0] // _SHORTEST + 3
    if 2 * lives * rows * columns >= 1 << 32:
        raise DcanError(
            f"phantom shape {shape} has more neurites than uint32 can name: make it smaller"
        )
    return rows, columns


def sites(keys: Hashes, shape: Triple, rows: range, columns: range) -> Sites:
    """The sites of lattice cells rows x columns of a volume of `shape`."""
    halo = 3
    gy = np.arange(rows.start - halo, rows.stop + halo)[:, None]
    gx = np.arange(columns.start - halo, columns.stop + halo)[None, :]
    jitter_y, jitter_x, size, kind = parts(hashes(keys[0], 0, gy, gx))
    y = (gy + 0.15 + 0.7 * jitter_y) * PITCH
    x = (gx + 0.15 + 0.7 * jitter_x) * PITCH
    largest = min(60.0, max(6.0, min(shape[1:]) / 8))
    small = 4.0 + 10.0 * size
    radius = np.where(size < 0.86, small, 16.0 + 44.0 * (size - 0.86) / 0.14)
    radius = np.minimum(radius, largest)
    reach = np.where((size < 0.86) & (kind < 0.3), 14.0 + 25.0 * kind, 0.0)
    extent = np.where(reach > 0, reach + 10.0, radius)
    core = np.where(reach > 0, -8.0, radius)
    alive = _survivors(np.stack([y, x, extent, core]), halo)
    inner = (slice(halo, -halo), slice(halo, -halo))
    return Sites(
        lattice(shape), gy[halo:-halo], gx[:, halo:-halo],
        y[inner], x[inner], radius[inner], reach[inner], alive,
    )  # fmt: skip


def _survivors(discs: Floats, halo: int) -> npt.NDArray[np.bool_]:
    """Sites that no larger one within `halo` cells would swallow; discs: y, x, extent, core."""
    height, width = discs.shape[1] - 2 * halo, discs.shape[2] - 2 * halo
    y, x, extent, core = discs[:, halo : halo + height, halo : halo + width]
    alive = np.ones((height, width), np.bool_)
    for dy in range(2 * halo + 1):
        for dx in range(2 * halo + 1):
            other = discs[:, dy : dy + height, dx : dx + width]
            near = np.maximum(other[2] - core + _CLEARANCE, 0.0)
            dy2 = (other[0] - y) * (other[0] - y)
            dx2 = (other[1] - x) * (other[1] - x)
            alive &= ~((other[2] > extent) & (dy2 + dx2 < near * near))
    return alive


def centres(keys: Hashes, found: Sites, z: int) -> Centres:
    """The centres that `found` sites have in section z."""
    shape = (*found.alive.shape, _SLOTS)
    dy, dx, swell, _ = curves(keys[2], z / _PATH, found.gy, found.gx)
    length, phase, mortal, turn = parts(hashes(keys[1], 0, found.gy, found.gx))
    ey, ex = _direction(turn)
    radius = found.radius * (1.0 + 0.15 * swell)
    paired = found.reach > 0
    twin = np.where(paired, radius * (0.6 + 0.4 * mortal), radius)
    place = np.empty((*shape, 3))
    offsets = (-found.reach, found.reach, (radius - twin) / 2)
    for slot, along in enumerate(offsets):
        place[..., slot, 0] = found.y + _WANDER * dy + along * ey
        place[..., slot, 1] = found.x + _WANDER * dx + along * ex
    period = np.where(paired, _SHORTEST, 16) + np.floor(length * np.where(paired, 4, 16))
    life, shrink = _life(z + np.floor(phase * period), period)
    fleeting = ~paired & (mortal < 0.3) & (found.radius < 16)
    place[..., 0, 2] = np.where(fleeting, radius - 5.0 * shrink, radius)
    place[..., 1, 2] = np.where(paired, twin, -np.inf)
    place[..., 2, 2] = np.where(paired, radius - 7.0 * shrink, -np.inf)
    cell = 2 * (found.gy * found.counts[1] + found.gx)
    lives = 2 * found.counts[0] * found.counts[1] * life
    names = np.empty(shape, np.int64)
    names[..., 0] = 1 + cell + np.where(fleeting, lives, 0)
    names[..., 1] = names[..., 0]
    names[..., 2] = 2 + cell + lives
    traits = np.stack(np.broadcast_arrays(2 * length - 1, _density(found.radius, phase)), -1)
    return _compact(
        found, place, names, (traits, _mitochondria(keys[3], found, place[..., 0, :], z))
    )


def _compact(
    found: Sites, place: Floats, names: Integers, features: tuple[Floats, Floats]
) -> Centres:
    present = found.alive[..., None] & (place[..., 2] > -np.inf)
    per_cell = present.sum(-1)
    start = np.zeros((present.shape[0], present.shape[1] + 1), np.int64)
    start[:, 1:] = per_cell.cumsum(1)
    start[1:] += start[:-1, -1].cumsum()[:, None]
    row, column, _ = np.nonzero(present)
    corner = (int(found.gy.flat[0]), int(found.gx.flat[0]))
    traits, mitochondria = (feature[row, column] for feature in features)
    named = names[present].astype(np.uint32)
    return Centres(corner, start, place[present], named, traits, mitochondria)


def _life(t: Floats, period: Floats) -> tuple[Integers, Floats]:
    """Which life, and its shrinking: inf while absent, 2 and 1 beside that, 0 elsewhere."""
    life = np.floor(t / period)
    since = t - life * period - _ABSENT
    until = period - 1 - _ABSENT - since
    shrink = np.maximum(0.0, 2.0 - np.minimum(since, until))
    return life.astype(np.int64), np.where(since < 0, np.inf, shrink)


def _direction(turn: Floats) -> tuple[Floats, Floats]:
    """Unit vectors of a half circle, by its rational parametrisation; turn in [0, 1)."""
    t = 2.0 * turn - 1.0
    return (1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t)


def _density(radius: Floats, choice: Floats) -> Floats:
    return np.where((radius >= 13) & (choice < 0.6), 0.6, np.where(radius >= 13, 0.1, 0.0))


def _mitochondria(key: np.uint64, found: Sites, place: Floats, z: int) -> Floats:
    """Up to two to a site of radius 12, 34 and more: ellipsoids through 9 to 17 sections."""
    out = np.zeros((*found.alive.shape, 2, 6))
    for which, least in enumerate((12.0, 34.0)):
        phase, length, _, _ = parts(hashes(key, which, found.gy, found.gx))
        t = z + np.floor(phase * 26)
        turn, size, along, across = parts(hashes(key, 2 + t // 26, found.gy, found.gx * 2 + which))
        height = 1.0 - ((t % 26 - 13) / (5 + 4 * length)) ** 2
        ey, ex = _direction(turn)
        oy, ox = _direction(along)
        side = (1 - 2 * which) * 0.35 * found.radius
        major = np.minimum((0.6 + 0.35 * size) * found.radius, 28.0)
        shown = (height > 0.05) & (found.radius >= least)
        scale = 1.0 / (major * np.sqrt(np.where(shown, height, 1.0)))
        values = (place[..., 0] + side * oy, place[..., 1] + side * ox, ey, ex,
                  np.where(shown, scale, 0.0), scale * (1.3 + 0.5 * across))  # fmt: skip
        out[..., which, :] = np.stack(np.broadcast_arrays(*values), -1)
    return cast(Floats, out)
