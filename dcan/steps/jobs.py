"""The jobs of a whole run: how many of each stage, what each asks for, how long it takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from dcan.config import FILLED_BY, Config, planned, trains
from dcan.config.networks import evenly
from dcan.geometry import Grid, Triple
from dcan.steps.costs import START, amount, job_count
from dcan.steps.memory import MIB, Load, step_bytes
from dcan.steps.profile import Profile
from dcan.steps.record import Record, rate
from dcan.steps.workspace import Workspace

THREADS = 2
"""Of a job of blocks or sections, as its rule has them."""
ALONE = ("probe", "allocate", "truth", "resolve", "link", "evaluate", "report")
"""Stages whose rules have one thread."""
AROUND = 300
"""MiB of the two snakemakes around a job on a cluster, none of its own: 131 each, measured."""
OF_THE_NETWORK = ("train", "resolve", "calibrate", "predict")
"""Stages whose jobs ask for a GPU."""


@dataclass(frozen=True, slots=True)
class Jobs:
    """The jobs of a stage, all alike: the figures are those of the largest."""

    stage: str
    jobs: int
    """Beside them a batched stage has one that seals it, and training one that vouches for it."""
    blocks: int
    """Blocks of a job; 0: the stage is not dealt out."""
    threads: int
    gpus: int
    """Of each; 0: they run on cores."""
    memory: int | None
    """MiB that it holds at most; None: next to nothing, or the labelled sections."""
    seconds: float
    """On the clock, its start counted."""
    total: float
    """Seconds of all of them, of a core, or of a GPU where they have some."""
    source: str
    """Where the time comes from; empty: only the start is counted."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a volume is planned for: its declared or found shape, machine and record."""

    config: Config
    shape: Triple
    itemsize: int
    profile: Profile | None = None
    record: Record | None = None
    resolved_on_gpu: bool | None = None
    """None: not resolved yet."""
    piece: Triple = (1, 1, 1)
    """Voxels of the source that are decoded at once."""
    map_piece: int = 1
    """Bytes of a given map that are decoded at once."""

    @classmethod
    def found(cls, space: Workspace, record: Record | None, on_gpu: bool | None) -> Setting:
        """A volume as its probe has found it. Raises DcanError where there is no receipt of it."""
        map_piece = 1
        if space.config.membrane:
            map_piece = space.itemsize_of("membrane") * prod(space.piece_of("membrane"))
        return cls(
            space.config,
            space.shape,
            space.itemsize_of("volume"),
            record=record,
            resolved_on_gpu=on_gpu,
            piece=space.piece_of("volume"),
            map_piece=map_piece,
        )

    @property
    def blocks(self) -> int:
        """Blocks of the volume."""
        return len(Grid(self.shape, self.config.blocks.within(self.shape)))


def stages(config: Config) -> Iterator[str]:
    """The stages that run, each store's pyramid by itself."""
    for stage in planned(config):
        if stage == "pyramid":
            yield from (f"pyramid_{store}" for store in FILLED_BY)
        else:
            yield stage


def all_jobs(config: Config) -> int:
    """Jobs of a whole run: of each stage, and those that seal batches or vouch for members."""
    vouching = [name for name, spec in planned(config).items() if spec.batched]
    vouching += ["train"] if trains(config) else []
    return sum(job_count(stage, config) for stage in stages(config)) + len(vouching)


def jobs_of(setting: Setting) -> list[Jobs]:
    """The jobs of every stage, in running order."""
    return [job_of(setting, stage) for stage in stages(setting.config)]


def job_of(
    setting: Setting, stage: str, threads: int | None = None, gpus: int | None = None
) -> Jobs:
    """The jobs of one stage, with the threads and GPUs of profile or rule where none are given."""
    config = setting.config
    spec = planned(config).get(stage)
    batched = spec is not None and spec.batched
    count = job_count(stage, config)
    threads, gpus = threads or _threads(setting, stage), _gpus(setting, stage, gpus)
    found = rate(stage, config, gpu=gpus > 0, record=setting.record)
    work = amount(stage, config, setting.shape)
    total = work * found.seconds if found else 0.0
    # the largest batch: blocks are dealt out one by one
    largest = -(-setting.blocks // count) if batched else 0
    share = largest / setting.blocks if batched else 1 / count
    network = stage in OF_THE_NETWORK and not config.membrane
    at_once = gpus or (_own_threads(config, stage) if network else threads)
    processes = gpus or 1
    held = step_bytes(stage.partition("_")[0], config, load_of(setting), threads, processes)
    return Jobs(
        stage,
        count,
        largest,
        threads,
        gpus,
        None if held is None else -(-held // MIB),
        START + total * share / at_once,
        total,
        found.source if found and work else "",
    )


def load_of(setting: Setting) -> Load:
    """What the jobs of a volume hold."""
    piece = setting.itemsize * prod(map(min, setting.piece, setting.shape))
    return Load.of(setting.config, setting.shape, setting.itemsize, piece, setting.map_piece)


def _threads(setting: Setting, stage: str) -> int:
    given = setting.profile.threads_of(stage) if setting.profile else None
    return _own_threads(setting.config, stage) if given is None else given


def _own_threads(config: Config, stage: str) -> int:
    """The threads of the rule, which are those that a network computes on where it has no GPU."""
    own = {
        "train": config.training.threads if trains(config) else 1,
        "predict": config.prediction.threads,
        "calibrate": config.prediction.threads,
    }
    return own.get(stage, 1 if stage in ALONE else THREADS)


def _gpus(setting: Setting, stage: str, given: int | None) -> int:
    """The GPUs of a stage's jobs, of which training and prediction alone use more than one."""
    if not _on_gpu(setting, stage):
        return 0
    if given is None and setting.profile:
        given = setting.profile.given(stage, "gpu")
    if stage == "train":
        return evenly(setting.config.training.batch, given or 1)
    return given if given and stage == "predict" else 1


def _on_gpu(setting: Setting, stage: str) -> bool:
    """Whether a stage's jobs run on GPUs: as resolved, or as profile or configuration say."""
    config = setting.config
    idle = config.membrane or (stage == "train" and not trains(config))
    if stage not in OF_THE_NETWORK or idle or config.prediction.device == "cpu":
        return False
    if setting.resolved_on_gpu is not None:
        return setting.resolved_on_gpu
    # the rules ask for one, and a profile may say 0
    asked = setting.profile is not None and setting.profile.given(stage, "gpu") != 0
    return asked or config.prediction.device == "cuda"
