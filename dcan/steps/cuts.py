"""What other blocks and batches would cost, and which of them fit a profile's memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

from dcan.config.model import Blocks
from dcan.errors import DcanError
from dcan.geometry import Triple
from dcan.steps.costs import START, pixels_read
from dcan.steps.jobs import AROUND, Jobs, Setting, all_jobs, jobs_of
from dcan.steps.probe import check_cut, nearest_legal, unit
from dcan.storage.sources.stacks import CACHE_BYTES

MOST = 500
"""Batches of a stage, as of `blocks.batches`."""
SCALES = ((1, 0.5, 0.5), (1, 1, 1), (1, 2, 2), (2, 1, 1))
"""Blocks that are weighed against those of the configuration."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A way to cut a volume; `memory` in MiB and `longest` in seconds are of a job of blocks."""

    shape: Triple
    batches: int
    blocks: int
    jobs: int
    memory: int
    longest: float
    read: float
    """Pixels of the map that flood, fuse and growth decode for each of the volume's."""
    core_hours: float
    gpu_hours: float


def cut_of(setting: Setting) -> Cut:
    """The cut of a configuration. Raises DcanError for one that is not legal."""
    config = setting.config
    check_cut(config, setting.shape)
    every = jobs_of(setting)
    batched = [jobs for jobs in every if jobs.blocks]
    block = config.blocks.within(setting.shape)
    return Cut(
        block,
        config.batches(),
        setting.blocks,
        all_jobs(config),
        max(jobs.memory or 0 for jobs in batched),
        max(jobs.seconds for jobs in batched),
        pixels_read(config, setting.shape),
        *hours(every),
    )


def decodings(setting: Setting) -> float:
    """Times that ingest decodes each voxel of the source, on the average.

    Pieces that blocks share are decoded once where those of a block stay in memory.
    """
    block, shape = setting.config.blocks.within(setting.shape), setting.shape
    spans = [  # along each axis, of every block: whole pieces around it
        [min(-(-min(at + b, n) // p) * p, n) - at // p * p for at in range(0, n, b)]
        for b, n, p in zip(block, shape, setting.piece, strict=True)
    ]
    if setting.itemsize * prod(map(max, spans)) <= CACHE_BYTES:
        return 1.0
    return prod(map(sum, spans)) / prod(shape)


def hours(every: list[Jobs]) -> tuple[float, float]:
    """Core-hours, with the starts of the jobs and the cores beside GPUs, and GPU-hours."""
    cores = sum(
        START * jobs.jobs + jobs.total * (jobs.threads / jobs.gpus if jobs.gpus else 1)
        for jobs in every
    )
    return cores / 3600, sum(jobs.total for jobs in every if jobs.gpus) / 3600


def recut(setting: Setting, shape: Triple, batches: int) -> Setting:
    """The same volume in other blocks and batches."""
    blocks = Blocks(shape=shape, batches=batches)
    return replace(setting, config=setting.config.model_copy(update={"blocks": blocks}))


def alternatives(setting: Setting) -> list[Cut]:
    """The cut of the configuration, then others: larger and smaller blocks, more and fewer jobs."""
    found = {_key(cut): cut for cut in map(cut_of, _others(setting))}
    own = cut_of(setting)
    found.pop(_key(own), None)
    return [own, *sorted(found.values(), key=_key)]


def _key(cut: Cut) -> tuple[Triple, int]:
    return cut.shape, cut.batches


def _others(setting: Setting) -> Iterator[Setting]:
    config, batches = setting.config, setting.config.batches()
    for scale in SCALES:
        z, y, x = (max(1, int(n * s)) for n, s in zip(config.blocks.shape, scale, strict=True))
        legal = nearest_legal((z, y, x), unit(config), setting.shape)
        yield recut(setting, legal, batches)
    for count in (batches // 2, batches * 2, batches * 4):
        if 1 <= count <= min(MOST, setting.blocks):
            yield recut(setting, config.blocks.shape, count)


def check_memory(setting: Setting) -> None:
    """Refuse blocks that a profile gives too little memory for.

    Raises DcanError with the largest smaller blocks that fit, or what a job takes.
    """
    for jobs in jobs_of(setting):
        short = _short(setting, jobs)
        if short is None:
            continue
        given, advice = f"volume of shape {list(setting.shape)}", ""
        if jobs.blocks:
            given = f"blocks.shape is {list(setting.config.blocks.shape)}"
            fitting = _fitting(setting, jobs.stage)
            advice = f"blocks.shape {list(fitting)} or " if fitting else ""
        raise DcanError(
            f"{given}: a job of {jobs.stage} with {jobs.threads} threads takes up to "
            f"{jobs.memory} MiB and {AROUND} of the snakemakes around it, the profile gives "
            f"{short}: give {advice}mem_mb {(jobs.memory or 0) + AROUND} (in profiles/slurm that "
            "is `largest`, as much as the largest node has)"
        )


def _short(setting: Setting, jobs: Jobs) -> int | None:
    """The memory that a profile gives the jobs of a stage, where it is less than they take."""
    given = setting.profile.given(jobs.stage, "mem_mb") if setting.profile else None
    if given is None or jobs.memory is None:
        return None
    return given if given < jobs.memory + AROUND else None


def _fitting(setting: Setting, stage: str) -> Triple | None:
    """The largest of the halved shapes that is legal and fits; None: none does."""
    config = setting.config
    shape = config.blocks.within(setting.shape)
    while True:
        z, y, x = shape
        halved = nearest_legal((z, y // 2, x // 2), unit(config), setting.shape)
        if halved == shape:
            return None
        shape = halved
        smaller = recut(setting, shape, config.batches())
        if all(_short(smaller, j) is None for j in jobs_of(smaller) if j.stage == stage):
            return shape
