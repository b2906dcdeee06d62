from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from dcan.errors import DcanError
from dcan.ops import contingency, link_search
from dcan.ops.joining import join
from dcan.ops.link_search import DEFAULT, LinkGrid, search, stack
from dcan.ops.linking import NEVER, Linking, candidates, overlaps
from dcan.ops.partition import foreground_pairs, total, volume_scores
from dcan.ops.sections import Fusion, segment

FUSION = Fusion(sigma=0.0, depth=8.0, w_f=700, t=400, min_size=4)
GRID = LinkGrid(iou=(0, 300, 600), containment=(500, 800, NEVER), beside=(0, 1, 2))


def drawn(seed, depth=9, side=48):
    """Sections of cells that wander and are cut in two at random, and their neurites."""
    rng = np.random.default_rng(seed)
    maps, truths = {}, {}
    edges = np.arange(0, side + 1, 12)
    for z in range(depth):
        ys, xs = (np.digitize(np.arange(side), edges[1:-1] + rng.integers(-3, 4, 3)) for _ in "yx")
        ids = ys[:, None] * 4 + xs + 1
        wall = np.zeros((side, side), bool)
        wall[:-1] |= ids[:-1] != ids[1:]
        wall[:, :-1] |= ids[:, :-1] != ids[:, 1:]
        for y, x in rng.integers(4, side - 4, (8, 2)):
            wall[y, x - 4 : x + 4] = True
            wall[y - 3 : y + 3, x] ^= True
        maps[z], truths[z] = np.where(wall, 220, 10).astype(np.uint8), np.where(wall, 0, ids)
    return maps, truths


def stack_of(seed, depth=9, moves=None, drop=()):
    maps, truths = drawn(seed, depth)
    present = [z for z in maps if z not in drop]
    found = {z: segment(maps[z], FUSION) for z in present}
    moved = moves or {pair: (0, 0) for pair in pairwise(present)}
    return stack(found, {z: truths[z] for z in present}, moved)


def volumes_of(seed, depth=9):
    maps, truths = drawn(seed, depth)
    labels = [segment(maps[z], FUSION).labels for z in range(depth)]
    named = [
        np.where(part > 0, part + np.uint64(z * part.size), np.uint64(0))
        for z, part in enumerate(labels)
    ]
    return np.stack([truths[z] for z in range(depth)]), np.stack(named)


def test_a_stack_holds_what_the_whole_volume_does():
    truth, labels = volumes_of(0)
    found = stack_of(0)
    names, sizes = np.unique(labels[labels > 0], return_counts=True)
    assert (found.segments.names == names).all()
    assert (found.segments.sizes == sizes).all()
    assert (found.sections == (names - 1) // labels[0].size).all()
    wanted = contingency.count(truth, labels)
    for column in ("truth", "proposal", "count"):
        assert (getattr(found.truth, column) == getattr(wanted, column)).all()
    assert len(found.pairs) == 8
    assert (found.pairs[3].count == overlaps(labels[3], labels[4]).count).all()


def test_a_stack_takes_the_drift_out_and_goes_across_missing_sections():
    _, labels = volumes_of(1)
    found = stack_of(1, moves={(2, 4): (1, -2), (1, 2): (0, 0)}, drop=(3,))
    assert 3 not in found.sections
    assert len(found.pairs) == 2
    wanted = overlaps(labels[2], labels[4], (1, -2))
    assert found.pairs[1].a.tolist() == wanted.a.tolist()
    assert found.pairs[1].count.tolist() == wanted.count.tolist()


def slow_error(seed, linking):
    """By relabelling the voxels of the volume."""
    truth, labels = volumes_of(seed)
    entry = stack_of(seed)
    tables = [candidates(entry.segments, pair, linking) for pair in entry.pairs]
    neurites = join(entry.segments.names, entry.sections, tables, linking.beside).names
    of = dict(zip(entry.segments.names.tolist(), neurites.tolist(), strict=True)) | {0: 0}
    united = np.vectorize(of.get, otypes=[np.uint64])(labels)
    return contingency.count(truth, united)


def test_the_surface_is_what_linking_the_voxels_gives():
    result = search([stack_of(0)], GRID)
    assert len(result.surface) == 3 * (2 * 3 + 1)
    for score in result.surface:
        wanted = volume_scores(slow_error(0, score.linking))["adapted_rand_error"]
        assert score.adapted_rand_error == pytest.approx(wanted, abs=1e-12)
    errors = [score.adapted_rand_error for score in result.surface]
    assert len(set(errors)) > 5
    assert result.best.adapted_rand_error == min(errors)


def test_stacks_are_summed_by_pairs_of_voxels():
    result = search([stack_of(0), stack_of(1)], replace(GRID, iou=(300,)))
    for score in result.surface:
        pairs = total(foreground_pairs(slow_error(seed, score.linking)) for seed in (0, 1))
        assert score.adapted_rand_error == pytest.approx(1 - pairs.f_score, abs=1e-12)


def test_ties_go_to_what_is_nearest_to_the_defaults(monkeypatch):
    monkeypatch.setattr(link_search, "_error", lambda linked: 0.5)
    entry = stack_of(0)
    assert search([entry], replace(GRID, iou=(100, 300))).best.linking == DEFAULT
    far = LinkGrid((200, 400, 700), (700, 900, NEVER), (0, 2))
    assert search([entry], far).best.linking == Linking(200, NEVER, 1)
    assert search([entry], replace(far, containment=(700, 900))).best.linking == Linking(
        200, 700, 0
    )


def test_a_single_value_is_tried_whatever_the_sections():
    result = search([stack_of(0, 2)], LinkGrid((300,), (800,), (4,)))
    assert result.best.linking == Linking(300, 800, 4)


@pytest.mark.parametrize(("depth", "tried"), [(2, {0, 1}), (5, {0, 1}), (6, {0, 1, 2})])
def test_running_side_by_side_is_tried_where_there_are_sections_to_show_it(depth, tried):
    result = search([stack_of(0, depth)], LinkGrid((300,), (800,), (0, 1, 2, 4)))
    assert {score.linking.beside for score in result.surface} == tried
    assert any(f"on {depth} sections" in remark for remark in result.remarks)


def test_an_optimum_at_the_edge_is_reported(monkeypatch):
    monkeypatch.setattr(link_search, "_error", lambda linked: 0.5)
    entry = stack_of(0)
    assert search([entry], LinkGrid((300, 600), (800, 900), (1, 2))).remarks == (
        "linking's iou 300 is at the edge of 300..600",
        "linking's containment 800 is at the edge of 800..900",
    )
    assert search([entry], LinkGrid((0, 300), (500, NEVER), (1,))).remarks == (
        "linking's iou 300 is at the edge of 0..300",
    )


def test_half_of_a_branch_and_the_whole_of_the_range_are_no_edges(monkeypatch):
    monkeypatch.setattr(link_search, "_error", lambda linked: 0.5)
    grid = LinkGrid((0, 100), (500, 600), (0, 1))
    monkeypatch.setattr(link_search, "DEFAULT", Linking(0, 500, 0))
    assert search([stack_of(0)], grid).remarks == ()


def test_what_cannot_be_calibrated_is_refused():
    entry = stack_of(0, 2)
    blank = replace(entry, truth=contingency.count(np.zeros(3, int), np.zeros(3, int)))
    for stacks, grid in (([], GRID), ([blank], GRID), ([entry], replace(GRID, iou=()))):
        with pytest.raises(DcanError):
            search(stacks, grid)
