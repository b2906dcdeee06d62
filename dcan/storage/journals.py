"""Journals: what the blocks of a batch left, a line each, durable and checksummed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

from dcan.errors import DcanError
from dcan.storage import failpoints
from dcan.storage.objects import Stored, cannot_write, crc32c, sync_folder
from dcan.storage.tables import TableRef

NO_ENTRY = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What reading an entry or a receipt raises where there is none."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What one block left: its key, its stored objects, its tables, its counts.

    `skipped`: it holds no tissue; its objects are fill values, and nothing was computed.
    """

    key: str
    objects: tuple[Stored, ...] = ()
    table: TableRef | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    skipped: bool = False

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Self:
        """The entry that a line or a receipt holds.

        Raises one of NO_ENTRY when it is none, or names a file outside the output folder: what
        is damaged is removed.
        """
        table = plain.get("table")
        entry = cls(
            plain["key"],
            tuple(Stored(**o) for o in plain["objects"]),
            TableRef(**table) if table else None,
            dict(plain["counts"]),
            plain.get("skipped", False) is True,
        )
        named: list[Stored | TableRef] = [*entry.objects, *([entry.table] if entry.table else [])]
        if not isinstance(entry.key, str):
            raise TypeError("its key is not text")
        if any(PurePosixPath(n.path).is_absolute() or ".." in n.path.split("/") for n in named):
            raise ValueError("it names a file outside the output folder")
        return entry

    def holds(self, root: Path) -> bool:
        """Whether everything it names is there with its size."""
        if any(stored.fault(root) for stored in self.objects):
            return False
        if self.table is None:
            return True
        try:
            end = self.table.offset + self.table.length
            return (root / self.table.path).stat().st_size >= end
        except OSError:
            return False


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a journal; a torn last line is not done, nor is what follows damage."""
    try:
        with path.open("rb") as file:
            for line in file:
                checksum, _, text = line.rstrip(b"\n").partition(b" ")
                if not line.endswith(b"\n") or checksum != b"%08x" % crc32c(text):
                    return
                yield json.loads(text)
    except FileNotFoundError:
        return  # discarded meanwhile, by a job that came with another fingerprint
    except OSError as error:
        raise DcanError(
            f"cannot read {path}: {error.strerror}: mend permissions or the disk, then give the "
            "same command again"
        ) from None


def fingerprint(whole: Iterator[dict[str, Any]]) -> str | None:
    """The fingerprint that the first line of a journal holds; None where it is not whole."""
    try:
        found = next(whole, {}).get("fingerprint")
    except NO_ENTRY:
        return None
    return found if isinstance(found, str) else None


@dataclass(frozen=True, slots=True)
class Mark:
    """When a block was recorded, for people who watch: nothing is vouched for by it."""

    key: str
    at: float
    """Seconds since the epoch, by the clock of the host that recorded it; 0: not known."""
    seconds: float | None
    """What the block took on the clock; None: not known."""


def marks(whole: Iterator[dict[str, Any]]) -> Iterator[Mark]:
    """The marks of the lines after the first, up to damage."""
    try:
        for line in whole:
            seconds = line.get("seconds")
            yield Mark(
                str(line["key"]),
                float(line.get("at", 0)),
                None if seconds is None else float(seconds),
            )
    except NO_ENTRY:
        return


def entries(whole: Iterator[dict[str, Any]]) -> Iterator[Entry]:
    """The entries that the lines after the first hold, up to damage."""
    try:
        for line in whole:
            yield Entry.read(line)
    except NO_ENTRY:
        return  # as after any damage


class Journal:
    """One batch attempt's lines: a first with the fingerprint, then one for each block.

    Raises DcanError, naming the file, when the file system refuses a line.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)
            sync_folder(path.parent)
        except OSError as error:
            raise cannot_write(path, error) from None
        self._append({"fingerprint": fingerprint})

    def _append(self, plain: Mapping[str, object]) -> None:
        text = json.dumps(plain).encode()
        left = memoryview(b"%08x %s\n" % (crc32c(text), text))
        failpoints.storage_operation()
        try:
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise cannot_write(self._path, error) from None

    def append(self, entry: Entry, seconds: float | None = None) -> None:
        """Record a block, durably; only after its data is durable. `seconds`: as of `Mark`."""
        self._append({**asdict(entry), "at": round(time.time(), 3), "seconds": seconds})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._file.close()
