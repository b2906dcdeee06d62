"""The metrics of the ISBI 2012 challenge, and those of volumes.

Values agree with the challenge's own implementation. Truth and proposal are compared section
by section; one threshold serves the whole stack.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from dcan.errors import DcanError
from dcan.ops.contingency import Labels, count
from dcan.ops.curves import Curve, StackScores
from dcan.ops.definitions import DEFINITIONS, HEADLINES
from dcan.ops.faults import Fault, Worst, pieces, worst
from dcan.ops.partition import foreground_pairs, total, volume_scores
from dcan.ops.tally import THRESHOLDS, Tally

__all__ = [
    "DEFINITIONS",
    "HEADLINES",
    "THRESHOLDS",
    "Curve",
    "Fault",
    "StackScores",
    "Tally",
    "Worst",
    "foreground_counts",
    "pieces",
    "rand_error",
    "score_stack",
    "volume_scores",
    "worst",
]


def score_stack(
    truth: NDArray[np.uint8] | NDArray[np.bool_],
    proposal: NDArray[np.float32],
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    warping: bool = True,
) -> StackScores:
    """All metrics of the challenge for a stack of sections; `DEFINITIONS` says what they are.

    For stacks in memory; `Tally` scores those that are read section by section.

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
    if truth.ndim != 3 or truth.shape != proposal.shape or truth.size == 0:
        raise DcanError(
            f"truth has shape {truth.shape} and the proposal {proposal.shape}: scoring takes two "
            "stacks of one shape, axes (z, y, x), with at least one pixel"
        )
    tally = Tally(thresholds, warping=warping)
    for sections in zip(truth, proposal, strict=True):
        tally.add(tally.measure(*sections))
    return tally.scores()


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
