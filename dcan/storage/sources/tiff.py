"""TIFF sections: strips and tiles decoded one by one, uncompressed sections mapped.

Sections are the image directories of the main chain, in its order. The chain is walked here,
so that a truncated file is refused where a lenient reader would return fewer sections.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dcan.errors import DcanError
from dcan.geometry import Box, Grid
from dcan.storage.sources.spec import Kind, check_piece, native, reading
from dcan.storage.sources.stacks import Pieces, Section
from dcan.storage.sources.tiff_layout import declared_sections, image_directories

VENDORS = frozenset(
    [
        "avs",
        "bif",
        "eer",
        "fluoview",
        "lsm",
        "mdgel",
        "ndpi",
        "nih",
        "philips",
        "qpi",
        "scanimage",
        "scn",
        "sis",
        "stk",
        "svs",
    ]
)
"""Flavours of TIFF whose chain of directories is not the stack."""

MIN_IS_WHITE, PALETTE = 0, 3
JPEG = (6, 7, 33007, 34892)


@dataclass(frozen=True, slots=True)
class MappedSection:
    """Uncompressed pixels in one piece, `offset` bytes into the file. See `Section`."""

    path: Path
    size: tuple[int, int]
    stored: np.dtype[Any]
    offset: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """In native byte order."""
        return native(self.stored)

    @property
    def piece(self) -> tuple[int, int]:
        """See `Section.piece`."""
        return 1, 1

    def copy(self, window: Box, out: NDArray[Any], pieces: Pieces) -> None:
        """See `Section.copy`."""
        del pieces
        out[...] = np.memmap(self.path, self.stored, "r", self.offset, (1, *self.size))[
            window.slices
        ]


@dataclass(frozen=True, slots=True)
class TiledSection:
    """Strips or tiles; `directory` is where their table is in the file. See `Section`."""

    path: Path
    size: tuple[int, int]
    dtype: np.dtype[Any]
    directory: int
    piece: tuple[int, int]

    def copy(self, window: Box, out: NDArray[Any], pieces: Pieces) -> None:
        """See `Section.copy`."""
        import tifffile

        with self.path.open("rb") as file, tifffile.TiffFile(self.path) as tif:
            page = _page(tif, self.directory)
            grid = _grid(page)
            for tile in grid.touching(window):
                _, row, column = (a // b for a, b in zip(tile.start, grid.step, strict=True))
                index = row * grid.counts[2] + column
                piece = pieces.fetch((self, index), partial(_decode, file, page, index, tile))
                common = tile.intersect(window)
                out[common.within(window)] = piece[common.within(tile)]


def tiff_sections(path: Path, kind: Kind) -> list[Section]:
    """The sections of a TIFF, BigTIFF, OME-TIFF or ImageJ stack, from its headers alone.

    Raises DcanError for several channels, colour, layouts that are not a stack, images whose
    values are not intensities, files that hold less than they declare, and damage.
    """
    import tifffile

    sections: list[Section] = []
    with reading(str(path)), tifffile.TiffFile(path) as tif:
        vendors = sorted(VENDORS & set(tif.flags))
        if vendors:
            raise DcanError(
                f"{path} is a TIFF of the kind {vendors[0]}: convert it to a plain TIFF"
            )
        directories = image_directories(path)
        declared = 0
        for z, directory in enumerate(directories):
            what = f"{path}, section {z}"
            with reading(what):
                page = _page(tif, directory)
                _check_page(what, page, kind)
                section = _section(path, page)
                if z == declared:
                    declared += declared_sections(what, page.description, page.description1)
            sections.append(section)
        if declared != len(sections):
            sections = _behind_one_directory(path, sections, declared)
    return sections


def _page(tif: Any, directory: int) -> Any:
    import tifffile

    tif.filehandle.seek(directory)
    return tifffile.TiffPage(tif, index=0)


def _check_page(what: str, page: Any, kind: Kind) -> None:
    if page.samplesperpixel != 1:
        raise DcanError(f"{what} has {page.samplesperpixel} channels: give one grey channel")
    if page.imagedepth != 1 or (page.is_tiled and page.tiledepth != 1):
        raise DcanError(f"{what} is a volume of its own: give one image directory a section")
    if page.is_reduced or page.is_mask:
        raise DcanError(f"{what} is a reduced image or a mask: give a TIFF without them")
    if kind != "labels" and page.photometric == PALETTE:
        raise DcanError(f"{what} has a palette: convert it to grey")
    if kind != "labels" and page.photometric == MIN_IS_WHITE:
        raise DcanError(f"{what} says that 0 is white: invert it and save 0 as black")


def _section(path: Path, page: Any) -> Section:
    """Raises DcanError or ValueError when the file cannot hold what the directory declares."""
    if page.dtype is None or min(page.imagelength, page.imagewidth) < 1:
        raise ValueError("no pixels of a known type")
    size, dtype, held = (page.imagelength, page.imagewidth), page.dtype, path.stat().st_size
    declared = size[0] * size[1] * dtype.itemsize
    if page.is_final:
        if page.dataoffsets[0] + declared > held:
            raise ValueError(f"truncated: {declared} bytes declared, the file ends before")
        stored = dtype.newbyteorder(page.parent.byteorder)
        return MappedSection(path, size, stored, page.dataoffsets[0])
    grid = _grid(page)
    counts = page.databytecounts
    listed = min(len(page.dataoffsets), len(counts))
    if listed != len(grid):
        raise ValueError(f"{len(grid)} strips or tiles declared, {listed} listed")
    if min(counts) == 0:
        raise ValueError(f"strip or tile {counts.index(0)} holds no data")
    if max(a + b for a, b in zip(page.dataoffsets, counts, strict=True)) > held:
        raise ValueError("truncated: strips or tiles lie behind the end of the file")
    check_piece(str(path), declared, sum(counts))
    check_piece(str(path), grid.step[1] * grid.step[2] * dtype.itemsize, max(counts))
    return TiledSection(path, size, native(dtype), page.offset, grid.step[1:])


def _grid(page: Any) -> Grid:
    """The strips or tiles of a page, counted as TIFF counts them."""
    rows, columns = page.imagelength, page.imagewidth
    if page.is_tiled:
        return Grid((1, rows, columns), (1, page.tilelength, page.tilewidth))
    return Grid((1, rows, columns), (1, min(page.rowsperstrip, rows), columns))


def _decode(file: BinaryIO, page: Any, index: int, tile: Box) -> NDArray[Any]:
    """Pixels of a strip or tile, shape (1, rows, columns), at least those of `tile`."""
    file.seek(page.dataoffsets[index])
    data = file.read(page.databytecounts[index])
    if len(data) < page.databytecounts[index]:
        raise ValueError("the file has become shorter")
    tables = (
        {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
        if page.compression in JPEG
        else {}
    )
    decoded: NDArray[Any] = page.decode(data, index, **tables)[0][..., 0]
    if any(a < b for a, b in zip(decoded.shape, tile.shape, strict=True)):
        raise ValueError(f"a strip or tile decoded to {decoded.shape}, not {tile.shape}")
    return decoded


def _behind_one_directory(path: Path, sections: list[Section], declared: int) -> list[Section]:
    """The stack that one directory declares and that follows it uncompressed in one piece.

    ImageJ writes stacks over 4 GiB this way.
    """
    first = sections[0]
    if isinstance(first, MappedSection) and len(sections) == 1:
        step = first.size[0] * first.size[1] * first.stored.itemsize
        if first.offset + declared * step <= path.stat().st_size:
            return list(_following(first, step, declared))
    raise DcanError(
        f"{path} declares {declared} sections and holds {len(sections)}: the file is truncated or "
        "was cut with its description kept, give a whole stack"
    )


def _following(first: MappedSection, step: int, count: int) -> Iterator[Section]:
    for z in range(count):
        yield MappedSection(first.path, first.size, first.stored, first.offset + z * step)
