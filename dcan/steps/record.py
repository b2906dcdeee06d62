"""How long jobs take: by the benchmarks of a volume that was done, else as shipped.

Seconds are those of one core, or of a GPU, for a unit of a stage's work; see `costs.amount`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dcan.config import Config, load
from dcan.errors import DcanError
from dcan.geometry import Triple
from dcan.steps.costs import FIGURES, ON_GPU, SHIPPED, START, amount, figure, job_count
from dcan.storage.attempts import ENDING, Attempt, attempts
from dcan.storage.logs import of_stage
from dcan.storage.receipts import Receipt

LEAST = 5.0
"""Seconds after its start that a job of a record works at least, to say something of its work:
less is a job that found its blocks done, or is lost in the start."""


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
            if not share:
                continue
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
