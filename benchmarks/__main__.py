"""`make bench`: our steps and their peers in turn, and the ratios of medians.

The inputs are made from a seed; one run of each side is not counted. Absolute times belong to
the machine and the hour; the ratios are what to compare.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import gaussian
from skimage.measure import label
from skimage.metrics import adapted_rand_error
from skimage.morphology import h_minima
from skimage.segmentation import watershed

from benchmarks.prediction import whole
from benchmarks.stages import SHAPE as STAGES_SHAPE
from benchmarks.stages import BlockStages, Spent, arithmetic, spent
from benchmarks.warping import plain_mistakes
from dcan.engine.blocks import over
from dcan.geometry import Box
from dcan.ops import contingency, phantom
from dcan.ops.calibration import SearchGrid
from dcan.ops.calibration import calibrate as search
from dcan.ops.metrics import score_stack, volume_scores
from dcan.ops.partition import classic_pairs
from dcan.ops.sections import Fusion, segment
from dcan.ops.targets import NEURITE, objects, target
from dcan.ops.warping import mistakes
from dcan.steps import calibrate

SHAPE = (4, 1024, 1024)
ROUNDS = 5
STAGE_ROUNDS = 3  # of the block stages, which take minutes
SCORED = (30, 512, 512)
SCORED_SECONDS = 60
CALIBRATION_SECONDS = 300
FUSION = Fusion(sigma=1.5, depth=8.0, w_f=700, t=300, min_size=25)

Side = Callable[[], Any]


@dataclass(frozen=True)
class Row:
    """One comparison: what is done, by us and by a named peer."""

    what: str
    peer: str
    ours: Side
    theirs: Side
    aim: float
    agree: Callable[[], bool] | None = None
    """Where both compute the same thing: whether they do."""


def skimage_fusion(membrane: NDArray[Any]) -> NDArray[Any]:
    """The same steps with scikit-image: smooth, h-minima, watershed with lines, fuse, label."""
    smooth = gaussian(membrane, FUSION.sigma, preserve_range=True)
    minima = label(h_minima(smooth, FUSION.depth), connectivity=1)
    dams = watershed(smooth, minima, connectivity=1, watershed_line=True) == 0
    weight = FUSION.w_f / 1000
    fused = weight * dams + (1 - weight) * (membrane / 255)
    labels: NDArray[Any] = label(fused < FUSION.t / 1000, connectivity=1)
    return labels


def rows() -> list[Row]:
    """The comparisons, on a phantom's membrane map and labels."""
    box = Box((1, 0, 0), (2, *SHAPE[1:]))
    membrane = phantom.membrane(SHAPE, 0, box)[0]
    truth = phantom.render(SHAPE, 0, Box.whole(SHAPE)).neurites
    found = ndimage.label(truth % 7 > 1)[0].astype(np.uint64)
    inside = target(truth[1], "neurites") == NEURITE
    neurite = ((255 - membrane.astype(np.float64)) / 255).astype(np.float32)

    def same_pairs() -> bool:
        """Without the pairs of a voxel with itself our counts are those of scikit-image."""
        pairs = classic_pairs(contingency.count(truth, found).foreground)
        theirs = adapted_rand_error(truth.astype(np.int64), found.astype(np.int64))
        ours = (1 - pairs.f_score, pairs.recall, pairs.precision)
        return bool(np.allclose(ours, theirs, rtol=0, atol=1e-12))

    return [
        Row(
            "watershed fusion of 1024 x 1024, steps 1 to 5",
            "scikit-image gaussian, h_minima, watershed, label",
            lambda: segment(membrane, FUSION),
            lambda: skimage_fusion(membrane),
            20,
        ),
        Row(
            "contingency table and Rand of 4 x 1024 x 1024",
            "scikit-image adapted_rand_error",
            lambda: volume_scores(contingency.count(truth, found)),
            lambda: adapted_rand_error(truth.astype(np.int64), found.astype(np.int64)),
            5,
            same_pairs,
        ),
        Row(
            "warping mistakes of 1024 x 1024 at t = 0.5",
            "plain Python over pixels",
            lambda: mistakes(inside, neurite, 0.5),
            lambda: plain_mistakes(inside, neurite, 0.5),
            50,
            lambda: np.array_equal(
                mistakes(inside, neurite, 0.5), plain_mistakes(inside, neurite, 0.5)
            ),
        ),
    ]


