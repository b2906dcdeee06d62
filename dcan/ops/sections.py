"""A whole section in memory, by the functions that the blocks use: the reference for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dcan.ops.frames import Frame, Levels, Mask, Membrane, Pixels
from dcan.ops.fusion import contour, inside_table, label, region_image
from dcan.ops.growth import grow
from dcan.ops.merging import merge
from dcan.ops.smoothing import depth_levels, smooth
from dcan.ops.stitching import BlockSegments, Names, Segments, stitch
from dcan.ops.watershed import descend, tables


@dataclass(frozen=True, slots=True)
class Fusion:
    """The parameters of watershed fusion.

    `sigma`: pixels, 0..32. `depth`: units of 1/255, one decimal, 0..255. `w_f`, `t`:
    thousandths, 0..1000. `min_size`: pixels of the smallest segment that is kept.
    """

    sigma: float
    depth: float
    w_f: int
    t: int
    min_size: int


@dataclass(frozen=True, slots=True, eq=False)
class SegmentedSection:
    """A section and what was made of it on the way; arrays (y, x).

    `levels`: uint16. `regions`: uint64, index of each region's deepest minimum. `contour`,
    `inside`: bool. `labels`: uint64, 1 + first pixel of each segment, 0 none.
    """

    levels: Levels
    regions: Pixels
    contour: Mask
    inside: Mask
    labels: Names
    segments: Segments


def segment(membrane: Membrane, fusion: Fusion, tissue: Mask | None = None) -> SegmentedSection:
    """Watershed fusion of one section: `membrane` uint8 (y, x), 255 = membrane.

    `tissue`: bool (y, x), where segments may be; None: everywhere. The membrane is taken as it
    is: 255 where there is no tissue is for the caller to see to.

    Raises DcanError for a parameter out of its range.
    """
    frame = Frame.whole(*membrane.shape)
    levels = smooth(membrane, fusion.sigma)
    descent = descend(levels, frame)
    regions = merge([tables(descent)], depth_levels(fusion.depth))
    inside = inside_table(fusion.w_f, fusion.t)
    fused = label(contour(descent, regions), membrane, frame, inside, tissue)
    (names,), segments = stitch([BlockSegments.of(fused, frame)], fusion.min_size, 0)
    return SegmentedSection(
        levels=levels,
        regions=region_image(descent, regions),
        contour=fused.contour,
        inside=fused.inside,
        labels=names[fused.labels],
        segments=segments,
    )


def grown(section: SegmentedSection, tissue: Mask | None = None) -> Names:
    """The labels of a section, grown: uint64 (y, x); see `dcan.ops.growth`."""
    whole = Frame.whole(*section.labels.shape)
    return grow(section.levels, section.labels, whole, np.empty(0, np.uint64), tissue)
