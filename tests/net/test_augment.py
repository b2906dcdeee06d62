from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from dcan.config.networks import Augmentation
from dcan.net.augment import (
    DEFAULT,
    DEFECTS,
    DISTURBANCES,
    OFF,
    Section,
    Strength,
    _starts,
    sample,
    shown,
    stream,
)
from dcan.net.train import inner
from dcan.net.warp import SPACING, _displacement
from dcan.ops.targets import UNKNOWN

TURNS = replace(OFF, turns=True)
GEOMETRIC = ("elastic", "scale", "rotation", "creases")


def only(*names: str, **more: float) -> Strength:
    """Each of `names` in every sample, and nothing else but what `more` says."""
    values = {name: 1.0 if name in DEFECTS else getattr(DEFAULT, name) for name in names}
    return replace(OFF, **{"often": 1.0, **values, **more})  # type: ignore[arg-type]


def section(shape: tuple[int, int] = (60, 70), seed: int = 0) -> Section:
    rng = np.random.default_rng(seed)
    em = rng.standard_normal(shape, np.float32)
    return Section(em, rng.integers(0, 3, shape, dtype=np.uint8))


def cells(shape: tuple[int, int] = (96, 96)) -> Section:
    """Bright cells between dark membranes."""
    y, x = np.indices(shape)
    target = ((y % 16 > 2) & (x % 16 > 2)).astype(np.uint8)
    return Section((target * 2.0 - 1).astype(np.float32), target)


def eight(array: np.ndarray) -> list[np.ndarray]:
    turned = [np.rot90(array, k) for k in range(4)]
    return turned + [each[:, ::-1] for each in turned]


def equal(a: Section, b: Section) -> bool:
    return np.array_equal(a.em, b.em) and np.array_equal(a.target, b.target)


def drawn(strength: Strength, index: int, given: Section | None = None, crop: int = 64) -> Section:
    return sample([cells() if given is None else given], stream(0, 0, index), crop, strength)


def test_a_sample_is_a_function_of_seed_step_and_index() -> None:
    sections = [section(), section((40, 50), 1)]
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    every = only(*DISTURBANCES)
    once = {key: sample(sections, stream(*key), 32, every) for key in keys}
    again = {key: sample(sections, stream(*key), 32, every) for key in reversed(keys)}
    assert all(equal(once[key], again[key]) for key in keys)
    assert not any(equal(once[keys[0]], once[key]) for key in keys[1:])


def test_defaults_are_those_of_the_configuration() -> None:
    assert Strength(**Augmentation().model_dump()) == DEFAULT


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("names", [*[(name,) for name in GEOMETRIC], GEOMETRIC])
def test_the_target_moves_with_the_image(axis: int, names: tuple[str, ...]) -> None:
    """On an image of row (column) numbers all see it: splines keep them but where, at an edge,
    they turn back."""
    ramp = np.indices((130, 120))[axis]
    where = Section(ramp.astype(np.float32), (ramp % 2).astype(np.uint8))
    moved = 0
    for index in range(40):
        found = drawn(only(*names, turns=True), index, where)
        clear = (np.abs(found.em % 1 - 0.5) > 1e-3) & (found.target != 2)
        clear &= (found.em > 8) & (found.em < ramp.max() - 8)
        assert clear.mean() > 0.25
        assert np.array_equal(found.target[clear], np.rint(found.em[clear]).astype(int) % 2)
        plain = drawn(TURNS, index, where)
        moved += bool((np.abs(found.em - plain.em)[found.target != 2] > 0.1).any())
    assert moved > 30


def inland(count: int) -> list[int]:
    """The first samples of 64 pixels that lie 24 or more inside a section of 200 x 200."""
    found: list[int] = []
    for index in range(99 * count):
        ramps = (ramp.astype(np.float32) for ramp in np.indices((200, 200)))
        at = [drawn(OFF, index, Section(r, np.ones(r.shape, np.uint8))).em for r in ramps]
        if np.min(at) >= 24 and np.max(at) < 176:
            found.append(index)
        if len(found) == count:
            break
    return found


def jacobian(strength: Strength, index: int) -> np.ndarray:
    """Change of the place in the section, y and x, by pixel down and right, in the middle."""
    found = []
    for axis in (0, 1):
        ramp = np.indices((200, 200))[axis]
        at = drawn(strength, index, Section(ramp.astype(np.float32), ramp.astype(np.uint8))).em
        found.append([at[40, 32] - at[24, 32], at[32, 40] - at[32, 24]])
    return np.array(found) / 16


