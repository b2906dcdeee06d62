"""The one strict model of `config/volume.yaml`. Unknown keys are errors; numbers are numbers."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, StrictBool, StrictInt, model_validator

from dcan.config.agreement import agree
from dcan.config.networks import Model, Prediction, Training
from dcan.config.onnx import agree_on_onnx
from dcan.config.values import (
    Address,
    Auto,
    Index,
    Line,
    Number,
    Shape,
    Thousandths,
    bounds,
    tenths,
)
from dcan.config.volumes import (
    Evaluation,
    Membrane,
    Phantom,
    Source,
    SourcePath,
    Strict,
    TrainingVolume,
    Truth,
    Volume,
)
from dcan.geometry import Grid, Triple

__all__ = [
    "Config",
    "Evaluation",
    "Membrane",
    "Phantom",
    "Source",
    "SourcePath",
    "TrainingVolume",
    "Truth",
    "bounds",
]


BLOCKS_PER_BATCH = 64
MOST_BATCHES = 40
"""Of a stage, when they are derived: eight stages of them stay far below 400 jobs."""


class Segmentation(Strict):
    """Watershed fusion; what is `auto` is calibrated on the validation sections."""

    sigma: Annotated[Number, Field(ge=0, le=16)] | Auto = "auto"
    """Smoothing before the watershed, pixels."""
    depth: Annotated[Number, Field(ge=0, le=255), AfterValidator(tenths)] | Auto = "auto"
    """Minima shallower than this are merged; 1/255 of the membrane probability."""
    w_f: Thousandths | Auto = "auto"
    """Weight of the watershed's contour in the fused map."""
    t: Thousandths | Auto = "auto"
    """A pixel whose fused value is below is inside a segment."""
    min_size: Index = 25
    """Smaller segments are dropped, pixels."""
    calibration: Line = "auto"
    """`auto`, the calibration.json of another volume, or the name of one in `models/`."""


class Linking(Strict):
    """Joining segments of sections into neurites; `auto` is calibrated on 3-D truth."""

    iou: Thousandths | Auto = "auto"
    """Least overlap / union of segments that are each other's best; uncalibrated 0.3."""
    containment: Thousandths | Auto | None = "auto"
    """Least overlap / smaller segment of a branch; null: no branches; uncalibrated 0.8."""
    beside: Index | Auto = "auto"
    """Most sections that neurites united by a branch both reach through; uncalibrated 1."""
    bridge: Annotated[StrictInt, Field(ge=0, le=8)] = 2
    """Most missing sections in a row that a link may cross."""
    drift: Annotated[StrictInt, Field(ge=0, le=512)] = 16
    """Largest shift between consecutive sections that is looked for, pixels."""


class Labels(Strict):
    """How segments and neurites are stored."""

    compact: StrictBool = False
    """Number them 1..n, in the order of their names."""
    grow: StrictBool = False
    """Grow neurites down the membrane map over pixels without a segment."""


class Blocks(Strict):
    """Units of work and resume. They do not change the result."""

    shape: Shape = (16, 2048, 2048)
    batches: Annotated[StrictInt, Field(ge=1, le=500)] | Auto = "auto"
    """Jobs of each blockwise stage; `auto`: by the declared shape."""

    def within(self, volume: Triple) -> Triple:
        """The shape of a block of a volume of this shape, which it does not leave."""
        depth, height, width = (min(b, n) for b, n in zip(self.shape, volume, strict=True))
        return depth, height, width


class Storage(Strict):
    """How arrays lie on disk. It does not change the result."""

    shard: Shape = (16, 1024, 1024)


class Engine(Strict):
    """Who runs the blocks of a job."""

    scheduler: Address | None = None
    """Address of a Dask scheduler, with TLS but on 127.0.0.1; null: threads of the job."""


class Config(Strict):
    """Everything about one volume that changes its result, and how it is cut."""

    volume: Volume
    phantom: Phantom | None = None
    truth: Truth | None = None
    evaluation: Evaluation | None = None
    training: Training = Training()
    model: Model = Model()
    membrane: Membrane | None = None
    prediction: Prediction = Prediction()
    segmentation: Segmentation = Segmentation()
    linking: Linking = Linking()
    labels: Labels = Labels()
    blocks: Blocks = Blocks()
    storage: Storage = Storage()
    engine: Engine = Engine()
    output: Line = "results"

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        agree(self)
        agree_on_onnx(self)
        return self

    def declared(self) -> Triple | None:
        """The volume's shape as far as the configuration says: that of the phantom, or declared."""
        if self.volume.source == "phantom" and self.phantom:
            return self.phantom.shape
        return self.volume.shape

    def batches(self) -> int:
        """Jobs of each blockwise stage: as given, or one for 64 blocks of the declared shape.

        A constant of the configuration: whatever a job finds out, it is one of as many.
        """
        if self.blocks.batches != "auto":
            return self.blocks.batches
        shape = self.declared()
        blocks = len(Grid(shape, self.blocks.within(shape))) if shape else 1
        return min(-(-blocks // BLOCKS_PER_BATCH), MOST_BATCHES)

    def trained_on(self) -> list[TrainingVolume]:
        """The labelled volumes to train on; empty when there are none."""
        if self.training.volumes is not None:
            return self.training.volumes
        if self.truth is None:
            return []
        return [
            TrainingVolume(source=self.volume.source, truth=self.truth, missing=self.volume.missing)
        ]

    def kept_back(self, volume: TrainingVolume) -> list[int]:
        """The sections with tissue that some network is not trained on: those to calibrate on."""
        kept = (
            volume.truth.validated() if self.training.folds == 1 else bounds(volume.truth.sections)
        )
        return [z for z in kept if z not in volume.missing]
