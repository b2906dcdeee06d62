"""What the jobs of each stage took, beside what was planned: plain values for the page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StageJobs:
    """The jobs of a stage, as they were last run. None: not known, or not planned.

    Seconds are on the clock, memory is in bytes. `failures`: starts of jobs that did not come
    to their end.
    """

    stage: str
    jobs: int
    seconds: float
    """Of all jobs."""
    longest: float
    """Of the longest job."""
    planned: float | None = None
    """Of a job, by the shipped figures."""
    memory: int | None = None
    """Of the job that took most."""
    memory_planned: int | None = None
    memory_asked: int | None = None
    """Of Slurm, by the job that asked for most at last."""
    slowest: tuple[tuple[str, float], ...] = ()
    """The blocks that took longest, the slowest first: key and seconds."""
    median_seconds: float | None = None
    """Of a block."""
    failures: int = 0
    busy: float | None = None
    """Share of the time in which its devices computed, 0..1; of stages of the network."""

    @property
    def over(self) -> bool:
        """Whether a job took more memory than was asked for, or else than was planned."""
        limit = self.memory_asked or self.memory_planned
        return bool(self.memory and limit and self.memory > limit)
