"""OpenVINO computes the networks that torch does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dcan.net.members import torch_members
from dcan.net.model import Architecture
from dcan.net.networks import build, initialise

pytest.importorskip("openvino", reason="the extra `openvino` is not installed")

from dcan.net.openvino import openvino_members

NETWORKS = [
    Architecture(4),
    Architecture(4, inner=8, head="convolve"),
    Architecture(4, heads=("C2",)),
    Architecture(4, kind="unet"),
]


def weights(architecture: Architecture) -> dict[str, torch.Tensor]:
    model = build(architecture)
    initialise(model, 0)
    return {name: tensor.detach() for name, tensor in model.state_dict().items()}


def window(side: int = 64) -> torch.Tensor:
    return torch.randn((1, 1, side, side), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("architecture", NETWORKS)
def test_it_gives_what_torch_gives(architecture: Architecture) -> None:
    (one,) = torch_members(architecture, [weights(architecture)])
    (two,) = openvino_members(architecture, [weights(architecture)], threads=1)
    for side in (64, 32):
        wanted, found = one(window(side)).numpy(), two(window(side)).numpy()
        assert found.dtype == np.float32
        assert np.ptp(wanted) > 0.1
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_the_same_window_gives_the_same_bits() -> None:
    architecture = NETWORKS[0]
    first, second = openvino_members(architecture, [weights(architecture)] * 2, "float32", 2)
    other = first(window(64).flip(-1))
    assert torch.equal(first(window()), second(window()))
    assert not torch.equal(first(window()), other)


def test_what_it_gave_is_not_written_over() -> None:
    architecture = NETWORKS[0]
    (member,) = openvino_members(architecture, [weights(architecture)])
    found = member(window())
    kept = found.clone()
    member(window().flip(-1))
    assert torch.equal(found, kept)
