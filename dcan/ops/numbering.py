"""Names replaced by the numbers 1..n, in the same order."""

from __future__ import annotations

import numpy as np

from dcan.ops.stitching import Names


def ranks(names: Names, wanted: Names, before: int = 0) -> Names:
    """The number of each of `wanted`: 1 + `before` + its place in `names`; 0 stays 0.

    `names`: uint64, sorted, each once; `before`: how many names of the volume are less than
    all of them. uint64, the shape of `wanted`. Raises ValueError for one that `names` lacks.

    >>> ranks(np.array([4, 9, 70], np.uint64), np.array([70, 0, 4], np.uint64), 10).tolist()
    [13, 0, 11]
    """
    places = np.searchsorted(names, wanted)
    absent = (np.append(names, np.uint64(0))[places] != wanted) & (wanted > 0)
    if absent.any():
        raise ValueError(f"segment {wanted[absent][0]} is in no table of segments")
    numbers = (places + (1 + before)).astype(np.uint64)
    return np.where(wanted > 0, numbers, np.uint64(0))
