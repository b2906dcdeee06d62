"""How far each stage of a volume is, from receipts, journals, claims and logs; changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Literal

from dcan.config import FILLED_BY, planned, trains
from dcan.errors import DcanError
from dcan.geometry import Box, Grid, share
from dcan.steps.jobs import stages
from dcan.steps.workspace import Part, Workspace
from dcan.storage.claims import Held, held
from dcan.storage.logs import Failure, failures, last, of_stage
from dcan.storage.pyramids import level_shapes
from dcan.storage.receipts import Mark, heading, marks

State = Literal["done", "working", "stopped", "outdated", "waiting"]
RECENT = 600.0
"""Seconds over which a rate is taken."""
BY_SECTION = ("merge", "stitch", "settle")


@dataclass(frozen=True)
class Glance(Workspace):
    """A workspace that takes the first lines of a receipt for it: fast, and nothing is vouched."""

    def identity(self, stage: str) -> str:
        """As the receipt's first lines say; raises DcanError where there are none."""
        found = heading(self.root / "receipts" / f"{stage}.json")
        if found is None:
            raise DcanError(f"stage {stage} is not done: run snakemake")
        return found[1]

    @cached_property
    def boxes(self) -> list[Box]:
        """The blocks in raster order; none before the probe has found the volume's shape."""
        try:
            return list(self.grid)
        except DcanError:
            return []


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a part of a stage, and how many of its `total` blocks are done; 0: no blocks."""

    claim: Held
    done: int
    total: int
    says: str
    """The last message of its log."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a stage is, in blocks, sections or what else it is cut into."""

    stage: str
    state: State
    """`stopped`: begun, and nobody is at it. `outdated`: done, under other values than now or
    on what is to be made again."""
    done: int
    total: int | None
    """None: not known before the probe."""
    voxels: float
    """Voxels of a block, on the average; 0: not known."""
    rate: float
    """Blocks recorded in a second, of late; 0: none, or nobody is at it."""
    holders: tuple[Holder, ...]
    failed: tuple[Failure, ...]

    @property
    def left(self) -> float | None:
        """Seconds until it is done at this rate; None: not known."""
        if self.state == "done":
            return 0.0
        return None if self.total is None or not self.rate else (self.total - self.done) / self.rate


def standings(space: Workspace, now: float) -> Iterator[Standing]:
    """Every stage that the configuration runs, in running order; `now`: seconds since the epoch.

    A block counts as done when a journal has it under the present fingerprint; what it left is
    not looked at. Raises DcanError when a journal cannot be read.
    """
    glance = Glance(space.config, space.root)
    for stage in stages(space.config):
        yield _standing(glance, stage, now)


def _standing(space: Glance, stage: str, now: float) -> Standing:
    keys = units(space, stage)
    total = None if keys is None else len(keys)
    expected = _fingerprint(space, stage)
    receipt = _receipt(space, stage, expected)
    found = {} if receipt == "done" else _marks(space, stage, keys or (), expected)
    claims = held(space.root / "receipts" / stage, now)
    alive = [claim for claim in claims if claim.lives]
    state: State = receipt or ("stopped" if found or claims else "waiting")
    if alive and state != "done":
        state = "working"
    failed = () if state == "done" else _failed(space, stage, found, alive)
    return Standing(
        stage,
        "stopped" if state == "waiting" and failed else state,
        total or 0 if state == "done" else len(found),
        total,
        prod(space.shape) / total if total and space.boxes else 0.0,
        _rate(found.values(), alive, now),
        tuple(_holder(space, stage, claim, found) for claim in claims),
        failed,
    )


def units(space: Glance, stage: str) -> Sequence[str] | None:
    """The keys of what a stage is cut into; None where that is not known yet."""
    spec = planned(space.config).get(stage)
    by_section = stage in (*BY_SECTION, "drift")
    if spec and not (by_section or spec.batched):
        several = stage == "train" and trains(space.config)
        members = range(space.config.training.members)
        return [f"member-{member}" for member in members] if several else [stage]
    if not space.boxes:
        return None
    if spec and by_section:
        return _sections(space, stage)
    if spec:
        return [box.key for box in space.boxes]
    shard = space.config.storage.shard
    levels = enumerate(level_shapes(space.shape))
    return [f"{n}/{box.key}" for n, shape in levels if n for box in Grid(shape, shard)]


