"""Score what was made of the held-out sections against their truth."""

from __future__ import annotations

import json
import logging
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcan.config.model import Evaluation, Truth, bounds
from dcan.errors import DcanError
from dcan.geometry import Box
from dcan.ops import contingency
from dcan.ops.definitions import DEFINITIONS, HEADLINES
from dcan.ops.frames import Mask
from dcan.ops.fusion import fused_map
from dcan.ops.metrics import THRESHOLDS, StackScores, Tally
from dcan.ops.sections import Fusion, segment
from dcan.ops.targets import NEURITE, objects, target
from dcan.steps.mask import empty, section_tissue
from dcan.steps.score_volume import record_of
from dcan.steps.segment import thousandths
from dcan.steps.sources import opened
from dcan.steps.truth import fingerprint_of, refuse_evaluated
from dcan.steps.vouching import Progress, check_inputs, remembered, vouch, working
from dcan.steps.workspace import Workspace
from dcan.storage.objects import seal_file, write_text
from dcan.storage.receipts import Entry
from dcan.storage.volumes import Store

Array = NDArray[Any]
SHOWN = {**HEADLINES, "pixel_error": "pixel_error", "vinfo_thin": "vinfo_thin"}
MAPS = {"p": THRESHOLDS, "fused": THRESHOLDS, "segments": (0.0,)}
"""What is scored, and at which thresholds: the network alone, the fused map, the segments."""

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
    """The evaluated sections: truth and results of one section at a time, on the truth's box.

    Those that have tissue there. Raises DcanError when none has.
    """

    def __init__(self, space: Workspace, truth: Truth, evaluation: Evaluation) -> None:
        self._space = space
        self._truth, self._labels = truth, opened(space.config, "truth")
        self.sections = [z for z in bounds(evaluation.sections) if not empty(space, self.box(z))]
        if not self.sections:
            raise DcanError(
                f'evaluation.sections is "{evaluation.sections}", and volume.mask leaves no '
                "tissue in their labels: name others, or set evaluation to null"
            )

    def box(self, z: int) -> Box:
        """Where the truth of a section lies in the volume."""
        _, y, x = self._truth.offset
        _, height, width = self._labels.shape
        return Box((z, y, x), (z + 1, y + height, x + width))

    def tissue(self, z: int) -> Mask | None:
        """Where there is tissue: bool (y, x); None: everywhere."""
        return section_tissue(self._space, self.box(z))

    def labels(self, z: int) -> Array:
        """The truth as given: (y, x); 0 where there is no tissue."""
        _, height, width = self._labels.shape
        row = z - self._truth.offset[0]
        labels: Array = self._labels.read(Box((row, 0, 0), (row + 1, height, width)))[0]
        tissue = self.tissue(z)
        if tissue is not None:
            labels[~tissue] = 0
        return labels

    def neurite(self, z: int) -> NDArray[np.bool_]:
        """Where the truth is neurite: (y, x)."""
        inside: NDArray[np.bool_] = target(self.labels(z), self._truth.kind) == NEURITE
        return inside

    def objects(self, z: int) -> NDArray[np.uint64]:
        """The 2-D objects of the truth: (y, x), 0 = membrane or unknown."""
        return objects(target(self.labels(z), self._truth.kind)).astype(np.uint64)

    def read(self, store: str, z: int) -> Array:
        """The same place in a store."""
        found: Array = Store(self._space.root, store).read(self.box(z))[0]
        return found

    def maps(self, z: int, fusion: Fusion) -> dict[str, NDArray[np.float32]]:
        """What is scored of a section, by the keys of `MAPS`: 0..1, high = neurite."""
        membrane, tissue = self.read("membrane.ome.zarr/0", z), self.tissue(z)
        fused = np.float32(1) - fused_map(membrane, segment(membrane, fusion).contour, fusion.w_f)
        return {
            "p": neurite_map(membrane),
            "fused": fused if tissue is None else np.where(tissue, fused, np.float32(0)),
            "segments": (self.read("em.ome.zarr/labels/segments/0", z) > 0).astype(np.float32),
        }


