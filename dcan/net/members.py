"""The networks of an ensemble, each ready on a device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from dcan.net.model import MEMBRANE, Architecture
from dcan.net.networks import build
from dcan.net.shortage import ELSEWHERE, memory_for


class Member(Protocol):
    """One network; what computes it is its own affair."""

    def __call__(self, em: Tensor) -> Tensor:
        """Probability of membrane, (h, w) float32, of a normalised window (1, 1, h, w) float32.

        Both are on the device that the network is on.
        """
        ...


class TorchMember:
    """A network of this package, computed by torch in `dtype`, with channels last."""

    def __init__(
        self,
        architecture: Architecture,
        weights: Mapping[str, Tensor],
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._dtype = dtype
        model = build(architecture)
        model.load_state_dict(weights)
        with memory_for("the network", f"model.width is {architecture.width}", ELSEWHERE):
            model.to(torch.device(device), dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._model = model.requires_grad_(False)

    def __call__(self, em: Tensor) -> Tensor:
        """See `Member`."""
        fused, _ = self._model(em.to(self._dtype, memory_format=torch.channels_last))
        return torch.softmax(fused.float(), 1)[0, MEMBRANE]


def torch_members(
    architecture: Architecture,
    ensemble: Sequence[Mapping[str, Tensor]],
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> list[Member]:
    """Every network of an ensemble, computed by torch."""
    return [TorchMember(architecture, weights, device, dtype) for weights in ensemble]
