"""What a volume will take, before anything runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from dcan.config import planned, schema
from dcan.geometry import Grid
from dcan.report.wording import duration, size
from dcan.steps.costs import tiles_seen
from dcan.steps.cuts import alternatives, check_memory, hours
from dcan.steps.jobs import Setting, all_jobs, jobs_of, load_of
from dcan.steps.memory import step_bytes
from dcan.steps.probe import STORES, check_cut, check_declared
from dcan.steps.profile import Profile
from dcan.steps.record import Record, measured, resolved_on_gpu
from dcan.steps.remarks import remarks
from dcan.steps.sources import opened
from dcan.steps.workspace import Workspace
from dcan.storage.pyramids import level_shapes
from dcan.storage.sources import Source, decoded

TABLES = 1.1
"""Bytes of tables for a voxel: docs/log.md, what the stages cost."""
FILES_OF_A_JOB = 5
"""Log, benchmark, journal, tables, receipt."""


def schema_text() -> str:
    """The JSON schema of a configuration."""
    return schema()


def setting_of(space: Workspace, profile: str | None, record: str | None) -> Setting:
    """What the volume is planned for; its source is opened, not read.

    Times come from the benchmarks of `record`, a finished volume's folder, or of this volume,
    where there are any. Raises DcanError for a cut that cannot work, with the nearest that can.
    """
    source = opened(space.config, "volume")
    check_declared(space.config, source.shape)
    check_cut(space.config, source.shape)
    setting = Setting(
        space.config,
        source.shape,
        np.dtype(source.dtype).itemsize,
        Profile.read(Path(profile)) if profile else None,
        Record.read(Path(record)) if record else measured(space.root),
        resolved_on_gpu(space.root),
        decoded(source),
        _decoded_bytes(opened(space.config, "membrane")) if space.config.membrane else 1,
    )
    check_memory(setting)
    return setting


def _decoded_bytes(source: Source) -> int:
    return np.dtype(source.dtype).itemsize * prod(decoded(source))


def figures(setting: Setting) -> dict[str, Any]:
    """Blocks, jobs, times, bytes and files of a volume, and what other cuts would cost.

    Bytes are those of the arrays before compression, memory is in bytes.
    """
    config, shape = setting.config, setting.shape
    every = jobs_of(setting)
    core_hours, gpu_hours = hours(every)
    tile = config.prediction.tile
    return {
        "shape": list(shape),
        "voxels": prod(shape),
        "blocks": setting.blocks,
        "batches": config.batches(),
        "jobs": all_jobs(config),
        "shards": len(Grid(shape, config.storage.shard)),
        "tiles": len(Grid(shape, (1, tile, tile))),
        "halo_cost": round(tiles_seen(config, shape), 3),
        "bytes": _bytes(setting),
        "files": _files(setting),
        "memory": _memory(setting),
        "core_hours": round(core_hours, 3),
        "gpu_hours": round(gpu_hours, 3),
        "stages": [asdict(jobs) for jobs in every],
        "alternatives": [asdict(cut) for cut in alternatives(setting)],
        "remarks": list(remarks(setting, every)),
    }


def _bytes(setting: Setting) -> dict[str, int]:
    voxels = prod(setting.shape)
    pyramid = sum(prod(level) for level in level_shapes(setting.shape)) / voxels
    factors = {
        "em.ome.zarr": setting.itemsize * pyramid,
        "membrane.ome.zarr": pyramid,
        "labels": 16 * pyramid,
        "tables": TABLES,
    }
    return {name: int(factor * voxels) for name, factor in factors.items()}


def _files(setting: Setting) -> int:
    shard, levels = setting.config.storage.shard, level_shapes(setting.shape)
    shards = sum(len(Grid(level, shard)) for level in levels)
    return len(STORES) * (shards + len(levels) + 1) + FILES_OF_A_JOB * all_jobs(setting.config)


def _memory(setting: Setting) -> dict[str, list[int]]:
    """Predicted peak bytes of a job of each stage, with one worker and with two."""
    config = setting.config
    load = load_of(setting)
    found = {}
    for stage in planned(config):
        one, two = (step_bytes(stage, config, load, workers) for workers in (1, 2))
        if one is not None and two is not None:
            found[stage] = [one, two]
    return found


def _lines(space: Workspace, found: dict[str, Any]) -> Iterator[str]:
    yield f"volume      {space.config.volume.name}: {found['shape']}, {found['voxels']:,} voxels"
    yield (
        f"blocks      {found['blocks']:,} of {list(space.config.blocks.shape)}, "
        f"in {found['batches']} batches a stage"
    )
    yield f"jobs        {found['jobs']:,}"
    yield f"shards      {found['shards']:,} a store of level 0; {found['files']:,} files in all"
    if space.config.membrane is None:
        yield (
            f"tiles       {found['tiles']:,}; with its halo the network sees "
            f"{found['halo_cost']} pixels for each of the volume's"
        )
    for name, count in found["bytes"].items():
        yield f"{name:18}{size(count)} before compression"
    yield from _stage_lines(found["stages"])
    yield f"in all      {found['core_hours']:,.2f} core-hours, {found['gpu_hours']:,.2f} GPU-hours"
    yield from _cut_lines(found["alternatives"])
    yield from (f"remark: {remark}" for remark in found["remarks"])


def _stage_lines(stages: list[dict[str, Any]]) -> Iterator[str]:
    yield f"{'stage':18}{'jobs':>5}{'blocks':>9}{'threads':>11}{'memory':>12}  a job takes"
    sources = list(dict.fromkeys(s["source"] for s in stages if s["source"]))
    for stage in stages:
        memory = "" if stage["memory"] is None else size(stage["memory"] * 2**20)
        threads = f"{stage['threads']}{_beside(stage['gpus'])}"
        takes = "not counted"
        if stage["source"]:
            takes = f"{duration(stage['seconds'])} [{sources.index(stage['source']) + 1}]"
        yield (
            f"{stage['stage']:18}{stage['jobs']:5}{stage['blocks'] or '':>9}{threads:>11}"
            f"{memory:>12}  {takes}"
        )
    yield "not counted: seconds, or as many minutes as there are labelled sections"
    yield from (f"[{number}] {source}" for number, source in enumerate(sources, 1))


def _beside(gpus: int) -> str:
    return {0: "", 1: "+GPU"}.get(gpus, f"+{gpus} GPUs")


def _cut_lines(cuts: list[dict[str, Any]]) -> Iterator[str]:
    yield "other cuts, after that of the configuration; memory and time of a job of blocks"
    yield (
        f"  {'blocks.shape':20}{'batches':>8}{'blocks':>12}{'jobs':>6}{'memory':>11}"
        f"{'longest':>16}{'core-h':>14}{'GPU-h':>9}{'read':>6}"
    )
    for cut in cuts:
        yield (
            f"  {list(cut['shape'])!s:20}{cut['batches']:8}{cut['blocks']:12,}{cut['jobs']:6}"
            f"{size(cut['memory'] * 2**20):>11}{duration(cut['longest']):>16}"
            f"{cut['core_hours']:14,.1f}{cut['gpu_hours']:9,.1f}{cut['read']:6.2f}"
        )


def plan(
    space: Workspace,
    *,
    profile: str | None = None,
    record: str | None = None,
    as_json: bool = False,
) -> str:
    """The figures of a volume, as lines for people or one JSON object."""
    found = figures(setting_of(space, profile, record))
    if as_json:
        return json.dumps(found, indent=1) + "\n"
    return "\n".join(_lines(space, found)) + "\n"
