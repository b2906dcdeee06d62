"""Sections of the configuration about the network: its shape, its training, its use."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictInt

from dcan.config.onnx import Onnx
from dcan.config.values import Auto, Count, Heads, Index, Line, Number, Part
from dcan.config.volumes import Strict, TrainingVolume


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


def evenly(batch: int, most: int) -> int:
    """How many of `most` processes a batch can be dealt out to evenly.

    >>> [evenly(4, most) for most in (1, 2, 3, 8)]
    [1, 2, 2, 4]
    """
    return max(n for n in range(1, max(1, most) + 1) if batch % n == 0)


class Training(Strict):
    """The training of the network."""

    volumes: list[TrainingVolume] | None = None
    """Default: this volume and its truth."""
    steps: Count = 6000
    members: Annotated[StrictInt, Field(ge=1, le=64)] = 1
    """Networks of the ensemble."""
    folds: Annotated[StrictInt, Field(ge=1, le=64)] = 1
    """2 or more: member i leaves out fold i of the labelled sections, and is chosen on it."""
    seed: Index = 0
    rule: Literal["adam-cosine", "paper"] = "adam-cosine"
    """The recipe of optimiser and learning rate."""
    learning_rate: Annotated[Number, Field(gt=0, le=10)] | None = None
    """The first rate; null: the rule's."""
    weight_decay: Annotated[Number, Field(ge=0, le=10)] | None = None
    """Of the weights, not of biases; null: the rule's."""
    auxiliary: StrictBool = True
    """Whether each head has a loss of its own, too."""
    discount_start: Annotated[Number, Field(ge=0, le=100)] = 1.0
    """What the heads' losses count at first, beside that of the fused map."""
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
    """`unet`: the peer, at one width of 3 % (64) to 11 % (16) fewer parameters; the keys of heads
    are not its."""
    width: Annotated[StrictInt, Field(ge=1, le=256)] = 64
    """Channels of the first stage; 64 is the paper's."""
    heads: Heads = ["C1", "C2", "C3"]
    """Which heads there are; they leave the trunk after stage 2, 3 and 4."""
    head: Literal["upsample", "convolve"] = "convolve"
    """Whether a head deconvolves first, or convolves at its stride first."""
    inner: Annotated[StrictInt, Field(ge=1, le=1024)] = 32
    """Channels inside a head."""
    deconvolution: Literal["bilinear", "random"] = "bilinear"
    """How the weights of deconvolutions start."""
    weights: Line | None = None
    """A checkpoint, a folder of them, or the name of one in `models/`; null trains."""
    onnx: Onnx | None = None
    """What `weights` are where they are of a network in ONNX."""

    @property
    def normalisation(self) -> str:
        """Of what the network reads."""
        return self.onnx.normalisation if self.onnx else "section-mean-deviation"


class Prediction(Strict):
    """How the network is run over the volume."""

    tile: Annotated[StrictInt, Field(ge=8, le=16384, multiple_of=8)] = 1024
    """Side of the network's output square, pixels."""
    halo: Annotated[StrictInt, Field(ge=8, le=1024, multiple_of=8)] = 64
    """Context around a tile, pixels."""
    views: Literal[1, 8] = 1
    """8: the mean over the flips and quarter turns of a window."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    backend: Literal["auto", "torch", "openvino"] = "auto"
    """What computes; `auto`: OpenVINO on a CPU with AMX where it is installed, else torch."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the convolutions; `auto`: bfloat16 where the machine has it in hardware."""
    threads: Annotated[StrictInt, Field(ge=1, le=1024)] = 2
    """Compute threads on the CPU; part of the result, so not the job's `threads`."""
