"""PNG sections: grey, 8 or 16 bits, decoded whole (PNG has no parts)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcan.errors import DcanError
from dcan.geometry import Box
from dcan.storage.sources.spec import check_piece, reading
from dcan.storage.sources.stacks import Pieces

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY = 0
COLOURS = {2: "RGB", 3: "a palette", 4: "grey and alpha", 6: "RGB and alpha"}


@dataclass(frozen=True, slots=True)
class PngSection:
    """One PNG file. See `Section`."""

    path: Path
    size: tuple[int, int]
    dtype: np.dtype[Any]

    @property
    def piece(self) -> tuple[int, int]:
        """See `Section.piece`."""
        return self.size

    def copy(self, window: Box, out: NDArray[Any], pieces: Pieces) -> None:
        """See `Section.copy`."""
        out[...] = pieces.fetch(self, self._decode)[window.slices]

    def _decode(self) -> NDArray[Any]:
        import imagecodecs

        image: NDArray[Any] = imagecodecs.png_decode(self.path.read_bytes())
        if image.shape != self.size or image.dtype != self.dtype:
            raise ValueError(f"decoded to {image.shape} {image.dtype}, declared {self.size}")
        return image[np.newaxis]


def png_section(path: Path) -> PngSection:
    """The section of a PNG file, from its header alone (PNG specification, 11.2.1).

    Raises DcanError for colour, alpha, palettes, fewer than 8 bits, and sizes that the file
    cannot hold.
    """
    with reading(str(path)), path.open("rb") as file:
        header = file.read(26)
        if header[:8] != SIGNATURE or header[12:16] != b"IHDR":
            raise ValueError("not a PNG file")
        columns, rows, bits, colour = struct.unpack(">IIBB", header[16:])
    if colour != GREY:
        raise DcanError(
            f"{path} holds {COLOURS.get(colour, f'colour type {colour}')}: give one grey channel"
        )
    if bits not in (8, 16):
        raise DcanError(f"{path} has {bits} bits a pixel: convert it to 8 or 16")
    check_piece(str(path), rows * columns * bits // 8, path.stat().st_size)
    return PngSection(path, (rows, columns), np.dtype(f"u{bits // 8}"))
