import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dcan.ops.saddles import least_saddles


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 9))))
def test_least_saddles_is_a_dictionary_of_minima(rows):
    table = {}
    for low, high, level in rows:
        table[low, high] = min(level, table.get((low, high), level))
    columns = np.array(rows, np.int32).reshape(-1, 3).T
    low, high, saddles = least_saddles(columns[0], columns[1], columns[2].astype(np.uint16), 6)
    found = list(zip(zip(low, high, strict=True), saddles, strict=True))
    assert found == sorted(table.items())


@given(st.permutations(range(1, 40)), st.integers(2, 39))
def test_a_basin_with_many_neighbours_has_them_in_order(others, kept):
    high = np.array(others[:kept], np.int32)
    saddles = (7 * high).astype(np.uint16)
    low, high, saddles = least_saddles(np.zeros(kept, np.int32), high, saddles, 40)
    assert high.tolist() == sorted(others[:kept])
    assert (saddles == 7 * high).all()
    assert not low.any()
