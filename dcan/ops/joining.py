"""Segments united into neurites by their links, under common names."""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from dcan.ops.linking import Candidates, Counts, Indices, places
from dcan.ops.stitching import Names

Sections = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Neurites:
    """The neurite of each segment, named by its least one, and how they came about.

    `pieces`: int64, how many segments each neurite has, in the order of their names.
    `mutual`, `branches`: links that were made; `refused`: branches that were not, because
    they would have united two neurites that run side by side.
    """

    names: Names
    pieces: Counts
    mutual: int
    branches: int
    refused: int


def join(
    names: Names, sections: npt.NDArray[np.integer], tables: Iterable[Candidates], beside: int
) -> Neurites:
    """Unite segments into neurites.

    `names`: uint64 (n,), sorted, each once; `sections`: (n,), where each lies, below 2^31;
    `tables`: the candidates of all pairs of sections, in any order. All mutual pairs are united.
    Then the branches are gone through by the pixels they share, most first, ties by (a, b): one
    is refused when the neurites it would unite, as they are by then, both reach through more
    than `beside` common sections, from the first to the last of each. Raises ValueError for
    a segment that `names` lacks.

    Memory: 24 bytes a segment beside what is given, and the branches; a table is taken when
    it is needed, and let go.
    """
    parent = np.arange(len(names))
    mutual = 0
    low, high = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    shared = [np.empty(0, np.int64)]
    for table in tables:
        a, b = places(names, table.a), places(names, table.b)
        _unite(parent, a[table.mutual], b[table.mutual])
        mutual += int(table.mutual.sum())
        low.append(a[~table.mutual])
        high.append(b[~table.mutual])
        shared.append(table.shared[~table.mutual])
    first, last = _reach(parent, sections.astype(np.int32, copy=False))
    a, b = np.concatenate(low), np.concatenate(high)
    order = np.lexsort((b, a, -np.concatenate(shared)))
    branches, refused = _join(parent, a[order], b[order], first, last, beside)
    del first, last
    return Neurites(names[parent], _pieces(parent), mutual, branches, refused)


@njit(cache=True, nogil=True)
def _root(parent: Indices, k: int) -> int:
    while parent[k] != k:
        parent[k] = parent[parent[k]]
        k = parent[k]
    return k


@njit(cache=True, nogil=True)
def _unite(parent: Indices, low: Indices, high: Indices) -> None:
    """Unite the pairs; the least of what is united is its root, so it names it."""
    for row in range(len(low)):
        a, b = _root(parent, low[row]), _root(parent, high[row])
        parent[max(a, b)] = min(a, b)


@njit(cache=True, nogil=True)
def _reach(parent: Indices, sections: Sections) -> tuple[Sections, Sections]:
    """The first and the last section of the neurite of each root."""
    first, last = sections.copy(), sections.copy()
    for k in range(len(parent)):
        root = _root(parent, k)
        first[root] = min(first[root], sections[k])
        last[root] = max(last[root], sections[k])
    return first, last


@njit(cache=True, nogil=True)
def _join(
    parent: Indices, low: Indices, high: Indices, first: Sections, last: Sections, beside: int
) -> tuple[int, int]:
    """Go through the branches; how many were made and refused. Leaves each its root for parent.

    Overwrites `first` and `last`.
    """
    made, refused = 0, 0
    for row in range(len(low)):
        a, b = _root(parent, low[row]), _root(parent, high[row])
        if a == b:
            continue
        if min(last[a], last[b]) - max(first[a], first[b]) + 1 > beside:
            refused += 1
            continue
        root, other = min(a, b), max(a, b)
        parent[other] = root
        first[root], last[root] = min(first[a], first[b]), max(last[a], last[b])
        made += 1
    for k in range(len(parent)):
        parent[k] = _root(parent, k)
    return made, refused


@njit(cache=True, nogil=True)
def _pieces(parent: Indices) -> Counts:
    """How many have each root for parent, of those that are roots, ascending."""
    number = np.empty(len(parent), np.int32)  # of a root among the roots
    count = 0
    for k in range(len(parent)):
        if parent[k] == k:
            number[k] = count
            count += 1
    pieces = np.zeros(count, np.int64)
    for k in range(len(parent)):
        pieces[number[parent[k]]] += 1
    return pieces
