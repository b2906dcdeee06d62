"""Where the pixels of a sample are taken from: bent, scaled, turned and folded tissue."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import cos, radians, sin

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]

SPACING = 48  # pixels between the nodes of an elastic displacement
HIDDEN = (4, 16)  # pixels of tissue that a crease hides, at least and at most
EDGE = (2, 6)  # pixels from the middle of a crease to its edge


def places(
    draws: Mapping[str, Generator], crop: int, drawn: Mapping[str, float]
) -> tuple[Floats, Floats | None]:
    """The place in the section of each pixel of a crop at the origin, and where it is folded.

    Returns (2, crop, crop) float32, y and x in pixels, and, where there is a crease, (crop, crop)
    float32: the depth of a pixel inside the crease, 1 at its middle, 0 outside.
    """
    grid = np.indices((crop, crop), np.float32)
    at, folded = grid, None
    if drawn["creases"]:
        at, folded = _crease(at, draws["creases"])
    if drawn["scale"] or drawn["rotation"]:
        power = draws["scale"].uniform(-1, 1) * drawn["scale"]
        angle = radians(draws["rotation"].uniform(-1, 1) * drawn["rotation"])
        at = _turn(at, 2**power, angle, (crop - 1) / 2)
    if drawn["elastic"]:
        at = at + _displacement(draws["elastic"], crop, drawn["elastic"])
    return at.astype(np.float32), folded


def _turn(at: Floats, scale: float, angle: float, centre: float) -> Floats:
    """About the middle: `scale` above 1 shows tissue smaller."""
    y, x = at - np.float32(centre)
    c, s = np.float32(scale * cos(angle)), np.float32(scale * sin(angle))
    return np.stack([c * y - s * x, s * y + c * x]) + np.float32(centre)


def _displacement(rng: Generator, crop: int, deviation: float) -> Floats:
    """(2, crop, crop): drawn at nodes, cubic between them."""
    shares = _shares(crop)
    nodes = shares.shape[1]
    drawn = rng.normal(0, deviation, (2, nodes, nodes)).astype(np.float32)
    # Axis by axis, and in loops whose order of sums no library of matrices decides.
    found: Floats = np.einsum("kyb,xb->kyx", np.einsum("ya,kab->kyb", shares, drawn), shares)
    return found


@lru_cache(maxsize=4)
def _shares(crop: int) -> Floats:
    """The share of each node in each pixel along an axis, by cubic splines: (crop, nodes)."""
    nodes = np.eye(crop // SPACING + 4)
    at = np.arange(crop)[None] / SPACING + 1
    found = [ndimage.map_coordinates(node, at, order=3, mode="nearest") for node in nodes]
    return np.stack(found, axis=1).astype(np.float32)


def _crease(at: Floats, rng: Generator) -> tuple[Floats, Floats]:
    """A line across the crop; tissue beyond it is drawn nearer by what the crease hides."""
    crop = at.shape[1]
    angle = rng.uniform(0, 2 * np.pi)
    normal = np.array([sin(angle), cos(angle)], np.float32)
    through = rng.uniform(crop / 4, 3 * crop / 4, 2).astype(np.float32)
    hidden, half = rng.uniform(*HIDDEN), rng.uniform(*EDGE)
    distance = np.tensordot(normal, at - through[:, None, None], 1)
    beyond = (distance > 0) * np.float32(hidden)
    depth = np.clip(1 - np.abs(distance) / half, 0, 1).astype(np.float32)
    return at + normal[:, None, None] * beyond, depth
