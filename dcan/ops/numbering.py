"""Names replaced: by the numbers 1..n in the same order, or by other names."""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np
from numba import njit

from dcan.ops.frames import Labels
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


def named_columns(labels: Labels, ids: Names, width: int) -> Names:
    """The ids of local labels in columns of `width` pixels, one after the other.

    `labels`: uint32 (y, x). `ids`: uint64 (n,), of label k at k; n > 0. uint64 (columns, y,
    width); where the last column leaves `labels` it is 0. Raises ValueError for a label >= n.

    >>> named_columns(np.array([[1, 0, 1]], np.uint32), np.array([0, 7], np.uint64), 2).tolist()
    [[[7, 0]], [[7, 0]]]
    """
    columns = np.empty((-(-labels.shape[1] // width), labels.shape[0], width), np.uint64)
    greatest: int = _named_columns(labels, ids, columns)
    if greatest >= len(ids):
        raise ValueError(f"label {greatest} has no id: there are {len(ids)}")
    return columns


def rename(labels: Names, names: Names, others: Names) -> None:
    """Replace each of `names` by that of `others`, in place; 0 stays 0.

    `labels`: uint64 (y, x). `names`: uint64 (n,), sorted, each once; `others`: uint64 (n,).
    Raises ValueError for a label that `names` lacks; `labels` is then of no use.
    """
    unknown: int = _rename(labels, names, others)
    if unknown >= 0:
        raise ValueError(f"segment {labels.flat[unknown]} is in no table of segments")


@njit(cache=True, nogil=True)
def _named_columns(labels: Labels, ids: Names, columns: Names) -> int:
    """Fills `columns`; returns the greatest label."""
    # row by row through all columns: memory gives a long row sooner than many short ones
    width = columns.shape[2]
    greatest, last = np.uint32(0), np.uint32(len(ids) - 1)
    for y in range(labels.shape[0]):
        for k in range(len(columns)):
            row, named = labels[y, k * width : (k + 1) * width], columns[k, y]
            for x in range(len(row)):
                greatest = max(greatest, row[x])
                named[x] = ids[min(row[x], last)]
            named[len(row) :] = 0
    return int(greatest)


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
