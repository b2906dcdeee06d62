"""Attempts: every start of a job on a part of a stage, and whether it came to its end.

Snakemake keeps neither the logs nor the benchmarks of attempts that another one follows. So a
job writes two lines itself, under its claim: when it begins, and when it has done what it was
asked for. What failed, was stopped or killed has no second one.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

from dcan.storage.objects import cannot_write

ENDING = ".attempts"
ASKED = "DCAN_MEMORY_ASKED"
"""In the environment of a job of the workflow under Slurm: MiB."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One start of a job."""

    began: float
    """Seconds since the epoch."""
    asked: int | None
    """MiB that Slurm was asked for; None: elsewhere, or not known."""
    ended: bool
    work: float | None = None
    """What it was asked to do, in whatever unit; None: not known."""
    cpu: float | None = None
    """Seconds of all cores, where it came to its end."""
    share: float | None = None
    """Of its work, what no earlier attempt had done; None: not known, or not at its end."""
    workers: int | None = None
    """Blocks or sections that it had in hand at once; None: not known."""
    gpu: float | None = None
    """Seconds of the GPUs that it held, added, where it came to its end; None: it held none."""
    gpus: int | None = None
    """The most that it held at once; None, likewise."""

    @property
    def done(self) -> float | None:
        """What it did of its work: all of it where it counted nothing; None: not known."""
        return None if self.work is None else self.work * (1 if self.share is None else self.share)


@dataclass(slots=True)
class _Tally:
    """What the attempt of this process has counted; it works for one stage at a time."""

    units: int = 0
    todo: int = 0
    workers: int | None = None


@dataclass(slots=True)
class _Hold:
    """GPUs that this process holds, or has held; seconds of its clock."""

    gpus: int
    since: float
    until: float | None = None

    def after(self, begun: float) -> float:
        """Seconds, added over the GPUs, from a time on."""
        until = time.monotonic() if self.until is None else self.until
        return self.gpus * max(0.0, until - max(begun, self.since))


_tally = _Tally()
_holds: list[_Hold] = []


def count(units: int, todo: int, workers: int) -> None:
    """Say of how many units, done by so many workers, some were still to be done."""
    _tally.units += units
    _tally.todo += todo
    _tally.workers = workers


@contextmanager
def holding(gpus: int) -> Iterator[None]:
    """Count the time of so many GPUs in the body to the attempts that last meanwhile."""
    held = _Hold(gpus, time.monotonic())
    _holds.append(held)
    try:
        yield
    finally:
        held.until = time.monotonic()


def _asked() -> int | None:
    given = os.environ.get(ASKED, "")
    return int(given) if given.isdecimal() else None


def _append(path: Path, line: dict[str, object]) -> None:
    try:
        # A torn line of a job that was killed here must not take this one along.
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps(line))
    except OSError as error:
        raise cannot_write(path, error) from None


def _cpu() -> float:
    """Seconds of the cores that this process and those it waited for have had."""
    spent = [getrusage(who) for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in spent)


@contextmanager
def attempt(path: Path, work: float | None = None) -> Iterator[None]:
    """Record an attempt in `path`, which the body's process alone writes while it lasts.

    `work`: what it is asked to do. Raises DcanError when the file system refuses.
    """
    global _tally
    before, _tally, begun = _cpu(), _Tally(), time.monotonic()
    _holds[:] = [each for each in _holds if each.until is None]
    _append(path, {"began": time.time(), "asked": _asked(), "work": work})
    yield
    ended: dict[str, object] = {"ended": time.time(), "cpu": round(_cpu() - before, 3)}
    if _tally.units:
        ended |= {"share": _tally.todo / _tally.units, "workers": _tally.workers}
    if _holds:
        ended["gpu"] = round(sum(each.after(begun) for each in _holds), 3)
        ended["gpus"] = max(each.gpus for each in _holds)
    _append(path, ended)


def attempts(path: Path) -> list[Attempt]:
    """The attempts of a file in their order; lines that are torn are none."""
    found: list[Attempt] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return found
    for line in lines:
        try:
            read = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(read, dict):
            continue
        began, asked = read.get("began"), read.get("asked")
        if isinstance(began, float):
            work = _number(read.get("work"))
            found.append(Attempt(began, _whole(asked), ended=False, work=work))
        elif "ended" in read and found:
            workers, gpus = (_whole(read.get(key)) for key in ("workers", "gpus"))
            found[-1] = replace(
                found[-1],
                ended=True,
                cpu=_number(read.get("cpu")),
                share=_number(read.get("share")),
                workers=workers,
                gpu=_number(read.get("gpu")),
                gpus=gpus,
            )
    return found


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
