"""The parameters of watershed fusion with which labelled sections come out best."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import product

import numpy as np
import numpy.typing as npt

from dcan.errors import DcanError
from dcan.ops.frames import Frame, Mask, Membrane
from dcan.ops.fusion import components, contour, inside_table
from dcan.ops.merging import merge
from dcan.ops.metrics import foreground_counts, rand_error
from dcan.ops.sections import Fusion
from dcan.ops.smoothing import depth_levels, smooth
from dcan.ops.watershed import descend, tables

Truth = npt.NDArray[np.integer]
Errors = dict[bytes, list[float]]
"""Rand error for each `min_size` of a grid, by the bytes of an inside table."""


@dataclass(frozen=True, slots=True)
class SearchGrid:
    """The values to try of each parameter of `Fusion`, in its units and in any order."""

    sigma: tuple[float, ...]
    depth: tuple[float, ...]
    w_f: tuple[int, ...]
    t: tuple[int, ...]
    min_size: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """The foreground-restricted Rand error, 0..1, of one choice of parameters."""

    fusion: Fusion
    rand_error: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a search found.

    `best`: the choice to use. `surface`: every choice of the grid, sorted by (sigma, depth,
    w_f, t, min_size). `membrane`: the network's map alone at each (t, min_size), which is
    w_f = 0; its sigma and depth are 0 and play no part. `remarks`: what a user should know
    of `best`, one line each.
    """

    best: Score
    surface: tuple[Score, ...]
    membrane: tuple[Score, ...]
    remarks: tuple[str, ...]


def calibrate(maps: Sequence[Membrane], truths: Sequence[Truth], grid: SearchGrid) -> Calibration:
    """Try every choice of `grid` on labelled sections; the least Rand error is the best.

    `maps`: uint8 (y, x), 255 = membrane; `truths`: integer labels of the same shapes,
    0 = membrane. AB, B and A are summed over the sections. Ties go to the smaller sigma, the
    smaller depth, the w_f nearest to 700, the t nearest to 300, the smaller min_size, then
    the smaller w_f and t. Choices that share an inside table are evaluated once. Raises
    DcanError when an axis of the grid is empty, a value is out of its range, the sections
    do not match, or the truth has no foreground.

    Source: Chen et al. 2016 choose w_f for the best Rand error of the training sections.
    """
    grid = SearchGrid(*(tuple(sorted(set(axis))) for axis in astuple(grid)))
    _check(maps, truths, grid)
    sections = list(zip(maps, truths, strict=True))
    nowhere = [np.zeros(section.shape, np.bool_) for section in maps]
    alone: Errors = {}
    bare = replace(grid, sigma=(0.0,), depth=(0.0,), w_f=(0,))
    membrane = _scores(sections, nowhere, bare, alone)
    surface = []
    for sigma, depth, contours in _contours(maps, grid):
        part = replace(grid, sigma=(sigma,), depth=(depth,))
        surface += _scores(sections, contours, part, dict(alone))
    best = min(surface, key=_preference)
    remarks = tuple(_remarks(best, membrane, grid))
    return Calibration(best, tuple(surface), tuple(membrane), remarks)


def _check(maps: Sequence[Membrane], truths: Sequence[Truth], grid: SearchGrid) -> None:
    if not all(astuple(grid)):
        raise DcanError(f"{grid} has an axis without values: give each at least one")
    if [u.shape for u in maps] != [truth.shape for truth in truths]:
        raise DcanError(
            f"{len(maps)} maps and {len(truths)} truth sections must match in number and shape"
        )
    if not any(truth.any() for truth in truths):
        raise DcanError("the truth has no pixel above 0: calibrate on sections with labels")


def _contours(
    maps: Sequence[Membrane], grid: SearchGrid
) -> Iterator[tuple[float, float, list[Mask]]]:
    """The contours of all sections for each sigma and depth, in their order."""
    for sigma in grid.sigma:
        descents = [descend(smooth(u, sigma), Frame.whole(*u.shape)) for u in maps]
        floods = [tables(descent) for descent in descents]
        for depth in grid.depth:
            levels = depth_levels(depth)
            regions = [merge([flood], levels) for flood in floods]
            yield sigma, depth, [contour(*both) for both in zip(descents, regions, strict=True)]


def _scores(
    sections: Sequence[tuple[Membrane, Truth]],
    contours: Sequence[Mask],
    grid: SearchGrid,
    known: Errors,
) -> list[Score]:
    """The scores of the one sigma and depth of `grid`; adds to `known`, and uses it."""
    scores = []
    for w_f, t in product(grid.w_f, grid.t):
        table = inside_table(w_f, t)
        key = table.tobytes()
        if key not in known:
            known[key] = _rand_errors(sections, contours, table, grid.min_size)
        for min_size, error in zip(grid.min_size, known[key], strict=True):
            fusion = Fusion(grid.sigma[0], grid.depth[0], w_f, t, min_size)
            scores.append(Score(fusion, error))
    return scores


def _rand_errors(
    sections: Sequence[tuple[Membrane, Truth]],
    contours: Sequence[Mask],
    inside: Mask,
    min_sizes: Sequence[int],
) -> list[float]:
    """The Rand error of all sections together for each of `min_sizes`."""
    counts: list[list[tuple[int, int, int]]] = [[] for _ in min_sizes]
    for (membrane, truth), edge in zip(sections, contours, strict=True):
        labels, sizes, _ = components(inside[edge.view(np.uint8), membrane])
        numbers = np.arange(len(sizes) + 1, dtype=np.uint32)
        for k, min_size in enumerate(min_sizes):
            kept = np.concatenate([[False], sizes >= min_size])
            counted = labels if kept[1:].all() else np.where(kept, numbers, 0)[labels]
            counts[k].append(foreground_counts(truth, counted))
    return [rand_error(of_sections) for of_sections in counts]


def _preference(score: Score) -> tuple[float, ...]:
    fusion = score.fusion
    return (
        score.rand_error,
        fusion.sigma,
        fusion.depth,
        abs(fusion.w_f - 700),
        abs(fusion.t - 300),
        fusion.min_size,
        fusion.w_f,
        fusion.t,
    )


def _remarks(best: Score, membrane: Sequence[Score], grid: SearchGrid) -> Iterator[str]:
    bounds = {"sigma": (0, None), "depth": (0, 255), "w_f": (0, 1000), "t": (0, 1000)}
    for axis in ("sigma", "depth", "w_f", "t", "min_size"):
        value, values = getattr(best.fusion, axis), getattr(grid, axis)
        at_edge = len(values) > 1 and value in (values[0], values[-1])
        if at_edge and value not in bounds.get(axis, (0, None)):
            yield f"{axis} {value} is at the edge of {values[0]}..{values[-1]}: widen the grid"
    table = inside_table(best.fusion.w_f, best.fusion.t)
    if (table == table[:, :1]).all():
        yield "the membrane probability has no influence beyond its watershed: t >= 1 - w_f"
    if min(score.rand_error for score in membrane) <= best.rand_error:
        yield "the watershed adds nothing on these sections: w_f = 0 does as well"
