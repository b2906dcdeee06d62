import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dcan.errors import DcanError
from dcan.geometry import Box
from dcan.ops import contingency

TYPES = (np.uint8, np.int16, np.uint32, np.int64, np.uint64)


def cells(table):
    return list(
        zip(table.truth.tolist(), table.proposal.tolist(), table.count.tolist(), strict=True)
    )


def columns(table):
    return [*zip(cells(table), table.first.tolist(), strict=True)]


def slow(truth, proposal):
    pairs = Counter(zip(truth.ravel().tolist(), proposal.ravel().tolist(), strict=True))
    return sorted((i, j, n) for (i, j), n in pairs.items())


def labels(shape, top=4):
    return arrays.arrays(np.uint64, shape, elements=st.integers(0, top))


@given(
    st.data(), arrays.array_shapes(min_dims=1, max_dims=3, max_side=6), st.sampled_from([1, 9, 90])
)
def test_counts_every_pair_once_in_order(data, shape, top):
    truth, proposal = data.draw(labels(shape, top)), data.draw(labels(shape, top))
    table = contingency.count(truth, proposal)
    assert cells(table) == slow(truth, proposal)
    assert (table.truth.dtype, table.proposal.dtype, table.count.dtype) == (
        np.uint64,
        np.uint64,
        np.int64,
    )


@pytest.mark.parametrize("kind", TYPES)
def test_every_integer_type_gives_the_same_table(kind):
    truth = np.random.default_rng(0).integers(0, 5, (4, 6, 7))
    proposal = truth[::-1].copy()
    table = contingency.count(truth.astype(kind), proposal.astype(np.uint16))
    assert cells(table) == slow(truth, proposal)


def test_labels_reach_the_last_of_64_bits():
    top = 2**64 - 1
    truth = np.array([top, top, top - 1, 2**63, 0], np.uint64)
    proposal = np.array([0, 0, top, 2**63 + 1, top], np.uint64)
    assert cells(contingency.count(truth, proposal)) == slow(truth, proposal)


@pytest.mark.parametrize(("truths", "proposals"), [(3, 2**63), (2**63, 3)])
def test_more_pairs_than_the_hash_starts_with(truths, proposals):
    random = np.random.default_rng(1)
    truth = np.repeat(random.integers(0, truths, 20_000, np.uint64), 2)
    proposal = np.repeat(random.integers(0, proposals, 20_000, np.uint64), 2)
    table = contingency.count(truth, proposal)
    assert cells(table) == slow(truth, proposal)
    met = {}
    for index, pair in enumerate(zip(truth.tolist(), proposal.tolist(), strict=True)):
        met.setdefault(pair, index)
    assert table.first.tolist() == [first for _, first in sorted(met.items())]


def test_views_and_foreign_byte_orders_are_read_in_raster_order():
    truth = np.random.default_rng(2).integers(0, 300, (5, 6, 8)).astype(np.uint16)
    proposal = np.arange(240, dtype=np.uint32).reshape(5, 6, 8) // 7
    view = np.asfortranarray(truth)[:, ::2, 1:]
    other = proposal.astype(">u4")[:, ::2, 1:]
    assert cells(contingency.count(view, other)) == slow(view, other)


def test_nothing_to_count():
    nothing = np.zeros((0, 4), np.uint8)
    assert len(contingency.count(nothing, nothing)) == 0
    assert len(contingency.add([])) == 0
    assert contingency.add([]).voxels == 0


def cut(box, random):
    """The box in boxes, halved at random planes any number of times."""
    long = [axis for axis in range(3) if box.shape[axis] > 1]
    if not long or random.random() < 0.3:
        return [box]
    axis = random.choice(long)
    at = random.randrange(box.start[axis] + 1, box.stop[axis])
    stop, start = list(box.stop), list(box.start)
    stop[axis] = start[axis] = at
    parts = Box(box.start, tuple(stop)), Box(tuple(start), box.stop)
    return [piece for part in parts for piece in cut(part, random)]


@settings(max_examples=80)
@given(st.data(), st.tuples(*[st.integers(1, 7)] * 3), st.randoms(use_true_random=False))
def test_tables_of_any_cut_add_up_to_the_whole_in_any_order(data, shape, random):
    truth, proposal = data.draw(labels(shape)), data.draw(labels(shape))
    boxes = cut(Box.whole(shape), random)
    random.shuffle(boxes)
    parts = [
        contingency.count(truth[box.slices], proposal[box.slices]).placed(box, shape)
        for box in boxes
    ]
    whole = contingency.count(truth, proposal)
    assert columns(contingency.add(parts)) == columns(whole)
    halves = [contingency.add(parts[k::2]) for k in (0, 1)]
    assert columns(contingency.add(halves)) == columns(whole)
    assert whole.voxels == truth.size


@given(st.data(), st.tuples(*[st.integers(1, 5)] * 3))
def test_the_first_voxel_of_a_cell_is_the_first_in_raster_order(data, shape):
    truth, proposal = data.draw(labels(shape)), data.draw(labels(shape))
    table = contingency.count(truth, proposal)
    for i, j, first in zip(table.truth, table.proposal, table.first, strict=True):
        assert first == np.flatnonzero((truth == i) & (proposal == j))[0]


def test_adding_holds_the_sum_and_not_the_tables():
    cells, first = np.arange(20_000, dtype=np.uint64), np.zeros(20_000, np.int64)

    def tables(number):
        for k in range(number):
            yield contingency.Table(cells, cells[::-1].copy(), first + 1, first + k)

    def peak(number):
        tracemalloc.start()
        found = contingency.add(tables(number))
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found.voxels == number * cells.size
        return held

    assert peak(300) < 1.2 * peak(3)


def test_what_is_kept_while_adding_stays_below_twice_the_sum(monkeypatch):
    held = []
    merged = contingency._merged

    def spied(parts):
        held.append(sum(map(len, parts)))
        return merged(parts)

    monkeypatch.setattr(contingency, "_merged", spied)
    random = np.random.default_rng(4)
    sizes = random.integers(1, 400, 200).tolist()
    parts = [contingency.count(np.arange(n), random.permutation(n)) for n in sizes]
    whole = contingency.add(parts)
    assert whole.voxels == sum(sizes)
    assert max(held) <= 2 * len(whole) + max(sizes)
    assert sum(held) < 20 * sum(sizes)


def test_foreground_drops_truth_0_alone():
    table = contingency.count(np.array([0, 0, 1, 2, 2]), np.array([0, 5, 0, 5, 5]))
    assert cells(table.foreground) == [(1, 0, 1), (2, 5, 2)]


@pytest.mark.parametrize(
    ("truth", "proposal", "words"),
    [
        (np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), "equal shapes"),
        (np.zeros(3, np.float32), np.zeros(3, np.uint8), "float32"),
        (np.zeros(3, np.uint8), np.array([0, -2, 1]), "-2"),
    ],
)
def test_what_is_no_pair_of_labels_is_refused(truth, proposal, words):
    with pytest.raises(DcanError, match=words):
        contingency.count(truth, proposal)
