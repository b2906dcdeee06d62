"""The promise: any blocks in any order give what the section in one piece gives."""

from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dcan.geometry import Box, Grid
from dcan.ops.drift import coarse
from dcan.ops.frames import Frame
from dcan.ops.fusion import fuse, inside_table, region_image
from dcan.ops.linking import add, overlaps
from dcan.ops.masking import spread
from dcan.ops.merging import merge
from dcan.ops.sections import Fusion, segment
from dcan.ops.smoothing import depth_levels, reach, smooth
from dcan.ops.stitching import BlockSegments, stitch
from dcan.ops.watershed import descend, flood

DATA = Path(__file__).parents[3] / "shared" / "data" / "isbi2012"
SIDES = st.one_of(st.just(1), st.integers(1, 40))
SHAPES = st.tuples(SIDES, SIDES)


def spiral(height, width, turn):
    """A corridor that winds to the centre through many blocks, falling or rising."""
    image = np.full((height, width), 255, np.uint8)
    y, x, dy, dx, step = 0, 0, 0, 1, 0
    top, left, bottom, right = 0, 0, height - 1, width - 1
    while top <= y <= bottom and left <= x <= right:
        image[y, x] = (turn * step // 3) % 200
        step += 1
        if not (top <= y + dy <= bottom and left <= x + dx <= right):
            top, bottom = top + 2 * (dx > 0), bottom - 2 * (dx < 0)
            left, right = left + 2 * (dy < 0), right - 2 * (dy > 0)
            dy, dx = dx, -dy
        y, x = y + dy, x + dx
    return image


@st.composite
def membranes(draw):
    """Adversarial sections: no order but the index, much of it, or real-looking."""
    kind = draw(st.sampled_from(("noise", "constant", "checkers", "ramp", "spiral", "smooth")))
    shape = height, width = draw(SHAPES)
    if kind == "noise":
        top = draw(st.sampled_from((1, 3, 255)))
        return draw(arrays(np.uint8, shape, elements=st.integers(0, top)))
    if kind == "constant":
        return np.full(shape, draw(st.integers(0, 255)), np.uint8)
    ys, xs = np.mgrid[:height, :width]
    if kind == "checkers":
        size = draw(st.integers(1, 3))
        return np.where((ys // size + xs // size) % 2, 255, 0).astype(np.uint8)
    if kind == "ramp":
        return ((draw(st.integers(-3, 3)) * ys + draw(st.integers(-3, 3)) * xs) % 256).astype(
            np.uint8
        )
    if kind == "spiral":
        return spiral(height, width, draw(st.sampled_from((-1, 0, 1, 7))))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return (smooth(rng.integers(0, 256, shape, np.uint8), 1.5) // 64 % 256).astype(np.uint8)


FUSIONS = st.builds(
    Fusion,
    sigma=st.sampled_from((0.0, 0.5, 1.0, 2.0)),
    depth=st.sampled_from((0.0, 0.1, 1.0, 8.0, 100.0, 255.0)),
    w_f=st.sampled_from((0, 300, 700, 1000)),
    t=st.sampled_from((0, 300, 500, 1000)),
    min_size=st.sampled_from((0, 2, 9)),
)


def read(membrane, frame, sigma):
    """The levels of a block's window, from the pixels that the block may read."""
    margin = reach(sigma)
    around = frame.window.grow((0, margin, margin)).intersect(Box.whole(frame.shape))
    return smooth(membrane[around.slices[1:]], sigma)[frame.window.within(around)[1:]]


@st.composite
def masks(draw):
    """Where a section has tissue, given its membrane: None, all, or a part of any form."""
    kind = draw(st.sampled_from((None, "all", "frame", "holes", "stripes")))
    seed, k = draw(st.integers(0, 99)), draw(st.integers(1, 5))

    def made(shape):
        if kind is None:
            return None
        rng, tissue = np.random.default_rng(seed), np.ones(shape, bool)
        if kind == "frame":
            tissue[:k], tissue[-k:], tissue[:, :k], tissue[:, -k:] = (False,) * 4
        if kind == "stripes":
            tissue[:, k :: 2 * k] = False
        if kind == "holes":
            coarse_mask = rng.random((1, *(-(-n // k) for n in shape))) < 0.7
            tissue = spread(coarse_mask, Box.whole((1, *shape)), k)[0]
        return tissue

    return made


def blockwise(membrane, fusion, step, random, tissue=None):
    """Levels, regions, contour, inside, labels and segments of a section, block by block."""
    shape = (1, *membrane.shape)
    frames = [Frame(box, shape) for box in Grid(shape, (1, *step))]
    random.shuffle(frames)
    levels = [read(membrane, frame, fusion.sigma) for frame in frames]
    floods = [flood(part, frame) for part, frame in zip(levels, frames, strict=True)]
    regions = merge(floods, depth_levels(fusion.depth))
    inside = inside_table(fusion.w_f, fusion.t)
    images = [np.empty(membrane.shape, kind) for kind in ("u2", "u8", "?", "?", "u8")]
    blocks, fused = [], []
    for part, frame, block in zip(levels, frames, floods, strict=True):
        here = regions.select(block.terminals)
        core = membrane[frame.core.slices[1:]]
        there = None if tissue is None else tissue[frame.core.slices[1:]]
        fused.append(fuse(part, core, frame, here, inside, there))
        blocks.append(BlockSegments.of(fused[-1], frame))
        images[0][frame.core.slices[1:]] = part[frame.core.within(frame.window)[1:]]
        images[1][frame.core.slices[1:]] = region_image(descend(part, frame), here)
        images[2][frame.core.slices[1:]] = fused[-1].contour
        images[3][frame.core.slices[1:]] = fused[-1].inside
    names, segments = stitch(blocks, fusion.min_size, 0)
    for frame, part, name in zip(frames, fused, names, strict=True):
        images[4][frame.core.slices[1:]] = name[part.labels]
    return images, segments


def check(membrane, fusion, step, random, tissue=None):
    whole = segment(membrane, fusion, tissue)
    images, segments = blockwise(membrane, fusion, step, random, tissue)
    for name, image in zip(
        ("levels", "regions", "contour", "inside", "labels"), images, strict=True
    ):
        expected = getattr(whole, name)
        assert image.dtype == expected.dtype
        assert (image == expected).all(), name
    assert segments.names.tobytes() == whole.segments.names.tobytes()
    assert segments.sizes.tobytes() == whole.segments.sizes.tobytes()


STEPS = st.tuples(st.integers(1, 45), st.integers(1, 45))


@settings(max_examples=600)
@given(membranes(), masks(), FUSIONS, STEPS, st.randoms(use_true_random=False))
def test_blocks_give_the_whole_section(membrane, mask, fusion, step, random):
    step = tuple(max(s, n // 8) for s, n in zip(step, membrane.shape, strict=True))
    tissue = mask(membrane.shape)
    if tissue is not None:
        membrane = np.where(tissue, membrane, 255).astype(np.uint8)
    check(membrane, fusion, step, random, tissue)
    whole = segment(membrane, fusion, tissue)
    if tissue is None or tissue.all():
        assert (whole.labels == segment(membrane, fusion).labels).all()
    else:
        assert not whole.labels[~tissue].any()
        assert not whole.inside[~tissue].any()


@pytest.mark.parametrize("turn", [-1, 0, 1, 7])
@pytest.mark.parametrize("step", [(1, 1), (3, 5), (64, 2), (7, 64)])
def test_a_path_through_many_blocks_is_followed(turn, step):
    check(spiral(21, 25, turn), Fusion(0.0, 3.0, 700, 800, 2), step, Random(0))


@given(membranes(), FUSIONS)
def test_a_block_done_twice_gives_the_same_bytes(membrane, fusion):
    height, width = membrane.shape
    box = Box((0, height // 3, width // 3), (1, height // 3 + 1 + height // 2, width))
    frame = Frame(box.intersect(Box.whole((1, height, width))), (1, height, width))
    first, second = (flood(read(membrane, frame, fusion.sigma), frame) for _ in range(2))
    for name in ("minima", "depths", "rim", "ends", "a", "b", "saddles"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()


@pytest.mark.parametrize("step", [(512, 512), (256, 256), (100, 333), (1000, 17)])
def test_a_micrograph_gives_the_same_from_any_blocks(step):
    tifffile = pytest.importorskip("tifffile")
    if not (DATA / "train-volume.tif").exists():
        pytest.skip(f"no micrographs at {DATA}")
    dark = 255 - tifffile.imread(DATA / "train-volume.tif", key=3)
    check(dark, Fusion(1.5, 20.0, 400, 500, 50), step, Random(1))


@given(membranes(), st.sampled_from((1, 2, 3, 4)), st.integers(1, 5), st.integers(1, 5))
def test_blocks_make_the_cells_of_the_whole_section(membrane, factor, rows, columns):
    shape = (1, *membrane.shape)
    whole = coarse(membrane, factor)
    for box in Grid(shape, (1, rows * factor, columns * factor)):
        (_, y0, x0), (_, y1, x1) = box.start, box.stop
        part = whole[y0 // factor : -(-y1 // factor), x0 // factor : -(-x1 // factor)]
        assert (coarse(membrane[box.slices[1:]], factor) == part).all()


@given(SHAPES, STEPS, st.integers(-4, 4), st.integers(-4, 4), st.integers(0, 99))
def test_overlaps_of_blocks_add_up_to_those_of_the_section(shape, step, dy, dx, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 4, (2, *shape)).astype(np.uint64)
    step = tuple(max(s, n // 6) for s, n in zip(step, shape, strict=True))
    parts = []
    for box in Grid((1, *shape), (1, *step)):
        around = box.grow((0, 4, 4)).intersect(Box.whole((1, *shape)))
        offset = tuple(
            box.start[axis] - around.start[axis] + move for axis, move in ((1, dy), (2, dx))
        )
        parts.append(overlaps(a[box.slices[1:]], b[around.slices[1:]], offset))
    whole, total = overlaps(a, b, (dy, dx)), add(reversed(parts))
    for name in ("a", "b", "count"):
        assert getattr(total, name).tobytes() == getattr(whole, name).tobytes()
