from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dcan.geometry import Box
from dcan.ops.contingency import add, count
from dcan.ops.faults import Fault, Worst, pieces, worst
from tests.ops.test_contingency import cut


def slow(truth, proposal, most):
    """The faults of one side, voxel by voxel."""
    found = []
    for objects, others in ((truth, proposal), (proposal, truth)):
        parts = defaultdict(lambda: defaultdict(list))
        for voxel in np.argwhere((truth > 0) & (proposal > 0)).tolist():
            parts[objects[tuple(voxel)]][others[tuple(voxel)]].append(tuple(voxel))
        faults = []
        for label, held in parts.items():
            ranked = sorted(held.items(), key=lambda item: (-len(item[1]), item[0]))
            if len(ranked) > 1:
                outside = sum(len(voxels) for _, voxels in ranked[1:])
                faults.append(Fault(int(label), len(ranked), outside, min(ranked[1][1])))
        faults.sort(key=lambda fault: (-fault.voxels, fault.label))
        found.append(tuple(faults[:most]))
    return Worst(*found)


@settings(max_examples=60)
@given(st.data(), st.tuples(*[st.integers(1, 6)] * 3), st.randoms(use_true_random=False))
def test_faults_are_those_counted_one_by_one_for_any_cut_in_any_order(data, shape, random):
    values = arrays.arrays(np.uint32, shape, elements=st.integers(0, 4))
    truth, proposal = data.draw(values), data.draw(values)
    boxes = cut(Box.whole(shape), random)
    random.shuffle(boxes)
    table = add(count(truth[b.slices], proposal[b.slices]).placed(b, shape) for b in boxes)
    for most in (1, 3, 20):
        assert worst(table, most, shape) == slow(truth, proposal, most)


def test_the_worst_come_first_by_voxels_then_label():
    truth = np.repeat([1, 2, 3, 4, 0, 5], [10, 10, 6, 4, 50, 3])
    proposal = np.repeat([1, 2, 3, 4, 5, 6, 5, 0, 6, 7, 0], [5, 3, 2, 6, 4, 5, 1, 4, 20, 30, 3])
    found = worst(count(truth, proposal), 9, truth.shape)
    assert found.splits == (Fault(1, 3, 5, (5,)), Fault(2, 2, 4, (16,)), Fault(3, 2, 1, (25,)))
    assert found.merges == (Fault(5, 2, 1, (25,)),)
    assert worst(count(truth, proposal), 1, truth.shape).splits == (Fault(1, 3, 5, (5,)),)
    assert worst(count(truth, truth), 9, truth.shape) == Worst((), ())


def test_ties_of_the_worst_go_to_the_lower_label():
    truth, proposal = np.repeat([7, 3], 4), np.array([1, 1, 2, 2, 3, 3, 4, 4])
    found = worst(count(truth, proposal), 2, truth.shape).splits
    assert [(fault.label, fault.at) for fault in found] == [(3, (6,)), (7, (2,))]


def test_pieces_are_the_objects_that_hold_a_part_of_a_true_one():
    truth = np.array([1] * 20 + [2] * 10 + [0] * 5)
    proposal = np.array([5] * 12 + [6] * 5 + [7] * 2 + [0] + [5] * 10 + [8] * 5)
    # 5 and 6 hold a quarter of the first; 5 the second
    assert pieces(count(truth, proposal), 4) == 1.5
    assert pieces(count(truth, proposal), 10) == 2
    assert pieces(count(truth, np.zeros_like(truth)), 4) == 0
    assert pieces(count(np.zeros(3, int), np.ones(3, int)), 4) == 0


@pytest.mark.parametrize("kind", [np.uint8, np.uint64])
def test_labels_and_voxels_are_plain_numbers(kind):
    top = int(np.iinfo(kind).max)
    truth, proposal = np.array([top, top, top], kind), np.array([top, 1, 1], kind)
    (fault,) = worst(count(truth, proposal), 1, (3,)).splits
    assert fault == Fault(top, 2, 1, (0,))
    assert {type(part) for part in (fault.label, fault.pieces, fault.voxels, *fault.at)} == {int}
