"""Contingency tables: how many voxels each object of truth shares with each proposed one."""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dcan.errors import DcanError
from dcan.geometry import Box, Triple

Labels = NDArray[np.integer] | NDArray[np.bool_]

_ONE = np.uint64(1)
_HALF = np.uint64(32)
_ODD_TRUTH = np.uint64(0x9E3779B97F4A7C15)
_ODD_PROPOSAL = np.uint64(0xC2B2AE3D27D4EB4F)


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The nonzero cells of a contingency table, sorted by (truth, proposal), each pair once.

    `truth` and `proposal` are uint64 labels, `count` int64 voxels > 0, `first` the int64 raster
    index of the cell's first voxel in what was counted; one dimension, equal lengths. Label 0
    is kept on both sides: what it means is for the score to say.
    """

    truth: NDArray[np.uint64]
    proposal: NDArray[np.uint64]
    count: NDArray[np.int64]
    first: NDArray[np.int64]

    def __len__(self) -> int:
        return self.count.size

    @property
    def voxels(self) -> int:
        """Voxels counted."""
        return int(self.count.sum())

    @property
    def foreground(self) -> Table:
        """The cells whose truth is not 0."""
        return self.cells(slice(int(np.searchsorted(self.truth, _ONE)), None))

    def cells(self, chosen: slice | NDArray[Any]) -> Table:
        """The cells that a slice, a mask or an index chooses, in its order."""
        return Table(
            self.truth[chosen], self.proposal[chosen], self.count[chosen], self.first[chosen]
        )

    def placed(self, box: Box, shape: Triple) -> Table:
        """The table of the voxels of `box`, with `first` in the volume of `shape` around it."""
        inside = np.unravel_index(self.first, box.shape)
        volume = [axis + start for axis, start in zip(inside, box.start, strict=True)]
        return replace(self, first=np.ravel_multi_index(volume, shape))


def count(truth: Labels, proposal: Labels) -> Table:
    """The contingency table of two label arrays.

    Both of one shape, any number of axes; bool or any integer type with values 0..2^64 - 1.

    Raises
    ------
    DcanError
        When the shapes differ, or a label is negative or no integer.
    """
    if truth.shape != proposal.shape:
        raise DcanError(
            f"truth has shape {truth.shape} and the proposal {proposal.shape}: a contingency "
            "table needs equal shapes; crop both to the same box"
        )
    keys, counts, first = _tally(_flat(truth, "truth"), _flat(proposal, "the proposal"))
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    return Table(keys[order, 0], keys[order, 1], counts[order], first[order])


def add(tables: Iterable[Table]) -> Table:
    """The table of all voxels counted in `tables`; of no cells when there are none.

    The tables of disjoint boxes that cover a volume, each `placed` in it, add up to the
    volume's own table, whatever their order. They are drawn one by one and merged as they
    come: what is held, each kept table more than twice the next one, stays below twice the
    sum and the table in hand, however many there are.
    """
    kept: list[Table] = []
    for table in tables:
        kept.append(table)
        while len(kept) > 1 and len(kept[-2]) <= 2 * len(kept[-1]):
            kept[-2:] = [_merged(kept[-2:])]
    return _merged(kept)


def _merged(tables: Sequence[Table]) -> Table:
    """One table, sorted, each pair once, of any number of them that need not be so."""
    whole = Table(
        np.concatenate([np.empty(0, np.uint64), *(table.truth for table in tables)]),
        np.concatenate([np.empty(0, np.uint64), *(table.proposal for table in tables)]),
        np.concatenate([np.empty(0, np.int64), *(table.count for table in tables)]),
        np.concatenate([np.empty(0, np.int64), *(table.first for table in tables)]),
    )
    cells = whole.cells(np.lexsort((whole.proposal, whole.truth)))
    new = np.ones(len(cells), bool)
    new[1:] = (np.diff(cells.truth) != 0) | (np.diff(cells.proposal) != 0)
    starts = np.flatnonzero(new)
    if starts.size == 0:
        return cells
    return replace(
        cells.cells(starts),
        count=np.add.reduceat(cells.count, starts),
        first=np.minimum.reduceat(cells.first, starts),
    )


def _flat(labels: Labels, whose: str) -> NDArray[np.unsignedinteger]:
    """The labels in raster order as native unsigned integers, without a copy where possible."""
    if labels.dtype.kind not in "bui":
        raise DcanError(
            f"labels of {whose} have type {labels.dtype}: only integers name objects; convert them"
        )
    native = np.ascontiguousarray(labels, labels.dtype.newbyteorder("=")).reshape(-1)
    if labels.dtype.kind == "i" and native.size and native.min() < 0:
        raise DcanError(
            f"label {native.min()} of {whose} is negative: labels run from 0; relabel first"
        )
    return native.view(f"u{labels.dtype.itemsize}")


@njit(cache=True, nogil=True)
def _tally(
    truth: NDArray[np.unsignedinteger], proposal: NDArray[np.unsignedinteger]
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
    """Distinct pairs, unsorted, their counts and the index where each is met first.

    Neighbours along x mostly share both labels, so the hash is asked once per run.
    """
    keys = np.empty((1024, 2), np.uint64)
    counts = np.zeros(1024, np.int64)
    first = np.empty(1024, np.int64)
    filled = 0
    start = 0
    while start < truth.size:
        stop = start + 1
        while (
            stop < truth.size and truth[stop] == truth[start] and proposal[stop] == proposal[start]
        ):
            stop += 1
        slot = _slot(np.uint64(truth[start]), np.uint64(proposal[start]), keys, counts)
        if counts[slot] == 0:
            keys[slot, 0], keys[slot, 1] = truth[start], proposal[start]
            first[slot] = start
            filled += 1
        counts[slot] += stop - start
        if 2 * filled > counts.size:
            keys, counts, first = _doubled(keys, counts, first)
        start = stop
    used = np.flatnonzero(counts)
    return keys[used], counts[used], first[used]


@njit(cache=True, nogil=True)
def _slot(
    truth: np.uint64, proposal: np.uint64, keys: NDArray[np.uint64], counts: NDArray[np.int64]
) -> np.uint64:
    """Where the pair is, or the free slot where it goes: open addressing, linear probing."""
    last = np.uint64(counts.size) - _ONE
    mixed = (truth * _ODD_TRUTH) ^ ((proposal + _ONE) * _ODD_PROPOSAL)
    mixed = (mixed ^ (mixed >> _HALF)) * _ODD_TRUTH
    slot = (mixed ^ (mixed >> _HALF)) & last
    while counts[slot] != 0 and (keys[slot, 0] != truth or keys[slot, 1] != proposal):
        slot = (slot + _ONE) & last
    return slot


@njit(cache=True, nogil=True)
def _doubled(
    keys: NDArray[np.uint64], counts: NDArray[np.int64], first: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
    more_keys = np.empty((2 * counts.size, 2), np.uint64)
    more_counts = np.zeros(2 * counts.size, np.int64)
    more_first = np.empty(2 * counts.size, np.int64)
    for old in np.flatnonzero(counts):
        new = _slot(keys[old, 0], keys[old, 1], more_keys, more_counts)
        more_keys[new] = keys[old]
        more_counts[new] = counts[old]
        more_first[new] = first[old]
    return more_keys, more_counts, more_first
