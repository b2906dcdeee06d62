import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcan.net.augment import Section, Strength, sample, stream

MOVES = Strength(contrast=0, brightness=0, gamma=0, noise=0, blur=0, often=1)
TURNS = Strength(elastic=0, contrast=0, brightness=0, gamma=0, noise=0, blur=0)


def section(shape: tuple[int, int] = (60, 70), seed: int = 0) -> Section:
    rng = np.random.default_rng(seed)
    em = rng.standard_normal(shape, np.float32)
    return Section(em, rng.integers(0, 3, shape, dtype=np.uint8))


def eight(array: np.ndarray) -> list[np.ndarray]:
    turned = [np.rot90(array, k) for k in range(4)]
    return turned + [each[:, ::-1] for each in turned]


def equal(a: Section, b: Section) -> bool:
    return np.array_equal(a.em, b.em) and np.array_equal(a.target, b.target)


def test_a_sample_is_a_function_of_seed_step_and_index() -> None:
    sections = [section(), section((40, 50), 1)]
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    once = {key: sample(sections, stream(*key), 32) for key in keys}
    again = {key: sample(sections, stream(*key), 32) for key in reversed(keys)}
    assert all(equal(once[key], again[key]) for key in keys)
    assert not any(equal(once[keys[0]], once[key]) for key in keys[1:])


@pytest.mark.parametrize("axis", [0, 1])
def test_the_target_moves_with_the_image(axis: int) -> None:
    """On an image of row (column) numbers, which bilinear interpolation keeps, all see it."""
    ramp = np.indices((90, 80))[axis]
    where = Section(ramp.astype(np.float32), (ramp % 3).astype(np.uint8))
    bent = 0
    for index in range(40):
        found = sample([where], stream(0, 0, index), 64, MOVES)
        clear = np.abs(found.em % 1 - 0.5) > 1e-3
        assert np.array_equal(found.target[clear], np.rint(found.em[clear]).astype(int) % 3)
        bent += bool((np.abs(found.em - np.rint(found.em)) > 0.1).any())
    assert bent == 40


def test_every_turn_and_flip_comes_up_and_nothing_else() -> None:
    whole = section((32, 32))
    seen = set()
    for index in range(200):
        found = sample([whole], stream(0, 0, index), 32, TURNS)
        at = [np.array_equal(found.em, each) for each in eight(whole.em)].index(True)
        assert np.array_equal(found.target, eight(whole.target)[at])
        seen.add(at)
    assert seen == set(range(8))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_beyond_the_edge_a_section_is_reflected(height: int, width: int, index: int) -> None:
    whole = section((height, width))
    found = sample([whole], stream(0, 0, index), 40, TURNS)
    before = [(40 - length) // 2 for length in (height, width)]
    pad = [(b, 40 - length - b) for b, length in zip(before, (height, width), strict=True)]
    padded = Section(*(np.pad(a, pad, mode="symmetric") for a in (whole.em, whole.target)))
    found_at = [np.array_equal(found.em, each) for each in eight(padded.em)]
    assert any(found_at)
    assert np.array_equal(found.target, eight(padded.target)[found_at.index(True)])


def test_crops_come_from_everywhere() -> None:
    ramp = np.arange(10 * 12, dtype=np.float32).reshape(10, 12)
    whole = Section(ramp, np.zeros((10, 12), np.uint8))
    drawn = [sample([whole], stream(0, 0, i), 8, TURNS).em for i in range(300)]
    assert len(np.unique(np.stack(drawn))) == ramp.size


def test_intensities_change_the_image_alone_and_stay_finite() -> None:
    whole = section((32, 32))
    strong = Strength(elastic=0, often=1)
    for index in range(20):
        plain = sample([whole], stream(0, 0, index), 32, Strength(elastic=0, often=0))
        found = sample([whole], stream(0, 0, index), 32, strong)
        assert found.em.dtype == np.float32
        assert found.target.dtype == np.uint8
        assert np.isfinite(found.em).all()
        assert np.array_equal(found.target, plain.target)
        assert np.abs(found.em - plain.em).max() > 0.05


@pytest.mark.parametrize("only", ["contrast", "brightness", "gamma", "noise", "blur"])
def test_each_disturbance_does_something(only: str) -> None:
    whole = section((32, 32))
    parts = ("elastic", "contrast", "brightness", "gamma", "noise", "blur")
    strength = Strength(**dict.fromkeys(parts, 0) | {only: 1.0, "often": 1})  # type: ignore[arg-type]
    changes = []
    for index in range(5):
        found = sample([whole], stream(0, 0, index), 32, strength)
        changes.append(min(np.abs(found.em - each).max() for each in eight(whole.em)))
    assert max(changes) > 0.1


def test_large_sections_are_drawn_more_often() -> None:
    small = Section(np.zeros((16, 16), np.float32), np.zeros((16, 16), np.uint8))
    large = Section(np.ones((48, 16), np.float32), np.zeros((48, 16), np.uint8))
    drawn = [sample([small, large], stream(0, 0, i), 16, TURNS).em[0, 0] for i in range(400)]
    assert float(np.mean(drawn)) == pytest.approx(0.75, abs=0.08)
