"""A membrane map that was made elsewhere, as the stages after it want it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dcan.config.model import Membrane
from dcan.errors import DcanError
from dcan.geometry import Box
from dcan.steps.mask import blank, empty
from dcan.steps.sources import kept_open
from dcan.steps.workspace import Workspace
from dcan.storage.objects import Stored
from dcan.storage.receipts import Entry
from dcan.storage.tables import Pack
from dcan.storage.volumes import Store


def read_map(space: Workspace, given: Membrane, box: Box) -> NDArray[np.uint8]:
    """The given map in a box of the volume: uint8, 255 = membrane, and where there is no tissue.

    A floating point p becomes 255 p rounded half up. Raises DcanError, naming the voxel, for
    one that is not in 0..1.
    """
    values = kept_open(space.config, "membrane").read(box)
    if values.dtype != np.uint8:
        values = _levels(values, box)
    found: NDArray[np.uint8] = 255 - values if given.white == "neurite" else values
    blank(space, box, found)
    return found


def _levels(values: NDArray[np.floating], box: Box) -> NDArray[np.uint8]:
    """As they are stored; section by section, since what is made on the way takes 8 bytes each."""
    found = np.empty(values.shape, np.uint8)
    whole, half = values.dtype.type(255), values.dtype.type(0.5)
    for z, section in enumerate(values):
        inside = (section >= 0) & (section <= 1)
        if not inside.all():
            y, x = divmod(int(np.argmin(inside)), section.shape[1])
            voxel = tuple(a + b for a, b in zip(box.start, (z, y, x), strict=True))
            raise DcanError(
                f"membrane.source holds {section[y, x]} at voxel {voxel}: floating point "
                "probabilities are 0 to 1, scale them"
            )
        found[z] = np.floor(section * whole + half)
    return found


def copy_block(space: Workspace, given: Membrane, pack: Pack, box: Box) -> Entry:
    """Write a block of the given map into the membrane store."""
    found = read_map(space, given, box)
    return copied(space, box, Store(space.root, "membrane.ome.zarr/0").write(box, found))


def copied(space: Workspace, box: Box, objects: tuple[Stored, ...]) -> Entry:
    """What a block of the given map is recorded as."""
    skipped = empty(space, box)
    return Entry(box.key, objects, None, {"voxels": 0 if skipped else box.size}, skipped)
