"""Pictures of training samples: what each disturbance does to the image and to its target."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from dcan.report.overlays import MEMBRANE_COLOUR

GAP = 4  # pixels between samples
GREYS = 85  # of each tint: three of them and one transparent entry make a palette
MEMBRANE, NEURITE, UNKNOWN = 0, 1, 2
TINTS = {MEMBRANE: MEMBRANE_COLOUR, UNKNOWN: (86, 180, 233)}


@dataclass(frozen=True, slots=True, eq=False)
class SampleRow:
    """Samples of one disturbance.

    `images`: uint8 (y, x), all of one shape. `targets`: uint8 of that shape, 0 = membrane,
    1 = neurite, 2 = unknown.
    """

    name: str
    images: tuple[npt.NDArray[np.uint8], ...]
    targets: tuple[npt.NDArray[np.uint8], ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the picture."""
        height, width = self.images[0].shape
        return height, len(self.images) * (width + GAP) - GAP


def row_png(row: SampleRow) -> bytes:
    """The samples side by side; a third of a target's tint over membrane and what is unknown."""
    parts = []
    for image, target in zip(row.images, row.targets, strict=True):
        index = (np.minimum(image // 3, GREYS - 1) + GREYS * target).astype(np.uint8)
        parts.append(np.pad(index, ((0, 0), (0, GAP)), constant_values=3 * GREYS))
    picture = Image.fromarray(np.concatenate(parts, axis=1)[:, :-GAP], mode="P")
    picture.putpalette(_palette().tobytes())
    stream = BytesIO()
    picture.save(stream, "PNG", optimize=True, transparency=3 * GREYS)
    return stream.getvalue()


def _palette() -> npt.NDArray[np.uint8]:
    """Greys under the tint of each target, then one entry for what is transparent."""
    greys = np.repeat((3 * np.arange(GREYS))[:, None], 3, axis=1)
    tinted = [
        (2 * greys + np.array(TINTS[value])) // 3 if value in TINTS else greys
        for value in (MEMBRANE, NEURITE, UNKNOWN)
    ]
    return np.concatenate([*tinted, [[255, 255, 255]]]).astype(np.uint8)
