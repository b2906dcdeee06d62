"""The membrane map of the volume, tile by tile on one global grid."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from dcan.geometry import Box
from dcan.net.normalise import section_table
from dcan.net.predict import Predictor
from dcan.net.windows import window
from dcan.steps.ingest import section_histogram
from dcan.steps.maps import copied, copy_block
from dcan.steps.mask import blank, tile_grid, tissue_tiles
from dcan.steps.resolve import predictor
from dcan.steps.vouching import Adoption, check_inputs, do_batch
from dcan.steps.workspace import MEMBRANE_ABSENT, Part, Workspace
from dcan.storage.objects import Stored
from dcan.storage.receipts import Entry
from dcan.storage.tables import Pack
from dcan.storage.volumes import Store

_one_at_a_time = threading.Lock()
_networks: dict[str, Predictor] = {}


def _network(space: Workspace) -> Predictor:
    """The ensemble, loaded once in a process."""
    key = space.fingerprint("predict")
    with _one_at_a_time:
        if key not in _networks:
            _networks[key] = predictor(space)
        return _networks[key]


def _tile(
    space: Workspace, network: Predictor, table: NDArray[np.float32], tile: Box
) -> NDArray[np.uint8]:
    """The membrane map of one tile, normalised by the `table` of its section."""
    given = space.config.prediction
    em = Store(space.root, "em.ome.zarr/0")
    seen = table[window(em.read, space.shape, tile, given.tile, given.halo)]
    _, height, width = tile.shape
    return network.tile(seen[None], given.halo)[:, :height, :width]


def _fill(space: Workspace, tiles: Sequence[Box], box: Box, found: NDArray[np.uint8]) -> None:
    """Put the membrane map of some tiles of a block into that of the block."""
    network = _network(space)
    for z, section in groupby(tiles, lambda tile: tile.start[0]):
        table = section_table(section_histogram(space, z))
        with _one_at_a_time:  # the device is one; reading and writing go on beside it
            for tile in section:
                found[tile.within(box)] = _tile(space, network, table, tile)


def _predict_block(space: Workspace, pack: Pack, box: Box) -> Entry:
    found = np.full(box.shape, MEMBRANE_ABSENT, np.uint8)
    if tiles := tissue_tiles(space, box):
        _fill(space, tiles, box, found)
        blank(space, box, found)
    return _entry(space, box, Store(space.root, "membrane.ome.zarr/0").write(box, found))


def _entry(space: Workspace, box: Box, objects: tuple[Stored, ...]) -> Entry:
    """What a predicted block is recorded as; `voxels` are those that the network was asked for."""
    tiles = tissue_tiles(space, box)
    counts = {
        "voxels": sum(tile.size for tile in tiles),
        "tiles_predicted": len(tiles),
        "tiles_skipped": sum(1 for _ in tile_grid(space).touching(box)) - len(tiles),
    }
    return Entry(box.key, objects, None, counts, skipped=not tiles)


def predict(space: Workspace, part: Part, workers: int) -> None:
    """Predict a part of the volume's blocks, or copy them where a map is given."""
    check_inputs(space, "survey", "ingest", "allocate")
    if given := space.config.membrane:
        work, entry = partial(copy_block, space, given), partial(copied, space)
    else:
        work, entry = partial(_predict_block, space), partial(_entry, space)
    written = Adoption(Store(space.root, "membrane.ome.zarr/0").objects, entry)
    do_batch(space, space.ledger("predict"), part, work, workers, written)
