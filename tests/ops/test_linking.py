from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dcan.ops.linking import Linking, Overlaps, add, link, overlaps, unite
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


def slow_link(sizes, cells, linking):
    """The rule as it is stated, with fractions."""
    iou = {(a, b): Fraction(n, sizes[a] + sizes[b] - n) for (a, b), n in cells.items()}
    mutual = set()
    for a, b in cells:
        best_b = min((p for p in cells if p[0] == a), key=lambda p: (-iou[p], p[1]))
        best_a = min((p for p in cells if p[1] == b), key=lambda p: (-iou[p], p[0]))
        if best_a == best_b == (a, b) and iou[a, b] >= Fraction(linking.iou, 1000):
            mutual.add((a, b))
    linked = {name for pair in mutual for name in pair}
    offers = {}
    for (a, b), n in cells.items():
        branch, trunk = (a, b) if sizes[a] < sizes[b] else (b, a)
        share = Fraction(n, sizes[branch])
        if branch not in linked and share >= Fraction(linking.containment, 1000):
            offers.setdefault(branch, []).append((-share, trunk, (a, b)))
    return sorted(mutual | {min(found)[2] for found in offers.values()})


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


THRESHOLDS = st.sampled_from((0, 250, 333, 500, 800, 1000))


@given(graphs(), THRESHOLDS, THRESHOLDS)
def test_link_is_the_slow_reference(graph, iou, containment):
    sizes, cells = graph
    linking = Linking(iou, containment)
    found = link(segments_of(sizes), table_of(cells), linking)
    assert found.dtype == np.uint64
    assert found.shape[1] == 2
    assert [tuple(pair) for pair in found.tolist()] == slow_link(sizes, cells, linking)


def test_a_segment_that_splits_keeps_both_branches():
    sizes = {1: 100, 11: 60, 12: 30}
    table = table_of({(1, 11): 55, (1, 12): 28})
    assert link(segments_of(sizes), table, Linking(500, 800)).tolist() == [[1, 11], [1, 12]]
    assert link(segments_of(sizes), table, Linking(500, 950)).tolist() == [[1, 11]]


def test_a_ratio_at_its_threshold_is_enough():
    sizes, table = segments_of({1: 3, 11: 3}), table_of({(1, 11): 2})
    assert link(sizes, table, Linking(500, 1000)).tolist() == [[1, 11]]
    assert link(sizes, table, Linking(501, 1000)).tolist() == []


def test_a_best_overlap_must_be_mutual():
    sizes, table = segments_of({1: 10, 2: 10, 11: 14}), table_of({(1, 11): 5, (2, 11): 9})
    assert link(sizes, table, Linking(0, 1000)).tolist() == [[2, 11]]


def test_a_linked_segment_is_no_branch():
    sizes, table = segments_of({1: 20, 2: 100, 11: 30}), table_of({(1, 11): 18, (2, 11): 12})
    assert link(sizes, table, Linking(500, 300)).tolist() == [[1, 11]]
    assert link(sizes, table, Linking(900, 300)).tolist() == [[1, 11], [2, 11]]


def test_a_name_without_a_size_is_a_defect():
    with pytest.raises(ValueError, match="segment 11"):
        link(segments_of({1: 3}), table_of({(1, 11): 1}), Linking(0, 0))


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9))), st.randoms())
def test_unite_names_a_chain_by_its_least_segment(pairs, random):
    names = np.arange(1, 10, dtype=np.uint64) * np.uint64(10)
    group = list(range(10))
    for _ in range(9):
        for a, b in pairs:
            group[a] = group[b] = min(group[a], group[b])
    shuffled = random.sample(pairs, len(pairs))
    result = unite(names, np.array(shuffled, np.uint64).reshape(-1, 2) * np.uint64(10))
    assert result.dtype == np.uint64
    assert result.tolist() == [10 * g for g in group[1:]]
