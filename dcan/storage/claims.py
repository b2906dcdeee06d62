"""Claims: who works on a batch right now, so that nobody does it twice at once.

A claim is a small file with host, process, the process's start and the Slurm job, touched
while its holder lives. A claim whose holder is dead is taken over; one whose holder lives
makes the second comer leave, naming it. Of a holder on another host nothing but its touches
is seen: a second comer that sees none stays until the claim is its own. A double execution
that slips through is harmless all the same: shards are written whole, renamed, with
identical bytes.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from dcan.errors import DcanError
from dcan.storage.objects import cannot_write
from dcan.storage.processes import lives, started

BEAT = 15.0  # seconds between touches
SILENCE = 120.0  # seconds after which a holder on another host is taken for dead
WAIT = 20.0  # seconds that a second comer waits for a living holder
PAUSE = 0.5  # seconds between looks at a claim that is held

Holder = dict[str, object]

_log = logging.getLogger("dcan")


def _self() -> Holder:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": started(),
        "job": os.environ.get("SLURM_JOB_ID"),
    }


def _alive(holder: Holder, path: Path, now: float) -> bool:
    """Whether a claim's holder lives; `now` is by the clock that dates the claim's file."""
    if holder.get("host") != socket.gethostname():
        return now - path.stat().st_mtime < SILENCE
    try:
        return lives(int(str(holder.get("pid"))), float(str(holder.get("started"))))
    except ValueError:
        return False


def _holder(path: Path) -> Holder:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}  # none, or torn by a power cut: nobody's
    return read if isinstance(read, dict) else {}


@contextmanager
def _alone(folder: Path) -> Iterator[float]:
    """Between looking at a claim and writing it, nobody else does; the kernel frees the lock.

    Yields the time by the clock of the file system, which may not be this host's.
    """
    # A file open for writing: over NFS a folder cannot be locked.
    descriptor = os.open(folder / "claims.lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                raise
            _log.warning("%s: this file system has no locks: start one run at a time", folder)
        os.utime(descriptor)
        yield os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)


def _refusal(what: str, holder: Holder) -> str:
    job = f", Slurm job {holder['job']}" if holder.get("job") else ""
    return f"{what} is being worked on by process {holder.get('pid')} on {holder.get('host')}{job}"


def _take(path: Path, what: str, wait: float) -> Holder:
    """Write our claim, once no living holder is left; the lock covers looking and writing."""
    mine = _self()
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait
    told, first = False, 0.0
    while True:
        with _alone(path.parent) as now:
            holder = _holder(path)
            if not holder or not _alive(holder, path, now):
                path.write_text(json.dumps(mine), encoding="utf-8")
                return mine
            touched = path.stat().st_mtime
        first = first or touched
        far = holder.get("host") != socket.gethostname()
        left = deadline - time.monotonic()
        if left <= 0 and not (far and wait and touched == first):
            raise DcanError(
                f"{_refusal(what, holder)}: wait for it or end it, then give the same command again"
            )
        if not told:
            longest = max(left, SILENCE) if far else left
            limit = f"up to {longest:.0f} s" if isfinite(longest) else "as long as it lives"
            _log.info("%s: waiting %s", _refusal(what, holder), limit)
            told = True
        time.sleep(min(left, PAUSE) if left > 0 else PAUSE)


def _release(path: Path, mine: Holder) -> None:
    with suppress(OSError), _alone(path.parent):  # an output folder that was removed needs none
        if _holder(path) == mine:
            path.unlink(missing_ok=True)


def _beat(path: Path, mine: Holder, stop: threading.Event) -> None:
    while not stop.wait(BEAT):
        with suppress(OSError):
            if _holder(path) == mine:
                os.utime(path)


@contextmanager
def claim(path: Path, what: str, wait: float = WAIT) -> Iterator[None]:
    """Hold the claim at `path` for the body; `what` names the work in the refusal.

    Raises DcanError when another living process holds it for longer than `wait` seconds, or
    when the file system refuses. A holder on another host that touches nothing meanwhile is
    waited for up to SILENCE, unless `wait` is 0.
    """
    try:
        mine = _take(path, what, wait)
    except OSError as error:
        raise cannot_write(path, error) from None
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, mine, stop), daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        _release(path, mine)


@dataclass(frozen=True, slots=True)
class Held:
    """A claim as it was found."""

    part: str
    """`all`, or the part of the stage, such as `batch-3-of-40`."""
    host: str
    pid: int
    job: str | None
    """The Slurm job."""
    started: float
    """When the process began, seconds since the epoch."""
    silent: float
    """Seconds since it was touched, by this host's clock."""
    lives: bool


def held(folder: Path, now: float) -> list[Held]:
    """The claims of a stage, by part: none is taken and no file is changed.

    `now`, seconds since the epoch, stands for the file system's clock, which cannot be asked
    without writing. A claim that is torn, or gone meanwhile, is none.
    """
    found = []
    for path in sorted(folder.glob("*.claim")):
        holder = _holder(path)
        with suppress(OSError, ValueError):
            touched = path.stat().st_mtime
            found.append(
                Held(
                    path.stem,
                    str(holder.get("host")),
                    int(str(holder.get("pid"))),
                    None if holder.get("job") is None else str(holder["job"]),
                    float(str(holder.get("started"))),
                    max(0.0, now - touched),
                    _alive(holder, path, now),
                )
            )
    return found
