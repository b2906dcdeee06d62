"""The shift of each section against the one before it, from the membrane map."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dcan.geometry import Box
from dcan.ops.drift import coarse, shift
from dcan.steps.vouching import check_inputs, do_units, working
from dcan.steps.workspace import Workspace
from dcan.storage.receipts import Entry
from dcan.storage.tables import Pack, read_table
from dcan.storage.volumes import Store

FACTOR = 2  # pixels to a cell of the level that drift is looked for on


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
    band = -(-store.layout.chunk[1] // FACTOR) * FACTOR  # whole chunks where they are even
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
