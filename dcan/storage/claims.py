"""Claims: who works on a batch right now, so that nobody does it twice at once.

A claim is a small file with host, process, the process's start and the Slurm job, touched
while its holder lives. A claim whose holder is dead is taken over; one whose holder lives
makes the second comer leave, naming it. A double execution that slips through is harmless
all the same: shards are written whole, renamed, with identical bytes.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from dcan.errors import DcanError

BEAT = 15.0  # seconds between touches
SILENCE = 120.0  # seconds after which a holder on another host is taken for dead


def _self() -> dict[str, object]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "job": os.environ.get("SLURM_JOB_ID"),
    }


def _alive(holder: dict[str, object], path: Path) -> bool:
    if holder.get("host") != socket.gethostname():
        return time.time() - path.stat().st_mtime < SILENCE
    try:
        process = psutil.Process(int(str(holder.get("pid"))))
        running = process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        return bool(running) and abs(process.create_time() - float(str(holder["started"]))) < 1
    except (psutil.Error, ValueError, KeyError):
        return False


def _holder(path: Path) -> dict[str, object]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # torn by a power cut: nobody's
    return read if isinstance(read, dict) else {}


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Between looking at a claim and writing it, nobody else does; the kernel frees the lock."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _take(path: Path, what: str, wait: float) -> None:
    """Write our claim, once no living holder is left; the lock covers looking and writing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait
    while True:
        with _alone(path.parent):
            holder = _holder(path) if path.exists() else {}
            if not holder or not _alive(holder, path):
                path.write_text(json.dumps(_self()), encoding="utf-8")
                return
        if time.monotonic() >= deadline:
            job = f", Slurm job {holder['job']}" if holder.get("job") else ""
            raise DcanError(
                f"{what} is being worked on by process {holder.get('pid')} on "
                f"{holder.get('host')}{job}: wait for it or end it, then give the same "
                "command again"
            )
        time.sleep(0.5)


def _beat(path: Path, stop: threading.Event) -> None:
    while not stop.wait(BEAT):
        if path.exists():
            os.utime(path)


@contextmanager
def claim(path: Path, what: str, wait: float = 20.0) -> Iterator[None]:
    """Hold the claim at `path` for the body; `what` names the work in the refusal.

    Raises DcanError when another living process holds it for longer than `wait` seconds.
    """
    _take(path, what, wait)
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, stop), daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        with _alone(path.parent):
            if _holder(path) == _self():
                path.unlink(missing_ok=True)
