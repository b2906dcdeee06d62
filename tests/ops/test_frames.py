import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from dcan.ops.frames import distinct


@given(
    st.sampled_from((np.uint64, np.int32)).flatmap(
        lambda dtype: arrays(dtype, array_shapes(max_dims=1, min_side=0, max_side=20))
    )
)
def test_each_value_is_kept_once_in_order(values):
    found = distinct(values)
    assert found.dtype == values.dtype
    assert found.tolist() == sorted(set(values.tolist()))
