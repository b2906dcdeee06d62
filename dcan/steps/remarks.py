"""What of a volume's plan works, and could be better."""

from __future__ import annotations

from collections.abc import Iterator

from dcan.report.wording import duration, size
from dcan.steps.cuts import decodings
from dcan.steps.jobs import Jobs, Setting

NODE = 256 * 2**10
"""MiB of memory that the nodes of many clusters have; few have more."""
TWICE = 2.0
"""Times that a source is decoded, from which on the plan says so."""
WIDER = 1.25
"""Times that a tile is wider than a section, from which on the plan says so."""


def remarks(setting: Setting, every: list[Jobs]) -> Iterator[str]:
    """What works, and could be better."""
    config, batches, blocks = setting.config, setting.config.batches(), setting.blocks
    if batches > blocks:
        yield (
            f"blocks.batches is {batches}, but there are {blocks} blocks: of each stage "
            f"{batches - blocks} jobs have nothing to do, give {blocks} or fewer"
        )
    if config.declared() is None and config.blocks.batches == "auto":
        declared = config.volume.model_copy(update={"shape": setting.shape})
        derived = config.model_copy(update={"volume": declared}).batches()
        if derived > 1:
            yield (
                "no shape is declared, so each stage is one job: set volume.shape to "
                f"{list(setting.shape)}, and each has {derived}"
            )
    if (times := decodings(setting)) >= TWICE:
        yield (
            f"ingest decodes the source {times:.0f} times over, since {list(setting.piece)} of it "
            "are compressed in one piece: give wider blocks, or convert it to Zarr or tiles"
        )
    fitting = 8 * -(-max(setting.shape[1:]) // 8)
    if config.membrane is None and config.prediction.tile >= WIDER * fitting:
        yield (
            f"prediction.tile is {config.prediction.tile} and a section {list(setting.shape[1:])}: "
            f"with tile {fitting} the network sees fewer pixels beyond its edges"
        )
    for jobs in every:
        yield from _of_jobs(setting, jobs)
        given = setting.profile.given(jobs.stage, "gpu") if setting.profile else None
        if jobs.stage == "train" and given and 0 < jobs.gpus < given:
            yield (
                f"a batch of {config.training.batch} is dealt out to {jobs.gpus} of the {given} "
                f"GPUs of a training: give a training.batch that {given} divides, or fewer GPUs"
            )


def _of_jobs(setting: Setting, jobs: Jobs) -> Iterator[str]:
    if jobs.memory is not None and jobs.memory > NODE:
        yield (
            f"a job of {jobs.stage} takes up to {size(jobs.memory * 2**20)}: see that a node "
            "has as much before the run comes to it"
        )
    minutes = setting.profile.given(jobs.stage, "runtime") if setting.profile else None
    if minutes is not None and jobs.seconds > 60 * minutes:
        advice = "more batches or " if jobs.blocks > 1 else ""
        yield (
            f"a job of {jobs.stage} takes about {duration(jobs.seconds)}, the profile's "
            f"runtime is {minutes} min: give {advice}more time"
        )
