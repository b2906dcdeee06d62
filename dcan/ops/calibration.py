"""The parameters of watershed fusion with which labelled sections come out best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields, replace
from functools import partial
from itertools import product, starmap
from math import sqrt
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from dcan.errors import DcanError
from dcan.ops.frames import Frame, Mask, Membrane
from dcan.ops.fusion import components, contour, inside_table, pixels_inside
from dcan.ops.merging import merge
from dcan.ops.metrics import foreground_counts, rand_error
from dcan.ops.partition import total
from dcan.ops.sections import Fusion
from dcan.ops.smoothing import depth_levels, smooth
from dcan.ops.watershed import descend
from dcan.ops.watershed import tables as basins

Truth = npt.NDArray[np.integer]
Counts = tuple[int, int, int]
"""AB, B, A of the Rand index of one section."""
Tally = dict[tuple[float, float] | None, dict[bytes, list[Counts]]]
"""Counts of one section for each `min_size`, by sigma and depth (None: without a contour) and
by the bytes of the inside table."""


class Each(Protocol):
    """Applies a function to each section, in their order: `map`, or one that uses threads."""

    def __call__(self, work: Callable[[Any], Any], sections: Iterable[Any], /) -> Iterable[Any]:
        """The results, in the order of `sections`."""


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
    """The foreground-restricted Rand error, 0..1, of one choice of parameters.

    `standard_error`: of `rand_error`, by leaving out one section at a time; None for one section.
    """

    fusion: Fusion
    rand_error: float
    standard_error: float | None = None


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a search found.

    `best`: the choice to use. `surface`: every choice of the grid, sorted by (sigma, depth,
    w_f, t, min_size). `membrane`: the network's map alone at each (t, min_size), which is
    w_f = 0; its sigma and depth are 0 and play no part. `within`: for each axis the least and
    the greatest value, without a gap to the best one, with which some choice is within one
    standard error of the best; empty for one section. `remarks`: what a user should know of
    `best`, one line each.
    """

    best: Score
    surface: tuple[Score, ...]
    membrane: tuple[Score, ...]
    within: dict[str, tuple[float, float]]
    remarks: tuple[str, ...]


class _Section(NamedTuple):
    """One labelled section, as `calibrate` has it."""

    membrane: Membrane
    truth: Truth
    tissue: Mask | None


def calibrate(
    maps: Sequence[Membrane],
    truths: Sequence[Truth],
    grid: SearchGrid,
    each: Each = map,
    tissues: Sequence[Mask | None] | None = None,
) -> Calibration:
    """Try every choice of `grid` on labelled sections; the least Rand error is the best.

    `maps`: uint8 (y, x), 255 = membrane; `truths`: integer labels of the same shapes,
    0 = membrane; `tissues`: as of `dcan.ops.sections.segment`, None: tissue everywhere in all of
    them. AB, B and A are summed over the sections. Ties go to the smaller sigma, the
    smaller depth, the w_f nearest to 700, the t nearest to 300, the smaller min_size, then
    the smaller w_f and t. Basins and saddles of a map are found once for all depths, w_f and
    t, choices that share an inside table are evaluated once, and `each` has one section in hand.
    Raises DcanError when an axis of the grid is empty, a value is out of its range, the sections
    do not match, or the truth has no foreground.

    Source: Chen et al. 2016 choose w_f for the best Rand error of the training sections.
    """
    grid = SearchGrid(*(tuple(sorted(set(axis))) for axis in astuple(grid)))
    _check(maps, truths, grid)
    each_tissue = [None] * len(maps) if tissues is None else tissues
    sections = starmap(_Section, zip(maps, truths, each_tissue, strict=True))
    tallies = list(each(partial(_tally, grid), sections))
    bare = replace(grid, sigma=(0.0,), depth=(0.0,), w_f=(0,))
    membrane = _scores([tally[None] for tally in tallies], bare)
    surface = []
    for sigma, depth in product(grid.sigma, grid.depth):
        part = replace(grid, sigma=(sigma,), depth=(depth,))
        surface += _scores([tally[sigma, depth] for tally in tallies], part)
    best = min(surface, key=_preference)
    within = _within(best, surface, grid)
    remarks = tuple(_remarks(best, membrane, grid))
    return Calibration(best, tuple(surface), tuple(membrane), within, remarks)


