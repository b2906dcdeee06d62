"""The jobs of a volume for the report: benchmarks, journals and attempts beside the plan."""

from __future__ import annotations

import json
from statistics import median

from dcan.report.jobs import StageJobs
from dcan.steps.costs import job_count
from dcan.steps.jobs import OF_THE_NETWORK, Setting, job_of, stages
from dcan.steps.memory import MIB
from dcan.steps.record import benchmarks, part_of, resolved_on_gpu
from dcan.steps.workspace import Workspace
from dcan.storage.attempts import ENDING, Attempt, attempts
from dcan.storage.receipts import heading, marks

SLOWEST = 3
"""Blocks of a stage that the report names."""


def jobs_done(space: Workspace) -> tuple[StageJobs, ...]:
    """The stages whose jobs Snakemake has benchmarked, in running order."""
    setting = Setting.found(space, None, resolved_on_gpu(space.root))
    found = (_jobs(space, setting, stage) for stage in stages(setting.config))
    return tuple(jobs for jobs in found if jobs is not None)


def _jobs(space: Workspace, setting: Setting, stage: str) -> StageJobs | None:
    count = job_count(stage, setting.config)  # an earlier number of batches may have had more
    rows = [
        row
        for name, row in benchmarks(space.root, stage)
        if "s" in row and _now(part_of(stage, name), count)
    ]
    if not rows:
        return None
    slowest, middle = _blocks(space, stage)
    used = [row["max_rss"] for row in rows if "max_rss" in row]
    tried = _attempts(space, stage)
    asked = [part[-1].asked for part in tried if part and part[-1].asked is not None]
    workers = [part[-1].workers for part in tried if part and part[-1].workers is not None]
    # The network's threads are those of the configuration, whatever has its windows in hand.
    threads = max(workers) if workers and stage not in OF_THE_NETWORK else None
    held = [part[-1].gpus for part in tried if part and part[-1].gpus is not None]
    planned = job_of(setting, stage, threads, max(held, default=None))
    return StageJobs(
        stage,
        len(rows),
        sum(row["s"] for row in rows),
        max(row["s"] for row in rows),
        planned.seconds if planned.source else None,
        int(max(used) * MIB) if used else None,
        None if planned.memory is None else planned.memory * MIB,
        max(asked) * MIB if asked else None,
        slowest,
        middle,
        sum(not each.ended for part in tried for each in part),
        _busy(space, stage),
    )


def _now(part: str, count: int) -> bool:
    """Whether a benchmark is of one of `count` parts, or of a stage that has none."""
    return not part or (part.isdecimal() and int(part) < count)


def _blocks(space: Workspace, stage: str) -> tuple[tuple[tuple[str, float], ...], float | None]:
    """The blocks of a finished stage that took longest, first of equals first; what is usual."""
    found = heading(space.root / "receipts" / f"{stage}.json")
    if found is None:
        return (), None
    recorded = marks(space.root / "receipts" / stage, found[0]).values()
    timed = [(mark.key, mark.seconds) for mark in recorded if mark.seconds is not None]
    if len(timed) < 2:
        return (), None
    slowest = sorted(timed, key=lambda block: -block[1])[:SLOWEST]
    return tuple(slowest), median(seconds for _, seconds in timed)


def _busy(space: Workspace, stage: str) -> float | None:
    """Share of the time in which the devices of a stage's jobs did not wait."""
    if stage == "predict":
        folder = space.root / "benchmarks"
        rows = [json.loads(path.read_text("utf-8")) for path in folder.glob("predict-*.json")]
        spent = [(row["seconds"] * len(row["devices"]), row["busy"]) for row in rows]
    elif stage == "train":
        curves = sorted((space.root / "models").glob("member-*.jsonl"))
        lines = [line for path in curves for line in path.read_text("utf-8").splitlines()]
        spent = [(row["seconds"], row["busy"]) for row in map(json.loads, lines)]
    else:
        return None
    seconds = sum(each for each, _ in spent)
    return sum(each * busy for each, busy in spent) / seconds if seconds else None


def _attempts(space: Workspace, stage: str) -> list[list[Attempt]]:
    """Of each part of a stage."""
    folder = space.root / "receipts" / stage
    return [attempts(path) for path in sorted(folder.glob(f"*{ENDING}"))]
