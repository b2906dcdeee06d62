"""Watershed fusion by blocks: flood, merge over whole sections, fuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcan.engine.blocks import over
from dcan.geometry import Box
from dcan.ops.frames import Frame, Levels
from dcan.ops.fusion import FusedSection, fuse, inside_table
from dcan.ops.merging import Regions, merge
from dcan.ops.smoothing import depth_levels, reach, smooth
from dcan.ops.watershed import Flood, flood
from dcan.steps.mask import section_tissue
from dcan.steps.vouching import check_inputs, do_batch, do_units, section_threads, working
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


def membrane_of(space: Workspace, box: Box, sigma: float) -> tuple[Callable[[int], Array], Box]:
    """Reads, of one section, the membrane that a block's floods need; and the box of all that.

    It is the block's window and what smoothing sees around it.
    """
    margin = 1 + reach(sigma)
    read = box.grow((0, margin, margin)).intersect(Box.whole(space.shape))
    store = Store(space.root, "membrane.ome.zarr/0")

    def section(z: int) -> Array:
        found: Array = store.read(read.section(z))[0]
        return found

    return section, read


def levels_of(membrane: Array, read: Box, frame: Frame, sigma: float) -> Levels:
    """S on the window of a block, from one section as `membrane_of` reads it."""
    _, ys, xs = frame.window.within(read)
    return smooth(membrane, sigma)[ys, xs]


def present_in(space: Workspace, box: Box) -> list[int]:
    """The sections of a block that have tissue."""
    return [z for z in range(box.start[0], box.stop[0]) if z not in space.missing]


def _flood_block(space: Workspace, sigma: float, threads: int, pack: Pack, box: Box) -> Entry:
    membrane, read = membrane_of(space, box, sigma)
    frame = Frame(box, space.shape)
    tables: dict[str, Array] = {}
    basins = 0

    def flooded(z: int) -> Flood:
        return flood(levels_of(membrane(z), read, frame, sigma), frame)

    sections = present_in(space, box)
    for z, found in zip(sections, over(flooded, sections, threads), strict=True):
        basins += len(found.minima)
        tables.update({f"{z}.{name}": getattr(found, name) for name in Flood.__slots__})
    return Entry(box.key, (), pack.append(tables), {"voxels": box.size, "basins": basins})


def flood_blocks(space: Workspace, part: Part, workers: int) -> None:
    """Basins, rims and saddles of a part of the blocks."""
    check_inputs(space, "predict")
    threads = section_threads(space, part, workers)
    work = partial(_flood_block, space, space.chosen()["sigma"], threads)
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
        part = regions.select(found.terminals)
        arrays[f"{box.key}.keys"], arrays[f"{box.key}.names"] = part.keys, part.names
    counts = {"basins": sum(len(f.minima) for f in floods), "regions": regions.count}
    return Entry(unit.key, (), pack.append(arrays), counts)


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
    space: Workspace, tables: dict[str, TableRef], threads: int, pack: Pack, box: Box
) -> Entry:
    chosen = space.chosen()
    sigma = chosen["sigma"]
    inside = inside_table(thousandths(chosen["w_f"]), thousandths(chosen["t"]))
    membrane, read = membrane_of(space, box, sigma)
    frame = Frame(box, space.shape)
    _, ys, xs = box.within(read)
    arrays: dict[str, Array] = {}
    segments = 0

    def fused(z: int) -> FusedSection:
        section = membrane(z)
        regions = Regions(**read_table(space.root, tables[f"z{z}"], f"{box.key}."))  # type: ignore[arg-type]
        levels = levels_of(section, read, frame, sigma)
        tissue = section_tissue(space, box.section(z))
        return fuse(levels, np.ascontiguousarray(section[ys, xs]), frame, regions, inside, tissue)

    sections = present_in(space, box)
    for z, found in zip(sections, over(fused, sections, threads), strict=True):
        segments += len(found.first)
        # relabel finds the same local labels again: cheaper than writing and reading them
        arrays[f"{z}.inside"] = np.packbits(found.inside)
        arrays[f"{z}.first"], arrays[f"{z}.sizes"] = found.first, found.sizes
        for side in found.faces._fields:
            arrays[f"{z}.{side}"] = getattr(found.faces, side)
    return Entry(box.key, (), pack.append(arrays), {"voxels": box.size, "segments": segments})


def fuse_blocks(space: Workspace, part: Part, workers: int) -> None:
    """Contour, fusion and local segments of a part of the blocks."""
    check_inputs(space, "predict")
    threads = section_threads(space, part, workers)
    work = partial(_fuse_block, space, table_of(space.receipt("merge")), threads)
    do_batch(space, space.ledger("fuse"), part, work, workers)
