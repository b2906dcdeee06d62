"""Check everything that receipts vouch for, byte by byte; and drop what does not hold."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from dcan.config import planned
from dcan.errors import DcanError
from dcan.steps.vouching import Progress
from dcan.steps.workspace import Workspace
from dcan.storage.receipts import Entry, Receipt
from dcan.storage.tables import read_table

_log = logging.getLogger("dcan")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a stage's data, and with which of its entries."""

    stage: str
    key: str | None
    what: str


def _entry_faults(root: Path, stage: str, entry: Entry) -> list[Fault]:
    found = [
        Fault(stage, entry.key, fault)
        for stored in entry.objects
        if (fault := stored.fault(root, bytes_too=True))
    ]
    if entry.table is not None:
        try:
            read_table(root, entry.table)
        except DcanError as error:
            found.append(Fault(stage, entry.key, str(error)))
    return found


def _unlisted(root: Path, receipts: list[Receipt]) -> list[str]:
    """Chunks in the stores that no receipt names."""
    named = {stored.path for r in receipts for e in r.entries for stored in e.objects}
    stores = [root / name for name in ("em.ome.zarr", "membrane.ome.zarr", "training.zarr")]
    return sorted(
        str(path)
        for store in stores
        for path in store.rglob("*")
        if path.is_file() and path.relative_to(root).as_posix() not in named
    )


def _lost(space: Workspace, present: set[str]) -> list[Fault]:
    """Stages without a receipt that a stage with one stands on."""
    return [
        Fault(name, None, f"receipt receipts/{name}.json is not there, {later} stands on it")
        for later, stage in planned(space.config).items()
        for name in stage.after
        if later in present and name not in present
    ]


def faults(space: Workspace) -> list[Fault]:
    """Every fault of a volume: receipts that do not hold, data other than what was written."""
    folder = space.root / "receipts"
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise DcanError(f"{folder} holds no receipt: run snakemake first, or give another config")
    found: list[Fault] = []
    receipts: list[Receipt] = []
    for path in paths:
        try:
            receipts.append(Receipt.read(path))
        except DcanError as error:
            found.append(Fault(path.stem, None, str(error)))
    found += _lost(space, {path.stem for path in paths})
    entries = [(r.stage, entry) for r in receipts for entry in r.entries]
    progress = Progress("verify", max(1, len(entries)))
    for number, (stage, entry) in enumerate(entries, 1):
        found += _entry_faults(space.root, stage, entry)
        progress(number)
    for name in _unlisted(space.root, receipts):
        _log.warning("verify: %s is in no receipt: left by a run that was not finished", name)
    return found


def _repair(space: Workspace, fault: Fault) -> None:
    """Remove the receipt and the damaged object: the next run makes both again."""
    folder = space.root / "receipts"
    for path in folder.glob(f"{fault.stage}.json"):
        for entry in Receipt.read(path).entries if fault.key else ():
            for stored in entry.objects:
                if entry.key == fault.key and stored.fault(space.root, bytes_too=True):
                    (space.root / stored.path).unlink(missing_ok=True)
    if fault.key and "table" in fault.what:
        for journal in (folder / fault.stage).glob("*.journal"):
            journal.unlink()
    _log.info("verify: %s %s is to be made again", fault.stage, fault.key or "")


def verify(space: Workspace, repair: bool = False) -> int:
    """Report every fault, one line each; 0 when there is none.

    With `repair` the receipts of faulty stages and the damaged objects are removed, so that
    `snakemake` makes them, and exactly them, again.
    """
    found = faults(space)
    for fault in found:
        _log.error("verify: %s: %s", fault.stage, fault.what)
    if not found:
        _log.info("verify: everything holds")
        return 0
    if not repair:
        _log.error(
            "verify: %d faults: run `dcan verify --repair`, then give the same snakemake command",
            len(found),
        )
        return 1
    for fault in found:
        _repair(space, fault)
    for stage in sorted({fault.stage for fault in found}):
        (space.root / "receipts" / f"{stage}.json").unlink(missing_ok=True)
        for batch in (space.root / "receipts" / stage).glob("*.json"):
            batch.unlink()
    _log.info("verify: %d faults; now give the same snakemake command", len(found))
    return 1
