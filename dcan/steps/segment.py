"""Watershed fusion by blocks: flood, merge over whole sections, fuse."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcan.geometry import Box
from dcan.ops.frames import Frame, Levels
from dcan.ops.fusion import fuse, inside_table
from dcan.ops.merging import Regions, merge, needed
from dcan.ops.smoothing import depth_levels, reach, smooth
from dcan.ops.watershed import Flood, flood
from dcan.steps.probe import SCRATCH
from dcan.steps.vouching import check_inputs, do_batch, do_units, working
from dcan.steps.workspace import Part, Workspace
from dcan.storage.receipts import Entry, Receipt
from dcan.storage.tables import Pack, TableRef, read_table
from dcan.storage.volumes import Store

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class SectionUnit:
    """One section, as a unit of work."""

    z: int

    @property
    def key(self) -> str:
        """Names the section."""
        return f"z{self.z}"


def thousandths(value: float) -> int:
    """A decimal with three places as an integer."""
    return round(value * 1000)


def table_of(receipt: Receipt) -> dict[str, TableRef]:
    """The tables that a receipt names, by the key of their entry."""
    return {entry.key: entry.table for entry in receipt.entries if entry.table is not None}


def column(space: Workspace, z: int) -> list[Box]:
    """The write boxes of the blocks that hold section z."""
    _, height, width = space.shape
    return list(space.grid.touching(Box((z, 0, 0), (z + 1, height, width))))


def read_membrane(space: Workspace, box: Box, sigma: float) -> tuple[Array, Box]:
    """The membrane that a block's floods need: its window and what smoothing sees around it."""
    margin = 1 + reach(sigma)
    read = box.grow((0, margin, margin)).intersect(Box.whole(space.shape))
    return Store(space.root, "membrane.ome.zarr/0").read(read), read


def levels_of(membrane: Array, read: Box, frame: Frame, sigma: float) -> Levels:
    """S on the window of a block, from one section of what `read_membrane` gave."""
    _, ys, xs = frame.window.within(read)
    return smooth(membrane, sigma)[ys, xs]


def _flood_block(space: Workspace, sigma: float, pack: Pack, box: Box) -> Entry:
    membrane, read = read_membrane(space, box, sigma)
    frame = Frame(box, space.shape)
    tables: dict[str, Array] = {}
    basins = 0
    for z in range(box.start[0], box.stop[0]):
        if z in space.missing:
            continue
        found = flood(levels_of(membrane[z - read.start[0]], read, frame, sigma), frame)
        basins += len(found.minima)
        tables.update({f"{z}.{name}": getattr(found, name) for name in Flood.__slots__})
    return Entry(box.key, (), pack.append(tables), {"voxels": box.size, "basins": basins})


def flood_blocks(space: Workspace, part: Part, workers: int) -> None:
    """Basins, rims and saddles of a part of the blocks."""
    check_inputs(space, "predict")
    work = partial(_flood_block, space, space.chosen()["sigma"])
    do_batch(space, space.ledger("flood"), part, work, workers)


def _merge_section(
    space: Workspace, depth: int, tables: dict[str, TableRef], pack: Pack, unit: SectionUnit
) -> Entry:
    boxes = column(space, unit.z)
    floods = [
        Flood(**read_table(space.root, tables[box.key], f"{unit.z}."))  # type: ignore[arg-type]
        for box in boxes
    ]
    regions = merge(floods, depth)
    arrays: dict[str, Array] = {}
    for box, found in zip(boxes, floods, strict=True):
        part = regions.select(needed(found, Frame(box, space.shape)))
        arrays[f"{box.key}.keys"], arrays[f"{box.key}.names"] = part.keys, part.names
    counts = {"basins": sum(len(f.minima) for f in floods), "regions": _distinct(regions)}
    return Entry(unit.key, (), pack.append(arrays), counts)


def _distinct(regions: Regions) -> int:
    return len(np.unique(regions.names))


def merge_sections(space: Workspace, workers: int) -> None:
    """Regions of each section from the tables of all its blocks."""
    with working(space, "merge"):
        check_inputs(space, "flood")
        ledger = space.ledger("merge")
        depth = depth_levels(space.chosen()["depth"])
        work = partial(_merge_section, space, depth, table_of(space.receipt("flood")))
        units = [SectionUnit(z) for z in space.present]
        do_units(space, ledger, units, work, workers)
        ledger.seal([unit.key for unit in units])


def _fuse_block(
    space: Workspace, chosen: dict[str, float], tables: dict[str, TableRef], pack: Pack, box: Box
) -> Entry:
    sigma = chosen["sigma"]
    inside = inside_table(thousandths(chosen["w_f"]), thousandths(chosen["t"]))
    membrane, read = read_membrane(space, box, sigma)
    frame = Frame(box, space.shape)
    _, ys, xs = box.within(read)
    local = np.zeros(box.shape, np.uint32)
    arrays: dict[str, Array] = {}
    segments = 0
    for index, z in enumerate(range(box.start[0], box.stop[0])):
        if z in space.missing:
            continue
        section = membrane[z - read.start[0]]
        regions = Regions(**read_table(space.root, tables[f"z{z}"], f"{box.key}."))  # type: ignore[arg-type]
        levels = levels_of(section, read, frame, sigma)
        found = fuse(levels, np.ascontiguousarray(section[ys, xs]), frame, regions, inside)
        local[index] = found.labels
        segments += len(found.first)
        arrays[f"{z}.first"], arrays[f"{z}.sizes"] = found.first, found.sizes
        for side in found.faces._fields:
            arrays[f"{z}.{side}"] = getattr(found.faces, side)
    objects = Store(space.root, SCRATCH).write(box, local)
    return Entry(box.key, objects, pack.append(arrays), {"voxels": box.size, "segments": segments})


def fuse_blocks(space: Workspace, part: Part, workers: int) -> None:
    """Contour, fusion and local segments of a part of the blocks."""
    check_inputs(space, "predict", "allocate")
    work = partial(_fuse_block, space, space.chosen(), table_of(space.receipt("merge")))
    do_batch(space, space.ledger("fuse"), part, work, workers)
