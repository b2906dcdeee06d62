"""Leases of GPUs: of the jobs on one machine no two compute on the same one.

A lease is a lock of the kernel on a small file, named after the device. It ends with the
process that holds it, however that ends, so there is nothing to clean up.
"""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from dcan.errors import DcanError

PAUSE = 0.5  # seconds between looks at devices that are taken
TOLD = 60.0  # seconds between lines that say so
LIMIT = 86400.0  # seconds that a job waits at most

_log = logging.getLogger("dcan")


def folder() -> Path:
    """Where this user's leases on this machine are."""
    return Path(tempfile.gettempdir()) / f"dcan-gpus-{os.getuid()}"


def _own(leases: Path) -> Path:
    """The folder, made where it is not there. Raises DcanError: it is not this user's to use."""
    try:
        leases.mkdir(mode=0o700, exist_ok=True)
        if leases.stat(follow_symlinks=False).st_uid == os.getuid():
            return leases
        why = "it belongs to another user"
    except OSError as error:
        why = error.strerror or str(error)
    raise DcanError(f"leases of GPUs cannot be kept in {leases}: {why}: set TMPDIR to a folder")


def _locked(path: Path) -> int | None:
    """The descriptor that holds the lock of a file, or None where another holds it."""
    # Not inherited: a child that outlives its parent would hold the device.
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _unlocked(path, error) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError as error:  # of file systems without locks
        os.close(descriptor)
        raise _unlocked(path, error) from None
    return descriptor


def _unlocked(path: Path, error: OSError) -> DcanError:
    why = error.strerror or str(error)
    return DcanError(f"a GPU cannot be leased in {path}: {why}: set TMPDIR to a local folder")


def _take(devices: Sequence[str], count: int, leases: Path) -> dict[str, int]:
    """Descriptors of `count` free devices, or of none: who waits holds nothing."""
    taken: dict[str, int] = {}
    for device in devices:
        # A name may hold what a file's name cannot.
        held = _locked(leases / f"{sha256(device.encode()).hexdigest()[:32]}.lock")
        if held is not None:
            taken[device] = held
        if len(taken) == count:
            return taken
    for held in taken.values():
        os.close(held)
    return {}


@contextmanager
def lease(devices: Sequence[str], count: int, limit: float = LIMIT) -> Iterator[list[str]]:
    """Hold `count` of the devices, in their order, until the body or the process ends.

    `devices`: names that are the same in every process of the machine. Waits for others to
    end, `limit` seconds at most.

    Raises DcanError: there are fewer devices, or the wait was too long.
    """
    if count > len(devices):
        raise DcanError(
            f"{count} GPUs are asked for and {len(devices)} can be seen: lower the job's gpu "
            "resource, or let it see more (CUDA_VISIBLE_DEVICES, under Slurm its gres)"
        )
    begun, told = time.monotonic(), 0.0
    while not (taken := _take(devices, count, _own(folder()))):
        waited = time.monotonic() - begun
        if waited >= limit:
            raise DcanError(
                f"no {count} of {len(devices)} GPUs came free in {waited:.0f} s: end what holds "
                "them, or give snakemake `--resources gpu=N`, so that fewer jobs start at once"
            )
        if told == 0 or waited - told >= TOLD:
            told = max(waited, PAUSE)
            _log.info("waiting for %d of %d GPUs, which other jobs hold", count, len(devices))
        time.sleep(min(PAUSE, limit - waited))
    try:
        yield list(taken)
    finally:
        for held in taken.values():
            os.close(held)