def compare() -> None:
    """Each row's two sides in turn, on one thread."""
    print(f"{'what':48} {'ours':>9} {'peer':>9} {'ratio':>7} {'aim':>5}  peer")
    for row in rows():
        if row.agree and not row.agree():
            raise SystemExit(f"{row.what}: ours and {row.peer} differ, so times mean nothing")
        pairs = [(spent(row.ours).cpu, spent(row.theirs).cpu) for _ in range(ROUNDS + 1)][1:]
        ours, theirs = (median(side) for side in zip(*pairs, strict=True))
        ratio = f"{theirs / ours:6.1f}x"
        print(f"{row.what:48} {ours:8.4f}s {theirs:8.4f}s {ratio} {row.aim:4.0f}x  {row.peer}")


def stack() -> None:
    """All 2-D metrics at all thresholds, on one thread."""
    membrane = phantom.membrane(SCORED, 0, Box.whole(SCORED))
    labels = phantom.render(SCORED, 0, Box.whole(SCORED)).neurites
    truth = np.stack([target(section, "neurites") == NEURITE for section in labels])
    proposal = ((255 - membrane.astype(np.float64)) / 255).astype(np.float32)
    score_stack(truth[:1], proposal[:1])
    taken = spent(lambda: score_stack(truth, proposal)).cpu
    print(
        f"\nall metrics of {SCORED} at all thresholds, one core: {taken:.1f} s "
        f"(aim: at most {SCORED_SECONDS} s)"
    )


def calibration() -> None:
    """The search of sigma, depth, w_f and t as it is configured, on two threads."""
    membrane = phantom.membrane(SCORED, 0, Box.whole(SCORED))
    labels = phantom.render(SCORED, 0, Box.whole(SCORED)).neurites
    truths = [objects(target(section, "neurites")) for section in labels]
    grid = SearchGrid(
        calibrate.SIGMAS, calibrate.DEPTHS, calibrate.WEIGHTS, calibrate.THRESHOLDS, (25,)
    )

    def on_two(work: Callable[[Any], Any], sections: Any) -> list[Any]:
        return list(over(work, list(sections), 2))

    search(list(membrane[:2]), truths[:2], replace(grid, sigma=(1.0,), depth=(8.0,)))
    taken = spent(lambda: search(list(membrane), truths, grid, on_two))
    choices = prod(len(axis) for axis in astuple(grid))
    print(
        f"calibration of {SCORED} over {choices} choices, two threads: {taken.wall:.0f} s "
        f"(aim: at most {CALIBRATION_SECONDS} s for 500 choices)"
    )


def stages() -> None:
    """Flood to relabel through files, against scikit-image in memory and against the kernels."""
    with tempfile.TemporaryDirectory() as folder:
        blocks = BlockStages(Path(folder), FUSION)
        tile = np.ascontiguousarray(blocks.membrane[0, :1024, :1024])
        rounds = []
        for _ in range(STAGE_ROUNDS + 1):
            peer = spent(lambda: skimage_fusion(tile))
            sides = (blocks.end_to_end, blocks.kernels, arithmetic)
            rounds.append([peer, *(side(threads) for side in sides for threads in (1, 2))])
    peer, one, two, kernels, kernels_of_two, sums, sums_of_two = (
        Spent(median(run.cpu for run in runs), median(run.wall for run in runs))
        for runs in zip(*rounds[1:], strict=True)
    )
    megavoxels = prod(STAGES_SHAPE) / 2**20
    print(
        f"\nblock stages flood to relabel of {STAGES_SHAPE}, read, compute, write, receipts\n"
        f"  {megavoxels / one.cpu:.1f} Mvoxel per CPU second, scikit-image in memory "
        f"{1 / peer.cpu:.2f}: {megavoxels * peer.cpu / one.cpu:.1f}x (aim 15x)\n"
        f"  outside the kernels {1 - kernels.cpu / one.cpu:.1%} of the CPU time (aim 15%)\n"
        f"  two workers against one, on the clock: {one.wall / two.wall:.2f}x (aim 1.8x), with "
        f"{two.cpu / one.cpu:.2f}x the CPU time\n"
        f"  two threads against one: the kernels alone {kernels.wall / kernels_of_two.wall:.2f}x, "
        f"arithmetic alone {sums.wall / sums_of_two.wall:.2f}x"
    )


def prediction() -> None:
    """The network, end to end and alone."""
    with tempfile.TemporaryDirectory() as folder:
        whole(Path(folder))


PARTS = {part.__name__: part for part in (compare, stack, calibration, stages, prediction)}

if __name__ == "__main__":
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()
