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
import re
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from dcan.errors import DcanError
from dcan.storage import failpoints, journals
from dcan.storage.journals import NO_ENTRY, Entry, Journal, Mark
from dcan.storage.objects import cannot_write, write_text
from dcan.storage.tables import Pack

__all__ = ["Entry", "Journal", "Ledger", "Mark", "Receipt", "digest", "heading", "marks", "totals"]

HEADING = 2048
_HEADING = re.compile(rb'"fingerprint": "([0-9a-f]+)",\s*"identity": "([0-9a-f]+)"')


def digest(values: object) -> str:
    """SHA-256 of a JSON value in one canonical spelling."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def totals(entries: Iterable[Entry]) -> dict[str, int]:
    """The sums of the entries' counts, by their names."""
    found: Counter[str] = Counter()
    for entry in entries:
        found.update(entry.counts)
    return dict(found)


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
        except OSError as error:
            why = error.strerror
        except NO_ENTRY:
            why = "it is damaged"
        raise DcanError(f"receipt {path}: {why}: run `dcan verify --repair`, then snakemake")


def heading(path: Path) -> tuple[str, str] | None:
    """Fingerprint and identity that the first lines of a receipt give; None where they do not.

    Neither digest nor entries are looked at, of which a large volume has tens of thousands:
    for people who watch, not for work that is to stand on it.
    """
    try:
        with path.open("rb") as file:
            found = _HEADING.search(file.read(HEADING))
    except OSError:
        return None
    return (found[1].decode(), found[2].decode()) if found else None


def marks(folder: Path, fingerprint: str | None) -> dict[str, Mark]:
    """The last mark of each block of a stage's journals under a fingerprint; None: under any.

    What the blocks left is not looked at. Raises DcanError when a journal cannot be read.
    """
    found: dict[str, Mark] = {}
    for journal in sorted(folder.glob("*.journal")):
        whole = journals.lines(journal)
        written = journals.fingerprint(whole)
        if written is not None and fingerprint in (None, written):
            for mark in journals.marks(whole):
                if mark.key not in found or found[mark.key].at < mark.at:
                    found[mark.key] = mark
    return found


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
        """Discard what was recorded under another fingerprint, before anything is written.

        A journal whose first line is not whole is left: another job may just be writing it,
        and it vouches for nothing.
        """
        for journal in self._journals():
            if journals.fingerprint(journals.lines(journal)) not in (None, self.fingerprint):
                self._discard(journal)
        if self.receipt.exists():
            try:
                if Receipt.read(self.receipt).fingerprint == self.fingerprint:
                    return
            except DcanError:
                pass  # a damaged receipt vouches for nothing
            self._discard(self.receipt)

    def _discard(self, path: Path) -> None:
        failpoints.storage_operation()
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from None

    def _journals(self) -> list[Path]:
        return sorted(self.folder.glob("*.journal"))

    def entries(self) -> dict[str, Entry]:
        """What is recorded under this fingerprint and still holds, by key."""
        found: dict[str, Entry] = {}
        for journal in self._journals():
            whole = journals.lines(journal)
            if journals.fingerprint(whole) != self.fingerprint:
                continue
            for entry in journals.entries(whole):
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

        Its values are `values`, or the sums of the entries' counts.

        Raises DcanError that names blocks that are not done. Then receipts of the stage and of
        its batches, which say that they are, go first: the same command does them again.
        """
        wanted = list(keys)
        found = self.entries()
        absent = [key for key in wanted if key not in found]
        if absent:
            for path in (self.receipt, *self.folder.glob("batch-*.json")):
                self._discard(path)
            raise DcanError(
                f"{self.stage}: {len(absent)} of {len(wanted)} blocks are not done (first: "
                f"{absent[0]}): give the same snakemake command again"
            )
        entries = tuple(found[key] for key in sorted(wanted))
        plain = dict(totals(entries) if values is None else values)
        receipt = Receipt(self.stage, self.fingerprint, self.fingerprint, entries, plain)
        receipt.write(self.receipt)
        return receipt
