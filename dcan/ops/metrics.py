"""The metrics of the ISBI 2012 challenge, and those of volumes.

Values agree with the challenge's own implementation. Truth and proposal are compared section
by section; one threshold serves the whole stack.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, repeat

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dcan.errors import DcanError
from dcan.ops.contingency import Labels, count
from dcan.ops.definitions import DEFINITIONS, HEADLINES
from dcan.ops.partition import (
    Agreement,
    Fault,
    Worst,
    classic_pairs,
    foreground_pairs,
    information_f_score,
    total,
    volume_scores,
    worst,
)
from dcan.ops.thinning import thin
from dcan.ops.warping import Mistake, mistakes

__all__ = [
    "DEFINITIONS",
    "HEADLINES",
    "THRESHOLDS",
    "Curve",
    "Fault",
    "StackScores",
    "Worst",
    "foreground_counts",
    "rand_error",
    "score_stack",
    "volume_scores",
    "worst",
]

THRESHOLDS = tuple(accumulate(repeat(0.1, 10), initial=0.0))
"""0, 0.1, ... 1.0 by repeated addition: the sums' rounding decides which pixels are in."""

WARPING_LIMIT = 0.9
"""Warping is scored at thresholds up to this one."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A metric at each threshold; errors are best low, all others high."""

    thresholds: tuple[float, ...]
    values: tuple[float, ...]
    is_error: bool

    @property
    def best(self) -> float:
        """The least error or greatest score."""
        return min(self.values) if self.is_error else max(self.values)

    @property
    def at(self) -> float:
        """The first threshold where the metric is best."""
        return self.thresholds[self.values.index(self.best)]


@dataclass(frozen=True, slots=True)
class StackScores:
    """The metrics of a stack by name; those of warping only when they were asked for."""

    curves: dict[str, Curve]

    @property
    def best(self) -> dict[str, float]:
        """Each metric at the threshold that is best for it."""
        return {name: curve.best for name, curve in self.curves.items()}

    @property
    def at(self) -> dict[str, float]:
        """The threshold at which each metric is best; ties: the first tried."""
        return {name: curve.at for name, curve in self.curves.items()}

    def as_dict(self) -> dict[str, dict[str, float | list[float]]]:
        """Plain values for JSON: of each metric its `best`, `at`, `thresholds`, `values`."""
        return {
            name: {
                "best": curve.best,
                "at": curve.at,
                "thresholds": list(curve.thresholds),
                "values": list(curve.values),
            }
            for name, curve in self.curves.items()
        }


def score_stack(
    truth: NDArray[np.uint8] | NDArray[np.bool_],
    proposal: NDArray[np.float32],
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    warping: bool = True,
) -> StackScores:
    """All metrics of the challenge for a stack of sections; `DEFINITIONS` says what they are.

    Parameters
    ----------
    truth
        uint8 or bool, (z, y, x); nonzero = neurite, 0 = membrane.
    proposal
        float32, (z, y, x), 0..1; high = neurite. A pixel is neurite when its value, as
        float64, is > t.
    thresholds
        The t to try, each 0 or more. A binary proposal is scored at `(0.0,)` alone. Warping
        tries those up to 0.9.

    Raises
    ------
    DcanError
        When shapes, types or values do not fit, or no threshold is left to try.
    """
    _check(truth, proposal)
    low = [t for t in thresholds if t <= WARPING_LIMIT]
    if len(thresholds) == 0 or (warping and not low):
        raise DcanError(
            f"thresholds {list(thresholds)}: at least one is needed, and one up to {WARPING_LIMIT} "
            "for warping; add one, or score without warping"
        )
    on = truth != 0
    objects = [ndimage.label(section)[0] for section in on]
    # np.float64 makes NumPy compare in double; a Python float would be rounded to float32
    columns = [_overlap_values(on, objects, proposal > np.float64(t)) for t in thresholds]
    curves = {
        name: Curve(
            tuple(map(float, thresholds)), tuple(column[name] for column in columns), is_error
        )
        for name, is_error in _OVERLAP_METRICS.items()
    }
    if warping:
        pairs = [_warping_values(on, proposal, t) for t in low]
        for name, values in zip(_WARPING_METRICS, zip(*pairs, strict=True), strict=True):
            curves[name] = Curve(tuple(map(float, low)), values, is_error=True)
    return StackScores(curves)


