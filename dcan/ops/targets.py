"""What the network is to say of each labelled pixel, from either kind of truth."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dcan.errors import DcanError
from dcan.ops.fusion import components

MEMBRANE, NEURITE, UNKNOWN = 0, 1, 2


def target(labels: NDArray[Any], kind: Literal["membranes", "neurites"]) -> NDArray[np.uint8]:
    """The target of one labelled section: uint8 (y, x), 0 membrane, 1 neurite, 2 unknown.

    `membranes`: `labels` has at most two values, 0 is membrane and the other is neurite.
    `neurites`: `labels` are ids; a pixel is membrane when a 4-neighbour has another id, and
    unknown when its own is 0; a neighbour of id 0 says nothing. Raises DcanError when
    a membrane section has more than two values, or two of which none is 0.
    """
    if kind == "membranes":
        values = np.unique(labels)
        if len(values) > 2 or (len(values) == 2 and values[0] != 0):
            raise DcanError(
                f"truth of kind membranes holds the values {values[:4].tolist()}...: give a "
                "binary image, 0 = membrane and white = neurite, or kind: neurites"
            )
        return (labels > 0).astype(np.uint8)
    found = np.where(labels > 0, NEURITE, UNKNOWN).astype(np.uint8)
    for axis in (0, 1):
        near, far = (np.delete(labels, drop, axis) for drop in (-1, 0))
        border = (near != far) & (near > 0) & (far > 0)
        index: list[slice] = [slice(None), slice(None)]
        for side in (slice(None, -1), slice(1, None)):
            index[axis] = side
            found[tuple(index)][border] = MEMBRANE
    return found


def objects(targets: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """The 2-D objects of a section's truth: 4-components of its neurite pixels, 0 elsewhere."""
    labels, _, _ = components(targets == NEURITE)
    return labels