def _check(maps: Sequence[Membrane], truths: Sequence[Truth], grid: SearchGrid) -> None:
    if not all(astuple(grid)):
        raise DcanError(f"{grid} has an axis without values: give each at least one")
    if [u.shape for u in maps] != [truth.shape for truth in truths]:
        raise DcanError(
            f"{len(maps)} maps and {len(truths)} truth sections must match in number and shape"
        )
    if not any(truth.any() for truth in truths):
        raise DcanError("the truth has no pixel above 0: calibrate on sections with labels")


def _tally(grid: SearchGrid, section: _Section) -> Tally:
    """The counts of one section for every choice of `grid`."""
    membrane = section.membrane
    tables = _tables(grid)
    nowhere = np.zeros(membrane.shape, np.bool_)
    alone = {
        key: _counts(table, grid.min_size, nowhere, section)
        for key, table in _tables(replace(grid, w_f=(0,))).items()
    }
    found: Tally = {None: alone}
    for sigma in grid.sigma:
        descent = descend(smooth(membrane, sigma), Frame.whole(*membrane.shape))
        flood = basins(descent)
        for depth in grid.depth:
            edge = contour(descent, merge([flood], depth_levels(depth)))
            found[sigma, depth] = {
                key: alone.get(key) or _counts(table, grid.min_size, edge, section)
                for key, table in tables.items()
            }
    return found


def _tables(grid: SearchGrid) -> dict[bytes, Mask]:
    """The inside tables that differ, by their bytes: choices that share one are the same."""
    every = (inside_table(w_f, t) for w_f, t in product(grid.w_f, grid.t))
    return {table.tobytes(): table for table in every}


def _counts(inside: Mask, min_sizes: Sequence[int], edge: Mask, section: _Section) -> list[Counts]:
    """AB, B and A of one section for each of `min_sizes`."""
    membrane, truth, tissue = section
    labels, sizes, _ = components(pixels_inside(edge, membrane, inside, tissue))
    numbers = np.arange(len(sizes) + 1, dtype=np.uint32)
    found = []
    for min_size in min_sizes:
        kept = np.concatenate([[False], sizes >= min_size])
        counted = labels if kept[1:].all() else np.where(kept, numbers, 0)[labels]
        found.append(foreground_counts(truth, counted))
    return found


def _scores(counted: Sequence[dict[bytes, list[Counts]]], grid: SearchGrid) -> list[Score]:
    """The scores of the one sigma and depth of `grid`, from the counts of all sections."""
    errors = {
        key: [_error(counts) for counts in zip(*(part[key] for part in counted), strict=True)]
        for key in counted[0]
    }
    scores = []
    for w_f, t in product(grid.w_f, grid.t):
        key = inside_table(w_f, t).tobytes()
        for min_size, (error, spread) in zip(grid.min_size, errors[key], strict=True):
            fusion = Fusion(grid.sigma[0], grid.depth[0], w_f, t, min_size)
            scores.append(Score(fusion, error, spread))
    return scores


def _error(counts: Sequence[Counts]) -> tuple[float, float | None]:
    """The Rand error of all sections together, and its standard error by the jackknife.

    Source: Efron and Stein 1981, the delete-one estimate of variance.
    """
    error, n = rand_error(counts), len(counts)
    if n < 2:
        return error, None
    both, proposal, truth = total(counts)
    others = [rand_error([(both - ab, proposal - b, truth - a)]) for ab, b, a in counts]
    mean = sum(others) / n
    return error, sqrt((n - 1) / n * sum((other - mean) ** 2 for other in others))


def _within(
    best: Score, surface: Sequence[Score], grid: SearchGrid
) -> dict[str, tuple[float, float]]:
    if best.standard_error is None:
        return {}
    limit = best.rand_error + best.standard_error
    good = [score.fusion for score in surface if score.rand_error <= limit]
    found = {}
    for axis, values in ((field.name, getattr(grid, field.name)) for field in fields(grid)):
        reached = {getattr(fusion, axis) for fusion in good}
        low = high = values.index(getattr(best.fusion, axis))
        while low > 0 and values[low - 1] in reached:
            low -= 1
        while high + 1 < len(values) and values[high + 1] in reached:
            high += 1
        found[axis] = (values[low], values[high])
    return found


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
