import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dcan.errors import DcanError
from dcan.net.normalise import histogram, section_table


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    )
)
def test_a_section_gets_mean_0_and_deviation_1(section: np.ndarray) -> None:
    normalised = section_table(histogram(section))[section].astype(np.float64)
    assert normalised.dtype == np.float64
    assert normalised.mean() == pytest.approx(0, abs=1e-5)
    constant = (section == section.flat[0]).all()
    assert normalised.std() == pytest.approx(0 if constant else 1, abs=1e-5)


def test_a_constant_section_is_zeros() -> None:
    section = np.full((5, 5), 200, np.uint8)
    assert (section_table(histogram(section)) == 0).all()


def test_an_empty_histogram_is_refused() -> None:
    with pytest.raises(DcanError, match=r"volume\.missing"):
        section_table(np.zeros(256, np.int64))


@given(hnp.arrays(np.uint16, (8, 6)), st.integers(1, 7))
def test_the_table_does_not_depend_on_how_the_histogram_was_gathered(
    section: np.ndarray, cut: int
) -> None:
    whole = section_table(histogram(section))
    parts = section_table(histogram(section[cut:]) + histogram(section[:cut]))
    assert whole.dtype == np.float32
    assert np.array_equal(whole, parts)


def test_sums_of_a_huge_section_do_not_overflow() -> None:
    counts = np.zeros(65536, np.int64)
    counts[[0, 65535]] = 2**40
    table = section_table(counts)
    assert table[[0, 65535]].tolist() == [-1.0, 1.0]


def test_another_dtype_is_refused() -> None:
    with pytest.raises(DcanError, match="float32"):
        histogram(np.zeros((2, 2), np.float32))
