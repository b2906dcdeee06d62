"""The watershed of one block of a section: descent to minima, and tables of what it found.

The pixels of a section stand in one total order, (level, index): no plateaus, no ties, no
queue, and nothing that depends on how the section was cut. Source: Meyer 1994 (topographic
distance), Cousty et al. 2009 (watershed cuts by steepest descent).
"""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from dcan.ops.frames import Core, Frame, Levels, Mask, Numbers, Pixels
from dcan.ops.saddles import touching_saddles

LARGEST = 2**31 - 2
"""Pixels of a window and those around it: an int32 holds them and two marks."""
UP, LEFT, SELF, RIGHT, DOWN = range(5)
"""Where a pixel points, in the order of the neighbours' indices."""
OUTSIDE = 65535
"""Level of what lies outside the window: greater than every level of a pixel."""


@dataclass(frozen=True, slots=True, eq=False)
class Descent:
    """Where the descent from each pixel of a block ends inside the block's window.

    A terminal is a minimum of the core or a ring pixel. `terminals`: uint64, sorted.
    `levels` (uint16) and `basins` (int32, index of the terminal) cover the window grown by
    one pixel on every side; out there, and at the window's corners outside the core,
    `basins` is -1. `minimum`: bool, for each terminal.
    """

    frame: Frame
    levels: Levels
    basins: Numbers
    terminals: Pixels
    minimum: Mask

    @property
    def core(self) -> Core:
        """First and end row, first and end column of the core in `levels` and `basins`."""
        return core_of(self.frame)


@dataclass(frozen=True, slots=True, eq=False)
class Flood:
    """What the other blocks of a section must know of one block.

    `terminals`: its minima and its ring pixels, uint64 sorted; `minimum`: bool, which are
    minima; `depths`: the levels of these, uint16. `rim`: its rim pixels, uint64 sorted;
    `ends`: the terminal of each. Pairs of terminals whose basins touch, each once, sorted:
    `pairs`, int32, how many begin with each terminal, the lower of the two; `others`, int32,
    the index of the higher one of each pair; `saddles`: uint16, the least max(level, level)
    over their 4-adjacent pixels. A pair of pixels belongs to the block of its upper or left
    one.
    """

    terminals: Pixels
    minimum: Mask
    depths: Levels
    rim: Pixels
    ends: Pixels
    pairs: Numbers
    others: Numbers
    saddles: Levels

    @property
    def minima(self) -> Pixels:
        """The block's minima, sorted."""
        return self.terminals[self.minimum]

    @property
    def a(self) -> Pixels:
        """The lower terminal of each pair."""
        return np.repeat(self.terminals, self.pairs)

    @property
    def b(self) -> Pixels:
        """The higher terminal of each pair."""
        return self.terminals[self.others]


def flood(levels: Levels, frame: Frame) -> Flood:
    """The tables of one block: `levels` uint16 (y, x), 0..65280, exact on `frame.window`.

    Raises ValueError for another shape, a level above the range, or a window of about
    2^31 pixels.
    """
    return tables(descend(levels, frame))


def descend(levels: Levels, frame: Frame) -> Descent:
    """Follow each pixel to its smallest 4-neighbour while that is smaller than itself.

    `levels` as in `flood`. Smaller is by (level, index), so the pixel further up, then
    further left, wins a tie. A path ends at a minimum or at the first ring pixel.
    """
    frame.check(levels, frame.window, "levels")
    if (levels.shape[0] + 2) * (levels.shape[1] + 2) > LARGEST:
        raise ValueError(f"a window of {levels.shape} is too large: cut the section into blocks")
    if int(levels.max(initial=0)) >= OUTSIDE:
        raise ValueError(f"a level of {OUTSIDE} is above the range of a smoothed map")
    padded = np.pad(levels, 1, constant_values=OUTSIDE)
    core = core_of(frame)
    basins, local = _descend(padded, core)
    y, x = np.divmod(local, padded.shape[1])
    minimum = (y >= core[0]) & (y < core[1]) & (x >= core[2]) & (x < core[3])
    _, y0, x0 = frame.window.start
    terminals = ((y + (y0 - 1)) * frame.width + (x + (x0 - 1))).astype(np.uint64)
    return Descent(frame, padded, basins, terminals, minimum)


