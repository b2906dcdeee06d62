"""Opening a source, whatever holds it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcan.errors import DcanError
from dcan.geometry import Box, Triple
from dcan.storage.sources.files import open_hdf5, open_numpy, open_phantom
from dcan.storage.sources.locating import Found, locate
from dcan.storage.sources.png import png_section
from dcan.storage.sources.spec import Kind, Source, SourceSpec, reading
from dcan.storage.sources.stacks import CACHE_BYTES, Pieces, Section, Stack
from dcan.storage.sources.tiff import tiff_sections
from dcan.storage.sources.zarrs import open_zarr


def decoded(source: Source) -> Triple:
    """The voxels of an open source that are decoded at once, whatever of them is wanted."""
    return source.decoded if isinstance(source, Stack) else source.piece


def open_source(spec: SourceSpec, kind: Kind, cache: int = CACHE_BYTES) -> Source:
    """The volume that `spec` names; headers are read, no pixels.

    `cache` bounds the bytes of decoded TIFF strips and tiles and PNG sections held between
    reads. Raises DcanError, beginning with `spec.key`, when there is no such volume, when its
    layout, type or channels are not those of `kind`, and when it is damaged or truncated.
    """
    try:
        with reading(repr(spec.path)):
            found = locate(spec)
            source = _open(spec, found, kind, cache)
        _check_type(spec, source.dtype, kind)
    except DcanError as error:
        raise DcanError(f"{spec.key}: {error}") from error
    return NaturalLabels(source) if source.dtype.kind == "i" else source


def _open(spec: SourceSpec, found: Found, kind: Kind, cache: int) -> Source:
    if found.format == "phantom":
        return open_phantom(spec.shape, spec.seed, kind)
    if found.format == "zarr":
        return open_zarr(found.root, spec.dataset)
    if found.format == "hdf5":
        return open_hdf5(found.files[0], spec.dataset)
    if found.format == "npy":
        return open_numpy(found.files[0])
    stack = Stack.of(_sections(found, kind))
    return Stack(stack.sections, Pieces(cache))


def _sections(found: Found, kind: Kind) -> list[Section]:
    if found.format == "png":
        return [png_section(path) for path in found.files]
    if len(found.files) == 1:
        return tiff_sections(found.files[0], kind)
    return [_only_section(path, kind) for path in found.files]


def _only_section(path: Path, kind: Kind) -> Section:
    sections = tiff_sections(path, kind)
    if len(sections) != 1:
        raise DcanError(
            f"{path} holds {len(sections)} sections, beside other files: give it alone, or one "
            "section a file"
        )
    return sections[0]


def _check_type(spec: SourceSpec, dtype: np.dtype[Any], kind: Kind) -> None:
    if kind == "image" and dtype not in (np.uint8, np.uint16):
        raise DcanError(
            f"{spec.path!r} holds {dtype}: images are uint8 or uint16, convert it with a range of "
            "your choice"
        )
    if kind == "map" and dtype != np.uint8 and dtype.kind != "f":
        raise DcanError(
            f"{spec.path!r} holds {dtype}: a map of probabilities is uint8 (0 to 255) or floating "
            "point (0 to 1), convert it"
        )
    if kind == "proposal" and dtype not in (np.bool_, np.uint8, np.uint16) and dtype.kind != "f":
        raise DcanError(
            f"{spec.path!r} holds {dtype}: a proposal for sections is bool, uint8, uint16 or "
            "floating point (0 to 1), convert it"
        )
    if kind == "mask" and dtype.kind not in "ub":
        raise DcanError(
            f"{spec.path!r} holds {dtype}: a mask is bool or unsigned integers, 0 = no tissue, "
            "convert it"
        )
    if kind == "labels" and dtype.kind not in "uib":
        raise DcanError(
            f"{spec.path!r} holds {dtype}: labels are integers or bool, convert them without loss"
        )


@dataclass(frozen=True, slots=True)
class NaturalLabels:
    """Labels of a signed type, none of which may be negative. See `Source`."""

    source: Source

    @property
    def shape(self) -> Triple:
        """As stored."""
        return self.source.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """As stored: a signed integer type."""
        return self.source.dtype

    @property
    def piece(self) -> Triple:
        """As of the source."""
        return self.source.piece

    def read(self, box: Box) -> NDArray[Any]:
        """See `Source.read`; raises DcanError at a negative label."""
        labels = self.source.read(box)
        if labels.size and labels.min() < 0:
            inside = np.unravel_index(int(labels.argmin()), labels.shape)
            voxel = tuple(int(a + b) for a, b in zip(box.start, inside, strict=True))
            path = self.files()[0]
            raise DcanError(
                f"{path} holds label {labels.min()} at voxel {voxel}: labels are 0 (background) "
                "or more, renumber them"
            )
        return labels

    def files(self) -> tuple[Path, ...]:
        """As of the source."""
        return self.source.files()
