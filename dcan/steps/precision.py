"""What a network's precision changes, against float32 by torch on the same sections."""

from __future__ import annotations

from typing import Any

import numpy as np

from dcan.ops.metrics import foreground_counts, rand_error
from dcan.ops.sections import Fusion, segment
from dcan.steps.validation import Validation
from dcan.steps.workspace import Workspace

SECTIONS = 3  # enough to see an error by, and an eighth of the time of two dozen


def precision_error(
    space: Workspace, validation: Validation, fusion: Fusion
) -> dict[str, Any] | None:
    """The differences of the first sections' maps and segments; None where there are none.

    `largest`, `mean`: of the maps, in probability. `rand_error`, `exact_rand_error`: of the
    segments by `fusion`, foreground-restricted, with this run's maps and with float32's.
    """
    if space.config.membrane or space.config.model.onnx:
        return None
    record = space.receipt("resolve").values
    if (record["backend"], record["precision"]) == ("torch", "float32"):
        return None
    truths, tissues = validation.truths[:SECTIONS], validation.tissues[:SECTIONS]
    maps, exact = validation.maps[:SECTIONS], validation.predicted(SECTIONS, exact=True)
    apart = [np.abs(u.astype(np.int16) - v) for u, v in zip(maps, exact, strict=True)]
    own, other = (
        rand_error(
            foreground_counts(truth, segment(u, fusion, tissue).labels)
            for truth, u, tissue in zip(truths, stack, tissues, strict=True)
        )
        for stack in (maps, exact)
    )
    return {
        "backend": record["backend"],
        "precision": record["precision"],
        "sections": len(maps),
        "largest": max(int(each.max()) for each in apart) / 255,
        "mean": sum(int(each.sum()) for each in apart) / sum(each.size for each in apart) / 255,
        "rand_error": own,
        "exact_rand_error": other,
    }