def test_scale_is_of_both_axes_and_within_its_bound() -> None:
    scales = []
    for index in inland(60):
        matrix = jacobian(only("scale", scale=0.5), index)
        assert matrix == pytest.approx(np.eye(2) * matrix[0, 0], abs=1e-3)
        scales.append(np.log2(matrix[0, 0]))
    assert -0.5 <= min(scales) < -0.35
    assert 0.35 < max(scales) <= 0.5


def test_rotation_keeps_lengths_and_is_within_its_bound() -> None:
    angles = []
    for index in inland(60):
        matrix = jacobian(only("rotation", rotation=20), index)
        assert matrix @ matrix.T == pytest.approx(np.eye(2), abs=2e-3)
        assert np.linalg.det(matrix) == pytest.approx(1, abs=2e-3)
        angles.append(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))
    assert -20 <= min(angles) < -14
    assert 14 < max(angles) <= 20


def test_a_crease_hides_a_strip_and_is_dark_and_unknown_in_its_middle() -> None:
    flat = Section(np.zeros((200, 200), np.float32), np.ones((200, 200), np.uint8))
    for index in inland(20):
        found = drawn(only("creases"), index, flat)
        inside = found.target == 2
        assert 0 < inside.mean() < 0.4
        assert (found.em[inside] < 0).all()
        assert (found.em[~inside] == 0).all()
        # straight across: rows and columns are cut at most once
        assert (np.abs(np.diff(inside.astype(int), axis=1)).sum(1) <= 2).all()
        ramps = np.indices((200, 200)).astype(np.float32)
        at = [drawn(only("creases"), index, Section(r, flat.target)).em for r in ramps]
        plain = [drawn(OFF, index, Section(r, flat.target)).em for r in ramps]
        shift = np.hypot(*(a - b for a, b in zip(at, plain, strict=True)))[~inside]
        hidden = shift.max()
        assert 4 <= hidden <= 16
        assert np.isclose(shift, 0).any()
        assert (np.isclose(shift, 0, atol=1e-3) | np.isclose(shift, hidden, atol=1e-3)).all()


def test_every_turn_and_flip_comes_up_and_nothing_else() -> None:
    whole = section((32, 32))
    seen = set()
    for index in range(200):
        found, plain = drawn(TURNS, index, whole, 32), drawn(OFF, index, whole, 32)
        at = [np.array_equal(found.em, each) for each in eight(plain.em)].index(True)
        assert np.array_equal(found.target, eight(plain.target)[at])
        seen.add(at)
    assert seen == set(range(8))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_beyond_the_edge_a_section_is_reflected(height: int, width: int, index: int) -> None:
    whole = section((height, width))
    found = drawn(OFF, index, whole, 40)
    em, target = (np.pad(a, 40, mode="symmetric") for a in (whole.em, whole.target))
    starts = product(range(20, height + 21), range(20, width + 21))
    places = (np.s_[y : y + 40, x : x + 40] for y, x in starts)
    assert any(
        np.array_equal(found.em, em[place]) and np.array_equal(found.target, target[place])
        for place in places
    )


def test_crops_come_from_everywhere() -> None:
    ramp = np.arange(10 * 12, dtype=np.float32).reshape(10, 12)
    whole = Section(ramp, np.zeros((10, 12), np.uint8))
    crops = [drawn(TURNS, i, whole, 8).em for i in range(300)]
    assert len(np.unique(np.stack(crops))) == ramp.size


def labelled_at(*places: tuple[slice, slice]) -> Section:
    target = np.full((900, 700), UNKNOWN, np.uint8)
    for place in places:
        target[place] = 1
    return Section(np.zeros(target.shape, np.float32), target)


@pytest.mark.parametrize("at", [np.s_[3:4, 5:6], np.s_[880:900, 690:700], np.s_[400:410, 300:500]])
def test_a_sample_lies_where_something_is_labelled(at: tuple[slice, slice]) -> None:
    sparse = labelled_at(at)
    learned = [inner(drawn(OFF, index, sparse, 64).target) for index in range(100)]
    assert all((target != UNKNOWN).any() for target in learned)
    assert len({target.tobytes() for target in learned}) > 50, "at different places"


