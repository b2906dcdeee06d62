"""A membrane map that was made elsewhere, as the stages after it want it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dcan.config.model import Membrane
from dcan.errors import DcanError
from dcan.geometry import Box
from dcan.steps.sources import place_of
from dcan.steps.workspace import MEMBRANE_ABSENT, Workspace
from dcan.storage.receipts import Entry
from dcan.storage.sources import Source, SourceSpec, open_source
from dcan.storage.tables import Pack
from dcan.storage.volumes import Store


@lru_cache(maxsize=4)
def _opened(place: SourceSpec) -> Source:
    """One open source for all blocks of this process."""
    return open_source(place, "map")


def read_map(space: Workspace, given: Membrane, box: Box) -> NDArray[np.uint8]:
    """The given map in a box of the volume: uint8, 255 = membrane; missing sections are too.

    A floating point p becomes 255 p rounded half up. Raises DcanError, naming the voxel, for
    one that is not in 0..1.
    """
    values = _opened(place_of(space.config, "membrane")[0]).read(box)
    if values.dtype != np.uint8:
        inside = (values >= 0) & (values <= 1)
        if not inside.all():
            at = np.unravel_index(int(np.argmin(inside)), values.shape)
            voxel = tuple(int(a + b) for a, b in zip(box.start, at, strict=True))
            raise DcanError(
                f"membrane.source holds {values[at]} at voxel {voxel}: floating point "
                "probabilities are 0 to 1, scale them"
            )
        values = np.floor(values * values.dtype.type(255) + values.dtype.type(0.5)).astype(np.uint8)
    found: NDArray[np.uint8] = 255 - values if given.white == "neurite" else values
    for z in space.missing:
        if box.start[0] <= z < box.stop[0]:
            found[z - box.start[0]] = MEMBRANE_ABSENT
    return found


def copy_block(space: Workspace, given: Membrane, pack: Pack, box: Box) -> Entry:
    """Write a block of the given map into the membrane store."""
    found = read_map(space, given, box)
    objects = Store(space.root, "membrane.ome.zarr/0").write(box, found)
    return Entry(box.key, objects, None, {"voxels": box.size})