def neurite_map(membrane: Array) -> NDArray[np.float32]:
    """The map the metrics want: high is neurite, (255 - u) / 255."""
    return ((255 - membrane.astype(np.float64)) / 255).astype(np.float32)


def _scores(held: HeldOut, fusion: Fusion) -> dict[str, StackScores]:
    """The 2-D metrics, one section in memory at a time."""
    tallies = {name: Tally(thresholds) for name, thresholds in MAPS.items()}
    progress = Progress("evaluate: sections", len(held.sections))
    for number, z in enumerate(held.sections, 1):
        truth, tissue = held.neurite(z), held.tissue(z)
        for name, found in held.maps(z, fusion).items():
            tallies[name].add(tallies[name].measure(truth, found, tissue))
        progress(number)
    return {name: tally.scores() for name, tally in tallies.items()}


def _neurites(space: Workspace, held: HeldOut) -> dict[str, Any]:
    """The 3-D scores of the neurites, and where in the volume to look."""
    tables = (
        contingency.count(held.labels(z), held.read("em.ome.zarr/labels/neurites/0", z)).placed(
            held.box(z), space.shape
        )
        for z in held.sections
    )
    return record_of(contingency.add(tables), space.shape)


def _metrics(space: Workspace, truth: Truth, evaluation: Evaluation) -> dict[str, Any]:
    held = HeldOut(space, truth, evaluation)
    record: dict[str, Any] = {}
    for name, scores in _scores(held, fusion_of(space)).items():
        _log.info("evaluate: %s, rand error %.4f", name, scores.best["rand_error_foreground"])
        record[name] = {
            **{short: scores.best[key] for short, key in SHOWN.items()},
            "thresholds": {short: scores.at[key] for short, key in SHOWN.items()},
            "warping_mistakes": scores.mistakes,
            "curves": scores.as_dict(),
        }
    if truth.kind == "neurites":
        record["neurites"] = _neurites(space, held)
    record["sections"] = held.sections
    record["seen_in_training"] = _seen(space, held)
    if space.config.volume.mask is not None:
        record["without_tissue"] = sum(_without(held.tissue(z)) for z in held.sections)
    record["definitions"] = DEFINITIONS
    return record


def _seen(space: Workspace, held: HeldOut) -> list[int] | None:
    """The sections that the networks were trained on; None: they do not say."""
    trained_on = space.learned
    if trained_on is None:
        _log.warning("evaluate: it is not known which sections the network saw in training")
        return None
    seen = [z for z in held.sections if fingerprint_of(held.read("em.ome.zarr/0", z)) in trained_on]
    if seen:
        _log.warning("evaluate: the network saw sections %s in training", seen)
    return seen


def _without(tissue: Mask | None) -> int:
    """Pixels of a section that are in no metric."""
    return 0 if tissue is None else int(np.count_nonzero(~tissue))


def evaluate(space: Workspace) -> None:
    """Write metrics.json: every metric for `p`, `fused` and `segments`, and of the neurites."""
    with working(space, "evaluate"):
        check_inputs(space, "predict", "relabel", "unite", "ingest")
        truth, evaluation = space.config.truth, space.config.evaluation
        if truth is None or evaluation is None:
            record: dict[str, Any] = {"absent": absent(space)}
            _log.info("evaluate: %s, so there are no metrics", record["absent"])
        else:
            chosen_on = space.receipt("calibrate").values["sections"]
            refuse_evaluated(space, chosen_on, "calibration.json")
            fingerprint = space.fingerprint("evaluate")
            record = remembered(
                space, "evaluate", fingerprint, partial(_metrics, space, truth, evaluation)
            )
        path = space.root / "metrics.json"
        write_text(path, json.dumps(record, indent=1) + "\n")
        entry = Entry("metrics", (seal_file(space.root, path),))
        vouch(space, "evaluate", space.fingerprint("evaluate"), {}, entries=(entry,))
