"""How a network is judged: whole sections, seen tile by tile."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcan.net import validation
from dcan.net.augment import Section
from dcan.net.model import MEMBRANE, STRIDE, Architecture
from dcan.net.networks import build, initialise, reach
from dcan.net.rule import UNKNOWN, cross_entropy
from dcan.net.validation import Judge, Measured

NETWORK = build(Architecture(width=2))
initialise(NETWORK, 0)
HALO = -(-reach(Architecture(width=2)) // STRIDE) * STRIDE


def section(height: int, width: int, seed: int = 0) -> Section:
    rng = np.random.default_rng(seed)
    em: NDArray[np.float32] = rng.normal(size=(height, width)).astype(np.float32)
    return Section(em, rng.integers(0, 3, (height, width), np.uint8))


def forward(em: Tensor) -> Tensor:
    logits: Tensor = NETWORK(em)[0]
    return logits


def whole(given: Section) -> tuple[float, NDArray[np.float32]]:
    """Loss and probability of a section that goes through the network in one piece."""
    pads = [(HALO, HALO + -length % STRIDE) for length in given.em.shape]
    em = torch.from_numpy(np.pad(given.em, pads, mode="symmetric"))[None, None]
    with torch.inference_mode():
        fused = forward(em)[:, :, *(slice(HALO, HALO + n) for n in given.em.shape)]
    target = torch.from_numpy(given.target)[None]
    return cross_entropy(fused, target).item(), torch.softmax(fused, 1)[0, MEMBRANE].numpy()


@pytest.mark.parametrize("tile", [16, 24, 512])
@pytest.mark.parametrize("shape", [(40, 40), (33, 70), (9, 5), (1, 1)])
def test_tiles_are_the_whole_section(
    monkeypatch: pytest.MonkeyPatch, tile: int, shape: tuple[int, int]
) -> None:
    monkeypatch.setattr(validation, "TILE", tile)
    given, seen = [section(*shape), section(*shape, seed=1)], []

    def watched(em: Tensor) -> Tensor:
        seen.append(em.shape[-2:])
        return forward(em)

    judge = Judge(given, HALO)
    with torch.inference_mode():
        for each in given:
            loss, p = judge._see(each, watched)
            wanted, of_whole = whole(each)
            assert loss == pytest.approx(wanted, rel=1e-5)
            np.testing.assert_allclose(p, of_whole, atol=1e-5)
    side = min(tile, -(-max(shape) // STRIDE) * STRIDE) + 2 * HALO
    assert set(seen) == {(side, side)}, "one shape, which the section's size does not exceed"
    assert len(seen) == 2 * -(-shape[0] // tile) * -(-shape[1] // tile)


def test_the_loss_is_the_mean_over_labelled_pixels_of_all_sections() -> None:
    given = [section(20, 20), section(8, 30)]
    found = Judge(given, HALO).measure(forward)
    labelled = sum(int((each.target != UNKNOWN).sum()) for each in given)
    assert found.loss == pytest.approx(sum(whole(each)[0] for each in given) / labelled, rel=1e-5)
    assert found.rand_error is not None


def test_the_rand_error_comes_before_the_loss() -> None:
    assert Measured(9.0, 0.1).order < Measured(1.0, 0.2).order
    assert Measured(1.0, 0.1).order < Measured(2.0, 0.1).order
    assert Measured(1.0, None).order < Measured(2.0, None).order


def test_without_objects_or_with_values_that_are_not_finite_there_is_no_rand_error() -> None:
    blank = Section(section(16, 16).em, np.zeros((16, 16), np.uint8))
    assert Judge([blank], HALO).measure(forward).rand_error is None
    lost = Judge([section(16, 16)], HALO).measure(lambda em: forward(em) * torch.nan)
    assert not np.isfinite(lost.loss)
    assert lost.rand_error is None
