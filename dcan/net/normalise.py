"""Intensities of a section to the network's units, by a table made from its histogram."""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from dcan.errors import DcanError


def section_table(histogram: NDArray[np.integer]) -> NDArray[np.float32]:
    """The normalised value of each intensity: mean 0 and deviation 1 over the section.

    `histogram`: pixel counts of a section by intensity, (256,) for uint8 or (65536,) for
    uint16, of its tissue only. Returns float32 of the same length, to be indexed with raw
    intensities. A section of one intensity gives zeros. The sums are exact integers, so the
    table does not depend on how the histogram was gathered.

    Raises DcanError: no pixel was counted.
    """
    values = np.flatnonzero(histogram)
    counts = [int(count) for count in histogram[values]]
    # Python's integers: 2^31 pixels of uint16 pass 64 bits when squared and summed.
    pixels = sum(counts)
    total = sum(int(v) * c for v, c in zip(values, counts, strict=True))
    squares = sum(int(v) ** 2 * c for v, c in zip(values, counts, strict=True))
    if pixels == 0:
        raise DcanError("a section's histogram is empty: declare the section in volume.missing")
    spread = pixels * squares - total**2  # pixels^2 times the variance
    if spread == 0:
        return np.zeros(len(histogram), np.float32)
    exact = np.arange(len(histogram), dtype=np.float64) * pixels - total
    return (exact / sqrt(spread)).astype(np.float32)


def as_wanted(table: NDArray[np.float32], normalisation: str) -> NDArray[np.float32]:
    """What a network is shown for each intensity, in the place of a section's `table`.

    `table`: as of `section_table`, float32 of 256 or 65536 values. `normalisation`:
    `section-mean-deviation` is the table itself; `zero-one` the intensity over the greatest of
    its dtype; `none` the intensity. Returns float32 of the same length.
    """
    if normalisation == "section-mean-deviation":
        return table
    raw = np.arange(len(table), dtype=np.float32)
    return raw if normalisation == "none" else raw / np.float32(len(table) - 1)


def histogram(section: NDArray[np.unsignedinteger]) -> NDArray[np.int64]:
    """Pixel counts by intensity, (256,) for uint8 and (65536,) for uint16.

    Raises DcanError: another dtype.
    """
    if section.dtype not in (np.uint8, np.uint16):
        raise DcanError(f"a section has dtype {section.dtype}: give uint8 or uint16")
    bins = 1 << (8 * section.dtype.itemsize)
    return np.bincount(section.ravel(), minlength=bins).astype(np.int64)
