import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import label

from dcan.geometry import Grid
from dcan.ops.frames import Frame
from dcan.ops.fusion import Faces, components
from dcan.ops.stitching import BlockSegments, merge_names, stitch

MASKS = st.tuples(st.integers(1, 14), st.integers(1, 14)).flatmap(lambda s: arrays(np.bool_, s))


def cut(inside, step):
    """The blocks of a mask, and the local labels of each."""
    blocks, local = [], []
    shape = (1, *inside.shape)
    for box in Grid(shape, (1, *step)):
        labels, sizes, first = components(inside[box.slices[1:]])
        y, x = np.divmod(first, labels.shape[1])
        pixels = (y + box.start[1]) * inside.shape[1] + x + box.start[2]
        faces = Faces(labels[0], labels[-1], labels[:, 0], labels[:, -1])
        blocks.append(BlockSegments(Frame(box, shape), pixels.astype(np.uint64), sizes, faces))
        local.append(labels)
    return blocks, local


@given(
    MASKS,
    st.tuples(st.integers(1, 15), st.integers(1, 15)),
    st.sampled_from((0, 1, 2, 4)),
    st.sampled_from((0, 1 << 40)),
    st.randoms(use_true_random=False),
)
def test_stitched_segments_are_those_of_the_whole(inside, step, min_size, base, random):
    blocks, local = cut(inside, step)
    order = list(range(len(blocks)))
    random.shuffle(order)
    names, segments = stitch([blocks[k] for k in order], min_size, base)
    image = np.zeros(inside.shape, np.uint64)
    for k, name in zip(order, names, strict=True):
        assert name.dtype == np.uint64
        image[blocks[k].frame.core.slices[1:]] = name[local[k]]

    expected = np.zeros(inside.shape, np.uint64)
    sizes = {}
    parts, count = label(inside)
    for k in range(1, count + 1):
        pixels = np.flatnonzero(parts == k)
        if len(pixels) >= min_size:
            expected.ravel()[pixels] = 1 + base + int(pixels[0])
            sizes[1 + base + int(pixels[0])] = len(pixels)
    assert (image == expected).all()
    rows = zip(segments.names.tolist(), segments.sizes.tolist(), strict=True)
    assert list(rows) == sorted(sizes.items())


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7))), st.permutations(range(8)))
def test_merge_names_gives_the_least_name_of_a_chain(pairs, names):
    group = list(range(8))
    for _ in range(8):
        for a, b in pairs:
            group[a] = group[b] = min(group[a], group[b])
    component, least = merge_names(
        np.array(pairs, np.int64).reshape(-1, 2).T, np.array(names, np.uint64)
    )
    for k in range(8):
        expected = min(names[j] for j in range(8) if group[j] == group[k])
        assert least[component[k]] == expected


def test_a_missing_block_is_a_defect():
    blocks, _ = cut(np.ones((4, 4), bool), (2, 2))
    with pytest.raises(ValueError, match="cover"):
        stitch(blocks[:3], 0, 0)
    with pytest.raises(ValueError, match="cover"):
        stitch([*blocks, blocks[0]], 0, 0)
