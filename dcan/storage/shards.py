"""Stored objects of sharded arrays, written a chunk at a time: Zarr's `sharding_indexed`.

A chunk is its voxels, little-endian, compressed by Zstandard, and the CRC-32C of that. A shard
is its chunks one after the other, then where each of them begins and its length, uint64, and
the CRC-32C of that. Source: https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numcodecs import zstd
from numpy.typing import NDArray

from dcan.geometry import Triple
from dcan.storage.objects import cannot_write, crc32c, extended, replacing

ABSENT = 2**64 - 1
"""Begin and length of a chunk that a shard does not have: it lies outside the volume."""


def encode(voxels: NDArray[Any], shape: Triple, level: int) -> bytes:
    """A chunk of `shape` as it is stored; one that the volume's faces cut is filled up with 0."""
    if voxels.shape != shape:
        missing = [(0, s - n) for s, n in zip(shape, voxels.shape, strict=True)]
        voxels = np.pad(voxels, missing)
    little = np.ascontiguousarray(voxels, voxels.dtype.newbyteorder("<"))
    data: bytes = zstd.compress(little, level)
    return data + crc32c(data).to_bytes(4, "little")


class ShardFile:
    """A shard under way: `size` and `checksum` (CRC-32C) of what was written so far."""

    def __init__(self, path: Path, file: BinaryIO, counts: Triple) -> None:
        self._path, self._file = path, file
        self._index = np.full((*counts, 2), ABSENT, "<u8")
        self.size, self.checksum = 0, 0

    def append(self, place: Triple, chunk: bytes) -> None:
        """Add the chunk at `place` in the shard, as `encode` gives it."""
        self._index[place] = self.size, len(chunk)
        self._write(chunk)

    def end(self) -> None:
        """Add the index."""
        index = self._index.tobytes()
        self._write(index + crc32c(index).to_bytes(4, "little"))

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise cannot_write(self._path, error) from None
        self.size += len(data)
        self.checksum = extended(self.checksum, data)


@contextmanager
def new_shard(path: Path, counts: Triple) -> Iterator[ShardFile]:
    """A shard of `counts` chunks along (z, y, x), which becomes `path` when the body ends well.

    Raises as `replacing`.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        shard = ShardFile(path, file, counts)
        yield shard
        shard.end()
