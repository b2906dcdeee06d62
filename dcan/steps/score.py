"""Score two stacks by the ISBI 2012 metrics, for a table or for a program."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcan.errors import DcanError
from dcan.geometry import Box
from dcan.ops.definitions import DEFINITIONS
from dcan.ops.metrics import THRESHOLDS, score_stack
from dcan.ops.targets import NEURITE, target
from dcan.storage.sources import SourceSpec, open_source


def _stack(path: str, key: str) -> NDArray[Any]:
    file, _, dataset = path.partition("::")
    source = open_source(SourceSpec(file, dataset or None, key=key), "labels")
    return source.read(Box.whole(source.shape))


def _proposal(stack: NDArray[Any]) -> tuple[NDArray[np.float32], tuple[float, ...]]:
    """The neurite map of a proposal, and the thresholds it is scored at."""
    if stack.dtype not in (np.uint8, np.bool_):
        raise DcanError(
            f"--proposal holds {stack.dtype}: give a map of uint8, high = neurite, or a binary one"
        )
    binary = len(np.unique(stack)) <= 2
    values = (stack.astype(np.float64) / (1 if stack.dtype == np.bool_ else 255)).astype(np.float32)
    return values, (0.0,) if binary else THRESHOLDS


def score(labels: str, proposal: str, *, as_json: bool = False) -> str:
    """The metrics of a proposal (uint8, high = neurite) against labels (white = neurite).

    A file in HDF5 or Zarr is given as `FILE::DATASET`. A binary proposal is scored at
    threshold 0 alone. Raises DcanError when the stacks do not fit each other.
    """
    truth, found = _stack(labels, "--labels"), _stack(proposal, "--proposal")
    if truth.shape != found.shape:
        raise DcanError(
            f"--labels has shape {truth.shape} and --proposal {found.shape}: give stacks of one "
            "shape (z, y, x)"
        )
    if len(np.unique(truth)) > 2:
        raise DcanError(
            f"--labels holds {len(np.unique(truth))} values: give a binary stack, white = neurite "
            "and 0 = membrane"
        )
    on = np.stack([target(section, "membranes") == NEURITE for section in truth])
    values, thresholds = _proposal(found)
    scores = score_stack(on, values, thresholds=thresholds)
    if as_json:
        return json.dumps({**scores.best, "at": scores.at}, indent=1) + "\n"
    lines = [f"{'metric':30} {'value':>10} {'best at':>8}"]
    for key, value in scores.best.items():
        lines.append(f"{key:30} {value:10.6f} {scores.at[key]:8.1f}")
    lines += ["", *(f"{key}: {DEFINITIONS[key]}" for key in scores.best)]
    return "\n".join(lines) + "\n"
