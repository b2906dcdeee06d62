"""A comparison of trainings: one base configuration, and what each run changes of it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from dcan.config.model import Config
from dcan.config.reading import overlay, parse, read
from dcan.config.stages import trains
from dcan.config.values import Count, Index, Line, Name
from dcan.config.volumes import Strict
from dcan.config.wording import refusal
from dcan.errors import DcanError

FIXED = ("steps", "seed", "volumes", "folds")
"""Keys of `training` that a run must not change: the runs would not be comparable.

With `folds` all labelled sections are scored, each by the members that left it out; without, the
validation sections by all members.
"""
UNLINKED = {"iou": 0.3, "containment": 0.8, "beside": 1}
"""No neurites are made of the runs, so nothing is looked for there."""


def _seeds(seeds: list[int]) -> list[int]:
    if len(set(seeds)) != len(seeds):
        raise ValueError("give each seed once")
    return seeds


Seeds = Annotated[list[Index], Field(min_length=1), AfterValidator(_seeds)]
Keys = dict[str, Any]


class Run(Strict):
    """What one run changes; the keys are those of the configuration."""

    name: Name
    """Names the run's folders and its row of the table."""
    seeds: Seeds | None = None
    """Default: those of the experiment."""
    model: Keys = Field(default_factory=dict)
    training: Keys = Field(default_factory=dict)
    prediction: Keys = Field(default_factory=dict)

    @model_validator(mode="after")
    def _comparable(self) -> Self:
        for key in FIXED:
            if key in self.training:
                raise ValueError(
                    f"training.{key} is the same for all runs: give it in the experiment or its "
                    "base"
                )
        return self


class Experiment(Strict):
    """The runs, their budget, and the base that they share."""

    name: Name
    """Names the folder that the runs are made in."""
    base: Line
    """A configuration, relative to the working directory."""
    steps: Count
    """Optimiser steps of every run."""
    seeds: Seeds = Field(default=[0])
    """Each run is trained once for each."""
    runs: Annotated[list[Run], Field(min_length=1)]

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        names = [run.name for run in self.runs]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"runs has {name!r} twice: give each run a name of its own")
        return self


def load_experiment(path: str) -> tuple[Experiment, dict[str, dict[int, Config]]]:
    """The experiment of a file, and the configuration of each run by name and seed.

    A run's volume has the name `<run>-<seed>`, its results go to
    `<output>/<experiment>/<run>-<seed>`. Labelled sections are read from the sources
    (`training.volumes`), so that no run copies the volume.

    Raises DcanError, one line: an impossible file, base or run, nothing to train on or
    to score, or seeds so close together that ensembles share networks.
    """
    raw = read(Path(path))
    try:
        found = Experiment.model_validate(raw)
    except ValidationError as error:
        raise DcanError(f"experiment {path}: {refusal(error, raw, Experiment)}") from None
    base = read(Path(found.base))
    given = parse(base, found.base)
    if not trains(given) or not given.trained_on():
        raise DcanError(
            f"experiment {path}: base {found.base} trains nothing: give one with labels, without "
            "membrane and without model.weights"
        )
    if not any(given.kept_back(volume) for volume in given.trained_on()):
        raise DcanError(
            f"experiment {path}: base {found.base} has validation none: keep sections back, which "
            "runs are scored on"
        )
    runs = {run.name: _configurations(path, found, run, given) for run in found.runs}
    return found, runs


def _configurations(path: str, found: Experiment, run: Run, base: Config) -> dict[int, Config]:
    plain = base.model_dump(mode="json")
    plain["training"]["volumes"] = [volume.model_dump(mode="json") for volume in base.trained_on()]
    plain["linking"] |= UNLINKED
    plain["output"] = str(Path(base.output) / found.name)
    changed = overlay(plain, run.model_dump(include={"model", "training", "prediction"}))
    changed["training"]["steps"] = found.steps
    made = {}
    for seed in run.seeds or found.seeds:
        named = {"volume": {"name": f"{run.name}-{seed}"}, "training": {"seed": seed}}
        made[seed] = parse(overlay(changed, named), f"{path}, run {run.name}")
        if not trains(made[seed]):
            raise DcanError(f"experiment {path}: run {run.name} gives model.weights: remove them")
    _check_apart(f"experiment {path}: run {run.name}", made)
    return made


def _check_apart(what: str, made: dict[int, Config]) -> None:
    """Refuse seeds that share networks: member i is drawn from the run's seed + i."""
    seeds = sorted(made)
    for one, two in pairwise(seeds):
        members = made[one].training.members
        if two - one < members:
            raise DcanError(
                f"{what} has the seeds {one} and {two} with training.members {members}: member i "
                f"is drawn from seed + i, so they share networks: give seeds {members} or more "
                "apart"
            )
