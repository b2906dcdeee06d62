from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from dcan.errors import DcanError
from dcan.ops import calibration
from dcan.ops.calibration import SearchGrid, calibrate
from dcan.ops.metrics import foreground_counts, rand_error
from dcan.ops.sections import Fusion, segment

GRID = SearchGrid(
    sigma=(1.0, 0.0), depth=(3.0, 8.0), w_f=(0, 400, 700), t=(200, 300, 600), min_size=(0, 20)
)


def section(seed):
    """Four noisy cells whose walls have holes, and their truth."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((40, 40), np.int32)
    for k, (y, x) in enumerate([(0, 0), (0, 21), (21, 0), (21, 21)], start=1):
        truth[y : y + 19, x : x + 19] = k
    clean = np.where(truth == 0, 180, 15)
    clean[rng.integers(2, 17, 3), 19:21] = 40
    return np.clip(clean + rng.normal(0, 6, truth.shape), 0, 255).astype(np.uint8), truth


MAPS, TRUTHS = (list(part) for part in zip(*(section(seed) for seed in (0, 1)), strict=True))


def slow_error(fusion, maps=MAPS, tissues=(None, None)):
    return rand_error(
        [
            foreground_counts(truth, segment(u, fusion, tissue).labels)
            for u, truth, tissue in zip(maps, TRUTHS, tissues, strict=True)
        ]
    )


def test_the_surface_is_what_segmenting_each_choice_gives():
    result = calibrate(MAPS, TRUTHS, GRID)
    assert len(result.surface) == 2 * 2 * 3 * 3 * 2
    assert len({score.fusion for score in result.surface}) == len(result.surface)
    for score in result.surface:
        assert score.rand_error == slow_error(score.fusion)
    for score in result.membrane:
        assert score.fusion.w_f == 0
        assert score.rand_error == slow_error(score.fusion)
    assert result.best.rand_error == min(score.rand_error for score in result.surface)
    assert result.best.rand_error < min(score.rand_error for score in result.membrane)


def test_what_has_no_tissue_is_in_no_segment_of_a_choice():
    tissue = np.ones(MAPS[0].shape, bool)
    tissue[:, 10:14] = False
    maps = [np.where(tissue, MAPS[0], 255).astype(np.uint8), MAPS[1]]
    grid = replace(GRID, w_f=(0, 700), t=(300, 600))  # 0.7 > 1 - 0.6 lets 255 in
    result = calibrate(maps, TRUTHS, grid, tissues=[tissue, None])
    for score in result.surface:
        assert score.rand_error == slow_error(score.fusion, maps, [tissue, None])
    assert result.surface != calibrate(maps, TRUTHS, grid).surface


def test_choices_that_share_a_table_are_evaluated_once(monkeypatch):
    seen = []
    evaluate = calibration._counts

    def counted(inside, min_sizes, edge, section):
        seen.append((inside.tobytes(), section.membrane.tobytes()))
        return evaluate(inside, min_sizes, edge, section)

    monkeypatch.setattr(calibration, "_counts", counted)
    grid = replace(GRID, sigma=(1.0,), depth=(3.0,), w_f=(0, 400, 600, 700), t=(300, 200))
    result = calibrate(MAPS, TRUTHS, grid)
    # w_f 400 with t 200 and w_f 700 with t 100 would share 1/3; here 600 with 200 and 400
    # with 300 share 1/2
    assert len(result.surface) == 4 * 2 * 2
    assert len(seen) == len(set(seen))
    assert len(seen) == (2 + 5) * len(MAPS)


def test_basins_are_found_once_for_each_sigma_and_map(monkeypatch):
    seen = []
    descend = calibration.descend

    def counted(levels, frame):
        seen.append(levels.tobytes())
        return descend(levels, frame)

    monkeypatch.setattr(calibration, "descend", counted)
    calibrate(MAPS, TRUTHS, GRID)
    assert len(seen) == len(set(seen)) == len(GRID.sigma) * len(MAPS)


def test_sections_on_threads_give_the_same():
    with ThreadPoolExecutor(3) as pool:
        assert calibrate(MAPS, TRUTHS, GRID, pool.map) == calibrate(MAPS, TRUTHS, GRID)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_the_standard_error_is_that_of_leaving_out_each_section(count):
    maps, truths = zip(*(section(seed) for seed in range(count)), strict=True)
    maps[0][19:21] = 15  # cells of the first section run into each other
    grid = SearchGrid((1.0,), (3.0,), (0,), (200,), (0,))
    (score,) = calibrate(maps, truths, grid).surface
    others = [
        calibrate(maps[:k] + maps[k + 1 :], truths[:k] + truths[k + 1 :], grid).best.rand_error
        for k in range(count)
    ]
    expected = np.sqrt((count - 1) * np.var(others))
    assert score.standard_error == pytest.approx(expected, rel=1e-9)
    assert expected > 0


def test_one_section_has_no_standard_error():
    result = calibrate(MAPS[:1], TRUTHS[:1], GRID)
    assert {score.standard_error for score in result.surface} == {None}
    assert result.within == {}


def test_the_interval_holds_what_is_within_one_standard_error_of_the_best():
    maps, truths = zip(*(section(seed) for seed in range(4)), strict=True)
    rng = np.random.default_rng(5)
    maps = [
        np.clip(u + rng.normal(0, 60 * k, u.shape), 0, 255).astype(np.uint8)
        for k, u in enumerate(maps)
    ]
    grid = SearchGrid(
        (0.0, 0.5, 1.0, 1.5, 6.0),
        (1.0, 8.0, 30.0, 60.0, 255.0),
        (0, 300, 700),
        (100, 300, 500, 600),
        (0,),
    )
    result = calibrate(maps, truths, grid)
    limit = result.best.rand_error + result.best.standard_error
    assert list(result.within) == ["sigma", "depth", "w_f", "t", "min_size"]
    beyond, beside = [], []
    for axis, (low, high) in result.within.items():
        best, values = getattr(result.best.fusion, axis), getattr(grid, axis)
        least = {
            value: min(s.rand_error for s in result.surface if getattr(s.fusion, axis) == value)
            for value in values
        }
        assert all(least[value] <= limit for value in values if low <= value <= high)
        assert low <= best <= high
        beside += [least[value] for value in values if low <= value <= high and value != best]
        ends = values.index(low) - 1, values.index(high) + 1
        beyond += [least[values[i]] for i in ends if 0 <= i < len(values)]
    assert all(error > limit for error in beyond)
    assert any(result.best.rand_error < error for error in beside)
    assert beyond


def test_ties_go_by_the_stated_preference(monkeypatch):
    monkeypatch.setattr(calibration, "rand_error", lambda counts: 0.5)
    assert calibrate(MAPS, TRUTHS, GRID).best.fusion == Fusion(0.0, 3.0, 700, 300, 0)
    two = replace(GRID, w_f=(800, 600), t=(400, 200))
    assert calibrate(MAPS, TRUTHS, two).best.fusion == Fusion(0.0, 3.0, 600, 200, 0)


def test_an_optimum_at_the_edge_is_reported():
    grid = SearchGrid((1.0,), (0.5, 8.0), (700,), (100, 200, 300), (0, 20))
    result = calibrate(MAPS, TRUTHS, grid)
    depth = result.best.fusion.depth
    assert f"depth {depth} is at the edge of 0.5..8.0: widen the grid" in result.remarks
    assert not any(remark.startswith(("sigma", "w_f")) for remark in result.remarks)


def test_an_edge_that_is_the_end_of_the_range_is_not():
    grid = SearchGrid((0.0, 1.0), (0.0, 1.0), (0, 1000), (0, 1000), (0, 5))
    remarks = calibrate(MAPS, TRUTHS, grid).remarks
    assert not any(" 0 is at the edge" in r or "1000 is at the edge" in r for r in remarks)


def test_a_map_without_influence_is_reported():
    grid = SearchGrid((1.0,), (8.0,), (700,), (400,), (0,))
    assert any("no influence" in remark for remark in calibrate(MAPS, TRUTHS, grid).remarks)
    grid = replace(grid, t=(300,))
    assert not any("no influence" in remark for remark in calibrate(MAPS, TRUTHS, grid).remarks)


def test_a_watershed_that_adds_nothing_is_reported():
    truth = [np.ones_like(truth) for truth in TRUTHS]
    grid = SearchGrid((1.0,), (8.0,), (0, 700), (300, 1000), (0,))
    assert any("w_f = 0" in remark for remark in calibrate(MAPS, truth, grid).remarks)
    assert not any("w_f = 0" in r for r in calibrate(MAPS, TRUTHS, GRID).remarks)


@pytest.mark.parametrize(
    ("maps", "truths", "grid"),
    [
        (MAPS, TRUTHS, replace(GRID, t=())),
        (MAPS, [np.zeros_like(truth) for truth in TRUTHS], GRID),
        (MAPS, TRUTHS[:1], GRID),
        (MAPS, TRUTHS, replace(GRID, w_f=(1001,))),
    ],
)
def test_what_cannot_be_calibrated_is_refused(maps, truths, grid):
    with pytest.raises(DcanError):
        calibrate(maps, truths, grid)
