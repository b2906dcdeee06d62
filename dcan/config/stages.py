"""The stages in running order: what each reads of the configuration, and what it stands on.

A stage's fingerprint is made of its version, the values under its keys, the calibrated values
it uses, the identity of its sources, and the identity of the stages it follows. Nothing else
reruns it: how the volume is cut into shards, batches and workers is in no fingerprint, and the
shape of the blocks only in those of the stages whose tables are kept by block.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dcan.config.model import Config
from dcan.config.searching import searched


@dataclass(frozen=True, slots=True)
class Stage:
    """What a stage's result depends on."""

    version: int
    """Raised when the same values give another result."""
    after: tuple[str, ...] = ()
    """Stages whose results it reads."""
    keys: tuple[str, ...] = ()
    """Dotted keys of the configuration."""
    chosen: tuple[str, ...] = ()
    """Values of the calibration."""
    sources: tuple[str, ...] = ()
    """Sources it reads: `volume`, `mask`, `truth`, `training`, `membrane`."""
    batched: bool = False
    """Whether its blocks are dealt out to jobs."""


READ = tuple(f"model.onnx.{key}" for key in ("normalisation", "output", "channel", "white"))
"""What decides how a network of the user's own is read; its halo and multiple are checks."""

STAGES: dict[str, Stage] = {
    "probe": Stage(
        version=1,
        keys=(
            *("volume.source", "volume.shape", "volume.missing", "volume.mask", "phantom"),
            *("truth", "training.volumes", "evaluation", "membrane"),
            *("blocks.shape", "storage.shard", "prediction.tile"),
        ),
    ),
    "allocate": Stage(version=3, after=("probe",), keys=("volume.voxel_size", "storage.shard")),
    "ingest": Stage(version=1, sources=("volume",), batched=True),
    "survey": Stage(version=1, after=("ingest",), keys=("volume.missing",), sources=("mask",)),
    "truth": Stage(
        version=2,
        keys=("truth", "training.volumes", "training.folds", "volume.missing"),
        sources=("volume", "truth", "training"),
    ),
    "train": Stage(
        version=6,
        after=("truth",),
        keys=(
            *("training.steps", "training.seed", "training.rule", "training.learning_rate"),
            *("training.weight_decay", "training.auxiliary", "training.discount_start"),
            *("training.discount_periods", "training.discount_floor"),
            *("training.average", "training.precision"),
            *("training.crop", "training.batch", "training.threads", "training.validate_every"),
            *("model.kind", "model.width", "model.heads", "model.head", "model.inner"),
            *("model.deconvolution", "training.augmentation", "training.start_from"),
        ),
    ),
    "resolve": Stage(
        version=3,
        keys=tuple(f"prediction.{key}" for key in ("device", "backend", "precision", "threads")),
    ),
    "calibrate": Stage(
        version=5,
        after=("truth", "train", "resolve"),
        keys=(
            *("segmentation", "prediction.tile", "prediction.halo", "prediction.views"),
            *("linking", *READ),
        ),
    ),
    "predict": Stage(
        version=1,
        after=("survey", "train", "resolve"),
        keys=("prediction.tile", "prediction.halo", "prediction.views", *READ),
        sources=("mask",),
        batched=True,
    ),
    "drift": Stage(
        version=2, after=("predict",), keys=("volume.missing", "linking.bridge", "linking.drift")
    ),
    "flood": Stage(
        version=2,
        after=("predict",),
        keys=("volume.missing", "blocks.shape"),
        chosen=("sigma",),
        batched=True,
    ),
    "merge": Stage(version=1, after=("flood",), chosen=("depth",)),
    "fuse": Stage(
        version=2,
        after=("merge",),
        chosen=("sigma", "w_f", "t"),
        sources=("mask",),
        batched=True,
    ),
    "stitch": Stage(version=1, after=("fuse",), keys=("segmentation.min_size",)),
    "relabel": Stage(version=1, after=("stitch",), keys=("labels.compact",), batched=True),
    "grow": Stage(
        version=1, after=("relabel",), chosen=("sigma",), sources=("mask",), batched=True
    ),
    "settle": Stage(version=1, after=("grow",)),
    "overlap": Stage(version=1, after=("relabel", "drift"), keys=("linking.bridge",), batched=True),
    "link": Stage(
        version=2,
        after=("stitch", "overlap"),
        keys=("labels.compact",),
        chosen=("iou", "containment", "beside"),
    ),
    "unite": Stage(
        version=1,
        after=("relabel", "settle", "link"),
        keys=("labels.grow",),
        sources=("mask",),
        batched=True,
    ),
    "pyramid": Stage(version=1),
    "evaluate": Stage(
        version=3,
        after=("predict", "relabel", "unite"),
        keys=("truth", "evaluation", "volume.missing"),
        chosen=("sigma", "depth", "w_f", "t"),
        sources=("truth", "mask"),
    ),
    "report": Stage(version=4, after=("evaluate", "calibrate", "train", "link")),
}
"""Every stage, in running order. A pyramid follows the stage whose store it belongs to."""


FILLED_BY = {"em": "ingest", "membrane": "predict", "segments": "relabel", "neurites": "unite"}
"""The stage that fills level 0 of each store, by the store's name: its pyramid follows."""


ON_A_GIVEN_MAP: dict[str, Stage] = {
    "calibrate": Stage(
        version=3,
        after=("truth",),
        keys=("segmentation", "linking", "membrane.white"),
        sources=("membrane",),
    ),
    "predict": Stage(
        version=1,
        after=("survey",),
        keys=("membrane.white",),
        sources=("membrane", "mask"),
        batched=True,
    ),
}
"""Stages that read a given membrane map, as they are where there is one."""


def planned(config: Config) -> dict[str, Stage]:
    """The stages that this configuration runs, in running order, each after those of them alone.

    Whatever must know which stages there are for a volume asks here: the workflow, fingerprints,
    `dcan plan`, `dcan status` and `dcan verify`.
    """
    idle = _idle(config)
    stages = STAGES | ON_A_GIVEN_MAP if config.membrane else STAGES
    return {
        name: replace(stage, after=tuple(other for other in stage.after if other not in idle))
        for name, stage in stages.items()
        if name not in idle
    }


def trains(config: Config) -> bool:
    """Whether networks are trained: neither a map nor weights are given."""
    return config.membrane is None and config.model.weights is None


def _idle(config: Config) -> set[str]:
    """The stages that have nothing to do."""
    idle = set()
    if not (trains(config) or searched(config)):
        idle.add("truth")
    if config.membrane:
        idle |= {"train", "resolve"}
    if not config.labels.grow:
        idle |= {"grow", "settle"}
    return idle


def own(config: Config, stage: str) -> dict[str, object]:
    """The values under the stage's keys, by dotted key, as plain JSON values."""
    plain = config.model_dump(mode="json")
    values: dict[str, object] = {}
    for key in planned(config).get(stage, STAGES[stage]).keys:
        value: object = plain
        for part in key.split("."):
            value = value[part] if isinstance(value, dict) else None
        values[key] = value
    return values
