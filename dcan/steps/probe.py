"""What the sources are, whether the cut is legal, and the stores that the stages will fill."""

from __future__ import annotations

import logging
from math import lcm
from typing import Any

from dcan.config import Config, Truth
from dcan.config.model import bounds
from dcan.errors import DcanError
from dcan.geometry import Triple
from dcan.steps.mask import look
from dcan.steps.sources import opened, sources
from dcan.steps.vouching import vouch, working
from dcan.steps.workspace import MEMBRANE_ABSENT, Workspace
from dcan.storage.objects import Stored
from dcan.storage.pyramids import level_shapes, multiscales
from dcan.storage.receipts import Entry, digest
from dcan.storage.sources import content, decoded, open_source
from dcan.storage.volumes import array_metadata, group_metadata, put_metadata

_log = logging.getLogger("dcan")


def nearest_legal(value: Triple, unit: Triple, shape: Triple) -> Triple:
    """`value` rounded up to multiples of `unit`, or to the whole axis where that is less."""
    depth, height, width = (
        min(-(-v // u) * u, n) for v, u, n in zip(value, unit, shape, strict=True)
    )
    return depth, height, width


def unit(config: Config) -> Triple:
    """What the shape of a block is a multiple of, where it does not span the axis."""
    shard, tile = config.storage.shard, 1 if config.membrane else config.prediction.tile
    return shard[0], lcm(shard[1], tile), lcm(shard[2], tile)


def check_cut(config: Config, shape: Triple) -> None:
    """Refuse blocks that are not whole shards, or that cut tiles.

    Raises DcanError with the nearest shape that is legal.
    """
    block, shard = config.blocks.shape, config.storage.shard
    tile = 1 if config.membrane else config.prediction.tile
    legal = list(nearest_legal(block, unit(config), shape))
    for axis, (b, s, n) in enumerate(zip(block, shard, shape, strict=True)):
        if b < n and b % s:
            raise DcanError(
                f"blocks.shape is {list(block)}: {b} along {'zyx'[axis]} is neither whole shards "
                f"of {s} (storage.shard {list(shard)}) nor the whole axis of {n}: the nearest "
                f"that is: {legal}"
            )
        if axis and b < n and b % tile:
            raise DcanError(
                f"prediction.tile is {tile}: it neither divides blocks.shape {list(block)} along "
                f"{'zyx'[axis]} nor do the blocks span that axis ({n}): give blocks.shape "
                f"{legal} or a tile that divides"
            )


def check_declared(config: Config, shape: Triple) -> None:
    """Refuse a source of another shape than `volume.shape`."""
    if config.volume.shape not in (None, shape):
        raise DcanError(
            f"volume.shape is {list(config.volume.shape)}, but the source has {list(shape)}: "
            "correct it, or give another source"
        )


def _check_sections(config: Config, shape: Triple) -> None:
    depth = shape[0]
    for z in config.volume.missing:
        if z >= depth:
            raise DcanError(f"volume.missing names section {z}: the volume has 0 to {depth - 1}")
    named = {
        "truth.sections": config.truth.sections if config.truth else None,
        "evaluation.sections": config.evaluation.sections if config.evaluation else None,
    }
    for key, sections in named.items():
        if sections and bounds(sections).stop > depth:
            raise DcanError(f"{key} is {sections}: the volume has {depth} sections, end at {depth}")


def _check_membrane(config: Config, found: dict[str, dict[str, Any]]) -> None:
    if config.membrane and found["membrane"]["shape"] != found["volume"]["shape"]:
        raise DcanError(
            f"membrane.source has shape {found['membrane']['shape']}, the volume has "
            f"{found['volume']['shape']}: give a map of the whole volume"
        )


def check_truth(truth: Truth, labels: Triple, em: Triple, key: str) -> None:
    """Refuse labels that leave the volume or do not hold the sections asked for."""
    for axis, (n, at, whole) in enumerate(zip(labels, truth.offset, em, strict=True)):
        if at + n > whole:
            raise DcanError(
                f"{key}.source has {n} voxels along {'zyx'[axis]} from {at} on (truth.offset), the "
                f"volume has {whole}: give labels of the volume or of a part of it, and its offset"
            )
    wanted = bounds(truth.sections)
    if wanted.start < truth.offset[0] or wanted.stop > truth.offset[0] + labels[0]:
        raise DcanError(
            f"{key}.sections is {truth.sections}: the labels hold sections {truth.offset[0]}:"
            f"{truth.offset[0] + labels[0]} of the volume, name some of those"
        )


def probe(space: Workspace) -> None:
    """Look at the sources: shape, dtype, content; refuse what cannot work; write the receipt."""
    config = space.config
    with working(space, "probe"):
        found: dict[str, dict[str, Any]] = {}
        for role, place, kind in sources(config):
            source = open_source(place, kind)
            _log.info("probe: %s %s is %s %s", role, place.path, source.dtype, source.shape)
            found[role] = {
                "shape": list(source.shape),
                "dtype": str(source.dtype),
                "piece": list(decoded(source)),
                "content": content(place),
            }
        depth, height, width = found["volume"]["shape"]
        shape: Triple = (depth, height, width)
        check_declared(config, shape)
        check_cut(config, shape)
        _check_sections(config, shape)
        _check_membrane(config, found)
        if config.volume.mask is not None:
            found["mask"] |= look(opened(config, "mask"), shape)
        if config.truth:
            d, h, w = found["truth"]["shape"]
            check_truth(config.truth, (d, h, w), shape, "truth")
        values = {
            "shape": list(shape),
            "dtype": found["volume"]["dtype"],
            "sources": found,
        }
        vouch(space, "probe", space.fingerprint("probe"), values, identity=digest(list(shape)))


STORES = {
    "em": ("em.ome.zarr", "image"),
    "membrane": ("membrane.ome.zarr", "image"),
    "segments": ("em.ome.zarr/labels/segments", "labels"),
    "neurites": ("em.ome.zarr/labels/neurites", "labels"),
}
"""The multiscale stores of a volume: folder and kind."""
EFFORT = {"em": 1, "membrane": -1, "segments": 3, "neurites": 3}
"""Zstandard's level. A map is read by every stage that floods: below 0 it is decoded sooner."""

SEGMENTS, NEURITES = "em.ome.zarr/labels/segments/0", "em.ome.zarr/labels/neurites/0"


def _put_array(space: Workspace, path: str, text: str) -> Stored:
    """Write an array's metadata; refuse where data of another shape or shard lies there.

    Raises DcanError: chunks written under other metadata would be read as something else.
    """
    folder = space.root / path
    file = folder / "zarr.json"
    if (folder / "c").exists() and file.exists() and file.read_text(encoding="utf-8") != text:
        raise DcanError(
            f"{folder} holds data of another shape, dtype, storage.shard or version of dcan: set "
            f"these back, give another volume.name, or remove {space.root} to begin anew"
        )
    return put_metadata(space.root, path, text)


def allocate(space: Workspace) -> None:
    """Write the metadata of every store, once, before any job writes into one."""
    with working(space, "allocate"):
        config, root, shape = space.config, space.root, space.shape
        shard = config.storage.shard
        written = []
        dtypes = {"em": space.probe["dtype"], "membrane": "uint8"}
        for name, (path, kind) in STORES.items():
            shapes = level_shapes(shape)
            attributes = multiscales(
                name,
                config.volume.voxel_size,
                len(shapes),
                "image" if kind == "image" else "labels",
            )
            written.append(put_metadata(root, path, group_metadata(attributes)))
            fill = MEMBRANE_ABSENT if name == "membrane" else 0
            for level, size in enumerate(shapes):
                dtype = dtypes.get(name, "uint64")
                text = array_metadata(size, dtype, shard, fill, EFFORT[name])
                written.append(_put_array(space, f"{path}/{level}", text))
        labels = {"ome": {"version": "0.5", "labels": ["segments", "neurites"]}}
        written.append(put_metadata(root, "em.ome.zarr/labels", group_metadata(labels)))
        entry = Entry("metadata", tuple(written))
        vouch(space, "allocate", space.fingerprint("allocate"), {}, entries=(entry,))
