"""What every stage does around its own work: claim, skip what is done, record, vouch."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any, Generic, Protocol, TypeVar

from dcan.engine.blocks import run
from dcan.errors import DcanError
from dcan.steps.costs import asked_of
from dcan.steps.workspace import Part, Workspace
from dcan.storage import failpoints
from dcan.storage.attempts import ENDING, attempt, count
from dcan.storage.claims import WAIT, claim
from dcan.storage.objects import Stored, write_text
from dcan.storage.receipts import Entry, Ledger, Receipt, digest
from dcan.storage.tables import Pack

_log = logging.getLogger("dcan")


class Keyed(Protocol):
    """A unit of work with a name."""

    @property
    def key(self) -> str:
        """Names the unit among those of its stage."""
        ...


K = TypeVar("K", bound=Keyed)


@dataclass(frozen=True, slots=True)
class Adoption(Generic[K]):
    """How a unit is known as done that leaves stored objects and nothing else.

    `paths`: of its objects; where all are there, written as parts of other units, `entry` is
    what the unit would have left.
    """

    paths: Callable[[K], Sequence[str]]
    entry: Callable[[K, tuple[Stored, ...]], Entry]


class Progress:
    """Says how far a stage is, at most every few seconds, with the time that is left."""

    def __init__(self, stage: str, total: int, every: float = 5.0) -> None:
        self._stage, self._total, self._every = stage, total, every
        self._begun = self._said = time.monotonic()

    def __call__(self, done: int, note: str = "") -> None:
        """Report `done` of the total."""
        now = time.monotonic()
        if now - self._said < self._every and done < self._total:
            return
        self._said = now
        left = (now - self._begun) / max(1, done) * (self._total - done)
        tail = f", {left:.0f} s left" if done < self._total else ""
        _log.info("%s: %d of %d%s%s", self._stage, done, self._total, tail, note)


@contextmanager
def working(space: Workspace, stage: str, what: str = "all") -> Iterator[None]:
    """Hold the claim on a stage, or on a batch of it, while the body works.

    A Slurm job waits for a living holder until its own time limit: with one run of a volume at
    a time it is a job that outlived a killed one, and may be at it for hours.
    """
    failpoints.enter(stage)
    name = f"{stage} of {space.config.volume.name}" + (f", {what}" if what != "all" else "")
    folder = space.root / "receipts" / stage
    wait = inf if "SLURM_JOB_ID" in os.environ else WAIT
    tried = attempt(folder / f"{what}{ENDING}", _work(space, stage, what))
    with claim(folder / f"{what}.claim", name, wait), tried:
        yield


def _work(space: Workspace, stage: str, what: str) -> float | None:
    """The share of a stage's work that a job is asked for; None before the probe has ended."""
    try:
        return asked_of(stage, what, space.config, space.shape)
    except DcanError:
        return None


def do_units(
    space: Workspace,
    ledger: Ledger,
    units: Sequence[K],
    work: Callable[[Pack, K], Entry],
    workers: int,
    adoption: Adoption[K] | None = None,
) -> tuple[int, int]:
    """Do the units that are not done yet; returns how many there were and how many it did."""
    ledger.begin()
    done = ledger.entries()
    if adoption is not None:
        done |= _adopted(ledger, [unit for unit in units if unit.key not in done], adoption)
    todo = [unit for unit in units if unit.key not in done]
    count(len(units), len(todo), workers)
    skipped = 0
    if todo:
        progress = Progress(ledger.stage, len(todo))
        with ledger.attempt() as (journal, pack):
            results = run(
                ledger.stage,
                partial(_timed, partial(work, pack)),
                todo,
                workers=workers,
                scheduler=space.config.engine.scheduler,
            )
            for number, (entry, seconds) in enumerate(results, 1):
                journal.append(entry, seconds)
                skipped += entry.skipped
                progress(number)
    _log.info(
        "%s: %d done%s, %d were done before",
        ledger.stage,
        len(todo) - skipped,
        f", {skipped} skipped: no tissue" if skipped else "",
        len(units) - len(todo),
    )
    return len(units), len(todo)


def _timed(work: Callable[[K], Entry], unit: K) -> tuple[Entry, float]:
    """What a unit left, and the seconds that it took on the clock."""
    begun = time.perf_counter()
    entry = work(unit)
    return entry, round(time.perf_counter() - begun, 3)


def _adopted(ledger: Ledger, units: Sequence[K], adoption: Adoption[K]) -> dict[str, Entry]:
    """Entries, recorded now, of the units whose objects were written by blocks of another shape."""
    there = {o.path: o for entry in ledger.entries().values() for o in entry.objects}
    found: dict[str, Entry] = {}
    if units and there:
        with ledger.attempt() as (journal, _):
            for unit in units:
                paths = adoption.paths(unit)
                if all(path in there for path in paths):
                    entry = adoption.entry(unit, tuple(there[path] for path in paths))
                    journal.append(entry)
                    found[entry.key] = entry
    return found


def do_batch(
    space: Workspace,
    ledger: Ledger,
    part: Part,
    work: Callable[[Pack, Any], Entry],
    workers: int,
    adoption: Adoption[Any] | None = None,
) -> None:
    """Do one batch of the volume's blocks and write the batch's receipt."""
    with working(space, ledger.stage, f"batch-{part.index}-of-{part.count}"):
        blocks = space.blocks(part)
        do_units(space, ledger, blocks, work, workers, adoption)
        path = ledger.folder / f"batch-{part.index}.json"
        plain = {"stage": ledger.stage, "fingerprint": ledger.fingerprint, "blocks": len(blocks)}
        write_text(path, json.dumps(plain) + "\n")


def section_threads(space: Workspace, part: Part, workers: int) -> int:
    """Threads for the sections of a block: more than 1 where workers outnumber the blocks."""
    return max(1, workers // max(1, len(space.blocks(part))))


def vouch(
    space: Workspace,
    stage: str,
    fingerprint: str,
    values: Mapping[str, Any],
    *,
    identity: str | None = None,
    entries: Sequence[Entry] = (),
) -> Receipt:
    """Write the receipt of a stage that is one piece of work."""
    receipt = Receipt(stage, fingerprint, identity or fingerprint, tuple(entries), values)
    receipt.write(space.root / "receipts" / f"{stage}.json")
    return receipt


def remembered(
    space: Workspace,
    stage: str,
    fingerprint: str,
    compute: Callable[[], dict[str, Any]],
    what: str = "record",
) -> dict[str, Any]:
    """What `compute` gives, or what it gave before under the same fingerprint.

    Snakemake removes a job's outputs before the job; this copy is not one of them. `what`
    tells the records of one stage apart.
    """
    path = space.root / "receipts" / stage / f"{what}.json"
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["digest"] == digest([fingerprint, kept["record"]]):
            _log.info("%s: nothing changed since it was done", stage)
            found: dict[str, Any] = kept["record"]
            return found
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none, or damaged: compute it
    record = compute()
    kept = {"digest": digest([fingerprint, record]), "record": record}
    write_text(path, json.dumps(kept) + "\n")
    return record


def check_inputs(space: Workspace, *stages: str) -> None:
    """Refuse to go on when a stage's data is not what its receipt says, by name and size."""
    for stage in stages:
        for entry in space.receipt(stage).entries:
            for stored in entry.objects:
                fault = stored.fault(space.root)
                if fault:
                    raise DcanError(
                        f"{fault} ({stage}): run `dcan verify --repair`, then snakemake"
                    )
