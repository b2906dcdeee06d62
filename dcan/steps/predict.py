"""The membrane map of the volume, tile by tile on one global grid."""

from __future__ import annotations

import threading
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dcan.geometry import Box, Grid
from dcan.net.normalise import section_table
from dcan.net.predict import Predictor
from dcan.net.windows import window
from dcan.steps.ingest import section_histogram
from dcan.steps.maps import copy_block
from dcan.steps.resolve import predictor
from dcan.steps.vouching import check_inputs, do_batch
from dcan.steps.workspace import MEMBRANE_ABSENT, Part, Workspace
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


def _section(space: Workspace, network: Predictor, box: Box) -> NDArray[np.uint8]:
    """The membrane map of the part of one section that a block writes."""
    z = box.start[0]
    given = space.config.prediction
    em = Store(space.root, "em.ome.zarr/0")
    table = section_table(section_histogram(space, z))
    found = np.empty(box.shape, np.uint8)
    grid = Grid(space.shape, (1, given.tile, given.tile))
    for tile in grid.touching(box):
        seen = table[window(em.read, space.shape, tile, given.tile, given.halo)]
        _, height, width = tile.shape
        found[tile.within(box)] = network.tile(seen[None], given.halo)[:, :height, :width]
    return found


def _predict_block(space: Workspace, pack: Pack, box: Box) -> Entry:
    network = _network(space)
    found = np.full(box.shape, MEMBRANE_ABSENT, np.uint8)
    for z in range(box.start[0], box.stop[0]):
        if z not in space.missing:
            part = box.section(z)
            with _one_at_a_time:  # the device is one; reading and writing go on beside it
                found[part.within(box)] = _section(space, network, part)
    objects = Store(space.root, "membrane.ome.zarr/0").write(box, found)
    return Entry(box.key, objects, None, {"voxels": box.size})


def predict(space: Workspace, part: Part, workers: int) -> None:
    """Predict a part of the volume's blocks, or copy them where a map is given."""
    check_inputs(space, "survey", "ingest", "allocate")
    given = space.config.membrane
    work = partial(copy_block, space, given) if given else partial(_predict_block, space)
    written = Store(space.root, "membrane.ome.zarr/0").objects
    do_batch(space, space.ledger("predict"), part, work, workers, written)
