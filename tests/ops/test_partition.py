from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from skimage.metrics import adapted_rand_error, variation_of_information

from dcan.errors import DcanError
from dcan.ops import partition
from dcan.ops.contingency import Table, count

VOXELS = st.integers(2, 40)


def labels(size, low, high):
    return arrays.arrays(np.int64, size, elements=st.integers(low, high))


@st.composite
def pairs(draw, low=0):
    """Truth with something in it, and a proposal with labels from `low`."""
    size = draw(VOXELS)
    truth, proposal = draw(labels(size, 0, 5)), draw(labels(size, low, 6))
    truth[draw(st.integers(0, size - 1))] = 1
    return truth, proposal


def alike(labels, single=()):
    """Unordered pairs of voxels with one label, those of `single` being with none."""
    return {
        (a, b)
        for a, b in combinations(range(labels.size), 2)
        if labels[a] == labels[b] and labels[a] not in single
    }


@given(pairs())
def test_classic_pairs_are_the_pairs_counted_one_by_one(pair):
    truth, proposal = map(alike, pair)
    counted = (len(truth & proposal), len(proposal), len(truth))
    assert partition.classic_pairs(count(*pair)) == counted


def test_nothing_proposed_is_precise_and_nothing_missed_is_complete():
    nothing, missed = partition.Agreement(0, 0, 0), partition.Agreement(0, 0, 5)
    assert (nothing.precision, nothing.recall, nothing.f_score) == (1, 1, 1)
    assert (missed.precision, missed.recall, missed.f_score) == (1, 0, 0)
    assert partition.Agreement(0, 5, 5).f_score == 0
    assert partition.total([]) == nothing


@given(pairs())
def test_foreground_pairs_are_ordered_pairs_over_truth_with_a_voxel_and_itself(pair):
    on = pair[0] != 0
    truth, proposal = alike(pair[0][on]), alike(pair[1][on], single=(0,))
    counted = [2 * len(part) + on.sum() for part in (truth & proposal, proposal, truth)]
    assert partition.foreground_pairs(count(*pair)) == tuple(counted)


def test_pairs_stay_exact_beyond_64_bits():
    huge = 2**40 + 1
    one, two = np.array([1, 2], np.uint64), np.array([1, 1], np.uint64)
    table = Table(one, two, np.array([huge, huge], np.int64), np.array([0, huge], np.int64))
    assert partition.foreground_pairs(table) == (2 * huge**2, 4 * huge**2, 2 * huge**2)
    assert partition.classic_pairs(table).proposal == 2 * huge * (2 * huge - 1) // 2


@given(pairs(low=1))
def test_volume_scores_are_scikit_images_where_the_definitions_agree(pair):
    truth, proposal = pair
    table = count(truth, proposal)
    scores = partition.volume_scores(table)
    split, merge = variation_of_information(truth, proposal, ignore_labels=[0])
    assert scores["voi_split"] == pytest.approx(split, abs=1e-12)
    assert scores["voi_merge"] == pytest.approx(merge, abs=1e-12)
    without_self = partition.classic_pairs(table.foreground)
    if without_self.both:
        error, recall, precision = adapted_rand_error(truth, proposal, ignore_labels=[0])
        assert 1 - without_self.f_score == pytest.approx(error, abs=1e-12)
        assert without_self.precision == pytest.approx(precision, abs=1e-12)
        assert without_self.recall == pytest.approx(recall, abs=1e-12)


@given(pairs())
def test_proposal_0_is_single_voxels_for_rand_and_an_object_for_voi(pair):
    truth, proposal = pair
    scores = partition.volume_scores(count(truth, proposal))
    single = np.where(proposal == 0, 100 + np.arange(proposal.size), proposal)
    named = np.where(proposal == 0, 99, proposal)
    as_single = partition.volume_scores(count(truth, single))
    as_object = partition.volume_scores(count(truth, named))
    for key, value in scores.items():
        expected = as_object if key.startswith("voi") else as_single
        assert value == pytest.approx(expected[key], abs=1e-12)