def test_labels_that_lie_far_apart_are_learned_in_every_sample() -> None:
    corners = labelled_at(np.s_[:2, :2], np.s_[897:, 697:], np.s_[450:451, 3:4])
    places = set()
    for index in range(200):
        target = inner(drawn(OFF, index, corners, 64).target)
        assert (target != UNKNOWN).any()
        rng = stream(0, 0, index).spawn(1)[0]
        places.add(tuple(start // 300 for start in _starts(corners, rng, 64)))
    assert len(places) > 2, "of all three"


def test_a_section_without_labels_has_samples() -> None:
    bare = labelled_at()
    assert bare.extent == ((0, 900), (0, 700))
    assert (drawn(OFF, 0, bare, 64).target == UNKNOWN).all()


def test_sections_are_drawn_by_what_is_labelled_of_them() -> None:
    few, many = labelled_at(np.s_[:10, :30]), labelled_at(np.s_[:30, :30])
    many.em[...] = 1
    none = Section(np.full((2000, 2000), 2, np.float32), np.full((2000, 2000), UNKNOWN, np.uint8))
    found = [sample([few, none, many], stream(0, 0, i), 8, OFF).em[0, 0] for i in range(400)]
    assert set(found) == {0, 1}
    assert np.mean(found) == pytest.approx(0.75, abs=0.07)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_where_all_is_labelled_every_place_is_as_likely(
    height: int, width: int, index: int
) -> None:
    whole = Section(np.zeros((height, width), np.float32), np.zeros((height, width), np.uint8))
    rng, plain = stream(0, 0, index), stream(0, 0, index)
    wanted = [int(plain.integers(-32, n - 32 + 1)) for n in (height, width)]
    assert _starts(whole, rng, 64) == wanted


@given(st.sets(st.sampled_from(DISTURBANCES)), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_samples_are_finite_and_the_target_changes_by_moves_and_defects_alone(
    names: set[str], index: int
) -> None:
    found = drawn(only(*names, turns=True), index, section((50, 60)), 40)
    assert (found.em.dtype, found.target.dtype) == (np.float32, np.uint8)
    assert found.em.shape == found.target.shape == (40, 40)
    assert found.em.flags.c_contiguous
    assert found.target.flags.c_contiguous
    assert np.isfinite(found.em).all()
    moves = names & set(GEOMETRIC)
    still = drawn(only(*moves, turns=True), index, section((50, 60)), 40)
    same = found.target == still.target
    assert same.all() or "missing" in names
    assert (found.target[~same] == 2).all()


@pytest.mark.parametrize("name", DISTURBANCES)
def test_each_disturbance_does_something_and_only_when_drawn(name: str) -> None:
    changed = [not equal(drawn(only(name), i), drawn(OFF, i)) for i in range(12)]
    assert sum(changed) >= (8 if name == "blur" else 12)  # a small blur changes nothing
    seldom = only(name, **{name if name in DEFECTS else "often": 0.25})
    share = np.mean([not equal(drawn(seldom, i), drawn(OFF, i)) for i in range(300)])
    assert share == pytest.approx(1.0 if name in ("contrast", "brightness") else 0.24, abs=0.08)


def test_a_gamma_bends_and_neither_brightens_nor_widens() -> None:
    for index in range(12):
        plain, bent = (drawn(s, index, section()).em for s in (OFF, only("gamma", gamma=1.0)))
        assert bent.mean() == pytest.approx(plain.mean(), abs=1e-3)
        assert bent.std() == pytest.approx(plain.std(), rel=1e-3)
        assert np.abs(bent - plain).max() > 1e-3
        order = np.argsort(plain, axis=None)
        assert (np.diff(bent.ravel()[order]) >= -1e-6).all()
    flat = Section(np.full((40, 40), 2.5, np.float32), np.ones((40, 40), np.uint8))
    assert (drawn(only("gamma"), 0, flat, 32).em == 2.5).all()


def test_a_place_between_pixels_keeps_what_is_fine() -> None:
    """Of a wave of 4 pixels linear interpolation would take 10 to 30 per cent."""
    wave = np.sin(np.pi / 2 * np.indices((200, 200))[0]).astype(np.float32)
    where = Section(wave, np.ones((200, 200), np.uint8))
    kept = [drawn(only("elastic"), i, where).em.std() / wave.std() for i in range(20)]
    assert min(kept) > 0.9


@pytest.mark.parametrize("length", [32, 64, 72, 128])
def test_edges_are_learned_about_as_often_as_the_middle(length: int) -> None:
    where = np.arange(length**2).reshape(length, length)
    whole = Section(where.astype(np.float32), np.ones(where.shape, np.uint8))
    seen = np.zeros(where.size)
    for index in range(600):
        found = drawn(OFF, index, whole, 64)
        crop = found.em[inner(found.target) == 1].astype(np.int64)
        np.add.at(seen, crop, 1)
    seen = seen.reshape(where.shape) / seen.mean()
    assert seen[:8].mean() > 0.75
    assert seen[:8, :8].mean() > 0.75


def test_elastic_displacements_are_the_spline_of_their_nodes() -> None:
    found = _displacement(stream(1, 2, 3), 100, 4.0)
    drawn_at = stream(1, 2, 3).normal(0, 4.0, (2, 6, 6)).astype(np.float32)
    grid = np.indices((100, 100)) / SPACING + 1
    wanted = [ndimage.map_coordinates(axis, grid, order=3, mode="nearest") for axis in drawn_at]
    assert found == pytest.approx(np.array(wanted), abs=1e-4)


@pytest.mark.parametrize("name", ["contrast", "brightness", "gamma", "noise", "blur"])
def test_intensities_follow_their_strength(name: str) -> None:
    low, high = (only(name, **{name: s}) for s in (0.1, 0.2))
    sizes = [
        [np.abs(drawn(s, i, section()).em - drawn(OFF, i, section()).em).mean() for i in range(12)]
        for s in (low, high)
    ]
    assert np.sum(sizes[1]) > 1.3 * np.sum(sizes[0])


@pytest.mark.parametrize("other", [name for name in DISTURBANCES if name != "noise"])
def test_another_disturbance_leaves_the_draws_of_noise(other: str) -> None:
    noise = drawn(only("noise"), 5).em - drawn(OFF, 5).em
    found, without = drawn(only("noise", other), 5), drawn(only(other), 5)
    assert not equal(without, drawn(OFF, 5))
    known = (found.target != 2) | (other == "creases")
    np.testing.assert_allclose((found.em - without.em)[known], noise[known], atol=1e-5)


def test_a_dark_patch_darkens_softly_and_in_one_place() -> None:
    for index in range(10):
        change = drawn(only("dark"), index).em - drawn(OFF, index).em
        assert change.max() <= 0
        assert -3.01 <= change.min() < -0.5
        assert (change > -0.1).mean() > 0.2
        assert np.abs(np.diff(change, axis=1)).max() < 1


def test_where_tissue_is_missing_nothing_is_known() -> None:
    for index in range(10):
        found, plain = drawn(only("missing"), index), drawn(OFF, index)
        gone = found.target == 2
        assert 0 < gone.mean() < 0.3
        assert np.ptp(found.em[gone]) == 0
        assert np.array_equal(found.em[~gone], plain.em[~gone])
        rows, columns = np.nonzero(gone)
        assert gone.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)


def test_gaps_fade_membrane_and_leave_it_in_the_target() -> None:
    for index in range(10):
        found, plain = drawn(only("gaps"), index), drawn(OFF, index)
        assert np.array_equal(found.target, plain.target)
        lifted = (found.em - plain.em) > 1
        assert lifted.any()
        assert (plain.target[lifted] == 0).all()
        assert found.em.max() <= 1 + 1e-5
    blank = Section(np.zeros((64, 64), np.float32), np.ones((64, 64), np.uint8))
    assert equal(drawn(only("gaps"), 0, blank), drawn(OFF, 0, blank))


def test_large_sections_are_drawn_more_often() -> None:
    small = Section(np.zeros((16, 16), np.float32), np.zeros((16, 16), np.uint8))
    large = Section(np.ones((48, 16), np.float32), np.zeros((48, 16), np.uint8))
    found = [sample([small, large], stream(0, 0, i), 16, TURNS).em[0, 0] for i in range(400)]
    assert float(np.mean(found)) == pytest.approx(0.75, abs=0.08)


def test_each_disturbance_is_shown_alone_at_the_same_places() -> None:
    rows = dict(shown(cells(), 48, 3, replace(DEFAULT, blur=0)))
    assert set(rows) == {"none", "turns", *DISTURBANCES} - {"blur"}
    assert all(len(row) == 3 for row in rows.values())
    for index, plain in enumerate(rows["none"]):
        assert equal(plain, drawn(OFF, index, crop=48))
        for name in ("noise", "missing"):
            assert equal(rows[name][index], drawn(only(name), index, crop=48))
