"""Volumes on disk: OME-Zarr 0.5, Zarr format 3, sharded, zstd with CRC-32C, nm.

The only importer of zarr besides the reader of sources. Writers write whole shards and
nothing else: two processes in one shard would lose data without a word.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.core.buffer import Buffer
from zarr.core.metadata import ArrayV3Metadata
from zarr.storage import MemoryStore, StorePath

from dcan.errors import DcanError
from dcan.geometry import Box, Grid, Triple
from dcan.storage.objects import Stored, cannot_write, write_bytes

Kind = Literal["image", "labels"]
CHUNK = 512  # a block reads what is around it too, by whole chunks
POOL = {"threading.max_workers": 16}
"""Zarr's threads, made when it is first used: encoders of all workers are served by them."""
PIPELINE = {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline", "threading.max_workers": 1}
"""How an array is decoded: by one thread for each reader, so a job uses what it was given."""
SMALLEST = 512  # a level whose section fits into this square is the last of a pyramid

Array = NDArray[Any]


def level_shapes(shape: Triple) -> list[Triple]:
    """Shapes of a pyramid's levels: rows and columns halve (rounded up), sections stay."""
    shapes = [shape]
    while max(shapes[-1][1:]) > SMALLEST:
        depth, height, width = shapes[-1]
        shapes.append((depth, -(-height // 2), -(-width // 2)))
    return shapes


_opening = threading.Lock()  # what Zarr is told by its configuration is told to all threads


def _open(path: Path) -> zarr.Array[Any]:
    with _opening:
        with zarr.config.set(POOL):
            found = zarr.open_array(path, mode="r+").async_array
        with zarr.config.set(PIPELINE):
            return zarr.Array(zarr.AsyncArray(found.metadata, found.store_path, found.config))


@dataclass(frozen=True)
class Store:
    """One array of a volume, by its path relative to the output folder; picklable."""

    root: Path
    path: str

    @cached_property
    def _array(self) -> zarr.Array[Any]:
        try:
            return _open(self.root / self.path)
        # On damaged metadata zarr raises what comes up, AttributeError and RecursionError too.
        except Exception as error:
            raise DcanError(
                f"store {self.root / self.path} cannot be opened ({error}): remove "
                "receipts/allocate.json beside it and run snakemake again"
            ) from None

    @property
    def shape(self) -> Triple:
        """Voxels along (z, y, x)."""
        depth, height, width = self._array.shape
        return depth, height, width

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of a voxel."""
        return np.dtype(self._array.dtype)

    @property
    def shards(self) -> Grid:
        """The grid of stored objects."""
        depth, height, width = self._array.shards or self._array.chunks
        return Grid(self.shape, (depth, height, width))

    def read(self, box: Box) -> Array:
        """The voxels of a box inside the volume, of the box's shape.

        Raises DcanError naming store and box when a stored object is damaged or not there;
        ValueError for a box outside the volume.
        """
        if not Box.whole(self.shape).contains(box):
            raise ValueError(f"box {box.key} is outside a volume of shape {self.shape}")
        try:
            for shard in self.shards.touching(box):
                # zarr takes an empty or absent object for one of fill values
                if self._file(shard).stat().st_size == 0:
                    raise ValueError(f"{self._file(shard)} is empty")
            return np.asarray(self._array[box.slices])
        except (OSError, ValueError, RuntimeError) as error:
            raise DcanError(
                f"store {self.root / self.path}, box {box.key}, is damaged "
                f"({type(error).__name__}: {error}): run `dcan verify --repair`, then snakemake"
            ) from None

    def write(self, box: Box, voxels: Array) -> tuple[Stored, ...]:
        """Write a box of whole shards, durably, and describe the stored objects.

        Raises DcanError when the box cuts a shard, the voxels do not fit, or the disk refuses.
        """
        written = list(self.shards.touching(box))
        inside = Box.whole(self.shape).contains(box)
        if not inside or sum(shard.size for shard in written) != box.size:
            raise DcanError(
                f"box {box.key} of {self.path} cuts shards of {self.shards.step}: "
                "make blocks.shape a multiple of storage.shard"
            )
        if voxels.shape != box.shape or voxels.dtype != self.dtype:
            raise DcanError(
                f"{voxels.dtype} voxels of shape {voxels.shape} do not fit box {box.key} of "
                f"{self.path}, which holds {self.dtype}"
            )
        return tuple(
            write_bytes(self.root, self._file(shard), self._encode(voxels[shard.within(box)]))
            for shard in written
        )

    def _encode(self, voxels: Array) -> bytes:
        """The stored object of a shard; a ragged one is filled up.

        Encoded in memory: zarr would read what a ragged shard held before, damage included, and
        rename the file before it is durable.
        """
        held: dict[str, Buffer] = {}
        step = self.shards.step
        metadata = cast(ArrayV3Metadata, self._array.metadata).update_shape(step)
        alone = zarr.Array(
            zarr.AsyncArray(metadata, StorePath(MemoryStore(held)), self._array.config)
        ).with_config({"write_empty_chunks": True})
        if voxels.shape != step:
            missing = [(0, s - n) for s, n in zip(step, voxels.shape, strict=True)]
            voxels = np.pad(voxels, missing, constant_values=self._array.fill_value)
        alone[...] = voxels
        return held["c/0/0/0"].to_bytes()

    def objects(self, box: Box) -> list[str]:
        """Paths, relative to the output folder, of the stored objects that hold a box."""
        return [
            self._file(shard).relative_to(self.root).as_posix()
            for shard in self.shards.touching(box)
        ]

    def _file(self, shard: Box) -> Path:
        place = (a // s for a, s in zip(shard.start, self.shards.step, strict=True))
        return self.root / self.path / "c" / "/".join(str(p) for p in place)


def _scales(voxel_size: Sequence[float], levels: int, *, centred: bool) -> list[dict[str, Any]]:
    """OME-Zarr datasets: scale in nm, and where the first voxel's centre moved by averaging."""
    z, y, x = voxel_size
    datasets = []
    for level in range(levels):
        shift = (2**level - 1) / 2 if centred else 0.0
        transforms = [
            {"type": "scale", "scale": [z, y * 2**level, x * 2**level]},
            {"type": "translation", "translation": [0.0, y * shift, x * shift]},
        ]
        datasets.append({"path": str(level), "coordinateTransformations": transforms})
    return datasets


def multiscales(name: str, voxel_size: Sequence[float], levels: int, kind: Kind) -> dict[str, Any]:
    """The `ome` attribute of a pyramid, OME-Zarr 0.5 (https://ngff.openmicroscopy.org/0.5)."""
    axes = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    scale = {
        "name": name,
        "axes": axes,
        "datasets": _scales(voxel_size, levels, centred=kind == "image"),
        "type": "mean" if kind == "image" else "nearest",
    }
    ome: dict[str, Any] = {"version": "0.5", "multiscales": [scale]}
    if kind == "labels":
        ome["image-label"] = {"source": {"image": "../../"}}
    return {"ome": ome}


def array_metadata(shape: Triple, dtype: str, shard: Triple, fill: int, level: int) -> str:
    """`zarr.json` of a sharded array whose inner chunks are squares of single sections."""
    clipped = tuple(min(s, max(1, n)) for s, n in zip(shard, shape, strict=True))
    held: dict[str, Buffer] = {}
    zarr.create_array(
        MemoryStore(held),
        shape=shape,
        dtype=dtype,
        shards=clipped,
        chunks=(1, *(_side(n) for n in clipped[1:])),
        compressors=[ZstdCodec(level=level), Crc32cCodec()],
        filters=None,
        fill_value=fill,
        dimension_names=["z", "y", "x"],
        zarr_format=3,
    )
    return held["zarr.json"].to_bytes().decode()


def _side(length: int) -> int:
    """Of a chunk: the shard's or an equal part of it, of at most CHUNK pixels where it divides."""
    parts = -(-length // CHUNK)
    return length if length % parts else length // parts


def group_metadata(attributes: dict[str, Any]) -> str:
    """`zarr.json` of a group."""
    node = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    return json.dumps(node, indent=2) + "\n"


def put_metadata(root: Path, path: str, text: str) -> Stored:
    """Write the `zarr.json` of the node at `path`, as it should be; describe it.

    Where it was another, the stored objects beside it are of another shape, dtype or cut:
    they go first. Raises DcanError when the file system refuses.
    """
    file, data = root / path / "zarr.json", text.encode()
    try:
        if file.exists() and file.read_bytes() != data:
            with suppress(FileNotFoundError):
                shutil.rmtree(file.parent / "c")
    except OSError as error:
        raise cannot_write(file, error) from None
    return write_bytes(root, file, data)


def coarsen(voxels: Array, kind: Kind) -> Array:
    """One level up: rows and columns in pairs.

    An image takes the mean of the pixels that there are (round half up), labels the first
    of them, which never makes an id that was not there.
    """
    if kind == "labels":
        return np.ascontiguousarray(voxels[:, ::2, ::2])
    _, height, width = voxels.shape
    wide = voxels.astype(np.uint32)
    padded = np.pad(wide, ((0, 0), (0, height % 2), (0, width % 2)), mode="edge")
    total = (
        padded[:, ::2, ::2] + padded[:, 1::2, ::2] + padded[:, ::2, 1::2] + padded[:, 1::2, 1::2]
    )
    return ((total + 2) // 4).astype(voxels.dtype)


def finer(box: Box, shape: Triple) -> Box:
    """The voxels of the level below, of this shape, that a box of a level is made from."""
    (z, y, x), (d, h, w) = box.start, box.stop
    return Box((z, 2 * y, 2 * x), (d, 2 * h, 2 * w)).intersect(Box.whole(shape))