@given(pairs())
def test_information_is_that_of_objects_of_one_voxel_in_nats(pair):
    truth, proposal = pair
    single = np.where(proposal == 0, 100 + np.arange(proposal.size), proposal)
    table = count(truth, single).foreground
    scores = partition.volume_scores(table)

    def bits(labels):
        share = np.unique(labels[truth != 0], return_counts=True)[1] / table.voxels
        return -(share * np.log2(share)).sum()

    of_truth, of_proposal = bits(truth), bits(single)
    value = partition.information_f_score(count(truth, proposal))
    if of_truth == 0 or of_proposal == 0:
        assert value == 0
    else:
        precision = 1 - scores["voi_merge"] / of_truth
        recall = 1 - scores["voi_split"] / of_proposal
        f_score = 2 * precision * recall / (precision + recall) if precision + recall else 0
        assert value == pytest.approx(f_score, abs=1e-6)


@given(pairs(), st.permutations(range(1, 8)), st.permutations(range(1, 8)))
def test_relabelling_changes_nothing(pair, one, two):
    truth, proposal = pair
    renamed = np.array([0, *one])[truth], np.array([0, *two])[proposal]
    scores = partition.volume_scores(count(*renamed))
    assert scores == pytest.approx(partition.volume_scores(count(truth, proposal)), abs=1e-12)


@given(pairs())
def test_truth_against_itself_is_perfect(pair):
    scores = partition.volume_scores(count(pair[0], pair[0]))
    assert scores == {
        "adapted_rand_error": 0,
        "rand_split": 1,
        "rand_merge": 1,
        "voi_split": 0,
        "voi_merge": 0,
    }


@given(pairs(), st.integers(1, 6), st.integers(1, 6))
def test_merging_two_objects_never_betters_the_merge_scores_beyond_the_pairs_it_joins(
    pair, one, two
):
    truth, proposal = pair
    merged = np.where(proposal == one, two, proposal)
    before = partition.volume_scores(count(truth, proposal))
    after = partition.volume_scores(count(truth, merged))
    assert after["voi_merge"] >= before["voi_merge"] - 1e-12
    assert after["voi_split"] <= before["voi_split"] + 1e-12
    assert after["rand_split"] >= before["rand_split"]
    of_one, of_two = (truth[(proposal == label) & (truth > 0)] for label in (one, two))
    joined = [a == b for a in of_one for b in of_two] if one != two else []
    right = sum(joined) / len(joined) if joined else 0
    assert after["rand_merge"] <= max(before["rand_merge"], right)
    if right <= before["rand_merge"]:
        assert after["rand_merge"] <= before["rand_merge"]


def test_joining_pieces_of_one_object_does_raise_rand_merge_and_not_voi_merge():
    truth = np.array([1, 1, 1, 1, 2, 3])
    apart, joined = np.array([1, 1, 2, 2, 3, 3]), np.array([2, 2, 2, 2, 3, 3])
    before, after = (partition.volume_scores(count(truth, p)) for p in (apart, joined))
    assert (before["rand_merge"], after["rand_merge"]) == (10 / 12, 18 / 20)
    assert after["voi_merge"] == before["voi_merge"]


def test_splits_and_mergers_lower_the_score_that_bears_their_name():
    whole, halves = np.array([1, 1, 1, 1]), np.array([1, 1, 2, 2])
    split = partition.volume_scores(count(whole, halves))
    merged = partition.volume_scores(count(halves, whole))
    assert (split["rand_split"], split["rand_merge"]) == (0.5, 1)
    assert (split["voi_split"], split["voi_merge"]) == (1, 0)
    assert (merged["rand_split"], merged["rand_merge"]) == (1, 0.5)
    assert split["adapted_rand_error"] == merged["adapted_rand_error"] == pytest.approx(1 / 3)
    assert (merged["voi_split"], merged["voi_merge"]) == (0, 1)


def test_truth_without_objects_is_refused():
    with pytest.raises(DcanError, match="nothing to score"):
        partition.volume_scores(count(np.zeros(3, int), np.ones(3, int)))
