"""Choose the values of fusion and linking by the errors of sections kept back from training."""

from __future__ import annotations

import json
import logging
from functools import partial
from typing import Any

from dcan.config import FUSION, LINKS, searched
from dcan.engine.blocks import over
from dcan.errors import DcanError
from dcan.ops import calibration
from dcan.ops.calibration import SearchGrid
from dcan.ops.link_search import DEFAULT
from dcan.ops.sections import Fusion
from dcan.steps.borrowing import borrowed_calibration
from dcan.steps.calibrate_links import given_links, links_searched, plain, search_links
from dcan.steps.precision import precision_error
from dcan.steps.segment import thousandths
from dcan.steps.validation import Validation
from dcan.steps.versions import versions
from dcan.steps.vouching import remembered, vouch, working
from dcan.steps.workspace import Workspace
from dcan.storage.objects import seal_file, write_text
from dcan.storage.receipts import Entry, digest

_log = logging.getLogger("dcan")

SIGMAS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
DEPTHS = (1.0, 3.0, 8.0, 16.0, 32.0, 64.0)
WEIGHTS = tuple(range(0, 1001, 100))  # w_f in thousandths
THRESHOLDS = tuple(range(100, 901, 100))  # t in thousandths


def _fixed(space: Workspace) -> dict[str, float]:
    """The values that the configuration gives instead of `auto`."""
    given = space.config.segmentation
    values = {name: getattr(given, name) for name in FUSION}
    return {name: float(value) for name, value in values.items() if value != "auto"}


def _grid(fixed: dict[str, float], min_size: int) -> SearchGrid:
    return SearchGrid(
        sigma=(fixed["sigma"],) if "sigma" in fixed else SIGMAS,
        depth=(fixed["depth"],) if "depth" in fixed else DEPTHS,
        w_f=(thousandths(fixed["w_f"]),) if "w_f" in fixed else WEIGHTS,
        t=(thousandths(fixed["t"]),) if "t" in fixed else THRESHOLDS,
        min_size=(min_size,),
    )


def _search(
    space: Workspace, validation: Validation, fixed: dict[str, float], workers: int
) -> dict[str, Any]:
    grid = _grid(fixed, space.config.segmentation.min_size)
    found = calibration.calibrate(
        validation.maps,
        validation.truths,
        grid,
        lambda work, sections: over(work, list(sections), workers),
        validation.tissues,
    )
    best = found.best.fusion
    return {
        "chosen": {
            "sigma": best.sigma,
            "depth": best.depth,
            "w_f": best.w_f / 1000,
            "t": best.t / 1000,
        },
        "rand_error": found.best.rand_error,
        "standard_error": found.best.standard_error,
        "within_one_standard_error": _plain_interval(found.within),
        "columns": ["sigma", "depth", "w_f", "t", "rand_error", "standard_error"],
        "surface": [_row(score) for score in found.surface],
        "p": [[s.fusion.t / 1000, s.rand_error] for s in found.membrane],
        "remarks": [*found.remarks, *_remarks(validation)],
        "seen_in_training": None if validation.seen is None else sum(validation.seen),
        "sections": validation.described(),
        "precision": precision_error(space, validation, best),
        "weights": [] if space.config.membrane else space.receipt("train").values["sha256"],
        "versions": versions("numba", "numpy", "scipy", "torch"),
        "from": _origin(space),
    }


def _row(score: calibration.Score) -> list[float | None]:
    f = score.fusion
    return [f.sigma, f.depth, f.w_f / 1000, f.t / 1000, score.rand_error, score.standard_error]


def _plain_interval(within: dict[str, tuple[float, float]]) -> dict[str, list[float]]:
    """The intervals of the four values, in the configuration's units."""
    units = {"sigma": 1, "depth": 1, "w_f": 1000, "t": 1000}
    return {axis: [v / units[axis] for v in within[axis]] for axis in FUSION if axis in within}