def tables(descent: Descent) -> Flood:
    """The tables of a block whose descent is known."""
    frame, terminals, minimum = descent.frame, descent.terminals, descent.minimum
    low, high, level = touching_saddles(
        descent.levels, descent.basins, descent.core, len(terminals)
    )
    rim = frame.rim
    return Flood(
        terminals=terminals,
        minimum=minimum,
        depths=descent.levels[_window_index(terminals[minimum], frame)],
        rim=rim,
        ends=terminals[descent.basins[_window_index(rim, frame)]],
        pairs=np.bincount(low, minlength=len(terminals)).astype(np.int32),
        others=high,
        saddles=level,
    )


def core_of(frame: Frame) -> Core:
    """First and end row, first and end column of the core in its window grown by one pixel."""
    _, ys, xs = frame.core.within(frame.window)
    return ys.start + 1, ys.stop + 1, xs.start + 1, xs.stop + 1


def _window_index(
    pixels: Pixels, frame: Frame
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    _, y0, x0 = frame.window.start
    y, x = np.divmod(pixels.astype(np.int64), frame.width)
    return y - (y0 - 1), x - (x0 - 1)


@njit(cache=True, nogil=True)
def _descend(levels: Levels, core: Core) -> tuple[Numbers, npt.NDArray[np.int64]]:
    """Basins, and the flat index of each terminal; `levels` padded with OUTSIDE.

    Until the second pass a pixel whose terminal is not known yet holds -2 - j, where j is a
    pixel further along its path, and further in raster order.
    """
    height, width = levels.shape
    y0, y1, x0, x1 = core
    basins = np.full((height, width), -1, np.int32)
    known = basins.ravel()
    # no two minima are 4-adjacent
    bound = ((y1 - y0) * (x1 - x0) + 1) // 2 + 2 * (y1 - y0 + x1 - x0)
    terminals = np.empty(bound, np.int64)
    steepest = np.empty(width, np.uint8)
    count = 0
    for y in range(1, height - 1):
        row = y * width
        inside = y0 <= y < y1
        first, end = (1, width - 1) if inside else (x0, x1)
        if inside:
            _steepest(levels, y, steepest)
        else:
            steepest[:] = SELF  # the ring: its blocks know where it goes
        steepest[:x0], steepest[x1:] = SELF, SELF
        for x in range(first, end):
            if steepest[x] == SELF:
                known[row + x] = count
                terminals[count] = row + x
                count += 1
            else:
                known[row + x] = _onward(known, row + x, steepest[x], width)
    for y in range(y1 - 1, y0 - 1, -1):
        row = known[y * width : (y + 1) * width]
        for x in range(x1 - 1, x0 - 1, -1):
            if row[x] < -1:
                row[x] = known[-2 - row[x]]
    return basins, terminals[:count].copy()


@njit(cache=True, nogil=True)
def _onward(known: Numbers, i: int, direction: int, width: int) -> int:
    """Where the pixel that i points to ends, or -2 - j for a pixel j > i on its path."""
    if direction > SELF:
        return -2 - (i + (1 if direction == RIGHT else width))
    found: int = known[i - (width if direction == UP else 1)]
    while found < -1 and -2 - found < i:
        found = known[-2 - found]
    return found


@njit(cache=True, nogil=True)
def _steepest(levels: Levels, y: int, steepest: npt.NDArray[np.uint8]) -> None:
    """Which of the five is the smallest, for each x of row y."""
    above, row, below = levels[y - 1], levels[y], levels[y + 1]
    for x in range(1, len(row) - 1):
        # in the order of their indices, so that the first keeps a tie
        choice, least = np.uint8(UP), above[x]
        if row[x - 1] < least:
            choice, least = np.uint8(LEFT), row[x - 1]
        if row[x] < least:
            choice, least = np.uint8(SELF), row[x]
        if row[x + 1] < least:
            choice, least = np.uint8(RIGHT), row[x + 1]
        steepest[x] = np.uint8(DOWN) if below[x] < least else choice
