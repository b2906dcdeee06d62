"""Score what was made of the held-out sections against their truth."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcan.config.model import Evaluation, Truth, bounds
from dcan.geometry import Box
from dcan.ops import contingency
from dcan.ops.definitions import DEFINITIONS, HEADLINES
from dcan.ops.fusion import fused_map
from dcan.ops.metrics import THRESHOLDS, score_stack, volume_scores, worst
from dcan.ops.partition import pieces
from dcan.ops.sections import Fusion, segment
from dcan.ops.targets import NEURITE, objects, target
from dcan.steps.segment import thousandths
from dcan.steps.sources import opened
from dcan.steps.truth import fingerprint_of
from dcan.steps.vouching import Progress, check_inputs, remembered, vouch, working
from dcan.steps.workspace import Workspace
from dcan.storage.objects import seal_file, write_text
from dcan.storage.receipts import Entry
from dcan.storage.volumes import Store

Array = NDArray[Any]
SHOWN = {**HEADLINES, "pixel_error": "pixel_error", "vinfo_thin": "vinfo_thin"}
WORST = 10  # faults of each kind that are listed
PART = 20  # a found neurite is a piece of a true one when it holds 1 / 20 of it

_log = logging.getLogger("dcan")


def absent(space: Workspace) -> str | None:
    """Why there are no metrics, or None when there are."""
    if space.config.truth is None:
        return "no truth is configured for this volume"
    if space.config.evaluation is None:
        return "no sections are held out for evaluation (evaluation is null)"
    return None


def fusion_of(space: Workspace) -> Fusion:
    """The calibrated parameters of watershed fusion."""
    chosen = space.chosen()
    return Fusion(
        chosen["sigma"],
        chosen["depth"],
        thousandths(chosen["w_f"]),
        thousandths(chosen["t"]),
        space.config.segmentation.min_size,
    )


class HeldOut:
    """The evaluated sections: truth and results of one section at a time, on the truth's box."""

    def __init__(self, space: Workspace, truth: Truth, evaluation: Evaluation) -> None:
        self._truth, self._labels = truth, opened(space.config, "truth")
        self.sections = [z for z in bounds(evaluation.sections) if z not in space.missing]
        self._root = space.root

    def labels(self, z: int) -> Array:
        """The truth as given: (y, x)."""
        _, height, width = self._labels.shape
        row = z - self._truth.offset[0]
        labels: Array = self._labels.read(Box((row, 0, 0), (row + 1, height, width)))[0]
        return labels

    def objects(self, z: int) -> NDArray[np.uint64]:
        """The 2-D objects of the truth: (y, x), 0 = membrane or unknown."""
        return objects(target(self.labels(z), self._truth.kind)).astype(np.uint64)

    def box(self, z: int) -> Box:
        """Where the labels of a section lie in the volume."""
        _, y, x = self._truth.offset
        _, height, width = self._labels.shape
        return Box((z, y, x), (z + 1, y + height, x + width))

    def read(self, store: str, z: int) -> Array:
        """The same place in a store."""
        found: Array = Store(self._root, store).read(self.box(z))[0]
        return found


def neurite_map(membrane: Array) -> NDArray[np.float32]:
    """The map the metrics want: high is neurite, (255 - u) / 255."""
    return ((255 - membrane.astype(np.float64)) / 255).astype(np.float32)


def _proposals(space: Workspace, held: HeldOut) -> dict[str, NDArray[np.float32]]:
    """The stacks that are scored: the network alone, the fused map, the segments."""
    fusion = fusion_of(space)
    alone, fused, segments = [], [], []
    progress = Progress("evaluate: sections", len(held.sections))
    for number, z in enumerate(held.sections, 1):
        membrane = held.read("membrane.ome.zarr/0", z)
        contour = segment(membrane, fusion).contour
        alone.append(neurite_map(membrane))
        fused.append(np.float32(1) - fused_map(membrane, contour, fusion.w_f))
        segments.append((held.read("em.ome.zarr/labels/segments/0", z) > 0).astype(np.float32))
        progress(number)
    return {"p": np.stack(alone), "fused": np.stack(fused), "segments": np.stack(segments)}


def _neurites(held: HeldOut) -> dict[str, Any]:
    """The 3-D scores of the neurites, and where to look."""
    table = contingency.add(
        contingency.count(held.labels(z), held.read("em.ome.zarr/labels/neurites/0", z))
        for z in held.sections
    )
    faults = worst(table, WORST)
    return {
        **volume_scores(table),
        "pieces": pieces(table, PART),
        "worst_splits": [asdict(fault) for fault in faults.splits],
        "worst_merges": [asdict(fault) for fault in faults.merges],
    }


def _metrics(space: Workspace, truth: Truth, evaluation: Evaluation) -> dict[str, Any]:
    held = HeldOut(space, truth, evaluation)
    truths = np.stack([target(held.labels(z), truth.kind) == NEURITE for z in held.sections])
    record: dict[str, Any] = {}
    for name, proposal in _proposals(space, held).items():
        thresholds = (0.0,) if name == "segments" else THRESHOLDS
        scores = score_stack(truths, proposal, thresholds=thresholds)
        _log.info("evaluate: %s, rand error %.4f", name, scores.best["rand_error_foreground"])
        record[name] = {
            **{short: scores.best[key] for short, key in SHOWN.items()},
            "thresholds": {short: scores.at[key] for short, key in SHOWN.items()},
            "curves": scores.as_dict(),
        }
    if truth.kind == "neurites":
        record["neurites"] = _neurites(held)
    trained_on = space.learned
    seen = [z for z in held.sections if fingerprint_of(held.read("em.ome.zarr/0", z)) in trained_on]
    if seen:
        _log.warning("evaluate: the network saw sections %s in training", seen)
    record["sections"] = held.sections
    record["seen_in_training"] = seen
    record["definitions"] = DEFINITIONS
    return record


def evaluate(space: Workspace) -> None:
    """Write metrics.json: every metric for `p`, `fused` and `segments`, and of the neurites."""
    with working(space, "evaluate"):
        check_inputs(space, "predict", "relabel", "unite", "ingest")
        truth, evaluation = space.config.truth, space.config.evaluation
        if truth is None or evaluation is None:
            record: dict[str, Any] = {"absent": absent(space)}
            _log.info("evaluate: %s, so there are no metrics", record["absent"])
        else:
            fingerprint = space.fingerprint("evaluate")
            record = remembered(
                space, "evaluate", fingerprint, partial(_metrics, space, truth, evaluation)
            )
        path = space.root / "metrics.json"
        write_text(path, json.dumps(record, indent=1) + "\n")
        entry = Entry("metrics", (seal_file(space.root, path),))
        vouch(space, "evaluate", space.fingerprint("evaluate"), {}, entries=(entry,))
