"""What the configuration asks of a training, and what it runs on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import cast

from dcan.errors import DcanError
from dcan.net.augment import Strength
from dcan.net.device import device_of, kind_of, precision_of
from dcan.net.model import Architecture
from dcan.net.recipe import Precision, Recipe
from dcan.steps.workspace import Workspace

PARTS = (
    *("steps", "crop", "batch", "rule", "learning_rate", "weight_decay", "auxiliary"),
    *("discount_start", "discount_periods", "discount_floor", "average", "threads"),
    *("validate_every", "checkpoint_every"),
)
"""Keys of `training` that a recipe has under the same name."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a training runs on; with the recipe it decides the bits."""

    device: str
    precision: Precision
    name: str | None = None
    """Of the kind of GPU."""

    @classmethod
    def found(cls, space: Workspace) -> Machine:
        """This machine, as the configuration wants it used."""
        given = space.config
        device = device_of(given.prediction.device)
        precision = cast(Precision, precision_of(given.training.precision, device))
        return cls(device, precision, kind_of(device))

    @property
    def spare(self) -> int:
        """Workers that keep the device busy: beside a GPU all cores, beside computing cores one."""
        return 1 if self.device == "cpu" else len(os.sched_getaffinity(0))

    def going_on(self, kept: object) -> Machine:
        """The machine of a kept state, where this one can go on from it.

        Raises DcanError: it was another device.
        """
        was = kept if isinstance(kept, dict) else {}
        for began, has in ((was.get("device"), self.device), (was.get("name"), self.name)):
            if began != has:
                raise DcanError(
                    f"this training began on {began}, this machine has {has}: go on there, or "
                    "remove models/member-*.state.safetensors to begin anew"
                )
        return Machine(self.device, was["precision"], self.name)


def recipe(space: Workspace, member: int, machine: Machine) -> Recipe:
    """The recipe of one member on a machine: those of an ensemble differ in their seeds."""
    given = space.config.training
    workers = machine.spare if given.workers == "auto" else given.workers
    return Recipe(
        **{part: getattr(given, part) for part in PARTS},
        seed=given.seed + member,
        strength=Strength(**given.augmentation.model_dump()),
        deconvolution=space.config.model.deconvolution,
        precision=machine.precision,
        workers=workers,
    )


def architecture(space: Workspace) -> Architecture:
    """The network that the configuration asks for."""
    given = space.config.model
    return Architecture(given.width, given.inner, given.head, tuple(given.heads), given.kind)
