"""Warping mistakes as colours: in the report's pictures, and in files for viewers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dcan.ops.definitions import MISTAKES

SPLIT_COLOUR = (86, 180, 233)
MERGE_COLOUR = (230, 60, 0)
MISTAKE_COLOURS = {
    "split": SPLIT_COLOUR,
    "merge": MERGE_COLOUR,
    "hole_addition": (0, 190, 140),
    "hole_deletion": (240, 228, 66),
    "object_addition": (230, 130, 190),
    "object_deletion": (255, 170, 0),
}
"""Of each key of `MISTAKES`, whose place, from 1 on, is its value in a map of mistakes."""

MARK = 5
"""Pixels of the square in a picture that marks a mistake: a single one could not be seen."""


def marks(mistakes: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Mistakes in a picture of `size` rows and columns, each a square of `MARK` pixels.

    Both uint8, values as of `warping.mistakes`. Where several meet, the lowest value is shown:
    splits before mergers, and these before the rest.
    """
    rows, columns = np.nonzero(mistakes)
    (height, width), (full_height, full_width) = size, mistakes.shape
    picture = np.full(size, 255, np.uint8)
    places = rows * height // full_height, columns * width // full_width
    np.minimum.at(picture, places, mistakes[rows, columns])
    marked = ndimage.minimum_filter(picture, MARK, mode="constant", cval=255)
    return np.where(marked == 255, np.uint8(0), marked)


def mistake_palette() -> NDArray[np.uint8]:
    """Red, green, blue and opacity of each value of a map of mistakes: uint8, (256, 4)."""
    palette = np.zeros((256, 4), np.uint8)
    for value, kind in enumerate(MISTAKES, start=1):
        palette[value] = (*MISTAKE_COLOURS[kind], 255)
    return palette
