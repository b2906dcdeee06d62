"""The metrics of a stack, gathered section by section: memory holds one section and sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, repeat

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dcan.errors import DcanError
from dcan.ops.contingency import count
from dcan.ops.curves import Curve, StackScores
from dcan.ops.partition import (
    Agreement,
    classic_pairs,
    foreground_pairs,
    information_f_score,
    total,
)
from dcan.ops.thinning import thin
from dcan.ops.warping import Mistake, mistakes

THRESHOLDS = tuple(accumulate(repeat(0.1, 10), initial=0.0))
"""0, 0.1, ... 1.0 by repeated addition: the sums' rounding decides which pixels are in."""

_IS_ERROR = {
    "pixel_error": True,
    "rand_error_classic": True,
    "rand_error_foreground": True,
    "vrand_thin_macro": False,
    "vrand_thin_micro": False,
    "vinfo_thin": False,
}

_NOTHING = Agreement(0, 0, 0)

WARPING_LIMIT = 0.9
"""Warping is scored at thresholds up to this one."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """What one section adds at one threshold, warping apart."""

    pixels: Agreement
    classic: Agreement
    foreground: Agreement
    thinned: Agreement
    information: float


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What one section adds to a stack's metrics: plain numbers.

    `overlaps` of each threshold; `mistakes`: int64, pixels by (threshold up to `WARPING_LIMIT`,
    `Mistake`).
    """

    pixels: int
    overlaps: tuple[Overlap, ...]
    mistakes: NDArray[np.int64]


@dataclass(slots=True)
class _Sums:
    """Of the sections so far, at one threshold."""

    pixels: Agreement = _NOTHING
    classic: Agreement = _NOTHING
    foreground: Agreement = _NOTHING
    thinned: Agreement = _NOTHING
    thinned_f: float = 0.0
    information: float = 0.0
    sections: int = 0

    def add(self, part: Overlap) -> None:
        self.pixels = total((self.pixels, part.pixels))
        self.classic = total((self.classic, part.classic))
        self.foreground = total((self.foreground, part.foreground))
        self.thinned = total((self.thinned, part.thinned))
        self.thinned_f += part.thinned.f_score
        self.information += part.information
        self.sections += 1

    def metrics(self) -> dict[str, float]:
        return {
            "pixel_error": 1 - self.pixels.f_score,
            "rand_error_classic": 1 - self.classic.f_score,
            "rand_error_foreground": 1 - self.foreground.f_score,
            "vrand_thin_macro": self.thinned_f / self.sections,
            "vrand_thin_micro": self.thinned.f_score,
            "vinfo_thin": self.information / self.sections,
        }


class Tally:
    """Scores a stack of which one section at a time is in memory.

    `measure` each section, on any thread, and `add` what it gives, in the sections' order:
    the order plays no part but for the last bits of the means over sections.
    """

    def __init__(self, thresholds: Sequence[float] = THRESHOLDS, *, warping: bool = True) -> None:
        """`thresholds` as of `score_stack`. Raises DcanError when none is left to try."""
        self._thresholds = tuple(map(float, thresholds))
        self._low = tuple(t for t in self._thresholds if warping and t <= WARPING_LIMIT)
        if not self._thresholds or (warping and not self._low):
            raise DcanError(
                f"thresholds {list(thresholds)}: at least one is needed, and one up to "
                f"{WARPING_LIMIT} for warping; add one, or score without warping"
            )
        self._pixels = 0
        self._sums = [_Sums() for _ in self._thresholds]
        self._mistakes = np.zeros((len(self._low), len(Mistake)), np.int64)

    def measure(
        self,
        truth: NDArray[np.uint8] | NDArray[np.bool_],
        proposal: NDArray[np.float32],
        tissue: NDArray[np.bool_] | None = None,
    ) -> Measured:
        """What a section adds: arrays (y, x), else as of `score_stack`. Changes nothing.

        `tissue`: bool (y, x), None: everywhere. A pixel without it is membrane in both for the
        objects and for warping, and is in no count.

        Raises
        ------
        DcanError
            When shapes, types or values do not fit.
        """
        _check(truth, proposal)
        on = truth != 0
        if tissue is not None:
            on, proposal = on & tissue, np.where(tissue, proposal, np.float32(0))
        pixels = slice(None) if tissue is None else tissue
        objects = ndimage.label(on)[0]
        # np.float64 makes NumPy compare in double; a Python float would be rounded to float32
        masks = (proposal > np.float64(t) for t in self._thresholds)
        found = (mistakes(on, proposal, t).reshape(-1) for t in self._low)
        kinds = [np.bincount(kind, minlength=len(Mistake)) for kind in found]
        return Measured(
            on[pixels].size,
            tuple(_overlap(on, objects, mask, pixels) for mask in masks),
            np.array(kinds, np.int64).reshape(self._mistakes.shape),
        )

    def add(self, section: Measured) -> None:
        """Add what `measure` of this tally, or of one of equal thresholds, gave of a section."""
        self._pixels += section.pixels
        for sums, part in zip(self._sums, section.overlaps, strict=True):
            sums.add(part)
        self._mistakes += section.mistakes

    def scores(self) -> StackScores:
        """The metrics of the sections added so far. Raises DcanError when there are none."""
        if self._pixels == 0:
            raise DcanError("no section was scored: give at least one")
        columns = [sums.metrics() for sums in self._sums]
        curves = {
            name: Curve(self._thresholds, tuple(column[name] for column in columns), is_error)
            for name, is_error in _IS_ERROR.items()
        }
        if not self._low:
            return StackScores(curves)
        left = self._mistakes.sum(axis=1) - self._mistakes[:, Mistake.NONE]
        broken = self._mistakes[:, [Mistake.SPLIT, Mistake.MERGE]].sum(axis=1)
        for name, pixels in (("classic", left), ("splits_mergers", broken)):
            values = tuple(part / self._pixels for part in pixels.tolist())
            curves[f"warping_error_{name}"] = Curve(self._low, values, is_error=True)
        best = self._low.index(curves["warping_error_splits_mergers"].at)
        kinds = {m.name.lower(): int(self._mistakes[best, m]) for m in Mistake if m}
        return StackScores(curves, kinds)


def _overlap(
    truth: NDArray[np.bool_],
    objects: NDArray[np.int32],
    proposal: NDArray[np.bool_],
    pixels: slice | NDArray[np.bool_],
) -> Overlap:
    proposed = ndimage.label(proposal)[0]
    known = objects[pixels]
    table, thinned = count(known, proposed[pixels]), count(known, thin(proposed)[pixels])
    both, found, true = map(np.count_nonzero, (truth & proposal, proposal, truth))
    return Overlap(
        Agreement(int(both), int(found), int(true)),
        classic_pairs(table),
        foreground_pairs(table),
        foreground_pairs(thinned),
        information_f_score(thinned),
    )


def _check(truth: NDArray[np.uint8] | NDArray[np.bool_], proposal: NDArray[np.float32]) -> None:
    if truth.ndim != 2 or truth.shape != proposal.shape or truth.size == 0:
        raise DcanError(
            f"truth has shape {truth.shape} and the proposal {proposal.shape}: a section is "
            "scored on two arrays of one shape, axes (y, x), with at least one pixel"
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