def _origin(space: Workspace) -> str:
    if space.config.training.folds == 1:
        return "validation sections"
    if space.config.membrane:
        return "labelled sections"
    return "labelled sections, each by the networks that were not trained on it"


def _remarks(validation: Validation) -> list[str]:
    found = []
    count, seen = len(validation.sections), sum(validation.seen or [])
    if validation.seen is None:
        found.append(
            "it is not known whether the networks were trained on the sections: where they "
            "were, the error is too good"
        )
    if seen:
        found.append(
            f"{seen} of the {count} sections were seen in training: the error is too "
            "good, calibrate on others"
        )
    if count == 1:
        found.append("one section tells nothing of the error's spread: calibrate on more")
    return found


def _of_fusion(space: Workspace, validation: Validation, workers: int) -> dict[str, Any]:
    """The record of sigma, depth, w_f and t."""
    given = space.config.segmentation
    fixed = _fixed(space)
    if given.calibration != "auto":
        borrowed = borrowed_calibration(space, given.calibration)
        return {
            "chosen": borrowed.values(FUSION) | fixed,
            "from": given.calibration,
            "sections": [section.model_dump() for section in borrowed.sections],
        }
    if len(fixed) == len(FUSION):
        return {"chosen": fixed, "from": "the configuration"}
    if space.config.trained_on():
        fingerprint = space.fingerprint("calibrate", "linking")
        return remembered(
            space, "calibrate", fingerprint, partial(_search, space, validation, fixed, workers)
        )
    open_values = ", ".join(f"segmentation.{name}" for name in FUSION if name not in fixed)
    raise DcanError(
        f"{open_values} is auto but there is no truth to calibrate on: give values, or "
        "segmentation.calibration: PATH of the calibration.json of a like volume"
    )


def _of_links(space: Workspace, validation: Validation, chosen: dict[str, float]) -> dict[str, Any]:
    """The record of iou, containment and beside."""
    given = space.config.segmentation
    fixed = given_links(space)
    if links_searched(space):
        fusion = Fusion(
            chosen["sigma"],
            chosen["depth"],
            thousandths(chosen["w_f"]),
            thousandths(chosen["t"]),
            given.min_size,
        )
        return remembered(
            space,
            "calibrate",
            space.fingerprint("calibrate", fusion=chosen),
            lambda: search_links(space, validation, fusion),
            what="links",
        )
    if given.calibration != "auto":
        borrowed = borrowed_calibration(space, given.calibration)
        return {"chosen": borrowed.values(LINKS) | fixed, "from": given.calibration}
    found = plain(DEFAULT) | fixed
    origin = "the configuration" if len(fixed) == len(found) else "the defaults"
    return {"chosen": found, "from": origin}


def calibrate(space: Workspace, workers: int = 1) -> None:
    """Write calibration.json: searched, given in the configuration, or another volume's."""
    with working(space, "calibrate"):
        validation = Validation(space)
        fusion = _of_fusion(space, validation, workers)
        links = _of_links(space, validation, fusion["chosen"])
        chosen = {**fusion["chosen"], **links["chosen"]}
        record = {**fusion, "chosen": chosen, "linking": links}
        for remark in [*fusion.get("remarks", []), *links.get("remarks", [])]:
            _log.warning("calibrate: %s", remark)
        path = space.root / "calibration.json"
        write_text(path, json.dumps(record, indent=1) + "\n")
        _log.info("calibrate: %s", chosen)
        entry = Entry("calibration", (seal_file(space.root, path),))
        sections = [section["sha256"] for section in record.get("sections", [])]
        # Values that are given stand on no other stage, which may not be done.
        asked = space.fingerprint("calibrate") if searched(space.config) else None
        values = {"chosen": chosen, "from": record["from"], "sections": sections, "asked": asked}
        vouch(space, "calibrate", digest(record), values, entries=(entry,))
