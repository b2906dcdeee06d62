import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dcan.ops.noise import curves, grain, hashes, parts, relief, streams

KEY = streams(5, 1)[0]
PLACES = st.integers(-300, 300)


def test_streams_differ_and_take_any_integer():
    keys = streams(-(10**30), 8)
    assert len(set(keys.tolist())) == 8
    assert (streams(2**64 + 3, 4) == streams(3, 4)).all()
    assert (streams(3, 4) != streams(4, 4)).all()


def test_hashes_flip_half_their_bits_with_one_step_on_any_axis():
    z, y, x = np.ogrid[-3:3, -8:8, -8:8]
    here = hashes(KEY, z, y, x)
    assert len(np.unique(here)) == here.size
    for step in np.eye(3, dtype=int):
        flipped = np.bitwise_count(here ^ hashes(KEY, z + step[0], y + step[1], x + step[2]))
        assert abs(flipped.mean() - 32) < 0.5


def test_parts_are_uniform_and_independent():
    values = np.stack(parts(hashes(KEY, 0, np.arange(200)[:, None], np.arange(200)))).reshape(4, -1)
    assert (values >= 0).all()
    assert (values < 1).all()
    assert abs(values.mean(1) - 0.5).max() < 0.01
    assert abs(values.var(1) - 1 / 12).max() < 0.002
    assert abs(np.corrcoef(values) - np.eye(4)).max() < 0.02


def test_curves_are_bounded_and_smooth_between_neighbouring_times():
    times = np.arange(-20, 20, 0.01)
    lines = np.array([[curve[0] for curve in curves(KEY, t, 2, 7)] for t in times.tolist()])
    assert abs(lines).max() <= 1
    assert 0.3 < lines.std() < 0.8
    assert abs(np.diff(lines, axis=0)).max() <= 1.5 * 0.01 + 1e-9


@given(PLACES, PLACES, st.integers(1, 40), st.integers(1, 40))
def test_relief_and_grain_of_a_part_are_those_of_the_whole(y, x, height, width):
    whole = grain(KEY, 4, (y - 2, x - 3), (height + 4, width + 5))
    assert (grain(KEY, 4, (y, x), (height, width)) == whole[2:-2, 3:-2]).all()
    ys, xs = np.arange(y - 2, y + height + 2) / 9.0, np.arange(x - 3, x + width + 2) / 9.0
    assert (relief(KEY, 4.5, ys[2:-2], xs[3:-2]) == relief(KEY, 4.5, ys, xs)[2:-2, 3:-2]).all()


def test_relief_is_continuous_on_every_axis_and_takes_the_lattice_values():
    line = np.arange(-4, 4, 0.01)
    for field in (relief(KEY, 0.3, line, line[:5]), relief(KEY, 0.3, line[:5], line).T):
        assert abs(np.diff(field, axis=0)).max() <= 0.031
        assert field.std() > 0.2
    steps = [relief(KEY, z, line[:3], line[:3])[0, 0] for z in line.tolist()]
    assert abs(np.diff(steps)).max() <= 0.031
    corner = 2 * parts(hashes(KEY, 1, 2, 3))[0] - 1
    assert relief(KEY, 1.0, np.array([2.0]), np.array([3.0])) == corner


def test_grain_is_standard_and_correlates_as_its_kernel():
    noise = grain(KEY, 0, (0, 0), (400, 400)).astype(np.float64)
    assert abs(noise.mean()) < 0.02
    assert abs(noise.var() - 1) < 0.03
    for distance, expected in ((1, 0.8), (2, 0.4), (3, 0.1), (4, 0.0)):
        for field in (noise, noise.T):
            assert abs((field[distance:] * field[:-distance]).mean() - expected) < 0.04
    assert abs((noise * grain(KEY, 1, (0, 0), (400, 400))).mean()) < 0.04
