"""Training samples: a crop of a section, moved and disturbed as sections differ in the field.

Everything drawn comes from one generator, made from (seed, step, index) alone: the sample is
the same whoever makes it, in whatever order. Each disturbance draws from a generator of its
own, so that another strength of one leaves the others as they were.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator, Philox, SeedSequence
from numpy.typing import NDArray
from scipy import ndimage

from dcan.net import defects, intensity, warp
from dcan.net.windows import reflect
from dcan.ops.targets import UNKNOWN

Floats = NDArray[np.float32]
Labels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Section:
    """One labelled section.

    `em`: (y, x) float32, normalised. `target`: (y, x) uint8, 0 = membrane, 1 = neurite,
    2 = unknown. `labelled`: pixels that are not unknown. `extent`: of these, along y and x, the
    first and the one after the last; of a section without any, all of it.
    """

    em: Floats
    target: Labels
    labelled: int = field(init=False)
    extent: tuple[tuple[int, int], ...] = field(init=False)

    def __post_init__(self) -> None:
        known = self.target != UNKNOWN
        spans = [np.flatnonzero(known.any(axis)) for axis in (1, 0)]
        extent = tuple(
            (int(span[0]), int(span[-1]) + 1) if span.size else (0, length)
            for span, length in zip(spans, known.shape, strict=True)
        )
        object.__setattr__(self, "labelled", int(np.count_nonzero(known)))
        object.__setattr__(self, "extent", extent)


@dataclass(frozen=True, slots=True)
class Strength:
    """How far samples are changed.

    `often`: the probability of each of elastic, scale, rotation, gamma, blur and noise; contrast
    and brightness change every sample. `turns`: flips and quarter turns. `elastic`: deviation of
    the displacement, pixels. `scale`: most change of the scale's logarithm to base 2. `rotation`:
    most degrees. `contrast`: most relative change. `brightness`, `noise`: of the section's
    deviation. `gamma`: most change of its logarithm to base 2. `blur`: most deviation, pixels.
    `dark`, `missing`, `creases`, `gaps`: the probability of one in a sample.
    """

    often: float = 0.5
    turns: bool = True
    elastic: float = 4.0
    scale: float = 0.1
    rotation: float = 10.0
    contrast: float = 0.25
    brightness: float = 0.25
    gamma: float = 0.5
    blur: float = 1.0
    noise: float = 0.25
    dark: float = 0.05
    missing: float = 0.05
    creases: float = 0.05
    gaps: float = 0.1


DEFAULT = Strength()
OCCASIONAL = ("elastic", "scale", "rotation", "gamma", "blur", "noise")
DEFECTS = ("dark", "missing", "creases", "gaps")
DISTURBANCES = (*OCCASIONAL[:3], "contrast", "brightness", *OCCASIONAL[3:], *DEFECTS)
OFF = dataclasses.replace(DEFAULT, turns=False, **dict.fromkeys(DISTURBANCES, 0))

TRIES = 20
"""Places that are drawn until one has labelled pixels; after so many it is drawn around one."""
AROUND = 8
"""Pixels around a place that a cubic spline's value there depends on: the rest is below 1e-4."""

_DRAWS = ("place", "turns", *DISTURBANCES)


def stream(seed: int, step: int, index: int) -> Generator:
    """The generator of sample `index` of step `step`."""
    return Generator(Philox(SeedSequence([seed, step, index])))


def sample(
    sections: Sequence[Section], rng: Generator, crop: int, strength: Strength = DEFAULT
) -> Section:
    """A sample of `crop` x `crop` pixels of one section, drawn by its labelled pixels.

    It lies where some pixel is labelled, however few are. Beyond a section's edge em and target
    are reflected, half-sample symmetric. The target moves with the image, by the nearest pixel;
    intensities, dark patches and gaps in membranes change the image alone; where tissue is
    missing or folded the target is unknown.
    """
    draws = dict(zip(_DRAWS, rng.spawn(len(_DRAWS)), strict=True))
    given = {name: getattr(strength, name) for name in DISTURBANCES}
    drawn = {name: _drawn(given[name], name, draws[name], strength.often) for name in given}
    areas = np.array([section.labelled for section in sections], np.float64)
    shares = areas / areas.sum() if areas.any() else None
    number = int(draws["place"].choice(len(sections), p=shares))
    em, target = _place(sections[number], draws, crop, drawn)
    if strength.turns:
        turns, flip = int(draws["turns"].integers(4)), bool(draws["turns"].integers(2))
        em, target = np.rot90(em, turns), np.rot90(target, turns)
        em, target = (em[:, ::-1], target[:, ::-1]) if flip else (em, target)
    em = np.ascontiguousarray(em, np.float32)
    if drawn["gaps"]:
        em = defects.open_gaps(em, target, draws["gaps"])
    em = intensity.change(em, draws, drawn)
    if drawn["dark"]:
        em = defects.darken(em, draws["dark"])
    if drawn["missing"]:
        em, target = defects.remove(em, target, draws["missing"])
    return Section(em, np.ascontiguousarray(target))


