"""The sections to calibrate on, and their maps by networks that were not trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcan.config.model import Membrane as GivenMembrane
from dcan.geometry import Box
from dcan.net.normalise import as_wanted
from dcan.net.predict import predict_section
from dcan.ops.frames import Mask, Membrane
from dcan.ops.targets import objects
from dcan.steps.devices import device
from dcan.steps.labels import labelled_tissue
from dcan.steps.maps import read_map
from dcan.steps.resolve import predictor
from dcan.steps.train import members
from dcan.steps.truth import Labelled, labelled
from dcan.steps.vouching import Progress, check_inputs
from dcan.steps.workspace import MEMBRANE_ABSENT, Workspace

Members = tuple[int, ...]


class Validation:
    """Labelled sections that some network was not trained on, and what they are compared with.

    Made when they are first asked for; lists in one fixed order, volume by volume.
    """

    def __init__(self, space: Workspace) -> None:
        self._space = space

    @cached_property
    def sections(self) -> list[Labelled]:
        """The sections: validation sections, or with `training.folds` all."""
        check_inputs(self._space, "truth")
        return list(labelled(self._space, lambda fold: fold is not None))

    @property
    def truths(self) -> list[NDArray[np.uint32]]:
        """Their 2-D objects: uint32 (y, x), 0 = membrane or unknown."""
        return [objects(section.target) for section in self.sections]

    @cached_property
    def by(self) -> list[Members]:
        """Of each section, the members that were not trained on it, as far as is known."""
        if self._space.config.membrane:
            return [() for _ in self.sections]
        check_inputs(self._space, "train")
        if self._space.learned is None:
            every = range(len(self._space.receipt("train").values["members"]))
            return [tuple(every) for _ in self.sections]
        learned = [set(member.meta.sections) for member in members(self._space)]
        return [
            tuple(i for i, known in enumerate(learned) if section.sha256 not in known)
            for section in self.sections
        ]

    @property
    def seen(self) -> list[bool] | None:
        """Of each section, whether all networks were trained on it; all make its map then.

        None: it is not known.
        """
        if self._space.learned is None:
            return None
        return [self._space.config.membrane is None and not by for by in self.by]

    @cached_property
    def maps(self) -> list[Membrane]:
        """Their membrane maps: uint8 (y, x), 255 = membrane, and where there is no tissue."""
        given = self._space.config.membrane
        return self._blanked(self._given(given)) if given else self.predicted(len(self.sections))

    def _blanked(self, maps: list[Membrane]) -> list[Membrane]:
        """Maps of the first sections, 255 where there is no tissue, in place."""
        for membrane, tissue in zip(maps, self.tissues, strict=False):
            if tissue is not None:
                membrane[~tissue] = MEMBRANE_ABSENT
        return maps

    @cached_property
    def tissues(self) -> list[Mask | None]:
        """Where each has tissue: bool (y, x); None: everywhere."""
        return [labelled_tissue(self._space, s.z, s.em.shape) for s in self.sections]

    def predicted(self, count: int, *, exact: bool = False) -> list[Membrane]:
        """The maps of the first `count` sections; `exact` as of `resolve.predictor`."""
        given = self._space.config.prediction
        normalisation = self._space.config.model.normalisation
        count = min(count, len(self.sections))
        progress = Progress("calibrate: maps in float32" if exact else "calibrate: maps", count)
        found: dict[int, Membrane] = {}
        order = sorted(range(count), key=lambda i: self.by[i])
        with device(self._space) as name:
            for which, group in groupby(order, key=lambda i: self.by[i]):
                network = predictor(self._space, which or None, name, exact=exact)
                for i in group:
                    s = self.sections[i]
                    table = as_wanted(s.table, normalisation)
                    found[i] = predict_section(network, s.em, table, given.tile, given.halo)
                    progress(len(found))
        return self._blanked([found[i] for i in range(count)])

    def _given(self, given: GivenMembrane) -> list[Membrane]:
        """The given map where the sections of the volume are labelled."""
        (volume,) = self._space.config.trained_on()
        _, y, x = volume.truth.offset
        return [
            read_map(
                self._space,
                given,
                Box((s.z, y, x), (s.z + 1, y + s.em.shape[0], x + s.em.shape[1])),
            )[0]
            for s in self.sections
        ]

    def described(self) -> list[dict[str, Any]]:
        """Each section as a calibration.json names it; `members` made its map, none: all did."""
        told: Sequence[bool | None] = self.seen or [None] * len(self.sections)
        return [
            {"volume": s.volume, "z": s.z, "sha256": s.sha256, "members": list(by), "seen": seen}
            for s, by, seen in zip(self.sections, self.by, told, strict=True)
        ]
