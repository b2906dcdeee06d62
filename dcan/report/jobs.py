"""What the jobs of each stage took, beside what was planned: plain values for the page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StageJobs:
    """The jobs of a stage, as they were last run. None: not known, or not planned.

    Seconds are on the clock, memory is in bytes. `slowest` is the key of the block that took
    longest. `failures` counts blocks and jobs that failed at first.
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
    slowest: str | None = None
    slowest_seconds: float | None = None
    median_seconds: float | None = None
    """Of a block."""
    failures: int = 0
    busy: float | None = None
    """Share of the time in which its devices computed, 0..1; of stages of the network."""
