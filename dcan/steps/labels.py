"""Labelled sections under the mask of their volume: which there are, and what they teach."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcan.config.model import TrainingVolume, bounds
from dcan.geometry import Box
from dcan.ops.frames import Mask
from dcan.ops.targets import UNKNOWN, target
from dcan.steps.ingest import section_histogram
from dcan.steps.mask import section_tissue
from dcan.steps.workspace import Workspace


def labelled_tissue(space: Workspace, z: int, shape: tuple[int, ...]) -> Mask | None:
    """Where a section of the labels has tissue, by the mask of this volume: bool (y, x).

    `shape`: theirs. None: everywhere, as in other volumes that are trained on.
    """
    truth = space.config.truth
    if truth is None or space.config.training.volumes is not None:
        return None
    _, y, x = truth.offset
    return section_tissue(space, Box((z, y, x), (z + 1, y + shape[0], x + shape[1])))


def tissue_sections(space: Workspace, volume: TrainingVolume, shape: tuple[int, ...]) -> list[int]:
    """The labelled sections of a training volume that have tissue; `shape`: of one of them."""
    given = [z for z in bounds(volume.truth.sections) if z not in volume.missing]
    inside = (labelled_tissue(space, z, shape) for z in given)
    return [z for z, part in zip(given, inside, strict=True) if part is None or part.any()]


def target_of(
    space: Workspace, volume: TrainingVolume, z: int, labels: NDArray[Any]
) -> NDArray[np.uint8]:
    """The target of a labelled section; unknown where there is no tissue."""
    found = target(labels, volume.truth.kind)
    inside = labelled_tissue(space, z, labels.shape)
    return found if inside is None else np.where(inside, found, np.uint8(UNKNOWN))


def left_out(space: Workspace) -> dict[str, Any]:
    """What of this volume's labelled sections the mask leaves out, for a fingerprint.

    Nothing where it leaves out nothing of them: such a mask trains nothing again.
    """
    truth = space.config.truth
    if not truth or space.config.volume.mask is None or space.config.training.volumes is not None:
        return {}
    _, height, width = space.shape
    found = {}
    for z in bounds(truth.sections):
        counts = section_histogram(space, z)
        if counts.sum() < height * width:
            inside = labelled_tissue(space, z, space.found_of("truth")["shape"][1:])
            parts = (counts.tobytes(), b"" if inside is None else inside.tobytes())
            found[z] = [hashlib.sha256(part).hexdigest() for part in parts]
    return {"mask": found} if found else {}
