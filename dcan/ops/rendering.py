"""The pixels of one band of a phantom section: whose they are, and how they look.

Pixels are made in tiles fixed in the tissue, inside which smooth fields are bilinear. Which
centres can matter is decided once for a tile, so it depends on nothing but the tile.
"""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from dcan.ops.noise import Floats, Grain
from dcan.ops.tissue import PITCH, Integers, Names

Bytes = npt.NDArray[np.uint8]

TILE = 8
"""Side of a tile, in pixels."""
REACH = 5
"""Lattice cells to each side of a tile's own in which a centre can own or border its pixels."""
VESICLE_PITCH = 15
"""Side of the cells that hold one vesicle each, in pixels."""

_CAP = 28.0


class Traced(NamedTuple):
    """Of each pixel: distance to the nearest other neurite, and which centre has it."""

    distance: npt.NDArray[np.float32]
    owner: npt.NDArray[np.int32]


class Palette(NamedTuple):
    """Grey value of cytoplasm, and what each kind of thing adds to it where it is."""

    grey: float
    cloud: float
    tint: float
    border: float
    mitochondrion: float
    crista: float
    vesicle: float
    synapse: float
    grain: float


class Scene(NamedTuple):
    """What the pixels of a band of one section are made from.

    `smooth`: float64 (6, y, x), at the corners of whole tiles: where they come from, y and x,
    then the reliefs of brightness, gaps, oblique stretches and clusters. `traced` holds the
    pixels of these tiles; the band begins `offset` pixels into the first. `vesicles`: float64
    (y, x, 4), one to a cell: y, x, radius and rank; the first cell is `first`.
    """

    offset: tuple[int, int]
    smooth: Floats
    traced: Traced
    traits: Floats
    mitochondria: Floats
    vesicles: Floats
    first: tuple[int, int]
    grain: Grain


@njit(cache=True, nogil=True)
def trace(
    warped: Floats,
    layout: tuple[tuple[int, int], Integers, Floats, Names],
    out: Traced,
) -> None:
    """Owner of every pixel of whole tiles, and its distance to the border, at most about 28."""
    corner, start, place, names = layout
    chosen = np.empty(place.shape[0], np.int64)
    for tile_y in range(warped.shape[1] - 1):
        for tile_x in range(warped.shape[2] - 1):
            quad = warped[:, tile_y : tile_y + 2, tile_x : tile_x + 2]
            count = _gather(quad, corner, start, place, chosen)
            for i in range(TILE):
                for j in range(TILE):
                    y = _between(quad[0], 0, 0, i, j)
                    x = _between(quad[1], 0, 0, i, j)
                    distance, owner = _nearest(y, x, place, names, chosen[:count])
                    out.distance[tile_y * TILE + i, tile_x * TILE + j] = distance
                    out.owner[tile_y * TILE + i, tile_x * TILE + j] = owner


@njit(cache=True, nogil=True)
def _between(corners: Floats, tile_y: int, tile_x: int, i: int, j: int) -> float:
    """Value at pixel (i, j) of a tile, bilinear between its four corners."""
    fy, fx = i / TILE, j / TILE
    top = corners[tile_y, tile_x] * (1.0 - fx) + corners[tile_y, tile_x + 1] * fx
    low = corners[tile_y + 1, tile_x] * (1.0 - fx) + corners[tile_y + 1, tile_x + 1] * fx
    return float(top * (1.0 - fy) + low * fy)


