"""The only words for "where": boxes, grids and blocks, all in voxels, axes (z, y, x)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import cast

Triple = tuple[int, int, int]


@dataclass(frozen=True, slots=True, order=True)
class Box:
    """A half-open box: voxels v with start <= v < stop on each axis (z, y, x)."""

    start: Triple
    stop: Triple

    @classmethod
    def whole(cls, shape: Triple) -> Box:
        """The box of all voxels of a volume of this shape."""
        return cls((0, 0, 0), shape)

    @property
    def shape(self) -> Triple:
        """Voxels along each axis; 0 where the box is empty."""
        return cast(
            Triple, tuple(max(0, b - a) for a, b in zip(self.start, self.stop, strict=True))
        )

    @property
    def size(self) -> int:
        """Number of voxels."""
        return prod(self.shape)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """For indexing an array of the whole volume.

        Raises ValueError for a box that begins before it: an array would count from its end.
        """
        (z, y, x), (d, h, w) = self.start, self.stop
        if min(self.start) < 0:
            raise ValueError(f"box {self.key} begins before the array that it is to index")
        return slice(z, d), slice(y, h), slice(x, w)

    def intersect(self, other: Box) -> Box:
        """The voxels in both; of size 0 when there are none."""
        start = tuple(max(a, b) for a, b in zip(self.start, other.start, strict=True))
        stop = tuple(min(a, b) for a, b in zip(self.stop, other.stop, strict=True))
        return Box(cast(Triple, start), cast(Triple, stop))

    def grow(self, halo: Triple) -> Box:
        """This box with `halo` voxels more on both sides of each axis; may leave the volume."""
        start = tuple(a - h for a, h in zip(self.start, halo, strict=True))
        stop = tuple(b + h for b, h in zip(self.stop, halo, strict=True))
        return Box(cast(Triple, start), cast(Triple, stop))

    def section(self, z: int) -> Box:
        """The part of this box in section z, which it holds or, beyond its faces, would hold.

        >>> Box((0, 4, 8), (2, 6, 9)).section(1).key
        '1:2,4:6,8:9'
        """
        (_, y0, x0), (_, y1, x1) = self.start, self.stop
        return Box((z, y0, x0), (z + 1, y1, x1))

    def within(self, outer: Box) -> tuple[slice, slice, slice]:
        """For indexing an array that holds the voxels of `outer`; raises ValueError as `slices`."""
        return Box(
            cast(Triple, tuple(a - o for a, o in zip(self.start, outer.start, strict=True))),
            cast(Triple, tuple(b - o for b, o in zip(self.stop, outer.start, strict=True))),
        ).slices

    def contains(self, other: Box) -> bool:
        """Whether every voxel of `other` lies in this box; so it is where `other` is empty."""
        return other.size == 0 or self.intersect(other) == other

    @property
    def key(self) -> str:
        """Text that names the box: `z0:z1,y0:y1,x0:x1`."""
        return ",".join(f"{a}:{b}" for a, b in zip(self.start, self.stop, strict=True))

    @classmethod
    def parse(cls, key: str) -> Box:
        """The box that `key` names.

        >>> Box.parse("0:8,64:128,0:64").shape
        (8, 64, 64)
        """
        pairs = [part.split(":") for part in key.split(",")]
        return cls(
            cast(Triple, tuple(int(a) for a, _ in pairs)),
            cast(Triple, tuple(int(b) for _, b in pairs)),
        )


@dataclass(frozen=True, slots=True)
class Grid:
    """A volume cut into boxes of `step` voxels from the origin; the last ones are ragged.

    The boxes are disjoint, cover the volume, and are counted in raster order, x fastest.
    """

    shape: Triple
    step: Triple

    @property
    def counts(self) -> Triple:
        """Number of boxes along each axis."""
        return cast(Triple, tuple(-(-n // s) for n, s in zip(self.shape, self.step, strict=True)))

    def __len__(self) -> int:
        return prod(self.counts)

    def at(self, position: Triple) -> Box:
        """The box at grid position (z, y, x)."""
        start = tuple(p * s for p, s in zip(position, self.step, strict=True))
        stop = tuple(min(a + s, n) for a, s, n in zip(start, self.step, self.shape, strict=True))
        return Box(cast(Triple, start), cast(Triple, stop))

    def __iter__(self) -> Iterator[Box]:
        for position in product(*(range(n) for n in self.counts)):
            yield self.at(cast(Triple, position))

    def touching(self, box: Box) -> Iterator[Box]:
        """The boxes that share a voxel with `box`, in raster order."""
        box = box.intersect(Box.whole(self.shape))
        if box.size == 0:
            return
        ranges = (
            range(a // s, -(-b // s))
            for a, b, s in zip(box.start, box.stop, self.step, strict=True)
        )
        for position in product(*ranges):
            yield self.at(cast(Triple, position))


@dataclass(frozen=True, slots=True)
class Block:
    """One unit of work and of resume.

        |<------- read ------->|
        | halo |  write | halo |

    Write boxes of a grid are disjoint and cover the volume; read boxes overlap and end at
    the volume's faces.
    """

    write: Box
    read: Box

    @classmethod
    def of(cls, write: Box, halo: Triple, shape: Triple) -> Block:
        """The block that writes `write` and reads `halo` voxels around it inside the volume."""
        return cls(write, write.grow(halo).intersect(Box.whole(shape)))


def share(count: int, part: int, parts: int) -> range:
    """The indices of part `part` of `parts` when `count` things are dealt out consecutively.

    Parts differ by at most one; when there are fewer things than parts some are empty.

    >>> [list(share(5, part, 3)) for part in range(3)]
    [[0], [1, 2], [3, 4]]
    """
    return range(count * part // parts, count * (part + 1) // parts)
