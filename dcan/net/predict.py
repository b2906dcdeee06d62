"""The membrane map of windows and sections, by the mean of an ensemble's members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcan.errors import DcanError
from dcan.geometry import Grid, Triple
from dcan.net.model import MEMBRANE, STRIDE, Architecture
from dcan.net.networks import Network, build, reach
from dcan.net.windows import check_grid, window

__all__ = ["Predictor", "levels", "predict_section", "window"]

Views = Literal[1, 8]


class Predictor:
    """The networks of an ensemble, ready on a device.

    Each window goes through each member and view alone and at one shape, so that a tile's
    pixels do not depend on what else is computed: batches of other sizes differ in the last
    bits. A larger tile is how a device is filled. Switches torch to deterministic algorithms
    and to `threads`.

    `views`: 1, or 8 for the mean over the flips and quarter turns of a window.
    """

    def __init__(
        self,
        architecture: Architecture,
        members: Sequence[Mapping[str, Tensor]],
        device: str = "cpu",
        threads: int = 2,
        *,
        views: Views = 1,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if not members:
            raise DcanError("model.weights name no member: give at least one checkpoint")
        self.architecture, self.threads = architecture, threads
        self._turns = [(turn, flip) for turn in range(4) for flip in (False, True)][:views]
        self._device, self._dtype = torch.device(device), dtype
        # Deconvolutions have kernels on CUDA whose sums take any order.
        torch.use_deterministic_algorithms(True, warn_only=self._device.type != "cpu")
        self._members = [self._load(weights) for weights in members]

    def _load(self, weights: Mapping[str, Tensor]) -> Network:
        model = build(self.architecture)
        model.load_state_dict(weights)
        model.to(self._device, self._dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model.requires_grad_(False)

    def tile(self, windows: NDArray[np.float32], halo: int) -> NDArray[np.uint8]:
        """Probability of membrane of the tiles in the middle of windows.

        `windows`: (k, h, w) float32, normalised; h, w and halo multiples of 8. Returns
        (k, h - 2 halo, w - 2 halo) uint8: floor(255 p + 0.5), p the float32 mean of the
        members' and views' softmax, added in their order.

        Raises DcanError: the network gives a value that is not finite.
        """
        tiles = [self._probability(each)[halo:-halo, halo:-halo] for each in windows]
        if not all(np.isfinite(p).all() for p in tiles):
            raise DcanError(
                "prediction gave values that are not finite: the image or the weights hold "
                "NaN or infinity, run `dcan verify`"
            )
        return np.stack([levels(p) for p in tiles])

    def _probability(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        # The setting belongs to the calling thread, and another number changes last bits.
        torch.set_num_threads(self.threads)
        with torch.inference_mode():
            em = torch.from_numpy(window)[None, None].to(self._device, self._dtype)  # (1, 1, h, w)
            em = em.contiguous(memory_format=torch.channels_last)
            total = torch.zeros(window.shape, device=self._device)  # (h, w)
            for model in self._members:
                for turn, flip in self._turns:
                    total += _from_view(_softmax(model, _to_view(em, turn, flip)), turn, flip)
            mean = total / (len(self._members) * len(self._turns))
            return mean.cpu().numpy()


def levels(p: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A probability as it is stored: floor(255 p + 0.5), uint8."""
    stored: NDArray[np.uint8] = np.floor(p * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    return stored


def _softmax(model: Network, em: Tensor) -> Tensor:
    fused, _ = model(em)
    return torch.softmax(fused.float(), 1)[0, MEMBRANE]  # (h, w)


def _to_view(em: Tensor, turn: int, flip: bool) -> Tensor:
    turned = torch.rot90(em, turn, (-2, -1))
    turned = turned.flip(-1) if flip else turned
    return turned.contiguous(memory_format=torch.channels_last)


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
    check_grid(tile, halo, reach(predictor.architecture), STRIDE)
    shape: Triple = (1, *section.shape)
    out = np.empty(section.shape, np.uint8)
    for box in Grid(shape, (1, tile, tile)):
        seen = window(lambda b: section[None][b.slices], shape, box, tile, halo)
        normalised = seen.astype(np.float32, copy=False) if table is None else table[seen]
        _, y, x = box.slices
        _, height, width = box.shape
        out[y, x] = predictor.tile(normalised[None], halo)[0, :height, :width]
    return out
