"""How well two partitions of the same voxels agree, from their contingency table.

Notation of the docstrings: n_ij voxels with label i in truth and j in the proposal, a_i and
b_j the sums over j and i, n the sum of all.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dcan.errors import DcanError
from dcan.ops.contingency import Table

_SQUARE_FITS = isqrt(np.iinfo(np.int64).max)


class Agreement(NamedTuple):
    """Exact counts whose ratios are precision (both / proposal) and recall (both / truth).

    Voxels or pairs of voxels that are alike in both, in the proposal, in truth. Counts of
    sections add up.
    """

    both: int
    proposal: int
    truth: int

    @property
    def precision(self) -> float:
        """Falls with mergers; 1 when nothing is proposed wrongly."""
        return 1.0 if self.both == self.proposal else self.both / self.proposal

    @property
    def recall(self) -> float:
        """Falls with splits; 1 when nothing of truth is missed."""
        return 1.0 if self.both == self.truth else self.both / self.truth

    @property
    def f_score(self) -> float:
        """Harmonic mean of precision and recall."""
        return harmonic_mean(self.precision, self.recall)


def harmonic_mean(precision: float, recall: float) -> float:
    """The F score; 0 when both are 0."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def total(counts: Iterable[tuple[int, int, int]]) -> Agreement:
    """The sum over sections; all 0 when there are none."""
    sums = [0, 0, 0]
    for part in counts:
        sums = [a + b for a, b in zip(sums, part, strict=True)]
    return Agreement(*sums)


def classic_pairs(table: Table) -> Agreement:
    """Pairs of voxels in one cluster, label 0 being a cluster like any other on both sides.

    sum n_ij (n_ij - 1) / 2, and the same of b_j and a_i. Source: Rand 1971.
    """
    both, proposal, truth = (
        (_squares(counts) - table.voxels) // 2
        for counts in (table.count, voxels_of(table.proposal, table.count)[0], _truth_sums(table))
    )
    return Agreement(both, proposal, truth)


def foreground_pairs(table: Table) -> Agreement:
    """Ordered pairs in one object, over voxels whose truth is not 0.

    Voxels with proposal label 0, c in number, are objects of one voxel each:
    both = sum_{j>0} n_ij^2 + c, proposal = sum_{j>0} b_j^2 + c, truth = sum a_i^2.
    Source: Arganda-Carreras et al., Frontiers in Neuroanatomy 9:142 (2015).
    """
    table = table.foreground
    named = table.proposal != 0
    single = int(table.count[~named].sum())
    counts = table.count[named]
    columns, _ = voxels_of(table.proposal[named], counts)
    return Agreement(
        _squares(counts) + single, _squares(columns) + single, _squares(_truth_sums(table))
    )


def information_f_score(table: Table) -> float:
    """V_info: F of the shares of each partition's entropy that the other explains, 0..1.

    Over voxels whose truth is not 0; those with proposal label 0 are objects of one voxel
    each. Precision (H(truth) - H(truth|proposal)) / H(truth), recall likewise of the
    proposal. Truth of one object has no entropy: precision 0, recall 1, hence 0. A proposal
    without entropy: precision 1, recall 0, hence 0.
    Source: Arganda-Carreras et al. 2015.
    """
    table = table.foreground
    n = table.voxels
    named = table.proposal != 0
    counts = table.count[named]
    # n is at least 1 wherever it divides: without voxels every sum is empty.
    single = (n - int(counts.sum())) / max(n, 1) * np.log(max(n, 1))
    of_truth = _entropy(_truth_sums(table), n)
    of_proposal = _entropy(voxels_of(table.proposal[named], counts)[0], n) + single
    shared = of_truth + of_proposal - (_entropy(counts, n) + single)
    if of_truth == 0 or of_proposal == 0:
        return 0.0
    return float(harmonic_mean(shared / of_truth, shared / of_proposal))


def volume_scores(table: Table) -> dict[str, float]:
    """The scores of a volume's segmentation, over voxels whose truth is not 0.

    - `rand_merge`, `rand_split`: precision and recall of `foreground_pairs`, where proposal
      label 0 stands for objects of one voxel each; 1 is perfect.
    - `adapted_rand_error`: 1 - F of these two.
    - `voi_merge`, `voi_split`: conditional entropies H(truth|proposal) and
      H(proposal|truth) in bits, where proposal label 0 is an object like any other; 0 is
      perfect.

    CREMI's VOI is the same, and its Rand counts c / n for the c voxels with proposal label 0
    among n. In scikit-image, `variation_of_information` ignoring label 0 is the same;
    `adapted_rand_error` leaves out the pairs of a voxel with itself, takes proposal label 0
    for an object, and returns precision and recall in the other order. `docs/numerics.md`
    has an example of each.

    Raises
    ------
    DcanError
        When truth labels no voxel.
    """
    table = table.foreground
    if len(table) == 0:
        raise DcanError(
            "truth has no voxel with a label other than 0: nothing to score; check the truth's box"
        )
    pairs = foreground_pairs(table)
    rows, row = voxels_of(table.truth, table.count)
    columns, column = voxels_of(table.proposal, table.count)
    share = table.count / table.voxels
    return {
        "adapted_rand_error": 1 - pairs.f_score,
        "rand_split": pairs.recall,
        "rand_merge": pairs.precision,
        "voi_split": float(share @ np.log2(rows[row] / table.count)),
        "voi_merge": float(share @ np.log2(columns[column] / table.count)),
    }


def voxels_of(
    labels: NDArray[np.uint64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Voxels of each label, ascending, and each cell's place among them."""
    names, group = np.unique(labels, return_inverse=True)
    sums = np.zeros(names.size, np.int64)
    np.add.at(sums, group, counts)
    return sums, group


def _truth_sums(table: Table) -> NDArray[np.int64]:
    """Voxels of each truth label; cells are sorted by it."""
    if len(table) == 0:
        return table.count
    first = np.flatnonzero(np.diff(table.truth, prepend=~table.truth[:1]))
    return np.asarray(np.add.reduceat(table.count, first))


def _squares(counts: NDArray[np.int64]) -> int:
    """The exact sum of squares, beyond 64 bits where it must be."""
    if int(counts.sum()) <= _SQUARE_FITS:
        return int(counts @ counts)
    return sum(value * value for value in counts.tolist())


def _entropy(counts: NDArray[np.int64], n: int) -> float:
    """-sum p ln p with p = counts / n, in nats."""
    share = counts / max(n, 1)
    return float(-(share @ np.log(share)))
