import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from dcan.errors import DcanError
from dcan.ops import metrics
from dcan.ops.contingency import count
from dcan.ops.metrics import THRESHOLDS, Tally, score_stack

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT.parent / "shared" / "reference" / "metrics"
GOLDEN = json.loads((ROOT / "tests" / "golden" / "metrics.json").read_text())
WITHOUT_WARPING = [
    "pixel_error",
    "rand_error_classic",
    "rand_error_foreground",
    "vrand_thin_macro",
    "vrand_thin_micro",
    "vinfo_thin",
]
WARPING = ["warping_error_classic", "warping_error_splits_mergers"]


def neurites(random, shape, cells):
    """Cells of the nearest of random seeds; membrane where two seeds are about as near."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    seeds = random.integers(0, shape, (cells, 2))
    squares = (y - seeds[:, :1, None]) ** 2 + (x - seeds[:, 1:, None]) ** 2
    near = np.sqrt(np.sort(squares, axis=0)[:2])
    return near[1] - near[0] > 3


def synthetic(seed, shape=(64, 80), sections=2):
    """Truth (bool) and a proposal (uint8) that misplaces, breaks and blurs its membranes."""
    random = np.random.default_rng(seed)
    truth = np.stack([neurites(random, shape, 14) for _ in range(sections)])
    noisy = 200 * np.roll(truth, 1, axis=2).astype(np.int64) + 25
    for section in noisy:
        for y, x in random.integers(4, np.array(shape) - 4, (6, 2)):
            section[y - 3 : y + 3, x - 3 : x + 3] = 225
            section[y, x - 4 : x + 16] = 60
    noisy += random.integers(-90, 91, noisy.shape)
    padded = np.pad(noisy, ((0, 0), (1, 1), (1, 1)), "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    return truth, np.clip(windows.sum(axis=(3, 4)) // 9, 0, 255).astype(np.uint8)


def unit(proposal):
    return proposal.astype(np.float32) / np.float32(255)


@pytest.mark.parametrize("name", ["intensity_a", "nearmiss_b", "binary_c", "full_d"])
def test_the_challenges_own_values(name):
    if not REFERENCE.is_dir():
        pytest.skip(f"no reference values at {REFERENCE}")
    expected = json.loads((REFERENCE / "expected.json").read_text())[name]
    truth = tifffile.imread(REFERENCE / f"{name}.labels.tif")
    proposal = tifffile.imread(REFERENCE / f"{name}.proposal.tif")
    scores = score_stack(
        truth,
        unit(proposal),
        thresholds=(0.0,) if name == "binary_c" else THRESHOLDS,
        warping="warping_error_classic" in expected,
    )
    assert scores.best == pytest.approx(expected, rel=0, abs=1e-9)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['seed']}-{case['kind']}")
def test_golden_values(case):
    truth, proposal = synthetic(case["seed"])
    binary = case["kind"] == "binary"
    values = (proposal > 120).astype(np.float32) if binary else unit(proposal)
    scores = score_stack(truth, values, thresholds=(0.0,) if binary else THRESHOLDS)
    assert scores.best == pytest.approx(case["best"], rel=0, abs=1e-12)
    assert scores.at == pytest.approx(case["at"], rel=0, abs=0)


def test_thresholds_are_repeated_sums():
    assert len(THRESHOLDS) == 11
    assert THRESHOLDS[3] == 0.1 + 0.1 + 0.1 != 0.3
    assert THRESHOLDS[-1] < 1


def test_curves_say_where_each_metric_is_best():
    truth, proposal = synthetic(5)
    scores = score_stack(truth, unit(proposal))
    assert list(scores.best) == WITHOUT_WARPING + WARPING
    for name, curve in scores.curves.items():
        assert curve.thresholds == THRESHOLDS[: 10 if name in WARPING else 11]
        alone = score_stack(truth, unit(proposal), thresholds=(curve.at,), warping=name in WARPING)
        assert alone.best[name] == curve.best == scores.best[name]
        extreme = min if "error" in name else max
        assert curve.best == extreme(curve.values)
        assert curve.at == curve.thresholds[curve.values.index(curve.best)] == scores.at[name]
    assert len({curve.at for curve in scores.curves.values()}) > 1


def test_scores_are_plain_values():
    truth, proposal = synthetic(6)
    scores = score_stack(truth, unit(proposal), warping=False)
    plain = json.loads(json.dumps(scores.as_dict()))
    assert list(plain) == WITHOUT_WARPING
    assert plain["pixel_error"] == {
        "best": scores.best["pixel_error"],
        "at": scores.at["pixel_error"],
        "thresholds": list(THRESHOLDS),
        "values": list(scores.curves["pixel_error"].values),
    }


@pytest.mark.parametrize("kind", [np.bool_, np.uint8])
def test_truth_against_itself_is_perfect(kind):
    truth, _ = synthetic(7)
    scores = score_stack(np.where(truth, kind(255), kind(0)), truth.astype(np.float32))
    for name in ("pixel_error", "rand_error_classic", "rand_error_foreground", *WARPING):
        assert scores.best[name] == 0
    for name in ("vrand_thin_macro", "vrand_thin_micro", "vinfo_thin"):
        assert scores.best[name] == pytest.approx(1, abs=1e-12)


def test_high_is_neurite():
    truth, proposal = synthetic(8)
    right = score_stack(truth, unit(proposal)).best
    wrong = score_stack(truth, 1 - unit(proposal)).best
    assert right["pixel_error"] < 0.2 < wrong["pixel_error"]
    assert right["rand_error_foreground"] < wrong["rand_error_foreground"]


def test_a_pixel_is_neurite_as_float64_above_the_threshold():
    truth = np.ones((1, 2, 2), bool)
    values = np.full((1, 2, 2), 0.1, np.float32)
    assert score_stack(truth, values, thresholds=(0.1,), warping=False).best["pixel_error"] == 0
    above = float(np.float32(0.1))
    assert score_stack(truth, values, thresholds=(above,), warping=False).best["pixel_error"] == 1


def test_one_threshold_serves_the_whole_stack():
    truth = np.zeros((2, 4, 4), bool)
    truth[:, 1:3, 1:3] = True
    values = np.where(truth, np.float32(0.35), np.float32(0.05))
    values[1] = np.where(truth[1], np.float32(0.95), np.float32(0.65))
    scores = score_stack(truth, values).best
    assert scores["pixel_error"] > 0
    assert all(
        score_stack(truth[z : z + 1], values[z : z + 1]).best["pixel_error"] == 0 for z in (0, 1)
    )


def test_foreground_counts_of_sections_add_up_to_the_stacks_error():
    truth, proposal = synthetic(9, sections=3)
    on = unit(proposal) > 0.5
    four_connected = [ndimage.label(section)[0] for section in truth]
    counts = [
        metrics.foreground_counts(objects, ndimage.label(section)[0])
        for objects, section in zip(four_connected, on, strict=True)
    ]
    assert all(type(value) is int for part in counts for value in part)
    scores = score_stack(truth, on.astype(np.float32), thresholds=(0.0,), warping=False)
    assert metrics.rand_error(iter(counts)) == scores.best["rand_error_foreground"] > 0


def test_foreground_counts_by_hand():
    truth = np.array([[1, 1, 1, 0, 2, 2]])
    labels = np.array([[5, 5, 0, 5, 5, 7]])
    assert metrics.foreground_counts(truth, labels) == (4 + 1 + 1 + 1, 9 + 1 + 1, 9 + 4)


def test_volume_metrics_are_reachable_beside_those_of_stacks():
    table = count(np.array([1, 1, 2]), np.array([1, 1, 1]))
    assert metrics.volume_scores(table)["rand_split"] == 1
    assert metrics.worst(table, 1, (3,)).merges == (metrics.Fault(1, 2, 1, (2,)),)


def test_every_metric_is_defined():
    volume = metrics.volume_scores(count(np.array([1]), np.array([1])))
    keys = {*WITHOUT_WARPING, *WARPING, *volume, *metrics.HEADLINES}
    assert set(metrics.DEFINITIONS) == keys
    for key in [*WITHOUT_WARPING, *WARPING]:
        assert "high = neurite" in metrics.DEFINITIONS[key]
    for text in metrics.DEFINITIONS.values():
        assert "0" in text
        assert text.endswith(".")
        assert ". " not in text.replace("... ", "")


ZEROS = np.zeros((1, 4, 4), np.float32)


@pytest.mark.parametrize(
    ("truth", "proposal", "words"),
    [
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.float32), "z, y, x"),
        (np.zeros((1, 4, 5), np.uint8), ZEROS, "one shape"),
        (np.zeros((0, 4, 4), np.uint8), np.zeros((0, 4, 4), np.float32), "at least one pixel"),
        (np.zeros((1, 4, 4), np.uint32), ZEROS, "uint32"),
        (np.zeros((1, 4, 4), np.uint8), ZEROS.astype(np.float64), "float64"),
        (np.zeros((1, 4, 4), np.uint8), ZEROS + 255, "0..1"),
        (np.zeros((1, 4, 4), np.uint8), ZEROS - np.float32(0.1), "0..1"),
        (np.zeros((1, 4, 4), np.uint8), ZEROS * np.float32("nan"), "0..1"),
    ],
)
def test_what_does_not_fit_is_refused(truth, proposal, words):
    with pytest.raises(DcanError, match=words):
        score_stack(truth, proposal)


@pytest.mark.parametrize("thresholds", [(), (0.95,), (-0.5,)])
def test_thresholds_that_leave_nothing_to_score_are_refused(thresholds):
    truth = np.ones((1, 4, 4), bool)
    with pytest.raises(DcanError, match="threshold"):
        score_stack(truth, ZEROS, thresholds=thresholds)


def test_pixels_without_tissue_are_in_no_count():
    truth, proposal = synthetic(3)
    truth, proposal = truth[0], unit(proposal[0])
    inner = (slice(12, -12), slice(12, -12))
    tissue = np.zeros(truth.shape, bool)
    tissue[inner] = True
    tally = Tally()
    framed, cropped = (
        tally.measure(truth, proposal, tissue),
        tally.measure(truth[inner], proposal[inner]),
    )
    assert framed.pixels == cropped.pixels == truth[inner].size
    for one, other in zip(framed.overlaps, cropped.overlaps, strict=True):
        assert (one.pixels, one.classic, one.foreground) == (
            other.pixels,
            other.classic,
            other.foreground,
        )
    anything = np.where(tissue, proposal, np.float32(1))
    other = tally.measure(np.where(tissue, truth, True), anything, tissue)
    assert other.overlaps == framed.overlaps
    assert (other.mistakes == framed.mistakes).all()
    assert framed.mistakes[:, 1:].sum() > 0
    everywhere = tally.measure(truth, proposal, np.ones(truth.shape, bool))
    assert everywhere.overlaps == tally.measure(truth, proposal).overlaps
