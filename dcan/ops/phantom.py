"""A synthetic volume of serial sections with its truth, as a function of seed and coordinates.

The pixel that an image shows at (y, x) of section z is tissue at (y, x) minus the drift of z.
Tissue is bent by a smooth warp, then divided among the centres of the section: a pixel is of
the centre whose distance minus radius is least (an additively weighted Voronoi diagram; ties
to the first in raster order of the sites). Membranes lie where two neurites are equally near.
Work is done in tiles fixed in the tissue, so that a box never changes what a pixel is made of.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dcan.geometry import Box, Triple
from dcan.ops import tissue
from dcan.ops.noise import Floats, Hashes, curves, grain, hashes, parts, relief, streams
from dcan.ops.rendering import (
    REACH,
    TILE,
    VESICLE_PITCH,
    Bytes,
    Palette,
    Scene,
    Traced,
    shade,
    trace,
)

BAND = 128
"""Rows made at a time, which bounds memory beside the result."""

_DRIFT, _SECTION, _GRAIN, _VESICLE = (tissue.STREAMS + i for i in range(4))
_WARP, _RELIEF = tissue.STREAMS + 4, tissue.STREAMS + 10
_STREAMS = tissue.STREAMS + 14
_SHIFT = tissue.MARGIN * tissue.PITCH
_LARGEST_DRIFT = 12
_WARPS = ((24.0, 200.0, 40.0), (9.0, 84.0, 12.0), (4.0, 40.0, 6.0))
"""Amplitude in pixels, wavelength in pixels and in sections."""
_RELIEFS = ((70.0, 3.0), (24.0, 1.0), (60.0, 1.5), (55.0, 3.0))
"""Wavelength in pixels and in sections: cloudy brightness, gaps, oblique stretches, clusters."""

_EM = Palette(
    grey=156.0, cloud=13.0, tint=8.0, border=-98.0, mitochondrion=-34.0,
    crista=-40.0, vesicle=-60.0, synapse=-52.0, grain=19.0,
)  # fmt: skip
_MEMBRANE = Palette(
    grey=12.0, cloud=5.0, tint=0.0, border=232.0, mitochondrion=10.0,
    crista=85.0, vesicle=60.0, synapse=50.0, grain=14.0,
)  # fmt: skip


class Rendered(NamedTuple):
    """A box of the phantom: `em` uint8 and `neurites` uint32, axes (z, y, x)."""

    em: Bytes
    neurites: npt.NDArray[np.uint32]


def render(shape: Triple, seed: int, box: Box) -> Rendered:
    """Image and truth of `box` of the phantom of `shape`: both of box.shape.

    Every voxel of a present section has a neurite, > 0, unique over the volume; at a missing
    section both are 0. The voxels are those of the whole volume at that place, whatever the
    box. Raises DcanError for a shape with an empty axis or too many neurites for uint32;
    ValueError for a box that leaves the volume.
    """
    _check_box(shape, box)
    rendered = Rendered(np.zeros(box.shape, np.uint8), np.zeros(box.shape, np.uint32))
    missing = missing_sections(shape, seed)
    for band, scene, names in _scenes(shape, seed, box):
        z = band.start[0]
        if z not in missing:
            inside = band.within(box)
            rendered.em[inside][0] = shade(scene, _exposed(shape, seed, z))
            dy, dx = scene.offset
            owner = scene.traced.owner[dy : dy + band.shape[1], dx : dx + band.shape[2]]
            rendered.neurites[inside][0] = names[owner]
    return rendered


def membrane(shape: Triple, seed: int, box: Box) -> Bytes:
    """A map such as a network might give for `render`: uint8 of box.shape, 255 = membrane.

    A ridge along the borders of neurites with gaps, noise, and false membranes in
    mitochondria and vesicles; 255 at a missing section. Raises as `render` does.
    """
    _check_box(shape, box)
    out = np.full(box.shape, 255, np.uint8)
    missing = missing_sections(shape, seed)
    for band, scene, _ in _scenes(shape, seed, box):
        if band.start[0] not in missing:
            out[band.within(box)][0] = shade(scene, _MEMBRANE)
    return out


def missing_sections(shape: Triple, seed: int) -> tuple[int, ...]:
    """Sections that were lost: one, at 2/3 of the depth, in volumes of 6 sections or more."""
    return (2 * shape[0] // 3,) if shape[0] >= 6 else ()


def dark_sections(shape: Triple, seed: int) -> tuple[int, ...]:
    """Sections of low brightness and contrast: one, at 1/4, in volumes of 6 sections or more."""
    return (shape[0] // 4,) if shape[0] >= 6 else ()


def drift(seed: int, z: int) -> tuple[int, int]:
    """How far the image of section z lies from the tissue, (y, x) in pixels.

    Within +-12, and at most 3 from that of the next section.
    """
    key = streams(seed, _STREAMS)[_DRIFT]
    jitter = parts(hashes(key, z, 1, 0))
    smooth = curves(key, z / 8, 0, 0)
    dy, dx = (round(float(12 * smooth[i][0] + 0.74 * jitter[i][0] - 0.37)) for i in (0, 1))
    return dy, dx


def check(shape: Triple) -> None:
    """Raises DcanError for a shape with an empty axis or too many neurites for uint32."""
    tissue.lattice(shape)


def _check_box(shape: Triple, box: Box) -> None:
    check(shape)
    if not Box.whole(shape).contains(box):
        raise ValueError(f"box {box.key} leaves the volume of shape {shape}")


def _exposed(shape: Triple, seed: int, z: int) -> Palette:
    """The palette of images under the brightness and contrast of section z."""
    low, high, _, _ = parts(hashes(streams(seed, _STREAMS)[_SECTION], z, 0, 0))
    gain, middle = 0.85 + 0.3 * float(low[0]), 118.0 + 24.0 * float(high[0])
    if z in dark_sections(shape, seed):
        gain, middle = 0.5 * gain, 58.0
    palette = Palette(*(gain * value for value in _EM))
    return palette._replace(grey=palette.grey + middle - 128.0 * gain)


def _scenes(shape: Triple, seed: int, box: Box) -> Iterator[tuple[Box, Scene, tissue.Names]]:
    """The bands of a box, each with its scene and the names of the scene's centres."""
    if box.size == 0:
        return
    keys = streams(seed, _STREAMS)
    (z0, y0, x0), (z1, y1, x1) = box.start, box.stop
    found = tissue.sites(keys, shape, _cells(y0, y1), _cells(x0, x1))
    for z in range(z0, z1):
        centres = tissue.centres(keys, found, z)
        for top in range(y0, y1, BAND):
            band = Box((z, top, x0), (z + 1, min(top + BAND, y1), x1))
            yield band, _scene(keys, drift(seed, z), centres, band), centres.names


