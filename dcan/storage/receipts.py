"""Receipts: what vouches for a finished block, batch or stage.

A block is done when a journal holds a line for it that is whole, was written under the
stage's present fingerprint, and names objects that are there with their sizes. A stage is
done when its receipt, the sorted union of its blocks' lines, has been written after a look at
the data. That a file or a folder exists proves nothing.

A stage holds results of one fingerprint at a time: the first job that comes with another
discards the journals and the receipt of the old one before it writes anything.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dcan.errors import DcanError
from dcan.storage import failpoints
from dcan.storage.objects import Stored, crc32c, write_text
from dcan.storage.tables import Pack, TableRef


def digest(values: object) -> str:
    """SHA-256 of a JSON value in one canonical spelling."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Entry:
    """What one block left: its key, its stored objects, its tables, its counts."""

    key: str
    objects: tuple[Stored, ...] = ()
    table: TableRef | None = None
    counts: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Self:
        """The entry that a line or a receipt holds."""
        table = plain.get("table")
        return cls(
            plain["key"],
            tuple(Stored(**o) for o in plain["objects"]),
            TableRef(**table) if table else None,
            dict(plain["counts"]),
        )

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


@dataclass(frozen=True, slots=True)
class Receipt:
    """What vouches for a stage. `identity` is what the stages after it depend on."""

    stage: str
    fingerprint: str
    identity: str
    entries: tuple[Entry, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write it, whole or not at all, with a digest over its content."""
        plain = asdict(self)
        write_text(path, json.dumps({"digest": digest(plain), **plain}, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and check a receipt. Raises DcanError naming the file when it does not hold."""
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
            claimed = plain.pop("digest")
            if claimed != digest(plain):
                raise ValueError("its digest differs")
            entries = tuple(Entry.read(e) for e in plain.pop("entries"))
            return cls(entries=entries, **plain)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is damaged"
            raise DcanError(
                f"receipt {path}: {why}: run `dcan verify --repair`, then snakemake"
            ) from None


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a journal; a torn last line is not done, nor is what follows damage."""
    with path.open("rb") as file:
        for line in file:
            checksum, _, text = line.rstrip(b"\n").partition(b" ")
            if not line.endswith(b"\n") or checksum != b"%08x" % crc32c(text):
                return
            yield json.loads(text)


class Journal:
    """One batch attempt's lines: a first with the fingerprint, then one for each block."""

    def __init__(self, path: Path, fingerprint: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        self._append({"fingerprint": fingerprint})

    def _append(self, plain: Mapping[str, object]) -> None:
        text = json.dumps(plain).encode()
        failpoints.storage_operation()
        self._file.write(b"%08x %s\n" % (crc32c(text), text))
        self._file.flush()
        os.fsync(self._file.fileno())

    def append(self, entry: Entry) -> None:
        """Record a block, durably; only after its data is durable."""
        self._append(asdict(entry))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._file.close()


@dataclass(frozen=True, slots=True)
class Ledger:
    """The journals and the receipt of one stage of one volume."""

    root: Path
    stage: str
    fingerprint: str

    @property
    def folder(self) -> Path:
        """Where its journals and batch receipts lie."""
        return self.root / "receipts" / self.stage

    @property
    def receipt(self) -> Path:
        """The path of the stage's receipt."""
        return self.root / "receipts" / f"{self.stage}.json"

    def begin(self) -> None:
        """Discard what was recorded under another fingerprint, before anything is written."""
        for journal in self._journals():
            if self._of(journal) != self.fingerprint:
                failpoints.storage_operation()
                journal.unlink(missing_ok=True)
        if self.receipt.exists():
            try:
                if Receipt.read(self.receipt).fingerprint == self.fingerprint:
                    return
            except DcanError:
                pass  # a damaged receipt vouches for nothing
            self.receipt.unlink(missing_ok=True)

    def _journals(self) -> list[Path]:
        return sorted(self.folder.glob("*.journal"))

    @staticmethod
    def _of(journal: Path) -> str | None:
        first = next(_lines(journal), {})
        return first.get("fingerprint")

    def entries(self) -> dict[str, Entry]:
        """What is recorded under this fingerprint and still holds, by key."""
        found: dict[str, Entry] = {}
        for journal in self._journals():
            lines = _lines(journal)
            if next(lines, {}).get("fingerprint") != self.fingerprint:
                continue
            for line in lines:
                entry = Entry.read(line)
                if entry.key not in found and entry.holds(self.root):
                    found[entry.key] = entry
        return found

    @contextmanager
    def attempt(self) -> Iterator[tuple[Journal, Pack]]:
        """A journal and a pack of tables of this attempt's own."""
        name = uuid.uuid4().hex[:16]
        with Journal(self.folder / f"{name}.journal", self.fingerprint) as journal:
            yield journal, Pack(self.root, self.stage, name)

    def seal(self, keys: Iterable[str], values: Mapping[str, Any] | None = None) -> Receipt:
        """Write the stage's receipt: the entries of `keys`, after a look at their data.

        Raises DcanError that names the blocks that are not done.
        """
        wanted = list(keys)
        found = self.entries()
        absent = [key for key in wanted if key not in found]
        if absent:
            raise DcanError(
                f"{self.stage}: {len(absent)} of {len(wanted)} blocks are not done (first: "
                f"{absent[0]}): give the same snakemake command again"
            )
        entries = tuple(found[key] for key in sorted(wanted))
        receipt = Receipt(
            self.stage, self.fingerprint, self.fingerprint, entries, dict(values or {})
        )
        receipt.write(self.receipt)
        return receipt
