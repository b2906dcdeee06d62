"""What the jobs' logs say of failures."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

TAIL = 1 << 16
"""Bytes of the end of a log that are looked at: after a failure a job soon ends."""

_LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) ([A-Z]+) (.*)")
_BLOCK = re.compile(r"\w+: block (\S+) failed: (.*)")
_REFUSAL = re.compile(r"dcan: error: (?!\w+: block .* failed: )(.*)")


@dataclass(frozen=True, slots=True)
class Failure:
    """A block that failed, or a job that ended: `key` None."""

    key: str | None
    at: float
    """Seconds since the epoch, by the clock of the host that wrote the log."""
    why: str


def of_stage(folder: Path, stage: str, end: str) -> list[Path]:
    """The files of a stage's jobs: `stage.end`, `stage-PART.end`, and of its seal."""
    names = (f"{stage}.{end}", f"{stage}-*.{end}", f"seal-{stage}.{end}")
    return sorted(path for name in names for path in folder.glob(name))


def failures(path: Path) -> list[Failure]:
    """The failures at the end of a log, oldest first; none where there is no log."""
    found = []
    for at, level, text in _lines(path):
        if level != "ERROR":
            continue
        if block := _BLOCK.match(text):
            found.append(Failure(block[1], at, block[2]))
        elif refusal := _REFUSAL.match(text):
            found.append(Failure(None, at, refusal[1]))
    return found


def last(path: Path) -> str:
    """The last message of a log; empty where there is none."""
    return next((text for _, _, text in reversed(_lines(path))), "")


def _lines(path: Path) -> list[tuple[float, str, str]]:
    """Time, level and text of the messages at the end of a log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            read = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    parts = filter(None, map(_LINE.match, read.splitlines()))
    return [
        (datetime.strptime(part[1], "%Y-%m-%d %H:%M:%S,%f").timestamp(), part[2], part[3])
        for part in parts
    ]
