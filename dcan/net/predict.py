"""The membrane map of windows and sections, by the mean of an ensemble's members."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcan.errors import DcanError
from dcan.geometry import Grid, Triple
from dcan.net.device import be_deterministic
from dcan.net.members import Member
from dcan.net.model import STRIDE
from dcan.net.shortage import asked_in_vain, memory_for
from dcan.net.windows import check_grid, window

__all__ = ["Predictor", "levels", "predict_section", "window"]

Views = Literal[1, 8]


class Predictor:
    """The networks of an ensemble, the views of a window, and their mean.

    Each window goes through each member and view alone and at one shape, so that a tile's
    pixels do not depend on what else is computed: batches of other sizes differ in the last
    bits. A larger tile is how a device is filled. Switches torch to deterministic algorithms
    and to `threads`.

    `members`: ready on `device`. `reach`: the most pixels between an output pixel and one that
    it depends on. `views`: 1, or 8 for the mean over the flips and quarter turns of a window.
    """

    def __init__(
        self,
        members: Sequence[Member],
        reach: int,
        device: str = "cpu",
        threads: int = 2,
        *,
        views: Views = 1,
    ) -> None:
        if not members:
            raise DcanError("model.weights name no member: give at least one checkpoint")
        self.reach, self.threads = reach, threads
        self._members, self._device = tuple(members), torch.device(device)
        self._gpu = self._device if self._device.type == "cuda" else None
        self._turns = [(turn, flip) for turn in range(4) for flip in (False, True)][:views]
        be_deterministic(self._device)

    def tile(self, windows: NDArray[np.float32], halo: int) -> NDArray[np.uint8]:
        """Probability of membrane of the tiles in the middle of windows.

        `windows`: (k, h, w) float32, normalised; h, w and halo multiples of 8. Returns
        (k, h - 2 halo, w - 2 halo) uint8: floor(255 p + 0.5), p the float32 mean of the
        members' and views' probabilities, added in their order.

        Raises DcanError: the network gives a value that is not finite, or memory is short.
        """
        # The setting belongs to the calling thread, and another number changes last bits.
        torch.set_num_threads(self.threads)
        tile = windows.shape[-1] - 2 * halo
        smaller = max(STRIDE, tile // 2 // STRIDE * STRIDE)
        with (
            memory_for("its window", f"prediction.tile is {tile}", str(smaller)),
            torch.inference_mode(),
        ):
            before = asked_in_vain(self._gpu)
            found = np.stack([self._levels(each, halo) for each in windows])
            if asked_in_vain(self._gpu) != before:
                # cuDNN takes another engine where a workspace does not fit, whose bits differ.
                raise MemoryError("another kernel would be taken")
            return found

    def _levels(self, window: NDArray[np.float32], halo: int) -> NDArray[np.uint8]:
        em = torch.from_numpy(window)[None, None].to(self._device)  # (1, 1, h, w)
        total = torch.zeros(window.shape, device=self._device)  # (h, w)
        for member in self._members:
            for turn, flip in self._turns:
                total += _from_view(member(_to_view(em, turn, flip)), turn, flip)
        p = (total / (len(self._members) * len(self._turns)))[halo:-halo, halo:-halo]
        if not bool(torch.isfinite(p).all()):
            raise DcanError(
                "prediction gave values that are not finite: the image or the weights hold "
                "NaN or infinity, run `dcan verify`"
            )
        return (p * 255 + 0.5).floor().to(torch.uint8).cpu().numpy()


def levels(p: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A probability as it is stored: floor(255 p + 0.5), uint8."""
    stored: NDArray[np.uint8] = np.floor(p * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    return stored


def _to_view(em: Tensor, turn: int, flip: bool) -> Tensor:
    turned = torch.rot90(em, turn, (-2, -1))
    return turned.flip(-1) if flip else turned


def _from_view(p: Tensor, turn: int, flip: bool) -> Tensor:
    return torch.rot90(p.flip(-1) if flip else p, -turn, (-2, -1))


def predict_section(
    predictor: Predictor,
    section: NDArray[np.generic],
    table: NDArray[np.float32] | None,
    tile: int,
    halo: int,
) -> NDArray[np.uint8]:
    """The membrane map of a whole section, (y, x) uint8, on the tile grid of its volume.

    `section`: (y, x), raw when a normalisation `table` is given, else float32 normalised. Bit
    for bit what any blocks on the same grid give.

    Raises DcanError: tile or halo do not fit the network.
    """
    check_grid(tile, halo, predictor.reach, STRIDE)
    shape: Triple = (1, *section.shape)
    out = np.empty(section.shape, np.uint8)
    for box in Grid(shape, (1, tile, tile)):
        seen = window(lambda b: section[None][b.slices], shape, box, tile, halo)
        normalised = seen.astype(np.float32, copy=False) if table is None else table[seen]
        _, y, x = box.slices
        _, height, width = box.shape
        out[y, x] = predictor.tile(normalised[None], halo)[0, :height, :width]
    return out
