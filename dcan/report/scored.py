"""Records of a report: what was scored, or why something is absent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dcan.geometry import Triple

MAP_METRICS = ("rand_error", "warping_error", "pixel_error", "vrand_thin", "vinfo_thin")
NEURITE_METRICS = ("adapted_rand_error", "voi_split", "voi_merge")

Sections = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Absent:
    """A part of the report that could not be made, and why, in a few words."""

    reason: str


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
