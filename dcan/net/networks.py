"""What there is to know of a network by its architecture: tensors, first weights, reach."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Literal

import torch
from torch import nn

from dcan.net.model import DCAN, Architecture, reach_of_dcan
from dcan.net.unet import UNet, reach_of_unet

Network = DCAN | UNet
Start = Literal["bilinear", "random"]


def build(architecture: Architecture) -> Network:
    """The network of an architecture, with weights that torch drew."""
    return DCAN(architecture) if architecture.kind == "dcan" else UNet(architecture)


def initialise(model: nn.Module, seed: int, start: Start = "bilinear") -> None:
    """Draw the weights: He's normal distribution, deconvolutions by `start`, biases 0.

    A function of `seed` and `start` alone. `bilinear`: between each two maps of a deconvolution
    the start is bilinear interpolation times a drawn factor, or the map itself where there are
    as many out as in. `random`: He's distribution for the two by two inputs that an output
    pixel has. Source: He et al. 2015 (arXiv 1502.01852), eq. 10.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.ConvTranspose2d):
            _start_deconvolution(module, generator, start)
        else:
            continue
        assert module.bias is not None  # noqa: S101  (every layer here has one)
        nn.init.zeros_(module.bias)


def _start_deconvolution(
    module: nn.ConvTranspose2d, generator: torch.Generator, start: Start
) -> None:
    inputs, outputs, size, _ = module.weight.shape
    overlap = size // module.stride[0]  # inputs along an axis that an output pixel has
    with torch.no_grad():
        if start == "random" or overlap == 1:
            module.weight.normal_(0, sqrt(2 / inputs) / overlap, generator=generator)
            return
        factors = torch.eye(inputs)[:, :, None, None]
        if inputs != outputs:
            factors = torch.randn(inputs, outputs, 1, 1, generator=generator) * sqrt(2 / inputs)
        ramp = 1 - (torch.arange(size) - (size - 1) / 2).abs() / (size // 2)
        module.weight.copy_(factors * torch.outer(ramp, ramp))


def layout(values: Mapping[str, object]) -> dict[str, tuple[int, ...]]:
    """Name and shape of each weight of the architecture that `values` names; takes no memory.

    Raises DcanError: see `Architecture.parse`.
    """
    with torch.device("meta"):
        model = build(Architecture.parse(values))
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def reach(architecture: Architecture) -> int:
    """The most pixels between an output pixel and an input pixel that it depends on.

    Along either axis, in either direction, wherever the pixel lies on the grid of 8. A halo
    of this much makes a tile equal to the same place of a whole section.
    """
    return reach_of_dcan(architecture) if architecture.kind == "dcan" else reach_of_unet()
