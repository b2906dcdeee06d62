"""Names replaced: by the numbers 1..n in the same order, or by other names."""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np
from numba import njit

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


def rename(labels: Names, names: Names, others: Names) -> None:
    """Replace each of `names` by that of `others`, in place; 0 stays 0.

    `labels`: uint64 (y, x). `names`: uint64 (n,), sorted, each once; `others`: uint64 (n,).
    Raises ValueError for a label that `names` lacks; `labels` is then of no use.
    """
    unknown: int = _rename(labels, names, others)
    if unknown >= 0:
        raise ValueError(f"segment {labels.flat[unknown]} is in no table of segments")


@njit(cache=True, nogil=True)
def _rename(labels: Names, names: Names, others: Names) -> int:
    """Place of the first label that `names` lacks, or -1; mostly a label is the one before it."""
    known, other = np.uint64(0), np.uint64(0)
    for y in range(labels.shape[0]):
        row = labels[y]
        for x in range(len(row)):
            if row[x] != known:
                place = np.searchsorted(names, row[x]) if row[x] else 0
                if row[x] and (place == len(names) or names[place] != row[x]):
                    return int(y * labels.shape[1] + x)
                known = row[x]
                other = others[place] if known else np.uint64(0)
            row[x] = other
    return -1
