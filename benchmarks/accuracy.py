"""`python -m benchmarks.accuracy CONFIG`: our watershed fusion against scikit-image's chain.

Both get the membrane maps of a finished volume with truth and evaluation. Each chooses sigma,
depth, w_f and t on the validation sections, from one grid, and is scored on the held-out ones
by the foreground-restricted Rand error.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.filters import gaussian
from skimage.measure import label
from skimage.morphology import h_minima, local_minima, reconstruction
from skimage.segmentation import watershed

from dcan.config.model import bounds
from dcan.ops.frames import Frame
from dcan.ops.fusion import contour, inside_table
from dcan.ops.merging import merge
from dcan.ops.metrics import foreground_counts, rand_error
from dcan.ops.smoothing import depth_levels, smooth
from dcan.ops.watershed import descend, tables
from dcan.steps.assess import HeldOut
from dcan.steps.workspace import Workspace

SIGMAS = (1.0, 1.5, 2.0, 3.0)
DEPTHS = (3.0, 8.0, 16.0, 32.0, 64.0)
WEIGHTS = (300, 500, 700, 900)
THRESHOLDS = (200, 300, 400, 500)
MIN_SIZE = 25

Array = NDArray[Any]
Choice = tuple[float, float, int, int]
Contour = Callable[[Array, float, float], Array]


@dataclass(frozen=True)
class Section:
    """A membrane map, uint8, and the objects of its truth."""

    membrane: Array
    truth: Array


def ours(membrane: Array, sigma: float, depth: float) -> Array:
    """The contour as the pipeline draws it."""
    descent = descend(smooth(membrane, sigma), Frame.whole(*membrane.shape))
    return contour(descent, merge([tables(descent)], depth_levels(depth)))


def h_minima_lines(membrane: Array, sigma: float, depth: float) -> Array:
    """The lines of scikit-image's watershed from its h-minima.

    In a saturated map one basin has many pixels of its least value, and each is a marker.
    """
    levels = _levels(membrane, sigma)
    return _lines(levels, label(h_minima(levels, round(256 * depth)), connectivity=1))


def reconstructed_lines(membrane: Array, sigma: float, depth: float) -> Array:
    """As above, from the minima of the reconstructed map, one for each basin."""
    levels = _levels(membrane, sigma)
    filled: Array = reconstruction(levels + round(256 * depth), levels, method="erosion")
    return _lines(levels, label(local_minima(filled, connectivity=1), connectivity=1))


def _levels(membrane: Array, sigma: float) -> Array:
    # in integers: on floating point, reconstruction breaks plateaus into many minima
    levels: Array = np.rint(256 * gaussian(membrane, sigma, preserve_range=True)).astype(np.int32)
    return levels


def _lines(levels: Array, markers: Array) -> Array:
    found: Array = watershed(levels, markers, connectivity=1, watershed_line=True) == 0
    return found


def counts(section: Section, edge: Array, w_f: int, t: int) -> tuple[int, int, int]:
    """The pair counts of one section; the same fusion and labels for every side."""
    inside = inside_table(w_f, t)[edge.astype(np.uint8), section.membrane]
    labels = label(inside, connectivity=1)
    kept = np.bincount(labels.ravel()) >= MIN_SIZE
    kept[0] = False
    return foreground_counts(section.truth, np.where(kept[labels], labels, 0))


def errors(sections: list[Section], draw: Contour) -> Iterator[tuple[Choice, float]]:
    """The Rand error of all sections together, for every choice of the grid."""
    for sigma, depth in product(SIGMAS, DEPTHS):
        edges = [draw(section.membrane, sigma, depth) for section in sections]
        for w_f, t in product(WEIGHTS, THRESHOLDS):
            found = [counts(s, e, w_f, t) for s, e in zip(sections, edges, strict=True)]
            yield (sigma, depth, w_f, t), rand_error(found)


def main(config: str) -> None:
    """Print, for each side, what it chose, its errors, and the surface around the choice."""
    space = Workspace.open(config)
    truth, evaluation = space.config.truth, space.config.evaluation
    if truth is None or evaluation is None:
        raise SystemExit(f"{config} has no truth or no evaluation: give a volume with both")
    held = HeldOut(space, truth, evaluation)
    both = []
    for sections in (truth.validated(), bounds(evaluation.sections)):
        present = [z for z in sections if z not in space.missing]
        both.append(
            [Section(held.read("membrane.ome.zarr/0", z), held.objects(z)) for z in present]
        )
    chosen_on, scored_on = both
    for name, draw in SIDES.items():
        surface = dict(errors(chosen_on, draw))
        best = min(surface, key=lambda choice: (surface[choice], choice))
        scored = dict(errors(scored_on, draw))
        print(f"{name}: chose sigma, depth, w_f, t = {best}")
        print(f"  validation {surface[best]:.4f}, held out {scored[best]:.4f}")
        print(f"  held out, the best of the grid {min(scored.values()):.4f}")
        for axis, what in enumerate(("sigma", "depth", "w_f", "t")):
            line = {c[axis]: e for c, e in surface.items() if _but(c, axis) == _but(best, axis)}
            row = ", ".join(f"{value}: {error:.4f}" for value, error in sorted(line.items()))
            print(f"  validation over {what}: {row}")


SIDES: dict[str, Contour] = {
    "ours": ours,
    "scikit-image, h_minima": h_minima_lines,
    "scikit-image, minima of the reconstruction": reconstructed_lines,
}


def _but(choice: Choice, axis: int) -> tuple[float, ...]:
    return choice[:axis] + choice[axis + 1 :]


if __name__ == "__main__":
    main(sys.argv[1])
