"""Training samples: a crop of a section, moved and disturbed as sections differ in the field.

Everything drawn comes from one generator, made from (seed, step, index) alone: the sample is
the same whoever makes it, in whatever order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, Philox, SeedSequence
from numpy.typing import NDArray
from scipy import ndimage

from dcan.net.windows import reflect

Floats = NDArray[np.float32]
Labels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Section:
    """One labelled section.

    `em`: (y, x) float32, normalised. `target`: (y, x) uint8, 0 = membrane, 1 = neurite,
    2 = unknown.
    """

    em: Floats
    target: Labels


@dataclass(frozen=True, slots=True)
class Strength:
    """How far samples are changed. All 0 leaves flips and quarter turns only.

    `elastic`: deviation of the displacement at the nodes, pixels; `spacing`: between nodes.
    `contrast`: most relative change. `brightness`, `noise`: of the section's deviation.
    `gamma`: most change of its logarithm to base 2. `blur`: most deviation, pixels. Elastic,
    gamma, noise and blur each change a sample with probability `often`.
    """

    elastic: float = 4.0
    spacing: int = 48
    contrast: float = 0.25
    brightness: float = 0.25
    gamma: float = 0.5
    noise: float = 0.25
    blur: float = 1.0
    often: float = 0.5


DEFAULT = Strength()


def stream(seed: int, step: int, index: int) -> Generator:
    """The generator of sample `index` of step `step`."""
    return Generator(Philox(SeedSequence([seed, step, index])))


def sample(
    sections: Sequence[Section], rng: Generator, crop: int, strength: Strength = DEFAULT
) -> Section:
    """A sample of `crop` x `crop` pixels of one section; large sections are drawn more often.

    Beyond a section's edge em and target are reflected, half-sample symmetric. The target
    moves with the image, by the nearest pixel; intensities change the image alone.
    """
    areas = np.array([section.em.size for section in sections], np.float64)
    section = sections[int(rng.choice(len(sections), p=areas / areas.sum()))]
    em, target = _place(section, rng, crop, strength)
    turns, flip = int(rng.integers(4)), bool(rng.integers(2))
    em, target = np.rot90(em, turns), np.rot90(target, turns)
    if flip:
        em, target = em[:, ::-1], target[:, ::-1]
    return Section(_intensity(em, rng, strength), np.ascontiguousarray(target))


def _place(
    section: Section, rng: Generator, crop: int, strength: Strength
) -> tuple[Floats, Labels]:
    """The crop at a drawn place, bent when the draw says so."""
    starts = [_start(length, rng, crop) for length in section.em.shape]
    if rng.random() >= strength.often or strength.elastic == 0:
        y, x = (
            reflect(np.arange(start, start + crop), length)
            for start, length in zip(starts, section.em.shape, strict=True)
        )
        return section.em[np.ix_(y, x)], section.target[np.ix_(y, x)]
    at = _displacement(rng, crop, strength)
    at += np.indices((crop, crop), np.float32)
    at += np.array(starts, np.float32)[:, None, None]
    # scipy's `reflect` is half-sample symmetric.
    em = ndimage.map_coordinates(section.em, at, order=1, mode="reflect")
    return em, ndimage.map_coordinates(section.target, at, order=0, mode="reflect")


def _start(length: int, rng: Generator, crop: int) -> int:
    if length >= crop:
        return int(rng.integers(length - crop + 1))
    return -((crop - length) // 2)


def _displacement(rng: Generator, crop: int, strength: Strength) -> Floats:
    """(2, crop, crop): drawn at nodes, cubic between them."""
    nodes = crop // strength.spacing + 4
    drawn = rng.normal(0, strength.elastic, (2, nodes, nodes)).astype(np.float32)
    grid = np.indices((crop, crop), np.float32) / strength.spacing + 1
    bent = [ndimage.map_coordinates(axis, grid, order=3, mode="nearest") for axis in drawn]
    return np.asarray(bent, np.float32)


def _intensity(em: Floats, rng: Generator, strength: Strength) -> Floats:
    """Contrast and brightness always; gamma, blur and noise when drawn."""
    gain, shift, power, width, level = rng.uniform(-1, 1, 5)
    gamma, blur, noise = rng.random(3) < strength.often
    if gamma and strength.gamma > 0:
        # On [-4, 4] deviations as on [0, 1]: beyond lies next to nothing of a section.
        unit = np.clip((em + 4) / 8, 0, 1).astype(np.float32)
        em = unit ** np.float32(2 ** (power * strength.gamma)) * np.float32(8) - np.float32(4)
    if blur and strength.blur > 0:
        em = ndimage.gaussian_filter(em, abs(width) * strength.blur, mode="reflect")
    em = em * np.float32(1 + gain * strength.contrast) + np.float32(shift * strength.brightness)
    if noise and strength.noise > 0:
        em = em + rng.standard_normal(em.shape, np.float32) * np.float32(
            abs(level) * strength.noise
        )
    return np.ascontiguousarray(em, np.float32)