def _drawn(strength: float, name: str, rng: Generator, often: float) -> float:
    """The strength of a disturbance in this sample, 0 where it is not drawn."""
    if name in DEFECTS:
        return float(rng.random() < strength)
    return strength if name not in OCCASIONAL or rng.random() < often else 0.0


def _place(
    section: Section, draws: dict[str, Generator], crop: int, drawn: dict[str, float]
) -> tuple[Floats, Labels]:
    """The crop at a drawn place, bent and folded where the draw says so."""
    starts = _starts(section, draws["place"], crop)
    if not any(drawn[name] for name in ("elastic", "scale", "rotation", "creases")):
        y, x = (
            reflect(np.arange(start, start + crop), length)
            for start, length in zip(starts, section.em.shape, strict=True)
        )
        return section.em[np.ix_(y, x)], section.target[np.ix_(y, x)]
    at, folded = warp.places(draws, crop, drawn)
    at += np.array(starts, np.float32)[:, None, None]
    em = _resampled(section.em, at)
    # scipy's `reflect` is half-sample symmetric.
    target = ndimage.map_coordinates(section.target, at, order=0, mode="reflect")
    return (em, target) if folded is None else defects.crease(em, target, folded)


def _resampled(em: Floats, at: Floats) -> Floats:
    """The image at places (2, y, x), by cubic splines: linear ones blur it.

    The splines are those of the part that is needed, so that time follows the crop.
    """
    first = np.floor(at.min((1, 2))).astype(np.int64) - AROUND
    last = np.ceil(at.max((1, 2))).astype(np.int64) + AROUND + 1
    y, x = (
        reflect(np.arange(low, high), length)
        for low, high, length in zip(first, last, em.shape, strict=True)
    )
    inside = at - first[:, None, None]
    found: Floats = ndimage.map_coordinates(em[np.ix_(y, x)], inside, order=3, mode="reflect")
    return found


def border_of(crop: int) -> int:
    """Pixels along the border of a crop that are not learned, a sixteenth of its side.

    Beyond the border the network sees 0, and in a volume the tissue that is there: within 16
    pixels of it the cross entropy was a fifth to a half higher (decision 0012).
    """
    return crop // 16


def _starts(section: Section, rng: Generator, crop: int) -> list[int]:
    """Where a crop begins: anywhere that some labelled pixel is learned, before it is bent."""
    border = border_of(crop)
    for _ in range(TRIES if section.labelled else 1):
        starts = _within(section, section.extent, rng, crop)
        y, x = (slice(max(0, start + border), start + crop - border) for start in starts)
        if (section.target[y, x] != UNKNOWN).any():
            return starts
    if not section.labelled:
        return starts
    pixel = int(rng.choice(np.flatnonzero(section.target != UNKNOWN)))
    at = np.unravel_index(pixel, section.target.shape)
    return _within(section, tuple((int(i), int(i) + 1) for i in at), rng, crop)


def _within(
    section: Section, extent: tuple[tuple[int, int], ...], rng: Generator, crop: int
) -> list[int]:
    """Where a crop begins that learns some of the rows and some of the columns of an extent."""
    spans = zip(section.em.shape, extent, strict=True)
    return [_start(length, span, rng, crop) for length, span in spans]


def _start(length: int, extent: tuple[int, int], rng: Generator, crop: int) -> int:
    """Up to half of a crop lies beyond an edge, so that what is along it is learned as often."""
    border, (first, stop) = border_of(crop), extent
    low = max(-(crop // 2), first - crop + border + 1)
    return int(rng.integers(low, min(length - crop // 2 + 1, stop - border)))


def shown(
    section: Section, crop: int, count: int, strength: Strength = DEFAULT
) -> Iterator[tuple[str, list[Section]]]:
    """`count` samples of each disturbance that is switched on, alone and in each sample.

    First those without any, at the places that all others have.
    """
    rows = {"none": OFF}
    for name in ("turns", *DISTURBANCES):
        value = getattr(strength, name)
        if value:
            alone = 1.0 if name in DEFECTS else value
            rows[name] = dataclasses.replace(OFF, **{"often": 1.0, name: alone})  # type: ignore[arg-type]
    for name, only in rows.items():
        yield name, [sample([section], stream(0, 0, i), crop, only) for i in range(count)]
