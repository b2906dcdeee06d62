"""The membrane map of the volume, tile by tile on one global grid; and the drift it shows."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dcan.geometry import Box, Grid
from dcan.net.normalise import section_table
from dcan.net.predict import Predictor
from dcan.net.windows import window
from dcan.ops.drift import coarse, shift
from dcan.steps.calibrate import predictor
from dcan.steps.ingest import section_histogram
from dcan.steps.vouching import check_inputs, do_batch, do_units, working
from dcan.steps.workspace import MEMBRANE_ABSENT, Part, Workspace
from dcan.storage.receipts import Entry
from dcan.storage.tables import Pack, read_table
from dcan.storage.volumes import Store

FACTOR = 4  # pixels to a cell of the level that drift is looked for on

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
            part = Box((z, *box.start[1:]), (z + 1, *box.stop[1:]))
            with _one_at_a_time:  # the device is one; reading and writing go on beside it
                found[part.within(box)] = _section(space, network, part)
    objects = Store(space.root, "membrane.ome.zarr/0").write(box, found)
    return Entry(box.key, objects, None, {"voxels": box.size})


def predict(space: Workspace, part: Part, workers: int) -> None:
    """Predict a part of the volume's blocks."""
    check_inputs(space, "survey", "ingest", "allocate")
    do_batch(space, space.ledger("predict"), part, partial(_predict_block, space), workers)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two sections with tissue and none between them."""

    low: int
    high: int

    @property
    def key(self) -> str:
        """Names the pair."""
        return f"{self.low}-{self.high}"


def pairs(space: Workspace) -> list[Pair]:
    """The pairs of sections that links may join: at most `linking.bridge` missing between."""
    every = [Pair(a, b) for a, b in zip(space.present, space.present[1:], strict=False)]
    return [pair for pair in every if pair.high - pair.low <= space.config.linking.bridge + 1]


def _coarse(space: Workspace, z: int) -> NDArray[np.uint8]:
    """A section of the membrane map at the level for drift, read by bands of rows."""
    store = Store(space.root, "membrane.ome.zarr/0")
    _, height, width = store.shape
    band = max(1, (1 << 26) // max(1, width * FACTOR)) * FACTOR
    rows = [
        coarse(store.read(Box((z, y, 0), (z + 1, min(y + band, height), width)))[0], FACTOR)
        for y in range(0, height, band)
    ]
    return np.concatenate(rows)


def _drift_pair(space: Workspace, pack: Pack, pair: Pair) -> Entry:
    bound = space.config.linking.drift // FACTOR
    dy, dx = shift(_coarse(space, pair.low), _coarse(space, pair.high), bound)
    moved = np.array([dy * FACTOR, dx * FACTOR], np.int64)
    return Entry(pair.key, (), pack.append({"shift": moved}))


def drift(space: Workspace, workers: int) -> None:
    """Find the shift of each section against the one before it."""
    with working(space, "drift"):
        check_inputs(space, "predict")
        ledger = space.ledger("drift")
        units = pairs(space)
        do_units(space, ledger, units, partial(_drift_pair, space), workers)
        ledger.seal([pair.key for pair in units])


def shifts(space: Workspace) -> dict[str, tuple[int, int]]:
    """(dy, dx) of each pair: where a pixel of the lower section lies in the higher one."""
    found = {}
    for entry in space.receipt("drift").entries:
        if entry.table is not None:
            dy, dx = read_table(space.root, entry.table)["shift"]
            found[entry.key] = (int(dy), int(dx))
    return found
