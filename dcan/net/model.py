"""The deep contextual network: a trunk of ten convolutions, three heads, one fused map.

                 em (n, 1, h, w)
                  |
    stage 1   conv conv                      w channels, stride 1
                  pool
    stage 2   conv conv ------ head C1      2w channels, stride 2
                  pool
    stage 3   conv conv conv - head C2      4w channels, stride 4
                  pool
    stage 4   conv conv conv - head C3      8w channels, stride 8

    a head:   deconvolution to stride 1, convolution 3x3, convolution 1x1 -> 2 class maps
    fused:    C1 + C2 + C3

Source: Chen, Qi, Cheng, Heng, Deep contextual networks for neuronal structure segmentation,
AAAI 2016: 16 convolutions, 3 max-pools, 3 deconvolutions, heads summed before one softmax.
The widths are those of VGG-16 to conv4_3. That a head upsamples first, and to as few maps as
there are classes, is inferred: of the plausible heads this one has both published sizes, 7.9
million parameters and 568 kFLOP a pixel. Convolving at the head's stride first (`convolve`)
and wider heads are options.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Literal

import torch
from torch import Tensor, nn

from dcan.errors import DcanError

CLASSES = 2
NEURITE, MEMBRANE = 0, 1  # indices of the class maps
STRIDE = 8  # of the deepest stage; windows start at multiples of it and are multiples of it
DEPTHS = (2, 2, 3, 3)  # convolutions of the stages
TAPS = ((2, 1), (4, 2), (8, 3))  # stride and stage of the heads C1, C2, C3

Logits = tuple[Tensor, tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Architecture:
    """What decides the shapes of the network's tensors.

    `width`: channels of the first stage, 64 in the paper. `inner`: channels inside a head.
    `head`: `upsample` deconvolves first, `convolve` convolves at the head's stride first.
    """

    width: int = 64
    inner: int = 2
    head: Literal["upsample", "convolve"] = "upsample"

    @classmethod
    def parse(cls, values: Mapping[str, object]) -> Architecture:
        """The architecture that a mapping of plain values names, as `plain` gives it.

        Raises DcanError: an unknown or missing key, or a value out of range.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if set(values) != known:
            wrong = sorted(set(values) ^ known)[0]
            raise DcanError(f"architecture: key {wrong!r}: give exactly {', '.join(sorted(known))}")
        width, inner, head = (values[key] for key in ("width", "inner", "head"))
        for key, value in (("width", width), ("inner", inner)):
            if type(value) is not int or not 1 <= value <= 1024:
                raise DcanError(f"architecture: {key} is {value!r}: give an integer in 1..1024")
        if head not in ("upsample", "convolve"):
            raise DcanError(f"architecture: head is {head!r}: give upsample or convolve")
        return cls(**values)  # type: ignore[arg-type]

    def plain(self) -> dict[str, int | str]:
        """The values as JSON has them."""
        return dataclasses.asdict(self)


class Stage(nn.Sequential):
    """3x3 convolutions, each with a ReLU; keeps h and w."""

    def __init__(self, inputs: int, outputs: int, depth: int) -> None:
        layers: list[nn.Module] = []
        for i in range(depth):
            layers.append(nn.Conv2d(outputs if i else inputs, outputs, 3, padding=1))
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


