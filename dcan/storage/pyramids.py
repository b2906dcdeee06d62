"""Pyramids of OME-Zarr 0.5: shapes of levels, their metadata, a level from the one below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dcan.geometry import Box, Triple

Kind = Literal["image", "labels"]
SMALLEST = 512  # a level whose section fits into this square is the last of a pyramid

Array = NDArray[Any]


def level_shapes(shape: Triple) -> list[Triple]:
    """Shapes of a pyramid's levels: rows and columns halve (rounded up), sections stay."""
    shapes = [shape]
    while max(shapes[-1][1:]) > SMALLEST:
        depth, height, width = shapes[-1]
        shapes.append((depth, -(-height // 2), -(-width // 2)))
    return shapes


def _scales(voxel_size: Sequence[float], levels: int, *, centred: bool) -> list[dict[str, Any]]:
    """OME-Zarr datasets: scale in nm, and where the first voxel's centre moved by averaging."""
    z, y, x = voxel_size
    datasets = []
    for level in range(levels):
        shift = (2**level - 1) / 2 if centred else 0.0
        transforms = [
            {"type": "scale", "scale": [z, y * 2**level, x * 2**level]},
            {"type": "translation", "translation": [0.0, y * shift, x * shift]},
        ]
        datasets.append({"path": str(level), "coordinateTransformations": transforms})
    return datasets


def multiscales(name: str, voxel_size: Sequence[float], levels: int, kind: Kind) -> dict[str, Any]:
    """The `ome` attribute of a pyramid, OME-Zarr 0.5 (https://ngff.openmicroscopy.org/0.5)."""
    axes = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    scale = {
        "name": name,
        "axes": axes,
        "datasets": _scales(voxel_size, levels, centred=kind == "image"),
        "type": "mean" if kind == "image" else "nearest",
    }
    ome: dict[str, Any] = {"version": "0.5", "multiscales": [scale]}
    if kind == "labels":
        ome["image-label"] = {"source": {"image": "../../"}}
    return {"ome": ome}


def coarsen(voxels: Array, kind: Kind) -> Array:
    """One level up: rows and columns in pairs.

    An image takes the mean of the pixels that there are (round half up), labels the first
    of them, which never makes an id that was not there.
    """
    if kind == "labels":
        return np.ascontiguousarray(voxels[:, ::2, ::2])
    _, height, width = voxels.shape
    wide = voxels.astype(np.uint32)
    padded = np.pad(wide, ((0, 0), (0, height % 2), (0, width % 2)), mode="edge")
    total = (
        padded[:, ::2, ::2] + padded[:, 1::2, ::2] + padded[:, ::2, 1::2] + padded[:, 1::2, 1::2]
    )
    return ((total + 2) // 4).astype(voxels.dtype)


def finer(box: Box, shape: Triple) -> Box:
    """The voxels of the level below, of this shape, that a box of a level is made from."""
    (z, y, x), (d, h, w) = box.start, box.stop
    return Box((z, 2 * y, 2 * x), (d, 2 * h, 2 * w)).intersect(Box.whole(shape))
