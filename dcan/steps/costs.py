"""How long jobs take: from the benchmarks of a volume that was done, or from shipped figures.

Seconds are those of one core, or of the GPU, for a unit of a stage's work; see `amount`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from dcan.config import Config, load, planned, trains
from dcan.errors import DcanError
from dcan.geometry import Triple
from dcan.storage.attempts import ENDING, Attempt, attempts
from dcan.storage.logs import of_stage
from dcan.storage.receipts import Receipt

START = 2.0
"""Seconds of a core before a job works: Python, libraries, compiled kernels."""
LEAST = 5.0
"""Seconds after its start that a job of a record works at least, to say something of its work:
less is a job that found its blocks done, or is lost in the start."""
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


@dataclass(frozen=True, slots=True)
class Record:
    """What the jobs of a finished volume took for a unit of work, by the name of the figure."""

    folder: Path
    cpu: Mapping[str, float]
    gpu: Mapping[str, float]

    @classmethod
    def read(cls, folder: Path) -> Record:
        """From the folder `<output>/<name>` of a volume.

        Raises DcanError where there are no benchmarks, or neither configuration nor shape.
        """
        if not any((folder / "benchmarks").glob("*.tsv")):
            raise DcanError(
                f"--record {folder}: no benchmarks/*.tsv there: give the folder of a volume that "
                "snakemake has done, <output>/<name>"
            )
        config = load(folder / "config.yaml")
        depth, height, width = Receipt.read(folder / "receipts" / "probe.json").values["shape"]
        shape: Triple = (depth, height, width)
        on_gpu = resolved_on_gpu(folder)
        cpu: dict[str, float] = {}
        gpu: dict[str, float] = {}
        for stage in SHIPPED.keys() - FIGURES:
            if config.engine.scheduler and figure(stage, config) not in ON_GPU:
                continue  # the job handed its blocks out, and its own time is not theirs
            of_gpu = on_gpu and stage in ON_GPU
            found = gpu if of_gpu else cpu
            share = amount(stage, config, shape) / job_count(stage, config)
            spent = [
                (seconds, work)
                for gpus, cores, did in _jobs(folder, stage)
                if (seconds := gpus if of_gpu else cores) >= LEAST
                and (work := share if did is None else did)
            ]
            if spent:
                of_all, work_of_all = map(sum, zip(*spent, strict=True))
                found[figure(stage, config)] = of_all / work_of_all
        return cls(folder, cpu, gpu)


def measured(root: Path) -> Record | None:
    """The record of a volume that has begun; None where no job has been benchmarked yet."""
    known = (root / "config.yaml").exists() and (root / "receipts" / "probe.json").exists()
    begun = known and any((root / "benchmarks").glob("*.tsv"))
    return Record.read(root) if begun else None


def resolved_on_gpu(folder: Path) -> bool | None:
    """Whether a volume was resolved to be predicted on a GPU; None: not resolved yet."""
    path = folder / "receipts" / "resolve.json"
    return Receipt.read(path).values.get("device") == "cuda" if path.exists() else None


def benchmarks(folder: Path, stage: str) -> Iterator[tuple[str, dict[str, float]]]:
    """Name and figures of each job of a stage, as Snakemake has benchmarked it.

    `s` on the clock, `cpu_time` of all cores, `max_rss` in MiB, what is not a number left out.
    """
    for path in of_stage(folder / "benchmarks", stage.replace("_", "-"), "tsv"):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue  # being written anew, or damaged: it tells nothing
        for row in csv.DictReader(text.splitlines(), delimiter="\t"):
            yield path.stem, dict(_numbers(row))


def _numbers(row: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    for name, text in row.items():
        try:
            yield name, float(text)
        except (TypeError, ValueError):
            continue


def _jobs(folder: Path, stage: str) -> Iterator[tuple[float, float, float | None]]:
    """Each job of a stage: seconds of GPUs and of cores after its start, and the work that it did
    then; None: not known. One that has not counted its GPUs had one, all the time.

    One that went on where another had stopped is left out where it did not count what it did.

    Snakemake looks at the cores every 30 s, so what it saw of them is the least.
    """
    for name, row in benchmarks(folder, stage):
        tried = _attempts(folder, stage, name)
        last = tried[-1] if tried else Attempt(0.0, None, ended=True)
        went_on = len(tried) > 1 and not tried[-2].ended and last.share is None
        if "s" in row and "cpu_time" in row and not went_on:
            gpus = row["s"] - START if last.gpu is None else last.gpu
            yield gpus, max(row["cpu_time"] - START, last.cpu or 0.0), last.done


def part_of(stage: str, name: str) -> str:
    """The number of a job's batch or member, by the name of its benchmark; empty: it has none."""
    return name.removeprefix(stage.replace("_", "-")).removeprefix("-")


def _attempts(folder: Path, stage: str, name: str) -> list[Attempt]:
    """The attempts of a job: in as many batches as when one was begun last."""
    part = part_of(stage, name)
    patterns = (f"batch-{part}-of-*", f"member-{part}") if part else ("all",)
    files = [p for each in patterns for p in (folder / "receipts" / stage).glob(each + ENDING)]
    found = (tried for tried in map(attempts, files) if tried)
    return max(found, key=lambda tried: tried[-1].began, default=[])


@dataclass(frozen=True, slots=True)
class Rate:
    """Seconds for a unit of a stage's work, of a GPU or of a core, and where from."""

    seconds: float
    gpu: bool
    source: str


def rate(stage: str, config: Config, *, gpu: bool, record: Record | None) -> Rate | None:
    """What a unit of a stage's work takes: by the record, else as shipped; None: not known."""
    name = figure(stage, config)
    gpu = gpu and name in ON_GPU
    measured = (record.gpu if gpu else record.cpu) if record else {}
    if record and name in measured:
        return Rate(measured[name], gpu, str(record.folder))
    found = (ON_GPU if gpu else SHIPPED).get(name)
    return None if found is None else Rate(found[0], gpu, found[1])
