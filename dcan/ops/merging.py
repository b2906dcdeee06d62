"""Basins of a whole section from the tables of its blocks, joined up to a depth."""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from numba import njit

from dcan.ops.frames import Levels, Mask, Numbers, Pixels
from dcan.ops.saddles import least_saddles
from dcan.ops.watershed import Flood

Value = TypeVar("Value", np.uint16, np.uint64)
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """The region of every minimum and every rim pixel of a section.

    `keys`: uint64, sorted, each once; `names`: uint64, the deepest minimum of the region
    that holds the key, the lower index on ties.
    """

    keys: Pixels
    names: Pixels

    @property
    def count(self) -> int:
        """How many regions of a whole section there are: each holds the minimum that names it."""
        return int(np.count_nonzero(self.keys == self.names))

    def of(self, keys: Pixels) -> Pixels:
        """The names of `keys`, in their order. Raises ValueError for one that is unknown."""
        place, known = _find(self.keys, keys)
        if not known.all():
            raise ValueError(
                f"pixel {keys[~known][0]} is in no table: a block of the section is missing"
            )
        return self.names[place]

    def select(self, keys: Pixels) -> Regions:
        """The table of `keys` only (sorted, each once); Raises as `of` does."""
        return Regions(keys, self.of(keys))


def merge(floods: Sequence[Flood], depth: int) -> Regions:
    """The regions of a section from the tables of all its blocks, in any order.

    `depth`: in levels, see `depth_levels`. The saddles are gone through in the order of
    (saddle, a, b); two components are joined when the saddle lies less than `depth` above
    the shallower of their minima, and keep the deeper minimum, the lower index on ties.
    Depth 0 joins nothing. Memory: the basins of one section. Raises ValueError when a
    block is missing.

    Source: depth d leaves as many regions as the h-minima filter with h = d - 1 has minima.
    """
    minima, levels = _sorted(
        np.concatenate([block.minima for block in floods]),
        np.concatenate([block.depths for block in floods]),
    )
    rim, ends = _sorted(
        np.concatenate([block.rim for block in floods]),
        np.concatenate([block.ends for block in floods]),
    )
    exits = _exits(minima, rim, ends)
    basins = [_basins(block.terminals, minima, rim, exits) for block in floods]
    each = list(zip(basins, floods, strict=True))
    a = np.concatenate([np.repeat(basin, block.pairs) for basin, block in each])
    b = np.concatenate([basin[block.others] for basin, block in each])
    saddles = np.concatenate([block.saddles for block in floods])
    low, high, saddles = least_saddles(np.minimum(a, b), np.maximum(a, b), saddles, len(minima))
    order = np.argsort(saddles, kind="stable")
    deepest = minima[_join(low[order], high[order], saddles[order], levels, depth)]
    keys, first = np.unique(np.concatenate([minima, rim]), return_index=True)
    return Regions(keys, np.concatenate([deepest, deepest[exits]])[first])


def _sorted(pixels: Pixels, values: npt.NDArray[Value]) -> tuple[Pixels, npt.NDArray[Value]]:
    order = np.argsort(pixels)
    return pixels[order], values[order]


def _find(table: Pixels, pixels: Pixels) -> tuple[Indices, Mask]:
    """Place of each pixel in a sorted table, and whether it is there at all."""
    if len(table) == 0:
        return np.zeros(len(pixels), np.int64), np.zeros(len(pixels), np.bool_)
    place = np.minimum(np.searchsorted(table, pixels), len(table) - 1)
    return place, table[place] == pixels


def _exits(minima: Pixels, rim: Pixels, ends: Pixels) -> Indices:
    """Index of the minimum that each rim pixel ends at, by pointer jumping.

    A path descends from block to block; each round doubles the part of it that is known, so
    the longest possible one is known after log2 of their number. Raises ValueError for tables
    that lead nowhere: a block is missing, or they are not of one map.
    """
    basin, is_minimum = _find(minima, ends)
    onward, is_rim = _find(rim, ends)
    if not (is_minimum | is_rim).all():
        pixel = ends[~(is_minimum | is_rim)][0]
        raise ValueError(f"pixel {pixel} is in no table: a block of the section is missing")
    onward[is_minimum] = np.flatnonzero(is_minimum)
    for _ in range(len(rim).bit_length() + 1):
        if is_minimum[onward].all():
            return basin[onward]
        onward = onward[onward]
    raise ValueError("rim tables lead in a circle: they are not of one map")


def _basins(pixels: Pixels, minima: Pixels, rim: Pixels, exits: Indices) -> Numbers:
    """Index of the minimum that each terminal ends at."""
    basin, is_minimum = _find(minima, pixels)
    place, is_rim = _find(rim, pixels[~is_minimum])
    if not is_rim.all():
        pixel = pixels[~is_minimum][~is_rim][0]
        raise ValueError(f"pixel {pixel} is in no table: a block of the section is missing")
    basin[~is_minimum] = exits[place]
    return basin.astype(np.int32)


@njit(cache=True, nogil=True)
def _join(low: Numbers, high: Numbers, saddles: Levels, levels: Levels, depth: int) -> Numbers:
    """Index of the deepest minimum of each basin's component; saddles in their order."""
    parent = np.arange(len(levels)).astype(np.int32)
    for i in range(len(low)):
        a, b = _root(parent, low[i]), _root(parent, high[i])
        # the root is the component's deepest minimum, so its level is the component's
        if levels[a] > levels[b] or (levels[a] == levels[b] and a > b):
            a, b = b, a
        if a != b and np.int64(saddles[i]) - np.int64(levels[b]) < depth:
            parent[b] = a
    for k in range(len(parent)):
        parent[k] = _root(parent, k)
    return parent


@njit(cache=True, nogil=True)
def _root(parent: Numbers, k: int) -> int:
    while parent[k] != k:
        parent[k] = parent[parent[k]]
        k = parent[k]
    return k
