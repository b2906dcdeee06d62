"""Neurites: the links between segments of different sections."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcan.ops.frames import distinct
from dcan.ops.linking import (
    Candidates,
    Linking,
    Neurites,
    Overlaps,
    add,
    candidates,
    join,
)
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


def _overlaps_of(space: Workspace, tables: dict[str, TableRef], pair: Pair) -> Overlaps:
    found = []
    for box in column(space, pair.low):
        arrays = read_table(space.root, tables[box.key], f"{pair.key}.")
        if arrays:
            found.append(Overlaps(**arrays))  # type: ignore[arg-type]
    return add(found)


def _candidates(
    space: Workspace, sections: dict[int, Segments], rule: Linking
) -> tuple[list[Candidates], int, int]:
    """Of each pair of sections; how many overlaps there are, and segments that have one."""
    counted = table_of(space.receipt("overlap"))
    units = pairs(space)
    progress = Progress("link", len(units))
    found = []
    overlapping = 0
    touched = {z: np.zeros(len(segments.names), np.bool_) for z, segments in sections.items()}
    for number, pair in enumerate(units, 1):
        low, high = sections[pair.low], sections[pair.high]
        both = Segments(
            np.concatenate([low.names, high.names]), np.concatenate([low.sizes, high.sizes])
        )
        table = _overlaps_of(space, counted, pair)
        overlapping += len(table.count)
        touched[pair.low][np.searchsorted(low.names, table.a)] = True
        touched[pair.high][np.searchsorted(high.names, table.b)] = True
        found.append(candidates(both, table, rule))
        progress(number)
    return found, overlapping, sum(int(marks.sum()) for marks in touched.values())


def counts_of(neurites: Neurites) -> dict[str, int]:
    """What the receipt says of the links, and of the segments of each neurite."""
    _, pieces = np.unique(neurites.names, return_counts=True)
    return {
        "segments": len(neurites.names),
        "neurites": len(pieces),
        "mutual": neurites.mutual,
        "branches": neurites.branches,
        "refused": neurites.refused,
        "orphans": int((pieces == 1).sum()),
        "pieces_median": int(np.sort(pieces)[(len(pieces) - 1) // 2]) if len(pieces) else 0,
        "pieces_most": int(pieces.max(initial=0)),
    }


def _linked(space: Workspace) -> tuple[dict[str, Array], dict[str, int]]:
    """The neurite of every segment, by section, and counts for the report."""
    numbering = Numbering(space)
    sections = {z: numbering.segments(z) for z in space.present}
    rule = linking_of(space.chosen())
    tables, overlapping, touched = _candidates(space, sections, rule)
    sizes = [len(segments.names) for segments in sections.values()]
    names = np.concatenate([np.empty(0, np.uint64), *(s.names for s in sections.values())])
    neurites = join(names, np.repeat(space.present, sizes), tables, rule.beside)
    arrays: dict[str, Array] = {}
    stored = neurites.names
    if space.config.labels.compact:
        least = distinct(stored)
        stored = ranks(least, stored)
        arrays["names"] = numbering.names()[least.astype(np.int64) - 1]
    parts = np.split(stored, np.cumsum(sizes)[:-1])
    for (z, segments), part in zip(sections.items(), parts, strict=True):
        arrays[f"z{z}.segments"], arrays[f"z{z}.neurites"] = segments.names, part
    counts = counts_of(neurites)
    counts |= {"overlaps": overlapping, "isolated": len(names) - touched}
    return arrays, counts


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
