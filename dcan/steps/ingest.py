"""From any source to OME-Zarr, with the histograms that normalisation is made from."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcan.engine.blocks import over
from dcan.errors import DcanError
from dcan.geometry import Box, Grid
from dcan.net.normalise import histogram
from dcan.steps.mask import tissue
from dcan.steps.probe import STORES
from dcan.steps.sources import kept_open
from dcan.steps.vouching import Progress, check_inputs, do_batch, do_units, vouch, working
from dcan.steps.workspace import Part, Workspace
from dcan.storage.pyramids import coarsen, finer
from dcan.storage.receipts import Entry, Ledger
from dcan.storage.tables import Pack, read_table
from dcan.storage.volumes import Store

Histogram = NDArray[np.int64]


def _ingest_block(space: Workspace, pack: Pack, box: Box) -> Entry:
    voxels = kept_open(space.config, "volume").read(box)
    objects = Store(space.root, "em.ome.zarr/0").write(box, voxels)
    tables: dict[str, NDArray[Any]] = {}
    for z, section in zip(range(box.start[0], box.stop[0]), voxels, strict=True):
        counts = histogram(section)
        tables[f"{z}.values"] = np.flatnonzero(counts)
        tables[f"{z}.counts"] = counts[counts > 0]
    return Entry(box.key, objects, pack.append(tables), {"voxels": box.size})


def ingest(space: Workspace, part: Part, workers: int) -> None:
    """Copy a part of the source's blocks into the EM store, and count their intensities."""
    check_inputs(space, "allocate")
    do_batch(space, space.ledger("ingest"), part, partial(_ingest_block, space), workers)


def histograms(space: Workspace) -> dict[int, Histogram]:
    """The histogram of each whole section, summed over the blocks."""
    bins = 1 << (8 * np.dtype(space.probe["dtype"]).itemsize)
    total: dict[int, Histogram] = {}
    for entry in space.receipt("ingest").entries:
        if entry.table is None:
            continue
        for name, array in read_table(space.root, entry.table).items():
            z, _, what = name.partition(".")
            counts = total.setdefault(int(z), np.zeros(bins, np.int64))
            if what == "values":
                values = array.astype(np.int64)
            else:
                counts[values] += array.astype(np.int64)
    return total


def _check_gaps(space: Workspace, counts: dict[int, Histogram]) -> None:
    empty = [z for z, c in counts.items() if np.count_nonzero(c) == 1 and z not in space.missing]
    if empty and space.shape[1] * space.shape[2] > 1:
        missing = sorted({*space.config.volume.missing, *empty})
        where = "everywhere" if space.config.volume.mask is None else "all over its mask"
        raise DcanError(
            f"section {empty[0]} has one intensity {where}, so it holds no tissue, and is not "
            f"declared: restore it in the source, or set volume.missing to {missing}"
        )


def _of_tissue(space: Workspace, z: int) -> Histogram:
    """The histogram of the pixels of a section that the mask holds, read by chunks."""
    store = Store(space.root, "em.ome.zarr/0")
    total = np.zeros(1 << (8 * store.dtype.itemsize), np.int64)
    for box in store.chunks(Box.whole(store.shape).section(z)):
        inside = tissue(space, box)
        if inside is not None and inside.any():
            voxels = store.read(box)
            total += histogram(voxels if inside.all() else voxels[inside])
    return total


def _surveyed(space: Workspace, workers: int) -> dict[int, Histogram]:
    """The histogram of each section's tissue."""
    if space.config.volume.mask is None:
        return histograms(space)
    progress = Progress("survey", space.shape[0])
    found = {}
    counted = over(partial(_of_tissue, space), range(space.shape[0]), workers)
    for z, found[z] in enumerate(counted):
        progress(z + 1)
    return found


def survey(space: Workspace, workers: int = 1) -> None:
    """Sum the histograms of each section's tissue; refuse gaps that were not declared."""
    with working(space, "survey"):
        check_inputs(space, "ingest")
        counts = _surveyed(space, workers)
        _check_gaps(space, counts)
        ledger = space.ledger("survey")
        ledger.begin()
        with ledger.attempt() as (journal, pack):
            table = pack.append({f"{z}.counts": c for z, c in sorted(counts.items())})
            entry = Entry("histograms", (), table)
            journal.append(entry)
        vouch(space, "survey", ledger.fingerprint, {}, entries=(entry,))


def section_histogram(space: Workspace, z: int) -> Histogram:
    """The histogram of a section's tissue, from the survey's table."""
    entry = space.receipt("survey").entries[0]
    if entry.table is None:
        raise DcanError("the survey's receipt names no table: run `dcan verify --repair`")
    return read_table(space.root, entry.table, f"{z}.")["counts"].astype(np.int64)


def _pyramid_block(space: Workspace, store: str, level: int, pack: Pack, box: Box) -> Entry:
    path, kind = STORES[store]
    below = Store(space.root, f"{path}/{level - 1}")
    voxels = np.empty(box.shape, below.dtype)
    for z in range(box.start[0], box.stop[0]):
        part = box.section(z)
        seen = below.read(finer(part, below.shape))
        voxels[part.within(box)] = coarsen(seen, "image" if kind == "image" else "labels")
    return Entry(box.key, Store(space.root, f"{path}/{level}").write(box, voxels))


def pyramid(space: Workspace, store: str, after: str, workers: int) -> None:
    """Make the coarser levels of a store, each on its own grid of shards."""
    name = f"pyramid_{store}"
    fingerprint = space.fingerprint("pyramid", store=store, of=space.receipt(after).identity)
    with working(space, name):
        check_inputs(space, after)
        path, _ = STORES[store]
        entries: list[Entry] = []
        level = 1
        while (space.root / path / str(level)).exists():
            ledger = Ledger(space.root, f"{name}_{level}", fingerprint)
            boxes = list(Grid(Store(space.root, f"{path}/{level}").shape, _step(space)))
            work = partial(_pyramid_block, space, store, level)
            do_units(space, ledger, boxes, work, workers)
            found = ledger.entries()
            entries += [Entry(f"{level}/{box.key}", found[box.key].objects) for box in boxes]
            level += 1
        vouch(space, name, fingerprint, {}, entries=entries)


def _step(space: Workspace) -> tuple[int, int, int]:
    return space.config.storage.shard
