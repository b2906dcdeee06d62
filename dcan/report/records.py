"""What a report is made of: plain values, read from the steps' files by the caller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dcan.geometry import Triple
from dcan.report.jobs import StageJobs
from dcan.report.overlays import Overlay
from dcan.report.samples import SampleRow

MAP_METRICS = ("rand_error", "warping_error", "pixel_error", "vrand_thin", "vinfo_thin")
NEURITE_METRICS = ("adapted_rand_error", "voi_split", "voi_merge")

Sections = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Absent:
    """A part of the report that could not be made, and why, in a few words."""

    reason: str


@dataclass(frozen=True, slots=True)
class VolumeFacts:
    """The volume and how it was treated.

    `shape` is in voxels and `voxel_nm` in nanometres, axes (z, y, x). `missing` are the sections
    without tissue. `settings` is the resolved configuration: nested mappings, sequences, text and
    numbers. `versions` maps a software's name to its version.
    """

    name: str
    source: str
    shape: Triple
    voxel_nm: tuple[float, float, float]
    dtype: str
    missing: Sections
    versions: Mapping[str, str]
    settings: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Score:
    """A metric's value, and the threshold in 0..1 at which it is best (None: it has none)."""

    value: float
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class MapScores:
    """The 2-D metrics of one result: `p`, `fused` or `segments`. None: not computed."""

    rand_error: Score | None = None
    warping_error: Score | None = None
    pixel_error: Score | None = None
    vrand_thin: Score | None = None
    vinfo_thin: Score | None = None


@dataclass(frozen=True, slots=True)
class Curve:
    """`y` over `x`, of equal length; NaN in `y` leaves a gap."""

    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """A wrong object in 3-D: a true neurite in `parts` pieces, or a found one over `parts` truths.

    `label` is the true one of a split and the found one of a merge. `voxels` are those outside
    its largest part. `at` is a voxel (z, y, x) where it can be looked up.
    """

    label: int
    parts: int
    voxels: int
    at: Triple | None = None


@dataclass(frozen=True, slots=True)
class NeuriteScores:
    """The 3-D metrics of the neurites, and the worst of their faults, worst first.

    `pieces`: mean number of found neurites that each hold a twentieth or more of a true one.
    """

    adapted_rand_error: float
    voi_split: float
    voi_merge: float
    worst_splits: tuple[Fault, ...] = ()
    worst_merges: tuple[Fault, ...] = ()
    pieces: float | None = None


@dataclass(frozen=True, slots=True)
class Metrics:
    """The results against truth on the sections `evaluated`, by the key of the result.

    `seen` are the sections that the network saw in training, evaluated or not: those in both are
    marked wherever a number stands; None: it is not known. `definitions` holds a sentence for
    each metric that has a value. `curves` are Rand errors over the threshold, by the key of the
    map. `mistakes` are pixels by the key of the result and of `MISTAKES`, at its best threshold
    for warping. `without_tissue` are pixels of the sections that are in no metric.

    Raises: ValueError for a value whose metric has no definition.
    """

    scores: Mapping[str, MapScores]
    definitions: Mapping[str, str]
    evaluated: Sections
    seen: Sections | None
    neurites: NeuriteScores | Absent
    curves: Mapping[str, Curve]
    mistakes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    without_tissue: int = 0

    def __post_init__(self) -> None:
        shown = {key for row in self.scores.values() for key in MAP_METRICS if getattr(row, key)}
        if isinstance(self.neurites, NeuriteScores):
            shown.update(NEURITE_METRICS)
        if unexplained := sorted(shown - set(self.definitions)):
            raise ValueError(f"metrics without a definition: {', '.join(unexplained)}")


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


@dataclass(frozen=True, slots=True)
class Drift:
    """Shift of section `z` + 1 against section `z`, in pixels of the full resolution."""

    z: int
    dy: int
    dx: int


@dataclass(frozen=True, slots=True)
class LinkRule:
    """The values of linking in use, and where they come from; `containment` None: no branches."""

    iou: float
    containment: float | None
    beside: int
    origin: str


@dataclass(frozen=True, slots=True)
class Linking:
    """How segments became neurites.

    `mutual` and `branches` are the links; `refused` branches would have united neurites that
    run side by side. `orphans` are neurites of a single section, `isolated` segments that share
    no pixel with one of another section. `pieces_median` and `pieces_most` are segments of a
    neurite; `bridged` the sections that links passed over.
    """

    segments: int
    neurites: int
    mutual: int
    branches: int
    refused: int
    orphans: int
    isolated: int
    pieces_median: int
    pieces_most: int
    rule: LinkRule
    bridged: Sections = ()
    drift: tuple[Drift, ...] = ()

    @property
    def pieces_mean(self) -> float | None:
        """Segments per neurite; None when there are none."""
        return self.segments / self.neurites if self.neurites else None


@dataclass(frozen=True, slots=True)
class Stage:
    """What a stage of the workflow did. None: not known.

    `blocks` are those it did, `skipped` those without tissue, for which it did nothing; `failed`
    names blocks by their box's key. `tiles` are those the network was asked for, `tiles_skipped`
    those without tissue. `voxels`, where given, are those it worked through in `seconds` of wall
    time.
    """

    name: str
    blocks: int | None = None
    objects: int | None = None
    size_bytes: int | None = None
    seconds: float | None = None
    voxels: int | None = None
    skipped: int = 0
    failed: tuple[str, ...] = ()
    tiles: int | None = None
    tiles_skipped: int = 0


@dataclass(frozen=True, slots=True)
class Output:
    """A file or folder that the workflow leaves, and what it holds."""

    path: str
    what: str


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the page shows; it shows nothing else, and no time of its making.

    `viewers` are lines of plain text that say how to open the outputs.
    """

    volume: VolumeFacts
    metrics: Metrics | Absent
    calibration: Calibration | Absent
    training: Training | GivenWeights | Absent
    linking: Linking | Absent
    overlays: tuple[Overlay, ...] = ()
    stages: tuple[Stage, ...] = ()
    jobs: tuple[StageJobs, ...] = ()
    outputs: tuple[Output, ...] = ()
    viewers: tuple[str, ...] = ()
