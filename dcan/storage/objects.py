"""Stored objects: files written once, whole, that receipts name with size and checksum."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import google_crc32c

from dcan.errors import DcanError
from dcan.storage import failpoints

PIECE = 1 << 22


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
        except OSError as error:
            return f"{path}: {error.strerror}"
        if size != self.size:
            return f"{path}: {size} bytes, {self.size} were written"
        if bytes_too and checksum(path) != self.checksum:
            return f"{path}: its bytes are not those that were written (CRC-32C differs)"
        return None


def checksum(path: Path) -> int:
    """CRC-32C of a file's bytes."""
    value = 0
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            value = google_crc32c.extend(value, piece)
    return value


def crc32c(data: bytes | memoryview) -> int:
    """CRC-32C (Castagnoli) of bytes."""
    return cast(int, google_crc32c.value(bytes(data)))


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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

    Raises DcanError when the file system refuses (full disk, permissions), naming the path.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        failpoints.storage_operation()
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        failpoints.storage_operation()
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise DcanError(
            f"cannot write {path}: {error.strerror or error}: free space or mend permissions, "
            "then give the same command again"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a small text file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
