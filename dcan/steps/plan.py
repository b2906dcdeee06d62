"""What a volume will take, before anything runs."""

from __future__ import annotations

import json
from math import prod
from typing import Any

import numpy as np

from dcan.config import Config, planned, schema, trains
from dcan.geometry import Grid, Triple
from dcan.steps.memory import Load, step_bytes
from dcan.steps.probe import STORES, check_cut
from dcan.steps.sources import opened
from dcan.steps.workspace import Workspace
from dcan.storage.pyramids import level_shapes


def schema_text() -> str:
    """The JSON schema of a configuration."""
    return schema()


def _clipped(step: Triple, shape: Triple) -> Triple:
    depth, height, width = (min(s, n) for s, n in zip(step, shape, strict=True))
    return depth, height, width


def _jobs(config: Config) -> int:
    """Jobs of a whole run: batches and a seal, members, pyramids, and one of each other stage."""
    stages = planned(config)
    batched = sum(stage.batched for stage in stages.values())
    members = config.training.members if trains(config) else 0
    return batched * config.blocks.batches + len(stages) - 1 + members + len(STORES)


def figures(space: Workspace) -> dict[str, Any]:
    """Blocks, shards, tiles, jobs, bytes and memory of a volume; its source is opened, not read.

    Bytes are those of the arrays before compression. Raises DcanError for a cut that cannot
    work, with the nearest that can.
    """
    config = space.config
    source = opened(config, "volume")
    shape = source.shape
    check_cut(config, shape)
    voxels = prod(shape)
    block, shard = (_clipped(s, shape) for s in (config.blocks.shape, config.storage.shard))
    tile, halo = config.prediction.tile, config.prediction.halo
    tiles = len(Grid(shape, (1, tile, tile)))
    pyramid = sum(prod(level) for level in level_shapes(shape)) / voxels
    em = np.dtype(source.dtype).itemsize
    stores = {
        "em.ome.zarr": em * pyramid,
        "membrane.ome.zarr": pyramid,
        "labels": 16 * pyramid,
    }
    return {
        "shape": list(shape),
        "dtype": str(source.dtype),
        "voxels": voxels,
        "blocks": len(Grid(shape, block)),
        "batches": config.blocks.batches,
        "jobs": _jobs(config),
        "shards": len(Grid(shape, shard)),
        "tiles": tiles,
        "halo_cost": round(tiles * (tile + 2 * halo) ** 2 / voxels, 3),
        "bytes": {name: int(factor * voxels) for name, factor in stores.items()},
        "memory": _memory(config, Load.of(config, shape, em)),
    }


def _memory(config: Config, load: Load) -> dict[str, list[int]]:
    """Predicted peak bytes of a job of each stage, with one worker and with two."""
    found = {}
    for stage in planned(config):
        one, two = (step_bytes(stage, config, load, workers) for workers in (1, 2))
        if one is not None and two is not None:
            found[stage] = [one, two]
    return found


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def plan(space: Workspace, *, as_json: bool = False) -> str:
    """The figures of a volume, as lines for people or one JSON object."""
    found = figures(space)
    if as_json:
        return json.dumps(found, indent=1) + "\n"
    lines = [
        f"volume      {space.config.volume.name}: {found['shape']} {found['dtype']}, "
        f"{found['voxels']:,} voxels",
        f"blocks      {found['blocks']:,} of {list(space.config.blocks.shape)}, "
        f"in {found['batches']} batches a stage",
        f"jobs        about {found['jobs']:,}",
        f"shards      {found['shards']:,} a store of level 0",
        f"tiles       {found['tiles']:,}; with its halo the network sees "
        f"{found['halo_cost']} pixels for each of the volume's",
    ]
    for name, count in found["bytes"].items():
        lines.append(f"{name:11} {_size(count)} before compression")
    lines.append("memory      of a job with 1 worker, with 2, at most")
    for name, (one, two) in found["memory"].items():
        lines.append(f"  {name:9} {_size(one)}, {_size(two)}")
    return "\n".join(lines) + "\n"
