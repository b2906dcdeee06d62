"""Growth of the segments that neurites are made of: what rims grow to, blocks grown."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from dcan.geometry import Box
from dcan.ops.frames import Frame
from dcan.ops.growth import RimGrowth, grow, rim_growth, settle
from dcan.ops.stitching import Names
from dcan.steps.mask import section_tissue
from dcan.steps.probe import SEGMENTS
from dcan.steps.segment import SectionUnit, column, levels_of, membrane_of, present_in, table_of
from dcan.steps.vouching import check_inputs, do_batch, do_units, working
from dcan.steps.workspace import Part, Workspace
from dcan.storage.receipts import Entry
from dcan.storage.tables import Pack, TableRef, read_table
from dcan.storage.volumes import Store


def _grow_block(space: Workspace, sigma: float, pack: Pack, box: Box) -> Entry:
    membrane, read = membrane_of(space, box, sigma)
    segments = Store(space.root, SEGMENTS)
    frame = Frame(box, space.shape)
    arrays: dict[str, Names] = {}
    for z in present_in(space, box):
        levels = levels_of(membrane(z), read, frame, sigma)
        section = box.section(z)
        found = rim_growth(levels, segments.read(section)[0], frame, section_tissue(space, section))
        arrays[f"{z}.ends"], arrays[f"{z}.names"] = found.ends, found.names
    return Entry(box.key, (), pack.append(arrays), {"voxels": box.size})


def grow_blocks(space: Workspace, part: Part, workers: int) -> None:
    """What the rims of a part of the blocks grow to, as far as the blocks know."""
    check_inputs(space, "predict", "relabel")
    work = partial(_grow_block, space, space.chosen()["sigma"])
    do_batch(space, space.ledger("grow"), part, work, workers)


def _settle_section(
    space: Workspace, tables: Mapping[str, TableRef], pack: Pack, unit: SectionUnit
) -> Entry:
    boxes = column(space, unit.z)
    blocks = []
    for box in boxes:
        found = read_table(space.root, tables[box.key], f"{unit.z}.")
        blocks.append(RimGrowth(Frame(box, space.shape), **found))  # type: ignore[arg-type]
    arrays = {f"{box.key}.ring": ring for box, ring in zip(boxes, settle(blocks), strict=True)}
    return Entry(unit.key, (), pack.append(arrays))


def settle_sections(space: Workspace, workers: int) -> None:
    """What the ring of each block grows to, from the rims of all blocks of a section."""
    with working(space, "settle"):
        ledger = space.ledger("settle")
        check_inputs(space, "grow")
        work = partial(_settle_section, space, table_of(space.receipt("grow")))
        units = [SectionUnit(z) for z in space.present]
        do_units(space, ledger, units, work, workers)
        ledger.seal([unit.key for unit in units])


class Growth:
    """Grows the segments of any block, from the receipt of settle; picklable."""

    def __init__(self, space: Workspace) -> None:
        check_inputs(space, "predict")
        self._space, self._sigma = space, space.chosen()["sigma"]
        self._tables = table_of(space.receipt("settle"))

    def __call__(self, box: Box, z: int, segments: Names) -> Names:
        """The segments of a block in section z, grown: uint64 (y, x) both."""
        space, sigma = self._space, self._sigma
        membrane, read = membrane_of(space, box, sigma)
        frame = Frame(box, space.shape)
        levels = levels_of(membrane(z), read, frame, sigma)
        found = read_table(space.root, self._tables[f"z{z}"], f"{box.key}.")
        tissue = section_tissue(space, box.section(z))
        return grow(levels, segments, frame, found["ring"].astype(np.uint64), tissue)
