"""Where a block lies in its sections, and how the pixels of a section are counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from dcan.geometry import Box, Triple

Pixels = npt.NDArray[np.uint64]
"""Pixels of a section by their index y * width + x; also the names made from them."""
Levels = npt.NDArray[np.uint16]
"""Smoothed membrane, 256 levels for each 1/255: 0..65280."""
Membrane = npt.NDArray[np.uint8]
"""Probability of membrane, 0..255."""
Labels = npt.NDArray[np.uint32]
"""Segments of one block and section, 1..n; 0 is no segment."""
Numbers = npt.NDArray[np.int32]
"""Basins or regions counted 0, 1, ... in the order of their names."""
Mask = npt.NDArray[np.bool_]
Integer = TypeVar("Integer", bound=np.integer)
Core = tuple[int, int, int, int]
"""First and end row, first and end column."""


def distinct(values: npt.NDArray[Integer]) -> npt.NDArray[Integer]:
    """Each of the integers `values` once, sorted; one axis.

    By sorting: NumPy's unique hashes one integer after the other, holding the interpreter's
    lock, and takes 19 times as long for 4 million of them.

    >>> distinct(np.array([7, 3, 7, 0])).tolist()
    [0, 3, 7]
    """
    ordered = np.sort(values)
    first = np.ones(len(ordered), np.bool_)
    first[1:] = ordered[1:] != ordered[:-1]
    found: npt.NDArray[Integer] = ordered[first]
    return found


@dataclass(frozen=True, slots=True)
class Frame:
    """The core and the window of a block, the same in each of its sections.

        +----------+
        |   ring   |     core    the pixels that the block writes
        |  +----+  |     ring    pixels outside the core, 4-adjacent to it
        |  |core|  |     rim     pixels of the core, 4-adjacent to the ring
        |  +----+  |     window  the core grown by one pixel
        +----------+             all of them inside the section

    A ring pixel is a rim pixel of the block that owns it. The z of `core` plays no part.
    Raises ValueError when the core is empty or leaves the volume.
    """

    core: Box
    shape: Triple

    def __post_init__(self) -> None:
        if self.core.size == 0 or not Box.whole(self.shape).contains(self.core):
            raise ValueError(f"core {self.core.key} is empty or leaves {self.shape}")

    @classmethod
    def whole(cls, height: int, width: int) -> Frame:
        """The frame of a section in one piece: no ring, no rim."""
        return cls(Box.whole((1, height, width)), (1, height, width))

    @property
    def width(self) -> int:
        """Pixels in a row of the section."""
        return self.shape[2]

    @property
    def window(self) -> Box:
        """The box of the volume in which `levels` must be exact."""
        return self.core.grow((0, 1, 1)).intersect(Box.whole(self.shape))

    @property
    def sides(self) -> tuple[bool, bool, bool, bool]:
        """Whether the section goes on to the north, south, west and east of the core."""
        (_, y0, x0), (_, y1, x1) = self.core.start, self.core.stop
        return y0 > 0, y1 < self.shape[1], x0 > 0, x1 < self.shape[2]

    def lines(self, depth: int) -> Pixels:
        """Pixels, sorted, `depth` outside the core's open sides: the ring is 1, the rim 0."""
        (_, y0, x0), (_, y1, x1) = self.core.start, self.core.stop
        ys = np.arange(y0, y1, dtype=np.uint64) * np.uint64(self.width)
        xs = np.arange(x0, x1, dtype=np.uint64)
        north, south, west, east = self.sides
        none = np.empty(0, np.uint64)
        return distinct(
            np.concatenate(
                [
                    xs + np.uint64((y0 - depth) * self.width) if north else none,
                    xs + np.uint64((y1 - 1 + depth) * self.width) if south else none,
                    ys + np.uint64(x0 - depth) if west else none,
                    ys + np.uint64(x1 - 1 + depth) if east else none,
                ]
            )
        )

    @property
    def ring(self) -> Pixels:
        """The ring's pixels, sorted."""
        return self.lines(1)

    @property
    def rim(self) -> Pixels:
        """The rim's pixels, sorted."""
        return self.lines(0)

    def check(self, array: npt.NDArray[np.generic], box: Box, what: str) -> None:
        """Raise ValueError unless `array` has the height and width of `box`."""
        if array.shape != box.shape[1:]:
            raise ValueError(f"{what} has shape {array.shape}, its frame wants {box.shape[1:]}")
