"""Score label volumes of any size: a contingency table gathered box by box."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from math import prod
from typing import Any, cast

from dcan.engine.blocks import over
from dcan.geometry import Box, Grid, Triple
from dcan.ops import contingency
from dcan.ops.contingency import Table
from dcan.ops.metrics import pieces, volume_scores, worst
from dcan.steps.vouching import Progress
from dcan.storage.sources import Source

WORST = 10
"""Faults of each kind that are listed."""
PART = 20
"""A proposed object is a piece of a true one when it holds 1 / 20 of it."""
BOX_VOXELS = 1 << 23
"""Voxels that a thread has in hand at most: 64 MiB of each side's labels when they are uint64."""


def boxes(shape: Triple, *stored: Triple) -> Grid:
    """A cut of a volume into boxes of at most `BOX_VOXELS`, along the pieces as they are stored.

    `stored`: the `piece` of each source that will be read. A box is whole pieces of all of
    them where one is whole pieces of the other and they fit; else some are decoded more than
    once. Longer rows come before more rows, and these before more sections.
    """
    step = [min(n, max(sizes)) for n, sizes in zip(shape, zip(*stored, strict=True), strict=True)]
    while prod(step) > BOX_VOXELS:
        longest = step.index(max(step))
        step[longest] = -(-step[longest] // 2)
    for axis in (2, 1, 0):
        step[axis] = min(shape[axis], step[axis] * (BOX_VOXELS // prod(step)))
    return Grid(shape, cast(Triple, tuple(step)))


def table_of(truth: Source, proposal: Source, workers: int) -> Table:
    """The contingency table of two label volumes of one shape, on `workers` threads.

    In memory: for each thread a few boxes' tables and the labels of one box, and the table of
    all pairs of labels that meet, three times at most.
    """
    grid = boxes(truth.shape, truth.piece, proposal.piece)
    progress = Progress("score: boxes", len(grid))

    def counted(box: Box) -> Table:
        table = contingency.count(truth.read(box), proposal.read(box))
        return table.placed(box, truth.shape)

    def tables() -> Iterator[Table]:
        for number, table in enumerate(over(counted, grid, workers), 1):
            progress(number)
            yield table

    return contingency.add(tables())


def record_of(table: Table, shape: Triple) -> dict[str, Any]:
    """The scores of a volume's objects and where to look, as plain values for JSON.

    The table's `first` voxels are those of a volume of `shape`. Raises DcanError when truth
    labels no voxel.
    """
    faults = worst(table, WORST, shape)
    return {
        **volume_scores(table),
        "pieces": pieces(table, PART),
        "worst_splits": [asdict(fault) for fault in faults.splits],
        "worst_merges": [asdict(fault) for fault in faults.merges],
    }
