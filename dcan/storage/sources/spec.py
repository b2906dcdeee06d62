"""What a source is, and the rules that every kind of source keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from dcan.errors import DcanError
from dcan.geometry import Box, Triple

Kind = Literal["image", "labels", "map", "mask", "proposal"]

PIECE_BOUND = 1 << 30
"""Bytes that a section, strip, tile or chunk may declare without being looked at."""

ANY: Triple = (1, 1, 1)
"""The `Source.piece` of a source of which any box can be read by itself."""

RATIO_BOUND = 1 << 15
"""The most that the compressors of these formats reach: a Zstandard block of one repeated byte
stores 128 KiB in 4 bytes (RFC 8878, 3.1.1.2); deflate reaches 1032."""


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """Where a volume is, as the configuration gives it."""

    path: str
    """`phantom`, a file, a folder, a glob, or a Zarr; relative to the working directory."""
    dataset: str | None = None
    """The path inside HDF5 or Zarr."""
    shape: Triple | None = None
    """Of `phantom` only: its shape (z, y, x)."""
    seed: int = 0
    """Of `phantom` only."""
    key: str = field(default="volume.source", compare=False)
    """The configuration key that errors name."""


class Source(Protocol):
    """A volume that can be read, axes (z, y, x); the values are those stored, never cast."""

    @property
    def shape(self) -> Triple:
        """Sections, rows, columns; each at least 1."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 or uint16 for images, an integer type or bool for labels, uint8 or floating point
        for maps, bool or an unsigned integer type for masks, bool, uint8, uint16 or floating
        point for proposals; native byte order."""
        ...

    @property
    def piece(self) -> Triple:
        """The voxels that are decoded at once: boxes cut along its multiples decode none twice."""
        ...

    def read(self, box: Box) -> NDArray[Any]:
        """The voxels of a box inside the volume: an array of `box.shape` that the caller owns.

        Several threads may read at once. Raises DcanError, naming the file and the section or
        the box, when what is stored cannot be read; ValueError for a box outside the volume.
        """
        ...

    def files(self) -> tuple[Path, ...]:
        """The files that hold the volume; none for the phantom."""
        ...


def check_inside(box: Box, shape: Triple) -> None:
    """Raise ValueError unless `box` lies in a volume of this shape."""
    if any(a < 0 or b < a or b > n for a, b, n in zip(box.start, box.stop, shape, strict=True)):
        raise ValueError(f"box {box.key} is outside a volume of shape {shape}")


def check_piece(what: str, declared: int, held: int) -> None:
    """Raise DcanError when `declared` bytes to decode at once cannot come from `held` bytes."""
    if declared > PIECE_BOUND and declared > held * RATIO_BOUND:
        raise DcanError(
            f"{what} declares {declared} bytes in one piece, which its {held} stored bytes cannot "
            "hold: the file is damaged or forged, give a sound one"
        )


def native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The same type in the byte order of this machine."""
    return dtype.newbyteorder("=")


def volume_shape(what: str, shape: Sequence[int]) -> Triple:
    """(z, y, x) of an array: leading axes of length 1 are dropped, two axes are one section.

    Raises DcanError when more than three axes are left, fewer than two are there, or one is empty.
    """
    sizes = [int(n) for n in shape]
    while len(sizes) > 3 and sizes[0] == 1:
        sizes.pop(0)
    if len(sizes) == 2:
        sizes.insert(0, 1)
    if len(sizes) != 3 or min(sizes) < 1:
        raise DcanError(
            f"{what} has shape {tuple(shape)}: give one channel with non-empty axes (z, y, x)"
        )
    return sizes[0], sizes[1], sizes[2]


def last_three(sizes: Sequence[int]) -> Triple:
    """(z, y, x) of sizes along the axes of an array whose `volume_shape` is the volume's."""
    z, y, x = (1, 1, *sizes)[-3:]
    return int(z), int(y), int(x)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn any failure of a reader into a DcanError that names what was read."""
    try:
        yield
    except DcanError:
        raise
    # The readers of foreign formats raise what they like on damaged files, struct.error,
    # KeyError and MemoryError among them.
    except Exception as error:
        raise DcanError(
            f"{what} cannot be read ({type(error).__name__}: {str(error)[:200]}): restore the "
            "file from its original, or convert it"
        ) from error
