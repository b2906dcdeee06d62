"""Stored objects of sharded arrays, a chunk at a time: Zarr's `sharding_indexed`.

A chunk is its voxels, little-endian, compressed by Zstandard, and the CRC-32C of that. A shard
is its chunks one after the other, then where each of them begins and its length, uint64, and
the CRC-32C of that. Source: https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numcodecs import zstd
from numpy.typing import NDArray

from dcan.geometry import Box, Grid, Triple
from dcan.storage.objects import cannot_write, crc32c, extended, replacing

ABSENT = 2**64 - 1
"""Begin and length of a chunk that a shard does not have: it lies outside the volume."""
CHECKSUM = 4
"""Bytes of a CRC-32C, little-endian."""

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Layout:
    """How the voxels of an array are stored: shapes of a shard and a chunk, dtype, zstd's level."""

    shard: Triple
    chunk: Triple
    dtype: np.dtype[Any]
    level: int

    @property
    def counts(self) -> Triple:
        """Chunks of a shard along (z, y, x)."""
        return Grid(self.shard, self.chunk).counts

    def place(self, start: Triple) -> Triple:
        """Which chunk of its shard begins at the voxel `start` of the volume."""
        parts = zip(start, self.shard, self.chunk, strict=True)
        return cast(Triple, tuple(a % s // c for a, s, c in parts))


def encode(voxels: Array, layout: Layout) -> bytes:
    """A chunk as it is stored; one that the volume's faces cut is filled up with 0."""
    if voxels.shape != layout.chunk:
        missing = [(0, s - n) for s, n in zip(layout.chunk, voxels.shape, strict=True)]
        voxels = np.pad(voxels, missing)
    data: bytes = zstd.compress(np.ascontiguousarray(voxels, _little(layout)), layout.level)
    return data + _checksum(data)


def decode(stored: bytes, layout: Layout) -> Array:
    """The voxels of a stored chunk. Raises ValueError or RuntimeError when it is damaged."""
    data = np.frombuffer(_checked(stored), np.uint8)
    return np.frombuffer(zstd.decompress(data), _little(layout)).reshape(layout.chunk)


def read_shard(path: Path, layout: Layout, chunks: Iterable[Box], box: Box, voxels: Array) -> None:
    """Put what some chunks of a shard hold of `box` into `voxels`, an array of its shape.

    Raises OSError, ValueError or RuntimeError when the shard is not there or damaged.
    """
    with path.open("rb", buffering=0) as file:
        index = _index(file, layout)
        for chunk in chunks:
            begin, length = index[layout.place(chunk.start)].tolist()
            if begin == ABSENT:
                raise ValueError(f"{path} has no chunk {chunk.key}")
            common = chunk.intersect(box)
            found = decode(os.pread(file.fileno(), length, begin), layout)
            voxels[common.within(box)] = found[common.within(chunk)]


def _index(file: BinaryIO, layout: Layout) -> NDArray[np.uint64]:
    size = 16 * prod(layout.counts) + CHECKSUM
    stored = os.pread(file.fileno(), size, os.fstat(file.fileno()).st_size - size)
    return np.frombuffer(_checked(stored), "<u8").reshape(*layout.counts, 2)


def _little(layout: Layout) -> np.dtype[Any]:
    return layout.dtype.newbyteorder("<")


def _checksum(data: bytes) -> bytes:
    return crc32c(data).to_bytes(CHECKSUM, "little")


def _checked(stored: bytes) -> bytes:
    """Bytes without the checksum after them. Raises ValueError when they are others."""
    data = stored[:-CHECKSUM]
    if _checksum(data) != stored[-CHECKSUM:]:
        raise ValueError("the CRC-32C of its bytes differs")
    return data


class ShardFile:
    """A shard under way: `size` and `checksum` (CRC-32C) of what was written so far."""

    def __init__(self, path: Path, file: BinaryIO, layout: Layout) -> None:
        self._path, self._file, self._layout = path, file, layout
        self._index = np.full((*layout.counts, 2), ABSENT, "<u8")
        self.size, self.checksum = 0, 0

    def append(self, start: Triple, chunk: bytes) -> None:
        """Add the chunk that begins at the voxel `start` of the volume, as `encode` gives it."""
        self._index[self._layout.place(start)] = self.size, len(chunk)
        self._write(chunk)

    def end(self) -> None:
        """Add the index."""
        index = self._index.tobytes()
        self._write(index + _checksum(index))

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise cannot_write(self._path, error) from None
        self.size += len(data)
        self.checksum = extended(self.checksum, data)


@contextmanager
def new_shard(path: Path, layout: Layout) -> Iterator[ShardFile]:
    """A shard without chunks, which becomes `path` when the body ends well.

    Raises as `replacing`.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        shard = ShardFile(path, file, layout)
        yield shard
        shard.end()
