"""Intensities of a sample: contrast, brightness, gamma, blur and noise of its section."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]


def change(em: Floats, draws: Mapping[str, Generator], drawn: Mapping[str, float]) -> Floats:
    """The image, (y, x) float32, with what is drawn of each; nothing where that is 0."""

    def most(name: str) -> float:
        return float(draws[name].uniform(-1, 1) * drawn[name])

    if drawn["gamma"]:
        # On [-4, 4] deviations as on [0, 1]: beyond lies next to nothing of a section.
        unit = np.clip((em + 4) / 8, 0, 1).astype(np.float32)
        em = _as(unit ** np.float32(2 ** most("gamma")), em)
    if drawn["blur"]:
        em = ndimage.gaussian_filter(em, abs(most("blur")), mode="reflect")
    if drawn["contrast"] or drawn["brightness"]:
        em = em * np.float32(1 + most("contrast")) + np.float32(most("brightness"))
    if drawn["noise"]:
        level = np.float32(abs(most("noise")))
        em = em + draws["noise"].standard_normal(em.shape, np.float32) * level
    return np.ascontiguousarray(em, np.float32)


def _as(changed: Floats, em: Floats) -> Floats:
    """`changed` with the mean and deviation of `em`: a gamma bends, and does not brighten.

    Sections are normalised by their own when they are predicted, whatever their gamma.
    """
    deviation = changed.std()
    factor = em.std() / deviation if deviation else np.float32(0)
    found: Floats = (changed - changed.mean()) * factor + em.mean()
    return found