def foreground_counts(truth: Labels, labels: Labels) -> tuple[int, int, int]:
    """Exact integers (AB, B, A) of the foreground-restricted Rand index of one section.

    Both integer labels, (y, x), 0 = membrane; see `partition.foreground_pairs`. Add those of
    several sections, and `rand_error` is the stack's.

    Raises
    ------
    DcanError
        When the shapes differ, or a label is negative or no integer.
    """
    return foreground_pairs(count(truth, labels))


def rand_error(counts: Iterable[tuple[int, int, int]]) -> float:
    """1 - F of the summed (AB, B, A): precision AB / B, recall AB / A. 0 is perfect.

    >>> rand_error([(4, 4, 8), (4, 4, 4)])
    0.19999999999999996
    """
    return 1 - total(counts).f_score


_OVERLAP_METRICS = {
    "pixel_error": True,
    "rand_error_classic": True,
    "rand_error_foreground": True,
    "vrand_thin_macro": False,
    "vrand_thin_micro": False,
    "vinfo_thin": False,
}
_WARPING_METRICS = ("warping_error_classic", "warping_error_splits_mergers")


def _overlap_values(
    truth: NDArray[np.bool_],
    truth_objects: Sequence[NDArray[np.int32]],
    proposal: NDArray[np.bool_],
) -> dict[str, float]:
    """The metrics that need no warping, for one threshold."""
    pixels = Agreement(
        int(np.count_nonzero(truth & proposal)),
        int(np.count_nonzero(proposal)),
        int(np.count_nonzero(truth)),
    )
    tables, thinned = [], []
    for objects, section in zip(truth_objects, proposal, strict=True):
        proposed = ndimage.label(section)[0]
        tables.append(count(objects, proposed))
        thinned.append(count(objects, thin(proposed)))
    thin_pairs = [foreground_pairs(table) for table in thinned]
    return {
        "pixel_error": 1 - pixels.f_score,
        "rand_error_classic": 1 - total(map(classic_pairs, tables)).f_score,
        "rand_error_foreground": 1 - total(map(foreground_pairs, tables)).f_score,
        "vrand_thin_macro": _mean(pairs.f_score for pairs in thin_pairs),
        "vrand_thin_micro": total(thin_pairs).f_score,
        "vinfo_thin": _mean(map(information_f_score, thinned)),
    }


def _warping_values(
    truth: NDArray[np.bool_], proposal: NDArray[np.float32], threshold: float
) -> tuple[float, float]:
    """Classic warping error, and that of splits and mergers, for one threshold."""
    left, broken = 0, 0
    for section, values in zip(truth, proposal, strict=True):
        found = mistakes(section, values, threshold)
        left += int(np.count_nonzero(found))
        broken += int(np.count_nonzero((found == Mistake.SPLIT) | (found == Mistake.MERGE)))
    return left / truth.size, broken / truth.size


def _mean(values: Iterator[float]) -> float:
    parts = list(values)
    return sum(parts) / len(parts)


def _check(truth: NDArray[np.uint8] | NDArray[np.bool_], proposal: NDArray[np.float32]) -> None:
    if truth.ndim != 3 or truth.shape != proposal.shape or truth.size == 0:
        raise DcanError(
            f"truth has shape {truth.shape} and the proposal {proposal.shape}: scoring takes two "
            "stacks of one shape, axes (z, y, x), with at least one pixel"
        )
    if truth.dtype not in (np.dtype(np.uint8), np.dtype(np.bool_)) or proposal.dtype != np.float32:
        raise DcanError(
            f"truth has type {truth.dtype} and the proposal {proposal.dtype}: scoring takes uint8 "
            "or bool, and float32; convert them (labels: truth != 0)"
        )
    if not (proposal.min() >= 0 and proposal.max() <= 1):
        raise DcanError(
            f"the proposal runs from {proposal.min()} to {proposal.max()}: it must lie in 0..1, "
            "high = neurite; divide by its full scale"
        )
