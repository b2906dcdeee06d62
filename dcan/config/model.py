"""The one strict model of `config/volume.yaml`. Unknown keys are errors; numbers are numbers."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    model_validator,
)

from dcan.config.agreement import agree, agree_on_truth
from dcan.config.values import (
    Auto,
    Count,
    Heads,
    Index,
    Length,
    Line,
    Missing,
    Name,
    Number,
    Part,
    Sections,
    Shape,
    Thousandths,
    bounds,
    tenths,
)

__all__ = [
    "Config",
    "Evaluation",
    "Phantom",
    "Source",
    "SourcePath",
    "TrainingVolume",
    "Truth",
    "bounds",
]


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
        agree_on_truth(self)
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


class Augmentation(Strict):
    """How far training samples are changed; 0 switches a disturbance off."""

    often: Part = 0.5
    """Probability of each of elastic, scale, rotation, gamma, blur and noise in a sample."""
    turns: StrictBool = True
    """Flips and quarter turns."""
    elastic: Annotated[Number, Field(ge=0, le=32)] = 4.0
    """Deviation of the displacement at nodes 48 pixels apart, pixels."""
    scale: Annotated[Number, Field(ge=0, le=1)] = 0.1
    """Most change of the scale, in doublings."""
    rotation: Annotated[Number, Field(ge=0, le=180)] = 10.0
    """Most turn, degrees."""
    contrast: Part = 0.25
    """Most relative change of every sample."""
    brightness: Annotated[Number, Field(ge=0, le=4)] = 0.25
    """Most change of every sample, in the section's deviation."""
    gamma: Annotated[Number, Field(ge=0, le=4)] = 0.5
    """Most change of gamma, in doublings."""
    blur: Annotated[Number, Field(ge=0, le=16)] = 1.0
    """Most deviation of a Gaussian, pixels."""
    noise: Annotated[Number, Field(ge=0, le=4)] = 0.25
    """Most deviation, in the section's."""
    dark: Part = 0.05
    """Probability of a dark patch in a sample."""
    missing: Part = 0.05
    """Probability of a patch without tissue, whose target is unknown."""
    creases: Part = 0.05
    """Probability of a crease in the tissue, whose target is unknown."""
    gaps: Part = 0.1
    """Probability of membrane that fades in a few places, and is there in the target."""


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
    learning_rate: Annotated[Number, Field(gt=0, le=10)] | None = None
    """The first rate; null: the rule's."""
    weight_decay: Annotated[Number, Field(ge=0, le=10)] | None = None
    """Of the weights, not of biases; null: the rule's."""
    auxiliary: StrictBool = True
    """Whether each head has a loss of its own, too."""
    discount_periods: Annotated[StrictInt, Field(ge=1, le=100)] = 3
    """Parts of the training after each of which the heads' losses count a tenth."""
    discount_floor: Annotated[Number, Field(ge=0, le=1)] = 0.01
    """What they count at least."""
    average: Annotated[Number, Field(ge=0, lt=1)] = 0.99
    """Decay of the moving average of the weights, which is what is kept; 0: the weights."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the convolutions; `auto`: bfloat16 where the machine has it in hardware."""
    crop: Annotated[StrictInt, Field(ge=16, le=4096, multiple_of=8)] = 256
    """Side of a training sample, pixels."""
    batch: Annotated[StrictInt, Field(ge=1, le=1024)] = 4
    augmentation: Augmentation = Augmentation()
    threads: Annotated[StrictInt, Field(ge=1, le=1024)] = 2
    """Compute threads; part of the result, so not the job's `threads`."""
    start_from: Line | None = None
    """Weights to start from, as `model.weights`; null: drawn ones."""
    workers: Annotated[StrictInt, Field(ge=0, le=256)] | Auto = "auto"
    """Threads that make samples ahead; no part of the result."""
    checkpoint_every: Count = 100
    """Steps between the states that a killed training goes on from."""
    validate_every: Count = 500
    """Steps between validations."""


class Model(Strict):
    """The network."""

    kind: Literal["dcan", "unet"] = "dcan"
    """`unet`: the peer, of as many parameters at one width; the keys of heads are not its."""
    width: Annotated[StrictInt, Field(ge=1, le=256)] = 64
    """Channels of the first stage; 64 is the paper's."""
    heads: Heads = ["C1", "C2", "C3"]
    """Which heads there are; they leave the trunk after stage 2, 3 and 4."""
    head: Literal["upsample", "convolve"] = "upsample"
    """Whether a head deconvolves first, or convolves at its stride first."""
    inner: Annotated[StrictInt, Field(ge=1, le=1024)] = 2
    """Channels inside a head."""
    deconvolution: Literal["bilinear", "random"] = "bilinear"
    """How the weights of deconvolutions start."""
    weights: Line | None = None
    """A checkpoint, a folder of them, or the name of one in `models/`; null trains."""


class Membrane(Strict):
    """A map of membranes made elsewhere, to be segmented instead of the network's."""

    source: Source
    """As `volume.source`, of its shape; uint8, or floating point 0..1."""
    white: Literal["membrane", "neurite"] = "membrane"
    """What high values mean."""


class Prediction(Strict):
    """How the network is run over the volume."""

    tile: Annotated[StrictInt, Field(ge=8, le=16384, multiple_of=8)] = 1024
    """Side of the network's output square, pixels."""
    halo: Annotated[StrictInt, Field(ge=8, le=1024, multiple_of=8)] = 64
    """Context around a tile, pixels."""
    views: Literal[1, 8] = 1
    """8: the mean over the flips and quarter turns of a window."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Annotated[StrictInt, Field(ge=1, le=1024)] = 2
    """Compute threads on the CPU; part of the result, so not the job's `threads`."""


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
    """`auto`, or the calibration.json of another volume."""


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
