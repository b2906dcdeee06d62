import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.segmentation import relabel_sequential

from dcan.ops.numbering import named_columns, ranks, rename

IMAGES = arrays(
    np.uint64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 2**40)
)


@given(st.lists(IMAGES, min_size=1, max_size=4))
def test_sections_in_turn_are_numbered_as_the_volume_is_at_once(images):
    # names grow with the section
    named = [np.where(image > 0, image + np.uint64(z << 41), 0) for z, image in enumerate(images)]
    expected, _, _ = relabel_sequential(
        np.concatenate([image.ravel() for image in named]).astype(np.int64)
    )
    found, before = [], 0
    for image in named:
        names = np.unique(image[image > 0]).astype(np.uint64)
        numbers = ranks(names, image.astype(np.uint64), before)
        assert numbers.dtype == np.uint64
        assert numbers.shape == image.shape
        found.append(numbers.ravel())
        before += len(names)
    assert (np.concatenate(found) == expected).all()


def test_a_name_that_is_not_there_is_refused():
    names = np.array([3, 8], np.uint64)
    for wanted in (2, 5, 9):
        with pytest.raises(ValueError, match=f"segment {wanted} is in no table"):
            ranks(names, np.array([0, wanted], np.uint64))
    assert ranks(names[:0], np.zeros(3, np.uint64)).tolist() == [0, 0, 0]


@given(IMAGES, st.randoms())
def test_renaming_replaces_every_name(image, random):
    names = np.unique(image[image > 0]).astype(np.uint64)
    others = names.copy()
    random.shuffle(others)
    expected = image.astype(np.uint64)
    for name, other in zip(names, others, strict=True):
        expected[image == name] = other
    renamed = image.astype(np.uint64)
    rename(renamed, names, others)
    assert (renamed == expected).all()


@pytest.mark.parametrize("wrong", [2, 5, 9])
def test_a_label_without_a_name_is_refused(wrong):
    names = np.array([3, 8], np.uint64)
    with pytest.raises(ValueError, match=f"segment {wrong} is in no table"):
        rename(np.array([[0, 3, 3, 8, wrong, 3]], np.uint64), names, names)
    rename(np.zeros((2, 2), np.uint64), names[:0], names[:0])


@given(
    arrays(np.uint32, st.tuples(st.integers(1, 6), st.integers(1, 9)), elements=st.integers(0, 5)),
    st.integers(1, 10),
)
def test_columns_hold_the_ids_of_the_labels(labels, width):
    ids = np.array([0, 2**60, 7, 7, 1, 3], np.uint64)
    columns = named_columns(labels, ids, width)
    assert columns.dtype == np.uint64
    assert columns.shape == (-(-labels.shape[1] // width), labels.shape[0], width)
    joined = np.concatenate(list(columns), axis=1)
    assert (joined[:, : labels.shape[1]] == ids[labels]).all()
    assert not joined[:, labels.shape[1] :].any()


def test_a_label_without_an_id_is_refused():
    labels, ids = np.array([[0, 1], [3, 2]], np.uint32), np.arange(4).astype(np.uint64)
    assert named_columns(labels, ids, 2).tolist() == [[[0, 1], [3, 2]]]
    with pytest.raises(ValueError, match="label 3 has no id: there are 3"):
        named_columns(labels, ids[:3], 2)
