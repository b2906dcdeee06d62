"""Choose the values of fusion and linking by the errors of the validation sections."""

from __future__ import annotations

import json
import logging
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dcan.config import FUSION
from dcan.config.model import Membrane as GivenMembrane
from dcan.errors import DcanError
from dcan.geometry import Box
from dcan.net.device import hold, resolve
from dcan.net.model import Architecture
from dcan.net.predict import Predictor, predict_section
from dcan.ops import calibration
from dcan.ops.calibration import SearchGrid
from dcan.ops.frames import Membrane
from dcan.ops.link_search import DEFAULT
from dcan.ops.sections import Fusion
from dcan.ops.targets import objects
from dcan.steps.calibrate_links import given_links, links_searched, plain, search_links
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


class Chosen(BaseModel):
    """The values as a calibration.json holds them; one without linking's has their defaults."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    sigma: float = Field(ge=0, le=16)
    depth: float = Field(ge=0, le=255)
    w_f: float = Field(ge=0, le=1)
    t: float = Field(ge=0, le=1)
    iou: float = Field(plain(DEFAULT)["iou"], ge=0, le=1)
    containment: float | None = Field(plain(DEFAULT)["containment"], ge=0, le=1)
    beside: int = Field(DEFAULT.beside, ge=0)


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
    tensors, views = [m.tensors for m in found], space.config.prediction.views
    return Predictor(architecture, tensors, device, int(record["threads"]), views=views)


def _fixed(space: Workspace) -> dict[str, float]:
    """The values that the configuration gives instead of `auto`."""
    given = space.config.segmentation
    values = {name: getattr(given, name) for name in FUSION}
    return {name: float(value) for name, value in values.items() if value != "auto"}


def _borrowed(path: Path) -> dict[str, Any]:
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


class Validation:
    """The validation sections and, made when they are first asked for, their maps."""

    def __init__(self, space: Workspace) -> None:
        self._space = space

    @cached_property
    def sections(self) -> list[tuple[str, Labelled]]:
        """Each with its hash, in a fixed order."""
        check_inputs(self._space, "truth")
        return labelled(self._space, validation=True)

    @cached_property
    def maps(self) -> list[Membrane]:
        """The membrane maps of the sections: uint8 (y, x), 255 = membrane."""
        given = self._space.config.membrane
        return self._given(given) if given else self._predicted()

    def _predicted(self) -> list[Membrane]:
        check_inputs(self._space, "train")
        given = self._space.config.prediction
        network = predictor(self._space)
        progress = Progress("calibrate: maps", len(self.sections))
        maps = []
        for number, (_, found) in enumerate(self.sections, 1):
            maps.append(predict_section(network, found.em, found.table, given.tile, given.halo))
            progress(number)
        return maps

    def _given(self, given: GivenMembrane) -> list[Membrane]:
        """The given map where the validation sections of the volume are labelled."""
        (volume,) = self._space.config.trained_on()
        _, y, x = volume.truth.offset
        _, height, width = self._space.probe["sources"]["truth"]["shape"]
        boxes = [
            Box((z, y, x), (z + 1, y + height, x + width))
            for z in self._space.receipt("truth").values["volumes"][0]["validation"]
        ]
        return [read_map(self._space, given, box)[0] for box in boxes]


def _search(space: Workspace, validation: Validation, fixed: dict[str, float]) -> dict[str, Any]:
    learned = space.learned
    seen = [index for index, (sha256, _) in enumerate(validation.sections) if sha256 in learned]
    truths = [objects(section.target) for _, section in validation.sections]
    grid = _grid(fixed, space.config.segmentation.min_size)
    found = calibration.calibrate(validation.maps, truths, grid)
    best = found.best.fusion
    remarks = list(found.remarks)
    if seen:
        remarks.append(
            f"{len(seen)} of the {len(truths)} sections were seen in training: the error is too "
            "good, calibrate on others"
        )
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


def _of_fusion(space: Workspace, validation: Validation) -> dict[str, Any]:
    """The record of sigma, depth, w_f and t."""
    given = space.config.segmentation
    fixed = _fixed(space)
    if given.calibration != "auto":
        borrowed = _borrowed(Path(given.calibration))
        chosen = {name: borrowed[name] for name in FUSION} | fixed
        return {"chosen": chosen, "from": given.calibration}
    if len(fixed) == len(FUSION):
        return {"chosen": fixed, "from": "the configuration"}
    if space.config.trained_on():
        fingerprint = space.fingerprint("calibrate", "linking")
        return remembered(
            space, "calibrate", fingerprint, partial(_search, space, validation, fixed)
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
            _thousandths(chosen["w_f"]),
            _thousandths(chosen["t"]),
            given.min_size,
        )
        return remembered(
            space,
            "calibrate",
            space.fingerprint("calibrate", fusion=chosen),
            lambda: search_links(space, validation.maps, fusion),
            what="links",
        )
    if given.calibration != "auto":
        borrowed = _borrowed(Path(given.calibration))
        kept = {name: borrowed[name] for name in plain(DEFAULT)}
        return {"chosen": kept | fixed, "from": given.calibration}
    found = plain(DEFAULT) | fixed
    origin = "the configuration" if len(fixed) == len(found) else "the defaults"
    return {"chosen": found, "from": origin}


def calibrate(space: Workspace) -> None:
    """Write calibration.json: searched, given in the configuration, or another volume's."""
    with working(space, "calibrate"):
        validation = Validation(space)
        fusion = _of_fusion(space, validation)
        links = _of_links(space, validation, fusion["chosen"])
        chosen = {**fusion["chosen"], **links["chosen"]}
        record = {**fusion, "chosen": chosen, "linking": links}
        for remark in [*fusion.get("remarks", []), *links.get("remarks", [])]:
            _log.warning("calibrate: %s", remark)
        path = space.root / "calibration.json"
        write_text(path, json.dumps(record, indent=1) + "\n")
        _log.info("calibrate: %s", chosen)
        entry = Entry("calibration", (seal_file(space.root, path),))
        values = {"chosen": chosen, "from": record["from"]}
        vouch(space, "calibrate", digest(record), values, entries=(entry,))
