"""Records of a report: what was calibrated and trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dcan.report.samples import SampleRow
from dcan.report.scored import Sections


@dataclass(frozen=True, slots=True)
class Fusion:
    """The watershed fusion's values: `sigma` in pixels, `depth` in 1/255, `w_f` and `t` in 0..1."""

    sigma: float
    depth: float
    w_f: float
    t: float


@dataclass(frozen=True, slots=True)
class Trial:
    """One point of the calibration's grid; `standard_error` None: not known."""

    fusion: Fusion
    rand_error: float
    standard_error: float | None = None


@dataclass(frozen=True, slots=True)
class Precision:
    """What the network's precision changes against float32 by torch, on `sections` of them.

    `largest`, `mean`: differences of the maps, in probability.
    """

    backend: str
    precision: str
    sections: int
    largest: float
    mean: float
    rand_error: float
    exact_rand_error: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """The values in use and how they were found.

    `origin` says where they come from, for example "the grid search on truth" or a file's path.
    Without `trials` they were given, not searched for, and `origin` is the reason printed.
    `seen` are the sections that the network saw in training; None: it is not known. `within`
    gives for each value the least and the greatest that come within one standard error of the
    best.
    """

    chosen: Fusion
    origin: str
    trials: tuple[Trial, ...] = ()
    warnings: tuple[str, ...] = ()
    sections: Sections = ()
    seen: Sections | None = ()
    within: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    weights_sha256: str | None = None
    precision: Precision | None = None


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """The losses at one step. `auxiliary` are those of the heads before their weight `w_c`.

    `validation` and `rand_error` are the loss and the Rand error after fusion on the validation
    sections. None: not computed at this step.
    """

    step: int
    loss: float
    fused: float
    auxiliary: Mapping[str, float]
    learning_rate: float
    w_c: float
    validation: float | None = None
    rand_error: float | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """One trained network of the ensemble; `chosen_step` is the one whose weights are used."""

    name: str
    records: tuple[TrainingRecord, ...]
    chosen_step: int


@dataclass(frozen=True, slots=True)
class Training:
    """The networks trained for this volume, and the sections they learned and were chosen on.

    `samples` show what each disturbance does to them.
    """

    members: tuple[Member, ...]
    sections: Sections = ()
    validation: Sections = ()
    samples: tuple[SampleRow, ...] = ()


@dataclass(frozen=True, slots=True)
class GivenWeights:
    """Weights that were trained elsewhere."""

    path: str
    sha256: str
