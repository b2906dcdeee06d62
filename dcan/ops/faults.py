"""Where a segmentation of a volume is wrong, object by object, from its contingency table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcan.ops.contingency import Table
from dcan.ops.partition import voxels_of


@dataclass(frozen=True, slots=True)
class Fault:
    """An object that is in `pieces` of the other side, `voxels` of it outside the largest.

    `at` is a voxel to look at: the first one, in raster order, of the second largest piece.
    """

    label: int
    pieces: int
    voxels: int
    at: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Worst:
    """Objects of truth that are most split and proposed objects that merge most."""

    splits: tuple[Fault, ...]
    merges: tuple[Fault, ...]


def worst(table: Table, count: int, shape: tuple[int, ...]) -> Worst:
    """At most `count` faults of each kind, most voxels first; ties: the lower label first.

    `shape` is that of the volume in which the table's `first` voxels are. Label 0 is left out
    on both sides: membrane in truth and what the proposal leaves unnamed are neither pieces
    nor objects. Of equal pieces the one with the lower label counts as the larger.
    """
    table = table.foreground
    table = table.cells(table.proposal != 0)
    return Worst(
        _faults(table, table.truth, table.proposal, count, shape),
        _faults(table, table.proposal, table.truth, count, shape),
    )


def _faults(
    table: Table,
    objects: NDArray[np.uint64],
    partners: NDArray[np.uint64],
    most: int,
    shape: tuple[int, ...],
) -> tuple[Fault, ...]:
    order = np.lexsort((partners, -table.count, objects))  # the pieces of each, largest first
    names, start, pieces = np.unique(objects[order], return_index=True, return_counts=True)
    if names.size == 0:
        return ()
    counts, first = table.count[order], table.first[order]
    outside = np.add.reduceat(counts, start) - counts[start]
    found = np.argsort(-outside, kind="stable")[:most]
    found = found[outside[found] > 0]
    at = np.stack(np.unravel_index(first[start[found] + 1], shape), axis=1).tolist()
    columns = (names[found].tolist(), pieces[found].tolist(), outside[found].tolist())
    return tuple(
        Fault(name, parts, voxels, tuple(voxel))
        for name, parts, voxels, voxel in zip(*columns, at, strict=True)
    )


def pieces(table: Table, part: int) -> float:
    """Mean number of proposed objects that hold at least 1 / `part` of a true one.

    Over the true objects; label 0 is left out on both sides. 1 is perfect, less where objects
    are lost or in small pieces. 0 when truth has no object.
    """
    table = table.foreground
    sizes, index = voxels_of(table.truth, table.count)
    held = (table.proposal != 0) & (part * table.count >= sizes[index])
    return float(held.sum()) / max(1, sizes.size)
