"""A volume in a Zarr 2 or 3 array. A chunk that is not stored reads as the fill value."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcan.errors import DcanError
from dcan.geometry import Box, Triple
from dcan.storage.sources.hierarchy import Level, find_level
from dcan.storage.sources.spec import (
    check_inside,
    check_piece,
    last_three,
    native,
    reading,
    volume_shape,
)

CODECS = frozenset(
    [
        "bytes",
        "transpose",
        "sharding_indexed",
        "crc32c",
        "blosc",
        "bz2",
        "gzip",
        "lz4",
        "lzma",
        "zlib",
        "zstd",
        "delta",
        "shuffle",
        "adler32",
        "crc32",
        "fletcher32",
        "packbits",
    ]
)
"""Codecs that only move numbers; `pickle` would run what a chunk says."""

INDEX_ENTRY = 16
"""Bytes of a shard's index for each chunk in it (Zarr 3, sharding_indexed)."""


@dataclass(frozen=True, slots=True)
class ZarrSource:
    """See `Source`."""

    level: Level
    array: Any
    shape: Triple
    dtype: np.dtype[Any]

    def read(self, box: Box) -> NDArray[Any]:
        """See `Source.read`."""
        check_inside(box, self.shape)
        inner = box.slices if len(self.array.shape) > 2 else box.slices[1:]
        outer = (0,) * (len(self.array.shape) - len(inner))
        with reading(f"{self.level.array.folder}, box {box.key}"):
            return np.asarray(self.array[(*outer, *inner)], self.dtype).reshape(box.shape)

    def files(self) -> tuple[Path, ...]:
        """The metadata files and every file of the array."""
        return self.level.files()

    @property
    def piece(self) -> Triple:
        """A chunk, not the shard that it may be in."""
        return last_three(self.array.chunks)


def open_zarr(root: Path, dataset: str | None) -> ZarrSource:
    """The volume of a Zarr array, or of a group by `find_level`.

    Raises DcanError for axes other than (z, y, x) behind leading ones of length 1, for codecs
    that are not known to be harmless, and for chunks that the stored bytes cannot hold.
    """
    import zarr
    from zarr.storage import LocalStore

    level = find_level(root, dataset)
    node = level.array
    with reading(str(node.folder)):
        stranger = sorted(node.codecs - CODECS)
        if stranger:
            raise DcanError(
                f"{node.folder} uses the codec {stranger[0]!r}: rewrite it with one of "
                f"{', '.join(sorted(CODECS))}"
            )
        shape = _shape(level)
        store = LocalStore(node.folder, read_only=True)
        array = zarr.open_array(store=store, mode="r", zarr_format=node.format)
        _check_pieces(level, array)
        return ZarrSource(level, array, shape, native(np.dtype(array.dtype)))


def _shape(level: Level) -> Triple:
    node = level.array
    shape = node.shape or ()
    if node.axes is not None:
        names = "".join(name.lower()[:1] for name in node.axes)
        spatial = "yx" if "z" not in names else "zyx"
        if len(names) != len(shape) or not names.endswith(spatial):
            raise DcanError(
                f"{node.folder} has axes {', '.join(node.axes)} for shape {shape}: give axes "
                "(z, y, x), with t and c of length 1 before them or not at all"
            )
        if any(n != 1 for n in shape[: len(shape) - len(spatial)]):
            raise DcanError(
                f"{node.folder} has axes {', '.join(node.axes)} of shape {shape}: give one channel "
                "and one time point"
            )
        shape = shape[len(shape) - len(spatial) :]
    return volume_shape(str(node.folder), shape)


def _check_pieces(level: Level, array: Any) -> None:
    """What is decoded at once: a chunk and the index of its shard."""
    pieces = [prod(array.chunks) * array.dtype.itemsize]
    if array.shards is not None:
        inside = (a // b for a, b in zip(array.shards, array.chunks, strict=True))
        pieces.append(prod(inside) * INDEX_ENTRY)
    check_piece(str(level.array.folder), max(pieces), level.holds(max(pieces)))
