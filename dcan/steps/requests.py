"""What a job asks a scheduler for: memory that is enough, and time that is more than enough."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil

from dcan.config.networks import evenly
from dcan.errors import DcanError
from dcan.geometry import Triple
from dcan.steps.jobs import AROUND, Setting, job_of, load_of
from dcan.steps.memory import MIB, step_bytes
from dcan.steps.record import Record, measured, resolved_on_gpu
from dcan.steps.workspace import Workspace

UNKNOWN: Triple = (64, 8192, 8192)
"""The shape of a volume that neither declares one nor was looked at."""
SLOWER = 3
"""Times that a machine may be slower than the one that a prediction comes from."""
LEAST = 30
"""Minutes of any job: a busy file system, the start of two snakemakes, a wait for a device."""
TABLES = 1700
"""MiB of a step over small tables."""
LABELLED = 5700
"""MiB of a step that holds the labelled sections, at least: a hundred of 2048 x 2048 pixels, or a
network beside some."""
SECTIONS = 2000
"""MiB of labelled sections beside a training that is larger than that."""
OF_SECTIONS = ("truth", "train", "resolve", "calibrate", "evaluate", "report")
UNPREDICTED = 120
"""Minutes of a job that `dcan plan` does not count: those over tables and labelled sections."""


@dataclass(frozen=True)
class Requests:
    """The requests of a volume's jobs, by what is known of it when the first is made."""

    space: Workspace

    @cached_property
    def _setting(self) -> Setting:
        config = self.space.config
        try:
            return Setting.found(self.space, self._record, self._on_gpu)
        except DcanError:
            shape = config.declared() or UNKNOWN
            return Setting(config, shape, 1, None, self._record, self._on_gpu)

    @property
    def _record(self) -> Record | None:
        """What the volume's jobs have taken so far; None where that can't be read.

        A request is no reason to end: `dcan plan` says why.
        """
        try:
            return measured(self.space.root)
        except DcanError:
            return None

    @property
    def _on_gpu(self) -> bool | None:
        """Whether the network was found to run on a GPU; None: not known."""
        try:
            return resolved_on_gpu(self.space.root)
        except DcanError:
            return None

    def mib(self, stage: str, workers: int, gpus: int = 1) -> int:
        """MiB of a job: what `dcan plan` predicts, and what it does not count.

        `gpus`: that it asks for; a training has a process on each, with the sections in it.
        Until the volume has been looked at its shape is the declared one, or 64 sections of
        8192 x 8192.
        """
        given = self._setting
        processes = evenly(given.config.training.batch, gpus) if stage == "train" else 1
        load, kind = load_of(given), stage.partition("_")[0]
        found = step_bytes(kind, given.config, load, workers, processes)
        predicted = TABLES if found is None else -(-found // MIB)
        if stage in OF_SECTIONS:
            predicted = max(LABELLED, predicted + SECTIONS * processes)
        return AROUND + predicted

    def minutes(self, stage: str, workers: int, gpus: int = 1) -> int:
        """Minutes of a job: `SLOWER` times what `dcan plan` predicts, and `LEAST`.

        A network whose device is not known yet is taken to run on CPUs.
        """
        job = job_of(self._setting, stage, workers, gpus)
        if not job.source:
            return UNPREDICTED
        return LEAST + ceil(SLOWER * job.seconds / 60)
