"""The one strict model of `config/volume.yaml`. Unknown keys are errors; numbers are numbers."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    model_validator,
)


SECTIONS = "([0-9]{1,9}):([0-9]{1,9})"
NAME = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}"
UNFIT = ("Cc", "Cs", "Zl", "Zp")  # control characters, surrogates, ends of line and paragraph


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("give a number")
    return value


def _sections(text: str) -> str:
    found = re.fullmatch(SECTIONS, text)
    if not found or int(found[1]) >= int(found[2]):
        raise ValueError('give a half-open range of sections "first:end" with first < end')
    return text


def _sections_once(sections: list[int]) -> list[int]:
    ordered = sorted(sections)
    for one, next_one in pairwise(ordered):
        if one == next_one:
            raise ValueError(f"section {one} is named twice: keep one, or mend the other")
    return ordered


def _thousandths(value: float) -> float:
    if abs(value * 1000 - round(value * 1000)) > 1e-9:
        raise ValueError("give a decimal with at most three places")
    return value


def _tenths(value: float) -> float:
    if abs(value * 10 - round(value * 10)) > 1e-9:
        raise ValueError("give a decimal with at most one place")
    return value


def _text(value: str) -> str:
    if not value.strip() or any(unicodedata.category(sign) in UNFIT for sign in value):
        raise ValueError("give one line of text, without control characters")
    return value


def _name(value: str) -> str:
    if not re.fullmatch(NAME, value):
        raise ValueError(
            "give at most 64 letters, digits, '_', '.' and '-', the first of them no '.' or '-'"
        )
    return value


Count = Annotated[StrictInt, Field(ge=1, le=10**9)]
Index = Annotated[StrictInt, Field(ge=0, le=10**9)]
Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Line = Annotated[StrictStr, AfterValidator(_text)]
Sections = Annotated[
    StrictStr, AfterValidator(_sections), Field(json_schema_extra={"pattern": f"^{SECTIONS}$"})
]
Missing = Annotated[list[Index], AfterValidator(_sections_once)]
Thousandths = Annotated[Number, Field(ge=0, le=1), AfterValidator(_thousandths)]
Auto = Literal["auto"]
Shape = tuple[Count, Count, Count]
Name = Annotated[
    StrictStr, AfterValidator(_name), Field(json_schema_extra={"pattern": f"^{NAME}$"})
]
Length = Annotated[Number, Field(gt=0)]


def bounds(sections: str) -> range:
    """The sections that a half-open range names.

    >>> list(bounds("3:6"))
    [3, 4, 5]
    """
    first, end = sections.split(":")
    return range(int(first), int(end))


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
    missing: Missing = []
    """Sections without tissue: membrane 255, segments 0, bridged when neurites are linked."""


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
    validation: Sections | None = None
    """Those of them that choose checkpoint and calibration; default the last quarter."""
    offset: tuple[Index, Index, Index] = (0, 0, 0)
    """Where the first voxel of the labels lies in the volume."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        inside, kept_back = bounds(self.sections), self.validated()
        if len(inside) < 2:
            raise ValueError(
                f'sections is "{self.sections}", one section: training keeps some back for '
                "validation, give two or more"
            )
        if kept_back == inside or not _within(kept_back, inside):
            raise ValueError(
                f'validation is "{self.validation}", not a part of sections "{self.sections}": '
                "name sections of that range and leave some to train on"
            )
        if inside.start < self.offset[0]:
            raise ValueError(
                f'sections is "{self.sections}", but the labels begin at section '
                f"{self.offset[0]} (offset): name sections of the volume from there on"
            )
        if place(self.source) == place("phantom") and self.kind != "neurites":
            raise ValueError(
                f'kind is "{self.kind}", but the phantom\'s labels are ids: give neurites'
            )
        return self

    def validated(self) -> range:
        """The sections kept back for choosing: as given, or the last quarter, at least one."""
        if self.validation:
            return bounds(self.validation)
        every = bounds(self.sections)
        return range(every.stop - max(1, len(every) // 4), every.stop)


class TrainingVolume(Strict):
    """A labelled volume to train on."""

    source: Source
    truth: Truth
    missing: Missing = []


class Evaluation(Strict):
    """Held-out sections that are scored against the truth."""

    sections: Sections


class Training(Strict):
    """The training of the network."""

    volumes: list[TrainingVolume] | None = None
    """Default: this volume and its truth."""
    steps: Count = 6000
    members: Annotated[StrictInt, Field(ge=1, le=64)] = 1
    """Networks of the ensemble."""
    seed: Index = 0
    rule: Literal["adam-cosine", "paper"] = "adam-cosine"
    """The recipe of optimiser and learning rate."""
    crop: Annotated[StrictInt, Field(ge=16, le=4096, multiple_of=8)] = 256
    """Side of a training sample, pixels."""
    batch: Annotated[StrictInt, Field(ge=1, le=1024)] = 4
    threads: Annotated[StrictInt, Field(ge=1, le=1024)] = 2
    """Compute threads; part of the result, so not the job's `threads`."""
    checkpoint_every: Count = 100
    """Steps between the states that a killed training goes on from."""
    validate_every: Count = 500
    """Steps between validations."""


class Model(Strict):
    """The network."""

    width: Annotated[StrictInt, Field(ge=1, le=256)] = 64
    """Channels of the first stage; 64 is the paper's."""
    weights: Line | None = None
    """A checkpoint, a folder of them, or the name of one in `models/`; null trains."""


class Prediction(Strict):
    """How the network is run over the volume."""

    tile: Annotated[StrictInt, Field(ge=8, le=16384, multiple_of=8)] = 1024
    """Side of the network's output square, pixels."""
    halo: Annotated[StrictInt, Field(ge=8, le=1024, multiple_of=8)] = 64
    """Context around a tile, pixels."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Annotated[StrictInt, Field(ge=1, le=1024)] = 2
    """Compute threads on the CPU; part of the result, so not the job's `threads`."""


class Segmentation(Strict):
    """Watershed fusion; what is `auto` is calibrated on the validation sections."""

    sigma: Annotated[Number, Field(ge=0, le=16)] | Auto = "auto"
    """Smoothing before the watershed, pixels."""
    depth: Annotated[Number, Field(ge=0, le=255), AfterValidator(_tenths)] | Auto = "auto"
    """Minima shallower than this are merged; 1/255 of the membrane probability."""
    w_f: Thousandths | Auto = "auto"
    """Weight of the watershed's contour in the fused map."""
    t: Thousandths | Auto = "auto"
    """A pixel whose fused value is below is inside a segment."""
    min_size: Index = 25
    """Smaller segments are dropped, pixels."""
    calibration: Line = "auto"
    """`auto`, or the calibration.json of another volume."""


class Linking(Strict):
    """Joining segments of consecutive sections into neurites."""

    iou: Thousandths = 0.25
    """Least overlap / union of segments that are each other's best."""
    containment: Thousandths = 0.7
    """Least overlap / smaller segment of a branch."""
    bridge: Annotated[StrictInt, Field(ge=0, le=8)] = 2
    """Most missing sections in a row that a link may cross."""
    drift: Annotated[StrictInt, Field(ge=0, le=512)] = 16
    """Largest shift between consecutive sections that is looked for, pixels."""


class Blocks(Strict):
    """Units of work and resume. They do not change the result."""

    shape: Shape = (16, 1024, 1024)
    batches: Annotated[StrictInt, Field(ge=1, le=500)] = 1
    """Jobs of each blockwise stage."""


class Storage(Strict):
    """How arrays lie on disk. It does not change the result."""

    shard: Shape = (16, 1024, 1024)


class Engine(Strict):
    """Who runs the blocks of a job."""

    scheduler: Line | None = None
    """Address of a Dask scheduler; null: threads of the job."""


class Config(Strict):
    """Everything about one volume that changes its result, and how it is cut."""

    volume: Volume
    phantom: Phantom | None = None
    truth: Truth | None = None
    evaluation: Evaluation | None = None
    training: Training = Training()
    model: Model = Model()
    prediction: Prediction = Prediction()
    segmentation: Segmentation = Segmentation()
    linking: Linking = Linking()
    blocks: Blocks = Blocks()
    storage: Storage = Storage()
    engine: Engine = Engine()
    output: Line = "results"
    keep_scratch: StrictBool = True

    @model_validator(mode="after")
    def _shaped_phantom(self) -> Self:
        """What the phantom's shape says about sections is known before it is made."""
        places = {place(self.volume.source)}
        for volume in self.training.volumes or []:
            places |= {place(volume.source), place(volume.truth.source)}
        if self.truth:
            places.add(place(self.truth.source))
        if self.phantom is None:
            if place("phantom") in places:
                raise ValueError(
                    "a source is phantom but its shape is not given: add "
                    "phantom: {shape: [24, 768, 768], seed: 0}"
                )
        elif place(self.volume.source) == place("phantom"):
            self._check_depth(self.phantom.shape[0])
        return self

    def _check_depth(self, depth: int) -> None:
        if self.volume.missing and self.volume.missing[-1] >= depth:
            raise ValueError(
                f"volume.missing names section {self.volume.missing[-1]}, but phantom.shape has "
                f"{depth}: name sections from 0 to {depth - 1}"
            )
        for key, given in (("truth", self.truth), ("evaluation", self.evaluation)):
            if given and bounds(given.sections).stop > depth:
                raise ValueError(
                    f'{key}.sections is "{given.sections}", but phantom.shape has {depth} '
                    f"sections: end at {depth}"
                )

    @model_validator(mode="after")
    def _held_out(self) -> Self:
        """Sections that are scored have labels and tissue, and were never chosen on."""
        if self.evaluation is None:
            return self
        given = f'evaluation.sections is "{self.evaluation.sections}"'
        scored = bounds(self.evaluation.sections)
        if self.truth is None:
            raise ValueError(
                f"{given} but truth is null: give the truth of those sections, or set evaluation "
                "to null"
            )
        if scored.start < self.truth.offset[0]:
            raise ValueError(
                f"{given}, but the labels begin at section {self.truth.offset[0]} (truth.offset): "
                "name sections of the volume from there on"
            )
        if not present(scored, self.volume.missing):
            raise ValueError(f"{given}, all of them in volume.missing: name some with tissue")
        learnt = [("truth.sections", self.truth)]
        for number, volume in enumerate(self.training.volumes or []):
            if place(volume.source) == place(self.volume.source):
                learnt.append((f"training.volumes.{number}.truth.sections", volume.truth))
        for key, truth in learnt:
            both = range(
                max(scored.start, bounds(truth.sections).start),
                min(scored.stop, bounds(truth.sections).stop),
            )
            if both:
                raise ValueError(
                    f'{given} and {key} "{truth.sections}", which share section {both.start}: '
                    "held-out sections must not be trained on, make the ranges disjoint"
                )
        return self

    @model_validator(mode="after")
    def _learnable(self) -> Self:
        """Of all labelled sections, some with tissue are left on both sides of the split."""
        volumes = self.trained_on()
        key = "truth" if self.training.volumes is None else "training.volumes"
        if self.training.volumes == []:
            raise ValueError("training.volumes is []: name a volume, or give null for this one")
        for side, sections in (("train on", trained), ("validate on", kept)):
            if volumes and not any(sections(volume) for volume in volumes):
                raise ValueError(
                    f"{key} leaves no section with tissue to {side}: give other sections, or "
                    "another validation (missing sections do not count)"
                )
        return self

    def trained_on(self) -> list[TrainingVolume]:
        """The labelled volumes to train on; empty when there are none."""
        if self.training.volumes is not None:
            return self.training.volumes
        if self.truth is None:
            return []
        return [
            TrainingVolume(source=self.volume.source, truth=self.truth, missing=self.volume.missing)
        ]
