"""What goes wrong between microtome and microscope: dark or missing patches, creases, gaps.

Images are (y, x) float32 in deviations of their section, targets uint8: 0 = membrane,
1 = neurite, 2 = unknown. Each returns new arrays.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from dcan.ops.targets import MEMBRANE, NEURITE, UNKNOWN

Floats = NDArray[np.float32]
Labels = NDArray[np.uint8]

DARKEST = 3.0  # deviations
SHARE = (1 / 8, 1 / 2)  # of the crop's side, sides of a patch
GAPS = 6  # in a crop, at most
RADIUS = (2.0, 5.0)  # pixels, of a gap


def darken(em: Floats, rng: Generator) -> Floats:
    """A soft dark patch, as dirt or stain leave it; the tissue under it can be made out."""
    top, left, height, width = _patch(em.shape[0], rng)
    y, x = np.ogrid[: em.shape[0], : em.shape[1]]
    away = ((y - top - height / 2) / height) ** 2 + ((x - left - width / 2) / width) ** 2
    depth = rng.uniform(0.3, 1) * DARKEST
    return em - (depth * np.exp(-4 * away)).astype(np.float32)


def remove(em: Floats, target: Labels, rng: Generator) -> tuple[Floats, Labels]:
    """A patch without tissue, of one intensity; nothing is known of it."""
    top, left, height, width = _patch(em.shape[0], rng)
    place = (slice(top, top + height), slice(left, left + width))
    em, target = em.copy(), target.copy()
    em[place] = rng.uniform(-DARKEST, DARKEST)
    target[place] = UNKNOWN
    return em, target


def crease(em: Floats, target: Labels, depth: Floats) -> tuple[Floats, Labels]:
    """Tissue that lies double is darker the deeper in the crease, and nothing is known of it."""
    found = np.where(depth > 0, UNKNOWN, target).astype(np.uint8)
    return (em - np.float32(DARKEST) * np.sqrt(depth)).astype(np.float32), found


def open_gaps(em: Floats, target: Labels, rng: Generator) -> Floats:
    """Membrane that fades into the neurites for a few pixels; the truth still has it."""
    y, x = np.nonzero(target == MEMBRANE)
    inside = target == NEURITE
    if len(y) == 0 or not inside.any():
        return em
    bright = np.float32(em[inside].mean())
    rows, columns = np.ogrid[: em.shape[0], : em.shape[1]]
    fade = np.zeros(em.shape, np.float32)
    for _ in range(int(rng.integers(1, GAPS + 1))):
        at, radius = int(rng.integers(len(y))), rng.uniform(*RADIUS)
        squared = (rows - y[at]) ** 2 + (columns - x[at]) ** 2
        fade = np.maximum(fade, np.exp(-squared / (2 * radius**2)).astype(np.float32))
    return em + fade * (bright - em)


def _patch(crop: int, rng: Generator) -> tuple[int, int, int, int]:
    """Top, left, height and width of a patch inside the crop."""
    height, width = (max(1, round(crop * side)) for side in rng.uniform(*SHARE, 2))
    top, left = (int(rng.integers(crop - side + 1)) for side in (height, width))
    return top, left, height, width
