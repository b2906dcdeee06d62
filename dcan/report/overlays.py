"""Pictures of one section: the EM as PNG, and transparent layers to lay over it."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image

from dcan.report.marks import MERGE_COLOUR, SPLIT_COLOUR, marks, mistake_palette

Bytes2D = npt.NDArray[np.uint8]
Labels2D = npt.NDArray[np.uint64]
Palette = npt.NDArray[np.uint8]

SIDE = 700
"""Pixels of the longer side of a picture, at most."""

SPLIT, MERGE, OUTLINE = 1, 2, 255
MEMBRANE_COLOUR = (240, 90, 0)
OUTLINE_COLOUR = (255, 255, 255)
COLOURS = 254


@dataclass(frozen=True, slots=True, eq=False)
class Overlay:
    """One section to look at: 2-D arrays of one shape (y, x).

    `em` and `membrane` are uint8 (membrane: 255 = membrane); the labels are uint64, 0 =
    background; `mistakes` are uint8, as of `warping.mistakes`. None: not available, and left
    out. `seen`: the network saw it in training.

    Raises: ValueError when the arrays are not 2-D of one shape.
    """

    section: int
    em: Bytes2D
    membrane: Bytes2D | None = None
    segments: Labels2D | None = None
    neurites: Labels2D | None = None
    truth: Labels2D | None = None
    mistakes: Bytes2D | None = None
    seen: bool = False

    def __post_init__(self) -> None:
        labels = (self.segments, self.neurites, self.truth)
        given = (self.em, self.membrane, *labels, self.mistakes)
        shapes = {array.shape for array in given if array is not None}
        if len(shapes) != 1 or self.em.ndim != 2 or self.em.size == 0:
            raise ValueError(f"section {self.section}: arrays of shapes {sorted(shapes)}")


@dataclass(frozen=True, slots=True)
class Layer:
    """A named PNG with transparency, of the size of the EM's picture."""

    name: str
    png: bytes


def em_png(overlay: Overlay) -> bytes:
    """The EM in grey, its longer side `SIDE` pixels at most (mean of the pixels merged)."""
    return _grey_png(_shrunk(overlay.em))


def layers(overlay: Overlay) -> tuple[Layer, ...]:
    """What the overlay holds: membrane, segments, neurites, truth, faults, mistakes, so ordered.

    A label's colour is a function of the label alone, so an object keeps it across sections.
    Objects are outlined. Faults need `truth` and `segments`; see `faults`, and `marks.marks`.
    """
    made = []
    if overlay.membrane is not None:
        made.append(Layer("membrane", _indexed_png(_shrunk(overlay.membrane), _membrane_ramp())))
    for name in ("segments", "neurites", "truth"):
        if (labels := getattr(overlay, name)) is not None:
            made.append(Layer(name, _indexed_png(_coloured(_sampled(labels)), _label_palette())))
    if overlay.truth is not None and overlay.segments is not None:
        truth, segments = _sampled(overlay.truth), _sampled(overlay.segments)
        made.append(Layer("faults", _indexed_png(faults(truth, segments), _fault_palette())))
    if overlay.mistakes is not None:
        marked = marks(overlay.mistakes, _small(overlay.mistakes.shape))
        made.append(Layer("mistakes", _indexed_png(marked, mistake_palette())))
    return tuple(made)


def colour_of(label: int) -> tuple[int, int, int]:
    """The red, green and blue in 0..255 in which a label other than 0 is drawn."""
    index = int(_colour_index(np.array([label], np.uint64))[0])
    red, green, blue = (int(part) for part in _label_palette()[index, :3])
    return red, green, blue


def faults(truth: Labels2D, segments: Labels2D) -> Bytes2D:
    """Where segments and truth part: SPLIT, MERGE, OUTLINE (of the segments), else 0; uint8.

    Only pixels with a label in both count. MERGE: the pixel's segment lies mostly in another
    true object. SPLIT: its true object lies mostly in another segment. MERGE is shown where both
    hold, the outline over both; of equal overlaps the lower label is the main one.
    """
    both = (truth > 0) & (segments > 0)
    result = np.zeros(truth.shape, np.uint8)
    inner_truth, inner_segments = truth[both], segments[both]
    marks = np.zeros(inner_truth.shape, np.uint8)
    marks[_main_partner(inner_truth, inner_segments) != inner_segments] = SPLIT
    marks[_main_partner(inner_segments, inner_truth) != inner_truth] = MERGE
    result[both] = marks
    result[_outline(segments)] = OUTLINE
    return result


