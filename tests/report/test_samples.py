"""Rows of training samples as pictures: grey where neurite, tinted where membrane or unknown."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from dcan.report.overlays import MEMBRANE_COLOUR
from dcan.report.samples import GAP, TINTS, UNKNOWN, SampleRow, row_png


def pixels(row: SampleRow) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(row_png(row))).convert("RGBA")).astype(int)


def test_samples_stand_side_by_side_with_their_targets_tinted() -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8), (6, 1))
    targets = tuple(np.full(ramp.shape, value, np.uint8) for value in (0, 1, 2))
    row = SampleRow("noise", (ramp,) * 3, targets)
    seen = pixels(row)
    assert seen.shape == (*row.shape, 4) == (6, 3 * 256 + 2 * GAP, 4)
    membrane, neurite, unknown = (seen[:, k * (256 + GAP) :][:, :256] for k in range(3))
    assert np.abs(neurite[..., :3] - ramp[..., None]).max() <= 3
    for part, tint in ((membrane, MEMBRANE_COLOUR), (unknown, TINTS[UNKNOWN])):
        assert (
            np.abs(part[..., :3] - (2 * ramp[..., None].astype(int) + np.array(tint)) / 3).max()
            <= 3
        )
    assert (seen[:, 256 : 256 + GAP, 3] == 0).all()
    assert (np.concatenate([membrane, neurite, unknown])[..., 3] == 255).all()


def test_a_picture_is_small() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 96, 96), np.uint8)
    assert len(row_png(SampleRow("noise", tuple(noise), tuple(noise % 3)))) < 40_000
