"""What calibration looks for, and what it has to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # agreement, which the model stands on, needs the names below
    from dcan.config.model import Config

FUSION = ("sigma", "depth", "w_f", "t")
LINKS = ("iou", "containment", "beside")


def validation_pairs(
    config: Config, held: Mapping[int, Sequence[int]] | None = None
) -> dict[int, list[tuple[int, int]]]:
    """Pairs of sections to calibrate on that links may join, by the number of the training volume.

    `held`: the sections of each, ascending, where a mask leaves fewer than the configuration
    names. Of volumes whose truth holds neurites in 3-D: sections with tissue, at most
    `linking.bridge` missing ones between. Volumes without such a pair are left out.
    """
    found = {}
    for number, volume in enumerate(config.trained_on()):
        present = config.kept_back(volume) if held is None else held.get(number, [])
        pairs = [(a, b) for a, b in pairwise(present) if b - a <= config.linking.bridge + 1]
        if volume.truth.kind == "neurites" and pairs:
            found[number] = pairs
    return found


def searched(config: Config) -> list[str]:
    """Names of the values that are looked for on the sections to calibrate on."""
    if config.segmentation.calibration != "auto" or not config.trained_on():
        return []
    names = [name for name in FUSION if getattr(config.segmentation, name) == "auto"]
    if validation_pairs(config):
        names += [name for name in LINKS if getattr(config.linking, name) == "auto"]
    return names
