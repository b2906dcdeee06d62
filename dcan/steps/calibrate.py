"""Choose sigma, depth, w_f and t by the Rand error of the validation sections."""

from __future__ import annotations

import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dcan.config import searches
from dcan.errors import DcanError
from dcan.geometry import Box
from dcan.net.device import hold, resolve
from dcan.net.model import Architecture
from dcan.net.predict import Predictor, predict_section
from dcan.ops import calibration
from dcan.ops.calibration import SearchGrid
from dcan.ops.targets import objects
from dcan.steps.maps import read_map
from dcan.steps.train import members
from dcan.steps.truth import Labelled, labelled
from dcan.steps.vouching import Progress, check_inputs, remembered, vouch, working
from dcan.steps.workspace import Workspace
from dcan.storage.objects import seal_file, write_text
from dcan.storage.receipts import Entry, digest

_log = logging.getLogger("dcan")

SIGMAS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
DEPTHS = (1.0, 3.0, 8.0, 16.0, 32.0, 64.0)
WEIGHTS = (0, 300, 500, 700, 900, 1000)  # w_f in thousandths
THRESHOLDS = (100, 200, 300, 400, 500, 600, 700, 800, 900)  # t in thousandths
NAMES = ("sigma", "depth", "w_f", "t")


class Chosen(BaseModel):
    """The four values, as a calibration.json holds them."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    sigma: float = Field(ge=0, le=16)
    depth: float = Field(ge=0, le=255)
    w_f: float = Field(ge=0, le=1)
    t: float = Field(ge=0, le=1)


def resolve_device(space: Workspace) -> None:
    """Find out what the volume is predicted on, once, and record it."""
    with working(space, "resolve"):
        given = space.config.prediction
        record = resolve(given.device, given.threads)
        _log.info("resolve: %s (%s), %s", record["device"], record["name"], record["precision"])
        vouch(space, "resolve", space.fingerprint("resolve"), record, identity=digest(record))


def predictor(space: Workspace) -> Predictor:
    """The ensemble, on the device of the run's record."""
    record = dict(space.receipt("resolve").values)
    device = hold(record)
    found = members(space)
    halo = max(m.meta.halo for m in found)
    if space.config.prediction.halo < halo:
        raise DcanError(
            f"prediction.halo is {space.config.prediction.halo}: the network reads {halo} pixels "
            f"around a tile, give {halo} or more"
        )
    architecture = Architecture.parse(found[0].meta.architecture)
    return Predictor(architecture, [m.tensors for m in found], device, int(record["threads"]))


def _fixed(space: Workspace) -> dict[str, float]:
    """The values that the configuration gives instead of `auto`."""
    given = space.config.segmentation
    values = {name: getattr(given, name) for name in NAMES}
    return {name: float(value) for name, value in values.items() if value != "auto"}


def _borrowed(path: Path) -> dict[str, float]:
    """The values that the calibration of another volume chose."""
    file = path / "calibration.json" if path.is_dir() else path
    try:
        return Chosen.model_validate(json.loads(file.read_text("utf-8"))["chosen"]).model_dump()
    except OSError as error:
        why = error.strerror
    except (ValueError, KeyError, TypeError, ValidationError):
        why = "it does not hold the chosen sigma, depth, w_f and t"
    raise DcanError(
        f"segmentation.calibration is {str(path)!r}: {why}: give the calibration.json of another "
        "volume, or the four values themselves"
    )


def _thousandths(value: float) -> int:
    return round(value * 1000)


def _grid(fixed: dict[str, float], min_size: int) -> SearchGrid:
    return SearchGrid(
        sigma=(fixed["sigma"],) if "sigma" in fixed else SIGMAS,
        depth=(fixed["depth"],) if "depth" in fixed else DEPTHS,
        w_f=(_thousandths(fixed["w_f"]),) if "w_f" in fixed else WEIGHTS,
        t=(_thousandths(fixed["t"]),) if "t" in fixed else THRESHOLDS,
        min_size=(min_size,),
    )


