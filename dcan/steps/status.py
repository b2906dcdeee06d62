"""How far a volume is, for people and programs, while it runs and after."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from dcan.errors import DcanError
from dcan.report.wording import duration
from dcan.steps.jobs import Jobs, Setting, jobs_of
from dcan.steps.record import measured, resolved_on_gpu
from dcan.steps.watching import Holder, Standing, standings
from dcan.steps.workspace import Workspace


def status(space: Workspace, as_json: bool = False) -> str:
    """Each stage's blocks done, who is at it, what failed, rate and time left.

    Lines for people or one JSON object. Reads receipts, journals, claims and logs; takes no
    claim and changes no file.
    """
    found = list(standings(space, time.time()))
    left = seconds_left(space, found)
    if as_json:
        plain = {
            "volume": space.config.volume.name,
            "left_seconds": None if left is None else round(left),
            "stages": [_plain(stage) for stage in found],
        }
        return json.dumps(plain, indent=1) + "\n"
    return "\n".join([*_lines(space, found), _whole(found, left)]) + "\n"


def seconds_left(space: Workspace, found: list[Standing]) -> float | None:
    """Seconds until all is done, with as many jobs as are at work now; None: nobody is.

    Stages with a pace of their own go by it, the others by the figures of `dcan plan`.
    """
    if all(stage.state == "done" for stage in found):
        return 0.0
    at_work = sum(holder.claim.lives for stage in found for holder in stage.holders)
    try:
        setting = Setting.found(space, None, None)
    except DcanError:
        return None
    if not at_work:
        return None
    record, on_gpu = measured(space.root), resolved_on_gpu(space.root)
    setting = replace(setting, record=record, resolved_on_gpu=on_gpu)
    planned = {jobs.stage: jobs for jobs in jobs_of(setting)}
    return sum(_left(stage, planned[stage.stage], at_work) for stage in found)


def _left(stage: Standing, jobs: Jobs, at_work: int) -> float:
    """Seconds that a stage still takes, each job at work doing as the plan says."""
    if stage.left is not None:
        return stage.left
    share = 1 - stage.done / stage.total if stage.total else 1.0
    turns = -(-jobs.jobs // at_work)
    return share * turns * jobs.seconds


def _plain(stage: Standing) -> dict[str, Any]:
    return {
        "stage": stage.stage,
        "state": stage.state,
        "done": stage.done,
        "total": stage.total,
        "blocks_per_second": round(stage.rate, 4),
        "mvoxel_per_second": round(stage.rate * stage.voxels / 1e6, 3),
        "left_seconds": None if stage.left is None else round(stage.left, 1),
        "holders": [
            {
                "part": holder.claim.part,
                "host": holder.claim.host,
                "pid": holder.claim.pid,
                "job": holder.claim.job,
                "lives": holder.claim.lives,
                "silent_seconds": round(holder.claim.silent, 1),
                "done": holder.done,
                "total": holder.total or None,
                "says": holder.says,
            }
            for holder in stage.holders
        ],
        "failed": [{"block": f.key, "at": f.at, "why": f.why} for f in stage.failed],
    }


def _lines(space: Workspace, found: list[Standing]) -> Iterator[str]:
    yield f"{space.config.volume.name}, {space.root}"
    yield f"{'stage':18}{'state':10}{'done':>15}{'blocks/s':>10}{'Mvoxel/s':>10}  left"
    for stage in found:
        total = "?" if stage.total is None else f"{stage.total:,}"
        pace = f"{stage.rate:10.3g}{stage.rate * stage.voxels / 1e6:10.3g}" if stage.rate else ""
        left = duration(stage.left) if stage.state == "working" else ""
        line = (
            f"{stage.stage:18}{stage.state:10}{f'{stage.done:,} of {total}':>15}{pace:20}  {left}"
        )
        yield line.rstrip()
        yield from (f"  {_held(holder)}" for holder in stage.holders)
        for failure in stage.failed:
            named = f"block {failure.key}" if failure.key else "a job"
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(failure.at))
            yield f"  {named} failed at {at}: {failure.why}"


def _held(holder: Holder) -> str:
    claim = holder.claim
    job = f", Slurm job {claim.job}" if claim.job else ""
    done = f": {holder.done:,} of {holder.total:,}" if holder.total else ""
    sign = f"touched {claim.silent:.0f} s ago" if claim.lives else "which is dead"
    says = f"; {holder.says}" if claim.lives and holder.says else ""
    return f"{claim.part}{done}, process {claim.pid} on {claim.host}{job}, {sign}{says}"


def _whole(found: list[Standing], left: float | None) -> str:
    done = sum(stage.state == "done" for stage in found)
    failed = sum(len(stage.failed) for stage in found)
    if done == len(found):
        return f"all {done} stages are done"
    at_work = sum(holder.claim.lives for stage in found for holder in stage.holders)
    tail = f"{at_work} at work" if at_work else "nobody is at it"
    trouble = f", {failed} failed" if failed else ""
    time_left = "" if left is None else f", about {duration(left)} left at this pace"
    return f"{done} of {len(found)} stages are done, {tail}{trouble}{time_left}"