def _main_partner(labels: Labels2D, partners: Labels2D) -> Labels2D:
    """For each pixel, the partner that its label overlaps most; ties to the lower partner."""
    if labels.size == 0:
        return partners
    names, label_index = np.unique(labels, return_inverse=True)
    others, partner_index = np.unique(partners, return_inverse=True)
    pairs, counts = np.unique(label_index * others.size + partner_index, return_counts=True)
    rows, columns = np.divmod(pairs, others.size)
    order = np.lexsort((-columns, counts, rows))
    main = np.empty(names.size, np.int64)
    main[rows[order]] = columns[order]  # the last of equal rows stays: most pixels, lower partner
    return others[main[label_index]]


def _outline(labels: Labels2D) -> npt.NDArray[np.bool_]:
    """Pixels of an object whose right or lower neighbour has another label, 0 included."""
    edge = np.zeros(labels.shape, bool)
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edge[:-1] |= labels[:-1] != labels[1:]
    return edge & (labels > 0)


def _coloured(labels: Labels2D) -> Bytes2D:
    """Palette indices: 0 background, 1..254 colours of labels, 255 outlines."""
    index = np.where(labels > 0, _colour_index(labels), 0).astype(np.uint8)
    index[_outline(labels)] = OUTLINE
    return index


def _colour_index(labels: Labels2D) -> Bytes2D:
    """1..254 by the finalizer of splitmix64, so that near labels get far colours."""
    mixed = labels.astype(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return (1 + mixed % np.uint64(COLOURS)).astype(np.uint8)


def _label_palette() -> Palette:
    palette = np.zeros((256, 4), np.uint8)
    for index in range(1, COLOURS + 1):
        hue, tone = (index * 0.618034) % 1.0, index % 3
        rgb = colorsys.hsv_to_rgb(hue, (0.85, 0.6, 0.95)[tone], (1.0, 0.95, 0.75)[tone])
        palette[index] = (*(round(255 * part) for part in rgb), 120)
    palette[OUTLINE] = (*OUTLINE_COLOUR, 235)
    return palette


def _membrane_ramp() -> Palette:
    palette = np.empty((256, 4), np.uint8)
    palette[:, :3] = MEMBRANE_COLOUR
    palette[:, 3] = np.arange(256) * 9 // 10
    return palette


def _fault_palette() -> Palette:
    palette = np.zeros((256, 4), np.uint8)
    palette[SPLIT] = (*SPLIT_COLOUR, 190)
    palette[MERGE] = (*MERGE_COLOUR, 190)
    palette[OUTLINE] = (*OUTLINE_COLOUR, 130)
    return palette


def _small(shape: tuple[int, ...]) -> tuple[int, int]:
    """The shape of the picture: that of the section, the longer side cut down to `SIDE`."""
    height, width = shape
    longer = max(height, width, SIDE)
    return max(1, height * SIDE // longer), max(1, width * SIDE // longer)


def _sampled(labels: Labels2D) -> Labels2D:
    """Labels at the centres of the picture's pixels: labels are never averaged."""
    rows, columns = (
        (2 * np.arange(small) + 1) * full // (2 * small)
        for small, full in zip(_small(labels.shape), labels.shape, strict=True)
    )
    return labels[np.ix_(rows, columns)]


def _shrunk(values: Bytes2D) -> Bytes2D:
    """Means over the picture's pixels, rounded half up."""
    height, width = _small(values.shape)
    return _means(_means(values, height).T, width).T


def _means(values: Bytes2D, count: int) -> Bytes2D:
    if count == values.shape[0]:
        return values
    edges = [part * values.shape[0] // count for part in range(count + 1)]
    sizes = np.array([stop - start for start, stop in pairwise(edges)], np.uint64)[:, None]
    sums = np.add.reduceat(values, edges[:-1], axis=0, dtype=np.uint64)
    return ((2 * sums + sizes) // (2 * sizes)).astype(np.uint8)


def _grey_png(values: Bytes2D) -> bytes:
    stream = BytesIO()
    Image.fromarray(values).save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _indexed_png(index: Bytes2D, palette: Palette) -> bytes:
    image = Image.fromarray(index).convert("L")
    image.putpalette(palette[:, :3].tobytes())
    stream = BytesIO()
    image.save(stream, format="PNG", optimize=True, transparency=palette[:, 3].tobytes())
    return stream.getvalue()
