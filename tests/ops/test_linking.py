from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dcan.ops.linking import (
    NEVER,
    Linking,
    Overlaps,
    add,
    candidates,
    overlaps,
)
from dcan.ops.stitching import Segments

SECTIONS = st.tuples(st.integers(1, 8), st.integers(1, 8)).flatmap(
    lambda s: arrays(np.uint64, s, elements=st.integers(0, 4))
)


def rows(table):
    return list(zip(table.a.tolist(), table.b.tolist(), table.count.tolist(), strict=True))


def table_of(cells):
    """Overlaps of {(a, b): count}."""
    keys = sorted(cells)
    a, b = np.array(keys, np.uint64).reshape(-1, 2).T
    return Overlaps(a, b, np.array([cells[key] for key in keys], np.int64))


def segments_of(sizes):
    names = sorted(sizes)
    return Segments(np.array(names, np.uint64), np.array([sizes[n] for n in names], np.int64))


@given(SECTIONS, SECTIONS, st.integers(-9, 9), st.integers(-9, 9))
def test_overlaps_count_pixels_that_lie_on_each_other(a, b, oy, ox):
    cells = {}
    for (y, x), name in np.ndenumerate(a):
        v, w = y + oy, x + ox
        if 0 <= v < b.shape[0] and 0 <= w < b.shape[1] and name and b[v, w]:
            pair = int(name), int(b[v, w])
            cells[pair] = cells.get(pair, 0) + 1
    assert rows(overlaps(a, b, (oy, ox))) == [(*pair, cells[pair]) for pair in sorted(cells)]


def test_overlaps_keep_names_above_two_to_the_63():
    name = np.full((1, 3), 2**64 - 1, np.uint64)
    assert rows(overlaps(name, name)) == [(2**64 - 1, 2**64 - 1, 3)]


def test_add_sums_the_pairs_of_all_tables():
    total = add([table_of({(1, 9): 2, (2, 9): 1}), table_of({(1, 8): 5, (1, 9): 3})])
    assert rows(total) == [(1, 8, 5), (1, 9, 5), (2, 9, 1)]
    assert rows(add([])) == []


def test_add_is_exact_beyond_32_bits():
    assert rows(add([table_of({(1, 9): 2**40}), table_of({(1, 9): 2**40 + 1})])) == [
        (1, 9, 2**41 + 1)
    ]


def slow_candidates(sizes, cells, linking):
    """The rule as it is stated, with fractions: rows (a, b, shared, mutual)."""
    iou = {(a, b): Fraction(n, sizes[a] + sizes[b] - n) for (a, b), n in cells.items()}
    mutual = set()
    for a, b in cells:
        best_b = min((p for p in cells if p[0] == a), key=lambda p: (-iou[p], p[1]))
        best_a = min((p for p in cells if p[1] == b), key=lambda p: (-iou[p], p[0]))
        if best_a == best_b == (a, b) and iou[a, b] >= Fraction(linking.iou, 1000):
            mutual.add((a, b))
    taken = {name for pair in mutual for name in pair}
    found = []
    for (a, b), n in sorted(cells.items()):
        branch = a if sizes[a] < sizes[b] else b
        held = Fraction(n, sizes[branch]) >= Fraction(linking.containment, 1000)
        if (a, b) in mutual or (branch not in taken and held):
            found.append((a, b, n, (a, b) in mutual))
    return found


def columns(table):
    arrays = (table.a, table.b, table.shared, table.mutual)
    return list(zip(*(column.tolist() for column in arrays), strict=True))


@st.composite
def graphs(draw):
    low, high = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    pairs = st.tuples(st.integers(1, low), st.integers(11, 10 + high))
    cells = draw(st.dictionaries(pairs, st.integers(1, 4), max_size=12))
    sizes = {}
    for side in (0, 1):
        for name in {pair[side] for pair in cells}:
            used = sum(n for pair, n in cells.items() if pair[side] == name)
            sizes[name] = used + draw(st.integers(0, 3))
    return sizes, cells


THRESHOLDS = st.sampled_from((0, 250, 333, 500, 800, 1000, NEVER))


@given(graphs(), THRESHOLDS, THRESHOLDS)
def test_candidates_are_the_slow_reference(graph, iou, containment):
    sizes, cells = graph
    linking = Linking(iou, containment, 1)
    found = candidates(segments_of(sizes), table_of(cells), linking)
    assert (found.a.dtype, found.shared.dtype) == (np.uint64, np.int64)
    assert columns(found) == slow_candidates(sizes, cells, linking)
    if containment == NEVER:
        assert found.mutual.all()


def pairs_of(sizes, cells, iou, containment):
    found = candidates(segments_of(sizes), table_of(cells), Linking(iou, containment, 1))
    return [(a, b) for a, b, _, _ in columns(found)]


def test_a_segment_that_splits_keeps_both_branches():
    sizes, cells = {1: 100, 11: 60, 12: 30}, {(1, 11): 55, (1, 12): 28}
    assert pairs_of(sizes, cells, 500, 800) == [(1, 11), (1, 12)]
    assert pairs_of(sizes, cells, 500, 950) == [(1, 11)]


def test_a_ratio_at_its_threshold_is_enough():
    assert pairs_of({1: 3, 11: 3}, {(1, 11): 2}, 500, NEVER) == [(1, 11)]
    assert pairs_of({1: 3, 11: 3}, {(1, 11): 2}, 501, NEVER) == []
    # 251 / 501 is less than 0.501 by 1 / 501000
    assert pairs_of({1: 376, 11: 376}, {(1, 11): 251}, 501, NEVER) == []
    assert pairs_of({1: 9, 11: 4}, {(1, 11): 3}, 1000, 750) == [(1, 11)]
    assert pairs_of({1: 9, 11: 4}, {(1, 11): 3}, 1000, 751) == []


def test_ratios_of_a_thousand_million_pixels_are_compared_exactly():
    most = 10**9
    sizes = {1: most, 11: most - 1, 12: most}
    # of unions 10^9 each: the second shares one pixel more
    assert pairs_of(sizes, {(1, 11): most - 1, (1, 12): most}, 1000, NEVER) == [(1, 12)]
    assert pairs_of({1: most, 11: most}, {(1, 11): most - 1}, 1000, NEVER) == []
    assert pairs_of({1: most, 11: most - 1}, {(1, 11): most - 2}, 1000, 1000) == []


def test_a_best_overlap_must_be_mutual():
    assert pairs_of({1: 10, 2: 10, 11: 14}, {(1, 11): 5, (2, 11): 9}, 0, 1000) == [(2, 11)]


def test_a_segment_of_a_mutual_pair_is_no_branch():
    sizes, cells = {1: 20, 2: 100, 11: 30}, {(1, 11): 18, (2, 11): 12}
    assert pairs_of(sizes, cells, 500, 300) == [(1, 11)]
    assert pairs_of(sizes, cells, 900, 300) == [(1, 11), (2, 11)]


def test_of_equal_segments_the_higher_is_the_branch():
    assert pairs_of({1: 9, 2: 9, 11: 9}, {(1, 11): 5, (2, 11): 4}, 300, 400) == [(1, 11)]
    cells = {(1, 11): 5, (1, 12): 4}
    assert pairs_of({1: 9, 11: 9, 12: 9}, cells, 300, 400) == [(1, 11), (1, 12)]


def test_a_name_without_a_size_is_a_defect():
    with pytest.raises(ValueError, match="segment 11"):
        candidates(segments_of({1: 3}), table_of({(1, 11): 1}), Linking(0, 0, 1))
