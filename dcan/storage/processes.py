"""Which processes live: a number alone does not tell, the kernel gives it out again."""

from __future__ import annotations

import psutil


def started(pid: int | None = None) -> float:
    """When a process began, by default this one: seconds since the epoch."""
    return float(psutil.Process(pid).create_time())


def lives(pid: int, begun: float) -> bool:
    """Whether the process of that number that began then, give or take a second, still runs.

    One that has ended and waits for its parent to notice does not.
    """
    try:
        process = psutil.Process(pid)
        off = abs(float(process.create_time()) - begun)
        return off <= 1 and bool(process.status() != psutil.STATUS_ZOMBIE)
    except (psutil.Error, ValueError, OverflowError):
        return False