def _cells(start: int, stop: int) -> range:
    """The lattice cells whose centres can matter to the pixels start..stop of an axis."""
    stray = _LARGEST_DRIFT + TILE + int(sum(amplitude for amplitude, _, _ in _WARPS))
    first = (start + _SHIFT - stray) // tissue.PITCH - REACH
    last = (stop + _SHIFT + stray) // tissue.PITCH + REACH
    return range(first, last + 1)


def _scene(keys: Hashes, moved: tuple[int, int], centres: tissue.Centres, band: Box) -> Scene:
    z, height, width = band.start[0], *band.shape[1:]
    y0, x0 = (a + _SHIFT - d for a, d in zip(band.start[1:], moved, strict=True))
    ys, xs = _corners(y0, height), _corners(x0, width)
    warped = _warp(keys, z, ys, xs)
    shape = (TILE * (len(ys) - 1), TILE * (len(xs) - 1))
    traced = Traced(np.empty(shape, np.float32), np.empty(shape, np.int32))
    layout = (centres.corner, centres.start, centres.place, centres.names)
    trace(warped, layout, traced)
    reliefs = [
        relief(keys[_RELIEF + i], z / deep, ys / wide, xs / wide)
        for i, (wide, deep) in enumerate(_RELIEFS)
    ]
    offset = (y0 % TILE, x0 % TILE)
    speckle = grain(keys[_GRAIN], z, (y0, x0), (height, width))
    vesicles, first = _vesicles(keys[_VESICLE], z, warped)
    return Scene(
        offset, np.concatenate([warped, reliefs]), traced, centres.traits,
        centres.mitochondria, vesicles, first, speckle,
    )  # fmt: skip


def _corners(start: int, count: int) -> Floats:
    """Coordinates of the corners of the whole tiles around `count` pixels from `start`."""
    return np.arange(start // TILE, (start + count - 1) // TILE + 2, dtype=np.float64) * TILE


def _warp(keys: Hashes, z: int, ys: Floats, xs: Floats) -> Floats:
    """Where the corners of the tiles come from: float64 (2, y, x), coordinates y and x."""
    bent = np.stack(np.broadcast_arrays(ys[:, None], xs[None, :]))
    for i, (amplitude, wide, deep) in enumerate(_WARPS):
        for axis in (0, 1):
            key = keys[_WARP + 2 * i + axis]
            bent[axis] += amplitude * relief(key, z / deep, ys / wide, xs / wide)
    return bent


def _vesicles(key: np.uint64, z: int, warped: Floats) -> tuple[Floats, tuple[int, int]]:
    """One to a cell of 15 pixels: float64 (y, x, 4), place, radius, rank; and the first cell."""
    low = [int(axis.min() // VESICLE_PITCH) - 1 for axis in warped]
    high = [int(axis.max() // VESICLE_PITCH) + 2 for axis in warped]
    rows, columns = np.arange(low[0], high[0])[:, None], np.arange(low[1], high[1])
    jitter_y, jitter_x, size, rank = parts(hashes(key, z, rows, columns))
    y = (rows + 0.37 + 0.26 * jitter_y) * VESICLE_PITCH
    x = (columns + 0.37 + 0.26 * jitter_x) * VESICLE_PITCH
    return np.stack([y, x, 3.0 + 1.7 * size, rank], -1), (low[0], low[1])
