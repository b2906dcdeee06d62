"""Neurites: the links between segments of different sections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcan.ops.frames import distinct
from dcan.ops.joining import Neurites, join
from dcan.ops.linking import Candidates, Overlaps, add, candidates
from dcan.ops.numbering import ranks
from dcan.ops.stitching import Segments
from dcan.steps.calibrate_links import linking_of
from dcan.steps.drift import Pair, pairs
from dcan.steps.numbering import Numbering
from dcan.steps.segment import column, table_of
from dcan.steps.vouching import Progress, check_inputs, working
from dcan.steps.workspace import Workspace
from dcan.storage.receipts import Entry
from dcan.storage.tables import TableRef, read_table

Array = NDArray[Any]

END = -1
"""Stands for a section after the last."""
NEAR = 4
"""Sections whose segments are kept at hand."""


def _overlaps_of(space: Workspace, tables: dict[str, TableRef], pair: Pair) -> Overlaps:
    found = []
    for box in column(space, pair.low):
        arrays = read_table(space.root, tables[box.key], f"{pair.key}.")
        if arrays:
            found.append(Overlaps(**arrays))  # type: ignore[arg-type]
    return add(found)


class _Candidates:
    """The candidates of each pair of sections in turn, and what was seen on the way.

    `overlapping`: how many overlaps there are; `touched`: of each segment of the volume, in
    the order of their ids, whether it has one.
    """

    def __init__(self, space: Workspace, numbering: Numbering, starts: Mapping[int, int]) -> None:
        self._space, self._starts = space, starts
        self.rule = linking_of(space.chosen())
        self._counted = table_of(space.receipt("overlap"))
        # Those of the pairs at hand, and no more: all of a volume take as much as its names.
        self._segments = lru_cache(NEAR)(numbering.segments)
        self.overlapping = 0
        self.touched = np.zeros(starts[END], np.bool_)

    def __iter__(self) -> Iterator[Candidates]:
        units = pairs(self._space)
        progress = Progress("link", len(units))
        for number, pair in enumerate(units, 1):
            low, high = self._segments(pair.low), self._segments(pair.high)
            both = Segments(
                np.concatenate([low.names, high.names]), np.concatenate([low.sizes, high.sizes])
            )
            table = _overlaps_of(self._space, self._counted, pair)
            self.overlapping += len(table.count)
            for z, held, names in ((pair.low, low, table.a), (pair.high, high, table.b)):
                self.touched[self._starts[z] + np.searchsorted(held.names, names)] = True
            yield candidates(both, table, self.rule)
            progress(number)


def counts_of(neurites: Neurites) -> dict[str, int]:
    """What the receipt says of the links, and of the segments of each neurite."""
    pieces = np.sort(neurites.pieces)
    return {
        "segments": len(neurites.names),
        "neurites": len(pieces),
        "mutual": neurites.mutual,
        "branches": neurites.branches,
        "refused": neurites.refused,
        "orphans": int((pieces == 1).sum()),
        "pieces_median": int(pieces[(len(pieces) - 1) // 2]) if len(pieces) else 0,
        "pieces_most": int(pieces.max(initial=0)),
    }


def _linked(space: Workspace) -> tuple[dict[str, Array], dict[str, int]]:
    """The neurite of every segment, by section, and counts for the report."""
    numbering = Numbering(space)
    ids = [numbering.segments(z).names for z in space.present]
    sizes = [len(each) for each in ids]
    starts = dict(zip([*space.present, END], np.cumsum([0, *sizes]).tolist(), strict=True))
    names = np.concatenate([np.empty(0, np.uint64), *ids])
    del ids
    tables = _Candidates(space, numbering, starts)
    sections = np.repeat(np.array(space.present, np.int32), sizes)
    neurites = join(names, sections, tables, tables.rule.beside)
    arrays: dict[str, Array] = {}
    stored = neurites.names
    if space.config.labels.compact:
        least = distinct(stored)
        stored = ranks(least, stored)
        arrays["names"] = numbering.names()[least.astype(np.int64) - 1]
    for z, size in zip(space.present, sizes, strict=True):
        own = slice(starts[z], starts[z] + size)
        arrays[f"z{z}.segments"], arrays[f"z{z}.neurites"] = names[own], stored[own]
    isolated = len(names) - int(tables.touched.sum())
    return arrays, counts_of(neurites) | {"overlaps": tables.overlapping, "isolated": isolated}


def link_sections(space: Workspace) -> None:
    """Choose the links between sections and name the neurites."""
    with working(space, "link"):
        check_inputs(space, "relabel")
        ledger = space.ledger("link")
        ledger.begin()
        found = ledger.entries().get("neurites")
        if found is None:
            arrays, counts = _linked(space)
            with ledger.attempt() as (journal, pack):
                found = Entry("neurites", (), pack.append(arrays), counts)
                journal.append(found)
        ledger.seal(["neurites"], dict(found.counts))
