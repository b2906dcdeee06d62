"""Stored objects: files written once, whole, that receipts name with size and checksum."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import google_crc32c
from numpy.typing import NDArray

from dcan.errors import DcanError
from dcan.storage import failpoints
from dcan.storage.processes import lives, started

PIECE = 1 << 22
ABANDONED = 900.0  # seconds after which what another host has not finished counts as left over


@dataclass(frozen=True, slots=True, order=True)
class Stored:
    """One file: path relative to the volume's output folder, size in bytes, CRC-32C."""

    path: str
    size: int
    checksum: int

    def fault(self, root: Path, *, bytes_too: bool = False) -> str | None:
        """What is wrong with the file, or None; its bytes are read only on request."""
        path = root / self.path
        try:
            size = path.stat().st_size
            if size != self.size:
                return f"{path}: {size} bytes, {self.size} were written"
            if bytes_too and checksum(path) != self.checksum:
                return f"{path}: its bytes are not those that were written (CRC-32C differs)"
        except OSError as error:
            return f"{path}: {error.strerror}"
        return None


def checksum(path: Path) -> int:
    """CRC-32C of a file's bytes."""
    value = 0
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            value = extended(value, piece)
    return value


def crc32c(data: bytes | NDArray[Any]) -> int:
    """CRC-32C (Castagnoli) of bytes, or of those of a C-contiguous array."""
    return cast(int, google_crc32c.value(data))


def extended(checksum: int, data: bytes) -> int:
    """The CRC-32C of bytes with this `checksum` and of `data` after them; 0 for none before."""
    return cast(int, google_crc32c.extend(checksum, data))


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cannot_write(path: Path, error: OSError) -> DcanError:
    """The refusal of a file system, in one line that names the path."""
    return DcanError(
        f"cannot write {path}: {error.strerror or error}: free space or mend permissions, then "
        "give the same command again"
    )


def seal_file(root: Path, path: Path) -> Stored:
    """Make a file that was just renamed into place durable, and describe it."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    sync_folder(path.parent)
    relative = path.relative_to(root).as_posix()
    return Stored(relative, path.stat().st_size, checksum(path))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path that becomes `path`, durably, when the body ends well.

    What killed processes left of earlier attempts at `path` is removed: those of this host at
    once, those of another after a quarter of an hour. Raises DcanError when the file system
    refuses (full disk, permissions), naming the path.
    """
    writer = f"{socket.gethostname()}.{os.getpid()}.{started():.0f}"
    temporary = path.with_name(f".{path.name}.{writer}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        failpoints.storage_operation()
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        failpoints.storage_operation()
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def _remove_leftovers(path: Path) -> None:
    stem, end = f".{path.name}.", ".part"
    for name in os.listdir(path.parent):
        if name.startswith(stem) and name.endswith(end):
            left = path.with_name(name)
            with suppress(FileNotFoundError):  # its writer, or another one, was faster
                if _abandoned(left, name[len(stem) : -len(end)]):
                    left.unlink()


def _abandoned(left: Path, writer: str) -> bool:
    """Whether nobody will finish a temporary file; `writer` is HOST.PID.STARTED."""
    host, *process = writer.rsplit(".", 2)
    if host == socket.gethostname() and [part.isdecimal() for part in process] == [True, True]:
        pid, begun = map(int, process)
        return not lives(pid, begun)
    return time.time() - left.stat().st_mtime > ABANDONED


def write_bytes(root: Path, path: Path, data: bytes) -> Stored:
    """Write a file, whole and durable or not at all, and describe it. Raises as `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    return Stored(path.relative_to(root).as_posix(), len(data), crc32c(data))


def write_text(path: Path, text: str) -> None:
    """Write a small text file, whole and durable or not at all. Raises as `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
