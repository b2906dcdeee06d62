"""Score stacks of sections, one section in memory for each thread."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dcan.engine.blocks import over
from dcan.errors import DcanError
from dcan.geometry import Box
from dcan.ops.metrics import THRESHOLDS, Tally
from dcan.ops.tally import Measured
from dcan.ops.warping import mistakes
from dcan.report.marks import mistake_palette
from dcan.steps.vouching import Progress
from dcan.storage.objects import replacing
from dcan.storage.sources import Source

CLASSIC_TIFF = 1 << 31
"""Bytes beyond which a stack may outgrow the offsets of a classic TIFF."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Labels, nonzero = neurite, and a proposal of one shape, whose `white` pixels are high."""

    truth: Source
    proposal: Source
    white: str
    binary: bool

    def section(self, z: int) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Truth and neurite map of a section, as `Tally.measure` wants them."""
        _, height, width = self.truth.shape
        box = Box((z, 0, 0), (z + 1, height, width))
        return self.truth.read(box)[0] != 0, self._neurite(self.proposal.read(box)[0], z)

    def _neurite(self, values: NDArray[Any], z: int) -> NDArray[np.float32]:
        if self.binary:
            return np.asarray((values != 0) == (self.white == "neurite"), np.float32)
        full = np.iinfo(values.dtype).max if values.dtype.kind == "u" else 1
        if full == 1 and not (values.min() >= 0 and values.max() <= 1):
            raise DcanError(
                f"--proposal runs from {values.min():g} to {values.max():g} in section {z}: "
                "floating point probabilities are 0 to 1, scale them"
            )
        if self.white == "membrane":
            values = full - values
        return np.asarray(values / np.float64(full), np.float32)


class _Seen(NamedTuple):
    """What a section adds, and a glance at its map on true neurite and on true membrane."""

    measured: Measured
    pixels: NDArray[np.int64]
    sums: NDArray[np.float64]
    range: tuple[float, float]


def record_of(pair: Pair, workers: int) -> dict[str, Any]:
    """The metrics, where each is best, the warping mistakes and remarks, plain values for JSON.

    Raises DcanError for a floating point proposal that leaves 0..1.
    """
    tally = Tally((0.0,) if pair.binary else THRESHOLDS)

    def seen(z: int) -> _Seen:
        truth, values = pair.section(z)
        sides = [values[truth], values[~truth]]
        return _Seen(
            tally.measure(truth, values),
            np.array([side.size for side in sides]),
            np.array([side.sum(dtype=np.float64) for side in sides]),
            (float(values.min()), float(values.max())),
        )

    depth = pair.truth.shape[0]
    progress = Progress("score: sections", depth)
    pixels, sums, least, greatest = np.zeros(2, np.int64), np.zeros(2), 1.0, 0.0
    for number, section in enumerate(over(seen, range(depth), workers), 1):
        tally.add(section.measured)
        pixels += section.pixels
        sums += section.sums
        least, greatest = min(least, section.range[0]), max(greatest, section.range[1])
        progress(number)
    scores = tally.scores()
    return {
        "dimensions": 2,
        **scores.best,
        "at": scores.at,
        "warping_mistakes": scores.mistakes,
        "remarks": [
            *_polarity(pixels, sums / np.maximum(pixels, 1), pair.white),
            *_scale(pair, greatest - least),
        ],
    }


def _scale(pair: Pair, used: float) -> list[str]:
    """What makes it doubtful that a map was scaled to its type: one threshold could part it."""
    if pair.binary or used > THRESHOLDS[1]:
        return []
    return [
        f"--proposal ({pair.proposal.dtype}) uses {used:.1%} of its range, so few thresholds can "
        "part it: scale it to the whole"
    ]


def _polarity(pixels: NDArray[np.int64], means: NDArray[np.float64], white: str) -> list[str]:
    """What makes it doubtful that high is neurite, on either side."""
    remarks = []
    if pixels.all() and means[0] < means[1]:
        other = "neurite" if white == "membrane" else "membrane"
        remarks.append(
            f"--proposal, with white = {white}, is neurite by {means[0]:.2f} on the neurites of "
            f"--labels and by {means[1]:.2f} on its membrane: it looks inverted, "
            f"try --white {other}"
        )
    share = pixels[0] / pixels.sum()
    if share < 0.5:
        remarks.append(
            f"--labels is white on {share:.0%} of its pixels, and white is taken for neurite: "
            "invert it if white is its membrane"
        )
    return remarks


def write_mistakes(path: Path, pair: Pair, threshold: float, workers: int) -> None:
    """Write the `Mistake` of every pixel at a threshold: a TIFF stack, uint8, with colours.

    The file is replaced as a whole. Raises DcanError when it cannot be written.
    """
    import tifffile

    palette = mistake_palette()[:, :3].T.astype(np.uint16) * 257
    depth = pair.truth.shape[0]
    progress = Progress("score: map of mistakes", depth)
    pages = over(lambda z: mistakes(*pair.section(z), threshold), range(depth), workers)
    big = prod(pair.truth.shape) > CLASSIC_TIFF
    with replacing(path) as temporary, tifffile.TiffWriter(temporary, bigtiff=big) as file:
        for number, page in enumerate(pages, 1):
            file.write(page, photometric="palette", colormap=palette, compression="zlib",
                       metadata=None)  # fmt: skip
            progress(number)
