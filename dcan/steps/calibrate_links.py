"""Choose the values of linking by the neurites of the validation sections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dcan.config import LINKS, searched, validation_pairs
from dcan.geometry import Box
from dcan.ops.drift import coarse, shift
from dcan.ops.frames import Mask, Membrane
from dcan.ops.link_search import DEFAULT, LinkGrid, Stack, search, stack
from dcan.ops.linking import NEVER, Linking
from dcan.ops.sections import Fusion, segment
from dcan.steps.drift import FACTOR
from dcan.steps.segment import thousandths
from dcan.steps.sources import opened
from dcan.steps.workspace import Workspace

if TYPE_CHECKING:
    from dcan.steps.validation import Validation  # brings torch, which link has no use for

IOUS = (100, 200, 300, 400, 500, 600, 700)  # thousandths, as all but the last
CONTAINMENTS = (500, 600, 700, 800, 900, 1000, NEVER)
BESIDES = (0, 1, 2, 4)  # sections

Key = tuple[int, int]
"""The number of a training volume, and a section of it."""
Mapped = tuple[Membrane, Mask | None]
"""Its membrane map, and where it has tissue."""


def linking_of(chosen: dict[str, Any]) -> Linking:
    """The rule that the chosen values make; a containment of None links no branches."""
    containment = chosen["containment"]
    return Linking(
        thousandths(chosen["iou"]),
        NEVER if containment is None else thousandths(containment),
        int(chosen["beside"]),
    )


def plain(linking: Linking) -> dict[str, Any]:
    """The values of a rule as a calibration.json holds them."""
    containment = None if linking.containment == NEVER else linking.containment / 1000
    return {"iou": linking.iou / 1000, "containment": containment, "beside": linking.beside}


def given_links(space: Workspace) -> dict[str, Any]:
    """The values that the configuration gives instead of `auto`."""
    values = {name: getattr(space.config.linking, name) for name in LINKS}
    return {name: value for name, value in values.items() if value != "auto"}


def links_searched(space: Workspace) -> bool:
    """Whether there is a value to look for, and truth to look for it on."""
    return not set(LINKS).isdisjoint(searched(space.config))


def _grid(fixed: dict[str, Any]) -> LinkGrid:
    rule = linking_of({**plain(DEFAULT), **fixed})
    return LinkGrid(
        (rule.iou,) if "iou" in fixed else IOUS,
        (rule.containment,) if "containment" in fixed else CONTAINMENTS,
        (rule.beside,) if "beside" in fixed else BESIDES,
    )


def _truth(space: Workspace, number: int, z: int, tissue: Mask | None) -> NDArray[Any]:
    """The ids of one section of a training volume, on the box of its labels; 0 without tissue."""
    own = space.config.training.volumes is None
    labels = opened(space.config, "truth" if own else f"training.{number}.truth")
    _, height, width = labels.shape
    row = z - space.config.trained_on()[number].truth.offset[0]
    found: NDArray[Any] = labels.read(Box((row, 0, 0), (row + 1, height, width)))[0]
    return found if tissue is None else np.where(tissue, found, 0)


def _stacks(space: Workspace, by_key: dict[Key, Mapped], fusion: Fusion) -> list[Stack]:
    """The segments and truth of every training volume that has neurites in 3-D."""
    bound = space.config.linking.drift // FACTOR
    found = []
    held = {number: [z for volume, z in by_key if volume == number] for number, _ in by_key}
    for number, pairs in validation_pairs(space.config, held).items():
        sections = sorted({z for pair in pairs for z in pair})
        level = {z: coarse(by_key[number, z][0], FACTOR) for z in sections}
        moved = {}
        for a, b in pairs:
            dy, dx = shift(level[a], level[b], bound)
            moved[a, b] = (dy * FACTOR, dx * FACTOR)
        segmented, truths = {}, {}
        for z in sections:
            membrane, tissue = by_key[number, z]
            segmented[z] = segment(membrane, fusion, tissue)
            truths[z] = _truth(space, number, z, tissue)
        found.append(stack(segmented, truths, moved))
    return found


def search_links(space: Workspace, validation: Validation, fusion: Fusion) -> dict[str, Any]:
    """The values with the least adapted Rand error, that of every choice, and remarks."""
    keys = [(section.volume, section.z) for section in validation.sections]
    maps = zip(validation.maps, validation.tissues, strict=True)
    by_key = dict(zip(keys, maps, strict=True))
    found = search(_stacks(space, by_key, fusion), _grid(given_links(space)))
    return {
        "chosen": plain(found.best.linking),
        "adapted_rand_error": found.best.adapted_rand_error,
        "columns": [*LINKS, "adapted_rand_error"],
        "surface": [[*plain(s.linking).values(), s.adapted_rand_error] for s in found.surface],
        "remarks": list(found.remarks),
        "from": "validation sections",
    }
