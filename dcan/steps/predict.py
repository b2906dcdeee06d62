"""The membrane map of the volume, tile by tile on one global grid.

    reader: windows of a block  -->  queue  -->  device  -->  tiles  -->  writer: the block

A block's thread reads and normalises its windows and writes its map; the devices take windows
of whichever block. Two blocks are under way at least, so that one is read while the other is
written, and no device waits for either.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcan.engine.feeding import Feed
from dcan.geometry import Box
from dcan.net.normalise import as_wanted, section_table
from dcan.net.windows import window
from dcan.steps.devices import devices
from dcan.steps.ingest import section_histogram
from dcan.steps.maps import copied, copy_block
from dcan.steps.mask import blank, tile_grid, tissue_tiles
from dcan.steps.resolve import predictor
from dcan.steps.vouching import Adoption, check_inputs, do_batch
from dcan.steps.workspace import MEMBRANE_ABSENT, Part, Workspace
from dcan.storage.objects import Stored, write_text
from dcan.storage.receipts import Entry
from dcan.storage.tables import Pack
from dcan.storage.volumes import Store

Windows = NDArray[np.float32]
Tiles = NDArray[np.uint8]

THREADS = 2  # a GPU: one brings a window and takes a tile away while the other's is computed

_log = logging.getLogger("dcan")


@dataclass
class _Devices:
    """The devices of this process, with the ensemble on each, and what they have done."""

    feed: Feed[Windows, Tiles]
    names: list[str]
    voxels: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _said: float = field(default_factory=time.monotonic)

    @classmethod
    @contextmanager
    def taken(cls, space: Workspace, gpus: int) -> Iterator[_Devices]:
        """Devices of the job in the body, given back whatever ends it."""
        record, halo = space.receipt("resolve").values, space.config.prediction.halo
        with devices(record, gpus) as names:
            networks = [predictor(space, device=name) for name in names]
            threads = THREADS if record["device"] == "cuda" else 1
            feed = Feed([partial(network.tile, halo=halo) for network in networks * threads])
            with closing(feed):
                yield cls(feed, names)

    def done(self, voxels: int) -> None:
        """Count voxels; says every few seconds how fast and how busy the devices are."""
        with self._lock:
            self.voxels += voxels
            if time.monotonic() - self._said < 5:
                return
            self._said = time.monotonic()
        found = self.record()
        _log.info(
            "predict: %.3g Mvoxel, %.3g Mvoxel/s, device busy %.0f%%",
            *(found["voxels"] / 1e6, found["voxels_per_second"] / 1e6, 100 * found["busy"]),
        )

    def record(self) -> dict[str, Any]:
        """What was done, for the job's benchmark."""
        seconds, busy = self.feed.look()
        return {
            "devices": self.names,
            "voxels": self.voxels,
            "seconds": seconds,
            "voxels_per_second": self.voxels / seconds if seconds else 0.0,
            "busy": busy,
        }


def _windows(space: Workspace, tiles: Sequence[Box]) -> Iterator[tuple[Box, Windows]]:
    """Some tiles in raster order, and what the network sees for each, normalised."""
    given, em = space.config.prediction, Store(space.root, "em.ome.zarr/0")
    wanted = space.config.model.normalisation
    for z, section in groupby(tiles, lambda tile: tile.start[0]):
        table = as_wanted(section_table(section_histogram(space, z)), wanted)
        for tile in section:
            yield tile, table[window(em.read, space.shape, tile, given.tile, given.halo)][None]


def _predict_block(space: Workspace, running: _Devices, pack: Pack, box: Box) -> Entry:
    found, tiles = np.full(box.shape, MEMBRANE_ABSENT, np.uint8), tissue_tiles(space, box)
    if tiles:
        _fill(space, running, tiles, box, found)
        blank(space, box, found)
    return _entry(space, box, tiles, Store(space.root, "membrane.ome.zarr/0").write(box, found))


def _fill(
    space: Workspace, running: _Devices, tiles: Sequence[Box], box: Box, found: Tiles
) -> None:
    """Put the membrane map of some tiles of a block into that of the block."""
    waiting: deque[tuple[Box, Future[Tiles]]] = deque()

    def take() -> None:
        tile, future = waiting.popleft()
        _, height, width = tile.shape
        found[tile.within(box)] = future.result()[:, :height, :width]
        running.done(tile.size)

    for tile, seen in _windows(space, tiles):
        waiting.append((tile, running.feed.submit(seen)))
        while waiting and waiting[0][1].done():
            take()
    while waiting:
        take()


def _adopted(space: Workspace, box: Box, objects: tuple[Stored, ...]) -> Entry:
    return _entry(space, box, tissue_tiles(space, box), objects)


def _entry(space: Workspace, box: Box, tiles: Sequence[Box], objects: tuple[Stored, ...]) -> Entry:
    """What a predicted block is recorded as; `voxels` are those that the network was asked for."""
    counts = {
        "voxels": sum(tile.size for tile in tiles),
        "tiles_predicted": len(tiles),
        "tiles_skipped": sum(1 for _ in tile_grid(space).touching(box)) - len(tiles),
    }
    return Entry(box.key, objects, None, counts, skipped=not tiles)


def predict(space: Workspace, part: Part, workers: int, gpus: int = 1) -> None:
    """Predict a part of the volume's blocks, or copy them where a map is given.

    `gpus`: how many this job was given; each computes with the whole ensemble. The devices are
    the job's, so blocks are on its own threads, whatever `engine.scheduler` there is.
    """
    check_inputs(space, "survey", "ingest", "allocate")
    ledger, written = space.ledger("predict"), Store(space.root, "membrane.ome.zarr/0").objects
    if given := space.config.membrane:
        adoption = Adoption(written, partial(copied, space))
        do_batch(space, ledger, part, partial(copy_block, space, given), workers, adoption)
        return
    adoption, here = Adoption(written, partial(_adopted, space)), space.on_threads()
    with _Devices.taken(space, gpus) as running:
        work = partial(_predict_block, space, running)
        do_batch(here, ledger, part, work, max(2, workers), adoption)
        if running.voxels:
            _keep(space, part, running.record())


def _keep(space: Workspace, part: Part, record: Mapping[str, Any]) -> None:
    path = space.root / "benchmarks" / f"predict-{part.index}.json"
    write_text(path, json.dumps(record) + "\n")
