"""Segments of a section united across the faces of its blocks, measured and named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dcan.ops.frames import Frame, Labels, Pixels, distinct
from dcan.ops.fusion import Faces, FusedSection, Sizes

Indices = npt.NDArray[np.int64]
Names = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False)
class BlockSegments:
    """What stitching must know of one fused block of a section; fields as `FusedSection`."""

    frame: Frame
    first: Pixels
    sizes: Sizes
    faces: Faces

    @classmethod
    def of(cls, fused: FusedSection, frame: Frame) -> BlockSegments:
        """The tables of `fused`, a block that lies at `frame`."""
        return cls(frame, fused.first, fused.sizes, fused.faces)


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """The kept segments of a section: `names` uint64, sorted; `sizes` int64, pixels."""

    names: Names
    sizes: Sizes


def stitch(
    blocks: Sequence[BlockSegments], min_size: int, name_base: int
) -> tuple[list[Names], Segments]:
    """Names of the local labels of each block, and the segments of the section.

    `blocks`: all blocks of one section, cut by one grid, in any order. A segment is a chain
    of local ones that touch across faces; its size is their sum, its name
    1 + `name_base` + its first pixel, where `name_base` = z height width makes the names
    unique over the volume. Names: uint64 (n + 1,) for each block, in the order of `blocks`,
    at 0 and for segments of less than `min_size` pixels 0. Raises ValueError when a block
    is missing or given twice.
    """
    counts = [len(block.first) for block in blocks]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    pairs = np.concatenate([np.empty((2, 0), np.int64), *_touching(blocks, offsets)], axis=1)
    first = np.concatenate([block.first for block in blocks])
    segment, name = merge_names(pairs, first)
    sizes = np.zeros(len(name), np.int64)
    np.add.at(sizes, segment, np.concatenate([block.sizes for block in blocks]))
    name = name + np.uint64(1 + name_base)
    kept = sizes >= min_size
    order = np.argsort(name[kept])
    local = np.where(kept, name, np.uint64(0))[segment]
    names = [
        np.concatenate([np.zeros(1, np.uint64), part]) for part in np.split(local, offsets[1:-1])
    ]
    return names, Segments(name[kept][order], sizes[kept][order])


def merge_names(pairs: Indices, names: Names) -> tuple[Indices, Names]:
    """The component of each of n things, and the least of the `names` in each component.

    `pairs`: int64 (2, m), things 0..n-1 that belong together; their order and direction play
    no part. `names`: uint64 (n,).
    """
    count = len(names)
    ones = np.ones(pairs.shape[1], np.bool_)
    graph = coo_array((ones, (pairs[0], pairs[1])), shape=(count, count))
    parts, component = connected_components(graph, directed=False)
    least = np.full(parts, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(least, component, names)
    return component.astype(np.int64), least


def _touching(blocks: Sequence[BlockSegments], offsets: Indices) -> Iterator[Indices]:
    """Pairs of segments, counted through all blocks, that touch across a face."""
    places = {block.frame.core.start[1:]: k for k, block in enumerate(blocks)}
    covered = sum(block.frame.core.shape[1] * block.frame.core.shape[2] for block in blocks)
    _, height, width = blocks[0].frame.shape
    if len(places) != len(blocks) or covered != height * width:
        raise ValueError(f"{len(blocks)} blocks do not cover a section of {height} x {width} once")
    for k, block in enumerate(blocks):
        (_, y0, x0), (_, y1, x1) = block.frame.core.start, block.frame.core.stop
        if y1 < height:
            south = places[y1, x0]
            yield _across(block.faces.south, offsets[k], blocks[south].faces.north, offsets[south])
        if x1 < width:
            east = places[y0, x1]
            yield _across(block.faces.east, offsets[k], blocks[east].faces.west, offsets[east])


def _across(near: Labels, near_offset: int, far: Labels, far_offset: int) -> Indices:
    both = (near > 0) & (far > 0)
    pairs = distinct((near[both].astype(np.uint64) << np.uint64(32)) | far[both])
    low, high = (half.astype(np.int64) - 1 for half in np.divmod(pairs, np.uint64(1 << 32)))
    return np.stack([low + near_offset, high + far_offset])
