"""The calibration of another volume, read in place of a search."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dcan.errors import DcanError
from dcan.ops.link_search import DEFAULT
from dcan.steps.calibrate_links import plain
from dcan.steps.sources import CALIBRATION, named_path
from dcan.steps.truth import refuse_evaluated
from dcan.steps.workspace import Workspace


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


class Section(BaseModel):
    """A section that values were chosen on, as a calibration.json names it."""

    volume: int
    z: int
    sha256: str
    members: list[int]
    seen: bool | None


class Borrowed(BaseModel):
    """What is read of the calibration.json of another volume."""

    chosen: Chosen
    sections: list[Section] = []

    def values(self, names: Sequence[str]) -> dict[str, Any]:
        """The chosen values of these names."""
        return self.chosen.model_dump(include=set(names))


def borrowed_calibration(space: Workspace, named: str) -> Borrowed:
    """The calibration that `segmentation.calibration` names, chosen on no section evaluated here.

    `named`: a calibration.json, a folder that holds one, or the name of one in `models/`.

    Raises DcanError: there is none, the name is that of a path and of one in `models/`, or it
    was chosen on an evaluated section.
    """
    file = _file(named)
    try:
        found = Borrowed.model_validate_json(file.read_bytes())
    except OSError as error:
        why = error.strerror
    except ValidationError:
        why = "it does not hold the chosen sigma, depth, w_f and t"
    else:
        chosen_on = {section.sha256 for section in found.sections}
        refuse_evaluated(space, chosen_on, f"segmentation.calibration {named!r}")
        return found
    raise DcanError(
        f"segmentation.calibration is {named!r}: {why}: give the calibration.json of another "
        "volume, the name of one in models/, or the four values themselves"
    )


def _file(named: str) -> Path:
    path = named_path(named, "segmentation.calibration", CALIBRATION)
    return path / "calibration.json" if path.is_dir() else path
