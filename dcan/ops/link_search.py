"""The parameters of linking with which the neurites of labelled sections come out best."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import product

import numpy as np
import numpy.typing as npt

from dcan.errors import DcanError
from dcan.ops import contingency
from dcan.ops.contingency import Table
from dcan.ops.joining import Neurites, join
from dcan.ops.linking import NEVER, Linking, Overlaps, candidates, overlaps
from dcan.ops.partition import foreground_pairs, total
from dcan.ops.sections import SegmentedSection
from dcan.ops.stitching import Names, Segments

DEFAULT = Linking(iou=300, containment=800, beside=1)
FEW = 8
"""Sections in a row: merges that chain through a volume do not show in fewer."""


@dataclass(frozen=True, slots=True)
class LinkGrid:
    """The values to try of each parameter of `Linking`, in its units and in any order."""

    iou: tuple[int, ...]
    containment: tuple[int, ...]
    beside: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """The segments of labelled sections of one volume, as linking sees them.

    `segments`: of all sections; `sections`: int64, where each lies; `pairs`: the overlaps of
    sections that links may join; `truth`: voxels of each neurite and segment.
    """

    segments: Segments
    sections: npt.NDArray[np.int64]
    pairs: tuple[Overlaps, ...]
    truth: Table


@dataclass(frozen=True, slots=True)
class LinkScore:
    """The adapted Rand error, 0..1, of one choice of parameters."""

    linking: Linking
    adapted_rand_error: float


@dataclass(frozen=True, slots=True)
class LinkCalibration:
    """What a search found: the choice to use, every choice in the grid's order, and remarks."""

    best: LinkScore
    surface: tuple[LinkScore, ...]
    remarks: tuple[str, ...]


def stack(
    found: dict[int, SegmentedSection],
    truths: dict[int, npt.NDArray[np.integer]],
    moved: dict[tuple[int, int], tuple[int, int]],
) -> Stack:
    """The stack of sections z, all of one shape, and their truth: ids (y, x), 0 unknown.

    `moved`: for each pair of sections that links may join, the shift of the higher one.
    """
    labels, parts, tables = {}, [], []
    for z, section in sorted(found.items()):
        base = np.uint64(z * section.labels.size)
        labels[z] = np.where(section.labels > 0, section.labels + base, np.uint64(0))
        parts.append(Segments(section.segments.names + base, section.segments.sizes))
        tables.append(contingency.count(truths[z], labels[z]))
    segments = Segments(
        np.concatenate([part.names for part in parts]),
        np.concatenate([part.sizes for part in parts]),
    )
    sections = np.repeat(np.array(sorted(found)), [len(part.names) for part in parts])
    pairs = tuple(overlaps(labels[a], labels[b], by) for (a, b), by in sorted(moved.items()))
    return Stack(segments, sections, pairs, contingency.add(tables))


def search(stacks: Sequence[Stack], grid: LinkGrid) -> LinkCalibration:
    """Try every choice of `grid`; the least adapted Rand error of all stacks is the best.

    The pairs of voxels that are alike are summed over the stacks. Ties go to the values
    nearest to `DEFAULT`: of `beside`, then of `iou`, then of `containment`; then to the smaller
    ones. A `beside` of 2 or more is tried where a stack has three times as many sections, or
    nothing less is to be tried.
    Raises DcanError when an axis of the grid is empty or there is no labelled voxel.
    """
    if not stacks or not any(entry.truth.foreground.voxels for entry in stacks):
        raise DcanError("no section to link has a labelled voxel: give linking's values instead")
    longest = max(len(np.unique(entry.sections)) for entry in stacks)
    iou, containment, beside = (sorted(set(axis)) for axis in astuple(grid))
    if not (iou and containment and beside):
        raise DcanError(f"{grid} has an axis without values: give each at least one")
    beside = [n for n in beside if n <= max(1, longest // 3)] or beside[:1]
    surface = []
    for least, share in product(iou, containment):
        rule = Linking(least, share, 0)
        tables = [[candidates(s.segments, pair, rule) for pair in s.pairs] for s in stacks]
        # without branches nothing is refused
        for together in beside if share < NEVER else beside[:1]:
            error = _error(
                [
                    (entry, join(entry.segments.names, entry.sections, found, together))
                    for entry, found in zip(stacks, tables, strict=True)
                ]
            )
            side = together if share < NEVER else DEFAULT.beside
            surface.append(LinkScore(Linking(least, share, side), error))
    best = min(surface, key=_preference)
    return LinkCalibration(best, tuple(surface), tuple(_remarks(best.linking, grid, longest)))


def _error(linked: Sequence[tuple[Stack, Neurites]]) -> float:
    return 1 - total(foreground_pairs(_renamed(*each)) for each in linked).f_score


def _renamed(entry: Stack, neurites: Neurites) -> Table:
    """The stack's table with the neurite of each segment in its place."""
    table = entry.truth
    names = np.concatenate([np.zeros(1, np.uint64), entry.segments.names])
    of: Names = np.concatenate([np.zeros(1, np.uint64), neurites.names])
    proposal = of[np.searchsorted(names, table.proposal)]
    return contingency.add([replace(table, proposal=proposal)])


def _preference(score: LinkScore) -> tuple[float, ...]:
    found = score.linking
    return (
        score.adapted_rand_error,
        abs(found.beside - DEFAULT.beside),
        abs(found.iou - DEFAULT.iou),
        abs(found.containment - DEFAULT.containment),
        *astuple(found),
    )


def _remarks(best: Linking, grid: LinkGrid, longest: int) -> Iterator[str]:
    # less than half of a branch may lie in several segments, so 500 is an end too
    ends = {"iou": (0, 1000), "containment": (0, 500, NEVER), "beside": (0, 1)}
    for axis, ending in ends.items():
        value, values = getattr(best, axis), sorted(getattr(grid, axis))
        if len(values) > 1 and value in (values[0], values[-1]) and value not in ending:
            yield f"linking's {axis} {value} is at the edge of {values[0]}..{values[-1]}"
    if longest < FEW:
        yield (
            f"linking is calibrated on {longest} sections: merges that chain through many do "
            "not show in them"
        )