class Head(nn.Module):
    """Class maps at full resolution from the features of one stage."""

    def __init__(self, inputs: int, stride: int, architecture: Architecture) -> None:
        super().__init__()
        inner = architecture.inner
        self.upsample_first = architecture.head == "upsample"
        low, high = (inputs, inner) if self.upsample_first else (CLASSES, CLASSES)
        self.deconvolution = nn.ConvTranspose2d(low, high, 2 * stride, stride, stride // 2)
        self.convolution = nn.Conv2d(inner if self.upsample_first else inputs, inner, 3, padding=1)
        self.classifier = nn.Conv2d(inner, CLASSES, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (n, 2, h, w) from features (n, c, h / s, w / s)."""
        maps: Tensor
        if self.upsample_first:
            maps = self.deconvolution(features)  # (n, inner, h, w)
            maps = torch.relu(self.convolution(maps))  # (n, inner, h, w)
            maps = self.classifier(maps)  # (n, 2, h, w)
        else:
            maps = torch.relu(self.convolution(features))  # (n, inner, h / s, w / s)
            maps = self.classifier(maps)  # (n, 2, h / s, w / s)
            maps = self.deconvolution(maps)  # (n, 2, h, w)
        return maps


class DCAN(nn.Module):
    """The network. Deterministic given its weights; `initialise` draws them."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        widths = [architecture.width << i for i in range(4)]
        inputs = [1, *widths[:3]]
        self.stages = nn.ModuleList(map(Stage, inputs, widths, DEPTHS))
        self.pool = nn.MaxPool2d(2, 2)
        self.heads = nn.ModuleList(
            Head(widths[stage], stride, architecture) for stride, stage in TAPS
        )

    def forward(self, em: Tensor) -> Logits:
        """Logits of neurite (0) and membrane (1): the fused maps, and those of C1, C2, C3.

        `em`: (n, 1, h, w) float32, normalised by section; h and w multiples of 8.
        """
        if em.shape[-2] % STRIDE or em.shape[-1] % STRIDE:
            raise ValueError(f"windows of {tuple(em.shape[-2:])}: not multiples of {STRIDE}")
        features = self.stages[0](em)  # (n, w, h, w)
        maps = []
        for stage, head in zip(self.stages[1:], self.heads, strict=True):
            features = stage(self.pool(features))  # (n, 2w .. 8w, h / 2 .. 8, w / 2 .. 8)
            maps.append(head(features))  # (n, 2, h, w)
        c1, c2, c3 = maps
        return c1 + c2 + c3, (c1, c2, c3)


def initialise(model: DCAN, seed: int) -> None:
    """Draw the weights: He's normal distribution, deconvolutions bilinear, biases 0.

    A function of `seed` alone. Between each two maps of a deconvolution the start is bilinear
    interpolation times a drawn factor, or the map itself where there are as many out as in.
    Source: He et al. 2015 (arXiv 1502.01852), eq. 10.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.ConvTranspose2d):
            inputs, outputs, size, _ = module.weight.shape
            factors = torch.eye(inputs)[:, :, None, None]
            if inputs != outputs:
                factors = torch.randn(inputs, outputs, 1, 1, generator=generator) * sqrt(2 / inputs)
            ramp = 1 - (torch.arange(size) - (size - 1) / 2).abs() / (size // 2)
            with torch.no_grad():
                module.weight.copy_(factors * torch.outer(ramp, ramp))
        else:
            continue
        assert module.bias is not None  # noqa: S101  (every layer here has one)
        nn.init.zeros_(module.bias)


def layout(values: Mapping[str, object]) -> dict[str, tuple[int, ...]]:
    """Name and shape of each weight of the architecture that `values` names; takes no memory.

    Raises DcanError: see `Architecture.parse`.
    """
    with torch.device("meta"):
        model = DCAN(Architecture.parse(values))
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def reach(architecture: Architecture) -> int:
    """The most pixels between an output pixel and an input pixel that it depends on.

    Along either axis, in either direction, wherever the pixel lies on the grid of 8. A halo
    of this much makes a tile equal to the same place of a whole section.
    """
    full, low = (1, 0) if architecture.head == "upsample" else (0, 1)
    least = most = 0
    for stride, stage in TAPS:
        for pixel in range(STRIDE):
            # The two taps of the deconvolution at a pixel, in pixels of the stage.
            first = (pixel - full + stride // 2) // stride - 1 - low
            last = (pixel + full + stride // 2) // stride + low
            for depth in reversed(DEPTHS[1 : stage + 1]):
                first, last = 2 * (first - depth), 2 * (last + depth) + 1
            least = min(least, first - DEPTHS[0] - pixel)
            most = max(most, last + DEPTHS[0] - pixel)
    return max(-least, most)
