from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from dcan.errors import DcanError
from dcan.geometry import Box
from dcan.ops import phantom

SHAPES = ((7, 150, 67), (6, 31, 203), (1, 1, 1), (2, 97, 3))
DEMO = (24, 256, 256)


@cache
def whole(shape, seed=0):
    return phantom.render(shape, seed, Box.whole(shape))


@cache
def whole_membrane(shape, seed=0):
    return phantom.membrane(shape, seed, Box.whole(shape))


@st.composite
def boxes(draw):
    shape = draw(st.sampled_from(SHAPES))
    sides = [sorted(draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
    return shape, Box(tuple(a for a, _ in sides), tuple(b for _, b in sides))


def on_border(section):
    """Pixels with a 4-neighbour of another neurite."""
    border = np.zeros(section.shape, bool)
    down, right = section[1:] != section[:-1], section[:, 1:] != section[:, :-1]
    border[1:] |= down
    border[:-1] |= down
    border[:, 1:] |= right
    border[:, :-1] |= right
    return border


def profiles(section, name):
    return ndimage.label(section == name)[1]


@given(boxes(), st.sampled_from((0, 3)))
def test_any_box_is_that_part_of_the_whole_volume(place, seed):
    shape, box = place
    rendered = phantom.render(shape, seed, box)
    assert rendered.em.dtype == np.uint8
    assert rendered.neurites.dtype == np.uint32
    assert rendered.em.shape == rendered.neurites.shape == box.shape
    assert (rendered.em == whole(shape, seed).em[box.slices]).all()
    assert (rendered.neurites == whole(shape, seed).neurites[box.slices]).all()
    expected = whole_membrane(shape, seed)[box.slices]
    assert (phantom.membrane(shape, seed, box) == expected).all()


@pytest.mark.parametrize("shape", [*SHAPES, (5, 64, 64), (13, 7, 11), (1, 2, 53)])
def test_present_sections_are_full_of_neurites_and_missing_ones_are_empty(shape):
    missing = phantom.missing_sections(shape, 0)
    for z in range(shape[0]):
        assert (whole(shape).neurites[z] == 0).all() == (z in missing)
        assert (whole(shape).neurites[z] > 0).all() == (z not in missing)
        assert whole(shape).em[z].any() == (z not in missing)
        if z in missing or shape[1] > 1:
            assert (whole_membrane(shape)[z] == 255).all() == (z in missing)


def test_missing_and_dark_sections_lie_at_two_thirds_and_a_quarter():
    assert phantom.missing_sections((24, 1, 1), 0) == (16,)
    assert phantom.dark_sections((24, 1, 1), 0) == (6,)
    assert phantom.missing_sections((6, 1, 1), 0) == (4,)
    assert phantom.missing_sections((5, 1, 1), 0) == phantom.dark_sections((5, 1, 1), 0) == ()
    means, spreads = whole(DEMO).em.mean((1, 2)), whole(DEMO).em.std((1, 2))
    others = [z for z in range(24) if z not in (6, 16)]
    assert means[6] < 0.7 * means[others].min()
    assert spreads[6] < 0.7 * spreads[others].min()
    assert np.ptp(means[others]) > 10


def test_seeds_differ_and_a_seed_repeats():
    shape = (2, 64, 64)
    again = phantom.render(shape, 0, Box.whole(shape))
    assert (again.em == whole(shape).em).all()
    for seed in (1, -1, 2**70 + 5):
        other = phantom.render(shape, seed, Box.whole(shape))
        assert (other.em != again.em).mean() > 0.9
        assert len(np.setxor1d(other.neurites, again.neurites)) > 0


@pytest.mark.parametrize("shape", [(8, 64, 64), (16, 128, 192)])
def test_small_volumes_have_several_neurites_in_every_section(shape):
    for seed in range(40):
        z = seed % 4
        box = Box((z, 0, 0), (z + 1, *shape[1:]))
        neurites = phantom.render(shape, seed, box).neurites
        assert (np.unique(neurites, return_counts=True)[1] >= 40).sum() >= 4


def test_a_neurite_branches_two_profiles_here_one_there_connected_in_depth():
    neurites = np.delete(whole(DEMO).neurites, phantom.missing_sections(DEMO, 0), axis=0)
    branching = 0
    for name in np.unique(neurites):
        counts = [profiles(section, name) for section in neurites]
        connected = ndimage.label(neurites == name)[1] == 1
        branching += 1 in counts and max(counts) >= 2 and connected
    assert branching >= 5


def test_nearly_every_neurite_is_connected_and_some_start_and_end_inside():
    neurites = np.delete(whole(DEMO).neurites, phantom.missing_sections(DEMO, 0), axis=0)
    interior = neurites[:, 20:-20, 20:-20]
    names = np.setdiff1d(interior, np.concatenate([neurites[0], neurites[-1]]))
    assert len(names) >= 5
    everything = np.unique(neurites)
    connected = [ndimage.label(neurites == n, np.ones((3, 3, 3)))[1] == 1 for n in everything]
    assert np.mean(connected) > 0.93


def test_profiles_are_thin_to_large():
    section = phantom.render((24, 768, 768), 0, Box((0, 0, 0), (1, 768, 768))).neurites[0]
    compact = np.unique(section, return_inverse=True)[1].reshape(section.shape) + 1
    areas, widths = [], []
    for name, place in enumerate(ndimage.find_objects(compact), 1):
        profile = np.pad(compact[place] == name, 1)
        areas.append(profile.sum())
        widths.append(2 * ndimage.distance_transform_edt(profile).max())
    assert np.percentile(widths, 10) < 20
    assert 30 < np.median(np.sqrt(areas)) < 60
    assert max(areas) > np.pi * 65**2


def test_neighbouring_images_drift_by_three_pixels_at_most_and_stay_within_twelve():
    paths = np.array([[phantom.drift(seed, z) for z in range(150)] for seed in range(6)])
    steps = abs(np.diff(paths, axis=1))
    assert abs(paths).max() <= 12
    assert steps.max() <= 3
    assert (steps >= 2).mean() > 0.05
    assert abs(paths).max() >= 6


def test_image_and_truth_drift_together():
    agreements, shifted = [], []
    neurites = whole(DEMO).neurites
    for z in range(18, 23):
        (y0, x0), (y1, x1) = phantom.drift(0, z - 2), phantom.drift(0, z)
        if abs(y1 - y0) + abs(x1 - x0) >= 4:
            before, here = neurites[z - 2], neurites[z]
            back = np.roll(here, (y0 - y1, x0 - x1), (0, 1))
            core = (slice(15, -15), slice(15, -15))
            agreements.append((back == before)[core].mean())
            shifted.append((here == before)[core].mean())
    assert agreements
    assert np.mean(agreements) > np.mean(shifted) + 0.02


def test_borders_are_dark_lines_with_gaps_and_a_map_that_follows_them():
    for z in (0, 3, 20):
        section = whole(DEMO).neurites[z]
        border = on_border(section)
        inside = ndimage.distance_transform_edt(~border) > 8
        em, p = whole(DEMO).em[z].astype(float), whole_membrane(DEMO)[z].astype(float)
        assert em[inside].mean() - em[border].mean() > 45
        assert p[border].mean() - p[inside].mean() > 130
        faint = p[border] < 110
        assert 0.05 < faint.mean() < 0.4
        assert (em[border][faint]).mean() - em[border][~faint].mean() > 25
        assert (p[inside] > 70).mean() > 0.005


def test_no_membrane_crosses_the_inside_of_a_neurite_not_even_between_its_branches():
    for z in (0, 3, 9, 20):
        far = ndimage.distance_transform_edt(~on_border(whole(DEMO).neurites[z])) > 16
        assert far.sum() > 2000
        assert whole_membrane(DEMO)[z][far].max() < 190


def test_large_volumes_can_be_declared_and_read_at_their_far_corner():
    shape = (2500, 20000, 20000)
    for corner in ((0, 0, 0), (2499, 19980, 19990)):
        box = Box(corner, tuple(c + 1 if i == 0 else c + 10 for i, c in enumerate(corner)))
        assert (phantom.render(shape, 1, box).neurites > 0).all()


@given(
    st.tuples(*(st.integers(0, n - 40) for n in (2500, 20000, 20000))),
    st.tuples(*(st.integers(0, 30) for _ in range(3))),
)
@settings(max_examples=10)
def test_any_box_of_a_teravoxel_is_that_part_of_a_larger_box(corner, inset):
    shape = (2500, 20000, 20000)
    around = Box(corner, tuple(c + n for c, n in zip(corner, (3, 40, 40), strict=True)))
    inside = Box(tuple(c + i for c, i in zip(corner, inset, strict=True)), around.stop)
    inside = inside.intersect(around)
    larger, smaller = (phantom.render(shape, 5, box) for box in (around, inside))
    assert (larger.em[inside.within(around)] == smaller.em).all()
    assert (larger.neurites[inside.within(around)] == smaller.neurites).all()
    maps = [phantom.membrane(shape, 5, box) for box in (around, inside)]
    assert (maps[0][inside.within(around)] == maps[1]).all()


def test_names_are_those_of_one_place():
    shape = (30, 2000, 2000)
    places = [Box((4, y, x), (5, y + 40, x + 40)) for y in (0, 900, 1900) for x in (0, 900, 1900)]
    seen = [set(np.unique(phantom.render(shape, 0, box).neurites)) for box in places]
    assert sum(map(len, seen)) == len(set.union(*seen))


@pytest.mark.parametrize("shape", [(0, 5, 5), (3, 5, -1), (100_000, 100_000, 100_000)])
def test_shapes_that_cannot_be_are_refused_in_one_line(shape):
    with pytest.raises(DcanError, match=r"phantom shape .* (give|make)"):
        phantom.render(shape, 0, Box((0, 0, 0), (1, 1, 1)))


def test_a_box_outside_is_a_defect_of_the_caller():
    with pytest.raises(ValueError, match="leaves"):
        phantom.render((3, 9, 9), 0, Box((0, 0, 0), (1, 1, 10)))
    with pytest.raises(ValueError, match="leaves"):
        phantom.membrane((3, 9, 9), 0, Box((0, -1, 0), (1, 1, 9)))
