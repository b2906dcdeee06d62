"""The jobs of a volume for the report: benchmarks, journals and logs beside the plan."""

from __future__ import annotations

import json
from statistics import median

import numpy as np

from dcan.report.jobs import StageJobs
from dcan.steps.costs import benchmarks, resolved_on_gpu
from dcan.steps.jobs import Jobs, Setting, jobs_of
from dcan.steps.memory import MIB
from dcan.steps.workspace import Workspace
from dcan.storage.logs import failures, of_stage
from dcan.storage.receipts import Mark, heading, marks


def jobs_done(space: Workspace) -> tuple[StageJobs, ...]:
    """The stages whose jobs Snakemake has benchmarked, in running order."""
    itemsize = np.dtype(space.probe["dtype"]).itemsize
    on_gpu = resolved_on_gpu(space.root)
    setting = Setting(space.config, space.shape, itemsize, resolved_on_gpu=on_gpu)
    found = (_jobs(space, planned) for planned in jobs_of(setting))
    return tuple(jobs for jobs in found if jobs is not None)


def _jobs(space: Workspace, planned: Jobs) -> StageJobs | None:
    stage = planned.stage
    rows = [row for _, row in benchmarks(space.root, stage) if "s" in row]
    if not rows:
        return None
    slowest, middle = _blocks(space, stage)
    used = [row["max_rss"] for row in rows if "max_rss" in row]
    return StageJobs(
        stage,
        len(rows),
        sum(row["s"] for row in rows),
        max(row["s"] for row in rows),
        planned.seconds if planned.source else None,
        int(max(used) * MIB) if used else None,
        None if planned.memory is None else planned.memory * MIB,
        slowest.key if slowest else None,
        slowest.seconds if slowest else None,
        middle,
        _failures(space, stage),
        _busy(space, stage),
    )


def _blocks(space: Workspace, stage: str) -> tuple[Mark | None, float | None]:
    """The block of a finished stage that took longest, the first of equals; what is usual."""
    found = heading(space.root / "receipts" / f"{stage}.json")
    if found is None:
        return None, None
    recorded = marks(space.root / "receipts" / stage, found[0]).values()
    timed = {mark: mark.seconds for mark in recorded if mark.seconds is not None}
    if len(timed) < 2:
        return None, None
    return max(timed, key=timed.__getitem__), median(timed.values())


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


def _failures(space: Workspace, stage: str) -> int:
    """Blocks and jobs that failed at some time."""
    logs = of_stage(space.root / "logs", stage.replace("_", "-"), "log")
    return len({failure.key or log for log in logs for failure in failures(log)})
