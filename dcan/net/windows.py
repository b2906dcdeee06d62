"""What the network sees for a tile: real neighbours inside the volume, reflection outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dcan.errors import DcanError
from dcan.geometry import Box, Triple

T = TypeVar("T", bound=np.generic)


def reflect(index: NDArray[np.intp], length: int) -> NDArray[np.intp]:
    """Where each index lands in 0 .. length - 1, half-sample symmetric, repeated as needed.

    >>> reflect(np.arange(-3, 6), 3).tolist()
    [2, 1, 0, 0, 1, 2, 2, 1, 0]
    """
    folded = index % (2 * length)
    return np.minimum(folded, 2 * length - 1 - folded)


def window(
    read: Callable[[Box], NDArray[T]], shape: Triple, tile_box: Box, tile: int, halo: int
) -> NDArray[T]:
    """The window of one tile: (tile + 2 halo) on both axes, of the dtype that `read` gives.

        |<------------ window ------------>|
        | halo |         tile       | halo |
        |      | tile_box | ragged  |      |
                          ^ the volume's face: from here on reflected

    `tile_box`: a box of the tile grid, one section deep; a ragged last one is filled up by
    reflection, so that all windows have one shape. `read(box)` gives the voxels (1, y, x) of a
    box inside the volume and is called once, for the least box that holds what is needed.

    Equal to the same place of the whole section padded with `np.pad(mode="symmetric")`.
    """
    sides = tile_box.shape
    if sides[0] != 1 or min(tile_box.start) < 0 or min(sides) < 1 or max(sides) > tile:
        raise ValueError(f"box {tile_box.key} is not a tile of {tile} pixels of one section")
    z = tile_box.start[0]
    y, x = (
        reflect(np.arange(start - halo, start + tile + halo), length)
        for start, length in zip(tile_box.start[1:], shape[1:], strict=True)
    )
    box = Box((z, int(y.min()), int(x.min())), (z + 1, int(y.max()) + 1, int(x.max()) + 1))
    voxels = read(box)
    if voxels.shape != box.shape:
        raise ValueError(f"box {box.key} was read as shape {voxels.shape}")
    found: NDArray[T] = voxels[0][np.ix_(y - box.start[1], x - box.start[2])]
    return found


def check_grid(tile: int, halo: int, least: int, multiple: int) -> None:
    """Refuse a tile grid on which a tile would depend on where it lies.

    Raises DcanError: tile or halo is not a multiple of `multiple`, or halo is below `least`,
    the network's reach.
    """
    for name, value in (("tile", tile), ("halo", halo)):
        if value < multiple or value % multiple:
            raise DcanError(
                f"prediction.{name} is {value}: the network pools {multiple} pixels into one, "
                f"give a multiple of {multiple}"
            )
    if halo < least:
        raise DcanError(
            f"prediction.halo is {halo}: an output pixel reads {least} pixels far, give "
            f"{-(-least // multiple) * multiple} or more"
        )
