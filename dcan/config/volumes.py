"""Sections of the configuration that say where data is: the volume, its labels, a given map."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from dcan.config.agreement import agree_on_truth
from dcan.config.values import Index, Length, Line, Missing, Name, Sections, Shape, bounds


class Strict(BaseModel):
    """Frozen; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class SourcePath(Strict):
    """Where a volume is."""

    path: Line
    """A file, a folder or glob of images, or a Zarr; relative to the working directory."""
    dataset: Line | None = None
    """The path inside an HDF5 file or a Zarr group."""


Source = Line | SourcePath


class Volume(Strict):
    """The EM volume to segment, axes (z, y, x)."""

    name: Name
    """Names the output folder."""
    source: Source
    """`phantom`, a path, a glob, or {path, dataset}."""
    voxel_size: tuple[Length, Length, Length]
    """nm along z, y, x."""
    shape: Shape | None = None
    """Declared, so that jobs are planned before the source is opened; the probe holds it to it."""
    missing: Missing = []
    """Sections without tissue: membrane 255, segments 0, bridged when neurites are linked."""
    mask: Source | None = None
    """Where there is tissue: bool or unsigned integers, 0 is none; as fine as the volume, or
    coarser along y and x by a whole number."""


class Phantom(Strict):
    """The synthetic volume that `source: phantom` means."""

    shape: Shape = (24, 768, 768)
    """Sections, rows, columns."""
    seed: Index = 0
    """Another seed is another tissue."""


class Truth(Strict):
    """Labels of some sections, to train, choose and calibrate on."""

    source: Source
    """As `volume.source`."""
    kind: Literal["membranes", "neurites"]
    """`membranes`: white is neurite; `neurites`: instance ids, 0 is not annotated."""
    sections: Sections
    """The sections of the volume that are for training."""
    validation: Sections | Literal["none"] | None = None
    """Those of them that choose checkpoint and calibration; default the last quarter. `none`: all
    are trained on, and the weights are those of the last step."""
    offset: tuple[Index, Index, Index] = (0, 0, 0)
    """Where the first voxel of the labels lies in the volume."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        agree_on_truth(self)
        return self

    def validated(self) -> range:
        """The sections kept back for choosing: as given, or the last quarter, at least one."""
        every = bounds(self.sections)
        if self.validation == "none":
            return range(every.stop, every.stop)
        if self.validation:
            return bounds(self.validation)
        return range(every.stop - max(1, len(every) // 4), every.stop)


class TrainingVolume(Strict):
    """A labelled volume to train on."""

    source: Source
    truth: Truth
    missing: Missing = []


class Evaluation(Strict):
    """Held-out sections that are scored against the truth."""

    sections: Sections


class Membrane(Strict):
    """A map of membranes made elsewhere, to be segmented instead of the network's."""

    source: Source
    """As `volume.source`, of its shape; uint8, or floating point 0..1."""
    white: Literal["membrane", "neurite"] = "membrane"
    """What high values mean."""