def _sections(space: Glance, stage: str) -> list[str] | None:
    try:
        if stage in BY_SECTION:
            return [f"z{z}" for z in space.present]
        from dcan.steps.drift import pairs  # brings the compiled kernels

        return [pair.key for pair in pairs(space)]
    except DcanError:
        return None


def _fingerprint(space: Glance, stage: str) -> str | None:
    """What a finished stage would carry now; None where a stage before it is not done."""
    name, _, store = stage.partition("_")
    try:
        given = {"store": store, "of": space.identity(FILLED_BY[store])} if store else {}
        if stage == "truth" and space.config.volume.mask is not None:
            from dcan.steps.labels import left_out  # brings the compiled kernels

            given = left_out(space)
        return space.fingerprint(name, **given)
    except DcanError:
        return None


def _receipt(space: Glance, stage: str, expected: str | None) -> State | None:
    """What the receipt of a stage says, if there is one."""
    if stage == "report":
        return "done" if (space.root / "report.html").exists() else None
    found = heading(space.root / "receipts" / f"{stage}.json")
    if found is None:
        return None
    if stage == "calibrate":  # its own fingerprint is of what it chose
        asked = space.receipt(stage).values.get("asked")
        return "done" if asked in (None, expected) else "outdated"
    return "done" if _by_content(space, stage) or found[0] == expected else "outdated"


def _by_content(space: Glance, stage: str) -> bool:
    """Whether a receipt's fingerprint is of what was found: weights, read to know it."""
    given = space.config.training.start_from or not trains(space.config)
    return stage == "train" and bool(given)


def _marks(
    space: Glance, stage: str, keys: Collection[str], expected: str | None
) -> dict[str, Mark]:
    """What the journals of a stage hold of its blocks under the present fingerprint."""
    folder = space.root / "receipts"
    by_content = _by_content(space, stage)
    if expected is None and not by_content:
        return {}
    written = None if by_content else expected
    found = marks(folder / stage, written)
    for level in range(1, 1 + max((int(k.partition("/")[0]) for k in keys if "/" in k), default=0)):
        below = marks(folder / f"{stage}_{level}", written)
        found |= {f"{level}/{key}": mark for key, mark in below.items()}
    wanted = set(keys)
    return {key: mark for key, mark in found.items() if key in wanted}


def _rate(found: Collection[Mark], alive: Sequence[Held], now: float) -> float:
    """Blocks recorded in a second, since the first of those at it began, or of late."""
    if not alive:
        return 0.0
    since = max(now - RECENT, min(claim.started for claim in alive))
    return sum(mark.at >= since for mark in found) / max(1.0, now - since)


def _holder(space: Glance, stage: str, claim: Held, found: Mapping[str, Mark]) -> Holder:
    kind, _, number = claim.part.partition("-")
    index, _, count = number.partition("-of-")
    says = last(space.root / "logs" / f"{_log_of(stage, claim.part)}.log")
    keys: list[str] = []
    if kind == "batch":
        part = Part.parse(f"{index}/{count}")
        keys = [space.boxes[i].key for i in share(len(space.boxes), part.index, part.count)]
    return Holder(claim, sum(key in found for key in keys), len(keys), says)


def _log_of(stage: str, part: str) -> str:
    """The name of the log of the jobs on a part of a stage."""
    whole = {"all": stage.replace("_", "-"), "seal": f"seal-{stage}", "weights": "weights"}
    return whole.get(part) or f"{stage}-{part.split('-')[1]}"


def _done(key: str | None, found: Mapping[str, Mark]) -> bool:
    """Whether a block was done after all; the log of a pyramid does not name its level."""
    return key is not None and (key in found or any(k.endswith(f"/{key}") for k in found))


def _failed(
    space: Glance, stage: str, found: Mapping[str, Mark], alive: Sequence[Held]
) -> tuple[Failure, ...]:
    """The last failure of each block, or job, that nobody is trying again and that is not done."""
    since = {_log_of(stage, claim.part): claim.started for claim in alive}
    latest: dict[str, Failure] = {}
    jobs = (stage.replace("_", "-"), *(("weights",) if stage == "train" else ()))
    for log in (log for name in jobs for log in of_stage(space.root / "logs", name, "log")):
        for failure in failures(log):
            if failure.at >= since.get(log.stem, 0.0) and not _done(failure.key, found):
                latest[failure.key or log.stem] = failure
    return tuple(latest.values())
