"""What the work of a stage is, and the shipped figures of what a unit of it costs."""

from __future__ import annotations

from math import prod

from dcan.config import Config, planned, trains
from dcan.geometry import Triple
from dcan.storage.volumes import CHUNK

START = 2.0
"""Seconds of a core before a job works: Python, libraries, compiled kernels."""
FULL_WIDTH = 64
STAGES_LOG = "docs/log.md: what the stages cost"
BLOCKS_LOG = f"{STAGES_LOG}, less what was read around blocks"
NETWORK_LOG = "docs/log.md: what the network costs"
NOT_MEASURED = "568 kFLOP a pixel at 27 TFLOP/s, 40 % of an H100's peak in float32: not measured"

SHIPPED: dict[str, tuple[float, str]] = {
    **{
        stage: (seconds, STAGES_LOG)
        for stage, seconds in {
            "ingest": 0.010,
            "copy": 0.012,
            "drift": 0.029,
            "merge": 0.007,
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
    "flood": (0.029, BLOCKS_LOG),
    "fuse": (0.029, BLOCKS_LOG),
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
READING = {"flood": 0.15, "fuse": 0.10}
"""What a pixel that is read around blocks costs, of what one of a block does: docs/log.md,
2026-11-29, blocks of 512 to 4096 pixels along y and x."""
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


def pixels_read(config: Config, shape: Triple) -> float:
    """Pixels of the map that flood, fuse and growth decode for each of the volume's: those of
    blocks, and whole chunks around them."""
    found = 1.0
    for block, length in zip(config.blocks.within(shape)[1:], shape[1:], strict=True):
        spans = (
            min(at + block + CHUNK, length) - max(at - CHUNK, 0) for at in range(0, length, block)
        )
        found *= sum(spans) / length
    return found


def amount(stage: str, config: Config, shape: Triple) -> float:
    """A stage's work over a volume: millions of voxels.

    Of training and prediction, millions of pixels that a network of full width sees; narrower
    ones count by their width; given weights are as many networks as `training.members`.
    Of flood and fuse, with what is read around blocks, as `READING` says.
    0: next to nothing, or it follows the labelled sections alone.
    """
    if stage == "train" or (stage == "predict" and config.membrane is None):
        return _seen(stage, config, shape)
    times = float(stage in SHIPPED)
    if stage == "survey":  # without a mask it sums what ingest has counted
        times = float(config.volume.mask is not None)
    elif stage == "probe":  # every byte is hashed, that of a phantom is not there
        sources = (config.volume.source, config.membrane and config.membrane.source)
        times = sum(source not in (None, "phantom") for source in sources)
    elif stage in READING:
        times = 1 + READING[stage] * (pixels_read(config, shape) - 1)
    return times * prod(shape) / 1e6


def _seen(stage: str, config: Config, shape: Triple) -> float:
    """Millions of pixels that networks see, as of full width."""
    given, width = config.training, config.model.width / FULL_WIDTH
    if stage == "predict":
        views = tiles_seen(config, shape) * config.prediction.views * given.members
        return prod(shape) / 1e6 * views * width
    crops = given.members * given.steps * given.batch if trains(config) else 0
    return crops * given.crop**2 / 1e6 * width


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
