"""Masks of tissue, as fine as the volume or coarser: each pixel of one is k x k of the volume's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dcan.geometry import Box, Triple


def factors(volume: Triple, mask: Triple) -> range:
    """Each k for which a mask of that shape covers the volume; empty where none does.

    Along y and x a mask has ceil(n / k) pixels for the volume's n, along z as many sections. A
    single pixel along y and x covers everything: the least k stands for all then.

    >>> factors((3, 2048, 1000), (3, 128, 63)), factors((3, 100, 100), (3, 7, 7))
    (range(16, 17), range(15, 17))
    >>> list(factors((3, 64, 64), (3, 32, 64)))
    []
    """
    sides = list(zip(volume[1:], mask[1:], strict=True))
    least = max(-(-n // m) for n, m in sides)
    most = min([(n - 1) // (m - 1) for n, m in sides if m > 1], default=least)
    return range(least, most + 1 if volume[0] == mask[0] else least)


def under(box: Box, k: int) -> Box:
    """The pixels of a mask that lie over a box of the volume, which is not empty.

    >>> under(Box((2, 5, 8), (3, 9, 12)), 4).key
    '2:3,1:3,2:3'
    """
    (z, y, x), (d, h, w) = box.start, box.stop
    return Box((z, y // k, x // k), (d, -(-h // k), -(-w // k)))


def spread(mask: npt.NDArray[np.generic], box: Box, k: int) -> npt.NDArray[np.bool_]:
    """Where a box of the volume has tissue: bool, of the box's shape.

    `mask`: bool or integers, the pixels of `under(box, k)`; 0 is no tissue. Raises ValueError
    for another shape.
    """
    over = under(box, k)
    if mask.shape != over.shape:
        raise ValueError(f"a mask of {mask.shape} does not lie over box {box.key}: {over.shape}")
    rows, columns = (
        np.arange(start, stop) // k - first
        for start, stop, first in zip(box.start[1:], box.stop[1:], over.start[1:], strict=True)
    )
    tissue: npt.NDArray[np.bool_] = (mask != 0)[:, rows][:, :, columns]
    return tissue