@njit(cache=True, nogil=True)
def _gather(
    quad: Floats,
    corner: tuple[int, int],
    start: Integers,
    place: Floats,
    chosen: Integers,
) -> int:
    """The centres that can be nearest or second in a tile, in raster order of their sites.

    A score (distance less radius) differs by at most the tile's radius between its middle
    and any of its pixels, since a bilinear patch lies in the hull of its corners.
    """
    y = 0.25 * (quad[0, 0, 0] + quad[0, 0, 1] + quad[0, 1, 0] + quad[0, 1, 1])
    x = 0.25 * (quad[1, 0, 0] + quad[1, 0, 1] + quad[1, 1, 0] + quad[1, 1, 1])
    radius = 0.0
    for i in range(2):
        for j in range(2):
            dy, dx = quad[0, i, j] - y, quad[1, i, j] - x
            radius = max(radius, np.sqrt(dy * dy + dx * dx))
    row = np.int64(y // PITCH) - corner[0]
    column = np.int64(x // PITCH) - corner[1]
    count = 0
    best = np.inf
    for r in range(row - REACH, row + REACH + 1):
        for c in range(start[r, column - REACH], start[r, column + REACH + 1]):
            chosen[count] = c
            count += 1
            best = min(best, _score(y, x, place, c))
    kept = 0
    for k in range(count):
        if _score(y, x, place, chosen[k]) <= best + 2.0 * radius + _CAP:
            chosen[kept] = chosen[k]
            kept += 1
    return kept


@njit(cache=True, nogil=True)
def _score(y: float, x: float, place: Floats, c: int) -> float:
    dy, dx = y - place[c, 0], x - place[c, 1]
    return float(np.sqrt(dy * dy + dx * dx) - place[c, 2])


@njit(cache=True, nogil=True)
def _nearest(
    y: float, x: float, place: Floats, names: Names, chosen: Integers
) -> tuple[float, int]:
    """Distance to the border with the best centre of another name, and the best centre.

    The difference of two scores grows by the length of the difference of the unit vectors
    from their centres; dividing by it turns the difference into pixels.
    """
    best, second = np.inf, np.inf
    owner, rival = -1, -1
    for k in range(chosen.size):
        c = chosen[k]
        score = _score(y, x, place, c)
        if score < best:
            if owner >= 0 and names[c] != names[owner]:
                second, rival = best, owner
            best, owner = score, c
        elif score < second and names[c] != names[owner]:
            second, rival = score, c
    if rival < 0:
        return _CAP, owner
    reach = max(1e-6, best + place[owner, 2])
    other = max(1e-6, second + place[rival, 2])
    uy = (y - place[owner, 0]) / reach - (y - place[rival, 0]) / other
    ux = (x - place[owner, 1]) / reach - (x - place[rival, 1]) / other
    return min(_CAP, (second - best) / max(0.5, np.sqrt(uy * uy + ux * ux))), owner


@njit(cache=True, nogil=True)
def _ramp(value: float, low: float, high: float) -> float:
    """0 up to `low`, 1 from `high`, cubic between."""
    t = min(1.0, max(0.0, (value - low) / (high - low)))
    return t * t * (3.0 - 2.0 * t)


@njit(cache=True, nogil=True)
def shade(scene: Scene, palette: Palette) -> Bytes:
    """The band's grey values: the sum of what is at each pixel, rounded half up, clipped."""
    out: Bytes = np.empty(scene.grain.shape, np.uint8)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            row, column = i + scene.offset[0], j + scene.offset[1]
            ty, tx, py, px = row // TILE, column // TILE, row % TILE, column % TILE
            distance = np.float64(scene.traced.distance[row, column])
            owner = scene.traced.owner[row, column]
            tint, crowd = scene.traits[owner]
            y = _between(scene.smooth[0], ty, tx, py, px)
            x = _between(scene.smooth[1], ty, tx, py, px)
            cluster = _between(scene.smooth[5], ty, tx, py, px)
            body, crista = _mitochondrion(scene.mitochondria[owner], y, x)
            ring = _ring(scene, y, x, crowd * _ramp(cluster, -0.6, 0.6)) * (1.0 - body)
            inside = palette.mitochondrion * body + palette.crista * crista + palette.vesicle * ring
            synapse = _ramp(cluster, 0.45, 0.7) * (1.0 - _ramp(distance, 3.0, 15.0))
            value = palette.grey + palette.tint * tint + palette.grain * scene.grain[i, j]
            value += palette.cloud * _between(scene.smooth[2], ty, tx, py, px)
            value += palette.border * _border(scene, distance, (ty, tx), (py, px))
            value += _ramp(distance, 3.0, 8.0) * inside + palette.synapse * synapse
            out[i, j] = np.uint8(min(255.0, max(0.0, value + 0.5)))
    return out


@njit(cache=True, nogil=True)
def _border(scene: Scene, distance: float, tile: tuple[int, int], pixel: tuple[int, int]) -> float:
    """Darkness of a membrane at this distance: faint in gaps, wide and blurred where oblique."""
    gap = _ramp(_between(scene.smooth[3], tile[0], tile[1], pixel[0], pixel[1]), 0.15, 0.65)
    slant = _ramp(_between(scene.smooth[4], tile[0], tile[1], pixel[0], pixel[1]), 0.3, 0.8)
    profile = 1.0 - _ramp(distance, 1.2 + 3.0 * slant, 4.4 + 9.0 * slant)
    return float(profile * (1.0 - 0.85 * gap) * (1.0 - 0.4 * slant))


@njit(cache=True, nogil=True)
def _mitochondrion(found: Floats, y: float, x: float) -> tuple[float, float]:
    """Whether (y, x) is in a mitochondrion of its owner, and on a crista or the outer membrane."""
    for which in range(2):
        cy, cx, ey, ex, along, across = found[which]
        if along > 0.0:
            u = (y - cy) * ey + (x - cx) * ex
            v = (x - cx) * ey - (y - cy) * ex
            depth = 1.0 - np.sqrt(u * along * u * along + v * across * v * across)
            if depth > 0.0:
                phase = 0.1 * u + 0.012 * v + 0.0008 * u * v
                stripe = abs(2.0 * (phase - np.floor(phase)) - 1.0)
                edge = depth / across
                rim = 1.0 - _ramp(abs(edge - 1.5), 0.5, 2.0)
                return _ramp(edge, 0.0, 1.5), max(rim, _ramp(stripe, 0.35, 0.8) * _ramp(edge, 3, 5))
    return 0.0, 0.0


@njit(cache=True, nogil=True)
def _ring(scene: Scene, y: float, x: float, density: float) -> float:
    """Darkness of the rim of a vesicle at (y, x), when its rank is below the density there."""
    row = np.int64(y // VESICLE_PITCH) - scene.first[0]
    column = np.int64(x // VESICLE_PITCH) - scene.first[1]
    cy, cx, radius, rank = scene.vesicles[row, column]
    if density <= rank:
        return 0.0
    distance = np.sqrt((y - cy) * (y - cy) + (x - cx) * (x - cx))
    rim = 1.0 - _ramp(abs(distance - radius), 0.4, 2.0)
    return float(rim * _ramp(density - rank, 0.0, 0.1))
