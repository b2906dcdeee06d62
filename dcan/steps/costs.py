"""What the work of a stage is, and the shipped figures of what a unit of it costs."""

from __future__ import annotations

from math import prod

from dcan.config import Config, planned, trains
from dcan.geometry import Triple

START = 2.0
"""Seconds of a core before a job works: Python, libraries, compiled kernels."""
FULL_WIDTH = 64
STAGES_LOG = "docs/log.md: what the stages cost"
NETWORK_LOG = "docs/log.md: what the network costs"
NOT_MEASURED = "568 kFLOP a pixel at 27 TFLOP/s, 40 % of an H100's peak in float32: not measured"

SHIPPED: dict[str, tuple[float, str]] = {
    **{
        stage: (seconds, STAGES_LOG)
        for stage, seconds in {
            "ingest": 0.010,
            "copy": 0.012,
            "drift": 0.029,
            "flood": 0.031,
            "merge": 0.007,
            "fuse": 0.031,
            "stitch": 0.001,
            "relabel": 0.013,
            "grow": 0.020,
            "settle": 0.001,
            "overlap": 0.023,
            "link": 0.004,
            "unite": 0.036,
            "pyramid_em": 0.008,
            "pyramid_membrane": 0.008,
            "pyramid_segments": 0.016,
            "pyramid_neurites": 0.013,
        }.items()
    },
    "survey": (0.009, "docs/log.md, 2026-11-29: of a volume with a mask"),
    "probe": (0.003, "docs/log.md, 2026-11-28: a run of 17 Gvoxel"),
    "ingest_phantom": (0.22, "docs/log.md, 2026-11-29: computed as it is read"),
    "copy_phantom": (0.22, "docs/log.md, 2026-11-29: computed as it is read"),
    "train": (11.0, "docs/log.md, 2026-11-22: 0.36 s a step of two cores at width 16"),
    "predict": (9.2, NETWORK_LOG),
}
"""Seconds of a core for a unit of work, and where the figure comes from."""
FIGURES = {"copy", "copy_phantom", "ingest_phantom"}
"""Those that are of another name than their stage: see `figure`."""
ON_GPU: dict[str, tuple[float, str]] = {
    "train": (0.063, f"three times that of prediction; {NOT_MEASURED}"),
    "predict": (0.021, NOT_MEASURED),
}
"""Seconds of a GPU for a unit of work, and where the figure comes from."""


def tiles_seen(config: Config, shape: Triple) -> float:
    """Pixels that the network sees for each of the volume's: tiles with their halo."""
    tile, halo = config.prediction.tile, config.prediction.halo
    rows, columns = (-(-n // tile) for n in shape[1:])
    return rows * columns * (tile + 2 * halo) ** 2 / prod(shape[1:])


def amount(stage: str, config: Config, shape: Triple) -> float:
    """A stage's work over a volume: millions of voxels.

    Of training and prediction, millions of pixels that a network of full width sees; narrower
    ones count by their width; given weights are as many networks as `training.members`.
    0: next to nothing, or it follows the labelled sections alone.
    """
    width = config.model.width / FULL_WIDTH
    if stage == "train" and trains(config):
        given = config.training
        return given.members * given.steps * given.batch * given.crop**2 / 1e6 * width
    if stage not in SHIPPED or stage == "train":
        return 0.0
    if stage == "survey" and config.volume.mask is None:  # sums what ingest has counted
        return 0.0
    voxels = prod(shape) / 1e6
    if stage == "probe":  # every byte is hashed, that of a phantom is not there
        sources = (config.volume.source, config.membrane and config.membrane.source)
        return voxels * sum(source not in (None, "phantom") for source in sources)
    if stage == "predict" and config.membrane is None:
        seen = tiles_seen(config, shape) * config.prediction.views * config.training.members
        return voxels * seen * width
    return voxels


def job_count(stage: str, config: Config) -> int:
    """Jobs that a stage's work is dealt out to, beside the one that vouches for it."""
    spec = planned(config).get(stage)
    if stage == "train" and trains(config):
        return config.training.members
    return config.batches() if spec and spec.batched else 1


def asked_of(stage: str, what: str, config: Config, shape: Triple) -> float | None:
    """The share of a stage's `amount` that a job on a part of it has: `batch-I-of-N`, `member-I`
    or `all`; None for those that vouch for what others did."""
    kind, _, count = what.partition("-of-")
    if kind.startswith("batch-"):
        return amount(stage, config, shape) / int(count)
    if kind.startswith("member-"):
        return amount(stage, config, shape) / config.training.members
    return amount(stage, config, shape) if what == "all" else None


def figure(stage: str, config: Config) -> str:
    """The name of the figure for a stage.

    Copying a given map is not predicting one, and a phantom is computed as it is read.
    """
    if stage == "predict" and config.membrane:
        return "copy_phantom" if config.membrane.source == "phantom" else "copy"
    return "ingest_phantom" if stage == "ingest" and config.volume.source == "phantom" else stage
