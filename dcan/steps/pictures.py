"""The sections that the report shows, with what was made of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcan.geometry import Box
from dcan.ops.warping import mistakes
from dcan.report.overlays import Overlay
from dcan.steps.assess import HeldOut, fusion_of
from dcan.steps.workspace import Workspace
from dcan.storage.volumes import Store

SHOWN = 3  # sections whose pictures are in the report
LARGEST = 2048  # pixels: a larger section is shown from the middle


def overlays(space: Workspace, scored: dict[str, Any]) -> tuple[Overlay, ...]:
    """Some sections, evenly spread: the held-out ones where there are metrics, else any.

    `scored` is the content of metrics.json.
    """
    truth, evaluation = space.config.truth, space.config.evaluation
    if "absent" in scored or truth is None or evaluation is None:
        return tuple(_overlay(space, z, {}) for z in _picks(space.present))
    held = HeldOut(space, truth, evaluation)
    threshold = scored["fused"]["thresholds"]["warping_error"]
    seen = scored["seen_in_training"] or ()
    return tuple(
        _overlay(space, z, _judged(space, held, z, threshold), seen=z in seen)
        for z in _picks(held.sections)
    )


def _picks(sections: list[int]) -> list[int]:
    return sorted({sections[(2 * i + 1) * len(sections) // (2 * SHOWN)] for i in range(SHOWN)})


def _shown(space: Workspace, z: int) -> Box:
    """What is shown of a section."""
    _, height, width = space.shape
    y, x = max(0, (height - LARGEST) // 2), max(0, (width - LARGEST) // 2)
    return Box((z, y, x), (z + 1, min(height, y + LARGEST), min(width, x + LARGEST)))


def _judged(space: Workspace, held: HeldOut, z: int, threshold: float) -> dict[str, NDArray[Any]]:
    """Truth, and the mistakes of the fused map at `threshold`; 0 around the labelled crop."""
    fused = held.maps(z, fusion_of(space))["fused"]
    made: dict[str, NDArray[Any]] = {
        "truth": held.objects(z),
        "mistakes": mistakes(held.neurite(z), fused, threshold),
    }
    shown, labelled = _shown(space, z), held.box(z)
    common = shown.intersect(labelled)
    found = {name: np.zeros(shown.shape[1:], values.dtype) for name, values in made.items()}
    if common.size:
        for name, values in made.items():
            found[name][common.within(shown)[1:]] = values[common.within(labelled)[1:]]
    return found


def _overlay(
    space: Workspace, z: int, judged: dict[str, NDArray[Any]], *, seen: bool = False
) -> Overlay:
    def read(store: str) -> Any:
        return Store(space.root, store).read(_shown(space, z))[0]

    em = read("em.ome.zarr/0")
    return Overlay(
        section=z,
        em=em if em.dtype == "uint8" else (em >> 8).astype("uint8"),
        membrane=read("membrane.ome.zarr/0"),
        segments=read("em.ome.zarr/labels/segments/0"),
        neurites=read("em.ome.zarr/labels/neurites/0"),
        seen=seen,
        **judged,
    )
