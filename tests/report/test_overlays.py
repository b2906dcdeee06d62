"""Pictures: colours at known pixels, labels never mixed, faults where they are."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dcan.ops.definitions import MISTAKES
from dcan.report import overlays
from dcan.report.marks import MARK, MISTAKE_COLOURS, marks
from dcan.report.overlays import MERGE, OUTLINE, SPLIT, Layer, Overlay

GREY = np.full((6, 8), 77, np.uint8)


def decoded(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(png)).convert("RGBA"))


def layer(overlay: Overlay, name: str) -> np.ndarray:
    (found,) = [one for one in overlays.layers(overlay) if one.name == name]
    return decoded(found.png)


def labels(rows: list[list[int]]) -> np.ndarray:
    return np.array(rows, np.uint64)


def test_em_is_grey_at_full_size() -> None:
    em = np.arange(48, dtype=np.uint8).reshape(6, 8)
    picture = decoded(overlays.em_png(Overlay(0, em)))
    assert np.array_equal(picture[..., 0], em)
    assert np.array_equal(picture[..., 2], em)
    assert (picture[..., 3] == 255).all()


def test_membrane_is_as_opaque_as_it_is_likely() -> None:
    membrane = np.zeros((6, 8), np.uint8)
    membrane[2, 3], membrane[4, 5] = 255, 100
    picture = layer(Overlay(0, GREY, membrane=membrane), "membrane")
    assert picture[0, 0, 3] == 0
    assert tuple(picture[2, 3]) == (*overlays.MEMBRANE_COLOUR, 229)
    assert tuple(picture[4, 5]) == (*overlays.MEMBRANE_COLOUR, 90)


def test_labels_have_their_colour_outlines_and_clear_background() -> None:
    field = np.zeros((6, 8), np.uint64)
    field[1:5, 1:4], field[1:5, 4:7] = 9, 2**63 + 5
    picture = layer(Overlay(0, GREY, neurites=field), "neurites")
    assert picture[0, 0, 3] == 0
    assert tuple(picture[2, 2, :3]) == overlays.colour_of(9)
    assert tuple(picture[2, 5, :3]) == overlays.colour_of(2**63 + 5)
    assert overlays.colour_of(9) != overlays.colour_of(2**63 + 5)
    assert tuple(picture[2, 3, :3]) == overlays.OUTLINE_COLOUR
    assert tuple(picture[4, 2, :3]) == overlays.OUTLINE_COLOUR


def test_near_labels_spread_over_the_colours() -> None:
    assert len({overlays.colour_of(label) for label in range(1, 101)}) > 60


def test_a_label_keeps_its_colour_across_sections_and_layers() -> None:
    alone, among = np.full((6, 8), 41, np.uint64), np.full((6, 8), 7, np.uint64)
    among[:, :5] = 41
    first = layer(Overlay(0, GREY, segments=alone), "segments")
    second = layer(Overlay(1, GREY, neurites=among), "neurites")
    assert tuple(first[2, 2]) == tuple(second[2, 2]) != tuple(second[2, 6])


def test_faults_name_splits_and_merges() -> None:
    truth = labels([[1, 1, 1, 1, 1, 0, 2, 2, 2, 3, 3]] * 3)
    found = labels([[5, 5, 5, 6, 6, 0, 7, 7, 7, 7, 7]] * 3)
    expected = [0, 0, OUTLINE, SPLIT, OUTLINE, 0, 0, 0, 0, MERGE, MERGE]
    assert overlays.faults(truth, found)[1].tolist() == expected


def test_faults_ignore_background_on_either_side() -> None:
    truth = labels([[1, 1, 1, 0, 0, 0]] * 2)
    found = labels([[0, 0, 4, 4, 4, 4]] * 2)
    assert set(overlays.faults(truth, found)[0].tolist()) <= {0, OUTLINE}
    assert not overlays.faults(np.zeros_like(truth), np.zeros_like(truth)).any()


def test_of_equal_overlaps_the_lower_label_is_the_main_one() -> None:
    truth = labels([[1] * 4] * 2)
    found = labels([[8, 8, 3, 3]] * 2)
    assert overlays.faults(truth, found)[0].tolist() == [SPLIT, OUTLINE, 0, 0]


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 5))
def test_faults_agree_with_counting_one_pixel_at_a_time(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n + 1, (7, 9)).astype(np.uint64)
    found = rng.integers(0, m + 1, (7, 9)).astype(np.uint64)
    marks = overlays.faults(truth, found)
    pairs = [(a, b) for a, b in zip(truth.ravel(), found.ravel(), strict=True) if a and b]

    def main(axis: int, label: int) -> int:
        partners = [pair[1 - axis] for pair in pairs if pair[axis] == label]
        return min(set(partners), key=lambda partner: (-partners.count(partner), partner))

    for (y, x), mark in np.ndenumerate(marks):
        a, b = truth[y, x], found[y, x]
        if mark == OUTLINE or not (a and b):
            assert mark in (0, OUTLINE)
        elif main(1, b) != a:
            assert mark == MERGE
        else:
            assert mark == (SPLIT if main(0, a) != b else 0)


def test_large_sections_shrink_means_for_grey_samples_for_labels() -> None:
    em = np.zeros((1400, 2100), np.uint8)
    em[:, :3] = [30, 60, 90]
    field = np.full((1400, 2100), 1, np.uint64)
    field[:, 1050:] = 3
    overlay = Overlay(0, em, segments=field)
    grey, drawn = decoded(overlays.em_png(overlay)), layer(overlay, "segments")
    assert grey.shape == drawn.shape == (466, 700, 4)
    assert grey[0, 0, 0] == 60
    seen = {tuple(int(part) for part in colour) for colour in drawn[5, :, :3]}
    assert seen == {overlays.colour_of(1), overlays.colour_of(3), overlays.OUTLINE_COLOUR}


@given(st.integers(1, 40), st.integers(1, 40))
def test_any_shape_gives_one_picture_and_layers_of_its_size(height: int, width: int) -> None:
    field = np.ones((height, width), np.uint64)
    overlay = Overlay(0, np.zeros((height, width), np.uint8), segments=field, truth=field)
    sizes = {decoded(one.png).shape for one in overlays.layers(overlay)}
    assert sizes == {decoded(overlays.em_png(overlay)).shape} == {(height, width, 4)}


def test_thin_sections_keep_a_pixel() -> None:
    overlay = Overlay(0, np.zeros((1, 3000), np.uint8), truth=np.ones((1, 3000), np.uint64))
    assert decoded(overlays.em_png(overlay)).shape == (1, 700, 4)
    assert layer(overlay, "truth").shape == (1, 700, 4)


def test_faults_need_truth_and_segments() -> None:
    def names(made: tuple[Layer, ...]) -> list[str]:
        return [one.name for one in made]

    field = np.ones((6, 8), np.uint64)
    assert names(overlays.layers(Overlay(0, GREY, segments=field))) == ["segments"]
    both = overlays.layers(Overlay(0, GREY, segments=field, truth=field, membrane=GREY))
    assert names(both) == ["membrane", "segments", "truth", "faults"]
    judged = overlays.layers(Overlay(0, GREY, truth=field, mistakes=GREY))
    assert names(judged) == ["truth", "mistakes"]


def test_mistakes_are_squares_around_their_pixels_splits_over_the_rest() -> None:
    wrong = np.zeros((12, 30), np.uint8)
    wrong[5, 4], wrong[5, 6], wrong[0, 29], wrong[11, 20] = 1, 2, 6, 3
    picture = layer(Overlay(0, np.zeros_like(wrong), mistakes=wrong), "mistakes")
    shown = np.zeros(wrong.shape, np.uint8)
    for value in range(len(MISTAKES), 0, -1):
        for y, x in np.argwhere(wrong == value):
            shown[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3] = value
    for value, kind in enumerate(MISTAKES, 1):
        colour = (*MISTAKE_COLOURS[kind], 255)
        assert ((picture == colour).all(axis=2) == (shown == value)).all()
    assert (picture[shown == 0, 3] == 0).all()
    assert len(set(MISTAKE_COLOURS.values())) == len(MISTAKES)


@given(st.integers(1, 3000), st.integers(1, 3000), st.data())
def test_no_mistake_is_lost_when_a_section_shrinks(height: int, width: int, data: Any) -> None:
    y, x = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    wrong = np.zeros((height, width), np.uint8)
    wrong[y, x] = 4
    size = overlays._small(wrong.shape)
    shown = marks(wrong, size)
    assert shown.shape == size
    assert shown[y * size[0] // height, x * size[1] // width] == 4
    assert np.count_nonzero(shown) <= MARK**2


@pytest.mark.parametrize("shape", [(3, 8), (6, 8, 1)])
def test_arrays_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="section 4"):
        Overlay(4, GREY, truth=np.zeros(shape, np.uint64))
    with pytest.raises(ValueError, match="section 4"):
        Overlay(4, np.zeros((0, 8), np.uint8))
