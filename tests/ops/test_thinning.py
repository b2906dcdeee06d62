from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from dcan.errors import DcanError
from dcan.ops.thinning import thin

MASKS = arrays.arrays(
    np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 0, 1])
)


class Flooding:
    """The flooding pixel by pixel, over all levels: labels > 0, 0 = dam, and names of states."""

    def __init__(self, mask):
        self.levels = {(x, y): 0 if mask[y, x] else 255 for y, x in np.ndindex(mask.shape)}
        self.label = dict.fromkeys(sorted(self.levels), "init")
        self.flag, self.last = False, 0

    def near(self, pixel):
        x, y = pixel
        return [p for p in [(x - 1, y), (x, y - 1), (x + 1, y), (x, y + 1)] if p in self.label]

    def is_basin(self, pixel):
        return self.label[pixel] not in ("init", "mask", "queued", 0)

    def meet(self, p, q):
        if self.is_basin(q):
            if self.label[p] == "queued" or (self.label[p] == 0 and self.flag):
                self.label[p] = self.label[q]
            elif self.is_basin(p) and self.label[p] != self.label[q]:
                self.label[p], self.flag = 0, False
        elif self.label[q] == 0 and self.label[p] == "queued":
            self.label[p], self.flag = 0, True

    def spread(self, queue, old, new):
        while queue:
            p = queue.popleft()
            for q in self.near(p):
                self.meet(p, q)
                if self.label[q] == old:
                    self.label[q] = new
                    queue.append(q)

    def flood(self, level):
        own = [p for p in self.label if self.levels[p] == level]
        queue = deque()
        for p in own:
            self.label[p] = "mask"
            if any(self.is_basin(q) or self.label[q] == 0 for q in self.near(p)):
                self.label[p] = "queued"
                queue.append(p)
        self.spread(queue, "mask", "queued")
        for p in own:
            if self.label[p] == "mask":
                self.last += 1
                self.label[p] = self.last
                self.spread(deque([p]), "mask", self.last)


def slow(mask):
    flooding = Flooding(mask)
    for level in (0, 255):
        flooding.flood(level)
    thinned = np.empty(mask.shape, int)
    for (x, y), label in flooding.label.items():
        thinned[y, x] = label
    return thinned


def components(mask):
    return ndimage.label(mask)[0].astype(np.int32)


def same_partition(a, b):
    """Equal up to names, 0 staying 0."""
    pairs = set(zip(a.ravel().tolist(), b.ravel().tolist(), strict=True))
    return (
        len(pairs) == len({i for i, _ in pairs}) == len({j for _, j in pairs})
        and ((a == 0) == (b == 0)).all()
    )


@given(MASKS)
def test_agrees_with_the_flooding_pixel_by_pixel(mask):
    assert same_partition(thin(components(mask)), slow(mask))


def test_agrees_where_many_dams_meet():
    random = np.random.default_rng(0)
    for share in (0.02, 0.1, 0.3, 0.6):
        mask = random.random((40, 50)) < share
        assert same_partition(thin(components(mask)), slow(mask))


@given(MASKS)
def test_objects_keep_their_pixels_and_names(mask):
    objects = components(mask)
    thinned = thin(objects)
    assert thinned.dtype == np.int32
    if mask.any():
        assert (thinned[mask] == objects[mask]).all()
        assert set(np.unique(thinned)) <= set(np.unique(objects)) | {0}


@given(MASKS, st.randoms(use_true_random=False))
def test_names_do_not_matter(mask, random):
    objects = components(mask)
    names = list(range(1, objects.max() + 1))
    random.shuffle(names)
    renamed = np.array([0, *names], np.int32)
    if mask.any():
        assert (thin(renamed[objects]) == renamed[thin(objects)]).all()


def test_a_section_without_objects_is_one():
    assert (thin(np.zeros((3, 4), np.int32)) == 1).all()


def test_a_dam_is_one_pixel_wide():
    objects = np.zeros((5, 9), np.int32)
    objects[:, 0], objects[:, 8] = 1, 2
    assert thin(objects)[2].tolist() == [1, 1, 1, 1, 0, 2, 2, 2, 2]


@pytest.mark.parametrize("wrong", [np.zeros((2, 2, 2), np.int32), np.zeros((2, 2), np.uint8)])
def test_what_is_no_section_of_labels_is_refused(wrong):
    with pytest.raises(DcanError, match="one section"):
        thin(wrong)
