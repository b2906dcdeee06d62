import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcan.ops.joining import join
from dcan.ops.linking import Candidates


def edges(*rows):
    """Candidates of rows (a, b, shared, mutual)."""
    a, b, shared, mutual = zip(*rows, strict=True) if rows else ((),) * 4
    return Candidates(
        np.array(a, np.uint64),
        np.array(b, np.uint64),
        np.array(shared, np.int64),
        np.array(mutual, np.bool_),
    )


def joined(places, tables, beside):
    """The neurites of {name: section} as {name: neurite}, and the counts."""
    names = sorted(places)
    sections = np.array([places[name] for name in names], np.int64)
    found = join(np.array(names, np.uint64), sections, tables, beside)
    assert found.names.dtype == np.uint64
    assert found.pieces.tolist() == np.unique(found.names, return_counts=True)[1].tolist()
    counts = (found.mutual, found.branches, found.refused)
    return dict(zip(names, found.names.tolist(), strict=True)), counts


def slow_join(places, rows, beside):
    """The rule as it is stated, with sets."""
    groups = {name: {name} for name in places}

    def unite(a, b):
        both = groups[a] | groups[b]
        for name in both:
            groups[name] = both

    for a, b, _, mutual in rows:
        if mutual:
            unite(a, b)
    branches = refused = 0
    for _, a, b in sorted((-shared, a, b) for a, b, shared, mutual in rows if not mutual):
        if groups[a] is groups[b]:
            continue
        spans = [
            range(min(places[n] for n in g), max(places[n] for n in g) + 1)
            for g in (groups[a], groups[b])
        ]
        if len(set(spans[0]) & set(spans[1])) > beside:
            refused += 1
        else:
            unite(a, b)
            branches += 1
    return {name: min(group) for name, group in groups.items()}, (branches, refused)


@st.composite
def volumes(draw):
    """Segments of sections, named in their order, and candidates between sections."""
    counts = draw(st.lists(st.integers(0, 4), min_size=1, max_size=6))
    places = {10 * z + k: z for z, count in enumerate(counts) for k in range(1, count + 1)}
    every = [(a, b) for a in places for b in places if 1 <= places[b] - places[a] <= 2]
    chosen = draw(st.lists(st.sampled_from(every), unique=True)) if every else []
    kinds = st.tuples(st.integers(1, 3), st.booleans())
    return places, [(a, b, *draw(kinds)) for a, b in chosen]


@given(volumes(), st.integers(0, 3), st.randoms(), st.integers(1, 3))
def test_join_is_the_slow_reference_whatever_the_order_of_tables(volume, beside, random, parts):
    places, rows = volume
    shuffled = random.sample(rows, len(rows))
    tables = [edges(*shuffled[k::parts]) for k in range(parts)]
    found, (mutual, *counts) = joined(places, tables, beside)
    wanted, wanted_counts = slow_join(places, rows, beside)
    assert found == wanted
    assert tuple(counts) == wanted_counts
    assert mutual == sum(kind for *_, kind in rows)


@given(volumes(), st.integers(0, 3))
def test_refusing_only_leaves_branches_out(volume, beside):
    places, rows = volume
    found, _ = joined(places, [edges(*rows)], beside)
    whole, _ = joined(places, [edges(*rows)], 99)
    chains, _ = joined(places, [edges(*(row for row in rows if row[3]))], 0)
    for name in places:
        assert chains[name] >= found[name] >= whole[name]


CHAINS = {1: 0, 11: 1, 21: 2, 31: 3, 2: 0, 12: 1, 22: 2, 32: 3, 19: 1}
LINKS = [(10 * z + k, 10 * z + 10 + k, 50, True) for z in range(3) for k in (1, 2)]


def test_a_fragment_does_not_chain_two_neurites():
    # 19 lies in one neurite in the section before and in the other in the section after
    rows = [*LINKS, (1, 19, 9, False), (19, 22, 8, False)]
    found, counts = joined(CHAINS, [edges(*rows)], 1)
    assert {found[1], found[31], found[19]} == {1}
    assert {found[2], found[32]} == {2}
    assert counts == (6, 1, 1)


def test_the_branch_that_shares_most_comes_first():
    rows = [*LINKS, (1, 19, 8, False), (19, 22, 9, False)]
    found, _ = joined(CHAINS, [edges(*rows)], 1)
    assert found[19] == 2
    tied = [*LINKS, (1, 19, 8, False), (19, 22, 8, False)]
    assert joined(CHAINS, [edges(*reversed(tied))], 1)[0][19] == 1


def test_the_end_of_a_neurite_joins_the_beginning_of_another():
    rows = [(1, 11, 5, True), (21, 31, 5, True), (11, 21, 3, False)]
    places = {1: 0, 11: 1, 21: 2, 31: 3}
    assert joined(places, [edges(*rows)], 0) == (dict.fromkeys(places, 1), (2, 1, 0))


def test_neurites_side_by_side_through_more_sections_than_allowed_are_refused():
    places = {1: 0, 11: 1, 21: 2, 12: 1, 22: 2}
    rows = [(1, 11, 5, True), (11, 21, 5, True), (12, 22, 5, True), (1, 12, 3, False)]
    assert joined(places, [edges(*rows)], 1)[1] == (3, 0, 1)
    assert joined(places, [edges(*rows)], 2)[1] == (3, 1, 0)


def test_nothing_to_join_is_nothing():
    assert joined({}, [], 1) == ({}, (0, 0, 0))
    assert joined({5: 0, 3: 0}, [edges()], 1) == ({3: 3, 5: 5}, (0, 0, 0))


def test_a_candidate_without_a_segment_is_a_defect():
    with pytest.raises(ValueError, match="segment 11"):
        joined({1: 0}, [edges((1, 11, 2, True))], 1)
