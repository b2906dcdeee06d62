"""What a report is made of: plain values, read from the steps' files by the caller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dcan.geometry import Triple
from dcan.report.jobs import StageJobs
from dcan.report.learned import Calibration, GivenWeights, Training
from dcan.report.overlays import Overlay
from dcan.report.scored import Absent, Metrics, Sections


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
