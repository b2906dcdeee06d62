"""The ids that segments are stored under: their names, or numbers in the order of these.

Names come from coordinates and grow with the section, so the segments of a section have
consecutive numbers, after those of the sections before it.
"""

from __future__ import annotations

import numpy as np

from dcan.ops.numbering import ranks
from dcan.ops.stitching import Names, Segments
from dcan.steps.segment import table_of
from dcan.steps.workspace import Workspace
from dcan.storage.tables import TableRef, read_table


def segments_of(space: Workspace, tables: dict[str, TableRef], z: int) -> Segments:
    """The kept segments of a section by name; `tables`: those of stitch."""
    return Segments(**read_table(space.root, tables[f"z{z}"], "section."))  # type: ignore[arg-type]


class Numbering:
    """The ids of a volume's segments, from the receipt of stitch."""

    def __init__(self, space: Workspace) -> None:
        receipt = space.receipt("stitch")
        self._space, self._tables = space, table_of(receipt)
        self._before: dict[int, int] | None = None
        if space.config.labels.compact:
            held = {entry.key: entry.counts["segments"] for entry in receipt.entries}
            counts = [held[f"z{z}"] for z in space.present]
            before = np.cumsum([0, *counts])
            self._before = {z: int(n) for z, n in zip(space.present, before[:-1], strict=True)}

    def ids(self, z: int, names: Names) -> Names:
        """The ids of segments of section z by their names; 0 stays 0."""
        if self._before is None:
            return names
        return ranks(segments_of(self._space, self._tables, z).names, names, self._before[z])

    def segments(self, z: int) -> Segments:
        """The kept segments of section z by id."""
        found = segments_of(self._space, self._tables, z)
        if self._before is None:
            return found
        return Segments(ranks(found.names, found.names, self._before[z]), found.sizes)

    def names(self, z: int) -> Names:
        """"""
