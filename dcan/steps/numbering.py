"""The ids that segments are stored under: their names, or numbers 1..n in the same order.

Names come from coordinates and grow with the section, so the segments of a section have
consecutive numbers, after those of the sections before it.
"""

from __future__ import annotations

import numpy as np

from dcan.geometry import Box
from dcan.ops.numbering import ranks
from dcan.ops.stitching import Names, Segments
from dcan.steps.segment import table_of
from dcan.steps.workspace import Workspace
from dcan.storage.tables import read_table


class Numbering:
    """The ids of a volume's segments, from the receipt of stitch; picklable."""

    def __init__(self, space: Workspace) -> None:
        receipt = space.receipt("stitch")
        self._space, self._tables = space, table_of(receipt)
        self._compact = space.config.labels.compact
        held = {entry.key: entry.counts["segments"] for entry in receipt.entries}
        counts = [held[f"z{z}"] for z in space.present]
        before = np.cumsum([0, *counts]).tolist()
        self._before = dict(zip(space.present, before, strict=False))

    def ids(self, z: int, names: Names) -> Names:
        """The ids of segments of section z, by their names; 0 stays 0."""
        if not self._compact:
            return names
        return ranks(self._segments(z).names, names, self._before[z])

    def of_block(self, z: int, box: Box) -> Names:
        """The ids of a block's local labels in section z: uint64 (n + 1,), 0 for those dropped."""
        found = read_table(self._space.root, self._tables[f"z{z}"], f"{box.key}.")
        return self.ids(z, found["names"].astype(np.uint64))

    def segments(self, z: int) -> Segments:
        """The kept segments of section z, by id."""
        found = self._segments(z)
        if not self._compact:
            return found
        return Segments(ranks(found.names, found.names, self._before[z]), found.sizes)

    def names(self) -> Names:
        """The names of the volume's segments, uint64, sorted; number k is the k-th of them."""
        found = [self._segments(z).names for z in self._space.present]
        return np.concatenate([np.empty(0, np.uint64), *found])

    def _segments(self, z: int) -> Segments:
        arrays = read_table(self._space.root, self._tables[f"z{z}"], "section.")
        return Segments(**arrays)  # type: ignore[arg-type]