def _predicted(space: Workspace, sections: list[Labelled]) -> list[NDArray[np.uint8]]:
    check_inputs(space, "train")
    given = space.config.prediction
    network = predictor(space)
    progress = Progress("calibrate: maps", len(sections))
    maps = []
    for number, section in enumerate(sections, 1):
        maps.append(predict_section(network, section.em, section.table, given.tile, given.halo))
        progress(number)
    return maps


def _given_maps(space: Workspace) -> list[NDArray[np.uint8]]:
    """The given map where the validation sections of the volume are labelled."""
    given, truth = space.config.membrane, space.config.truth
    if given is None or truth is None:
        return []
    _, y, x = truth.offset
    _, height, width = space.probe["sources"]["truth"]["shape"]
    boxes = [
        Box((z, y, x), (z + 1, y + height, x + width))
        for z in space.receipt("truth").values["volumes"][0]["validation"]
    ]
    return [read_map(space, given, box)[0] for box in boxes]


def _search(space: Workspace, fixed: dict[str, float]) -> dict[str, Any]:
    check_inputs(space, "truth")
    found_sections = labelled(space, validation=True)
    sections = [section for _, section in found_sections]
    learned = space.learned
    seen = [index for index, (sha256, _) in enumerate(found_sections) if sha256 in learned]
    maps = _given_maps(space) if space.config.membrane else _predicted(space, sections)
    truths = [objects(section.target) for section in sections]
    grid = _grid(fixed, space.config.segmentation.min_size)
    found = calibration.calibrate(maps, truths, grid)
    best = found.best.fusion
    remarks = list(found.remarks)
    if seen:
        remarks.append(
            f"{len(seen)} of the {len(sections)} sections were seen in training: the error is too "
            "good, calibrate on others"
        )
    for remark in remarks:
        _log.warning("calibrate: %s", remark)
    return {
        "chosen": {
            "sigma": best.sigma,
            "depth": best.depth,
            "w_f": best.w_f / 1000,
            "t": best.t / 1000,
        },
        "rand_error": found.best.rand_error,
        "columns": ["sigma", "depth", "w_f", "t", "rand_error"],
        "surface": [
            [s.fusion.sigma, s.fusion.depth, s.fusion.w_f / 1000, s.fusion.t / 1000, s.rand_error]
            for s in found.surface
        ],
        "p": [[s.fusion.t / 1000, s.rand_error] for s in found.membrane],
        "remarks": remarks,
        "seen_in_training": len(seen),
        "sections": [v["validation"] for v in space.receipt("truth").values["volumes"]],
        "weights": [] if space.config.membrane else space.receipt("train").values["sha256"],
        "from": "validation sections",
    }


def calibrate(space: Workspace) -> None:
    """Write calibration.json: searched, given in the configuration, or another volume's."""
    with working(space, "calibrate"):
        given = space.config.segmentation
        fixed = _fixed(space)
        if given.calibration != "auto":
            chosen = {**_borrowed(Path(given.calibration)), **fixed}
            record: dict[str, Any] = {"chosen": chosen, "from": given.calibration}
        elif len(fixed) == len(NAMES):
            record = {"chosen": fixed, "from": "the configuration"}
        elif searches(space.config):
            fingerprint = space.fingerprint("calibrate")
            record = remembered(space, "calibrate", fingerprint, partial(_search, space, fixed))
        else:
            open_values = ", ".join(name for name in NAMES if name not in fixed)
            raise DcanError(
                f"segmentation.{open_values.replace(', ', ', segmentation.')} is auto but there is "
                "no truth to calibrate on: give values, or segmentation.calibration: PATH of the "
                "calibration.json of a like volume"
            )
        path = space.root / "calibration.json"
        write_text(path, json.dumps(record, indent=1) + "\n")
        _log.info("calibrate: %s", record["chosen"])
        entry = Entry("calibration", (seal_file(space.root, path),))
        vouch(
            space,
            "calibrate",
            digest(record),
            {"chosen": record["chosen"], "from": record["from"]},
            entries=(entry,),
        )
