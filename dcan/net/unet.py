"""The peer: a U-Net of about as many parameters, for comparisons by one training rule.

                 em (n, 1, h, w)
                  |
    level 0   conv conv ------------------------ up, conv conv, conv 1x1 -> 2 class maps
                  pool                          |               w channels, stride 1
    level 1   conv conv ---------- up, conv conv               2w channels, stride 2
                  pool            |
    level 2   conv conv - up, conv conv                        4w channels, stride 4
                  pool   |
    level 3   conv conv                                        8w channels, stride 8

Source: Ronneberger, Fischer, Brox, U-Net, MICCAI 2015, with one level less, so that at one
width it has about the parameters of the other network (3 % fewer at width 64, 11 % at 16, at
1.9 and 1.6 times the operations: decision 0012), and with padded convolutions, so that sizes
are kept. It has no heads, and so no auxiliary losses.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dcan.net.model import CLASSES, STRIDE, Architecture, Logits, Stage, check_window

LEVELS = 4
CONVOLUTIONS = 2  # of each level, on either side


class UNet(nn.Module):
    """The network. Deterministic given its weights; `networks.initialise` draws them."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        widths = [architecture.width << i for i in range(LEVELS)]
        inputs = [1, *widths[:-1]]
        self.stages = nn.ModuleList(map(Stage, inputs, widths, [CONVOLUTIONS] * LEVELS))
        self.pool = nn.MaxPool2d(2, 2)
        self.ups = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in widths[:-1])
        self.decoders = nn.ModuleList(Stage(2 * w, w, CONVOLUTIONS) for w in widths[:-1])
        self.classifier = nn.Conv2d(widths[0], CLASSES, 1)

    def forward(self, em: Tensor) -> Logits:
        """Logits of neurite (0) and membrane (1), and no heads; as those of the other network.

        `em`: (n, 1, h, w) float32, normalised by section; h and w multiples of 8.
        """
        check_window(em)
        levels: list[Tensor] = [self.stages[0](em)]  # (n, w, h, w)
        for stage in self.stages[1:]:
            levels.append(stage(self.pool(levels[-1])))  # (n, 2w .. 8w, h / 2 .. 8, w / 2 .. 8)
        features = levels[-1]  # (n, 8w, h / 8, w / 8)
        for level in reversed(range(LEVELS - 1)):
            features = self.ups[level](features)  # (n, 4w .. w, h / 4 .. 1, w / 4 .. 1)
            features = torch.cat([levels[level], features], 1)  # (n, 8w .. 2w, ...)
            features = self.decoders[level](features)  # (n, 4w .. w, ...)
        return self.classifier(features), ()  # (n, 2, h, w)


def reach_of_unet() -> int:
    """See `networks.reach`: the way over the deepest level reads farthest."""
    least = most = 0
    for pixel in range(STRIDE):
        first = last = pixel
        for _ in range(LEVELS - 1):
            first, last = (first - CONVOLUTIONS) // 2, (last + CONVOLUTIONS) // 2
        for _ in range(LEVELS - 1):
            first, last = 2 * (first - CONVOLUTIONS), 2 * (last + CONVOLUTIONS) + 1
        least = min(least, first - CONVOLUTIONS - pixel)
        most = max(most, last + CONVOLUTIONS - pixel)
    return max(-least, most)
