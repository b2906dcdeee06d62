"""How good a network is on the validation sections: its loss, and what matters, the segments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcan.geometry import Grid, Triple
from dcan.net.augment import Section
from dcan.net.model import MEMBRANE, STRIDE
from dcan.net.predict import levels
from dcan.net.rule import UNKNOWN, cross_entropy
from dcan.net.shortage import memory_for
from dcan.net.windows import window
from dcan.ops.calibration import SearchGrid, calibrate
from dcan.ops.targets import objects

GRID = SearchGrid(
    sigma=(1.0, 2.0),
    depth=(4.0, 16.0, 32.0, 64.0),
    w_f=(500,),
    t=(300, 400, 500, 600),
    min_size=(25,),
)
"""The choices of fusion that a checkpoint is judged by: few, around what calibration finds."""

TILE = 512
"""Pixels along a tile, at most: memory follows it, and not the labelled sections."""

Forward = Callable[[Tensor], Tensor]
"""Fused logits (1, 2, h, w) of a window (1, 1, h, w)."""


@dataclass(frozen=True, slots=True)
class Measured:
    """`loss`: mean fused loss over all labelled pixels, nats. `rand_error`: see `Judge`."""

    loss: float
    rand_error: float | None

    @property
    def order(self) -> tuple[float, float]:
        """Less is better: the Rand error, then the loss."""
        return (0.0 if self.rand_error is None else self.rand_error), self.loss


class Judge:
    """Whole labelled sections, seen tile by tile, with reflection around them as in prediction.

    The Rand error is the foreground-restricted one of the segments after watershed fusion, by
    the best of the choices of `GRID`; None where the sections hold no object, or the network
    gives values that are not finite.
    """

    def __init__(self, sections: Sequence[Section], halo: int) -> None:
        self._sections, self._halo = sections, halo
        self._truths = [objects(section.target) for section in sections]

    def measure(self, forward: Forward) -> Measured:
        """Loss and Rand error of all sections together.

        Raises DcanError: memory is short for a tile.
        """
        total, pixels = 0.0, 0
        maps = []
        with torch.inference_mode():
            for section in self._sections:
                part, p = self._see(section, forward)
                total += part
                pixels += int((section.target != UNKNOWN).sum())
                maps.append(p)
        rand_error = None
        if isfinite(total) and any(truth.any() for truth in self._truths):
            found = calibrate([levels(p) for p in maps], self._truths, GRID)
            rand_error = found.best.rand_error
        return Measured(total / pixels, rand_error)

    def _see(self, section: Section, forward: Forward) -> tuple[float, NDArray[np.float32]]:
        """Sum of the section's losses, and its probability of membrane: (y, x)."""
        shape: Triple = (1, *section.em.shape)
        tile, halo = min(TILE, -(-max(shape) // STRIDE) * STRIDE), self._halo
        total, p = 0.0, np.empty(section.em.shape, np.float32)
        for box in Grid(shape, (1, tile, tile)):
            seen = window(lambda b: section.em[None][b.slices], shape, box, tile, halo)
            size = f"validation sees {len(seen)} x {len(seen)} pixels at once"
            with memory_for("them", size, "the job more of it"):
                fused = forward(torch.from_numpy(seen)[None, None])
            core = tuple(slice(halo, halo + length) for length in box.shape[1:])
            fused, place = fused[:, :, *core], box.slices[1:]
            target = torch.from_numpy(section.target[place])[None].to(fused.device)
            total += cross_entropy(fused, target).item()
            p[place] = torch.softmax(fused.float(), 1)[0, MEMBRANE].cpu().numpy()
        return total, p
