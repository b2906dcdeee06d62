"""Names over blocks and sections: stitch, relabel, overlap, unite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcan.engine.blocks import over
from dcan.geometry import Box
from dcan.ops.frames import Frame
from dcan.ops.fusion import Faces, components
from dcan.ops.linking import Overlaps, overlaps
from dcan.ops.numbering import named_columns, rename
from dcan.ops.stitching import BlockSegments, stitch
from dcan.steps.drift import Pair, pairs, shifts
from dcan.steps.grow import Growth
from dcan.steps.numbering import Numbering
from dcan.steps.probe import NEURITES, SEGMENTS
from dcan.steps.segment import SectionUnit, column, table_of
from dcan.steps.vouching import check_inputs, do_batch, do_units, section_threads, working
from dcan.steps.workspace import Part, Workspace
from dcan.storage.receipts import Entry
from dcan.storage.tables import Pack, TableRef, read_table
from dcan.storage.volumes import Store

Array = NDArray[Any]


def _block_segments(arrays: dict[str, Array], frame: Frame) -> BlockSegments:
    faces = Faces(**{side: arrays[side] for side in Faces._fields})
    return BlockSegments(frame, arrays["first"], arrays["sizes"], faces)


def _stitch_section(
    space: Workspace, tables: dict[str, TableRef], pack: Pack, unit: SectionUnit
) -> Entry:
    boxes = column(space, unit.z)
    blocks = [
        _block_segments(
            read_table(space.root, tables[box.key], f"{unit.z}."), Frame(box, space.shape)
        )
        for box in boxes
    ]
    _, height, width = space.shape
    names, segments = stitch(blocks, space.config.segmentation.min_size, unit.z * height * width)
    arrays: dict[str, Array] = {
        f"{box.key}.names": part for box, part in zip(boxes, names, strict=True)
    }
    arrays["section.names"], arrays["section.sizes"] = segments.names, segments.sizes
    return Entry(unit.key, (), pack.append(arrays), {"segments": len(segments.names)})


def stitch_sections(space: Workspace, workers: int) -> None:
    """Unite the local segments of each section across the faces of its blocks; name them."""
    with working(space, "stitch"):
        check_inputs(space, "fuse")
        ledger = space.ledger("stitch")
        work = partial(_stitch_section, space, table_of(space.receipt("fuse")))
        units = [SectionUnit(z) for z in space.present]
        do_units(space, ledger, units, work, workers)
        ledger.seal([unit.key for unit in units])


def _relabel_block(
    space: Workspace,
    inside: dict[str, TableRef],
    numbering: Numbering,
    threads: int,
    pack: Pack,
    box: Box,
) -> Entry:
    store = Store(space.root, SEGMENTS)
    _, height, width = box.shape
    _, rows, columns = store.layout.chunk

    def encoded(z: int) -> list[bytes]:
        if z in space.missing:
            local, ids = np.zeros((height, width), np.uint32), np.zeros(1, np.uint64)
        else:
            bits = read_table(space.root, inside[box.key], f"{z}.inside")[""]
            within = np.unpackbits(bits.astype(np.uint8), count=height * width)
            local, _, _ = components(within.view(np.bool_).reshape(height, width))
            ids = numbering.of_block(z, box)
        bands = (local[y : y + rows] for y in range(0, height, rows))
        chunks = (chunk for band in bands for chunk in named_columns(band, ids, columns))
        return [store.encode(chunk[np.newaxis]) for chunk in chunks]

    objects = store.write_chunks(box, _in_turn(encoded, box, threads))
    return Entry(box.key, objects, None, {"voxels": box.size})


def _in_turn(encoded: Callable[[int], list[bytes]], box: Box, threads: int) -> Iterator[bytes]:
    """The chunks of a block, which `encoded` gives for each of its sections."""
    return chain.from_iterable(over(encoded, range(box.start[0], box.stop[0]), threads))


def relabel_blocks(space: Workspace, part: Part, workers: int) -> None:
    """Write the segments of a part of the blocks under their ids."""
    check_inputs(space, "fuse", "allocate")
    threads = section_threads(space, part, workers)
    inside = table_of(space.receipt("fuse"))
    work = partial(_relabel_block, space, inside, Numbering(space), threads)
    do_batch(space, space.ledger("relabel"), part, work, workers)


def _overlap_block(
    space: Workspace,
    partners: dict[int, Pair],
    moved: dict[str, tuple[int, int]],
    pack: Pack,
    box: Box,
) -> Entry:
    store = Store(space.root, SEGMENTS)
    arrays: dict[str, Array] = {}
    for z in range(box.start[0], box.stop[0]):
        if z not in partners:
            continue
        pair = partners[z]
        dy, dx = moved[pair.key]
        core = box.section(z)
        (_, y0, x0), (_, y1, x1) = core.start, core.stop
        other = Box((pair.high, y0 + dy, x0 + dx), (pair.high + 1, y1 + dy, x1 + dx)).intersect(
            Box.whole(space.shape)
        )
        if other.size == 0:
            continue
        # a[y, x] of the core lies on the pixel of `other` at this distance from its origin
        offset = (y0 + dy - other.start[1], x0 + dx - other.start[2])
        found = overlaps(store.read(core)[0], store.read(other)[0], offset)
        for name in Overlaps.__slots__:
            arrays[f"{pair.key}.{name}"] = getattr(found, name)
    return Entry(box.key, (), pack.append(arrays), {"voxels": box.size})


def overlap_blocks(space: Workspace, part: Part, workers: int) -> None:
    """Count the pixels that segments of consecutive sections share, drift taken out."""
    check_inputs(space, "relabel")
    partners = {pair.low: pair for pair in pairs(space)}
    work = partial(_overlap_block, space, partners, shifts(space))
    do_batch(space, space.ledger("overlap"), part, work, workers)


def _unite_block(
    space: Workspace, table: TableRef, grown: Growth | None, threads: int, pack: Pack, box: Box
) -> Entry:
    segments, neurites = Store(space.root, SEGMENTS), Store(space.root, NEURITES)

    def encoded(z: int) -> list[bytes]:
        section = box.section(z)
        labels = segments.read(section)
        if z not in space.missing:
            if grown:
                labels[0] = grown(box, z, labels[0])
            found = read_table(space.root, table, f"z{z}.")
            rename(labels[0], *(found[part].astype(np.uint64) for part in ("segments", "neurites")))
        chunks = neurites.chunks(section)
        return [neurites.encode(labels[chunk.within(section)]) for chunk in chunks]

    objects = neurites.write_chunks(box, _in_turn(encoded, box, threads))
    return Entry(box.key, objects, None, {"voxels": box.size})


def unite_blocks(space: Workspace, part: Part, workers: int) -> None:
    """Write the neurites of a part of the blocks."""
    check_inputs(space, "relabel", "allocate")
    table = table_of(space.receipt("link"))["neurites"]
    grown = Growth(space) if space.config.labels.grow else None
    threads = section_threads(space, part, workers)
    work = partial(_unite_block, space, table, grown, threads)
    do_batch(space, space.ledger("unite"), part, work, workers)
