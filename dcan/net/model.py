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
million parameters and 568 kFLOP a pixel. But with two maps inside, a ReLU can switch a head off
for good (decision 0012), so the configuration's default convolves at the head's stride first
(`convolve`), to 32 maps: 7.9 million and 587 kFLOP. Networks with some of the heads only are
for the paper's ablation: stages below the deepest head are left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dcan.errors import DcanError

CLASSES = 2
NEURITE, MEMBRANE = 0, 1  # indices of the class maps
STRIDE = 8  # of the deepest stage; windows start at multiples of it and are multiples of it
DEPTHS = (2, 2, 3, 3)  # convolutions of the stages
TAPS = {"C1": (2, 1), "C2": (4, 2), "C3": (8, 3)}  # stride and stage of the heads
EVERY_HEAD = tuple(TAPS)

Logits = tuple[Tensor, tuple[Tensor, ...]]
"""The fused maps, and those of each head that has a loss of its own."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """What decides the shapes of a network's tensors.

    `width`: channels of the first stage, 64 in the paper. `kind`: this network, or the U-Net
    that is its peer, to which the others do not apply. `inner`: channels inside a head.
    `head`: `upsample` deconvolves first, `convolve` convolves at the head's stride first.
    `heads`: which of C1, C2, C3 there are.
    """

    width: int = 64
    inner: int = 2
    head: Literal["upsample", "convolve"] = "upsample"
    heads: tuple[str, ...] = EVERY_HEAD
    kind: Literal["dcan", "unet"] = "dcan"

    @classmethod
    def parse(cls, values: Mapping[str, object]) -> Architecture:
        """The architecture that a mapping of plain values names, as `plain` gives it.

        Raises DcanError: an unknown or missing key, or a value out of range.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if set(values) != known:
            wrong = sorted(set(values) ^ known)[0]
            raise DcanError(f"architecture: key {wrong!r}: give exactly {', '.join(sorted(known))}")
        for key in ("width", "inner"):
            value = values[key]
            if type(value) is not int or not 1 <= value <= 1024:
                raise DcanError(f"architecture: {key} is {value!r}: give an integer in 1..1024")
        for key, named in (("head", ("upsample", "convolve")), ("kind", ("dcan", "unet"))):
            if values[key] not in named:
                raise DcanError(
                    f"architecture: {key} is {values[key]!r}: give {' or '.join(named)}"
                )
        heads = values["heads"]
        kept = [name for name in TAPS if isinstance(heads, list | tuple) and name in heads]
        if not kept or kept != list(heads):  # type: ignore[call-overload]
            raise DcanError(f"architecture: heads is {heads!r}: give some of C1, C2, C3, in order")
        return cls(**{**values, "heads": tuple(kept)})  # type: ignore[arg-type]

    def plain(self) -> dict[str, Any]:
        """The values as JSON has them."""
        return {**dataclasses.asdict(self), "heads": list(self.heads)}


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
    """The network. Deterministic given its weights; `networks.initialise` draws them."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        taps = [TAPS[name] for name in architecture.heads]
        deepest = max(stage for _, stage in taps)
        widths = [architecture.width << i for i in range(deepest + 1)]
        inputs = [1, *widths[:-1]]
        self.stages = nn.ModuleList(map(Stage, inputs, widths, DEPTHS[: deepest + 1]))
        self.pool = nn.MaxPool2d(2, 2)
        self.heads = nn.ModuleList(
            Head(widths[stage], stride, architecture) for stride, stage in taps
        )
        self.tapped = {stage: number for number, (_, stage) in enumerate(taps)}

    def forward(self, em: Tensor) -> Logits:
        """Logits of neurite (0) and membrane (1): the fused maps, and those of each head.

        `em`: (n, 1, h, w) float32, normalised by section; h and w multiples of 8.
        """
        check_window(em)
        features = self.stages[0](em)  # (n, w, h, w)
        maps: list[Tensor] = []
        for number, stage in enumerate(self.stages[1:], 1):
            features = stage(self.pool(features))  # (n, 2w .. 8w, h / 2 .. 8, w / 2 .. 8)
            if number in self.tapped:
                maps.append(self.heads[self.tapped[number]](features))  # (n, 2, h, w)
        fused = maps[0]
        for each in maps[1:]:
            fused = fused + each  # (n, 2, h, w)
        return fused, tuple(maps)


def check_window(em: Tensor) -> None:
    """Raise ValueError for a window that is off the grid of the deepest stage."""
    if em.shape[-2] % STRIDE or em.shape[-1] % STRIDE:
        raise ValueError(f"windows of {tuple(em.shape[-2:])}: not multiples of {STRIDE}")


def reach_of_dcan(architecture: Architecture) -> int:
    """See `networks.reach`."""
    full, low = (1, 0) if architecture.head == "upsample" else (0, 1)
    least = most = 0
    for stride, stage in (TAPS[name] for name in architecture.heads):
        for pixel in range(STRIDE):
            # The two taps of the deconvolution at a pixel, in pixels of the stage.
            first = (pixel - full + stride // 2) // stride - 1 - low
            last = (pixel + full + stride // 2) // stride + low
            for depth in reversed(DEPTHS[1 : stage + 1]):
                first, last = 2 * (first - depth), 2 * (last + depth) + 1
            least = min(least, first - DEPTHS[0] - pixel)
            most = max(most, last + DEPTHS[0] - pixel)
    return max(-least, most)
