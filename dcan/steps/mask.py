"""Where a volume has tissue: the mask in its boxes, and what the mask leaves empty."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcan.errors import DcanError
from dcan.geometry import Box, Grid, Triple
from dcan.ops.frames import Mask
from dcan.ops.masking import factors, spread, under
from dcan.steps.sources import kept_open
from dcan.steps.workspace import MEMBRANE_ABSENT, Workspace
from dcan.storage.sources import Source

BAND = 1 << 24  # pixels of a mask that are looked at together


def factor_of(mask: Triple, volume: Triple) -> int:
    """How many pixels of the volume, along y and along x, a pixel of its mask stands for.

    Where several would do it is the one that divides both sides. Raises DcanError when there is
    none, or none of them does.
    """
    found = factors(volume, mask)
    given = f"volume.mask has shape {list(mask)}, the volume has {list(volume)}"
    if not found:
        raise DcanError(
            f"{given}: give as many sections, and rows and columns as many or ceil(n / k), with "
            "one whole k for both"
        )
    k = found[0]
    if len(found) > 1 and any(n != m * k for n, m in zip(volume[1:], mask[1:], strict=True)):
        raise DcanError(
            f"{given}: each of its pixels may stand for {k} to {found[-1]} of the volume's along "
            "y and x: give a finer mask, of which one number only can be true"
        )
    return k


def look(mask: Source, volume: Triple) -> dict[str, Any]:
    """The factor of a mask, and the sections that it leaves empty.

    Raises DcanError when it does not fit the volume, or leaves every section empty.
    """
    k = factor_of(mask.shape, volume)
    depth, height, width = mask.shape
    rows = max(1, min(height, BAND // width))
    empty = [
        z
        for z in range(depth)
        if not any(
            mask.read(Box((z, band.start[1], 0), (z + 1, band.stop[1], width))).any()
            for band in Grid((1, height, width), (1, rows, width))
        )
    ]
    if len(empty) == depth:
        raise DcanError(
            "volume.mask is 0 everywhere, which is no tissue: give one that is not 0 where "
            "there is tissue"
        )
    return {"factor": k, "empty": empty}


def tissue(space: Workspace, box: Box) -> Mask | None:
    """Where a box of the volume has tissue by its mask: bool, of its shape; None without a mask."""
    if space.config.volume.mask is None:
        return None
    k = space.found_of("mask")["factor"]
    return spread(kept_open(space.config, "mask").read(under(box, k)), box, k)


def section_tissue(space: Workspace, box: Box) -> Mask | None:
    """As `tissue`, of a box in one section: (y, x)."""
    found = tissue(space, box)
    return None if found is None else found[0]


def tile_grid(space: Workspace) -> Grid:
    """The tiles of the volume, whatever its blocks are."""
    side = space.config.prediction.tile
    return Grid(space.shape, (1, side, side))


def tissue_tiles(space: Workspace, box: Box) -> list[Box]:
    """The tiles of a block that the network is asked for, in raster order.

    Those of the others lie in sections without tissue, or hold no pixel of the mask.
    """
    grid = tile_grid(space)
    found = []
    for z in range(box.start[0], box.stop[0]):
        if z not in space.missing:
            section = box.section(z)
            inside = tissue(space, section)
            found += [
                tile
                for tile in grid.touching(section)
                if inside is None or inside[tile.within(section)].any()
            ]
    return found


def empty(space: Workspace, box: Box) -> bool:
    """Whether no pixel of a box has tissue."""
    sections = [box.section(z) for z in range(box.start[0], box.stop[0]) if z not in space.missing]
    inside = (tissue(space, section) for section in sections)
    return not any(part is None or part.any() for part in inside)


def blank(space: Workspace, box: Box, membrane: NDArray[np.uint8]) -> None:
    """Make a box of the membrane map 255 where the volume has no tissue, in place."""
    for z in range(box.start[0], box.stop[0]):
        section = box.section(z)
        part = membrane[section.within(box)]
        if z in space.missing:
            part[...] = MEMBRANE_ABSENT
        elif (inside := tissue(space, section)) is not None:
            part[~inside] = MEMBRANE_ABSENT
