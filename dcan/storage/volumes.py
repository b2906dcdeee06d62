"""Volumes on disk: OME-Zarr 0.5, Zarr format 3, sharded, zstd with CRC-32C, nm.

The only importer of zarr besides the reader of sources. Writers write whole shards and
nothing else: two processes in one shard would lose data without a word.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import (
    BytesCodec,
    Crc32cCodec,
    ShardingCodec,
    ShardingCodecIndexLocation,
    ZstdCodec,
)
from zarr.core.buffer import Buffer
from zarr.core.chunk_grids import RegularChunkGrid
from zarr.core.metadata import ArrayV3Metadata
from zarr.storage import MemoryStore

from dcan.errors import DcanError
from dcan.geometry import Box, Grid, Triple
from dcan.storage.objects import Stored, cannot_write, write_bytes
from dcan.storage.shards import Layout, encode, new_shard, read_shard

CHUNK = 512  # a block reads what is around it too, by whole chunks

Array = NDArray[Any]


def _layout(metadata: ArrayV3Metadata) -> Layout:
    """How such an array is stored; raises ValueError when it is not as this module writes it."""
    match metadata.chunk_grid, metadata.codecs:
        case (
            RegularChunkGrid(chunk_shape=(d, h, w)),
            [
                ShardingCodec(
                    chunk_shape=(depth, height, width),
                    codecs=[BytesCodec(), ZstdCodec(level=level), Crc32cCodec()],
                    index_codecs=[BytesCodec(), Crc32cCodec()],
                    index_location=ShardingCodecIndexLocation.end,
                )
            ],
        ):
            dtype = metadata.data_type.to_native_dtype()
            return Layout((d, h, w), (depth, height, width), dtype, level)
    raise ValueError("it is not stored as shards of zstd and CRC-32C")


@dataclass(frozen=True)
class Store:
    """One array of a volume, by its path relative to the output folder; picklable."""

    root: Path
    path: str

    @cached_property
    def _stored_as(self) -> tuple[Triple, Layout]:
        try:
            text = (self.root / self.path / "zarr.json").read_text(encoding="utf-8")
            metadata = ArrayV3Metadata.from_dict(json.loads(text))
            depth, height, width = metadata.shape
            return (depth, height, width), _layout(metadata)
        # On damaged metadata zarr raises what comes up, AttributeError and RecursionError too.
        except Exception as error:
            raise DcanError(
                f"store {self.root / self.path} cannot be opened ({error}): remove "
                "receipts/allocate.json beside it and run snakemake again"
            ) from None

    @property
    def shape(self) -> Triple:
        """Voxels along (z, y, x)."""
        return self._stored_as[0]

    @property
    def layout(self) -> Layout:
        """How the voxels are stored."""
        return self._stored_as[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of a voxel."""
        return self.layout.dtype

    @property
    def shards(self) -> Grid:
        """The grid of stored objects."""
        return Grid(self.shape, self.layout.shard)

    def read(self, box: Box) -> Array:
        """The voxels of a box inside the volume, of the box's shape.

        Raises DcanError naming store and box when a stored object is damaged or not there;
        ValueError for a box outside the volume.
        """
        if not Box.whole(self.shape).contains(box):
            raise ValueError(f"box {box.key} is outside a volume of shape {self.shape}")
        voxels = np.empty(box.shape, self.dtype)
        try:
            for shard in self.shards.touching(box):
                chunks = self.chunks(shard.intersect(box))
                read_shard(self._file(shard), self.layout, chunks, box, voxels)
        except (OSError, ValueError, RuntimeError) as error:
            raise DcanError(
                f"store {self.root / self.path}, box {box.key}, is damaged "
                f"({type(error).__name__}: {error}): run `dcan verify --repair`, then snakemake"
            ) from None
        return voxels

    def write(self, box: Box, voxels: Array) -> tuple[Stored, ...]:
        """Write a box of whole shards, durably, and describe the stored objects.

        Raises DcanError when the box cuts a shard, the voxels do not fit, or the disk refuses.
        """
        if voxels.shape != box.shape or voxels.dtype != self.dtype:
            raise DcanError(
                f"{voxels.dtype} voxels of shape {voxels.shape} do not fit box {box.key} of "
                f"{self.path}, which holds {self.dtype}"
            )
        chunks = self.chunks(box)
        return self.write_chunks(box, (self.encode(voxels[c.within(box)]) for c in chunks))

    def chunks(self, box: Box) -> list[Box]:
        """The chunks that share a voxel with a box, in raster order."""
        return list(Grid(self.shape, self.layout.chunk).touching(box))

    def encode(self, voxels: Array) -> bytes:
        """The voxels of a chunk, of the store's dtype, as they are stored. On any thread."""
        return encode(voxels, self.layout)

    def write_chunks(self, box: Box, encoded: Iterable[bytes]) -> tuple[Stored, ...]:
        """As `write`, from what `encode` gives for the `chunks` of the box, in their order.

        No more than one of them is held. Raises ValueError when some are missing.
        """
        written = list(self.shards.touching(box))
        inside = Box.whole(self.shape).contains(box)
        if not inside or sum(shard.size for shard in written) != box.size:
            raise DcanError(
                f"box {box.key} of {self.path} cuts shards of {self.shards.step}: "
                "make blocks.shape a multiple of storage.shard"
            )
        coming = iter(encoded)
        found: list[Stored] = []
        # sections come one after the other, each in pieces of all shards that hold it
        for _, layer in groupby(written, lambda shard: shard.start[0]):
            found += self._write_layer(list(layer), coming)
        return tuple(found)

    def _write_layer(self, shards: Sequence[Box], encoded: Iterator[bytes]) -> list[Stored]:
        chunks = self.chunks(Box(shards[0].start, shards[-1].stop))
        with ExitStack() as stack:
            files = {
                self._file(shard): stack.enter_context(new_shard(self._file(shard), self.layout))
                for shard in shards
            }
            for chunk, data in zip(chunks, islice(encoded, len(chunks)), strict=True):
                files[self._file(chunk)].append(chunk.start, data)
        return [
            Stored(path.relative_to(self.root).as_posix(), file.size, file.checksum)
            for path, file in files.items()
        ]

    def objects(self, box: Box) -> list[str]:
        """Paths, relative to the output folder, of the stored objects that hold a box."""
        return [
            self._file(shard).relative_to(self.root).as_posix()
            for shard in self.shards.touching(box)
        ]

    def _file(self, shard: Box) -> Path:
        place = (a // s for a, s in zip(shard.start, self.shards.step, strict=True))
        return self.root / self.path / "c" / "/".join(str(p) for p in place)


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
